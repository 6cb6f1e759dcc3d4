//! What is printed about one request: as JSON for programs, as text for people.
//!
//! It must not print a secret: the value of AM's session cookie is left out of `Cookie`.

use std::fmt::Write;

use portcullis_engine::{
    config::{Config, Enforcement, Snapshot},
    contract::{Decision, Outcome, RequestView, RuleId, RuleList, Second, Sink, Why},
    decide::{Phase, Trace, outcome_word},
    event::Code,
    token::cookie,
};
use serde::Serialize;
use serde_json::Value;

use super::rules::Rules;

/// Name and value of a header.
type Header = (String, String);

/// One line of output.
#[derive(Serialize)]
pub(super) struct Answer {
    id: Value,
    outcome: &'static str,
    status: Option<u16>,
    reason: String,
    matched: Option<String>,
    url: String,
    user: Option<String>,
    response_headers: Vec<Header>,
    set_request_headers: Vec<Header>,
    removed_request_headers: Vec<String>,
    trace: Vec<Entry>,
}

/// One step on the way to the decision.
#[derive(Serialize)]
struct Entry {
    phase: &'static str,
    /// A rule of the phase, as configured; absent for the phase as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    result: String,
}

/// A recorded request that cannot be decided again.
#[derive(Serialize)]
pub(super) struct Skipped {
    pub(super) id: Value,
    pub(super) not_replayable: String,
}

/// A line that could not be answered.
#[derive(Serialize)]
pub(super) struct Failed<'e> {
    pub(super) id: Value,
    pub(super) line: u64,
    pub(super) error: &'e str,
}

/// Takes the edits of a decision down.
#[derive(Default)]
struct Edits {
    user: Option<String>,
    response: Vec<Header>,
    set: Vec<Header>,
    removed: Vec<String>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Sink for Edits {
    fn request_header(&mut self, name: &[u8], value: &[u8]) {
        self.set.push((text(name), text(value)));
    }

    fn remove_request_header(&mut self, name: &[u8]) {
        self.removed.push(text(name));
    }

    fn variable(&mut self, _: &[u8], _: &[u8]) {}

    fn user(&mut self, name: &[u8]) {
        self.user = Some(text(name));
    }

    fn response_header(&mut self, name: &[u8], value: &[u8]) {
        self.response.push((text(name), text(value)));
    }
}

impl Answer {
    /// Puts a decision into words.
    pub(super) fn of(
        id: Value,
        decision: &Decision<'_>,
        trace: &Trace,
        asked: &[&str],
        req: &RequestView<'_>,
        snap: &Snapshot,
        rules: &Rules,
    ) -> Answer {
        let mut edits = Edits::default();
        let status = match &decision.outcome {
            Outcome::Allow(_) => {
                decision.edits.walk(req, &mut Vec::new(), &mut edits);
                None
            }
            Outcome::Respond(response) => {
                let headers = response.headers.iter();
                edits.response = headers.map(|(n, v)| (n.to_string(), text(v))).collect();
                Some(response.status)
            }
            // What takes its place is decided by itself.
            Outcome::Replay => None,
        };
        for (name, value) in &mut edits.set {
            if name.eq_ignore_ascii_case("cookie") {
                *value = without_token(value, &snap.config.cookie_name);
            }
        }
        Answer {
            id,
            outcome: outcome_word(status, decision.reason),
            status,
            reason: format!("PCL{:04}", decision.reason.number()),
            matched: matched(decision, trace, rules, &snap.config),
            url: trace.url.clone(),
            user: edits.user,
            response_headers: edits.response,
            set_request_headers: edits.set,
            removed_request_headers: edits.removed,
            trace: entries(decision, trace, asked, rules, &snap.config),
        }
    }

