//! `agentadmin rules`: which exemptions never decide, contradict each other, or let more through than anybody
//! meant?
//!
//! The engine decides made-up URLs, and every finding names the URL that proves it. A rule is called dead only
//! where an earlier one provably matches all that it matches; where nothing can be proved, nothing is said.

use std::{collections::BTreeSet, fmt::Write, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use portcullis_engine::{
    config::{Methods, RuleLine},
    contract::{RuleId, RuleList},
    decide::Trace,
    event::Code,
};
use serde::Serialize;

use super::{Deciders, decider::Decider, question::Question};
use crate::instance::Instance;

/// Exit code when there is something to tell.
const FOUND: u8 = 3;
/// Paths that no rule means by name: whoever lets them through lets everything through.
const ANYWHERE: [&str; 2] = ["/portcullis-probe", "/portcullis-probe/of/any/page"];
/// Methods that are tried where a rule is about several.
const METHODS: [&str; 7] = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"];

const EXAMPLES: &str = "\
What is looked for:
  dead          an earlier rule matches everything that this one matches
  contradictory a URL that this rule exempts is refused by a deny rule, or is a logout
  wide          it lets every page of a host through without AM being asked, or ends the session on every page

Rules with regular expressions, and those that look at addresses, cookies or headers, are never called dead.

Examples:
  agentadmin rules agent_1
  agentadmin rules ./new.conf --json

Exit code: 0 when nothing was found, 3 when something was, 1 when the configuration cannot be used.";

/// Find dead, contradictory and over-wide exemptions, each with a URL that proves it
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The instance: its name or its agent.conf; without it the only one there is
    #[arg(value_name = "AGENT|FILE")]
    agent: Option<PathBuf>,

    /// Scheme, host and port to try, where the file does not name them
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Something that an operator should look at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    kind: &'static str,
    rule: String,
    /// The other line, where there is one.
    by: Option<String>,
    method: String,
    url: String,
    says: &'static str,
}

/// Prints what was found.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let instance = Instance::find(options.agent.as_deref())?;
    let decider = &Deciders::in_force(&instance)?;
    let base = super::base(options.url.as_deref(), &instance)?;
    let findings = Check { decider, base }.all()?;
    for finding in &findings {
        match options.json {
            true => println!("{}", serde_json::to_string(finding)?),
            false => print!("{}", finding.text()),
        }
    }
    if findings.is_empty() && !options.json {
        println!("nothing dead, contradictory or over-wide was found");
    }
    Ok(match findings.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(FOUND),
    })
}

impl Finding {
    fn text(&self) -> String {
        let mut out = format!("{}: {}\n", self.kind, self.rule);
        let _ = writeln!(out, "    {}", self.says);
        if let Some(by) = &self.by {
            let _ = writeln!(out, "    because of: {by}");
        }
        let _ = writeln!(out, "    see:        {} {}", self.method, self.url);
        out
    }
}

/// What the engine says of a URL when nobody is logged in.
struct Seen {
    reason: Code,
    rule: Option<RuleId>,
    trace: Trace,
}

struct Check<'d> {
    decider: &'d Decider,
    /// Scheme, host and port.
    base: String,
}

