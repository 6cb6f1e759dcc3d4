//! `/notifications`: the WebSocket on which AM says that sessions, policies and agent profiles changed.
//!
//! Every subscriber hears of everything in the deployment, so most messages are about nothing that is
//! known here. Must not decide what a message changes, and never takes an acknowledgement for a proof:
//! AM acknowledges topics that do not exist, too (measured on OpenAM 16.0.5).

use alloc::{borrow::Cow, string::String};

use serde::Deserialize;

use super::{Exchange, MAX_TOKEN, Method, SMALL, Value, normalize_token, token_header};
use crate::token::Secret;

/// The only subprotocol; OpenAM does without, newer servers are said to ask for it.
pub const SUBPROTOCOL: &str = "v1.notifications.forgerock.org";

/// What is subscribed to. OpenAM never publishes `/agent/session.v2`, which newer servers are said to
/// use, but acknowledges it.
pub const TOPICS: [&str; 4] = [
    "/agent/session",
    "/agent/session.v2",
    "/agent/policy",
    "/agent/config",
];

/// What AM says on the socket.
#[derive(Clone, PartialEq, Eq)]
pub enum Notice {
    /// A subscription was taken.
    Subscribed,
    /// A message of ours was refused, with AM's words.
    Refused(String),
    /// A session has ended; its token, [normalised](super::normalize_token).
    SessionOver(Secret),
    /// Something about a session has changed; its token, normalised.
    SessionChanged(Secret),
    /// A policy has changed.
    PolicyChanged,
    /// An agent's profile has changed.
    ProfileChanged {
        /// The profile's realm.
        realm: String,
        /// Its name.
        agent: String,
    },
    /// Nothing of interest, or nothing that is understood.
    Other,
}

/// The handshake. The token counts in this header only, never in a cookie (measured on OpenAM 16.0.5);
/// `key` is what RFC 6455 section 4.1 wants: 16 random bytes in Base64.
pub fn encode(header: &str, agent: &Secret, key: String) -> Exchange {
    let plain = |text: &'static str| Value::Plain(Cow::Borrowed(text));
    Exchange {
        method: Method::Get,
        path: "notifications".into(),
        headers: alloc::vec![
            ("Connection".into(), plain("Upgrade")),
            ("Upgrade".into(), plain("websocket")),
            ("Sec-WebSocket-Version".into(), plain("13")),
            ("Sec-WebSocket-Key".into(), Value::Plain(Cow::Owned(key))),
            ("Sec-WebSocket-Protocol".into(), plain(SUBPROTOCOL)),
            token_header((header, agent)),
        ],
        body: Secret::new(alloc::vec::Vec::new()),
        max_body: SMALL,
        once: false,
    }
}

