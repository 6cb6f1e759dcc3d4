//! `/json/realm-audit` and `/json/global-audit`: takes audit events from agents and keeps them for tests to read.

use crate::http::{Reply, json_body};
use crate::rest::{Answer, Call};
use crate::session::Kind;
use crate::state::AuditEvent;
use serde_json::json;

/// Topics that AM knows.
const TOPICS: [&str; 4] = ["access", "activity", "authentication", "config"];

/// Answers a call.
pub(crate) fn answer(call: &Call<'_>, endpoint: &str) -> Answer {
    let caller = call.caller()?;
    let served = call.serve(&[(1, 0)])?;
    if caller.kind != Kind::Application && !caller.is_admin() {
        return Err(Reply::error(403, "User is not an Agent."));
    }
    let refuse = |status, message: String| Err(Reply::error(status, &message).version(served));
    if call.req.method != "POST" {
        return refuse(400, "Invalid resource path object specified.".to_owned());
    }
    let event = json_body(call.req)?;
    if let Some(action) = call.action().filter(|a| *a != "create") {
        return refuse(400, format!("Unable to handle action: {action}"));
    }
    let topic = call.rest.join("/");
    if !TOPICS.contains(&topic.as_str()) {
        return refuse(
            501,
            format!("Audit service called with unknown event topic {topic}"),
        );
    }
    if event["timestamp"].as_str().is_none() || event["transactionId"].as_str().is_none() {
        return refuse(
            400,
            "The request requires a transactionId and a timestamp".to_owned(),
        );
    }
    let realm = match endpoint {
        "global-audit" => "/".to_owned(),
        _ => call.realm.clone(),
    };
    call.am.data.lock().audit.push(AuditEvent {
        realm,
        topic,
        event,
    });
    Ok(Reply::json(201, &json!({})).version(served))
}
