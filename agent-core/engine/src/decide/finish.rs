//! What an allowed request carries to the application: user, attributes, cookies without ours.

use alloc::{string::String, vec::Vec};

use super::{
    Cx, Stage, allow, ask,
    fail_closed::{Fact, refuse_for},
    session::{Token, User},
};
use crate::{
    config::{Attribute, FetchMode, UserIdType},
    contract::{Ask, Basis, Decision, Edits, FactError, Identity, Known, RequestView, Sink, Why},
    event::Code,
    login,
    record::{Attributes, Pairs, Policy, Values},
    token::cookie,
};

/// The stage: asks for profile attributes where they are wanted, then allows.
pub(super) fn finish<'a>(
    cx: &Cx<'a, '_>,
    user: User<'a>,
    policy: Option<Policy<'a>>,
    (why, code): (Why, Code),
) -> Stage<'a, Decision<'a>> {
    let attributes = match attributes(cx, &user.token)? {
        Ok(attributes) => attributes,
        Err(error) => {
            let refused = refuse_for(cx, Fact::Attributes, error);
            return Ok(refused.unwrap_or_else(|| login::start(cx, Code::LoginSessionDead)));
        }
    };
    let identity = Identity {
        session: user.session,
        policy,
        attributes,
    };
    let mut decision = allow(
        cx,
        why,
        code,
        Edits {
            identity: Some(identity),
            ..Edits::default()
        },
    );
    // By a path's filter mode; a policy has no line here.
    decision.rule = cx.plan.rule.filter(|_| why == Why::SsoOnly);
    decision.basis = Basis {
        session: Some(user.token.key),
        opened: user.token.opened,
    };
    Ok(decision)
}

/// The user's profile attributes where they are wanted, or why they could not be had.
pub(super) fn attributes<'a>(
    cx: &Cx<'a, '_>,
    token: &Token<'_>,
) -> Stage<'a, Result<Option<Attributes<'a>>, FactError>> {
    if !wants_profile(cx) {
        return Ok(Ok(None));
    }
    match cx.facts.attributes(token.key) {
        Known::Fresh(attributes) => Ok(Ok(Some(attributes))),
        Known::Failed(error, _) => Ok(Err(error)),
        Known::Stale(..) | Known::Missing => Err(ask(Ask::Attributes {
            key: token.key,
            token: token.secret(cx),
            names: names(cx),
        })),
    }
}

fn wants_profile(cx: &Cx<'_, '_>) -> bool {
    let config = &cx.snap.config;
    config.profile_attributes.mode != FetchMode::None || config.userid_type == UserIdType::Ldap
}

/// The profile attributes to ask for.
fn names(cx: &Cx<'_, '_>) -> Vec<String> {
    let config = &cx.snap.config;
    let mut names: Vec<String> = config
        .profile_attributes
        .map
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    if config.userid_type == UserIdType::Ldap {
        names.push(config.userid_param.clone());
    }
    names.sort_unstable();
    names.dedup();
    names
}

impl Edits<'_> {
    /// Walks the edits of an allowed request. `scratch` is reused between requests: once it has
    /// grown to the size of an application's values, nothing is allocated here.
    pub fn walk(&self, req: &RequestView<'_>, scratch: &mut Vec<u8>, sink: &mut dyn Sink) {
        for (name, value) in &self.response {
            sink.response_header(name.as_bytes(), value);
        }
        let Some(snap) = self.cookies else { return };
        // Whoever scrubbed the request may not have had this configuration yet, or an older one.
        for header in req.headers {
            if snap.scrub.matches(header.name) {
                sink.remove_request_header(header.name);
            }
        }
        let config = &snap.config;
        if !config.cookies_forward {
            cookies_without_ours(req, snap, scratch, sink);
        }
        let Some(identity) = &self.identity else {
            return;
        };
        let profile = identity.attributes.map(|Attributes { values }| values);
        let response = identity.policy.map(|p| p.attributes);
        let properties = identity.session.properties;
        let user = match config.userid_type {
            UserIdType::Session => properties.first_bytes(&config.userid_param),
            UserIdType::Ldap => profile.and_then(|p| p.first_bytes(&config.userid_param)),
        };
        if let Some(user) = user {
            scratch.clear();
            push_safe(scratch, user, "");
            sink.user(scratch);
        }
        let separator = config.separator.as_str();
        let carried = &snap.carried;
        carry(&carried.session, Some(properties), separator, scratch, sink);
        carry(&carried.profile, profile, separator, scratch, sink);
        carry(&carried.response, response, separator, scratch, sink);
    }
}

