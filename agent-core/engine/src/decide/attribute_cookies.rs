//! Attributes that travel as cookies: into the `Cookie` header of the request, where the application
//! finds them, and to the browser, for scripts of its pages.
//!
//! What a client sends under their names never reaches the application. It must not decide anything.

use alloc::{borrow::Cow, vec::Vec};

use super::{Cx, ResponseHeaders};
use crate::{
    config::{Carried, Config, CookieAttribute, Snapshot},
    contract::{Identity, RequestView, Sink},
    record::{Pairs, Values},
    token::cookie::{self, SetCookie},
};

/// Longest name and value together that a browser keeps (RFC 6265 section 6.1). The application gets
/// longer ones all the same.
const MAX_KEPT: usize = 4096;

/// The `Cookie` header of an allowed request: without the agent's own cookies (rule L4) and those that
/// only the agent may say, with the attributes of the user.
pub(super) fn walk(
    req: &RequestView<'_>,
    snap: &Snapshot,
    identity: Option<&Identity<'_>>,
    https: bool,
    scratch: &mut Vec<u8>,
    sink: &mut dyn Sink,
) {
    scratch.clear();
    let changed = match snap.carried.forgeable.is_empty() {
        true if snap.config.cookies_forward => return,
        true => cookie::without(req.values(b"cookie"), |name| snap.ours(name), scratch),
        false => with_attributes(req, snap, identity, https, scratch, sink),
    };
    match changed {
        false => {} // as it came
        true if scratch.is_empty() => sink.remove_request_header(b"Cookie"),
        true => sink.request_header(b"Cookie", scratch),
    }
}

/// The same where attributes travel as cookies; on its own to keep the plain path short.
#[inline(never)]
fn with_attributes(
    req: &RequestView<'_>,
    snap: &Snapshot,
    identity: Option<&Identity<'_>>,
    https: bool,
    header: &mut Vec<u8>,
    sink: &mut dyn Sink,
) -> bool {
    let forward = snap.config.cookies_forward;
    let not_theirs =
        |name: &[u8]| !forward && snap.ours(name) || snap.carried.is_attribute_cookie(name);
    let removed = cookie::without(req.values(b"cookie"), not_theirs, header);
    identity.is_some_and(|user| add(req, snap, user, https, header, sink)) || removed
}

/// Adds the user's cookies, and tells the browser of those that it does not have so.
fn add(
    req: &RequestView<'_>,
    snap: &Snapshot,
    identity: &Identity<'_>,
    https: bool,
    header: &mut Vec<u8>,
    sink: &mut dyn Sink,
) -> bool {
    let before = header.len();
    for (attribute, known) in attributes(&snap.carried, identity) {
        // What nobody asked for is neither here nor gone.
        let Some(known) = known else { continue };
        let values = known.get(&attribute.name);
        for name in &attribute.cookies {
            let start = header.len();
            let lead = if header.is_empty() { "" } else { "; " };
            header.extend_from_slice(lead.as_bytes());
            header.extend_from_slice(name.as_bytes());
            header.push(b'=');
            let value = header.len();
            if let Some(values) = values {
                push(header, values, &snap.config);
            }
            let has = cookie::only(req.values(b"cookie"), name.as_bytes());
            if header.len() == value {
                header.truncate(start);
                if has != cookie::One::None {
                    tell(&snap.config, name, b"", https, sink);
                }
            } else if has != cookie::One::One(unquoted(&header[value..]))
                && name.len() + header.len() - value < MAX_KEPT
            {
                tell(&snap.config, name, &header[value..], https, sink);
            }
        }
    }
    header.len() > before
}

/// The attributes, each with where its values are; `None` where nobody asked for them.
fn attributes<'s>(
    carried: &'s Carried,
    identity: &'s Identity<'s>,
) -> impl Iterator<Item = (&'s CookieAttribute, Option<Pairs<'s>>)> {
    let session = Some(identity.session.properties);
    let profile = identity.attributes.map(|a| a.values);
    let response = identity.policy.map(|p| p.attributes);
    let of = |attributes: &'s [CookieAttribute], from: Option<Pairs<'s>>| {
        attributes.iter().map(move |attribute| (attribute, from))
    };
    of(&carried.session_cookies, session)
        .chain(of(&carried.profile_cookies, profile))
        .chain(of(&carried.response_cookies, response))
}

/// `Set-Cookie`; an empty value clears.
fn tell(config: &Config, name: &str, value: &[u8], https: bool, sink: &mut dyn Sink) {
    let Ok(value) = core::str::from_utf8(value) else {
        return; // what `push` writes is ASCII
    };
    let set = match value.is_empty() {
        true => SetCookie::clear(name),
        false => SetCookie::new(name, value).max_age(config.cookie_maxage.into()),
    };
    if let Some(text) = dressed(set, config, https).to_bytes() {
        sink.response_header(b"Set-Cookie", &text);
    }
}

