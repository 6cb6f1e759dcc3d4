//! Does a login go round in circles, and why? (rule L8)
//!
//! A cookie of its own counts how often a browser came back without a session, and outlives a login by
//! a minute; who keeps no cookies is counted in shared memory. It must not end a login that may still
//! succeed: the count is of rounds in vain only.

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{authorize, limits};
use crate::{
    contract::{Decision, Outcome, UnixMillis},
    decide::{Cx, ResponseHeaders, Stage, clear_session_cookies, open_own_cookie, refuse},
    event::Code,
    token::{
        cookie::{self, SetCookie},
        rounds::{self, Last, Round, Rounds},
        sealed::Unsealed,
    },
};

/// How long the counter outlives a login, milliseconds.
const OUTLIVES: u64 = 60_000;
/// In custom login mode 2 nothing tells the end of a login from another visit; without any token a
/// browser that is back so soon, milliseconds, was sent back.
const SOON: u64 = 10_000;
/// Rounds of several clients behind one address may look like those of one without cookies.
const WITHOUT_COOKIES: u32 = 4;

/// What the browser brought of earlier rounds.
enum Brought {
    Nothing,
    Rounds(Rounds),
    /// A cookie that does not open.
    Unreadable(Unsealed),
}

/// Whether to go on with a login for a page.
pub(super) enum Next<'a> {
    /// With these cookies.
    Login(ResponseHeaders),
    /// Not: it is a loop.
    Stop(Box<Decision<'a>>),
}

/// Counts the beginning of a login; `code` says why there is one.
pub(super) fn next<'a>(cx: &Cx<'a, '_>, back: &str, code: Code) -> Stage<'a, Next<'a>> {
    let limit = u32::from(cx.snap.config.login_loop_limit);
    if limit == 0 {
        return Ok(Next::Login(ResponseHeaders::new()));
    }
    let page = rounds::page(back);
    let no_cookies = || cx.req.values(b"cookie").next().is_none();
    let mut rounds = match brought(cx) {
        Brought::Rounds(rounds) => rounds,
        Brought::Unreadable(why) => {
            let count = limits::rounds_without_cookies(cx, &page)?;
            if count > limit {
                let cause = unreadable(why);
                return Ok(stop(cx, cause, count, None));
            }
            Rounds::default()
        }
        Brought::Nothing if is_legacy(cx) && no_cookies() => {
            let count = limits::rounds_without_cookies(cx, &page)?;
            if count > limit * WITHOUT_COOKIES {
                return Ok(stop(cx, Code::LoopNoCookies, count, None));
            }
            Rounds::default()
        }
        Brought::Nothing => Rounds::default(),
    };
    let known = rounds.of(page);
    let in_vain = known.is_some_and(|r| is_in_vain(cx, &r, code));
    let count = known
        .map_or(0, |r| r.count)
        .saturating_add(u8::from(in_vain));
    if u32::from(count) >= limit {
        rounds.forget(page);
        let cause = cause(cx, code, known);
        return Ok(stop(cx, cause, count.into(), Some(&rounds)));
    }
    if known.is_none() && !is_legacy(cx) {
        return Ok(Next::Login(ResponseHeaders::new())); // it is counted once it has ended
    }
    rounds.put(Round {
        page,
        at: cx.now.wall,
        count,
        last: Last::Begun,
    });
    Ok(Next::Login(write(cx, &rounds)))
}

/// Notes that a browser is sent back to a page after a login.
pub(super) fn sent_back(cx: &Cx<'_, '_>, to: &str, last: Last) -> ResponseHeaders {
    if cx.snap.config.login_loop_limit == 0 {
        return ResponseHeaders::new();
    }
    let mut rounds = match brought(cx) {
        Brought::Rounds(rounds) => rounds,
        Brought::Nothing | Brought::Unreadable(_) => Rounds::default(),
    };
    let page = rounds::page(to);
    rounds.put(Round {
        page,
        at: cx.now.wall,
        count: rounds.of(page).map_or(0, |r| r.count),
        last,
    });
    write(cx, &rounds)
}

/// Forgets all rounds, where the browser brought any: who logs out may log in again.
pub(crate) fn forget(cx: &Cx<'_, '_>) -> ResponseHeaders {
    match brought(cx) {
        Brought::Nothing => ResponseHeaders::new(),
        Brought::Rounds(_) | Brought::Unreadable(_) => authorize::clear(cx, &name(cx)),
    }
}

