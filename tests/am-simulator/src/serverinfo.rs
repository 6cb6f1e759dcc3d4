//! `/json/serverinfo`: what an anonymous client may know of the server, and its version for those with a session.

use crate::http::Reply;
use crate::rest::{Answer, Call, denied};
use crate::session::Kind;
use serde_json::{Value, json};

/// Answers a call.
pub(crate) fn answer(call: &Call<'_>) -> Answer {
    let id = call.rest.join("/");
    if call.req.method != "GET" {
        call.caller().map_err(|_| denied())?;
        let served = call.serve(&[(1, 1)])?;
        return Err(Reply::error(400, "The resource instance  cannot be created").version(served));
    }
    if id.is_empty() {
        let served = call.serve(&[(1, 1)])?;
        return Err(Reply::error(400, "The resource collection  cannot be read").version(served));
    }
    if id == "version" {
        return version(call);
    }
    let served = call.serve(&[(1, 1)])?;
    let domains = [&call.am.config.cookie_domain];
    let body = match id.as_str() {
        "*" => {
            json!({"domains": domains, "protectedUserAttributes": [], "cookieName": call.am.config.cookie_name,
            "secureCookie": false, "cookieSameSite": null, "forgotPassword": "false", "forgotUsername": "false",
            "kbaEnabled": "false", "selfRegistration": "false", "lang": "en-US",
            "successfulUserRegistrationDestination": "default", "socialImplementations": [], "referralsEnabled": "false",
            "zeroPageLogin": {"enabled": false, "refererWhitelist": [], "allowedWithoutReferer": true},
            "realm": call.realm, "xuiUserSessionValidationEnabled": true})
        }
        "cookieDomains" => json!({"domains": domains}),
        other => {
            let message = format!("ResourceId not supported: {other}");
            return Err(Reply::error(501, &message).version(served));
        }
    };
    Ok(shown(call, &id, body).version(served))
}

fn shown(call: &Call<'_>, id: &str, mut body: Value) -> Reply {
    if !call.version.hides_ids() {
        body["_id"] = json!(id);
        body["_rev"] = json!("1203573102");
    }
    Reply::json(200, &body)
}

/// Agents and administrators only; served as version 1.0, so that asking for 1.1 is a 404 (measured on OpenAM 16.0.5).
fn version(call: &Call<'_>) -> Answer {
    let Some(caller) = &call.caller else {
        return Err(Reply::error(403, "No session for request."));
    };
    if caller.kind != Kind::Application && !caller.is_admin() {
        return Err(Reply::error(403, "The user has insufficient privileges"));
    }
    let Some(served) = call.version.pick(&[(1, 0)]) else {
        return Err(Reply::error(404, "Resource '' not found"));
    };
    let body =
        json!({"version": "16.0.5", "revision": "simulated", "date": "2026-February-04 16:06"});
    Ok(shown(call, "version", body).version(served))
}
