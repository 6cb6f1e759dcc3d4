//! What AM's policy says about this URL for this session.

use alloc::{
    string::{String, ToString},
    vec,
};
use core::net::IpAddr;

use super::{
    Cx, Stage, ask, client_address,
    fail_closed::{Fact, refuse_for},
    refuse,
    session::User,
};
use crate::{
    contract::{Ask, Decision, Environment, Known},
    event::Code,
    login,
    record::Policy,
};

/// How the stage ends.
#[allow(clippy::large_enum_variant)] // moved once, on the stack; boxing would allocate on each hit
pub(super) enum Outcome<'a> {
    /// Allowed; the answer, unless nobody asked (SSO-only mode).
    Allowed(Option<Policy<'a>>),
    Decided(Decision<'a>),
}

/// The stage.
pub(super) fn policy<'a>(cx: &Cx<'a, '_>, user: &User<'a>) -> Stage<'a, Outcome<'a>> {
    let config = &cx.snap.config;
    if config.sso_only {
        return Ok(Outcome::Allowed(None));
    }
    let client = client_address(cx.req, config).known();
    let session = user.token.key;
    let key = |address: &[u8]| cx.snap.policy_key(session, cx.url.url(), address);
    let key = match client {
        Some(IpAddr::V4(ip)) => key(&ip.octets()),
        Some(IpAddr::V6(ip)) => key(&ip.octets()),
        None => key(b""),
    };
    let answer = match cx.facts.policy(key) {
        // AM's `ttl` bounds how long the driver keeps it; one just given is good for this request even
        // if the clocks differ.
        Known::Fresh(answer) => answer,
        Known::Failed(error, _) => {
            let refused = refuse_for(cx, Fact::Policy, error);
            let decision = refused.unwrap_or_else(|| login::start(cx, Code::LoginSessionDead));
            return Ok(Outcome::Decided(decision));
        }
        Known::Stale(..) | Known::Missing => {
            return Err(ask(Ask::Policy {
                key,
                session,
                token: user.token.secret(cx),
                resource: cx.url.url().to_string(),
                realm: config.policy_realm.clone(),
                application: config.policy_set.clone(),
                environment: environment(client),
            }));
        }
    };
    if answer.allows(cx.req.method) {
        return Ok(Outcome::Allowed(Some(answer)));
    }
    let code = match answer.has_advices() {
        true => Code::DeniedWithAdvices,
        false => Code::DeniedByPolicy,
    };
    let names = advice_names(&answer);
    Ok(Outcome::Decided(refuse(
        cx.facts,
        code,
        403,
        Some(user.session),
        names.into(),
    )))
}

/// What conditions may look at (protocol reference 6.1). Of a client whose address is unknown AM
/// learns none: the address of a proxy would meet conditions that are meant for its network.
fn environment(client: Option<IpAddr>) -> Environment {
    let entry = |ip: IpAddr| ("requestIp".to_string(), vec![ip.to_string()]);
    client.map(entry).into_iter().collect()
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
