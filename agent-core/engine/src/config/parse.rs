//! From lines to a typed configuration: which source speaks for which property, and every mistake of
//! all files at once.
//!
//! It must not stop at the first mistake, must not fall back to a default quietly, and must not put a
//! secret into a message.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt;

use super::{
    AuditAccess, AuditTo, Config, Dialect, FetchMode, FilterMode, Repository, Sticky, by_path,
    mode,
    raw::{Line, Properties, Source},
    rules,
    table::{From, Kind, PROPERTIES, Property, State},
    values::{self, Values},
};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration works, but not as somebody may expect.
    Warning,
    /// The configuration must not be used.
    Error,
}

/// One mistake: where, what, and what to do about it. Never carries a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Line number from 1, where there is one.
    pub line: Option<u32>,
    /// Where it was written; where it belongs when it is missing.
    pub source: Source,
    /// The property's name; empty when a line has none.
    pub property: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    /// One line: `agent.conf line 12: NAME: WHAT; REMEDY`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if let Some(number) = self.line {
            write!(f, " line {number}")?;
        }
        if !self.property.is_empty() {
            write!(f, ": {}", self.property)?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}

/// The file that holds everything but the two secrets.
pub(super) fn agent_conf() -> Source {
    Source::File("agent.conf".to_owned())
}

/// Reads the configuration: `files` are the lines of `agent.conf` (with the password and key file
/// appended), `profile` what AM sent, if it was asked.
///
/// Bootstrap properties come from the files only. With `repository.location = local`, or as long as
/// there is no profile, everything comes from the files; otherwise run-time properties come from the
/// profile, where a custom property beats the attribute of its name. A few properties ask both, as
/// their rows say. The result must not be used when any problem is an [`Severity::Error`].
pub fn read(files: &Properties, profile: Option<&Properties>) -> (Config, Vec<Problem>) {
    let mut config = Config::default();
    let mut problems = malformed(files, profile);
    let local = is_local(files);
    let profile = profile.filter(|_| !local);
    let mut without_effect = vec![];
    for property in PROPERTIES {
        let lines = choose(property, files, profile, &mut problems, &mut without_effect);
        apply(property, &lines, &mut config, &mut problems);
    }
    if !without_effect.is_empty() {
        problems.push(Problem {
            severity: Severity::Warning,
            line: None,
            source: agent_conf(),
            property: without_effect.join(", "),
            what: "has no effect here because the profile in AM decides it".to_owned(),
            remedy: "set it in AM, or use repository.location = local".to_owned(),
        });
    }
    unknown(files, profile, &mut problems);
    required(files, &config, &mut problems);
    together(&config, &mut problems);
    rules::review(&config, &mut problems);
    by_path::review(&config, &mut problems);
    mode::review(&config, &mut problems);
    super::grace::review(&config, &mut problems);
    problems.sort_by_key(|p| (order(&p.source), p.line.unwrap_or(u32::MAX)));
    (config, problems)
}

fn order(source: &Source) -> (u8, String) {
    match source {
        Source::File(name) if name == "agent.conf" => (0, String::new()),
        Source::File(name) => (1, name.clone()),
        Source::Environment(name) => (2, name.clone()),
        Source::Am => (3, String::new()),
        Source::Custom => (4, String::new()),
    }
}

/// Whether the files alone decide. A wrong value counts as not local; its row reports it.
fn is_local(files: &Properties) -> bool {
    files
        .last("com.sun.identity.agents.config.repository.location")
        .is_some_and(|l| l.value.eq_ignore_ascii_case("local"))
}

fn malformed(files: &Properties, profile: Option<&Properties>) -> Vec<Problem> {
    let lines = files
        .malformed
        .iter()
        .chain(profile.into_iter().flat_map(|p| &p.malformed));
    lines
        .map(|(line, source, why)| Problem {
            severity: Severity::Warning,
            line: *line,
            source: source.clone(),
            property: String::new(),
            what: (*why).to_owned(),
            remedy: "write name = value, or # in front of a comment; the line is ignored"
                .to_owned(),
        })
        .collect()
}

/// The lines of one property in one source; empty ones only where empty means something.
fn lines_of<'l>(property: &Property, all: &'l Properties) -> Vec<&'l Line> {
    all.lines
        .iter()
        .filter(|l| property.is_called(&l.name))
        .filter(|l| !l.value.is_empty() || (property.keeps_empty && l.index.is_none()))
        .collect()
}

