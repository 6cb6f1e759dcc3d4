//! What would become of many requests, by outcome and rule, and which of them would another agent.conf treat
//! otherwise?
//!
//! Counts as it reads, so that a log of any length takes the memory of its different outcomes. What no log
//! knows (session, policy, body) is assumed, and said and counted as such.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, IsTerminal, Write},
};

use anyhow::Result;
use portcullis_engine::{
    contract::{Decision, Outcome},
    decide::outcome_word,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Deciders, Line,
    access_log::{Format, Logged},
    answer::Failed,
    facts::Told,
    next_line,
    question::{PolicyGiven, Question, SessionGiven, Unreadable},
};

/// Requests that are shown of each outcome.
const EXAMPLES: usize = 3;
/// Lines that could not be read and are named.
const NAMED: usize = 5;
/// Longest URL that is shown.
const MAX_URL: usize = 200;
/// On a terminal, so often the number of lines is told.
const PROGRESS: u64 = 50_000;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Verdict {
    pub(super) outcome: &'static str,
    pub(super) status: Option<u16>,
    pub(super) reason: String,
    pub(super) matched: Option<String>,
    /// Which facts decided: none; the session; the session and AM's policy.
    pub(super) rests_on: &'static str,
}

impl Verdict {
    pub(super) fn of(decision: &Decision<'_>, matched: Option<String>, told: &Told) -> Verdict {
        let status = match &decision.outcome {
            Outcome::Respond(response) => Some(response.status),
            Outcome::Allow(_) | Outcome::Replay => None,
        };
        let asked = told.asked();
        Verdict {
            outcome: outcome_word(status, decision.reason),
            status,
            reason: format!("PCL{:04}", decision.reason.number()),
            matched,
            rests_on: match (asked.contains(&"policy"), asked.contains(&"session")) {
                (true, _) => "session and policy",
                (false, true) => "session",
                (false, false) if (200..204).contains(&decision.reason.number()) => "session",
                (false, false) => "",
            },
        }
    }

    fn differs(&self, other: &Verdict) -> bool {
        (self.outcome, self.status) != (other.outcome, other.status)
    }

    fn text(&self) -> String {
        let mut text = self.outcome.to_owned();
        if let Some(status) = self.status {
            text.push_str(&format!(" {status}"));
        }
        text.push_str(&format!(" {}", self.reason));
        if let Some(rule) = &self.matched {
            text.push_str(&format!(" because {rule}"));
        }
        text
    }
}

/// What is taken for granted of requests in a log.
pub(super) struct Assumed {
    pub(super) format: Format,
    /// Scheme, host and port, where the log does not have them.
    pub(super) base: String,
    /// Everybody is logged in as this user, and AM's policy allows everything.
    pub(super) user: Option<String>,
    pub(super) realm: String,
}

/// Requests with one verdict, or with one change of it.
#[derive(Default, Serialize)]
struct Group {
    count: u64,
    examples: Vec<Value>,
}

/// Counts of a whole input.
pub(super) struct Survey<'d> {
    before: &'d Deciders,
    after: Option<&'d Deciders>,
    assumed: Option<Assumed>,
    as_json: bool,
    lines: u64,
    requests: u64,
    skipped: u64,
    unreadable: u64,
    unreadable_lines: Vec<Value>,
    same: u64,
    /// Requests that another line decides in the same way.
    same_otherwise: u64,
    clients_unknown: u64,
    rests_on: BTreeMap<&'static str, u64>,
    groups: BTreeMap<(Verdict, Option<Verdict>), Group>,
}

