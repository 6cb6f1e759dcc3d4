//! What would visitors of all kinds meet on a page while AM is away?
//!
//! The engine decides, with facts that say what would be known. Must not know how long anything lasts.

use anyhow::{Context, Result};
use portcullis_engine::{
    contract::{Decision, Outcome},
    decide::outcome_word,
    event::Code,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::explain::Decider;

/// Milliseconds by which intervals are over in what is tried: no grace is shorter.
const JUST_OVER: u64 = 1;
/// A path that no rule means by name.
const ANY: &str = "/portcullis-probe";
/// The address that the engine takes for a visitor whose request names none.
const ADDRESS: &str = "192.0.2.1";

/// Somebody who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Who {
    /// Not logged in.
    New,
    NewWithForm,
    /// Logged in, and what AM said of session and page still counts.
    Lately,
    LatelyWithForm,
    /// Logged in, and AM was not asked about this page lately.
    OtherPage,
    /// Logged in; what AM said is out of date by a moment.
    Over,
    OverWithForm,
    /// Logged in, and not known to this web server.
    Unknown,
}

/// What becomes of a request.
#[derive(Debug, Serialize)]
pub(super) struct Case {
    pub(super) who: Who,
    pub(super) method: &'static str,
    pub(super) outcome: &'static str,
    pub(super) status: Option<u16>,
    pub(super) code: String,
    pub(super) says: &'static str,
    /// Title of the agent's own page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) page: Option<String>,
    /// Scheme, host and port that a redirect leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) leads_to: Option<String>,
    /// The configured line that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) because: Option<String>,
}

/// A page, and what becomes of whoever asks for it.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    pub(super) url: String,
    /// Everybody is let in, whatever AM says.
    pub(super) exempt: bool,
    /// A session is enough: no policy is asked for.
    pub(super) session_only: bool,
    /// For how long beyond its interval what AM said counts.
    pub(super) grace_seconds: u32,
    pub(super) visitors: Vec<Case>,
}

/// What is known of somebody.
#[derive(Clone, Copy)]
enum Known {
    Nothing,
    Session,
    All,
    Over(u64),
    Lost,
}

impl Who {
    const ALL: [(Who, &'static str, Known); 8] = [
        (Who::New, "GET", Known::Nothing),
        (Who::NewWithForm, "POST", Known::Nothing),
        (Who::Lately, "GET", Known::All),
        (Who::LatelyWithForm, "POST", Known::All),
        (Who::OtherPage, "GET", Known::Session),
        (Who::Over, "GET", Known::Over(JUST_OVER)),
        (Who::OverWithForm, "POST", Known::Over(JUST_OVER)),
        (Who::Unknown, "GET", Known::Lost),
    ];
}

impl Page {
    pub(super) fn of(decider: &Decider, url: &str) -> Result<Page> {
        let mut visitors = Vec::new();
        for (who, method, known) in Who::ALL {
            visitors.push(case(decider, who, (method, url), known)?);
        }
        let mut page = Page {
            url: url.to_owned(),
            exempt: false,
            session_only: false,
            grace_seconds: 0,
            visitors,
        };
        page.exempt = page.case(Who::New).is_some_and(Case::lets_in);
        page.session_only = page.case(Who::OtherPage).is_some_and(Case::lets_in);
        if !page.exempt {
            page.grace_seconds = grace(decider, url)?;
        }
        Ok(page)
    }

    pub(super) fn case(&self, who: Who) -> Option<&Case> {
        self.visitors.iter().find(|case| case.who == who)
    }
}

impl Case {
    pub(super) fn lets_in(&self) -> bool {
        self.outcome == "allow"
    }

