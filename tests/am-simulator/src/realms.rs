//! `/json/global-config/realms`: making and deleting realms, for administrators.

use crate::http::{Reply, json_body};
use crate::rest::{Answer, Call, unsimulated};
use crate::seed::realm_object;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The only version of the route.
const VERSION: (u32, u32) = (1, 0);

/// Answers a call about the settings of a realm: of them one is simulated, that its sessions are client-side.
pub(crate) fn configure(call: &Call<'_>) -> Answer {
    call.caller()?;
    call.admin().map_err(|r| r.version(VERSION))?;
    let rest: Vec<&str> = call.rest.iter().map(String::as_str).collect();
    if (call.req.method.as_str(), rest.as_slice()) != ("PUT", &["authentication"]) {
        return Err(unsimulated("this part of realm-config"));
    }
    let body = json_body(call.req)?;
    let Some(on) = body
        .get("statelessSessionsEnabled")
        .and_then(Value::as_bool)
    else {
        return Err(unsimulated(
            "settings of authentication other than statelessSessionsEnabled",
        ));
    };
    call.am.data.lock().realm_mut(&call.realm)?.client_side = on;
    let general = json!({ "general": { "statelessSessionsEnabled": on } });
    Ok(Reply::json(200, &general).version(VERSION))
}

/// Answers a call.
pub(crate) fn answer(call: &Call<'_>) -> Answer {
    call.caller()?;
    call.admin().map_err(|r| r.version(VERSION))?;
    let rest: Vec<&str> = call.rest.iter().map(String::as_str).collect();
    match (call.req.method.as_str(), rest.as_slice()) {
        ("POST", ["realms"]) if call.action() == Some("create") => {
            let object = call
                .am
                .create_realm(&json_body(call.req)?)
                .map_err(|e| Reply::from(e).version(VERSION))?;
            Ok(Reply::json(201, &object).version(VERSION))
        }
        ("GET", ["realms"]) => {
            let data = call.am.data.lock();
            let all: Vec<Value> = data
                .realms
                .iter()
                .map(|(p, r)| realm_object(p, r))
                .collect();
            Ok(
                Reply::json(200, &json!({"result": all, "resultCount": all.len()}))
                    .version(VERSION),
            )
        }
        ("GET" | "DELETE", ["realms", id]) => {
            let path = URL_SAFE_NO_PAD
                .decode(id)
                .ok()
                .and_then(|b| String::from_utf8(b).ok())
                .unwrap_or_default();
            let mut data = call.am.data.lock();
            let Some(realm) = data.realms.get(&path) else {
                let message = format!("Realm cannot be read: {path}");
                return Err(Reply::error(404, &message).version(VERSION));
            };
            let object = realm_object(&path, realm);
            if call.req.method == "DELETE" && path != "/" {
                data.realms.remove(&path);
            }
            Ok(Reply::json(200, &object).version(VERSION))
        }
        _ => Err(unsimulated("this part of global-config")),
    }
}