impl<'d> Survey<'d> {
    /// Of JSON lines, or of a log where `assumed` says so; `after` is compared with.
    pub(super) fn new(
        before: &'d Deciders,
        after: Option<&'d Deciders>,
        assumed: Option<Assumed>,
        as_json: bool,
    ) -> Survey<'d> {
        Survey {
            before,
            after,
            assumed,
            as_json,
            lines: 0,
            requests: 0,
            skipped: 0,
            unreadable: 0,
            unreadable_lines: Vec::new(),
            same: 0,
            same_otherwise: 0,
            clients_unknown: 0,
            rests_on: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Reads everything, then prints. Whether every line was read, and whether all stays the same.
    pub(super) fn run(
        mut self,
        mut input: impl BufRead,
        out: &mut impl Write,
    ) -> Result<(bool, bool)> {
        let terminal = io::stderr().is_terminal();
        let mut line = Vec::new();
        loop {
            line.clear();
            let whole = next_line(&mut input, &mut line)?;
            if line.is_empty() && whole {
                break;
            }
            self.lines += 1;
            if terminal && self.lines.is_multiple_of(PROGRESS) {
                eprint!("\r{} lines", self.lines);
            }
            if whole && line.trim_ascii().is_empty() {
                continue;
            }
            let looked = match whole {
                true => self.line(&String::from_utf8_lossy(&line), out),
                false => Ok(Err("the line is too long".to_owned())),
            };
            if let Err(what) = looked? {
                self.failed(&what);
            }
        }
        if terminal && self.lines >= PROGRESS {
            eprintln!("\r{} lines", self.lines);
        }
        match self.as_json {
            true => writeln!(out, "{}", self.json())?,
            false => self.text(out)?,
        }
        let same = self.requests == self.same;
        Ok((self.unreadable == 0, same))
    }

    fn failed(&mut self, what: &str) {
        self.unreadable += 1;
        if self.unreadable_lines.len() < NAMED {
            let failed = Failed {
                id: Value::Null,
                line: self.lines,
                error: what,
            };
            self.unreadable_lines.push(json!(failed));
        }
    }

    /// Decides one line, with both configurations; the inner error is the line's.
    fn line(&mut self, line: &str, out: &mut impl Write) -> Result<Result<(), String>> {
        let question = match self.question(line) {
            Ok(Some(question)) => question,
            Ok(None) => return Ok(Ok(())),
            Err(what) => return Ok(Err(what)),
        };
        let before = match self.before.verdict(&question) {
            Ok(before) => before,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let after = match self.after.map(|after| after.verdict(&question)).transpose() {
            Ok(after) => after,
            Err(error) => return Ok(Err(format!("--against: {error}"))),
        };
        self.requests += 1;
        if !before.rests_on.is_empty() {
            *self.rests_on.entry(before.rests_on).or_default() += 1;
        }
        let Some(after) = after else {
            self.same += 1;
            self.count(before, None, &question);
            return Ok(Ok(()));
        };
        if !before.differs(&after) {
            self.same += 1;
            self.same_otherwise += u64::from(before.matched != after.matched);
            return Ok(Ok(()));
        }
        if self.as_json {
            let mut example = self.example(&question);
            example["before"] = json!(before);
            example["after"] = json!(after);
            writeln!(out, "{example}")?;
        }
        self.count(before, Some(after), &question);
        Ok(Ok(()))
    }

    fn count(&mut self, before: Verdict, after: Option<Verdict>, question: &Question) {
        let example = self.example(question);
        let group = self.groups.entry((before, after)).or_default();
        group.count += 1;
        if group.examples.len() < EXAMPLES {
            group.examples.push(example);
        }
    }

    /// The request without its query.
    fn example(&self, question: &Question) -> Value {
        let scheme = if question.tls { "https" } else { "http" };
        let path = question.target.split(['?', '#']).next();
        let url = format!(
            "{scheme}://{}{}",
            question.authority,
            path.unwrap_or_default()
        );
        let clean = |c: char| if c.is_control() { '?' } else { c };
        json!({
            "line": self.lines,
            "id": question.id,
            "method": question.method.chars().map(clean).take(20).collect::<String>(),
            "url": url.chars().map(clean).take(MAX_URL).collect::<String>(),
        })
    }

    /// The request of a line; none where it only belongs to others or cannot be decided again.
    fn question(&mut self, line: &str) -> Result<Option<Question>, String> {
        let said = |error: Unreadable| error.what;
        match &self.assumed {
            Some(assumed) => {
                let logged = assumed
                    .format
                    .read(line.trim_end())
                    .map_err(str::to_owned)?;
                self.clients_unknown += u64::from(logged.client.is_none());
                assumed.question(logged).map(Some)
            }
            None => {
                if let Some(after) = self.after {
                    // It is told of the lines that belong to others.
                    after.read_line(line).map_err(said)?;
                }
                match self.before.read_line(line).map_err(said)? {
                    Line::Question(question) => Ok(Some(*question)),
                    Line::Skipped(_) => {
                        self.skipped += 1;
                        Ok(None)
                    }
                    Line::Elsewhere => Ok(None),
                }
            }
        }
    }

    fn assumptions(&self) -> Option<String> {
        let assumed = self.assumed.as_ref()?;
        Some(match &assumed.user {
            Some(user) => format!(
                "everybody has a live session as {user}, and AM's policy allows every method on every URL"
            ),
            None => "nobody is logged in; --as-user NAME assumes a live session that AM's policy allows \
                     everything"
                .to_owned(),
        })
    }

    fn json(&self) -> Value {
        let groups = self.groups.iter().map(|((before, after), group)| {
            let mut all = json!(group);
            match after {
                Some(after) => {
                    all["before"] = json!(before);
                    all["after"] = json!(after);
                }
                None => all["verdict"] = json!(before),
            }
            all
        });
        json!({ "summary": {
            "requests": self.requests,
            "assumed": self.assumptions(),
            "rest_on": self.rests_on,
            "addresses_unknown": self.clients_unknown,
            "not_replayable": self.skipped,
            "unreadable": self.unreadable,
            "unreadable_lines": self.unreadable_lines,
            "unchanged": self.after.map(|_| self.same),
            "unchanged_by_another_rule": self.after.map(|_| self.same_otherwise),
            "groups": groups.collect::<Vec<_>>(),
        }})
    }

    fn text(&self, out: &mut impl Write) -> Result<()> {
        writeln!(out, "{} requests", self.requests)?;
        if let Some(assumed) = self.assumptions() {
            writeln!(out, "assumed: {assumed}")?;
            writeln!(out, "assumed: no cookies and no bodies; a log has none")?;
        }
        for (facts, count) in &self.rests_on {
            writeln!(out, "{count} of them rest on {facts}")?;
        }
        if self.clients_unknown > 0 {
            let count = self.clients_unknown;
            writeln!(
                out,
                "{count} lines have a name in place of the address: rules about addresses cannot be judged"
            )?;
        }
        if self.after.is_some() {
            let (changed, other) = (self.requests - self.same, self.same_otherwise);
            writeln!(
                out,
                "{changed} change their outcome; {other} keep it by another rule"
            )?;
        }
        writeln!(out)?;
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
        for ((before, after), group) in groups {
            writeln!(out, "{:9} {}", group.count, before.text())?;
            if let Some(after) = after {
                writeln!(out, "{:>9} {}", "->", after.text())?;
            }
            for example in &group.examples {
                let part = |name: &str| example[name].as_str().unwrap_or_default();
                let (method, url) = (part("method"), part("url"));
                writeln!(out, "            {method} {url} (line {})", example["line"])?;
            }
        }
        if self.skipped > 0 {
            writeln!(
                out,
                "{} recorded requests cannot be decided again",
                self.skipped
            )?;
        }
        if self.unreadable > 0 {
            writeln!(out, "{} lines could not be read:", self.unreadable)?;
            for line in &self.unreadable_lines {
                let error = line["error"].as_str().unwrap_or_default();
                writeln!(out, "            line {}: {error}", line["line"])?;
            }
        }
        Ok(())
    }
}

impl Assumed {
    fn question(&self, logged: Logged) -> Result<Question, String> {
        let whole = ["http://", "https://"]
            .iter()
            .any(|scheme| logged.target.starts_with(scheme));
        let url = match (whole, &logged.host) {
            (true, _) => logged.target.clone(),
            (false, None) => format!("{}{}", self.base, slashed(&logged.target)),
            (false, Some(host)) => {
                let base = self.base.split("://").next().unwrap_or("https");
                let scheme = match (&logged.scheme, host.rsplit_once(':')) {
                    (Some(scheme), _) => scheme.as_str(),
                    (None, Some((_, "443"))) => "https",
                    (None, Some((_, "80"))) => "http",
                    _ => base,
                };
                format!("{scheme}://{host}{}", slashed(&logged.target))
            }
        };
        let session = self
            .user
            .as_ref()
            .map(|user| SessionGiven::of(user, &self.realm));
        let policy = self
            .user
            .as_ref()
            .map(|_| PolicyGiven::allows(&logged.method));
        Question::logged(
            (&logged.method, &url),
            logged.client,
            logged.headers,
            (session, policy),
        )
    }
}

/// `OPTIONS *` has no path.
fn slashed(target: &str) -> String {
    match target.starts_with('/') {
        true => target.to_owned(),
        false => format!("/{target}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::decider, *};

    fn log(user: Option<&str>) -> Assumed {
        Assumed {
            format: Format::Combined,
            base: "http://www.example.com:80".into(),
            user: user.map(str::to_owned),
            realm: "/".into(),
        }
    }

    fn line(method: &str, target: &str) -> String {
        let time = "10/Oct/2026:13:55:36 +0000";
        format!("192.0.2.7 - - [{time}] \"{method} {target} HTTP/1.1\" 200 1 \"-\" \"x\"\n")
    }

    fn surveyed(survey: Survey<'_>, input: &str) -> (Vec<Value>, (bool, bool)) {
        let mut out = Vec::new();
        let ended = survey.run(input.as_bytes(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        (lines.collect(), ended)
    }

    #[test]
    fn a_log_is_counted_by_outcome_and_rule() {
        let before = decider("");
        let input = [
            line("GET", "/public/a?key=s3cret"),
            line("GET", "/public/b"),
            line("GET", "/app/page"),
            line("GET", "http://www.example.com:80/icons/x"),
            "nonsense\n".to_owned(),
        ]
        .concat();
        let (lines, ended) = surveyed(Survey::new(&before, None, Some(log(None)), true), &input);
        assert_eq!(ended, (false, true));
        let summary = &lines[0]["summary"];
        let told = summary.to_string();
        assert!(!told.contains("s3cret"), "{told}");
        assert_eq!(
            (&summary["requests"], &summary["unreadable"]),
            (&json!(4), &json!(1))
        );
        assert_eq!(summary["unreadable_lines"][0]["line"], 5);
        assert_eq!(summary["rest_on"], json!({ "session": 1 }), "{summary:#}");
        let groups = summary["groups"].as_array().unwrap();
        let exempt = groups.iter().find(|g| g["count"] == 2).unwrap();
        let rule = exempt["verdict"]["matched"].as_str().unwrap();
        assert!(rule.contains("notenforced.url[0]="), "{rule}");
        assert_eq!(
            exempt["examples"][0]["url"],
            "http://www.example.com:80/public/a"
        );
        assert_eq!(groups.len(), 3, "{summary:#}");

        let (lines, _) = surveyed(
            Survey::new(&before, None, Some(log(Some("demo"))), true),
            &input,
        );
        let summary = &lines[0]["summary"];
        assert_eq!(
            summary["rest_on"],
            json!({ "session and policy": 1 }),
            "{summary:#}"
        );
        let groups = summary["groups"].as_array().unwrap();
        assert!(
            groups.iter().all(|g| g["verdict"]["outcome"] == "allow"),
            "{summary:#}"
        );
    }

    #[test]
    fn what_another_file_changes_is_named_with_the_rules_of_both_sides() {
        let (before, after) = (
            decider(""),
            decider("portcullis.deny.rule[0] = url=*/public/b*\n"),
        );
        let requests = ["/public/a", "/public/b", "/app"].map(|target| line("GET", target));
        let log_lines = requests.concat();
        let json_lines: String = ["/public/a", "/public/b", "/app"]
            .map(|path| format!("{}\n", super::super::tests::get(path)))
            .concat();
        for (assumed, input) in [(Some(log(None)), log_lines), (None, json_lines)] {
            let survey = Survey::new(&before, Some(&after), assumed, true);
            let (lines, ended) = surveyed(survey, &input);
            assert_eq!((lines.len(), ended), (2, (true, false)), "{lines:#?}");
            let changed = &lines[0];
            assert_eq!(
                (&changed["line"], &changed["before"]["outcome"]),
                (&json!(2), &json!("allow"))
            );
            assert_eq!(changed["after"]["reason"], "PCL0410");
            let rule = changed["after"]["matched"].as_str().unwrap();
            assert!(rule.contains("portcullis.deny.rule[0]"), "{rule}");
            assert_eq!(lines[1]["summary"]["unchanged"], 2);
        }
        let same = Survey::new(&before, Some(&before), Some(log(None)), false);
        let mut out = Vec::new();
        let ended = same.run(requests.concat().as_bytes(), &mut out).unwrap();
        assert_eq!(ended, (true, true));
        assert!(
            String::from_utf8(out)
                .unwrap()
                .contains("0 change their outcome")
        );
    }

    #[test]
    fn any_number_of_lines_takes_the_memory_of_their_outcomes() {
        let before = decider("");
        let mut survey = Survey::new(&before, None, Some(log(None)), true);
        for n in 0..2_000 {
            let line = line("GET", &format!("/app/{n}"));
            survey.line(&line, &mut io::sink()).unwrap().unwrap();
        }
        assert_eq!(survey.groups.len(), 1);
        let (_, group) = survey.groups.first_key_value().unwrap();
        assert_eq!((group.count, group.examples.len()), (2_000, EXAMPLES));
    }
}