impl Check<'_> {
    fn all(&self) -> Result<Vec<Finding>> {
        let mut all = self.wide()?;
        let config = &self.decider.snap.config;
        if config.notenforced_url_regex || config.notenforced_invert {
            return Ok(all);
        }
        for (at, line) in config.rules(RuleList::Url).iter().enumerate() {
            all.extend(self.dead(at, line)?);
            all.extend(self.contradictory(at, line)?);
        }
        Ok(all)
    }

    fn seen(&self, method: &str, url: &str) -> Result<Seen> {
        let question = Question::logged((method, url), None, Vec::new(), (None, None));
        let question = question.map_err(anyhow::Error::msg)?;
        self.decider.seen(&question, |decision, trace| Seen {
            reason: decision.reason,
            rule: decision.rule,
            trace: trace.clone(),
        })
    }

    /// Rules that let pages pass which nobody can have meant by name (rule U5).
    fn wide(&self) -> Result<Vec<Finding>> {
        let (config, rules) = (&self.decider.snap.config, &self.decider.rules);
        let mut known: Vec<Finding> = Vec::new();
        for (method, path) in METHODS.iter().flat_map(|m| ANYWHERE.map(|path| (m, path))) {
            let url = format!("{}{path}", self.base);
            let seen = self.seen(method, &url)?;
            let mut found = Vec::new();
            if let Some(at) = seen.trace.logout.iter().position(|hit| *hit) {
                found.push((rules.logout(at), "every page of the host ends the session"));
            }
            let exempt = seen.reason == Code::NotEnforced;
            if let Some(rule) = seen.rule.filter(|_| exempt) {
                let says = match rule.list {
                    RuleList::Inverted => {
                        "the list is inverted: what it does not name passes without AM being asked"
                    }
                    _ => "every page of the host passes without AM being asked",
                };
                found.push((config.rule(rule), says));
            }
            for (rule, says) in found {
                if known.iter().all(|finding| finding.rule != rule) {
                    known.push(Finding {
                        kind: "wide",
                        rule,
                        by: None,
                        method: (*method).to_owned(),
                        url: url.clone(),
                        says,
                    });
                }
            }
        }
        // An inverted list that names something is what somebody wanted.
        let named = config.notenforced_invert && !config.rules(RuleList::Url).is_empty();
        known.retain(|finding| !(named && finding.says.starts_with("the list is inverted")));
        Ok(known)
    }

    /// Whether an earlier exemption has all that this one has.
    fn dead(&self, at: usize, line: &RuleLine) -> Result<Option<Finding>> {
        let config = &self.decider.snap.config;
        let Some(before) = config.rules(RuleList::Url)[..at]
            .iter()
            .position(|earlier| has_all_of(earlier, line))
        else {
            return Ok(None);
        };
        let (own, other) = (id(at), id(before));
        for (method, url) in self.examples(line) {
            let seen = self.seen(method, &url)?;
            // Proof by the engine: both match, and the other one decides.
            if seen.rule == Some(other) && seen.trace.not_enforced.contains(&(other, true)) {
                return Ok(Some(Finding {
                    kind: "dead",
                    rule: config.rule(own),
                    by: Some(config.rule(other)),
                    method: method.to_owned(),
                    url,
                    says: "an earlier rule matches everything that this one matches",
                }));
            }
        }
        Ok(None)
    }

    /// A page that this rule names and that is refused, or ends the session, all the same.
    fn contradictory(&self, at: usize, line: &RuleLine) -> Result<Option<Finding>> {
        let (config, rules) = (&self.decider.snap.config, &self.decider.rules);
        for (method, url) in self.examples(line) {
            let seen = self.seen(method, &url)?;
            let refused = seen.rule.filter(|rule| rule.list == RuleList::Deny);
            let logout = seen.trace.logout.iter().position(|hit| *hit);
            let (by, says) = match (refused, logout) {
                (Some(rule), _) => (config.rule(rule), "a page that it exempts is refused"),
                (None, Some(at)) => (rules.logout(at), "a page that it exempts is a logout"),
                (None, None) => continue,
            };
            return Ok(Some(Finding {
                kind: "contradictory",
                rule: config.rule(id(at)),
                by: Some(by),
                method: method.to_owned(),
                url,
                says,
            }));
        }
        Ok(None)
    }

    /// URLs that a rule matches, each with a method of the rule.
    fn examples(&self, line: &RuleLine) -> Vec<(&'static str, String)> {
        let of_rule = |method: &&&str| line.methods.meet(Methods::of_request(method.as_bytes()));
        let Some(method) = METHODS.iter().find(of_rule) else {
            return Vec::new();
        };
        let urls: BTreeSet<String> = ["x", "", "x/y"]
            .iter()
            .map(|filling| self.example(&line.value, filling))
            .collect();
        urls.into_iter().map(|url| (*method, url)).collect()
    }

    /// The rule as a URL, with this in place of wildcards.
    fn example(&self, rule: &str, filling: &str) -> String {
        let filled = |text: &str, with: &str| text.replace("-*-", with).replace('*', with);
        if rule.starts_with('/') {
            return self.base.clone() + &filled(rule, filling);
        }
        if let Some(rest) = rule.strip_prefix('*') {
            let slash = if rest.starts_with('/') { "" } else { "/x" };
            return format!("{}{slash}{}", self.base, filled(rest, filling));
        }
        let start = rule.find("://").map_or(0, |at| at + 3);
        let end = rule[start..].find('/').map_or(rule.len(), |at| start + at);
        let (origin, path) = rule.split_at(end);
        match origin.contains('*') {
            // Ours is likelier to be one that it means than any other.
            true => self.base.clone() + &filled(path, filling),
            false => origin.to_owned() + &filled(path, filling),
        }
    }
}

