//! `/json/policies`, `/json/applications`, `/json/resourcetypes`: evaluation for agents, administration for
//! administrators.

use crate::evaluate::{Question, Subject, decide, shuffled};
use crate::http::{Reply, json_body};
use crate::pattern::bad_port;
use crate::rest::{Answer, Call, note, unsimulated};
use crate::seed::no_policy;
use crate::session::{Kind, Session};
use crate::state::{DEFAULT_SET, Refused};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Answers a call to `policies`.
pub(crate) fn answer(call: &Call<'_>) -> Answer {
    let caller = call.caller()?;
    let served = call.serve(&[(1, 0), (2, 1)])?;
    let body = json_body(call.req)?;
    let rest: Vec<&str> = call.rest.iter().map(String::as_str).collect();
    if call.req.method == "POST" && rest.is_empty() {
        match call.action() {
            None => {
                let message = "No values provided for the request parameter '_action'";
                return Err(Reply::error(400, message));
            }
            Some("evaluate") => {
                if caller.kind != Kind::Application {
                    call.admin()?;
                }
                return evaluate(call, caller, &body, served);
            }
            Some("evaluateTree") => return Err(unsimulated("evaluateTree")),
            Some("create") => {}
            Some(other) => {
                let message = format!("No privilege mapping for requested action {other}");
                return Err(Reply::error(403, &message));
            }
        }
    }
    call.admin()?;
    administer(call, &rest, &body)
        .map(|r| r.version(served))
        .map_err(|r| r.version(served))
}

fn administer(call: &Call<'_>, rest: &[&str], body: &Value) -> Answer {
    let (am, realm) = (call.am, call.realm.as_str());
    let shown = |mut policy: Value, status| {
        if !call.version.hides_ids() {
            policy["_id"] = policy["name"].clone();
        }
        Ok(Reply::json(status, &policy))
    };
    match (call.req.method.as_str(), rest) {
        ("POST", []) => shown(am.create_policy(realm, body)?, 201),
        ("PUT", [name]) => shown(am.update_policy(realm, name, body)?, 200),
        ("GET", [name]) => {
            let data = am.data.lock();
            let policy = data.realm(realm)?.policies.get(*name);
            shown(policy.cloned().ok_or_else(|| no_policy(name))?, 200)
        }
        ("GET", []) => {
            let data = am.data.lock();
            let all: Vec<&Value> = data.realm(realm)?.policies.values().collect();
            Ok(listing(&all))
        }
        ("DELETE", [name]) => {
            am.delete_policy(realm, name)?;
            Ok(Reply::json(200, &json!({})))
        }
        _ => Err(Reply::error(501, "Operation is not supported.")),
    }
}

fn listing(all: &[&Value]) -> Reply {
    let body = json!({"result": all, "resultCount": all.len(), "pagedResultsCookie": null,
        "totalPagedResultsPolicy": "NONE", "totalPagedResults": -1, "remainingPagedResults": 0});
    Reply::json(200, &body)
}

/// What a malformed evaluation gets: an empty 500, as from the real server.
fn broken() -> Reply {
    Reply::empty(500)
}

fn evaluate(call: &Call<'_>, caller: &Session, body: &Value, served: (u32, u32)) -> Answer {
    let invalid = |what: &str| Reply::error(400, &invalid_value(call, what)).version(served);
    let resources = strings(&body["resources"]).ok_or_else(broken)?;
    if resources.is_empty() {
        return Err(invalid("resources"));
    }
    let environment = environment(&body["environment"]).ok_or_else(broken)?;
    let policy_set = match &body["application"] {
        Value::Null => DEFAULT_SET,
        Value::String(name) if name.is_empty() => DEFAULT_SET,
        Value::String(name) => name,
        _ => return Err(broken()),
    };
    if body["subject"]["ssoToken"].is_number() {
        return Err(broken());
    }
    let session = subject(call, caller, &body["subject"]).map_err(|()| invalid("subject"))?;
    let data = call.am.data.lock();
    let realm = data.realm(&call.realm)?;
    if !realm.policy_sets.contains_key(policy_set) {
        let message = format!("Unable to retrieve application under realm {}.", call.realm);
        return Err(Reply::error(404, &message).version(served));
    }
    if let Some(port) = resources.iter().find_map(|r| bad_port(r)) {
        return Err(Reply::error(400, &format!("Invalid port {port}")).version(served));
    }
    let user = session
        .as_ref()
        .filter(|s| s.kind == Kind::User)
        .and_then(|s| data.users.get(&s.name.to_lowercase()));
    // Somebody whose entry is gone is nobody to the rules, although the session lives.
    let known = session.as_ref().filter(|s| match s.kind {
        Kind::User => user.is_some(),
        Kind::Application => data
            .realms
            .get(&s.realm)
            .is_some_and(|r| r.agents.contains_key(&s.name.to_lowercase())),
    });
    let question = Question {
        realm,
        policy_set,
        subject: known.map_or(Subject::Claims, Subject::Session),
        user,
        environment: &environment,
        now_ms: call.am.now_ms(),
    };
    let mut entries: Vec<Value> = shuffled(&resources)
        .iter()
        .map(|r| decide(&question, r))
        .collect();
    if served.0 == 1 {
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("ttl");
        }
    }
    Ok(Reply::json(200, &json!(entries)).version(served))
}

