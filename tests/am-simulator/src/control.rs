//! `/simulator/…`: a test in another process sets faults, moves the clock and reads the call log. Not part of AM, not
//! logged, and never struck by faults.

use crate::faults::Fault;
use crate::http::Reply;
use crate::state::Am;
use axum::http::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Answers a call; `path` is the part after `/simulator`.
pub(crate) fn answer(am: &Am, method: &Method, path: &str, body: &[u8]) -> Reply {
    let read = || serde_json::from_slice::<Value>(body).unwrap_or_default();
    match (method.as_str(), path) {
        ("POST", "/faults") => match serde_json::from_slice::<Fault>(body) {
            Ok(fault) => {
                am.add_fault(fault);
                Reply::empty(204)
            }
            Err(e) => Reply::json(400, &json!({"error": e.to_string()})),
        },
        ("DELETE", "/faults") => {
            am.clear_faults();
            Reply::empty(204)
        }
        ("GET", "/calls") => {
            let calls: Vec<Value> = am.calls().iter().map(crate::Call::to_json).collect();
            Reply::json(200, &json!(calls))
        }
        ("DELETE", "/calls") => {
            am.reset_calls();
            Reply::empty(204)
        }
        ("POST", "/kill-agent-sessions") => {
            let ended = am.kill_agent_sessions(read()["agent"].as_str());
            Reply::json(200, &json!({"ended": ended}))
        }
        ("POST", "/advance") => match read()["seconds"].as_u64() {
            Some(seconds) => {
                am.advance(Duration::from_secs(seconds));
                Reply::empty(204)
            }
            None => Reply::json(400, &json!({"error": "seconds: a number is needed"})),
        },
        ("GET", "/audit") => {
            let events: Vec<Value> = am
                .audit_events()
                .into_iter()
                .map(|e| json!({"realm": e.realm, "topic": e.topic, "event": e.event}))
                .collect();
            Reply::json(200, &json!(events))
        }
        _ => Reply::json(404, &json!({"error": "no such control"})),
    }
}