/// Host cookies, with the flags of the agent's other cookies.
fn dressed<'s>(cookie: SetCookie<'s>, config: &'s Config, https: bool) -> SetCookie<'s> {
    cookie
        .secure(config.cookie_secure || https)
        .http_only(config.cookie_httponly)
        .same_site(config.cookie_samesite.as_deref())
}

/// Clears the attribute cookies that the browser sent.
pub(super) fn clear(cx: &Cx<'_, '_>) -> ResponseHeaders {
    let (config, carried) = (&cx.snap.config, &cx.snap.carried);
    let all = carried.session_cookies.iter();
    let all = all.chain(&carried.profile_cookies);
    let all = all.chain(&carried.response_cookies);
    let sent = all.flat_map(|attribute| &attribute.cookies).filter(|name| {
        let found = cookie::only(cx.req.values(b"cookie"), name.as_bytes());
        found != cookie::One::None
    });
    let cleared = sent.filter_map(|name| {
        let cookie = dressed(SetCookie::clear(name), config, cx.https());
        Some((Cow::Borrowed("Set-Cookie"), cookie.to_bytes()?))
    });
    cleared.collect()
}

fn unquoted(value: &[u8]) -> &[u8] {
    let inner = value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

/// Appends the values of an attribute as one cookie value. Each is percent-encoded where
/// `encode.cookie.special.chars.enable` says so, or where it holds what no cookie may hold; a
/// separator inside a value is always (rule U4). A blank or `=` puts the whole into quotes.
fn push(out: &mut Vec<u8>, values: Values<'_>, config: &Config) {
    let start = out.len();
    let separator = config.separator.as_bytes();
    for (i, value) in values.bytes().enumerate() {
        if i > 0 {
            out.extend_from_slice(separator);
        }
        let all = config.encode_cookie_values || !value.iter().all(|b| cookie::is_quotable(*b));
        for byte in value {
            let unreserved = byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
            match separator.contains(byte) || all && !unreserved {
                true => escape(out, *byte),
                false => out.push(*byte),
            }
        }
    }
    if out[start..].iter().any(|b| matches!(b, b' ' | b'=')) {
        out.insert(start, b'"');
        out.push(b'"');
    }
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[
        b'%',
        HEX[usize::from(byte >> 4)],
        HEX[usize::from(byte & 15)],
    ]);
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;
    use crate::record::Attributes;

    fn pushed(values: &[&str], encode_cookie_values: bool, separator: &str) -> String {
        let config = Config {
            encode_cookie_values,
            separator: separator.into(),
            ..Config::default()
        };
        let record = Attributes::encode(&[("a", values)]).unwrap();
        let values = Attributes::decode(&record)
            .unwrap()
            .values
            .get("a")
            .unwrap();
        let mut out = b"before=".to_vec();
        push(&mut out, values, &config);
        String::from_utf8(out).unwrap().split_off(7)
    }

    #[test]
    fn cookie_values_are_encoded_where_told_or_needed() {
        let rows: &[(&[&str], &str, &str)] = &[
            // values, as they are, encoded
            (&["demo"], "demo", "demo"),
            (&[""], "", ""),
            (&["a", "b"], "a|b", "a|b"),
            (&["a|b", "c"], "a%7Cb|c", "a%7Cb|c"),
            (&["Demo User"], "\"Demo User\"", "Demo%20User"),
            (&["a=b", "c"], "\"a=b|c\"", "a%3Db|c"),
            (&["Doe, John"], "Doe%2C%20John", "Doe%2C%20John"),
            (&["x;y z", "a b"], "\"x%3By%20z|a b\"", "x%3By%20z|a%20b"),
            (&["\"q\"", "\\"], "%22q%22|%5C", "%22q%22|%5C"),
            (&["J\u{f6}rg"], "J%C3%B6rg", "J%C3%B6rg"),
            (
                &["a\r\nSet-Cookie: x=1"],
                "a%0D%0ASet-Cookie%3A%20x%3D1",
                "a%0D%0ASet-Cookie%3A%20x%3D1",
            ),
            (&["50%"], "50%", "50%25"),
        ];
        for (values, plain, encoded) in rows {
            assert_eq!(pushed(values, false, "|"), *plain, "{values:?}");
            assert_eq!(pushed(values, true, "|"), *encoded, "{values:?}");
        }
        assert_eq!(pushed(&["a-b", "c"], false, "-"), "a%2Db-c");
        assert_eq!(pushed(&["a-b", "c"], true, "-"), "a%2Db-c");
        assert_eq!(pushed(&["a b", "c"], false, " "), "\"a%20b c\"");
    }
}