/// The lines that count for one property, as [`read`] takes them.
pub(super) fn lines_in_force<'l>(
    property: &Property,
    files: &'l Properties,
    profile: Option<&'l Properties>,
) -> Vec<&'l Line> {
    let profile = profile.filter(|_| !is_local(files));
    choose(property, files, profile, &mut vec![], &mut vec![])
}

/// The lines that count for one property.
fn choose<'l>(
    property: &Property,
    files: &'l Properties,
    profile: Option<&'l Properties>,
    problems: &mut Vec<Problem>,
    without_effect: &mut Vec<&'static str>,
) -> Vec<&'l Line> {
    let here = lines_of(property, files);
    let Some(profile) = profile else { return here };
    let mut there = lines_of(property, profile);
    if there.iter().any(|l| l.source == Source::Custom) {
        there.retain(|l| l.source == Source::Custom);
    }
    match property.from {
        From::File => {
            if let Some(line) = there.iter().find(|l| l.source == Source::Custom) {
                problems.push(problem(
                    Severity::Warning,
                    line,
                    property.name,
                    "is needed before AM can be asked, so it counts only in agent.conf".to_owned(),
                    "move it to agent.conf",
                ));
            }
            here
        }
        From::Profile => {
            // Fallback mode is there for the exemptions of the file.
            let in_reserve = property.name.contains("notenforced");
            if !(here.is_empty() || in_reserve && falls_back(files)) {
                without_effect.push(property.name);
            }
            there
        }
        // By path in the file and for everything in the profile, or the other way round: both count.
        From::FileFirst if property.kind == Kind::Map => {
            let same_form = |line: &&Line| {
                here.iter()
                    .any(|l| l.index.is_some() == line.index.is_some())
            };
            there.retain(|line| !same_form(line));
            here.into_iter().chain(there).collect()
        }
        From::FileFirst if !here.is_empty() => here,
        From::ProfileFirst if there.is_empty() => here,
        From::FileFirst | From::ProfileFirst => there,
    }
}

fn falls_back(files: &Properties) -> bool {
    const NAME: &str = "com.forgerock.agents.config.fallback.mode";
    files.last(NAME).and_then(|l| values::switch(&l.value)) == Some(true)
}

/// Sets one property, or says why it is not set.
fn apply(
    property: &'static Property,
    lines: &[&Line],
    config: &mut Config,
    problems: &mut Vec<Problem>,
) {
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
        return;
    };
    let mut clean = true;
    for line in lines {
        if let Some(what) = unusable(line) {
            let remedy = "write the real value";
            problems.push(problem(Severity::Error, line, property.name, what, remedy));
            clean = false;
        }
    }
    if !clean {
        return;
    }
    match property.state {
        State::Works => (property.set)(config, &mut Values::new(property, lines, problems)),
        _ if is_default(property, lines) => {}
        // AM sends its whole schema; a line that somebody wrote is worth an answer.
        State::NoEffect(_) if first.source == Source::Am => {}
        State::NoEffect(why) => problems.push(problem(
            Severity::Warning,
            last,
            property.name,
            format!("has no effect: {why}"),
            "remove it",
        )),
        State::NotYet => problems.push(problem(
            Severity::Warning,
            last,
            property.name,
            "is not supported by this version and has no effect".to_owned(),
            "remove it, or make sure that nothing depends on it",
        )),
        State::RefusedUnlessDefault(why) => problems.push(problem(
            Severity::Error,
            last,
            property.name,
            format!("is not supported by this version: {why}"),
            "remove it",
        )),
    }
}

/// What no property can use: template words that nobody replaced, and control characters, which
/// would end up in headers and logs.
fn unusable(line: &Line) -> Option<String> {
    if values::is_template_word(&line.value) {
        return Some(format!("{} is still the word of the template", line.value));
    }
    if line.value.chars().any(|c| c.is_control() && c != '\t') {
        return Some("the value contains a control character".to_owned());
    }
    None
}

/// Whether the lines say what holds anyway.
fn is_default(property: &Property, lines: &[&Line]) -> bool {
    let (Some(last), default) = (lines.last(), property.default) else {
        return true;
    };
    match property.kind {
        Kind::List | Kind::Map | Kind::Secret => lines.is_empty(),
        Kind::Switch => values::switch(&last.value) == values::switch(default),
        Kind::Number => match last.value.parse::<i64>() {
            Ok(n) => n == default.parse().unwrap_or(0),
            Err(_) => false,
        },
        Kind::Choice | Kind::Text => last.value.eq_ignore_ascii_case(default),
    }
}

