//! `/json/sessions`: what REST tells about a session and to whom. A `tokenId` in a body is not read, as on the real
//! server: an agent that sends one is told about its own session.

use crate::clock::iso;
use crate::http::{Reply, json_body};
use crate::rest::{Answer, Call, denied, note};
use crate::session::Session;
use serde_json::{Value, json};

/// Actions for the owner of the session (or an administrator).
const OWNERS: [&str; 8] = [
    "getSessionInfo",
    "getSessionProperties",
    "updateSessionProperties",
    "getProperty",
    "setProperty",
    "deleteProperty",
    "getPropertyNames",
    "getTimeLeft",
];

/// Answers a call.
pub(crate) fn answer(call: &Call<'_>) -> Answer {
    let action = call.action().unwrap_or_default();
    // The only call that needs no session.
    if action != "validate" || call.req.method != "POST" {
        call.caller().map_err(|_| denied())?;
    }
    let offered = [(1, 2), (2, 0)];
    let served = call
        .version
        .pick(&offered)
        .ok_or_else(|| Reply::error(404, "Resource '' not found"))?;
    if call.req.method == "GET" {
        let message = "The resource collection  cannot be read";
        return Err(Reply::error(400, message).version(served));
    }
    json_body(call.req)?;
    let target = target(call);
    authorised(call, action, target.as_deref())?;
    let missing = |action: &str| {
        let message = format!("Action {action} not implemented for this resource");
        Err(Reply::error(501, &message).version(served))
    };
    let Some(token) = target else {
        return Err(Reply::error(400, "iPlanetDirectoryCookie not set on request").version(served));
    };
    let body = match (action, served.0) {
        ("validate", 1) => validate(call, &token),
        ("logout", _) => logout(call, &token),
        ("getSessionInfo", 2) => described(call, &token, info),
        ("getSessionProperties", 2) => json!({}),
        ("refresh", 2) => described(call, &token, refreshed),
        (other, _) => return missing(other),
    };
    Ok(Reply::json(200, &body).version(served))
}

/// The token that is acted on: from the path, the query, else the caller's.
fn target(call: &Call<'_>) -> Option<String> {
    let name = call.am.config.cookie_name.as_str();
    let named = call
        .rest
        .first()
        .map(String::as_str)
        .or(call.req.param("tokenId"));
    if let Some(token) = named {
        note(call.req, "tokenId", call.am.session(token).as_ref());
        return Some(token.to_owned());
    }
    call.req
        .cookie(name)
        .or_else(|| call.req.header(name))
        .map(str::to_owned)
}

/// Who may do what: administrators all, everybody `validate`, every live caller `logout`, owners the rest.
fn authorised(call: &Call<'_>, action: &str, target: Option<&str>) -> Result<(), Reply> {
    let Some(caller) = &call.caller else {
        return Ok(());
    };
    let allowed = caller.is_admin()
        || matches!(action, "validate" | "logout")
        || (OWNERS.contains(&action) && target == Some(caller.token.as_str()));
    if allowed {
        return Ok(());
    }
    Err(Reply::error(403, "Forbidden"))
}

fn validate(call: &Call<'_>, token: &str) -> Value {
    match call.am.session(token) {
        Some(s) => json!({"valid": true, "uid": s.name, "realm": s.realm}),
        None => json!({"valid": false}),
    }
}

fn logout(call: &Call<'_>, token: &str) -> Value {
    if call.am.end_session(token) {
        json!({"result": "Successfully logged out"})
    } else {
        json!({"result": "Token has expired"})
    }
}

fn described(call: &Call<'_>, token: &str, show: fn(&Session, i64) -> Value) -> Value {
    match call.am.session(token) {
        Some(s) => show(&s, call.am.now_ms()),
        None => json!({"valid": false}),
    }
}

fn info(s: &Session, _: i64) -> Value {
    let minutes = |m: u64| i64::try_from(m).unwrap_or(0) * 60_000;
    json!({"username": s.name, "universalId": s.universal_id(), "realm": s.realm, "sessionHandle": s.handle,
        "latestAccessTime": iso(s.last_access_ms),
        "maxIdleExpirationTime": iso(s.last_access_ms + minutes(s.max_idle)),
        "maxSessionExpirationTime": iso(s.created_ms + minutes(s.max_time))})
}

fn refreshed(s: &Session, now: i64) -> Value {
    json!({"uid": s.name, "realm": s.realm, "idletime": s.idle_seconds(now), "maxidletime": s.max_idle,
        "maxsessiontime": s.max_time, "maxtime": s.time_left(now)})
}