    /// For people.
    pub(super) fn human(&self, method: &str, url: &str) -> String {
        let mut out = format!("{method} {url}\n");
        let _ = write!(out, "  {}", self.outcome);
        if let Some(status) = self.status {
            let _ = write!(out, " {status}");
        }
        let code = Code::ALL
            .iter()
            .find(|c| self.reason == format!("PCL{:04}", c.number()));
        if let Some(row) = code.map(|code| code.row()) {
            let _ = writeln!(out, ": {} {}", self.reason, row.text);
            let _ = writeln!(out, "    cause:   {}", row.cause);
            let _ = writeln!(out, "    remedy:  {}", row.remedy);
        }
        if let Some(rule) = &self.matched {
            let _ = writeln!(out, "    because: {rule}");
        }
        if let Some(user) = &self.user {
            let _ = writeln!(out, "    user:    {user}");
        }
        for (name, value) in &self.set_request_headers {
            let _ = writeln!(out, "    set for the application:      {name}: {value}");
        }
        for name in &self.removed_request_headers {
            let _ = writeln!(out, "    removed from the request:     {name}");
        }
        for (name, value) in &self.response_headers {
            let _ = writeln!(out, "    set in the response:          {name}: {value}");
        }
        if !self.url.is_empty() {
            let _ = writeln!(out, "  compared as {}", self.url);
        }
        for entry in &self.trace {
            let _ = match &entry.rule {
                None => writeln!(out, "  {}: {}", entry.phase, entry.result),
                Some(rule) => writeln!(out, "    {:11} {rule}", entry.result),
            };
        }
        out
    }
}

/// The configured line that decided.
pub(super) fn matched(
    decision: &Decision<'_>,
    trace: &Trace,
    rules: &Rules,
    config: &Config,
) -> Option<String> {
    let first = |all: &[bool]| all.iter().position(|hit| *hit);
    if let Some(rule) = decision.rule {
        return Some(config.rule(rule));
    }
    match (&decision.outcome, trace.last?) {
        (Outcome::Allow(grant), _) if grant.why() == Why::SsoOnly => rules.sso_only(),
        (_, Phase::Logout) => first(&trace.logout).map(|rule| rules.logout(rule)),
        _ => None,
    }
}

/// Every phase, with its rules, in order.
fn entries(
    decision: &Decision<'_>,
    trace: &Trace,
    asked: &[&str],
    rules: &Rules,
    config: &Config,
) -> Vec<Entry> {
    let mut all = vec![];
    all.extend(mode(decision, trace).map(|result| Entry {
        phase: "mode",
        rule: None,
        result,
    }));
    for phase in Phase::ALL {
        let reached = trace.last.is_some_and(|last| phase <= last);
        let decided =
            trace.last == Some(phase) || (trace.last.is_none() && phase == Phase::Headers);
        let result = match (decided, reached) {
            (true, _) => decided_by(decision),
            (false, true) => "passed".to_owned(),
            (false, false) => "not reached".to_owned(),
        };
        all.push(Entry {
            phase: phase.name(),
            rule: None,
            result,
        });
        let rules = match phase {
            Phase::Logout => logout(trace, rules, reached),
            Phase::Denied => listed(decision, config, &[RuleList::Deny], &trace.denied),
            Phase::NotEnforced => listed(
                decision,
                config,
                &RuleList::NOT_ENFORCED,
                &trace.not_enforced,
            ),
            Phase::Policy if !trace.policies.is_empty() => vec![(trace.policies.clone(), "asked")],
            _ => continue,
        };
        all.extend(rules.into_iter().map(|(name, result)| Entry {
            phase: phase.name(),
            rule: Some(name),
            result: result.to_owned(),
        }));
    }
    if !asked.is_empty() {
        all.push(Entry {
            phase: "facts looked up",
            rule: None,
            result: asked.join(", "),
        });
    }
    all
}

/// Whether what is decided is carried out, where that is a question.
fn mode(decision: &Decision<'_>, trace: &Trace) -> Option<String> {
    let mode = trace.mode.filter(|mode| *mode != Enforcement::Enforce)?;
    let mut text = mode.word().to_owned();
    if let Some(would) = &decision.would {
        let row = would.code.row();
        let (number, status) = (row.number, would.status);
        let _ = write!(text, ": would be PCL{number:04} {status}: {}", row.text);
    }
    if let Some(shadow) = &decision.shadow {
        let second = match &shadow.second {
            Second::Known(opinion) => opinion.text(),
            Second::Ask(_) => "asked after the response",
        };
        let _ = write!(text, ": {}: {second}", shadow.place);
    }
    Some(text)
}

/// The logout patterns, each with what became of it.
fn logout(trace: &Trace, rules: &Rules, reached: bool) -> Vec<(String, &'static str)> {
    let first = trace.logout.iter().position(|hit| *hit);
    let names = rules.logout_rules().iter().enumerate();
    let result = |at| match (reached, first) {
        (false, _) => "not reached",
        (true, Some(first)) if at > first => "not reached",
        (true, Some(first)) if at == first => "hit",
        (true, _) => "miss",
    };
    names.map(|(at, name)| (name.clone(), result(at))).collect()
}

/// The rules of some lists, each with what became of it. An entry of an inverted list that matches
/// decides nothing by itself: it is only listed.
fn listed(
    decision: &Decision<'_>,
    config: &Config,
    lists: &[RuleList],
    looked_at: &[(RuleId, bool)],
) -> Vec<(String, &'static str)> {
    let mut decided = looked_at.is_empty();
    let result = |rule: RuleId| {
        let hit = looked_at.contains(&(rule, true));
        let result = match (decided, hit) {
            (true, _) => "not reached",
            (false, _) if decision.rule == Some(rule) => "hit",
            (false, true) => "listed",
            (false, false) => "miss",
        };
        decided |= decision.rule == Some(rule);
        (config.rule(rule), result)
    };
    config.rule_ids(lists).into_iter().map(result).collect()
}

fn decided_by(decision: &Decision<'_>) -> String {
    let code = decision.reason;
    let mut text = format!("decided: PCL{:04} {}", code.number(), code.row().text);
    if !decision.detail.is_empty() {
        let _ = write!(text, " ({})", decision.detail);
    }
    text
}

/// A `Cookie` header without the token in AM's session cookie.
fn without_token(value: &str, name: &str) -> String {
    let mut rest = Vec::new();
    let bytes = value.as_bytes();
    if name.is_empty() || !cookie::without([bytes], |n| n == name.as_bytes(), &mut rest) {
        return value.to_owned();
    }
    let mut out = text(&rest);
    if !out.is_empty() {
        out.push_str("; ");
    }
    out + name + "=***"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_printed() {
        assert_eq!(without_token("a=b; c=d", "iPlanetDirectoryPro"), "a=b; c=d");
        assert_eq!(
            without_token("a=b; am=tok.*; c=d", "am"),
            "a=b; c=d; am=***"
        );
        assert_eq!(without_token("am=tok.*", "am"), "am=***");
        assert_eq!(without_token("am=tok.*", ""), "am=tok.*");
    }
}
