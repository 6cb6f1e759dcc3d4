//! AM says what this session lacks: where is the user sent to get it, and what if that did not help?
//!
//! The advices go to AM's login page, which leads on to where a login goes anyway. `/oauth2/authorize`
//! of dialect A does not hand advices on, and `prompt=login` would end the session at once (measured on
//! OpenAM 16.0.5), so the page comes first. How dialect B hands advices on from there is not documented:
//! there it is the same page, at its present address. Must not end or clear the session: it is what is stepped up.

use alloc::string::String;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::{append, authorize, custom, fragment, legacy_address, other_host};
use crate::{
    config::Dialect,
    contract::{Basis, Decision, SessionKey, UnixMillis},
    decide::{Cx, ResponseHeaders, Stage, is_told_json, is_unseen, respond},
    event::Code,
    page,
    record::{Pairs, Policy, Session},
    token::cookie::{self, SetCookie},
    url::ReturnUrl,
};

/// Attempts of one session to get what the same advices ask for, as long as the cookie lives.
const MAX_ATTEMPTS: u8 = 5;
/// How much longer than a login the attempts are remembered, milliseconds.
const OUTLIVES: u64 = 60_000;
/// First byte of the cookie's content; another layout gets another number. None of `authn_tx`'s.
const LAYOUT: u8 = 0x51;
/// Longest sealed value that is opened.
const MAX_COOKIE: usize = 256;

/// An attempt to get what AM asks for, as the browser remembers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Attempt {
    /// Digest of the advices.
    of: [u8; 16],
    /// The session that lacked it.
    session: SessionKey,
    /// How many times that session has been sent, this time included.
    count: u8,
}

impl Attempt {
    const SIZE: usize = 1 + 16 + 16 + 1;

    fn encode(&self) -> [u8; Attempt::SIZE] {
        let mut out = [LAYOUT; Attempt::SIZE];
        out[1..17].copy_from_slice(&self.of);
        out[17..33].copy_from_slice(&self.session.0.to_be_bytes());
        out[33] = self.count;
        out
    }

    fn decode(bytes: &[u8]) -> Option<Attempt> {
        let bytes: &[u8; Attempt::SIZE] = bytes.try_into().ok()?;
        let (of, rest) = bytes[1..].split_first_chunk()?;
        let (session, rest) = rest.split_first_chunk()?;
        (bytes[0] == LAYOUT).then_some(Attempt {
            of: *of,
            session: SessionKey(u128::from_be_bytes(*session)),
            count: rest[0],
        })
    }
}

/// Sends the user to get what `answer` says that the session lacks, or says that it did not help. On its
/// own, so that a cached allow has no part in the room that it takes.
#[cold]
#[inline(never)]
pub(crate) fn step_up<'a>(
    cx: &Cx<'a, '_>,
    key: SessionKey,
    session: Session<'a>,
    answer: &Policy<'_>,
) -> Stage<'a, Decision<'a>> {
    let Ok(back) = ReturnUrl::from_canonical(cx.asked, &cx.snap.allowed_hosts) else {
        return Ok(other_host(cx));
    };
    let names = names(answer.advices);
    // A script has a session, and nobody who could log in for more.
    if is_unseen(cx) {
        let (code, subject) = (Code::DeniedWithAdvices, Some(session));
        let refused = crate::decide::refuse(cx.facts, code, 403, subject, names.into());
        return Ok(refused);
    }
    let Some(attempt) = next(cx, key, answer) else {
        return Ok(again(cx, session, names));
    };
    let config = &cx.snap.config;
    let custom = config.allow_custom_login != 0;
    let (address, cookies) = match config.allow_custom_login {
        1 => custom::begin(cx, &back),
        2 => (legacy_address(cx, back.as_str()), ResponseHeaders::new()),
        _ => {
            let (begun, _) = match super::begin(cx, &back, Some(&session))? {
                Ok(begun) => begun,
                Err(refused) => return Ok(refused),
            };
            (begun.login_page(config.dialect), begun.cookies)
        }
    };
    let mut advices = document(answer.advices);
    if config.advice_encode && custom && !config.login_url.is_empty() {
        advices = URL_SAFE_NO_PAD.encode(advices);
    }
    let goto = (config.allow_custom_login == 2).then_some(address.len());
    // The page that dialect B documents is a program that reads its address, and takes no form.
    let by_address = config.dialect == Dialect::PingAm && !custom;
    let mut response = match config.advice_redirect || by_address || is_told_json(cx) {
        _ if fragment::is_kept(cx) => {
            fragment::leave(&with_advices(address, &advices), back.as_str(), goto)
        }
        true => page::redirect(with_advices(address, &advices)),
        false => page::posting(&address, &[("sunamcompositeadvice", &advices)]),
    };
    response.headers.extend(cookies);
    response.headers.extend(remembered(cx, &attempt));
    let subject = Some(session);
    Ok(Decision {
        // What is known of the session is old when the user comes back.
        basis: Basis {
            session: Some(key),
            ..Basis::default()
        },
        ..respond(cx.facts, Code::LoginStepUp, response, subject, names.into())
    })
}

