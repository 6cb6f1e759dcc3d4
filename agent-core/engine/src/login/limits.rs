//! How much may one client begin, and make AM do, that has no session? (rules L8 and L9)
//!
//! Counts in memory that all workers share, by address. An address that a client could choose is none:
//! where nobody who is trusted names it, the peer of the connection counts.

use alloc::boxed::Box;
use core::net::IpAddr;

use crate::{
    config::Enforcement,
    contract::{Act, Decision, FactError, Known, Need, Outcome, Receipt, SessionKey},
    decide::{Cx, Stage, client_address, detail, live, refuse},
    event::Code,
    record::Session,
    token::Secret,
};

/// What is counted.
#[derive(Clone, Copy)]
enum What<'w> {
    /// Logins that a client began.
    Start,
    /// Session tokens that AM called dead.
    Dead,
    /// One of them.
    Token(u128),
    /// Logins for one page by a program without cookies, as far as it can be told from others.
    Page(&'w [u8]),
}

/// Refuses one login too many of a client in a minute (`portcullis.login.starts.max`).
pub(super) fn too_many_starts<'a>(cx: &Cx<'a, '_>) -> Stage<'a, Option<Decision<'a>>> {
    let limit = cx.snap.config.login_starts_max;
    let over = limit > 0 && counted(cx, What::Start)? > limit;
    Ok(over.then(|| slow_down(cx, Code::LoginStartsLimited)))
}

/// Counts a token that AM does not know, once in a minute for each client.
pub(crate) fn count_dead(cx: &Cx<'_, '_>, token: u128) -> Result<(), Need> {
    // What is only reported counts nothing.
    let counts = cx.snap.config.dead_tokens_max > 0 && cx.plan.enforcement != Enforcement::Report;
    if counts && counted(cx, What::Token(token))? == 1 {
        counted(cx, What::Dead)?;
    }
    Ok(())
}

/// Refuses to ask AM about a token of a client that sends made-up ones
/// (`portcullis.login.tokens.max`).
pub(crate) fn too_many_dead<'a>(cx: &Cx<'a, '_>) -> Option<Decision<'a>> {
    let limit = cx.snap.config.dead_tokens_max;
    let over = limit > 0 && cx.facts.counted(key(cx, What::Dead)) >= limit;
    over.then(|| slow_down(cx, Code::DeadTokensLimited))
}

/// What came of a token that anybody may have made up.
pub(crate) enum Tried<'a> {
    /// What AM says of it.
    Said(Result<Session<'a>, FactError>),
    /// The client sends too many such tokens: AM is not asked.
    TooMany(Box<Decision<'a>>),
}

/// Asks who is behind such a token, within the client's limit, and counts it where AM does not know it.
pub(crate) fn tried<'a>(
    cx: &Cx<'a, '_>,
    key: SessionKey,
    token: impl FnOnce() -> Secret,
) -> Stage<'a, Tried<'a>> {
    if matches!(cx.facts.session(key), Known::Missing)
        && let Some(decision) = too_many_dead(cx)
    {
        return Ok(Tried::TooMany(Box::new(decision)));
    }
    let said = live(cx, key, token)?;
    if matches!(said, Err(FactError::Dead)) {
        count_dead(cx, key.0)?;
    }
    Ok(Tried::Said(said))
}

/// How often a program without cookies began a login for one page in this minute; 0 where the
/// connection may be that of a proxy, which many share.
pub(super) fn rounds_without_cookies(cx: &Cx<'_, '_>, page: &[u8]) -> Result<u32, Need> {
    let forwarded: [&[u8]; 3] = [b"x-forwarded-for", b"forwarded", b"via"];
    let config = &cx.snap.config;
    let by_proxy = forwarded
        .iter()
        .any(|name| cx.req.values(name).next().is_some());
    let named = config.client_ip_header.is_some()
        && client_address(cx.req, config).known().is_some()
        || cx.req.client != cx.req.peer;
    match by_proxy && !named {
        true => Ok(0),
        false => counted(cx, What::Page(page)),
    }
}

fn counted(cx: &Cx<'_, '_>, what: What<'_>) -> Result<u32, Need> {
    let act = Act::Count { key: key(cx, what) };
    match cx.facts.receipt(&act) {
        Known::Fresh(Receipt::Counted(n)) => Ok(n),
        // Nothing else is said about a count; a limit then holds.
        Known::Fresh(_) | Known::Failed(..) => Ok(u32::MAX),
        Known::Stale(..) | Known::Missing => Err(Need::Do(act)),
    }
}

fn key(cx: &Cx<'_, '_>, what: What<'_>) -> u128 {
    let config = &cx.snap.config;
    let address = client_address(cx.req, config).known();
    let address = address.unwrap_or(cx.req.peer.to_canonical());
    let agent = cx.req.values(b"user-agent").next().unwrap_or_default();
    let one = address_bytes(address, 16);
    let network = address_bytes(address, 8);
    match what {
        What::Start => cx.snap.count_key(b's', &[&network]),
        What::Dead => cx.snap.count_key(b'd', &[&network]),
        What::Token(token) => cx.snap.count_key(b't', &[&network, &token.to_le_bytes()]),
        What::Page(page) => cx.snap.count_key(b'p', &[&one, agent, page]),
    }
}

/// An IPv4 address as a whole; of an IPv6 address the first bytes: who has one of a /64 has them all.
fn address_bytes(address: IpAddr, of_v6: usize) -> [u8; 16] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(v4) => bytes[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => bytes[..of_v6].copy_from_slice(&v6.octets()[..of_v6]),
    }
    bytes
}

fn slow_down<'a>(cx: &Cx<'a, '_>, code: Code) -> Decision<'a> {
    let client = client_address(cx.req, &cx.snap.config).known();
    let client = client.unwrap_or(cx.req.peer);
    let mut decision = refuse(cx.facts, code, 429, None, detail(client));
    if let Outcome::Respond(response) = &mut decision.outcome {
        let seconds = b"60".to_vec();
        response.headers.push(("Retry-After".into(), seconds));
    }
    decision
}
