//! What AM's policy says about this URL for this session.

use alloc::{
    string::{String, ToString},
    vec,
};
use core::net::IpAddr;

use arrayvec::ArrayVec;

use super::{
    Cx, Stage, ask,
    client::{MAX_NAME, client_address, client_host_name},
    fail_closed::{Fact, refuse_for},
    method, refuse,
    session::User,
};
use crate::{
    config::{Enforcement, FilterMode},
    contract::{Ask, Decision, Environment, Known, PolicyKey, SessionKey},
    event::Code,
    login,
    record::{Policy, Session},
    token::Secret,
};

/// How the stage ends.
#[allow(clippy::large_enum_variant)] // moved once, on the stack; boxing would allocate on each hit
pub(super) enum Outcome<'a> {
    /// Allowed; the answer, unless nobody asked (SSO-only mode).
    Allowed(Option<Policy<'a>>),
    /// Refused, and the host's own rules decide.
    LeftToHost,
    Decided(Decision<'a>),
}

/// The stage.
pub(super) fn policy<'a>(cx: &Cx<'a, '_>, user: &User<'a>) -> Stage<'a, Outcome<'a>> {
    if cx.plan.mode == FilterMode::SsoOnly {
        return Ok(Outcome::Allowed(None));
    }
    let session = user.token.key;
    let question = Question::of(cx, session, place(cx, &user.session));
    let answer = match cx.facts.policy(question.key) {
        // AM's `ttl` bounds how long the driver keeps it; one just given is good for this request even
        // if the clocks differ.
        Known::Fresh(answer) => answer,
        Known::Failed(error, _) => {
            let refused = refuse_for(cx, Fact::Policy, error);
            let decision = refused.unwrap_or_else(|| login::start(cx, Code::LoginSessionDead));
            return Ok(Outcome::Decided(decision));
        }
        Known::Stale(..) | Known::Missing => {
            return Err(ask(question.ask(cx, user.token.secret(cx))));
        }
    };
    if allows(cx, &answer) {
        return Ok(Outcome::Allowed(Some(answer)));
    }
    // What is only reported nobody refuses, the host's rules neither.
    if cx.req.local.authorizes && cx.plan.enforcement != Enforcement::Report {
        return Ok(Outcome::LeftToHost);
    }
    let code = match answer.has_advices() {
        true => Code::DeniedWithAdvices,
        false => Code::DeniedByPolicy,
    };
    let names = match answer.allows(cx.req.method) {
        true => String::from("by the method that the request names in place of its own"),
        false => advice_names(&answer),
    };
    Ok(Outcome::Decided(refuse(
        cx.facts,
        code,
        403,
        Some(user.session),
        names.into(),
    )))
}

/// Whether AM allows the request's method, and each that an application may take in its place.
pub(super) fn allows(cx: &Cx<'_, '_>, answer: &Policy<'_>) -> bool {
    answer.allows(cx.req.method) && method::all_others(cx, |other| answer.allows(other))
}

/// What AM is asked, and where its answer is kept.
pub(super) struct Question<'q> {
    pub(super) key: PolicyKey,
    session: SessionKey,
    client: Client<'q>,
    place: Place<'q>,
}

impl<'q> Question<'q> {
    pub(super) fn of(cx: &Cx<'q, '_>, session: SessionKey, place: Place<'q>) -> Question<'q> {
        let client = Client::of(cx);
        Question {
            key: client.key(cx, session, place),
            session,
            client,
            place,
        }
    }

    pub(super) fn ask(&self, cx: &Cx<'_, '_>, token: Secret) -> Ask {
        let (config, (realm, set)) = (&cx.snap.config, self.place);
        Ask::Policy {
            key: self.key,
            session: self.session,
            token,
            resource: cx.url.url().to_string(),
            realm: realm.unwrap_or(&config.policy_realm).to_string(),
            application: set.unwrap_or(&config.policy_set).to_string(),
            environment: self.client.environment(),
        }
    }
}

/// Where AM's decision about this request is kept.
pub(super) fn key(cx: &Cx<'_, '_>, session: SessionKey, of: &Session<'_>) -> PolicyKey {
    Client::of(cx).key(cx, session, place(cx, of))
}

/// A realm and a policy set; `None` is the configured one.
pub(super) type Place<'a> = (Option<&'a str>, Option<&'a str>);

/// Whose policies count (`policy.evaluation.realm` and `.application`, or the user's own realm).
pub(super) fn place<'a>(cx: &Cx<'a, '_>, user: &Session<'a>) -> Place<'a> {
    let realm = match cx.snap.config.policy_user_realm {
        true => Some(user.realm),
        false => cx.plan.realm,
    };
    (realm, cx.plan.set)
}

/// What conditions may look at (protocol reference 6.1). Of a client whose address is unknown AM
/// learns none: the address of a proxy would meet conditions that are meant for its network.
struct Client<'c> {
    address: Option<IpAddr>,
    name: Option<&'c str>,
}

impl<'c> Client<'c> {
    fn of(cx: &Cx<'c, '_>) -> Client<'c> {
        let config = &cx.snap.config;
        Client {
            address: client_address(cx.req, config).known(),
            name: client_host_name(cx.req, config),
        }
    }

    /// Rule S7: all that is sent is part of the key.
    fn key(&self, cx: &Cx<'_, '_>, session: SessionKey, place: Place<'_>) -> PolicyKey {
        let of = |environment: &[u8]| {
            let (snap, url) = (cx.snap, cx.url.url());
            snap.policy_key_in(place, session, url, environment)
        };
        match (self.name, self.address) {
            (None, Some(IpAddr::V4(ip))) => of(&ip.octets()),
            (None, Some(IpAddr::V6(ip))) => of(&ip.octets()),
            (None, None) => of(b""),
            (Some(name), address) => {
                // Longer than any address alone, and with a name of its own for "unknown".
                let mut both = ArrayVec::<u8, { 17 + MAX_NAME }>::new();
                let ip = address.map(|ip| match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                    IpAddr::V6(ip) => ip.octets(),
                });
                both.push(u8::from(ip.is_some()));
                both.extend(ip.unwrap_or_default());
                both.extend(name.bytes().take(MAX_NAME));
                of(&both)
            }
        }
    }

    fn environment(&self) -> Environment {
        let address = self.address.map(|ip| ("requestIp", ip.to_string()));
        let name = self.name.map(|name| ("requestDnsName", name.to_string()));
        let entries = address.into_iter().chain(name);
        entries.map(|(k, v)| (k.to_string(), vec![v])).collect()
    }
}

fn advice_names(answer: &Policy<'_>) -> String {
    let mut names = String::new();
    for (name, _) in answer.advices.iter() {
        if !names.is_empty() {
            names.push_str(", ");
        }
        names.push_str(name);
    }
    names
}