/// The address with advices in its query, as `/UI/Login`, `/XUI` and `/json/authenticate` read them.
fn with_advices(mut address: String, advices: &str) -> String {
    append(&mut address, "authIndexType", "composite_advice");
    append(&mut address, "authIndexValue", advices);
    address
}

/// AM asks for the same once more: another round would end here again.
fn again<'a>(cx: &Cx<'a, '_>, session: Session<'a>, names: String) -> Decision<'a> {
    let mut decision = crate::decide::refuse(
        cx.facts,
        Code::DeniedAdviceAgain,
        403,
        Some(session),
        names.into(),
    );
    if let crate::contract::Outcome::Respond(response) = &mut decision.outcome {
        // Whoever asks again, later or as somebody else, may try again.
        response.headers.extend(forget(cx));
    }
    decision
}

/// The attempt that comes now; `None` when the advices came back after a step-up, or too often.
fn next(cx: &Cx<'_, '_>, key: SessionKey, answer: &Policy<'_>) -> Option<Attempt> {
    let first = Attempt {
        of: digest(answer.advices),
        session: key,
        count: 1,
    };
    match earlier(cx) {
        // A new session, and not enough: the step-up was done.
        Some(before) if before.of == first.of && before.session != key => None,
        Some(before) if before.of == first.of => match before.count < MAX_ATTEMPTS {
            true => Some(Attempt {
                count: before.count + 1,
                ..first
            }),
            false => None,
        },
        _ => Some(first),
    }
}

/// What the browser remembers of an earlier attempt.
fn earlier(cx: &Cx<'_, '_>) -> Option<Attempt> {
    let name = name(cx);
    let cookie::One::One(value) = cookie::only(cx.req.values(b"cookie"), name.as_bytes()) else {
        return None;
    };
    let mut plain = arrayvec::ArrayVec::<u8, MAX_COOKIE>::new();
    let keys = &cx.snap.keys.pre_authentication;
    let opened = keys.open(
        &cx.snap.identity,
        cx.asked.host(),
        cx.now.wall,
        value,
        &mut plain,
    );
    opened.ok().and_then(|(plain, _)| Attempt::decode(plain))
}

fn remembered(cx: &Cx<'_, '_>, attempt: &Attempt) -> ResponseHeaders {
    let name = name(cx);
    let life = u64::from(cx.snap.config.cookie_maxage) * 1000 + OUTLIVES;
    let sealed = cx.snap.keys.pre_authentication.seal(
        &cx.snap.identity,
        cx.asked.host(),
        UnixMillis(cx.now.wall.0 + life),
        &attempt.encode(),
        authorize::seal_nonce(cx.facts, name.as_bytes()),
    );
    let cookie = authorize::base(cx, SetCookie::new(name, &sealed));
    authorize::one(cookie.max_age(life / 1000))
}