/// Rule L4: our cookies stay here.
fn cookies_without_ours(
    req: &RequestView<'_>,
    snap: &crate::config::Snapshot,
    scratch: &mut Vec<u8>,
    sink: &mut dyn Sink,
) {
    scratch.clear();
    match cookie::without(req.values(b"cookie"), |name| snap.ours(name), scratch) {
        false => {} // none of ours in it: as it came
        true if scratch.is_empty() => sink.remove_request_header(b"Cookie"),
        true => sink.request_header(b"Cookie", scratch),
    }
}

fn carry(
    attributes: &[Attribute],
    values: Option<Pairs<'_>>,
    separator: &str,
    scratch: &mut Vec<u8>,
    sink: &mut dyn Sink,
) {
    let Some(values) = values else { return };
    for attribute in attributes {
        let Some(found) = values.get(&attribute.name) else {
            continue;
        };
        scratch.clear();
        join(scratch, found, separator);
        if scratch.is_empty() {
            continue;
        }
        for target in &attribute.targets {
            sink.request_header(target.header.as_bytes(), scratch);
            sink.variable(&target.variable, scratch);
        }
    }
}

fn join(out: &mut Vec<u8>, values: Values<'_>, separator: &str) {
    for (i, value) in values.bytes().enumerate() {
        if i > 0 {
            out.extend_from_slice(separator.as_bytes());
        }
        push_safe(out, value, separator);
    }
}

/// Appends a value so that it is one header value and looks like one attribute value.
///
/// Outside printable ASCII the whole value becomes an RFC 2047 word (the vendor's default,
/// `com.forgerock.agents.header.mime.encode` 0), which also keeps line breaks out. A separator inside
/// a value is percent-encoded (rule U4).
fn push_safe(out: &mut Vec<u8>, value: &[u8], separator: &str) {
    let plain = |b: &u8| matches!(b, 0x20..=0x7e);
    // Without a separator: a byte that is not plain anyway.
    let first = separator.bytes().next().unwrap_or(0);
    if value.iter().all(|b| plain(b) && *b != first) {
        out.extend_from_slice(value);
        return;
    }
    match core::str::from_utf8(value) {
        Ok(text) if value.iter().all(plain) => push_separated(out, text, separator),
        _ => {
            out.extend_from_slice(b"=?UTF-8?B?");
            let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, value);
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"?=");
        }
    }
}

/// A value that may hold the separator.
fn push_separated(out: &mut Vec<u8>, value: &str, separator: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for (i, part) in value.split(separator).enumerate() {
        if i > 0 {
            for byte in separator.bytes() {
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(&[b'%', digits[0], digits[1]]);
            }
        }
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe(value: &str) -> String {
        let mut out = Vec::new();
        push_safe(&mut out, value.as_bytes(), "|");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_value_stays_one_value() {
        assert_eq!(safe("demo"), "demo");
        assert_eq!(safe("a|b"), "a%7Cb");
        assert_eq!(safe("a\r\nX-Admin: 1"), "=?UTF-8?B?YQ0KWC1BZG1pbjogMQ==?=");
        assert_eq!(safe("J\u{f6}rg"), "=?UTF-8?B?SsO2cmc=?=");
    }
}