fn is_legacy(cx: &Cx<'_, '_>) -> bool {
    cx.snap.config.allow_custom_login == 2
}

/// Whether the browser is back from a login that was of no use.
fn is_in_vain(cx: &Cx<'_, '_>, round: &Round, code: Code) -> bool {
    match round.last {
        Last::Finished | Last::TooSlow => true,
        // Where no callback says so: with a token that does not count, or at once.
        Last::Begun if is_legacy(cx) => {
            let soon = cx.now.wall.0.saturating_sub(round.at.0) < SOON;
            soon || !matches!(code, Code::LoginNoToken)
        }
        Last::Begun => false,
    }
}

fn name(cx: &Cx<'_, '_>) -> String {
    let prefix = if cx.https() { "__Host-" } else { "" };
    format!("{prefix}agent-authn-loop")
}

/// How long a round is remembered, milliseconds.
fn life(cx: &Cx<'_, '_>, last: Last) -> u64 {
    match last {
        Last::Finished | Last::TooSlow => OUTLIVES,
        Last::Begun => u64::from(cx.snap.config.cookie_maxage) * 1000 + OUTLIVES,
    }
}

fn brought(cx: &Cx<'_, '_>) -> Brought {
    let value = match cookie::only(cx.req.values(b"cookie"), name(cx).as_bytes()) {
        cookie::One::None => return Brought::Nothing,
        cookie::One::Conflicting => return Brought::Unreadable(Unsealed::Malformed),
        cookie::One::One(value) => value,
    };
    match opened(cx, value) {
        Ok(mut rounds) => {
            rounds.retain(|r| r.at.0.saturating_add(life(cx, r.last)) > cx.now.wall.0);
            Brought::Rounds(rounds)
        }
        Err(Unsealed::Expired) => Brought::Nothing,
        Err(why) => Brought::Unreadable(why),
    }
}

fn opened(cx: &Cx<'_, '_>, value: &[u8]) -> Result<Rounds, Unsealed> {
    let mut plain = arrayvec::ArrayVec::<u8, { authorize::MAX_COOKIE }>::new();
    let (keys, host) = (&cx.snap.keys.pre_authentication, cx.asked.host());
    let (bytes, _) = keys.open(&cx.snap.identity, host, cx.now.wall, value, &mut plain)?;
    Rounds::decode(bytes).ok_or(Unsealed::Forged)
}

/// What a cookie says of earlier rounds, where it is the one that counts them; to be written down.
pub(crate) fn brought_as(
    cx: &Cx<'_, '_>,
    cookie: &[u8],
    value: &[u8],
) -> Option<Result<Rounds, Unsealed>> {
    (cookie == name(cx).as_bytes()).then(|| opened(cx, value))
}

/// The cookie's value from what was written down of it, in base64url.
pub(crate) fn sealed_again(cx: &Cx<'_, '_>, written: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(written).ok()?;
    Some(sealed(cx, &Rounds::decode(&bytes)?).0)
}

/// The cookie's value, and its life in seconds.
fn sealed(cx: &Cx<'_, '_>, rounds: &Rounds) -> (String, u64) {
    let life = life(cx, Last::Begun);
    let expires = UnixMillis(cx.now.wall.0 + life);
    let nonce = authorize::seal_nonce(cx.facts, b"rounds");
    let (keys, host) = (&cx.snap.keys.pre_authentication, cx.asked.host());
    let value = keys.seal(&cx.snap.identity, host, expires, &rounds.encode(), nonce);
    (value, life / 1000)
}

fn write(cx: &Cx<'_, '_>, rounds: &Rounds) -> ResponseHeaders {
    let name = name(cx);
    if rounds.is_empty() {
        return authorize::clear(cx, &name);
    }
    let (value, life) = sealed(cx, rounds);
    let cookie = SetCookie::new(&name, &value).max_age(life);
    authorize::one(authorize::base(cx, cookie))
}

