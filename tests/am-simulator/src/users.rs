//! `/json/users`: a person's entry for that person and for administrators, and whose session a token is.
//! Stricter than the real server in one point: OpenAM answers anybody while the entry is in its cache, this never does.

use crate::agents::{VERSIONS, deleted, forbidden, replaces, selected, sent};
use crate::clock::generalized;
use crate::http::Reply;
use crate::rest::{Answer, Call};
use crate::session::{Kind, Session};
use crate::state::{Refused, User, universal_id, user_dn};
use serde_json::{Map, Value, json};

/// Answers a call.
pub(crate) fn answer(call: &Call<'_>) -> Answer {
    let caller = call.caller()?;
    let served = call.serve(&VERSIONS)?;
    let body = sent(call)?;
    handle(call, caller, &body)
        .map(|r| r.version(served))
        .map_err(|r| r.version(served))
}

fn handle(call: &Call<'_>, caller: &Session, sent: &Value) -> Answer {
    let am = call.am;
    let rest: Vec<&str> = call.rest.iter().map(String::as_str).collect();
    let admin = |operation: &str| {
        if caller.is_admin() {
            Ok(())
        } else {
            Err(forbidden(operation, caller))
        }
    };
    match (call.req.method.as_str(), rest.as_slice()) {
        ("GET", [name]) => {
            let own = caller.kind == Kind::User
                && caller.realm == call.realm
                && caller.name.eq_ignore_ascii_case(name);
            if !own && !caller.is_admin() {
                return Err(forbidden("read", caller));
            }
            entry(call, name, 200, own)
        }
        ("POST", []) if call.action() == Some("idFromSession") => {
            Ok(Reply::json(200, &id_from_session(call, caller)))
        }
        ("POST", []) if call.action() == Some("create") => {
            let name = sent["username"].as_str();
            let name = name.ok_or_else(|| Reply::error(400, "Identity name not provided"))?;
            admin("create")?;
            am.create_user(sent)?;
            entry(call, name, 201, false)
        }
        ("PUT", [name]) => {
            admin("edit")?;
            if !replaces(call) {
                return Err(Reply::error(404, "Minimum password length is 8."));
            }
            am.update_user(name, sent)?;
            entry(call, name, 200, false)
        }
        ("DELETE", [name]) => {
            admin("delete")?;
            let gone = am.data.lock().users.remove(&name.to_lowercase());
            gone.ok_or_else(not_found)?;
            Ok(deleted(call, name))
        }
        (_, [_, _, ..]) => Err(call.not_found()),
        _ => Err(Reply::error(501, "Operation is not supported.")),
    }
}

fn not_found() -> Refused {
    Refused::new(404, "Resource cannot be found.")
}

fn id_from_session(call: &Call<'_>, caller: &Session) -> Value {
    let context = call.am.config.context.as_str();
    json!({"id": caller.name, "realm": caller.realm, "dn": caller.universal_id(),
        "successURL": format!("{context}/console"), "fullLoginURL": caller.login_url(context)})
}

fn entry(call: &Call<'_>, name: &str, status: u16, own: bool) -> Answer {
    let data = call.am.data.lock();
    let user = data.users.get(&name.to_lowercase()).ok_or_else(not_found)?;
    let mut body = object(user, &call.realm);
    if own {
        body.insert("roles".to_owned(), json!(["ui-self-service-user"]));
    }
    Ok(Reply::json(status, &selected(call, name, body)))
}

fn object(user: &User, realm: &str) -> Map<String, Value> {
    let mut out: Map<String, Value> = user
        .attributes
        .iter()
        .map(|(k, v)| (k.clone(), json!(v)))
        .collect();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("username", json!(user.name));
    put("realm", json!(realm));
    put("uid", json!([user.name]));
    put(
        "universalid",
        json!([universal_id(&user.name, "user", realm)]),
    );
    put("dn", json!([user_dn(&user.name)]));
    put(
        "objectClass",
        json!([
            "inetorgperson",
            "organizationalperson",
            "person",
            "inetuser",
            "top"
        ]),
    );
    put("createTimestamp", json!([generalized(user.created_ms)]));
    out
}
