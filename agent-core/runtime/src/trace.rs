//! Why was this request refused, sent elsewhere or not answered? The last of them, kept in shared memory
//! for `agentadmin`, which reads them while the host runs (`running.rs`).
//!
//! Like a log line a trace holds no token, cookie or query (rule W2), and a client can push out only what
//! is in its share.

use std::path::Path;

use portcullis_engine::{
    contract::{Decision, NodeMark, Outcome, RequestView},
    decide::{ClientAddress, client_address, outcome_word},
};
use serde_json::json;

use crate::{
    agent::Instance,
    audit,
    logs::{format_timestamp, wall_ms},
    memo::View,
    node,
    running::{self, Unread},
};

/// Longest text of a detail or a URL in a trace.
const MAX_PART: usize = 160;

/// Keeps what became of a request, unless it was let through or answered as wished.
pub(crate) fn keep(
    instance: &Instance,
    req: &RequestView<'_>,
    decision: &Decision<'_>,
    view: &View<'_>,
) {
    let status = match &decision.outcome {
        Outcome::Respond(answer) if answer.status >= 300 => Some(answer.status),
        _ if decision.would.is_some() => None,
        _ => return,
    };
    let snap = instance.snapshot();
    let client = snap.as_ref().map(|snap| client_address(req, &snap.config));
    let share = match (&snap, client) {
        (Some(snap), Some(ClientAddress::Known(address))) => snap.client_key(address),
        _ => 0,
    };
    let cut = |text: String| text.chars().take(MAX_PART).collect::<String>();
    let code = decision.would.as_ref().map_or(decision.reason, |w| w.code);
    let now = wall_ms();
    let rule = decision.rule.zip(snap.as_ref());
    let mut trace = json!({
        "time": format_timestamp(now),
        "incident": decision.incident.to_string(),
        "code": format!("PCL{:04}", code.number()),
        "outcome": outcome_word(status, decision.reason),
        "status": status,
        "method": cut(audit::shown(req.method)),
        "url": cut(audit::origin(req) + &audit::path(req)),
        "client": audit::client(instance, req),
        "configuration": {
            "agent_conf": snap.as_ref().map_or("", |snap| &snap.agent_conf),
            "since": format_timestamp(instance.configured_at()),
            "profile": view.state.profile_version(),
        },
    });
    if let Some((rule, snap)) = rule {
        trace["rule"] = json!(cut(snap.config.rule_name(rule).to_string()));
    }
    if !decision.detail.is_empty() {
        trace["detail"] = json!(cut(audit::shown(decision.detail.as_bytes())));
    }
    if view.memo.oldest() > 0 {
        trace["age_ms"] = json!(view.memo.oldest());
    }
    let traces = view.mapping.traces();
    let of = view.state.id();
    // What is too long in spite of its parts is so for their escapes: those go.
    if !traces.keep(of, share, now, trace.to_string().as_bytes()) {
        for part in ["detail", "rule", "url"] {
            trace.as_object_mut().map(|all| all.remove(part));
        }
        traces.keep(of, share, now, trace.to_string().as_bytes());
    }
}

/// The mark of incidents of the instance of an `agent.conf` on this machine.
///
/// # Errors
/// See [`Unread`].
pub fn node_mark(conf: &Path) -> Result<NodeMark, Unread> {
    Ok(node::mark(Some(&running::read(conf)?), conf))
}
