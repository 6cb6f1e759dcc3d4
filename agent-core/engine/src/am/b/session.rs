//! Who is behind a token? `getSessionInfo` with the agent as the caller and the user's token in the body.
//!
//! An AM that does not read the body answers about the agent instead: such a session is an application's,
//! which nobody is let in with (rule S5).

use alloc::{borrow::Cow, string::String, vec::Vec};

use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::about;
use crate::{
    am::{
        AmError, Exchange, Reply,
        a::{Members, SMALL, is_client_side, json, session::Answer, status},
    },
    record::{NewSession, SessionKind},
    token::Secret,
};

/// Cap of an answer, bytes: an administrator may add properties.
const MAX_BODY: usize = 4 * SMALL;

/// Asks AM about `token`, as the agent. AM's documentation says that it does not count as activity.
pub fn encode(
    realm: &str,
    token_header: &str,
    agent: &Secret,
    token: &Secret,
) -> Result<Exchange, AmError> {
    let action = "sessions?_action=getSessionInfo";
    let exchange = about(realm, action, (token_header, agent), token)?;
    Ok(Exchange {
        max_body: MAX_BODY,
        once: false,
        ..exchange
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    valid: Option<bool>,
    username: Option<String>,
    universal_id: Option<String>,
    realm: Option<String>,
    max_idle_expiration_time: Option<String>,
    max_session_expiration_time: Option<String>,
    #[serde(default)]
    properties: Members<Option<String>>,
}

/// Reads the answer about `token`. 401 does not say whose token is dead.
pub fn parse(reply: &Reply<'_>, token: &Secret) -> Result<Answer, AmError> {
    match reply.status {
        200 => {}
        401 => return Ok(Answer::Doubt),
        403 => return Err(AmError::NotAllowed(crate::am::Refusal::Operation)),
        _ => return Err(status(reply)),
    }
    let info: Info = json(reply, MAX_BODY)?;
    if info.valid == Some(false) {
        return Err(AmError::UserDead);
    }
    record(&info, token).map(Answer::Live)
}

/// Whether the agent's own token is alive, from the answer about it.
pub fn parse_own(reply: &Reply<'_>) -> Result<bool, AmError> {
    match reply.status {
        200 => Ok(json::<Info>(reply, MAX_BODY)?.valid != Some(false)),
        401 => Ok(false),
        _ => Err(status(reply)),
    }
}

fn record(info: &Info, token: &Secret) -> Result<Vec<u8>, AmError> {
    fn text(member: &Option<String>) -> Result<&str, AmError> {
        let text = member.as_deref().unwrap_or("");
        (!text.is_empty()).then_some(text).ok_or(AmError::PROTOCOL)
    }
    let universal_id = text(&info.universal_id)?;
    let username = text(&info.username)?;
    let mut properties: Vec<(&str, &str)> = Vec::from([
        ("UserToken", username),
        ("sun.am.UniversalIdentifier", universal_id),
    ]);
    for (name, value) in &info.properties.0 {
        let given = properties.iter().any(|(known, _)| known == name);
        if let Some(value) = value.as_deref().filter(|_| !given) {
            properties.push((name, value));
        }
    }
    NewSession {
        kind: kind_of(universal_id),
        client_side: is_client_side(token.expose()),
        max_end: millis(text(&info.max_session_expiration_time)?)?,
        idle_end: millis(text(&info.max_idle_expiration_time)?)?,
        realm: &realm(text(&info.realm)?),
        universal_id,
        properties: &properties,
    }
    .encode()
    .ok_or(AmError::PROTOCOL)
}

/// Only what AM keeps below `ou=user` is a person's.
fn kind_of(universal_id: &str) -> SessionKind {
    let mut parts = universal_id.split(',').map(str::trim);
    let named = parts.next().is_some_and(|id| id.starts_with("id="));
    match named && parts.next() == Some("ou=user") {
        true => SessionKind::User,
        false => SessionKind::Application,
    }
}

/// AM writes realms with and without the slash in front.
fn realm(text: &str) -> Cow<'_, str> {
    match text.starts_with('/') {
        true => Cow::Borrowed(text),
        false => Cow::Owned(["/", text].concat()),
    }
}

fn millis(text: &str) -> Result<u64, AmError> {
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| AmError::PROTOCOL)?;
    let millis = time.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(millis).map_err(|_| AmError::PROTOCOL)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::{am::Method, contract::Cause, record::Session};

    const DEMO: &str = r#"{"username":"demo","universalId":"id=demo,ou=user,dc=openam,dc=forgerock,dc=org",
        "realm":"/alpha","latestAccessTime":"2026-08-20T09:11:07Z","maxIdleExpirationTime":"2026-08-20T09:41:07Z",
        "maxSessionExpirationTime":"2026-08-20T11:10:58.250Z",
        "properties":{"AMCtxId":"5d3a-01","Host":"203.0.113.9","UserToken":"somebody-else","none":null}}"#;

    fn token() -> Secret {
        Secret::new(b"AQIC5wUSER.*".to_vec())
    }

    fn read(status: u16, body: &str) -> Result<Answer, AmError> {
        let reply = Reply {
            status,
            headers: &[],
            body: body.as_bytes(),
        };
        parse(&reply, &token())
    }

    fn live(body: &str) -> Vec<u8> {
        match read(200, body) {
            Ok(Answer::Live(record)) => record,
            _ => panic!("{body}"),
        }
    }

    #[test]
    fn the_token_is_in_the_body_and_the_agent_asks() {
        let agent = Secret::new(b"AQIC5wAGENT.*".to_vec());
        let e = encode("/alpha", "iPlanetDirectoryPro", &agent, &token())
            .ok()
            .unwrap();
        assert!(e.method == Method::Post);
        assert_eq!(
            e.path,
            "json/realms/root/realms/alpha/sessions?_action=getSessionInfo"
        );
        assert_eq!(e.body.expose(), br#"{"tokenId":"AQIC5wUSER.*"}"#);
        let quote = Secret::new(br#"a","x":"b"#.to_vec());
        let e = encode("/", "n", &agent, &quote).ok().unwrap();
        assert_eq!(e.body.expose(), br#"{"tokenId":"a\",\"x\":\"b"}"#);
    }

    #[test]
    fn an_answer_is_a_record() {
        let record = live(DEMO);
        let session = Session::decode(&record).unwrap();
        assert_eq!(session.kind, SessionKind::User);
        assert_eq!(session.realm, "/alpha");
        assert_eq!(session.max_end, 1_787_224_258_250);
        assert_eq!(session.idle_end, 1_787_218_867_000);
        assert_eq!(session.properties.first("UserToken"), Some("demo"));
        assert_eq!(session.properties.first("AMCtxId"), Some("5d3a-01"));
        assert_eq!(session.properties.first("none"), None);
    }

    #[test]
    fn only_people_are_people() {
        for (universal_id, kind) in [
            ("id=demo,ou=user,dc=a", SessionKind::User),
            ("id=wa1,ou=agent,dc=a", SessionKind::Application),
            ("id=x,ou=agentgroup,ou=user,dc=a", SessionKind::Application),
            ("demo", SessionKind::Application),
            ("ou=user", SessionKind::Application),
        ] {
            let body = DEMO.replace(
                "id=demo,ou=user,dc=openam,dc=forgerock,dc=org",
                universal_id,
            );
            let record = live(&body);
            assert_eq!(
                Session::decode(&record).unwrap().kind,
                kind,
                "{universal_id}"
            );
        }
    }

    #[test]
    fn other_answers_let_nobody_in() {
        assert!(matches!(read(401, "{}"), Ok(Answer::Doubt)));
        assert_eq!(
            read(200, r#"{"valid":false}"#).err(),
            Some(AmError::UserDead)
        );
        assert_eq!(
            read(403, "{}").err(),
            Some(AmError::NotAllowed(crate::am::Refusal::Operation))
        );
        // OpenAM has no version 4.
        assert_eq!(
            read(404, "{}").err(),
            Some(AmError::Unavailable(Cause::Status(404)))
        );
        for member in [
            "username",
            "universalId",
            "realm",
            "maxIdleExpirationTime",
            "maxSessionExpirationTime",
        ] {
            let other = DEMO.replace(&["\"", member, "\""].concat(), "\"other\"");
            assert_eq!(read(200, &other).err(), Some(AmError::PROTOCOL), "{member}");
        }
        for body in ["", "[]", "{}", &DEMO.replace("2026-08-20T11", "never")] {
            assert_eq!(read(200, body).err(), Some(AmError::PROTOCOL), "{body}");
        }
        let twice = DEMO.replace("\"Host\"", "\"AMCtxId\"");
        assert_eq!(read(200, &twice).err(), Some(AmError::PROTOCOL));
        assert!(
            parse_own(&Reply {
                status: 401,
                headers: &[],
                body: b""
            }) == Ok(false)
        );
        assert_eq!(realm("alpha").to_string(), "/alpha");
    }
}