fn id(at: usize) -> RuleId {
    RuleId {
        list: RuleList::Url,
        at: u32::try_from(at).unwrap_or(u32::MAX),
    }
}

/// Whether a rule provably matches all that another one matches.
fn has_all_of(earlier: &RuleLine, later: &RuleLine) -> bool {
    earlier.methods.cover(later.methods) && covers(&earlier.value, &later.value)
}

/// The same of two patterns. `false` where it cannot be told from the texts.
fn covers(earlier: &str, later: &str) -> bool {
    if earlier == later {
        return true;
    }
    // `-*-` is another wildcard, and a query is compared by itself.
    let plain = |text: &str| !text.contains("-*-") && !text.contains('?');
    if !plain(earlier) || !plain(later) {
        return false;
    }
    match (place(earlier), place(later)) {
        (Some(("", path)), Some((_, other))) => glob_covers(path.as_bytes(), other.as_bytes()),
        (Some((origin, path)), Some((same, other))) if origin == same => {
            glob_covers(path.as_bytes(), other.as_bytes())
        }
        // Both are compared with the whole URL.
        (None, None) => glob_covers(earlier.as_bytes(), later.as_bytes()),
        _ => false,
    }
}

/// Origin and path of a rule; `None` where it is compared with the URL as one string.
fn place(rule: &str) -> Option<(&str, &str)> {
    if rule.starts_with('/') {
        return Some(("", rule));
    }
    let start = rule.find("://").filter(|_| !rule.starts_with('*'))? + 3;
    let end = rule[start..].find('/').map_or(rule.len(), |at| start + at);
    let (origin, path) = rule.split_at(end);
    Some((origin, if path.is_empty() { "/" } else { path }))
}

