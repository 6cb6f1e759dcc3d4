//! How is a request written down, so that it can be decided again and lets nobody in?
//!
//! Tokens, cookies and most header values become pseudonyms: the same value always the same one, and
//! none leads back. Whether a cookie opens is part of its pseudonym. It must not write a value that a
//! decision does not depend on.

use alloc::{borrow::Cow, format, string::String, vec::Vec};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    Cx,
    session::{MAX_TOKEN, TokenBuffer, open, open_own, sso_token},
};
use crate::{
    config::{Config, Snapshot},
    contract::{Facts, Now, RequestView, SessionKey},
    decide::{elsewhere, key_of},
    event::Code,
    login,
    token::{authn_tx, cookie, rounds::Rounds, sealed::Unsealed},
    url::Canonical,
};

/// The pseudonym of a session token inside of a cookie of ours begins so: `explain` seals it again.
pub const TOKEN: &str = "RecordedToken";
/// What a browser brought of earlier rounds of a login is written down so, in base64url: `explain` seals
/// it again. It says how often, and when.
pub const ROUNDS: &str = "RecordedRounds";
/// Every other pseudonym begins so.
pub const VALUE: &str = "RecordedValue";

/// Headers that say nothing that lets anybody in, and those that the engine looks at.
const PLAIN: [&str; 33] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "access-control-request-method",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "if-modified-since",
    "origin",
    "pragma",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-requested-with",
];
/// Parameters whose values are left out of a URL, whatever application they are for.
const SECRET_PARAMETERS: [&str; 12] = [
    "access_token",
    "code",
    "id_token",
    "idtoken1",
    "idtoken2",
    "lares",
    "password",
    "refresh_token",
    "samlresponse",
    "state",
    "token",
    "tokenid",
];

/// A header as it is written down.
pub type WrittenHeader = (String, String);

/// The request's headers as they are written down; `None` where they hold bytes that are no text.
pub fn written_headers(
    req: &RequestView<'_>,
    snap: &Snapshot,
    facts: &dyn Facts,
    now: Now,
) -> Option<Vec<WrittenHeader>> {
    let mut url = Canonical::new();
    // What has no URL is refused for that, whatever its cookies are.
    let readable = url.set(req).is_ok();
    let cx = Cx {
        req,
        snap,
        facts,
        now,
        url: &url,
        asked: &url,
        plan: super::Plan::everywhere(snap, now),
    };
    let mut room = [Canonical::new(), Canonical::new()];
    let cx = match readable {
        true => elsewhere(&cx, &mut room).ok(),
        false => None,
    };
    let written = |name: &[u8], value: &[u8]| match name.eq_ignore_ascii_case(b"cookie") {
        true => cookie::rewritten(value, |name, value| {
            written_cookie(cx.as_ref(), snap, name, value)
        }),
        false if is_session_header(snap, name) => written_token(cx.as_ref(), snap, value),
        false => written_value(snap, name, value),
    };
    let pair = |name: &[u8], value: &[u8]| {
        let value = String::from_utf8(written(name, value)).ok()?;
        Some((String::from_utf8(name.to_vec()).ok()?, value))
    };
    req.headers.iter().map(|h| pair(h.name, h.value)).collect()
}

fn written_value(snap: &Snapshot, name: &[u8], value: &[u8]) -> Vec<u8> {
    let config = &snap.config;
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    let named = [&config.client_ip_header, &config.client_hostname_header];
    let plain = PLAIN.iter().any(|known| is(known))
        || named.into_iter().flatten().any(|known| is(known))
        || snap.rules.wants_header(name, value)
        || wanted_by_answers(config, name, value)
        || snap
            .login_rules
            .iter()
            .any(|rule| rule.wants_header(name, value));
    match plain {
        true => value.to_vec(),
        false => pseudonym(snap, value).into_bytes(),
    }
}

/// Whether the form of the answer depends on a header having this value.
fn wanted_by_answers(config: &Config, name: &[u8], value: &[u8]) -> bool {
    let headers = config.json_header.iter().chain(&config.unauthorized_header);
    let is = |known: &str, bytes: &[u8]| bytes.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
    headers
        .into_iter()
        .any(|(n, v)| is(n, name) && is(v, value))
}