/// Who is asked about: the caller when nobody is named, `None` for claims. An error for a dead or unreadable one.
fn subject(call: &Call<'_>, caller: &Session, subject: &Value) -> Result<Option<Session>, ()> {
    if subject.is_null() {
        return Ok(Some(caller.clone()));
    }
    let members = subject.as_object().ok_or(())?;
    match (
        members.len(),
        subject["ssoToken"].as_str(),
        &subject["claims"],
    ) {
        (1, Some(token), _) => {
            let session = call.am.use_session(token);
            note(call.req, "subject", session.as_ref());
            session.map(Some).ok_or(())
        }
        (1, None, Value::Object(_)) => Ok(None),
        _ => Err(()),
    }
}

/// The message is translated to the language of the request; its parameter is not.
fn invalid_value(call: &Call<'_>, what: &str) -> String {
    let language = call.req.header("accept-language").unwrap_or_default();
    match language.get(..2) {
        Some("de") => format!("Ungültiger Wert {what}"),
        Some("fr") => format!("Valeur non valide {what}"),
        _ => format!("Invalid value {what}"),
    }
}

/// An array of texts; absent is empty.
fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => items
            .iter()
            .map(|i| i.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

fn environment(value: &Value) -> Option<BTreeMap<String, Vec<String>>> {
    match value {
        Value::Null => Some(BTreeMap::new()),
        Value::Object(members) => members
            .iter()
            .map(|(k, v)| Some((k.clone(), strings(v)?)))
            .collect(),
        _ => None,
    }
}

/// Answers a call to `applications`: policy sets.
pub(crate) fn applications(call: &Call<'_>) -> Answer {
    call.caller()?;
    let served = call.serve(&[(1, 0), (2, 1)])?;
    call.admin()?;
    let missing = || {
        Refused::new(
            404,
            format!("Unable to retrieve application under realm {}.", call.realm),
        )
    };
    let rest: Vec<&str> = call.rest.iter().map(String::as_str).collect();
    let reply = match (call.req.method.as_str(), rest.as_slice()) {
        ("POST", []) => {
            let set = call
                .am
                .create_policy_set(&call.realm, &json_body(call.req)?);
            Reply::json(201, &set.map_err(|e| Reply::from(e).version(served))?)
        }
        ("GET", []) => {
            let data = call.am.data.lock();
            let all: Vec<&Value> = data.realm(&call.realm)?.policy_sets.values().collect();
            listing(&all)
        }
        ("GET", [name]) => {
            let data = call.am.data.lock();
            Reply::json(
                200,
                data.realm(&call.realm)?
                    .policy_sets
                    .get(*name)
                    .ok_or_else(missing)?,
            )
        }
        ("DELETE", [name]) => {
            let mut data = call.am.data.lock();
            let gone = data.realm_mut(&call.realm)?.policy_sets.remove(*name);
            gone.ok_or_else(missing)?;
            Reply::json(200, &json!({"_id": name, "_rev": "0"}))
        }
        _ => Reply::error(501, "Operation is not supported."),
    };
    Ok(reply.version(served))
}

/// Answers a call to `resourcetypes`: only what AM makes itself.
pub(crate) fn resource_types(call: &Call<'_>) -> Answer {
    call.caller()?;
    let served = call.serve(&[(1, 0)])?;
    call.admin()?;
    let data = call.am.data.lock();
    let types = &data.realm(&call.realm)?.resource_types;
    match (call.req.method.as_str(), call.rest.first()) {
        ("GET", None) => Ok(listing(&types.values().collect::<Vec<_>>()).version(served)),
        ("POST", None) => {
            let name = json_body(call.req)?["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if types.values().any(|t| t["name"] == name.as_str()) {
                let message = format!("Resource Type {name} already exists");
                return Err(Reply::error(409, &message).version(served));
            }
            Err(unsimulated("another resource type"))
        }
        _ => Err(Reply::error(501, "Operation is not supported.").version(served)),
    }
}
