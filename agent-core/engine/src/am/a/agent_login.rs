//! How the agent proves itself to AM and gets its own session token.

use alloc::{borrow::Cow, string::String, vec::Vec};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{AmError, Exchange, Reply, SMALL, Value, json, post, realm_path, status, user_token};
use crate::token::Secret;

/// AM decodes the login headers by RFC 2047, so that is how everything but plain text is sent:
/// other bytes, blanks at the ends, and text that looks like an encoded word itself.
fn header_text(text: &[u8]) -> Secret {
    let printable = text.iter().all(|b| matches!(b, b' '..=b'~'));
    let blank_end = text.first() == Some(&b' ') || text.last() == Some(&b' ');
    if printable && !blank_end && !text.windows(2).any(|w| w == b"=?") {
        return Secret::new(text.to_vec());
    }
    let mut word = Vec::from(*b"=?UTF-8?B?");
    word.extend_from_slice(Secret::new(STANDARD.encode(text).into_bytes()).expose());
    word.extend_from_slice(b"?=");
    Secret::new(word)
}

/// Logs `agent` in to the realm of its profile. The module `Application` is always there and checks
/// agent profiles only. No earlier token is sent along: AM may answer such a login without a token.
pub fn encode(realm: &str, agent: &str, password: &Secret) -> Exchange {
    let index = "authIndexType=module&authIndexValue=Application";
    encode_as(realm, agent, password, index)
}

/// [`encode`] by another way in.
pub(in crate::am) fn encode_as(
    realm: &str,
    agent: &str,
    password: &Secret,
    index: &str,
) -> Exchange {
    let path = realm_path(realm, &["authenticate?", index].concat());
    with_names(path, agent, password)
}

/// Logs a user in to a realm, by the way that the realm has for users: for who examines an installation and
/// was given a user for that.
pub fn encode_user(realm: &str, user: &str, password: &Secret) -> Exchange {
    with_names(realm_path(realm, "authenticate"), user, password)
}

fn with_names(path: String, name: &str, password: &Secret) -> Exchange {
    let mut exchange = post(path, "resource=2.1, protocol=1.0", None, b"{}".to_vec());
    exchange.once = true; // each makes a session
    let secret = |text: &[u8]| Value::Secret(header_text(text));
    exchange.headers.extend([
        (Cow::Borrowed("X-OpenAM-Username"), secret(name.as_bytes())),
        (
            Cow::Borrowed("X-OpenAM-Password"),
            secret(password.expose()),
        ),
    ]);
    exchange
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default, rename = "tokenId")]
    token_id: String,
}

/// The agent's token. With AM's `cookie.httponly` on, the body lacks it and only `Set-Cookie` has it.
/// An answer of 4xx is [`AmError::Refused`]: repeating it can lock the profile, so nobody should.
pub fn parse(reply: &Reply<'_>, cookie_name: &str) -> Result<Secret, AmError> {
    match reply.status {
        200 => {}
        refused @ (400 | 401 | 403 | 404) => return Err(AmError::Refused { status: refused }),
        _ => return Err(status(reply)),
    }
    let mut token = Secret::new(json::<Answer>(reply, SMALL)?.token_id.into_bytes());
    if token.is_empty() {
        token = from_cookie(reply, cookie_name).ok_or(AmError::PROTOCOL)?;
    }
    match user_token(&token) {
        Ok(_) => Ok(token),
        Err(_) => Err(AmError::PROTOCOL),
    }
}

