//! What an allowed request carries to the application: user, attributes, cookies without ours.

use alloc::vec::Vec;

use super::{
    Cx, Stage, allow, ask, attribute_cookies,
    fail_closed::{Fact, refuse_for},
    grace,
    session::{Token, User},
};
use crate::{
    config::{Attribute, Config, MimeEncode, UserIdType},
    contract::{Ask, Basis, Decision, Edits, FactError, Identity, Known, RequestView, Sink, Why},
    event::Code,
    login,
    record::{Attributes, Pairs, Policy, Values},
};

/// The stage: asks for profile attributes where they are wanted, then allows.
pub(super) fn finish<'a>(
    cx: &Cx<'a, '_>,
    user: User<'a>,
    policy: Option<Policy<'a>>,
    (why, code): (Why, Code),
) -> Stage<'a, Decision<'a>> {
    let mut outlived = user.outlived;
    let attributes = match attributes(cx, &user.token)? {
        Ok(attributes) => attributes,
        Err(error) => {
            let key = cx.snap.attributes_key(user.token.key);
            let Some((attributes, age)) = grace::attributes(cx, key, error) else {
                return match refuse_for(cx, Fact::Attributes, error) {
                    Some(refused) => Ok(refused),
                    None => login::start(cx, Code::LoginSessionDead),
                };
            };
            outlived = outlived.max(age.total).max(1);
            Some(attributes)
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
    if outlived > 0 {
        grace::say(&mut decision, outlived);
    }
    Ok(decision)
}

/// The user's profile attributes where they are wanted, or why they could not be had.
pub(super) fn attributes<'a>(
    cx: &Cx<'a, '_>,
    token: &Token<'_>,
) -> Stage<'a, Result<Option<Attributes<'a>>, FactError>> {
    if cx.snap.profile_names.is_empty() {
        return Ok(Ok(None));
    }
    let key = cx.snap.attributes_key(token.key);
    match cx.facts.attributes(key) {
        Known::Fresh(attributes) => Ok(Ok(Some(attributes))),
        Known::Failed(error, _) => Ok(Err(error)),
        Known::Stale(..) | Known::Missing => Err(ask(Ask::Attributes {
            key,
            session: token.key,
            token: token.secret(cx),
            names: cx.snap.profile_names.clone(),
        })),
    }
}

/// What an audit event calls the user of a decision; empty where there is none.
pub fn audited_user<'d>(decision: &'d Decision<'_>, config: &Config) -> &'d str {
    let Some(subject) = &decision.subject else {
        return "";
    };
    let param = config.universal_id_param.as_str();
    let named = match config.universal_id_type {
        UserIdType::Session => subject.properties.first(param),
        UserIdType::Ldap => {
            let identity = decision.edits.identity.as_ref();
            let attributes = identity.and_then(|i| i.attributes);
            attributes.and_then(|a| a.values.first(param))
        }
    };
    named
        .filter(|name| !name.is_empty())
        .unwrap_or(subject.universal_id)
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
        // The application needs no session of its user's (rule L4).
        if let Some(name) = &config.session_header {
            sink.remove_request_header(name.as_bytes());
        }
        let identity = self.identity.as_ref();
        attribute_cookies::walk(req, snap, identity, self.https, scratch, sink);
        let Some(identity) = identity else {
            if self.anonymous {
                sink.user(config.anonymous_user_id.as_bytes());
            }
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
            // A name that everybody can read stays so.
            let encode = match config.mime_encode {
                MimeEncode::Always => MimeEncode::NonAscii,
                other => other,
            };
            push_safe(scratch, user, "", encode);
            sink.user(scratch);
        }
        let carried = &snap.carried;
        carry(&carried.session, Some(properties), config, scratch, sink);
        carry(&carried.profile, profile, config, scratch, sink);
        carry(&carried.response, response, config, scratch, sink);
    }
}

