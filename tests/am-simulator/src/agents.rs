//! `/json/agents`: profiles of Web Agents. An agent reads its own; administrators make, change and delete them.
//! Stricter than the real server in one point: OpenAM answers anybody while the entry is in its cache, this never does.

use crate::http::{Reply, json_body};
use crate::rest::{Answer, Call};
use crate::seed::find_agent;
use crate::session::{Kind, Session};
use crate::state::{Agent, universal_id};
use serde_json::{Map, Value, json};

/// Versions of `agents` and `users`.
pub(crate) const VERSIONS: [(u32, u32); 3] = [(1, 2), (2, 1), (3, 0)];

/// What an identity without the right gets.
pub(crate) fn forbidden(operation: &str, caller: &Session) -> Reply {
    let id = caller.universal_id();
    Reply::error(
        403,
        &format!("Permission to perform the {operation} operation denied to {id}"),
    )
}

/// Answers a call.
pub(crate) fn answer(call: &Call<'_>) -> Answer {
    let caller = call.caller()?;
    let served = call.serve(&VERSIONS)?;
    let body = sent(call)?;
    handle(call, caller, &body)
        .map(|r| r.version(served))
        .map_err(|r| r.version(served))
}

/// The body of a call that has one; a malformed one is refused before the version is known.
pub(crate) fn sent(call: &Call<'_>) -> Result<Value, Reply> {
    match call.req.method.as_str() {
        "POST" | "PUT" => json_body(call.req),
        _ => Ok(Value::Null),
    }
}

/// Whether a PUT replaces: always in protocol 1, else only with `If-Match` (measured on OpenAM 16.0.5).
pub(crate) fn replaces(call: &Call<'_>) -> bool {
    call.version.hides_ids() || call.req.header("if-match").is_some()
}

fn handle(call: &Call<'_>, caller: &Session, sent: &Value) -> Answer {
    let am = call.am;
    let rest: Vec<&str> = call.rest.iter().map(String::as_str).collect();
    match (call.req.method.as_str(), rest.as_slice()) {
        ("GET", [name]) => {
            let own = caller.kind == Kind::Application
                && caller.realm == call.realm
                && caller.name.eq_ignore_ascii_case(name);
            if !own && !caller.is_admin() {
                return Err(forbidden("read", caller));
            }
            profile(call, name, 200, own)
        }
        ("GET", []) if call.req.param("_queryFilter").is_none() => {
            Err(Reply::error(400, "The resource collection  cannot be read"))
        }
        ("GET", []) if caller.is_admin() => Err(Reply::error(
            500,
            "AgentsRepo does not support search by query filter",
        )),
        ("GET", []) => {
            let id = caller.universal_id();
            Err(Reply::error(
                500,
                &format!("Permission to perform the read operation denied to {id}"),
            ))
        }
        (_, [_, _, ..]) => Err(call.not_found()),
        ("POST", []) if call.action() == Some("create") => {
            permitted(caller, "create")?;
            am.create_agent(&call.realm, sent)?;
            profile(
                call,
                sent["username"].as_str().unwrap_or_default(),
                201,
                false,
            )
        }
        ("PUT", [name]) => {
            permitted(caller, "edit")?;
            if !replaces(call) {
                return Err(without_if_match(sent));
            }
            am.update_agent(&call.realm, name, sent)?;
            profile(call, name, 200, false)
        }
        ("DELETE", [name]) => {
            permitted(caller, "read")?;
            am.delete_agent(&call.realm, name)?;
            Ok(deleted(call, name))
        }
        _ => Err(Reply::error(501, "Operation is not supported.")),
    }
}

/// The answer to a deletion.
pub(crate) fn deleted(call: &Call<'_>, id: &str) -> Reply {
    let mut body = json!({"success": "true"});
    if !call.version.hides_ids() {
        body["_id"] = json!(id);
    }
    Reply::json(200, &body)
}

fn permitted(caller: &Session, operation: &str) -> Result<(), Reply> {
    if caller.is_admin() {
        return Ok(());
    }
    Err(forbidden(operation, caller))
}

/// AM takes a PUT without `If-Match` for a creation, and then misses the type in it.
fn without_if_match(object: &Value) -> Reply {
    let name = object.as_object().and_then(|o| o.keys().next());
    let name = name.map_or("", String::as_str);
    Reply::error(
        404,
        &format!("The attribute name {name} does not match the service schema"),
    )
}

fn profile(call: &Call<'_>, name: &str, status: u16, own: bool) -> Answer {
    let mut data = call.am.data.lock();
    let agent = find_agent(&mut data, &call.realm, name)?;
    let mut body = object(agent, name, &call.realm);
    if own {
        body.insert("roles".to_owned(), json!(["ui-self-service-user"]));
    }
    Ok(Reply::json(status, &selected(call, name, body)))
}

/// The name is shown as it was asked for (measured on OpenAM 16.0.5).
fn object(agent: &Agent, name: &str, realm: &str) -> Map<String, Value> {
    let mut out: Map<String, Value> = agent
        .attributes
        .iter()
        .map(|(k, v)| (k.clone(), json!(v)))
        .collect();
    out.insert("username".to_owned(), json!(name));
    out.insert("realm".to_owned(), json!(realm));
    out.insert(
        "universalid".to_owned(),
        json!([universal_id(name, "agent", realm)]),
    );
    out
}

/// Applies `_fields`, and adds `_id` and `_rev` where the protocol version shows them.
pub(crate) fn selected(call: &Call<'_>, id: &str, mut body: Map<String, Value>) -> Value {
    if let Some(fields) = call.req.param("_fields") {
        // `username` and `realm` are no attributes, and an attribute that is not there is shown as empty.
        let wanted = fields.split(',').map(str::trim);
        body = wanted
            .map(|w| {
                let value = body.get(w).filter(|v| v.is_array()).cloned();
                (w.to_owned(), value.unwrap_or_else(|| json!([])))
            })
            .collect();
    }
    if !call.version.hides_ids() {
        let revision = body.values().map(|v| v.to_string().len()).sum::<usize>();
        body.insert("_id".to_owned(), json!(id));
        body.insert("_rev".to_owned(), json!(revision.to_string()));
    }
    Value::Object(body)
}
