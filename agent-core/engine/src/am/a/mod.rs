//! Dialect A: the words of OpenAM, one file an operation, and what all of them share.
//!
//! Must not be used against another AM: some of its calls mean something else there, and the other
//! way round (`getSessionInfo` with `tokenId` in the body answers with the *agent's* session here).

mod affinity;
pub mod agent_login;
pub mod attributes;
pub mod audit;
pub mod lares;
pub mod logout;
pub mod notifications;
mod pll;
pub mod policy;
pub mod profile;
pub mod server_info;
pub mod session;
pub mod validate;

pub use affinity::server_id;

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::{fmt, marker::PhantomData};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
};

use super::{AmError, Exchange, Method, Reply, Value};
use crate::{contract::Cause, token::Secret};

/// Longest token that is sent to AM, bytes. Its XML services read 16 KiB at most, envelope included;
/// client-side sessions measured 2 KiB and more.
pub const MAX_TOKEN: usize = 12 * 1024;
/// Cap of an answer that holds one small object, bytes.
pub(super) const SMALL: usize = 64 * 1024;
/// Cap of an answer that lists properties or decisions, bytes.
const LARGE: usize = 1024 * 1024;

/// Unreserved characters of RFC 3986 stay, everything else is escaped.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A token as AM takes it in a header: printable ASCII, not empty, not longer than [`MAX_TOKEN`].
/// Anything else was never issued by AM, so the session behind it is *dead*, not *unavailable*.
pub(super) fn user_token(token: &Secret) -> Result<&str, AmError> {
    let bytes = token.expose();
    let fits = !bytes.is_empty() && bytes.len() <= MAX_TOKEN;
    let printable = fits && bytes.iter().all(u8::is_ascii_graphic);
    core::str::from_utf8(bytes)
        .ok()
        .filter(|_| printable)
        .ok_or(AmError::UserDead)
}

/// The form of a session token that is compared and hashed, never sent.
///
/// A token travels URL-encoded or not, and with or without the exchange of characters that makes it
/// fit into a cookie (`com.iplanet.am.cookie.c66Encode`). This is the exchanged form; both ways to
/// write one token give the same bytes.
pub fn normalize_token(token: &[u8]) -> Secret {
    let mut bytes: Vec<u8> = percent_decode(token).collect();
    normalize_in_place(&mut bytes);
    Secret::new(bytes)
}

/// Whether [`normalize_in_place`] has nothing to change.
pub fn is_normal(token: &[u8]) -> bool {
    memchr::memchr3(b'+', b'/', b'=', token).is_none()
        && memchr::memchr2(b'@', b'#', token).is_none()
}

/// [`normalize_token`] for a token that is not percent-encoded; allocates nothing.
pub fn normalize_in_place(token: &mut [u8]) {
    for b in token {
        *b = match *b {
            b'+' => b'-',
            b'/' => b'_',
            b'=' => b'.',
            b'@' | b'#' => b'*',
            other => other,
        };
    }
}

/// Whether AM keeps nothing about this session but what the token says itself (rule S1).
pub fn is_client_side(token: &[u8]) -> bool {
    normalize_token(token).expose().first() == Some(&b'*')
}

/// `json/realms/root/realms/a/realms/b/` for `/a/b`.
pub(super) fn realm_path(realm: &str, rest: &str) -> String {
    let mut path = String::from("json/realms/root/");
    for name in realm.split('/').filter(|s| !s.is_empty()) {
        path.push_str("realms/");
        path.extend(utf8_percent_encode(name, SEGMENT));
        path.push('/');
    }
    path.push_str(rest);
    path
}

/// The headers of every JSON call; AM's error texts follow `Accept-Language`, and a missing
/// `Accept-API-Version` selects whatever is newest.
fn json_headers(resource: &'static str) -> Vec<(Cow<'static, str>, Value)> {
    let plain = |v: &'static str| Value::Plain(Cow::Borrowed(v));
    Vec::from([
        (Cow::Borrowed("Accept-API-Version"), plain(resource)),
        (Cow::Borrowed("Accept-Language"), plain("en")),
        (Cow::Borrowed("Accept"), plain("application/json")),
    ])
}

/// A `GET` of JSON, with the caller's token in the header that is named like AM's cookie.
fn get(path: String, resource: &'static str, caller: Option<(&str, &Secret)>) -> Exchange {
    let mut headers = json_headers(resource);
    headers.extend(caller.map(token_header));
    Exchange {
        method: Method::Get,
        path,
        headers,
        body: Secret::new(Vec::new()),
        max_body: SMALL,
        once: false,
    }
}

/// A `POST` of JSON.
pub(super) fn post(
    path: String,
    resource: &'static str,
    caller: Option<(&str, &Secret)>,
    body: Vec<u8>,
) -> Exchange {
    let mut exchange = get(path, resource, caller);
    let json = Value::Plain(Cow::Borrowed("application/json"));
    exchange.headers.push((Cow::Borrowed("Content-Type"), json));
    Exchange {
        method: Method::Post,
        body: Secret::new(body),
        ..exchange
    }
}