fn is_session_header(snap: &Snapshot, name: &[u8]) -> bool {
    let header = snap.config.session_header.as_deref();
    header.is_some_and(|header| name.eq_ignore_ascii_case(header.as_bytes()))
}

/// AM's token as clients bring it. Where the URL could not be read it was not looked at.
fn written_token(cx: Option<&Cx<'_, '_>>, snap: &Snapshot, value: &[u8]) -> Vec<u8> {
    let mut token = TokenBuffer::new();
    match (cx, sso_token(value, &mut token)) {
        (Some(cx), true) => of_session(snap, VALUE, key_of(cx, &token), value),
        (None, true) => pseudonym(snap, value).into_bytes(),
        (_, false) if value.is_empty() => Vec::new(),
        // Too long to be a token.
        (_, false) => format!("{VALUE}{:0>MAX_TOKEN$}", "").into_bytes(),
    }
}

/// A cookie as it is written down. Where the URL could not be read no cookie was looked at.
fn written_cookie(cx: Option<&Cx<'_, '_>>, snap: &Snapshot, name: &[u8], value: &[u8]) -> Vec<u8> {
    let config = &snap.config;
    let mut token = TokenBuffer::new();
    if let Some(cx) = cx
        && name == config.jwt_name.as_bytes()
        && let Some(opened) = open(cx, value, &mut token)
    {
        return of_session(snap, TOKEN, opened.session, value);
    }
    if let Some(cx) = cx
        && name == config.jwt_name.as_bytes()
        && !matches!(open_own(cx, value), Err(Unsealed::UnknownKey))
    {
        return altered(snap, value);
    }
    if let Some(cx) = cx
        && let Some(rounds) = login::rounds_brought(cx, name, value)
    {
        let written =
            |rounds: Rounds| format!("{ROUNDS}{}", URL_SAFE_NO_PAD.encode(rounds.encode()));
        return match rounds {
            Ok(rounds) => written(rounds).into_bytes(),
            // What has expired says nothing.
            Err(Unsealed::Expired) => written(Rounds::default()).into_bytes(),
            Err(Unsealed::UnknownKey) => pseudonym(snap, value).into_bytes(),
            Err(_) => altered(snap, value),
        };
    }
    if let Some(cx) = cx
        && !name.is_empty()
        && name == config.cookie_name.as_bytes()
    {
        return written_token(Some(cx), snap, value);
    }
    // The browser is told of an attribute anew where its cookie says something else.
    let plain = snap.carried.is_attribute_cookie(name) || snap.rules.wants_cookie(name, value);
    match plain {
        true => value.to_vec(),
        false => pseudonym(snap, value).into_bytes(),
    }
}

/// Stands for a sealed value that does not open for another reason than its key: what begins so is not
/// sealed at all.
fn altered(snap: &Snapshot, value: &[u8]) -> Vec<u8> {
    match value.is_empty() {
        true => Vec::new(),
        false => format!(".{}", pseudonym(snap, value)).into_bytes(),
    }
}

/// Begins alike for all cookies of a session. Cookies that differ stay different: two of one name do not
/// count (rule L4).
fn of_session(snap: &Snapshot, kind: &str, key: SessionKey, cookie: &[u8]) -> Vec<u8> {
    let cookie = snap.cookie_key("", cookie).0 as u32;
    format!("{kind}{:032x}{cookie:08x}", key.0).into_bytes()
}

/// Stands for a value: the same one each time until the web server starts anew.
pub fn pseudonym(snap: &Snapshot, value: &[u8]) -> String {
    match value.is_empty() {
        true => String::new(),
        false => format!("{VALUE}{:032x}", snap.cookie_key("", value).0),
    }
}

