//! What may this session do with these resources? One call for any number of resources; asked
//! together they cost AM an order of magnitude less than one by one.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{
    AmError, Exchange, LARGE, Members, Reply, borrowed, complaint, json, post, realm_path, slices,
    status, user_token,
};
use crate::{am::Refusal, contract::Environment, record::NewPolicy, token::Secret};

/// A question to AM's policy service.
#[derive(Clone, Copy)]
pub struct Question<'q> {
    /// The user's token. Not optional: without a subject AM evaluates the agent itself (rule S5).
    pub token: &'q Secret,
    /// URLs exactly as they are to be matched, each with its port.
    pub resources: &'q [String],
    /// Policy set.
    pub application: &'q str,
    /// Realm of the policy set, beginning with `/`.
    pub realm: &'q str,
    /// What conditions may look at.
    pub environment: &'q Environment,
}

#[derive(Serialize)]
struct Body<'q> {
    resources: &'q [String],
    application: &'q str,
    subject: Subject<'q>,
    environment: BTreeMap<&'q str, &'q [String]>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Subject<'q> {
    sso_token: &'q str,
}

/// `POST …/policies?_action=evaluate` with the agent's token as the caller.
pub fn encode(
    question: &Question<'_>,
    token_header: &str,
    agent: &Secret,
) -> Result<Exchange, AmError> {
    let environment = question
        .environment
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_slice()))
        .collect();
    let body = serde_json::to_vec(&Body {
        resources: question.resources,
        application: question.application,
        subject: Subject {
            sso_token: user_token(question.token)?,
        },
        environment,
    })
    .map_err(|_| AmError::PROTOCOL)?;
    let path = realm_path(question.realm, "policies?_action=evaluate");
    let exchange = post(
        path,
        "resource=2.1, protocol=1.0",
        Some((token_header, agent)),
        body,
    );
    Ok(Exchange {
        max_body: LARGE,
        once: false,
        ..exchange
    })
}

/// One entry of the answer. `ttl` does not fit a JSON double: 2^63-1 means "no limit".
#[derive(Deserialize)]
struct Entry {
    resource: String,
    #[serde(default)]
    actions: Members<bool>,
    #[serde(default)]
    attributes: Members<Vec<String>>,
    #[serde(default)]
    advices: Members<Vec<String>>,
    ttl: i64,
}

/// A record for [`crate::record::Policy`] for each resource asked about, in that order. AM answers in
/// an order of its own, so entries are matched by `resource`; one that is missing or there twice makes
/// the whole answer unusable, one that nobody asked for is ignored.
pub fn parse(reply: &Reply<'_>, resources: &[String]) -> Result<Vec<(String, Vec<u8>)>, AmError> {
    match reply.status {
        200 => {}
        400 if names_subject(&complaint(reply)) => return Err(AmError::UserDead),
        401 => return Err(AmError::AgentDead),
        403 => return Err(AmError::NotAllowed(Refusal::Operation)),
        404 => return Err(AmError::NotAllowed(Refusal::PolicySet)),
        _ => return Err(status(reply)),
    }
    let mut by_resource: BTreeMap<String, Entry> = BTreeMap::new();
    for entry in json::<Vec<Entry>>(reply, LARGE)? {
        if by_resource.insert(entry.resource.clone(), entry).is_some() {
            return Err(AmError::PROTOCOL);
        }
    }
    resources
        .iter()
        .map(|resource| {
            let entry = by_resource.get(resource).ok_or(AmError::PROTOCOL)?;
            Ok((resource.clone(), record(entry).ok_or(AmError::PROTOCOL)?))
        })
        .collect()
}

/// The message is translated, the name of the bad value in it is not.
fn names_subject(message: &str) -> bool {
    message
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| word == "subject")
}

fn record(entry: &Entry) -> Option<Vec<u8>> {
    let actions: Vec<(&str, bool)> = entry
        .actions
        .0
        .iter()
        .map(|(n, allowed)| (n.as_str(), *allowed))
        .collect();
    let attributes = borrowed(&entry.attributes.0);
    let advices = borrowed(&entry.advices.0);
    NewPolicy {
        ttl: match entry.ttl {
            i64::MAX => u64::MAX,
            ended if ended < 0 => 0,
            end => end as u64,
        },
        actions: &actions,
        attributes: &slices(&attributes),
        advices: &slices(&advices),
    }
    .encode()
}

#[cfg(test)]
mod tests {
    use std::{format, string::ToString, vec};

    use super::*;
    use crate::{contract::Cause, record::Policy};

    const A: &str = "http://www.test.example.org:8080/docs/a.html";
    const X: &str = "http://www.test.example.org:8080/x";
    /// What OpenAM 16.0.5 sends for a question about A and X.
    const LIVE: &str = r#"[{"resource":"http://www.test.example.org:8080/x","actions":{},"attributes":{},"advices":{"AuthLevelConditionAdvice":["2"]},"ttl":1800000000000},{"resource":"http://www.test.example.org:8080/docs/a.html","actions":{"POST":false,"GET":true},"attributes":{"mail":["a@example.com","b@example.com"]},"advices":{},"ttl":9223372036854775807,"later":{"x":[]}}]"#;

