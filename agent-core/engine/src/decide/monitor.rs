//! Is this a request for the agent's own numbers, and may this caller see them (rule W1)?
//!
//! Comes before all other stages: a scraper calls the host by any name, and AM may be away. It must not
//! know the numbers; the driver writes them into the answer. To whoever may not look, the pages do not exist.

use alloc::{borrow::Cow, format, string::ToString, vec, vec::Vec};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{client_address, refuse, respond};
use crate::{
    config::{Config, Monitor, Secrets},
    contract::{Decision, Facts, Fill, Outcome, RequestView, Response},
    event::Code,
    page,
    url::Canonical,
};

/// Numbers in the text format of Prometheus, 0.0.4.
const METRICS: &str = "/agent/metrics";
/// Numbers in the Web Agent's JSON.
const MONITOR: &str = "/agent/monitor";
/// Whether requests can be decided.
const HEALTH: &str = "/agent/health";
/// Longest credentials that are looked at, in base64.
const MAX_CREDENTIALS: usize = 4096;

/// Answers a request for one of the pages; `trouble` is why there is no configuration yet.
pub(super) fn monitor<'a>(
    monitor: &Monitor,
    config: &Config,
    (req, url): (&RequestView<'_>, &Canonical),
    facts: &dyn Facts,
    trouble: Option<Code>,
) -> Option<Decision<'a>> {
    let fill = match url.path() {
        METRICS => Fill::Metrics,
        MONITOR => Fill::Monitor,
        HEALTH => Fill::Health,
        _ => return None,
    };
    if !matches!(req.method, b"GET" | b"HEAD") {
        return Some(refuse(
            facts,
            Code::MonitorRefused,
            405,
            None,
            "method".into(),
        ));
    }
    let refusal = why_not(monitor, config, req);
    if fill == Fill::Health {
        return Some(health(facts, trouble, refusal.is_none()));
    }
    Some(match refusal {
        // The same answer for all: it does not say which part was right.
        Some(why) => refuse(facts, Code::MonitorRefused, 404, None, why.into()),
        None => shown(facts, Code::MonitorShown, 200, fill),
    })
}

/// [`monitor`] where no configuration is in force: `config` and `secrets` are those of `agent.conf`.
pub fn monitor_unconfigured<'a>(
    req: &RequestView<'_>,
    (config, secrets): (&Config, &Secrets),
    facts: &dyn Facts,
    trouble: Code,
) -> Option<Decision<'a>> {
    let allowed = Monitor::of(config, secrets)?;
    let mut url = Canonical::new();
    url.set(req).ok()?;
    monitor(&allowed, config, (req, &url), facts, Some(trouble))
}

/// Strangers learn no more than whether requests can be decided, and a code.
fn health<'a>(facts: &dyn Facts, trouble: Option<Code>, may_look: bool) -> Decision<'a> {
    let (code, status) = match trouble {
        None => (Code::HealthReady, 200),
        Some(_) => (Code::HealthNotReady, 503),
    };
    if may_look {
        return shown(facts, code, status, Fill::Health);
    }
    let mut decision = shown(facts, code, status, Fill::Nothing);
    if let Outcome::Respond(response) = &mut decision.outcome {
        let body = match trouble {
            None => json!({ "status": "ready" }),
            Some(code) => {
                json!({ "status": "not ready", "code": format!("PCL{:04}", code.number()) })
            }
        };
        response.body = body.to_string().into_bytes();
    }
    decision
}

fn shown<'a>(facts: &dyn Facts, code: Code, status: u16, fill: Fill) -> Decision<'a> {
    let kind: &[u8] = match fill {
        Fill::Metrics => b"text/plain; version=0.0.4; charset=utf-8",
        Fill::Monitor | Fill::Health | Fill::Nothing => b"application/json",
    };
    let response = Response {
        status,
        headers: vec![
            (Cow::Borrowed("Content-Type"), kind.to_vec()),
            (Cow::Borrowed("X-Content-Type-Options"), b"nosniff".to_vec()),
            page::no_store(),
        ],
        body: Vec::new(),
    };
    Decision {
        fill,
        ..respond(facts, code, response, None, "".into())
    }
}

/// Why a caller may not look. Everything is looked at, whatever is wrong.
fn why_not(monitor: &Monitor, config: &Config, req: &RequestView<'_>) -> Option<&'static str> {
    let client = client_address(req, config).known();
    let here = monitor.admits(req.peer) && client.is_some_and(|address| monitor.admits(address));
    let known = knows(monitor, req);
    match (here, known) {
        (true, true) => None,
        (false, _) => Some("address"),
        (true, false) if monitor.password.is_none() => Some("no portcullis.monitor.password"),
        (true, false) => Some("credentials"),
    }
}

/// Whether the request has the credentials of HTTP Basic (RFC 7617), compared in constant time.
fn knows(monitor: &Monitor, req: &RequestView<'_>) -> bool {
    let mut values = req.values(b"authorization");
    let (Some(value), None, Some(password)) = (values.next(), values.next(), &monitor.password)
    else {
        return false;
    };
    let Some((scheme, credentials)) = value.split_at_checked(6) else {
        return false;
    };
    if !scheme.eq_ignore_ascii_case(b"basic ") || credentials.len() > MAX_CREDENTIALS {
        return false;
    }
    let Ok(said) = STANDARD
        .decode(credentials.trim_ascii())
        .map(Zeroizing::new)
    else {
        return false;
    };
    let mut right = Zeroizing::new(Vec::new());
    right.extend_from_slice(monitor.user.as_bytes());
    right.push(b':');
    right.extend_from_slice(password.expose());
    said.ct_eq(&right).into()
}