pub(super) fn problem(
    severity: Severity,
    line: &Line,
    property: &str,
    what: String,
    remedy: &str,
) -> Problem {
    Problem {
        severity,
        line: line.number,
        source: line.source.clone(),
        property: property.to_owned(),
        what,
        remedy: remedy.to_owned(),
    }
}

/// One warning for all names that no row knows, each with the nearest known one.
fn unknown(files: &Properties, profile: Option<&Properties>, problems: &mut Vec<Problem>) {
    let mut names: Vec<(&Line, String)> = vec![];
    for line in files
        .lines
        .iter()
        .chain(profile.into_iter().flat_map(|p| &p.lines))
    {
        let known = PROPERTIES.iter().any(|p| p.is_called(&line.name));
        if known || names.iter().any(|(l, _)| l.name == line.name) {
            continue;
        }
        let place = line
            .number
            .map(|n| format!(" (line {n})"))
            .unwrap_or_default();
        let meant = nearest(&line.name, names_of_properties())
            .map(|n| format!(", meant {n}?"))
            .unwrap_or_default();
        names.push((line, format!("{}{place}{meant}", line.name)));
    }
    let Some((first, _)) = names.first() else {
        return;
    };
    let list: Vec<&str> = names.iter().map(|(_, text)| text.as_str()).collect();
    problems.push(Problem {
        severity: Severity::Warning,
        line: None,
        source: first.source.clone(),
        property: String::new(),
        what: format!("{} unknown: {}", names.len(), list.join(", ")),
        remedy: "correct or remove them; they have no effect".to_owned(),
    });
}

fn names_of_properties() -> impl Iterator<Item = &'static str> {
    let names = |p: &'static Property| core::iter::once(p.name).chain(p.aliases.iter().copied());
    PROPERTIES.iter().flat_map(names)
}

/// The known name with the fewest edits, if it is near enough to be meant.
pub(super) fn nearest(
    name: &str,
    known: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let (distance, best) = known.map(|n| (edits(name, n), n)).min_by_key(|(d, _)| *d)?;
    (distance <= 2 + name.len() / 12).then_some(best)
}

/// Levenshtein distance in bytes; names are short and this runs once at start.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Names without which AM cannot be asked. A wrong value has been reported already.
fn required(files: &Properties, config: &Config, problems: &mut Vec<Problem>) {
    const USERNAME: &str = "com.sun.identity.agents.config.username";
    const NAMING: &str = "com.sun.identity.agents.config.naming.url";
    let missing = [
        (
            USERNAME,
            config.username.is_empty(),
            "write the name of the agent's profile in AM",
        ),
        (
            NAMING,
            config.naming_url.is_empty(),
            "write AM's URL, as in https://am.example.com/am/",
        ),
    ];
    for (name, empty, remedy) in missing {
        if empty && files.last(name).is_none() {
            problems.push(Problem {
                severity: Severity::Error,
                line: None,
                source: agent_conf(),
                property: name.to_owned(),
                what: "is missing".to_owned(),
                remedy: remedy.to_owned(),
            });
        }
    }
}