/// The message that subscribes to one of [`TOPICS`].
pub fn subscribe(topic: &str) -> String {
    alloc::format!(r#"{{"action":"subscribe","topic":"{topic}"}}"#)
}

/// A message of AM. Members that are not there stay empty; unknown ones are ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    topic: String,
    error: Option<String>,
    message: Option<String>,
    body: Body,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Body {
    token_id: Option<String>,
    event_type: String,
    realm: String,
    agent_name: String,
}

/// What a text message says.
pub fn parse(text: &[u8]) -> Notice {
    let Ok(said) = serde_json::from_slice::<Message>(text) else {
        return Notice::Other;
    };
    if let Some(error) = said.error {
        return Notice::Refused(error);
    }
    if said.message.is_some() {
        return Notice::Subscribed;
    }
    match said.topic.as_str() {
        "/agent/session" | "/agent/session.v2" => session(said.body),
        "/agent/policy" => Notice::PolicyChanged,
        "/agent/config" => Notice::ProfileChanged {
            realm: said.body.realm,
            agent: said.body.agent_name,
        },
        _ => Notice::Other,
    }
}

/// Of an event that nobody knows the session is asked about again, which is right whatever it means.
fn session(body: Body) -> Notice {
    let token = match body.token_id {
        Some(token) if token.len() <= MAX_TOKEN && !token.is_empty() => token,
        _ => return Notice::Other,
    };
    let token = || normalize_token(token.as_bytes());
    match body.event_type.as_str() {
        "SESSION_CREATION" => Notice::Other,
        "LOGOUT" | "DESTROY" | "IDLE_TIMEOUT" | "MAX_TIMEOUT" => Notice::SessionOver(token()),
        _ => Notice::SessionChanged(token()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(topic: &str, body: &str) -> Notice {
        let time = "2026-08-20T09:20:01.123Z";
        parse(
            alloc::format!(r#"{{"topic":"{topic}","timestamp":"{time}","body":{body}}}"#)
                .as_bytes(),
        )
    }

    fn over(token: &str) -> Notice {
        Notice::SessionOver(Secret::new(token.into()))
    }

    /// Bodies as OpenAM 16.0.5 sends them.
    #[test]
    fn reads_what_openam_16_sends() {
        let session = |kind: &str| {
            let body = alloc::format!(r#"{{"tokenId":"AQIC5w+a/b=@x","eventType":"{kind}"}}"#);
            event("/agent/session", &body)
        };
        for kind in ["LOGOUT", "DESTROY", "IDLE_TIMEOUT", "MAX_TIMEOUT"] {
            assert!(session(kind) == over("AQIC5w-a_b.*x"), "{kind}");
        }
        assert!(session("SESSION_CREATION") == Notice::Other);
        let changed = Notice::SessionChanged(Secret::new(b"AQIC5w-a_b.*x".to_vec()));
        assert!(session("PROPERTY_CHANGED") == changed);
        assert!(session("SOMETHING_NEW") == changed);
        let policy = r#"{"realm":"/","policy":"p1","policySet":"iPlanetAMWebAgentService","eventType":"UPDATE"}"#;
        assert!(event("/agent/policy", policy) == Notice::PolicyChanged);
        let profile = Notice::ProfileChanged {
            realm: "/shop".into(),
            agent: "wa1".into(),
        };
        assert!(event("/agent/config", r#"{"realm":"/shop","agentName":"wa1"}"#) == profile);
        let taken = r#"{"topic":"/agent/policy","message":"subscription registered"}"#;
        assert!(parse(taken.as_bytes()) == Notice::Subscribed);
        let refused = parse(br#"{"error":"unknown action \"x\""}"#);
        assert!(refused == Notice::Refused("unknown action \"x\"".into()));
    }

    #[test]
    fn what_is_not_understood_changes_nothing() {
        for text in ["", "{", "[]", "null", r#"{"topic":7}"#, r#"{"body":[]}"#] {
            assert!(parse(text.as_bytes()) == Notice::Other, "{text}");
        }
        assert!(
            event(
                "/agent/session.v2",
                r#"{"sessionuid":"u","eventType":"LOGOUT"}"#
            ) == Notice::Other
        );
        assert!(event("/agent/session", r#"{"tokenId":"","eventType":"LOGOUT"}"#) == Notice::Other);
        assert!(event("/somewhere/else", "{}") == Notice::Other);
    }

    #[test]
    fn the_token_is_in_its_header_alone() {
        let e = encode(
            "iPlanetDirectoryPro",
            &Secret::new(b"AQIC5w".to_vec()),
            "k".into(),
        );
        assert_eq!(e.path, "notifications");
        let secret = e
            .headers
            .iter()
            .filter(|(_, v)| matches!(v, Value::Secret(_)));
        assert_eq!(
            secret
                .map(|(n, _)| n.as_ref())
                .collect::<alloc::vec::Vec<_>>(),
            ["iPlanetDirectoryPro"]
        );
        assert_eq!(subscribe("/t"), r#"{"action":"subscribe","topic":"/t"}"#);
    }
}