    /// In one line.
    pub(super) fn text(&self) -> String {
        if self.lets_in() {
            return format!("let in ({} {})", self.code, self.says);
        }
        let status = self.status.map(|status| format!(" {status}"));
        let mut text = format!(
            "{}{} ({} {})",
            self.outcome,
            status.unwrap_or_default(),
            self.code,
            self.says
        );
        if let Some(page) = &self.page {
            text.push_str(&format!(", page \"{page}\""));
        }
        if let Some(to) = &self.leads_to {
            text.push_str(&format!(", sent to {to}"));
        }
        if let Some(line) = &self.because {
            text.push_str(&format!(", because of {line}"));
        }
        text
    }
}

/// The pages that are tried when none is named.
pub(super) fn usual(decider: &Decider, base: &str) -> Result<Vec<String>> {
    let first = format!("{base}/");
    let exempt = case(decider, Who::New, ("GET", &first), Known::Nothing)?.lets_in();
    let mut all = vec![match exempt {
        true => format!("{base}{ANY}"),
        false => first,
    }];
    let paths = decider.config().grace_maxes.iter();
    let paths = paths.filter_map(|entry| entry.line.index.as_deref());
    for path in paths.filter(|path| path.starts_with('/')) {
        let url = format!("{base}{}", path.trim_end_matches("/*"));
        if !all.contains(&url) {
            all.push(url);
        }
    }
    Ok(all)
}

/// The longest of the configured times that the engine grants on this page.
fn grace(decider: &Decider, url: &str) -> Result<u32> {
    let config = decider.config();
    let mut times: Vec<u32> = config.grace_maxes.iter().map(|entry| entry.value).collect();
    times.push(config.grace_max);
    times.retain(|seconds| *seconds > 0);
    times.sort_unstable();
    times.dedup();
    for seconds in times.into_iter().rev() {
        let over = Known::Over(u64::from(seconds) * 1000 - 1);
        let case = case(decider, Who::Over, ("GET", url), over)?;
        if case.lets_in() {
            return Ok(seconds);
        }
    }
    Ok(0)
}

fn case(
    decider: &Decider,
    who: Who,
    (method, url): (&'static str, &str),
    known: Known,
) -> Result<Case> {
    let mut line = json!({ "method": method, "url": url });
    match facts(decider, method, known) {
        // The short form: acts of a login succeed here.
        None => line["am"] = json!("down"),
        Some(facts) => line["facts"] = json!(facts),
    }
    let case = decider.becomes(&line.to_string(), |decision, because| {
        Case::of(who, method, decision, because)
    });
    case.with_context(|| format!("{method} {url}"))
}

/// What the engine is told when it asks, in its order; `None` where nobody is logged in.
fn facts(decider: &Decider, method: &str, known: Known) -> Option<Vec<Value>> {
    let config = decider.config();
    let session = json!({
        "user": "drill",
        "realm": config.organization_name,
        "attributes": { "Host": [ADDRESS] },
    });
    let policy = json!({ "actions": { method: true } });
    let fresh = |value: &Value| json!({ "fresh": value });
    let over = |value: &Value, minutes: u32, over: u64| {
        let age = u64::from(minutes) * 60_000 + over;
        json!({ "outlived": { "failed": "breaker", "age": age, "over": over, "value": value } })
    };
    let gone = json!({ "failed": "breaker" });
    let (session, policy, attributes) = match known {
        Known::Nothing => return None,
        Known::All => (fresh(&session), fresh(&policy), fresh(&json!({}))),
        Known::Session => (fresh(&session), gone.clone(), fresh(&json!({}))),
        Known::Lost => (gone.clone(), gone.clone(), gone),
        Known::Over(by) => (
            over(&session, config.sso_cache_interval, by),
            over(&policy, config.policy_cache_interval, by),
            over(&json!({}), config.sso_cache_interval, by),
        ),
    };
    let mut all = vec![
        json!({ "am": "down" }),
        json!({ "session": session }),
        json!({ "policy": policy }),
        json!({ "attributes": attributes }),
    ];
    // Whatever is counted happens for the first time in its minute.
    all.extend((0..3).map(|_| json!({ "receipt": { "fresh": { "counted": 1 } } })));
    Some(all)
}

impl Case {
    fn of(
        who: Who,
        method: &'static str,
        decision: &Decision<'_>,
        because: Option<String>,
    ) -> Case {
        let response = match &decision.outcome {
            Outcome::Respond(response) => Some(response),
            Outcome::Allow(_) | Outcome::Replay => None,
        };
        let status = response.map(|response| response.status);
        let location = response.and_then(|response| {
            let mut headers = response.headers.iter();
            let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case("location"))?;
            origin(std::str::from_utf8(value).ok()?)
        });
        Case {
            who,
            method,
            outcome: outcome_word(status, decision.reason),
            status,
            code: format!("PCL{:04}", decision.reason.number()),
            says: says(decision.reason),
            page: response.and_then(|response| title(&response.body)),
            leads_to: location,
            because,
        }
    }
}

fn says(code: Code) -> &'static str {
    code.row().text
}

/// The title of a page of ours.
fn title(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<title>")?;
    Some(rest.split_once("</title>")?.0.to_owned())
}

/// What a URL leads to, without path and query.
fn origin(url: &str) -> Option<String> {
    let host = url.find("://")? + 3;
    let end = url[host..].find(['/', '?', '#']);
    Some(url[..end.map_or(url.len(), |at| host + at)].to_owned())
}
