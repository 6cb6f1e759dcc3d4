//! May this subject do that to this resource, in this environment? Decides by the realm's policies; knows no HTTP.

use crate::conditions::{self, Facts, Outcome};
use crate::pattern;
use crate::session::Session;
use crate::state::{Realm, Refused, User, texts};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Who is asked about.
pub(crate) enum Subject<'a> {
    Session(&'a Session),
    /// Claims of somebody who has no session.
    Claims,
}

/// One evaluation.
pub(crate) struct Question<'a> {
    pub(crate) realm: &'a Realm,
    pub(crate) policy_set: &'a str,
    pub(crate) subject: Subject<'a>,
    pub(crate) user: Option<&'a User>,
    pub(crate) environment: &'a BTreeMap<String, Vec<String>>,
    pub(crate) now_ms: i64,
}

/// AM's answer about one resource. Deny overrides allow, action by action.
pub(crate) fn decide(question: &Question<'_>, resource: &str) -> Value {
    let mut actions = Map::new();
    let mut attributes = Map::new();
    let mut advices: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut ttl = i64::MAX;
    let facts = Facts {
        environment: question.environment,
        auth_level: match question.subject {
            Subject::Session(s) => s.auth_level,
            Subject::Claims => 0,
        },
        now_ms: question.now_ms,
    };
    for policy in question
        .realm
        .policies
        .values()
        .filter(|p| applies(question, p, resource))
    {
        match conditions::check(&policy["condition"], &facts) {
            Outcome::Holds { until } => {
                ttl = ttl.min(until);
                merge_actions(&mut actions, &policy["actionValues"]);
                merge_attributes(
                    &mut attributes,
                    &policy["resourceAttributes"],
                    question.user,
                );
            }
            Outcome::Fails { advices: more } => {
                for (name, value) in more {
                    advices.entry(name).or_default().insert(value);
                }
            }
        }
    }
    // An advice voids what other policies decided (measured on OpenAM 16.0.5).
    if !advices.is_empty() {
        actions.clear();
    }
    json!({"resource": resource, "actions": actions, "attributes": attributes, "advices": advices, "ttl": ttl})
}

fn applies(question: &Question<'_>, policy: &Value, resource: &str) -> bool {
    policy["active"].as_bool().unwrap_or(true)
        && policy["applicationName"] == question.policy_set
        && texts(&policy["resources"])
            .iter()
            .any(|p| pattern::covers(p, resource))
        && subject_holds(&policy["subject"], &question.subject)
}

