//! `/json/sessions`: what REST tells about a session and to whom. A `tokenId` in a body is not read, as on the real
//! server: an agent that sends one is told about its own session.

use crate::clock::iso;
use crate::http::{Reply, json_body};
use crate::rest::{Answer, Call, denied, note};
use crate::session::{Kind, Session};
use serde_json::{Value, json};

/// Actions for the owner of the session (or an administrator).
const OWNERS: [&str; 9] = [
    "getSessionInfo",
    "getSessionProperties",
    "updateSessionProperties",
    "getProperty",
    "setProperty",
    "deleteProperty",
    "getPropertyNames",
    "getTimeLeft",
    "getMaxIdle",
];

/// Answers a call.
pub(crate) fn answer(call: &Call<'_>) -> Answer {
    let action = call.action().unwrap_or_default();
    // The only call that needs no session.
    if action != "validate" || call.req.method != "POST" {
        call.caller().map_err(|_| denied())?;
    }
    let offered: &[(u32, u32)] = match call.am.config.dialect.trees() {
        true => &[(1, 2), (2, 0), (4, 0)],
        false => &[(1, 2), (2, 0)],
    };
    let unknown = || Reply::error(404, "Resource '' not found");
    if call.req.method == "GET" {
        return Err(get(call, call.version.pick(offered).ok_or_else(unknown)?));
    }
    let body = json_body(call.req)?;
    let named = body["tokenId"].as_str();
    if let (Some(token), Some((4, _))) = (named, call.version.pick(offered)) {
        return about(call, action, token);
    }
    let target = target(call);
    // Who may ask comes before the version.
    authorised(call, action, target.as_deref())?;
    let served = call.version.pick(offered).ok_or_else(unknown)?;
    let Some(token) = target else {
        return Err(Reply::error(400, "iPlanetDirectoryCookie not set on request").version(served));
    };
    let body = match (action, served.0) {
        ("validate", 1) => validate(call, &token),
        ("logout", _) => logout(call, &token),
        ("getSessionInfo", 2) => described(call, &token, info),
        ("getSessionProperties", 2) if call.am.session(&token).is_none() => {
            return Err(Reply::error(400, "Bad Request").version(served));
        }
        ("getSessionProperties", 2) => json!({}),
        ("refresh", 2) => described(call, &token, refreshed),
        ("isActive", 1) => json!({"active": call.am.session(&token).is_some()}),
        ("getTimeLeft", 1) => json!({"maxtime": figure(call, &token, |s, now| s.time_left(now))}),
        ("getIdle", 1) => json!({"idletime": figure(call, &token, |s, now| s.idle_seconds(now))}),
        ("getMaxIdle", 1) => {
            let minutes = |s: &Session, _| i64::try_from(s.max_idle).unwrap_or(i64::MAX);
            json!({"maxidletime": figure(call, &token, minutes)})
        }
        ("getPropertyNames", 1) => json!({"properties": []}),
        (other, _) => {
            let message = format!("Action {other} not implemented for this resource");
            return Err(Reply::error(501, &message).version(served));
        }
    };
    Ok(Reply::json(200, &body).version(served))
}

/// Dialect B: the body names the session, and an agent may ask about anybody's (the vendor's documentation; which
/// privilege that takes is not documented). A dead one is told apart from a dead caller.
fn about(call: &Call<'_>, action: &str, token: &str) -> Answer {
    let caller = call.caller()?;
    let session = call.am.session(token);
    note(call.req, "tokenId", session.as_ref());
    let owner = caller.token == token;
    let body = match action {
        "getSessionInfo" if owner || caller.is_admin() || caller.kind == Kind::Application => {
            match session {
                Some(s) => {
                    let mut body = info(&s, call.am.now_ms());
                    let properties = s.all_properties(&call.am.config.context).into_iter();
                    body["properties"] = properties.map(|(n, v)| (n, Value::from(v))).collect();
                    body
                }
                None => json!({"valid": false}),
            }
        }
        "getSessionInfo" => return Err(Reply::error(403, "Forbidden")),
        "logout" => logout(call, token),
        other => {
            let message = format!("Action {other} not implemented for this resource");
            return Err(Reply::error(501, &message).version((4, 0)));
        }
    };
    Ok(Reply::json(200, &body).version((4, 0)))
}

/// Nothing can be read by GET; administrators' queries are not simulated.
fn get(call: &Call<'_>, served: (u32, u32)) -> Reply {
    if call.req.param("_queryFilter").is_some() {
        return match call.admin() {
            Ok(_) => crate::rest::unsimulated("a query of sessions"),
            Err(_) => Reply::error(403, "Forbidden"),
        };
    }
    match call.rest {
        [] => Reply::error(400, "The resource collection  cannot be read").version(served),
        _ => Reply::error(501, "Operation is not supported.").version(served),
    }
}

/// A number about a session; -1 for one that is not alive.
fn figure(call: &Call<'_>, token: &str, of: impl Fn(&Session, i64) -> i64) -> i64 {
    let now = call.am.now_ms();
    call.am.session(token).map_or(-1, |s| of(&s, now))
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