fn carry(
    attributes: &[Attribute],
    values: Option<Pairs<'_>>,
    config: &Config,
    scratch: &mut Vec<u8>,
    sink: &mut dyn Sink,
) {
    let Some(values) = values else { return };
    for attribute in attributes {
        let Some(found) = values.get(&attribute.name) else {
            continue;
        };
        scratch.clear();
        join(scratch, found, config);
        if scratch.is_empty() {
            continue;
        }
        for target in &attribute.targets {
            sink.request_header(target.header.as_bytes(), scratch);
            sink.variable(&target.variable, scratch);
        }
    }
}

fn join(out: &mut Vec<u8>, values: Values<'_>, config: &Config) {
    let separator = config.separator.as_str();
    for (i, value) in values.bytes().enumerate() {
        if i > 0 {
            out.extend_from_slice(separator.as_bytes());
        }
        push_safe(out, value, separator, config.mime_encode);
    }
}

/// Appends a value so that it is one header value and looks like one attribute value.
///
/// What `com.forgerock.agents.header.mime.encode` says becomes a word of RFC 2047, and so does whatever
/// holds a control character, which keeps line breaks out. A separator inside a value is
/// percent-encoded (rule U4).
fn push_safe(out: &mut Vec<u8>, value: &[u8], separator: &str, encode: MimeEncode) {
    let plain = |b: &u8| matches!(b, 0x20..=0x7e);
    // Without a separator: a byte that is not plain anyway.
    let first = separator.bytes().next().unwrap_or(0);
    let always = encode == MimeEncode::Always && !value.is_empty();
    if !always && value.iter().all(|b| plain(b) && *b != first) {
        out.extend_from_slice(value);
        return;
    }
    let printable = |b: &u8| plain(b) || encode == MimeEncode::Never && *b >= 0x80;
    match core::str::from_utf8(value) {
        Ok(text) if !always && value.iter().all(printable) => push_separated(out, text, separator),
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
    use alloc::string::String;

    use super::*;

    fn encoded(value: &str, encode: MimeEncode) -> String {
        let mut out = Vec::new();
        push_safe(&mut out, value.as_bytes(), "|", encode);
        String::from_utf8(out).unwrap()
    }

    fn safe(value: &str) -> String {
        encoded(value, MimeEncode::NonAscii)
    }

    #[test]
    fn headers_are_encoded_as_configured() {
        let rows = [
            // value, 0, 1, 2
            ("demo", "demo", "=?UTF-8?B?ZGVtbw==?=", "demo"),
            ("", "", "", ""),
            ("a|b", "a%7Cb", "=?UTF-8?B?YXxi?=", "a%7Cb"),
            (
                "J\u{f6}rg",
                "=?UTF-8?B?SsO2cmc=?=",
                "=?UTF-8?B?SsO2cmc=?=",
                "J\u{f6}rg",
            ),
            (
                "\u{f6}|x",
                "=?UTF-8?B?w7Z8eA==?=",
                "=?UTF-8?B?w7Z8eA==?=",
                "\u{f6}%7Cx",
            ),
            (
                "a\r\nb",
                "=?UTF-8?B?YQ0KYg==?=",
                "=?UTF-8?B?YQ0KYg==?=",
                "=?UTF-8?B?YQ0KYg==?=",
            ),
            (
                "\u{f6}\0",
                "=?UTF-8?B?w7YA?=",
                "=?UTF-8?B?w7YA?=",
                "=?UTF-8?B?w7YA?=",
            ),
        ];
        for (value, non_ascii, always, never) in rows {
            assert_eq!(encoded(value, MimeEncode::NonAscii), non_ascii, "{value:?}");
            assert_eq!(encoded(value, MimeEncode::Always), always, "{value:?}");
            assert_eq!(encoded(value, MimeEncode::Never), never, "{value:?}");
        }
    }

    #[test]
    fn a_value_stays_one_value() {
        assert_eq!(safe("demo"), "demo");
        assert_eq!(safe("a|b"), "a%7Cb");
        assert_eq!(safe("a\r\nX-Admin: 1"), "=?UTF-8?B?YQ0KWC1BZG1pbjogMQ==?=");
        assert_eq!(safe("J\u{f6}rg"), "=?UTF-8?B?SsO2cmc=?=");
    }
}