/// AM looks for a cookie of that name first and for a header second; the header needs no cookie jar.
fn token_header((name, token): (&str, &Secret)) -> (Cow<'static, str>, Value) {
    (Cow::Owned(String::from(name)), Value::Secret(token.clone()))
}

/// The object of a 200 answer. Unknown members are ignored, a member given twice is an error, and
/// nesting is limited by the JSON reader.
pub(super) fn json<T: DeserializeOwned>(reply: &Reply<'_>, cap: usize) -> Result<T, AmError> {
    if reply.body.len() > cap {
        return Err(AmError::PROTOCOL);
    }
    serde_json::from_slice(reply.body).map_err(|_| AmError::PROTOCOL)
}

/// AM's error object. Its texts are hints: they are translated and differ between versions.
#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    message: String,
}

/// The message of an error answer, empty where there is none.
fn complaint(reply: &Reply<'_>) -> String {
    json::<Complaint>(reply, SMALL)
        .map(|c| c.message)
        .unwrap_or_default()
}

/// What a status means when nothing more is known about it.
pub(super) fn status(reply: &Reply<'_>) -> AmError {
    AmError::Unavailable(Cause::Status(reply.status))
}

/// The members of a JSON object in their order; a name that occurs twice is refused, because which
/// of the two counts would be a guess.
pub(super) struct Members<V>(pub(super) Vec<(String, V)>);

impl<V> Default for Members<V> {
    fn default() -> Self {
        Members(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Members<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Walk<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Walk<V> {
            type Value = Members<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<V>, A::Error> {
                let mut members = Members(Vec::new());
                while let Some((name, value)) = map.next_entry::<String, V>()? {
                    members.0.push((name, value));
                }
                let mut names: Vec<&str> = members.0.iter().map(|(n, _)| n.as_str()).collect();
                names.sort_unstable();
                match names.windows(2).any(|pair| pair[0] == pair[1]) {
                    true => Err(A::Error::custom("a member occurs twice")),
                    false => Ok(members),
                }
            }
        }
        from.deserialize_map(Walk(PhantomData))
    }
}

/// One text or several; AM writes attributes as arrays and a few members as plain text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    Many(Vec<String>),
    One(String),
    /// Numbers, booleans, null, objects: nothing that an attribute is made of.
    Other(serde::de::IgnoredAny),
}

impl Texts {
    /// The texts; `None` for a member that is no attribute.
    fn into_vec(self) -> Option<Vec<String>> {
        match self {
            Texts::Many(values) => Some(values),
            Texts::One(value) => Some(Vec::from([value])),
            Texts::Other(_) => None,
        }
    }
}

/// Names with their texts, borrowed for a record: [`slices`] of it is what a record is made from.
fn borrowed(members: &[(String, Vec<String>)]) -> Vec<(&str, Vec<&str>)> {
    members
        .iter()
        .map(|(n, v)| (n.as_str(), v.iter().map(String::as_str).collect()))
        .collect()
}

/// See [`borrowed`].
fn slices<'a>(members: &'a [(&'a str, Vec<&'a str>)]) -> Vec<(&'a str, &'a [&'a str])> {
    members.iter().map(|(n, v)| (*n, v.as_slice())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_write_a_token_are_one_key() {
        let cookie = normalize_token(b"AQIC5w-a_b.*AAJTSQACMDEAAlNLAA..*");
        for other in [
            &b"AQIC5w+a/b=@AAJTSQACMDEAAlNLAA==#"[..],
            b"AQIC5w%2Ba%2Fb%3D%40AAJTSQACMDEAAlNLAA%3D%3D%23",
            b"AQIC5w-a_b.*AAJTSQACMDEAAlNLAA..*",
        ] {
            assert!(normalize_token(other) == cookie);
        }
        assert!(normalize_token(b"AQIC5w-a_b.*AAJTSQACMDEAAlNLAA..") != cookie);
    }

    #[test]
    fn a_client_side_token_begins_with_a_star() {
        assert!(is_client_side(b"*AAJTSQACMDEAAlMxAAA.*eyJ0eXAi"));
        assert!(is_client_side(b"@AAJTSQACMDEAAlMxAAA=#eyJ0eXAi"));
        assert!(!is_client_side(b"AQIC5w.*AAJTSQ*") && !is_client_side(b""));
    }

    #[test]
    fn realms_become_paths() {
        assert_eq!(realm_path("/", "policies"), "json/realms/root/policies");
        assert_eq!(
            realm_path("/a/b", "x"),
            "json/realms/root/realms/a/realms/b/x"
        );
        assert_eq!(
            realm_path("/a b?#", "x"),
            "json/realms/root/realms/a%20b%3F%23/x"
        );
    }

    #[test]
    fn what_no_am_ever_issued_is_dead_without_a_call() {
        for bad in [
            &b""[..],
            b"a b",
            b"a\r\nX: y",
            b"\xc3\xa9",
            b"\0",
            &[b'a'; MAX_TOKEN + 1],
        ] {
            assert_eq!(user_token(&Secret::new(bad.into())), Err(AmError::UserDead));
        }
        assert_eq!(
            user_token(&Secret::new(b"AQIC5w.*".to_vec())),
            Ok("AQIC5w.*")
        );
    }
}