/// Whether a subject rule names the one who is asked about. A policy without a subject applies to nobody.
fn subject_holds(rule: &Value, subject: &Subject<'_>) -> bool {
    match rule["type"].as_str().unwrap_or_default() {
        "AuthenticatedUsers" => matches!(subject, Subject::Session(_)),
        "Identity" => match subject {
            Subject::Session(s) => texts(&rule["subjectValues"])
                .iter()
                .any(|v| v.eq_ignore_ascii_case(&s.universal_id())),
            Subject::Claims => false,
        },
        "NOT" => !subject_holds(&rule["subject"], subject),
        "AND" => list(&rule["subjects"])
            .iter()
            .all(|r| subject_holds(r, subject)),
        "OR" => list(&rule["subjects"])
            .iter()
            .any(|r| subject_holds(r, subject)),
        _ => false,
    }
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn merge_actions(into: &mut Map<String, Value>, from: &Value) {
    for (name, value) in from.as_object().into_iter().flatten() {
        let allowed = value.as_bool().unwrap_or(false);
        let before = into.get(name).and_then(Value::as_bool).unwrap_or(true);
        into.insert(name.clone(), json!(allowed && before));
    }
}

fn merge_attributes(into: &mut Map<String, Value>, from: &Value, user: Option<&User>) {
    for attribute in list(from) {
        let name = attribute["propertyName"].as_str().unwrap_or_default();
        let values = match attribute["type"].as_str() {
            Some("Static") => texts(&attribute["propertyValues"]),
            _ => user
                .and_then(|u| u.attributes.get(name))
                .cloned()
                .unwrap_or_default(),
        };
        // Values of several policies are joined.
        let all = into.entry(name).or_insert_with(|| json!([]));
        let mut joined = texts(all);
        joined.extend(values);
        joined.sort();
        joined.dedup();
        *all = json!(joined);
    }
}

/// The checks that come before all others: resources, and kinds of subjects.
pub(crate) fn check_shape(object: &Value) -> Result<(), Refused> {
    let invalid = |what: String| Err(Refused::new(400, format!("JSON string is invalid. {what}")));
    if list(&object["resources"]).is_empty() {
        let message = "Resource list is empty, must contain at least one entry.";
        return invalid(format!(
            "{message}\n at [Source: UNKNOWN; byte offset: #UNKNOWN]."
        ));
    }
    if let Some(kind) = unknown_subject(&object["subject"]) {
        let class = "org.forgerock.openam.entitlement.rest.model.json.JsonPolicy";
        return invalid(format!(
            "No such type: '{kind}' (through reference chain: {class}[\"subject\"])."
        ));
    }
    Ok(())
}

/// The first kind of subject in a rule that is not evaluated here.
fn unknown_subject(rule: &Value) -> Option<&str> {
    match rule["type"].as_str()? {
        "AuthenticatedUsers" | "Identity" | "NONE" => None,
        "NOT" => unknown_subject(&rule["subject"]),
        "AND" | "OR" => list(&rule["subjects"]).iter().find_map(unknown_subject),
        other => Some(other),
    }
}

/// The members of a policy that AM keeps, after its checks.
pub(crate) fn check_policy(
    path: &str,
    realm: &Realm,
    name: &str,
    object: &Value,
) -> Result<Value, Refused> {
    let bad = |message: String| Err(Refused::new(400, message));
    let set = object["applicationName"].as_str().unwrap_or_default();
    let Some(policy_set) = realm.policy_sets.get(set) else {
        return bad(format!(
            "Unable to retrieve application under realm {path}."
        ));
    };
    let uuid = object["resourceTypeUuid"].as_str().unwrap_or_default();
    let offered = texts(&policy_set["resourceTypeUuids"]);
    let Some(kind) = realm
        .resource_types
        .get(uuid)
        .filter(|_| offered.iter().any(|u| u == uuid))
    else {
        return bad(format!(
            "Invalid resource type {uuid}, must be one from the set defined against the containing application."
        ));
    };
    if let Some(r) = texts(&object["resources"])
        .iter()
        .find(|r| !r.contains("://"))
    {
        return bad(format!("Invalid value {r} for property resources"));
    }
    let actions = object["actionValues"].as_object().into_iter().flatten();
    if let Some((action, _)) = actions
        .clone()
        .find(|(a, _)| kind["actions"][a.as_str()].is_null())
    {
        return bad(format!("Invalid value {action} for property actionValues"));
    }
    conditions::known(&object["condition"]).map_err(|m| Refused::new(400, m))?;
    let mut policy = Map::new();
    for member in [
        "active",
        "description",
        "resources",
        "applicationName",
        "actionValues",
        "subject",
        "condition",
        "resourceTypeUuid",
        "resourceAttributes",
    ] {
        if !object[member].is_null() {
            policy.insert(member.to_owned(), object[member].clone());
        }
    }
    policy.entry("active").or_insert(json!(true));
    policy.insert("name".to_owned(), json!(name));
    if let Some(condition) = policy.get_mut("condition").filter(|c| c["type"] == "IPv4") {
        for member in ["ipRange", "dnsName"] {
            if condition[member].is_null() {
                condition[member] = json!([]);
            }
        }
    }
    Ok(Value::Object(policy))
}

/// The resources of a question in the order of the answer: each once, and never in the order asked when there are
/// several, as the real server's is a hash table's.
pub(crate) fn shuffled(asked: &[String]) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for resource in asked {
        if !distinct.contains(resource) {
            distinct.push(resource.clone());
        }
    }
    let mut out = distinct.clone();
    // FNV-1a: any fixed order will do that has nothing to do with the text's.
    out.sort_by_key(|r| {
        r.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        })
    });
    if out == distinct && out.len() > 1 {
        out.rotate_left(1);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_another_order() {
        for n in 2..8 {
            let asked: Vec<String> = (0..n).map(|i| format!("http://x:80/{i}")).collect();
            let got = shuffled(&asked);
            assert_ne!(got, asked);
            let mut sorted = got;
            sorted.sort();
            assert_eq!(sorted, asked);
        }
        let twice = ["a".to_owned(), "a".to_owned()];
        assert_eq!(shuffled(&twice).len(), 1);
    }

    #[test]
    fn deny_overrides() {
        let mut actions = Map::new();
        merge_actions(&mut actions, &json!({"GET": true, "POST": false}));
        merge_actions(&mut actions, &json!({"GET": false}));
        merge_actions(&mut actions, &json!({"GET": true}));
        assert_eq!(Value::Object(actions), json!({"GET": false, "POST": false}));
    }
}