    fn asked() -> Vec<String> {
        vec![A.into(), X.into()]
    }

    fn read(status: u16, body: &str) -> Result<Vec<(String, Vec<u8>)>, AmError> {
        parse(
            &Reply {
                status,
                headers: &[],
                body: body.as_bytes(),
            },
            &asked(),
        )
    }

    #[test]
    fn asks_as_openam_expects() {
        let token = Secret::new(b"AQIC5wUSER\"\\.*".to_vec());
        let resources = [A.to_string()];
        let environment = vec![("requestIp".into(), vec!["192.0.2.7".into()])];
        let question = Question {
            token: &token,
            resources: &resources,
            application: "iPlanetAMWebAgentService",
            realm: "/shop",
            environment: &environment,
        };
        let e = encode(
            &question,
            "iPlanetDirectoryPro",
            &Secret::new(b"t".to_vec()),
        )
        .ok()
        .unwrap();
        assert_eq!(
            e.path,
            "json/realms/root/realms/shop/policies?_action=evaluate"
        );
        assert_eq!(
            core::str::from_utf8(e.body.expose()).unwrap(),
            r#"{"resources":["http://www.test.example.org:8080/docs/a.html"],"application":"iPlanetAMWebAgentService","subject":{"ssoToken":"AQIC5wUSER\"\\.*"},"environment":{"requestIp":["192.0.2.7"]}}"#
        );
        let nobody = Secret::new(vec![]);
        let question = Question {
            token: &nobody,
            ..question
        };
        assert!(encode(&question, "x", &token).err() == Some(AmError::UserDead));
    }

    #[test]
    fn entries_are_matched_by_resource() {
        let records = read(200, LIVE).unwrap();
        assert_eq!((records[0].0.as_str(), records[1].0.as_str()), (A, X));
        let a = Policy::decode(&records[0].1).unwrap();
        assert!(a.allows(b"GET") && !a.allows(b"POST") && !a.has_advices());
        assert_eq!(
            (a.ttl, a.attributes.get("mail").unwrap().count()),
            (u64::MAX, 2)
        );
        let x = Policy::decode(&records[1].1).unwrap();
        assert!(!x.allows(b"GET") && x.has_advices());
        assert_eq!(x.ttl, 1_800_000_000_000);
        assert_eq!(x.advices.first("AuthLevelConditionAdvice"), Some("2"));
    }

    #[test]
    fn an_answer_that_is_not_about_the_question_is_no_answer() {
        let entry = |resource: &str, ttl: &str, actions: &str| {
            format!(r#"{{"resource":"{resource}","actions":{actions},"ttl":{ttl}}}"#)
        };
        let good = entry(X, "1", "{}");
        for bad in [
            format!("[{good}]"),
            format!("[{good},{good},{}]", entry(A, "1", "{}")),
            format!("[{good},{}]", entry(A, "1.5", "{}")),
            format!("[{good},{}]", entry(A, "1e3", "{}")),
            format!("[{good},{}]", entry(A, "9223372036854775808", "{}")),
            format!("[{good},{}]", entry(A, "1", r#"{"GET":"true"}"#)),
            format!("[{good},{}]", entry(A, "1", r#"{"GET":false,"GET":true}"#)),
            format!(r#"[{good},{{"resource":"{A}","actions":{{}}}}]"#),
            format!("[{good},{}]", entry(&A.to_uppercase(), "1", "{}")),
            good,
            "{}".into(),
            "[".repeat(100_000),
            "<html/>".into(),
            " ".repeat(LARGE + 1),
        ] {
            assert_eq!(read(200, &bad), Err(AmError::PROTOCOL), "{bad:.200}");
        }
        let ended = format!("[{},{}]", entry(A, "-1", "{}"), entry(X, "1", "{}"));
        assert_eq!(
            Policy::decode(&read(200, &ended).unwrap()[0].1)
                .unwrap()
                .ttl,
            0
        );
    }

    #[test]
    fn failures_are_told_apart() {
        let said = |code: u16, message: &str| {
            read(
                code,
                &format!(r#"{{"code":{code},"reason":"x","message":"{message}"}}"#),
            )
            .err()
        };
        assert_eq!(said(400, "Invalid value subject"), Some(AmError::UserDead));
        let other = Some(AmError::Unavailable(Cause::Status(400)));
        assert_eq!(said(400, "Invalid value resources"), other);
        assert_eq!(read(400, "subject").err(), other);
        assert_eq!(said(401, "Access Denied"), Some(AmError::AgentDead));
        assert_eq!(
            said(403, "x"),
            Some(AmError::NotAllowed(Refusal::Operation))
        );
        let unknown = said(404, "Unable to retrieve application under realm /.");
        assert_eq!(unknown, Some(AmError::NotAllowed(Refusal::PolicySet)));
        assert_eq!(
            said(500, "x"),
            Some(AmError::Unavailable(Cause::Status(500)))
        );
    }
}