/// Removes what the browser remembers of attempts, where it remembers any.
pub(super) fn forget(cx: &Cx<'_, '_>) -> ResponseHeaders {
    let name = name(cx);
    match cookie::only(cx.req.values(b"cookie"), name.as_bytes()) {
        cookie::One::None => ResponseHeaders::new(),
        cookie::One::One(_) | cookie::One::Conflicting => authorize::clear(cx, name),
    }
}

fn name(cx: &Cx<'_, '_>) -> &'static str {
    match cx.https() {
        true => "__Host-agent-authn-up",
        false => "agent-authn-up",
    }
}

fn names(advices: Pairs<'_>) -> String {
    let mut names = String::new();
    for (name, _) in advices.iter() {
        if !names.is_empty() {
            names.push_str(", ");
        }
        names.push_str(name);
    }
    names
}

/// The advices as AM reads them: an XML document.
fn document(advices: Pairs<'_>) -> String {
    let mut out = String::from("<Advices>");
    for (name, values) in advices.iter() {
        out.push_str("<AttributeValuePair><Attribute name=\"");
        out.push_str(&page::escaped(name));
        out.push_str("\"/>");
        for value in values {
            out.push_str("<Value>");
            out.push_str(&page::escaped(value));
            out.push_str("</Value>");
        }
        out.push_str("</AttributeValuePair>");
    }
    out.push_str("</Advices>");
    out
}

/// The same for the same advices, in whatever order AM names them.
fn digest(advices: Pairs<'_>) -> [u8; 16] {
    let mut all: alloc::vec::Vec<(&str, &str)> = advices
        .iter()
        .flat_map(|(name, values)| values.map(move |value| (name, value)))
        .collect();
    all.sort_unstable();
    let mut hash = Sha256::new();
    for part in all.iter().flat_map(|(name, value)| [name, value]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut of = [0; 16];
    of.copy_from_slice(&hash.finalize()[..16]);
    of
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::NewPolicy;

    fn record(advices: &[(&str, &[&str])]) -> alloc::vec::Vec<u8> {
        let policy = NewPolicy {
            ttl: 0,
            actions: &[],
            attributes: &[],
            advices,
        };
        policy.encode().unwrap()
    }

    #[test]
    fn advices_are_a_document_that_nothing_breaks_out_of() {
        let record = record(&[
            ("AuthLevelConditionAdvice", &["2"]),
            ("a\"b", &["<&>", "'"]),
        ]);
        assert_eq!(
            document(Policy::decode(&record).unwrap().advices),
            "<Advices><AttributeValuePair><Attribute name=\"AuthLevelConditionAdvice\"/><Value>2</Value>\
             </AttributeValuePair><AttributeValuePair><Attribute name=\"a&quot;b\"/><Value>&lt;&amp;&gt;</Value>\
             <Value>&#39;</Value></AttributeValuePair></Advices>"
        );
    }

    #[test]
    fn the_same_advices_are_known_again_in_any_order() {
        let of =
            |advices: &[(&str, &[&str])]| digest(Policy::decode(&record(advices)).unwrap().advices);
        let first = of(&[("a", &["1", "2"]), ("b", &["3"])]);
        assert_eq!(first, of(&[("b", &["3"]), ("a", &["2", "1"])]));
        for other in [
            of(&[("a", &["1"]), ("b", &["3"])]),
            of(&[("a", &["12"]), ("b", &["3"])]),
            of(&[("a", &["1", "2", "b", "3"])]),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn an_attempt_reads_back_and_nothing_else_does() {
        let attempt = Attempt {
            of: [7; 16],
            session: SessionKey(u128::MAX - 5),
            count: 4,
        };
        let bytes = attempt.encode();
        assert_eq!(Attempt::decode(&bytes), Some(attempt));
        assert_eq!(Attempt::decode(&bytes[1..]), None);
        let mut other = bytes;
        other[0] = 1;
        assert_eq!(Attempt::decode(&other), None);
    }
}