/// What only several properties together show.
fn together(config: &Config, problems: &mut Vec<Problem>) {
    let source = match config.repository {
        Repository::Local => agent_conf(),
        Repository::Centralized => Source::Am,
    };
    let mut add = |severity, property: &str, what: &str, remedy: &str| {
        problems.push(Problem {
            severity,
            line: None,
            source: source.clone(),
            property: property.to_string(),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        });
    };
    super::tls::together(config, &mut add);
    if config.rules_only.is_some() && config.repository == Repository::Centralized {
        add(
            Severity::Error,
            "portcullis.autonomous.mode",
            "never asks AM, and repository.location says that the profile is in AM",
            "set com.sun.identity.agents.config.repository.location = local",
        );
    }
    if config.post_preserve && config.allow_custom_login != 0 {
        add(
            Severity::Warning,
            "com.sun.identity.agents.config.postdata.preserve.enable",
            "keeps nothing with allow.custom.login = 1 or 2, where a login leads through somebody else's page",
            "use allow.custom.login = 0",
        );
    }
    if (config.post_sticky != Sticky::None) != config.post_sticky_value.is_some() {
        add(
            Severity::Warning,
            "com.sun.identity.agents.config.postdata.preserve.stickysession.mode",
            "has no effect without its value, nor the value without it",
            "set both or none",
        );
    }
    if config.jwt_name == config.cookie_name {
        add(
            Severity::Error,
            "org.forgerock.openam.agents.config.jwt.name",
            "is also the name of AM's session cookie",
            "give the agent's cookie a name of its own, as in am-auth-jwt",
        );
    }
    if config.cookie_samesite.as_deref() == Some("None") && !config.cookie_secure {
        add(
            Severity::Warning,
            "com.forgerock.agents.cdsso.cookie.samesite",
            "browsers drop SameSite=None cookies that are not Secure",
            "set com.sun.identity.agents.config.cookie.secure = true",
        );
    }
    if matches!(
        (config.allow_custom_login, config.accept_sso_token),
        (1, true) | (2, false)
    ) {
        add(
            Severity::Error,
            "org.forgerock.openam.agents.config.allow.custom.login",
            "does not go with com.forgerock.agents.accept.sso.token",
            "use 0 with either, 1 with 0, or 2 with 1",
        );
    }
    if config.login_cdcservlet && config.dialect == Dialect::PingAm {
        add(
            Severity::Error,
            "portcullis.login.cdcservlet",
            "goes with OpenAM only: other servers have no /cdcservlet",
            "leave it out",
        );
    }
    let for_am = config.audit_access != AuditAccess::None && config.audit_to != AuditTo::Local;
    if for_am && config.dialect == Dialect::PingAm {
        add(
            Severity::Warning,
            "com.sun.identity.agents.config.log.disposition",
            "names AM, and only OpenAM is known to take audit events: they go into the local file",
            "use LOCAL",
        );
    }
    if config.client_ip_header.is_some() && config.trusted_proxies.is_empty() {
        add(
            Severity::Warning,
            "com.sun.identity.agents.config.client.ip.header",
            "is anybody's word as long as no proxy is trusted, so clients' addresses are unknown",
            "name the proxies in portcullis.trusted.proxies",
        );
    }
    if config.client_hostname_header.is_some() && config.trusted_proxies.is_empty() {
        add(
            Severity::Warning,
            "com.sun.identity.agents.config.client.hostname.header",
            "is anybody's word as long as no proxy is trusted, so it has no effect",
            "name the proxies in portcullis.trusted.proxies",
        );
    }
    if (config.override_protocol || config.override_host || config.override_port)
        && config.agenturi_prefix.is_none()
    {
        add(
            Severity::Error,
            "com.sun.identity.agents.config.agenturi.prefix",
            "is missing, and override.protocol, override.host or override.port takes from it",
            "set it to the URL by which browsers reach this server",
        );
    }
    if config.fqdn_check && config.fqdn_default.is_none() {
        add(
            Severity::Warning,
            "com.sun.identity.agents.config.fqdn.check.enable",
            "has no effect, because com.sun.identity.agents.config.fqdn.default is not set",
            "set it to the host name that users shall use",
        );
    }
    if config.sso_only && config.filter_mode == Some(FilterMode::UrlPolicy) {
        add(
            Severity::Warning,
            "com.sun.identity.agents.config.sso.only",
            "has no effect, because portcullis.filter.mode is URL_POLICY",
            "remove one of them",
        );
    }
    if config.policy_user_realm && !config.policy_realms.is_empty() {
        add(
            Severity::Warning,
            "org.forgerock.openam.agents.config.policy.evaluation.realm",
            "has no effect by path, because portcullis.policy.user.realm is true",
            "remove one of them",
        );
    }
    if config.notenforced_invert && config.notenforced_url.is_empty() {
        add(
            Severity::Warning,
            "com.sun.identity.agents.config.notenforced.url.invert",
            "inverts a list without entries, which protects everything",
            "list the URLs to protect, or remove it",
        );
    }
    for (map, name) in [
        (&config.session_attributes, "session"),
        (&config.profile_attributes, "profile"),
        (&config.response_attributes, "response"),
    ] {
        if map.mode != FetchMode::None && map.map.is_empty() {
            add(
                Severity::Warning,
                &format!("com.sun.identity.agents.config.{name}.attribute.fetch.mode"),
                "is on, but the map beside it is empty",
                "fill the map, or set NONE",
            );
        }
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
