//! Who is behind a token? `GetSession` of the XML session service: the one call in this dialect that
//! gives an agent everything about somebody else's session, for users of any realm.

use alloc::{borrow::Cow, format, string::String, vec::Vec};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use quick_xml::escape::escape;

use super::{
    AmError, Exchange, Method, Reply, SMALL, Value, is_client_side, normalize_token, pll, status,
    user_token,
};
use crate::{
    contract::UnixMillis,
    record::{NewSession, SessionKind},
    token::Secret,
};

/// Cap of an answer: 23 properties measured, and an administrator may add some.
const MAX_BODY: usize = 4 * SMALL;
/// Most session properties that one session has, with room.
const MAX_PROPERTIES: usize = 1000;

/// What the answer says about the session.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// Alive: a record for [`crate::record::Session`].
    Live(Vec<u8>),
    /// AM raised an exception in words that do not say whose token is to blame. The agent's own
    /// token must be validated before the user's is called dead (rule S5).
    Doubt,
}

/// Asks AM about `token`, as the agent. With `reset` the question counts as activity of the user.
/// Measured on OpenAM 16.0.5: without it the idle time starts anew all the same, as it does with every
/// other call about a session. So whoever must not extend it (rule S4) must not ask at all.
pub fn encode(agent: &Secret, token: &Secret, reset: bool) -> Result<Exchange, AmError> {
    let user = user_token(token)?;
    let mut requester = Vec::from(*b"token:");
    requester.extend_from_slice(agent.expose());
    let requester = STANDARD.encode(Secret::new(requester).expose());
    let inner = Secret::new(
        format!(
            "<SessionRequest vers=\"1.0\" reqid=\"1\" requester=\"{requester}\">\
             <GetSession reset=\"{reset}\"><SessionID>{}</SessionID></GetSession></SessionRequest>",
            escape(user)
        )
        .into_bytes(),
    );
    let text = core::str::from_utf8(inner.expose()).map_err(|_| AmError::PROTOCOL)?;
    let plain = |v: &'static str| Value::Plain(Cow::Borrowed(v));
    Ok(Exchange {
        method: Method::Post,
        path: String::from("sessionservice"),
        headers: Vec::from([
            (
                Cow::Borrowed("Content-Type"),
                plain("text/xml;charset=UTF-8"),
            ),
            (Cow::Borrowed("Accept-Language"), plain("en")),
        ]),
        body: Secret::new(pll::wrap(text)?),
        max_body: MAX_BODY,
        once: false,
    })
}

/// The parts of the inner document that matter.
#[derive(Default)]
struct Found {
    session: Option<Vec<(String, String)>>,
    properties: Vec<(String, String)>,
    exception: Option<String>,
}

impl Found {
    /// An attribute of `<Session>`; AM sends each of them.
    fn attribute(&self, name: &str) -> Result<&str, AmError> {
        let all = self.session.as_deref().unwrap_or_default();
        let found = all.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        found.ok_or(AmError::PROTOCOL)
    }

    fn number(&self, name: &str) -> Result<u64, AmError> {
        self.attribute(name)?.parse().map_err(|_| AmError::PROTOCOL)
    }
}

/// Reads the answer about `token`. `now` is the wall clock at which the call began: the remaining
/// times in the answer count from there, so an end is never later than AM's.
pub fn parse(reply: &Reply<'_>, token: &Secret, now: UnixMillis) -> Result<Answer, AmError> {
    if reply.status != 200 {
        return Err(status(reply));
    }
    if reply.body.len() > MAX_BODY {
        return Err(AmError::PROTOCOL);
    }
    let found = read(&pll::unwrap(reply.body)?)?;
    match (&found.session, &found.exception) {
        (None, Some(text)) => blame(text, token),
        (Some(_), None) => record(&found, token, now).map(Answer::Live),
        _ => Err(AmError::PROTOCOL),
    }
}