/// Why a browser comes back without a session, as far as it can be told.
fn cause(cx: &Cx<'_, '_>, code: Code, known: Option<Round>) -> Code {
    match code {
        Code::LoginTwoCookies => Code::LoopTwoCookies,
        Code::LoginBadCookie => match open_own_cookie(cx) {
            Some(Err(why)) => unreadable(why),
            _ => Code::LoopBadCookie,
        },
        Code::LoginSessionDead => Code::LoopSessionDead,
        Code::LoginOtherAddress => Code::LoopOtherAddress,
        _ if known.is_some_and(|r| r.last == Last::TooSlow) => Code::LoopTooSlow,
        _ if is_legacy(cx) => Code::LoopAmCookieLost,
        _ => cookie_lost(cx),
    }
}

fn unreadable(why: Unsealed) -> Code {
    match why {
        Unsealed::UnknownKey => Code::LoopUnknownKey,
        Unsealed::Malformed | Unsealed::Forged | Unsealed::Expired => Code::LoopBadCookie,
    }
}

/// Why a browser keeps the counter's cookie, but not that of the session.
fn cookie_lost(cx: &Cx<'_, '_>) -> Code {
    let config = &cx.snap.config;
    let host = cx.asked.host();
    let covers = |domain: &String| {
        let domain = domain.trim_start_matches('.');
        let rest = host.strip_suffix(domain);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let same_site = config.cookie_samesite.as_deref().unwrap_or_default();
    let is = |word: &str| same_site.eq_ignore_ascii_case(word);
    let says = |name: &[u8], value: &[u8]| cx.req.values(name).any(|v| v == value);
    let framed = says(b"sec-fetch-dest", b"iframe") && says(b"sec-fetch-site", b"cross-site");
    if !config.cookie_domain.is_empty() && !config.cookie_domain.iter().any(covers) {
        Code::LoopCookieDomain
    } else if config.cookie_secure && !cx.https() {
        Code::LoopCookieSecure
    } else if is("Strict") || framed && !(is("None") && cx.https()) {
        Code::LoopCookieSameSite
    } else {
        Code::LoopCookieLost
    }
}

/// Whose cookie or setting it is about, for the line in the log.
fn evidence(cx: &Cx<'_, '_>, cause: Code) -> String {
    let config = &cx.snap.config;
    match cause {
        Code::LoopCookieDomain => {
            let domains = config.cookie_domain.join(", ");
            format!("; host {}, domains {domains}", cx.asked.host())
        }
        Code::LoopCookieSecure => format!("; {} over http", config.jwt_name),
        Code::LoopCookieSameSite => {
            let set = config.cookie_samesite.as_deref().unwrap_or("not set");
            format!("; SameSite of {} is {set}", config.jwt_name)
        }
        Code::LoopTwoCookies => {
            let twice = |name: &&String| {
                let found = cookie::only(cx.req.values(b"cookie"), name.as_bytes());
                matches!(found, cookie::One::Conflicting)
            };
            let names = [&config.jwt_name, &config.cookie_name];
            let name = names.into_iter().find(twice);
            name.map_or(String::new(), |name| format!("; {name} came twice"))
        }
        Code::LoopOtherAddress => {
            let client = crate::decide::client_address(cx.req, config).known();
            client.map_or("; the client's address is unknown".to_string(), |ip| {
                format!("; the client's address is {ip}")
            })
        }
        Code::LoopAmCookieLost => format!(
            "; {} does not come to {}",
            config.cookie_name,
            cx.asked.host()
        ),
        _ => String::new(),
    }
}

/// The page that ends a loop. Its counter begins anew, so that the user may try again.
fn stop<'a>(cx: &Cx<'a, '_>, cause: Code, count: u32, left: Option<&Rounds>) -> Next<'a> {
    let detail = format!("{count} rounds{}", evidence(cx, cause));
    // Whether the user can do something about it, or the site's settings are wrong.
    let status = match cause {
        Code::LoopTwoCookies
        | Code::LoopCookieLost
        | Code::LoopNoCookies
        | Code::LoopSessionDead
        | Code::LoopBadCookie
        | Code::LoopTooSlow => 403,
        _ => 500,
    };
    let mut decision = refuse(cx.facts, cause, status, None, detail.into());
    if let Outcome::Respond(response) = &mut decision.outcome {
        response.headers.extend(clear_session_cookies(cx));
        response.headers.extend(match left {
            Some(rounds) => write(cx, rounds),
            None => forget(cx),
        });
    }
    Next::Stop(Box::new(decision))
}