/// Whether `*` patterns cover: a wildcard of the other is one that only a wildcard matches.
fn glob_covers(pattern: &[u8], other: &[u8]) -> bool {
    let (mut p, mut o) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while o < other.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, o));
                p += 1;
            }
            Some(byte) if *byte == other[o] && *byte != b'*' => {
                p += 1;
                o += 1;
            }
            _ => {
                let Some((star, at)) = back else { return false };
                back = Some((star, at + 1));
                (p, o) = (star + 1, at + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::{super::tests::decider, *};

    const P: &str = "com.sun.identity.agents.config.notenforced.url";
    const BASE: &str = "http://www.example.com:80";

    fn findings(more: &str) -> Vec<Finding> {
        let deciders = decider(more);
        let check = Check {
            decider: deciders.plain.as_ref().unwrap(),
            base: BASE.to_owned(),
        };
        check.all().unwrap()
    }

    fn one<'f>(all: &'f [Finding], kind: &str, part: &str) -> &'f Finding {
        let found = all.iter().find(|f| f.kind == kind && f.rule.contains(part));
        found.unwrap_or_else(|| panic!("{kind} {part}: {all:#?}"))
    }

    #[test]
    fn each_kind_is_found_with_the_url_that_proves_it() {
        let all = findings(&format!(
            "{P}[5] = {BASE}/public/deep/*\n{P}[GET,6] = /public/*\n{P}[7] = /free/*\n{P}[GET,8] = /free/x/*\n\
             {P}[9] = {BASE}/logout\nportcullis.deny.rule[0] = url=*/free/closed*\n{P}[10] = /free/closed/*\n"
        ));
        let dead = one(&all, "dead", "url[5]");
        assert!(dead.by.as_ref().unwrap().contains("url[0]"), "{dead:#?}");
        assert!(
            dead.url
                .starts_with("http://www.example.com:80/public/deep/")
        );
        assert_eq!(
            one(&all, "dead", "8]").by.as_ref().unwrap(),
            &format!("{P}[7]=/free/*")
        );
        let denied = one(&all, "contradictory", "url[10]");
        assert!(
            denied
                .by
                .as_ref()
                .unwrap()
                .contains("portcullis.deny.rule[0]")
        );
        assert!(one(&all, "contradictory", "url[9]").says.contains("logout"));
        // What matches more than an earlier one lives.
        assert!(
            !all.iter()
                .any(|f| f.kind == "dead" && f.rule.contains("6]")),
            "{all:#?}"
        );
    }

    #[test]
    fn what_lets_everything_through_is_named() {
        assert_eq!(findings(""), vec![]);
        let all = findings(&format!("{P}[5] = {BASE}/*\n"));
        assert_eq!(one(&all, "wide", "url[5]").method, "GET");
        let all = findings(&format!("{P}[POST,5] = */*\n"));
        assert_eq!(one(&all, "wide", "5]").method, "POST");
        let logout = "com.sun.identity.agents.config.agent.logout.url[1]";
        let all = findings(&format!("{logout} = {BASE}/*\n"));
        assert!(
            one(&all, "wide", "logout.url[1]")
                .says
                .contains("ends the session")
        );
        let inverted = decider("com.sun.identity.agents.config.notenforced.url.invert = true\n");
        let check = Check {
            decider: inverted.plain.as_ref().unwrap(),
            base: BASE.to_owned(),
        };
        assert!(check.all().unwrap().is_empty(), "it names pages");
    }

    /// Numbers that look random and are the same in each run.
    fn dice(seed: &mut u64, sides: usize) -> usize {
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) as usize % sides
    }

    fn random_path(seed: &mut u64, parts: &[&str]) -> String {
        let length = 1 + dice(seed, 4);
        let text: String = (0..length)
            .map(|_| parts[dice(seed, parts.len())])
            .collect();
        format!("/{text}")
    }

    #[test]
    fn what_is_called_dead_never_decides() {
        let (mut seed, mut dead, mut decided) = (1, 0, 0);
        for _ in 0..60 {
            let rules: String = (10..20)
                .map(|n| {
                    let origin = ["", BASE, "http://*:80", "*"][dice(&mut seed, 4)];
                    let method = ["", "GET,", "POST,"][dice(&mut seed, 3)];
                    let path = random_path(&mut seed, &["*", "a", "b", "/", "a/"]);
                    format!("{P}[{method}{n}] = {origin}{path}\n")
                })
                .collect();
            let deciders = decider(&rules);
            let check = Check {
                decider: deciders.plain.as_ref().unwrap(),
                base: BASE.to_owned(),
            };
            let all = check.all().unwrap();
            let named: Vec<&String> = all
                .iter()
                .filter(|f| f.kind == "dead")
                .map(|f| &f.rule)
                .collect();
            dead += named.len();
            for _ in 0..60 {
                let path = random_path(&mut seed, &["a", "b", "/a", "/b", "ab", "a/"]);
                let method = ["GET", "POST", "PUT"][dice(&mut seed, 3)];
                let seen = check.seen(method, &format!("{BASE}{path}")).unwrap();
                let Some(rule) = seen.rule else { continue };
                let rule = check.decider.snap.config.rule(rule);
                decided += 1;
                assert!(
                    !named.contains(&&rule),
                    "{rule} decides {method} {path} in\n{rules}"
                );
            }
        }
        assert!(dead > 30 && decided > 300, "{dead} dead, {decided} decided");
    }
}