fn read(document: &str) -> Result<Found, AmError> {
    let mut found = Found::default();
    pll::walk(document, &mut |path, node| {
        match (path, node) {
            (["SessionResponse", "GetSession", "Session"], pll::Node::Open(attributes)) => {
                let earlier = found.session.replace(attributes.to_vec());
                return if earlier.is_none() {
                    Ok(())
                } else {
                    Err(AmError::PROTOCOL)
                };
            }
            (
                ["SessionResponse", "GetSession", "Session", "Property"],
                pll::Node::Open(attributes),
            ) => {
                let get = |name| {
                    attributes
                        .iter()
                        .find(|(n, _)| n == name)
                        .map(|(_, v)| v.clone())
                };
                let (Some(name), Some(value)) = (get("name"), get("value")) else {
                    return Err(AmError::PROTOCOL);
                };
                found.properties.push((name, value));
                if found.properties.len() > MAX_PROPERTIES {
                    return Err(AmError::PROTOCOL);
                }
            }
            ([.., "Exception"], pll::Node::Open(_)) => {
                found.exception.get_or_insert_default();
            }
            ([.., "Exception"], pll::Node::Text(text)) => {
                found.exception.get_or_insert_default().push_str(text);
            }
            ([root, ..], _) if *root != "SessionResponse" => return Err(AmError::PROTOCOL),
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// Whose token an exception is about. AM translates these texts, so only two English ones count, and
/// those only where they stand at the front: the rest of the text repeats what a client sent.
fn blame(text: &str, token: &Secret) -> Result<Answer, AmError> {
    if text.starts_with("Application token passed in") {
        return Err(AmError::AgentDead);
    }
    match text.strip_prefix(user_token(token)?) {
        Some(rest) if rest.starts_with(" Invalid session ID") => Err(AmError::UserDead),
        _ => Ok(Answer::Doubt),
    }
}

fn record(found: &Found, token: &Secret, now: UnixMillis) -> Result<Vec<u8>, AmError> {
    let client_side = is_client_side(token.expose());
    // Rule S5: the answer is about the token asked for. A client-side session has no id to compare.
    let sid = found.attribute("sid")?;
    let same = normalize_token(sid.as_bytes()) == normalize_token(token.expose());
    let nameless = client_side && sid == "null";
    if !(same || nameless) {
        return Err(AmError::PROTOCOL);
    }
    if found.attribute("state")? != "valid" {
        return Err(AmError::UserDead);
    }
    let kind = match found.attribute("stype")? {
        "user" => SessionKind::User,
        "application" => SessionKind::Application,
        _ => return Err(AmError::PROTOCOL),
    };
    let end = |seconds: u64| now.0.saturating_add(seconds.saturating_mul(1000));
    let idle = found.number("maxidle")?.saturating_mul(60);
    let realm = realm_of(found.attribute("cdomain")?).ok_or(AmError::PROTOCOL)?;
    let properties: Vec<(&str, &str)> = found
        .properties
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let cid = found.attribute("cid")?;
    // An agent's `cid` is its bare name; the property has the universal id of everybody.
    let universal = properties
        .iter()
        .find(|(n, _)| *n == "sun.am.UniversalIdentifier");
    let universal_id = match cid.starts_with("id=") {
        true => cid,
        false => universal.map_or(cid, |(_, v)| v),
    };
    NewSession {
        kind,
        client_side,
        max_end: end(found.number("timeleft")?),
        idle_end: end(idle.saturating_sub(found.number("timeidle")?)),
        realm: &realm,
        universal_id,
        properties: &properties,
    }
    .encode()
    .ok_or(AmError::PROTOCOL)
}

/// The realm behind the DN of an organisation: `o=b,ou=services,o=a,ou=services,dc=…` is `/a/b`. Only
/// pairs of `o` and `ou=services` count; what follows is the root, however it is named.
pub fn realm_of(dn: &str) -> Option<String> {
    let parts = rdns(dn)?;
    let mut names = Vec::new();
    for pair in parts.chunks(2) {
        match pair {
            [(o, name), (ou, services)]
                if o.eq_ignore_ascii_case("o")
                    && ou.eq_ignore_ascii_case("ou")
                    && services.eq_ignore_ascii_case("services") =>
            {
                if name.is_empty() || name == "." || name == ".." || name.contains('/') {
                    return None;
                }
                names.push(name.as_str());
            }
            _ => break,
        }
    }
    match names.is_empty() {
        true => Some(String::from("/")),
        false => Some(names.iter().rev().flat_map(|n| ["/", n]).collect()),
    }
}

/// The name in a universal id: `id=demo,ou=user,…` is `demo`.
pub fn user_of(universal_id: &str) -> Option<String> {
    let (attribute, name) = rdns(universal_id)?.into_iter().next()?;
    (attribute.eq_ignore_ascii_case("id") && !name.is_empty()).then_some(name)
}

/// The (attribute, value) pairs of a DN with RFC 4514 escapes undone.
fn rdns(dn: &str) -> Option<Vec<(String, String)>> {
    let mut parts = Vec::new();
    let mut current: Vec<u8> = Vec::new();
    let mut attribute: Option<String> = None;
    let mut bytes = dn.bytes();
    let text = |bytes: &[u8]| {
        core::str::from_utf8(bytes)
            .ok()
            .map(|s| String::from(s.trim()))
    };
    while let Some(b) = bytes.next() {
        match b {
            b'\\' => {
                let first = bytes.next()?;
                match (first as char).to_digit(16) {
                    Some(high) => {
                        let low = (bytes.next()? as char).to_digit(16)?;
                        current.push((high * 16 + low) as u8);
                    }
                    None => current.push(first),
                }
            }
            b'=' if attribute.is_none() => attribute = Some(text(&core::mem::take(&mut current))?),
            b',' => {
                let value = text(&core::mem::take(&mut current))?;
                parts.push((attribute.take()?, value));
            }
            other => current.push(other),
        }
    }
    parts.push((attribute?, text(&current)?));
    Some(parts)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