fn from_cookie(reply: &Reply<'_>, cookie_name: &str) -> Option<Secret> {
    reply.values("set-cookie").find_map(|line| {
        let pair = line.split(|b| *b == b';').next()?.trim_ascii();
        let value = pair
            .strip_prefix(cookie_name.as_bytes())?
            .strip_prefix(b"=")?;
        (!value.is_empty()).then(|| Secret::new(value.to_vec()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{am::Method, contract::Cause};

    const NAME: &str = "iPlanetDirectoryPro";

    fn header(e: &Exchange, name: &str) -> std::vec::Vec<u8> {
        match &e.headers.iter().find(|(n, _)| n == name).unwrap().1 {
            Value::Plain(text) => text.as_bytes().to_vec(),
            Value::Secret(secret) => secret.expose().to_vec(),
        }
    }

    #[test]
    fn asks_as_openam_expects() {
        let e = encode("/shop", "wa1", &Secret::new(b"s3cretagent".to_vec()));
        assert!(e.method == Method::Post && e.body.expose() == b"{}");
        assert_eq!(
            e.path,
            "json/realms/root/realms/shop/authenticate?authIndexType=module&authIndexValue=Application"
        );
        assert_eq!(header(&e, "X-OpenAM-Username"), b"wa1");
        assert_eq!(header(&e, "X-OpenAM-Password"), b"s3cretagent");
        assert_eq!(
            header(&e, "Accept-API-Version"),
            b"resource=2.1, protocol=1.0"
        );
        assert_eq!(header(&e, "Accept-Language"), b"en");
        assert_eq!(header(&e, "Content-Type"), b"application/json");
    }

    #[test]
    fn users_log_in_by_the_way_of_their_realm() {
        let e = encode_user("/shop", "demo", &Secret::new(b"changeit8".to_vec()));
        assert_eq!(e.path, "json/realms/root/realms/shop/authenticate");
        assert_eq!(header(&e, "X-OpenAM-Username"), b"demo");
        assert!(e.once);
    }

    #[test]
    fn what_is_not_plain_text_is_an_encoded_word() {
        let sent = |text: &str| String::from_utf8(header_text(text.as_bytes()).expose().to_vec());
        assert_eq!(sent("two words~"), Ok("two words~".into()));
        assert_eq!(sent("pä"), Ok("=?UTF-8?B?cMOk?=".into()));
        assert_eq!(sent("=?x"), Ok("=?UTF-8?B?PT94?=".into()));
        assert_eq!(sent("x "), Ok("=?UTF-8?B?eCA=?=".into()));
        assert_eq!(sent("a\r\nb"), Ok("=?UTF-8?B?YQ0KYg==?=".into()));
    }

    #[test]
    fn the_token_comes_from_the_body_or_else_from_the_cookie() {
        let body = br#"{"tokenId":"AQIC5wM2.*AAJTSQACMDEAAlMxAAA.*","successUrl":"/openam/console","realm":"/"}"#;
        let cookies: &[(&str, &[u8])] = &[
            ("set-cookie", b"amlbcookie=01; Path=/"),
            (
                "Set-Cookie",
                b"iPlanetDirectoryPro=AQICother.*; Path=/; Domain=.example.com",
            ),
        ];
        let token = parse(
            &Reply {
                status: 200,
                headers: cookies,
                body,
            },
            NAME,
        )
        .ok()
        .unwrap();
        assert_eq!(token.expose(), b"AQIC5wM2.*AAJTSQACMDEAAlMxAAA.*");
        let empty = br#"{"successUrl":"/openam/console","realm":"/"}"#;
        let token = parse(
            &Reply {
                status: 200,
                headers: cookies,
                body: empty,
            },
            NAME,
        )
        .ok()
        .unwrap();
        assert_eq!(token.expose(), b"AQICother.*");
    }

    #[test]
    fn no_token_is_no_login() {
        let fail = |status, body: &'static [u8]| {
            parse(
                &Reply {
                    status,
                    headers: &[],
                    body,
                },
                NAME,
            )
            .err()
        };
        let callbacks =
            br#"{"authId":"eyJ0eXAi","template":"","stage":"Application1","callbacks":[]}"#;
        assert_eq!(fail(200, callbacks), Some(AmError::PROTOCOL));
        assert_eq!(fail(200, br#"{"tokenId":"a b"}"#), Some(AmError::PROTOCOL));
        assert_eq!(
            fail(200, br#"{"tokenId":"a","tokenId":"b"}"#),
            Some(AmError::PROTOCOL)
        );
        assert_eq!(fail(200, b"<html>"), Some(AmError::PROTOCOL));
        let wrong = br#"{"code":401,"reason":"Unauthorized","message":"Authentication Failed"}"#;
        assert_eq!(fail(401, wrong), Some(AmError::Refused { status: 401 }));
        assert_eq!(fail(404, b""), Some(AmError::Refused { status: 404 }));
        assert_eq!(
            fail(503, b""),
            Some(AmError::Unavailable(Cause::Status(503)))
        );
    }
}