/// The target as it is written down: as it was sent, without the values of parameters that tokens
/// and passwords travel in.
pub fn written_target<'t>(snap: &Snapshot, target: &'t [u8]) -> Cow<'t, [u8]> {
    let Some(start) = target.iter().position(|b| *b == b'?') else {
        return Cow::Borrowed(target);
    };
    let config = &snap.config;
    let secret = |name: &[u8]| {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let ours = [&config.jwt_name, &config.cookie_name];
        SECRET_PARAMETERS.iter().any(|known| is(known)) || ours.into_iter().any(|n| is(n))
    };
    let mut out = target[..=start].to_vec();
    for (at, field) in target[start + 1..].split(|b| *b == b'&').enumerate() {
        if at > 0 {
            out.push(b'&');
        }
        match field.iter().position(|b| *b == b'=') {
            Some(end) if secret(&field[..end]) => {
                out.extend_from_slice(&field[..=end]);
                out.extend_from_slice(written_state(snap, &field[end + 1..]).as_bytes());
            }
            _ => out.extend_from_slice(field),
        }
    }
    Cow::Owned(out)
}

/// AM's form without what it carries: the fields by name, `error` with its word, a state that is one
/// as one that no browser began.
pub fn written_form(snap: &Snapshot, form: &[u8]) -> Option<String> {
    let mut out = String::new();
    for (at, field) in form.split(|b| *b == b'&').enumerate() {
        if at > 0 {
            out.push('&');
        }
        let (name, value) = match field.iter().position(|b| *b == b'=') {
            Some(end) => (&field[..end], Some(&field[end + 1..])),
            None => (field, None),
        };
        out.push_str(core::str::from_utf8(name).ok()?);
        let Some(value) = value else { continue };
        out.push('=');
        if name == b"error" {
            out.push_str(core::str::from_utf8(value).ok()?);
        } else if name == b"state" {
            out.push_str(&written_state(snap, value));
        } else {
            out.push_str(&pseudonym(snap, value));
        }
    }
    Some(out)
}

/// A state that is one as another one, which no browser began; anything else as every value.
fn written_state(snap: &Snapshot, value: &[u8]) -> String {
    match core::str::from_utf8(value).ok().and_then(authn_tx::parse) {
        Some(_) => authn_tx::text(&snap.state_key(value).to_le_bytes()),
        None => pseudonym(snap, value),
    }
}

/// Whether a request is the answer of a login page of one's own (custom login mode 1).
pub fn answers_a_login(snap: &Snapshot, target: &[u8]) -> bool {
    let path = target.split(|b| *b == b'?').next().unwrap_or(target);
    snap.config.allow_custom_login == 1 && path == login::RESPONSE.as_bytes()
}

/// Why a decision cannot be made again from what is written down, if it cannot. `form` says that AM's
/// form was read, or that it [`answers_a_login`]; `lares`, that it is that of `/cdcservlet`, which has
/// everything in one field.
pub const fn why_not_again(code: Code, form: bool, lares: bool) -> Option<&'static str> {
    match code {
        Code::Internal => Some("an internal error"),
        Code::MonitorShown | Code::MonitorRefused | Code::HealthReady | Code::HealthNotReady => {
            Some("a page of the agent's numbers: its password is not written down")
        }
        Code::SessionEndedMeanwhile => Some("the session ended while the request waited"),
        Code::DeniedAdviceAgain => {
            Some("what the browser remembers of a step-up is not written down")
        }
        Code::PostReplayed | Code::PostGone => {
            Some("a kept POST: what names it is not written down")
        }
        // Refused before the cookie of the login was looked at, or because it does not open.
        Code::CallbackForm | Code::CallbackAmError | Code::CallbackNoCookie if !lares => None,
        _ if form => Some("the answer to a login: its state and its ID token are not written down"),
        _ => None,
    }
}

/// What kind of answer it is, in a word; `status` is that of an answer of our own.
pub fn outcome_word(status: Option<u16>, reason: Code) -> &'static str {
    match (status, reason) {
        (None, Code::PostReplayed) => "replay",
        (None, _) => "allow",
        (Some(400), _) => "bad_request",
        (Some(502..=504), _) => "unavailable",
        (Some(_), Code::LoginDone | Code::LoginOtherHost) => "respond",
        (Some(_), Code::LoginStepUp | Code::LoginAtAm) => "login",
        (Some(_), code) if (200..210).contains(&code.number()) => "login",
        (Some(401 | 403), _) => "deny",
        (Some(_), _) => "respond",
    }
}
