//! Is a POST that needs a login kept, and when does it take the place of the request with which the
//! browser comes back (rules P1 to P3)?
//!
//! What names a kept POST is in the browser's sealed cookies only: first in the one that remembers the
//! login, then, for the user who finished it, in one for the URL that the POST was sent to. Here nothing is let
//! through: the POST that comes out of the store is decided from the beginning. It must not look into
//! a body.

use alloc::{
    borrow::Cow,
    format,
    string::{String, ToString},
    vec::Vec,
};

use arrayvec::ArrayVec;
use sha2::{Digest, Sha256};

use super::{
    Cx, ResponseHeaders, Stage, ask, detail,
    fail_closed::{Fact, Failure, fail_closed},
    incident, policy, refuse, respond, session,
};
use crate::{
    config::{Enforcement, FilterMode, Sticky},
    contract::{
        Act, Decision, Edits, FactError, Known, Need, Outcome, Receipt, RequestView, UnixMillis,
    },
    event::Code,
    login, page,
    record::Session,
    token::{
        authn_tx::KeptPost,
        cookie::{self, SetCookie},
    },
    url::{Parts, ReturnUrl},
};

/// The request headers that are kept with a body and replace those of the request that comes back.
const HEADERS: [&str; 6] = [
    "Content-Type",
    "Content-Encoding",
    "Content-Language",
    "Origin",
    "Referer",
    "Sec-Fetch-Site",
];
/// Headers of a GET that a POST has not.
const NOT_OF_A_POST: [&str; 6] = [
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "If-Range",
    "Range",
];
/// Longest value of one of them; a host takes few that are longer.
const MAX_HEADER: usize = 8192;
/// The cookie that lets a POST take the place of a request begins so; on https with `__Host-` in front.
const COOKIE: &str = "agent-authn-post-";
/// Longest such cookie that is opened.
const MAX_COOKIE: usize = 512;

/// What becomes of a POST that needs a login.
#[allow(clippy::large_enum_variant)] // moved once, on the stack
pub(crate) enum Kept<'a> {
    /// It is none, or none that is kept; for the log, why not.
    Not(&'static str),
    /// It waits in the store.
    Stored(KeptPost),
    /// There will be no login before it is smaller, or there is room for it.
    Refused(Decision<'a>),
}

/// Keeps the body of a POST that needs a login. `earlier` is whose session it came with, if that is
/// known.
pub(crate) fn keep<'a>(cx: &Cx<'a, '_>, earlier: Option<&Session<'_>>) -> Stage<'a, Kept<'a>> {
    let config = &cx.snap.config;
    let reported = cx.plan.enforcement == Enforcement::Report;
    if !config.post_preserve || cx.req.method != b"POST" || reported {
        return Ok(Kept::Not(""));
    }
    if cx
        .snap
        .post_skip
        .find(&Parts::of(cx.url), |_| true)
        .is_some()
    {
        return Ok(Kept::Not("its body is not touched (skip.post.url)"));
    }
    if !from_here(cx) {
        return Ok(Kept::Not("not kept: it is no form of this site"));
    }
    let Some(head) = head(cx.req) else {
        return Ok(Kept::Not("not kept: its headers are ambiguous or too long"));
    };
    // What is announced is what room is made for.
    let most = u64::from(config.post_body_max);
    let limit = announced(cx.req).unwrap_or(most);
    if limit > most {
        return Ok(Kept::Refused(too_large(cx)));
    }
    let key = login::derive(cx.facts, b"post");
    let life = u64::from(config.post_lifetime) * 60_000;
    let expires = UnixMillis(cx.now.wall.0 + life);
    let client = super::client_address(cx.req, config).known();
    let act = Act::StorePost {
        key: u128::from_be_bytes(key),
        client: client.map_or(0, |address| cx.snap.client_key(address)),
        head,
        limit,
        expires,
    };
    Ok(match cx.facts.receipt(&act) {
        Known::Fresh(Receipt::Done) => Kept::Stored(KeptPost {
            key,
            user: earlier.map_or([0; 16], user_digest),
            expires,
        }),
        Known::Fresh(Receipt::TooLarge) => Kept::Refused(too_large(cx)),
        Known::Fresh(Receipt::Full) => Kept::Refused(not_kept(cx, 503, Code::PostsFull)),
        // Nobody else can have stored what this request has just named.
        Known::Fresh(Receipt::Replayed | Receipt::Gone | Receipt::Counted(_)) => {
            Kept::Refused(refuse(cx.facts, Code::Internal, 503, None, "".into()))
        }
        Known::Failed(error, _) => Kept::Refused(failed(cx, error)),
        Known::Stale(..) | Known::Missing => return Err(Need::Do(act)),
    })
}

/// Rule P1: a form that a page of this very origin sends by navigating. A script's request does not survive
/// the redirect to AM, so its body would lie there in vain.
fn from_here(cx: &Cx<'_, '_>) -> bool {
    let one = |name: &'static [u8]| {
        let mut values = cx.req.values(name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Ok(Some(value)),
            _ => Err(()),
        }
    };
    let (Ok(origin), Ok(site), Ok(mode)) = (
        one(b"origin"),
        one(b"sec-fetch-site"),
        one(b"sec-fetch-mode"),
    ) else {
        return false;
    };
    let navigates = mode.is_none_or(|mode| mode == b"navigate");
    // Browsers that send neither are older than 2020; where a body comes from is then not known.
    let own = match (origin, site) {
        (Some(origin), None | Some(b"same-origin" | b"none")) => {
            origin == own_origin(cx).as_bytes()
        }
        (None, Some(b"same-origin")) => true,
        _ => false,
    };
    navigates && own
}

/// Whether no page of another site can have sent the request; a program that says nothing of where it comes
/// from is its own.
pub(crate) fn is_own_site(cx: &Cx<'_, '_>) -> bool {
    let own = own_origin(cx);
    let mut sites = cx.req.values(b"sec-fetch-site");
    cx.req.values(b"origin").all(|o| o == own.as_bytes())
        && sites.all(|site| matches!(site, b"same-origin" | b"none"))
}

/// The origin of the URL as browsers write it: without a port that the scheme implies.
fn own_origin(cx: &Cx<'_, '_>) -> String {
    let (scheme, host, port) = (cx.asked.scheme(), cx.asked.host(), cx.asked.port());
    match (scheme, port) {
        ("http", 80) | ("https", 443) => format!("{scheme}://{host}"),
        _ => format!("{scheme}://{host}:{port}"),
    }
}

/// The length of the body, where the request says it.
fn announced(req: &RequestView<'_>) -> Option<u64> {
    let length = req.values(b"content-length").next()?;
    core::str::from_utf8(length).ok()?.trim().parse().ok()
}

// --- what is kept beside the body

/// The headers to keep, each with its number in the list.
fn head(req: &RequestView<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (at, name) in HEADERS.iter().enumerate() {
        let mut values = req.values(name.as_bytes());
        let Some(value) = values.next() else { continue };
        if values.next().is_some() || value.len() > MAX_HEADER {
            return None;
        }
        out.push(at as u8);
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value);
    }
    Some(out)
}

/// A header to set, or to take out.
pub type ReplayedHeader = (&'static str, Option<Vec<u8>>);

/// What the headers of the request that comes back have to become for a kept one to take its place: (name,
/// value), or `None` to be taken out. `None` for anything that was not kept beside a body.
pub fn replayed_headers(head: &[u8], length: u64) -> Option<Vec<ReplayedHeader>> {
    let mut kept: [Option<Vec<u8>>; HEADERS.len()] = Default::default();
    let mut rest = head;
    while let Some((&[at, high, low], tail)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, tail) = tail.split_at_checked(length)?;
        *kept.get_mut(usize::from(at))? = Some(value.to_vec());
        rest = tail;
    }
    if !rest.is_empty() {
        return None;
    }
    let mut out: Vec<_> = HEADERS.into_iter().zip(kept).collect();
    out.extend(NOT_OF_A_POST.map(|name| (name, None)));
    out.push(("Content-Length", Some(length.to_string().into_bytes())));
    Some(out)
}

// --- after the login

/// The cookie that lets a kept POST take the place of the next request for `url`, which `user` asks for. `None`:
/// it came with the session of somebody else, and is left to be forgotten (rule P2).
pub(crate) fn hand_on(
    cx: &Cx<'_, '_>,
    post: &KeptPost,
    url: &str,
    user: &Session<'_>,
) -> Option<ResponseHeaders> {
    let user = user_digest(user);
    if post.user != [0; 16] && post.user != user {
        return None;
    }
    let url = digest(url.as_bytes());
    let plain = [post.key, url, user].concat();
    let nonce = login::seal_nonce(cx.facts, b"kept post");
    let keys = &cx.snap.keys.kept_post;
    let (identity, host) = (&cx.snap.identity, cx.asked.host());
    let sealed = keys.seal(identity, host, post.expires, &plain, nonce);
    let life = post.expires.0.saturating_sub(cx.now.wall.0) / 1000;
    let name = cookie_name(cx, &url);
    // The browser comes back by a redirect that another site has begun: `Strict` would not be sent.
    let cookie = SetCookie::new(&name, &sealed).max_age(life);
    Some(headers(base(cx, cookie)))
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(bytes)[..16]);
    short
}

fn user_digest(session: &Session<'_>) -> [u8; 16] {
    digest(session.universal_id.as_bytes())
}

/// One for each URL: tabs with several do not meet.
fn cookie_name(cx: &Cx<'_, '_>, url: &[u8; 16]) -> String {
    let prefix = if cx.https() { "__Host-" } else { "" };
    let [a, b, c, d, ..] = url;
    format!("{prefix}{COOKIE}{a:02x}{b:02x}{c:02x}{d:02x}")
}

fn base<'s>(cx: &Cx<'_, '_>, cookie: SetCookie<'s>) -> SetCookie<'s> {
    cookie
        .http_only(true)
        .secure(cx.https())
        .same_site(Some("Lax"))
}

fn headers(cookie: SetCookie<'_>) -> ResponseHeaders {
    let value = cookie.to_bytes();
    let header = |value| (Cow::Borrowed("Set-Cookie"), value);
    value.map(header).into_iter().collect()
}

/// The mark by which a load balancer finds the node that keeps the POST, where it is a cookie. That node
/// sets it: the login may end on another.
pub(crate) fn sticky_cookie(cx: &Cx<'_, '_>, clears: bool) -> ResponseHeaders {
    let config = &cx.snap.config;
    match (&config.post_sticky, &config.post_sticky_value) {
        (Sticky::Cookie, Some((name, value))) => headers(base(
            cx,
            match clears {
                true => SetCookie::clear(name),
                false => SetCookie::new(name, value),
            },
        )),
        _ => ResponseHeaders::new(),
    }
}

/// The address that the browser comes back to, with the mark where it belongs there.
pub(crate) fn marked(cx: &Cx<'_, '_>, url: &str) -> String {
    let config = &cx.snap.config;
    let mut url = url.to_string();
    if let (Sticky::Url, Some((name, value))) = (&config.post_sticky, &config.post_sticky_value) {
        login::append(&mut url, name, value);
    }
    url
}

// --- back again

/// A POST that waits for this very request.
struct Waiting {
    key: u128,
    user: [u8; 16],
    cookie: String,
}

/// The stage: whether a kept POST takes the place of this request. Nothing is known of it yet but that
/// this browser's user has sent it to this URL.
pub(super) fn replay<'a>(cx: &Cx<'a, '_>) -> Stage<'a, Option<Decision<'a>>> {
    match cx.snap.config.post_preserve {
        false => Ok(None),
        true => replay_of(cx),
    }
}

#[inline(never)]
fn replay_of<'a>(cx: &Cx<'a, '_>) -> Stage<'a, Option<Decision<'a>>> {
    let Some(waiting) = waiting(cx) else {
        return Ok(None);
    };
    let session::Presented::Token(token) = session::presented(cx) else {
        return Ok(None);
    };
    let Ok(user) = session::live(cx, token.key, || token.secret(cx))? else {
        return Ok(None);
    };
    let counts = session::acceptable(cx, &user).is_none()
        && session::from_its_address(cx, &user)
        && user_digest(&user) == waiting.user;
    if !counts || !is_to_be_decided(cx, &token, &user)? {
        return Ok(None);
    }
    let act = Act::TakePost { key: waiting.key };
    match cx.facts.receipt(&act) {
        Known::Fresh(Receipt::Done) => Ok(Some(taken(cx, &waiting, user))),
        Known::Fresh(_) => Ok(Some(gone(cx, &waiting))),
        Known::Failed(error, _) => Ok(Some(failed(cx, error))),
        Known::Stale(..) | Known::Missing => Err(Need::Do(act)),
    }
}

/// What the cookie for this URL names, if the request can be replaced at all.
fn waiting(cx: &Cx<'_, '_>) -> Option<Waiting> {
    let marked = |value: &[u8]| memchr::memmem::find(value, COOKIE.as_bytes()).is_some();
    let plain = cx.req.method == b"GET" && cx.plan.enforcement != Enforcement::Report;
    if !plain || !cx.req.values(b"cookie").any(marked) {
        return None;
    }
    let body = announced(cx.req).is_some_and(|length| length > 0)
        || cx.req.values(b"transfer-encoding").next().is_some();
    let url = ReturnUrl::from_canonical(cx.asked, &cx.snap.allowed_hosts).ok()?;
    let url = digest(url.as_str().as_bytes());
    let name = cookie_name(cx, &url);
    let cookie::One::One(sealed) = cookie::only(cx.req.values(b"cookie"), name.as_bytes()) else {
        return None;
    };
    let mut plain = ArrayVec::<u8, MAX_COOKIE>::new();
    let keys = &cx.snap.keys.kept_post;
    let (identity, host) = (&cx.snap.identity, cx.asked.host());
    let opened = keys.open(identity, host, cx.now.wall, sealed, &mut plain);
    let (key, rest) = opened.ok()?.0.split_first_chunk::<16>()?;
    let (of_url, rest) = rest.split_first_chunk::<16>()?;
    (*of_url == url && !body).then_some(())?;
    Some(Waiting {
        key: u128::from_be_bytes(*key),
        user: rest.try_into().ok()?,
        cookie: name,
    })
}

/// Whether the POST is taken out of the store now. It is not as long as AM has no answer about it, or
/// wants more of its user first: taken out, it would be lost.
fn is_to_be_decided<'a>(
    cx: &Cx<'a, '_>,
    token: &session::Token<'_>,
    user: &Session<'a>,
) -> Stage<'a, bool> {
    if cx.plan.mode == FilterMode::SsoOnly {
        return Ok(true);
    }
    let question = policy::Question::of(cx, token.key, policy::place(cx, user));
    match cx.facts.policy(question.key) {
        Known::Fresh(answer) => Ok(answer.allows(b"POST") || !answer.has_advices()),
        Known::Failed(..) => Ok(false),
        Known::Stale(..) | Known::Missing => Err(ask(question.ask(cx, token.secret(cx)))),
    }
}

fn taken<'a>(cx: &Cx<'a, '_>, waiting: &Waiting, user: Session<'a>) -> Decision<'a> {
    let nothing = page::redirect(String::new());
    let mut decision = respond(cx.facts, Code::PostReplayed, nothing, Some(user), "".into());
    decision.outcome = Outcome::Replay;
    decision.edits = Edits {
        response: cleared(cx, waiting),
        ..Edits::default()
    };
    decision
}

/// The page for a POST that is no more. The cookie goes with it: asked for again, the URL answers.
fn gone<'a>(cx: &Cx<'a, '_>, waiting: &Waiting) -> Decision<'a> {
    let text = "What you sent is no longer there: it took too long, or it was used already. \
                Open the page again and send it once more.";
    let mut page = page::page(404, "No longer there", text, &incident(cx.facts));
    page.headers.extend(cleared(cx, waiting));
    respond(cx.facts, Code::PostGone, page, None, "".into())
}

fn cleared(cx: &Cx<'_, '_>, waiting: &Waiting) -> ResponseHeaders {
    let mut all = headers(base(cx, SetCookie::clear(&waiting.cookie)));
    all.extend(sticky_cookie(cx, true));
    all
}

// --- refusals

fn too_large<'a>(cx: &Cx<'a, '_>) -> Decision<'a> {
    not_kept(cx, 413, Code::PostTooLarge)
}

fn failed<'a>(cx: &Cx<'a, '_>, error: FactError) -> Decision<'a> {
    match fail_closed(Fact::KeptPost, error, cx.snap.config.strategy) {
        Failure::Refuse(status, code) => not_kept(cx, status, code),
        Failure::Login => not_kept(cx, 403, Code::PostNotKept),
    }
}

/// Says that what was typed is still in the browser: nothing of it was stored.
fn not_kept<'a>(cx: &Cx<'a, '_>, status: u16, code: Code) -> Decision<'a> {
    let (title, text) = match status {
        413 => (
            "Too large",
            "You have to log in first, and what you sent is too large to be kept meanwhile. \
             Log in in another tab, then go back and send it again.",
        ),
        _ => (
            "Not kept",
            "You have to log in first, and what you sent could not be kept meanwhile. \
             Log in in another tab, then go back and send it again.",
        ),
    };
    let mut page = page::page(status, title, text, &incident(cx.facts));
    if status == 503 {
        page.headers
            .push((Cow::Borrowed("Retry-After"), b"5".to_vec()));
    }
    respond(cx.facts, code, page, None, detail(""))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::contract::{Header, Local};

    fn view<'r>(headers: &'r [Header<'r>]) -> RequestView<'r> {
        let address = IpAddr::from([192, 0, 2, 1]);
        RequestView {
            method: b"POST",
            target: b"/",
            host: b"www.example.com",
            headers,
            merged: false,
            peer: address,
            client: address,
            local: Local {
                tls: false,
                port: 80,
                path: b"",
                path_info: b"",
                authorizes: false,
            },
        }
    }

    fn header(name: &'static str, value: &'static str) -> Header<'static> {
        Header {
            name: name.as_bytes(),
            value: value.as_bytes(),
        }
    }

    #[test]
    fn what_is_kept_beside_a_body_replaces_what_comes_back() {
        let sent = [
            header("content-type", "text/x-odd; a=b"),
            header("Origin", "https://www.example.com"),
            header("Cookie", "secret=1"),
            header("X-Other", "1"),
        ];
        let kept = head(&view(&sent)).unwrap();
        assert!(!kept.windows(6).any(|w| w == b"secret"));
        let back = replayed_headers(&kept, 7).unwrap();
        let of = |name: &str| back.iter().find(|(n, _)| *n == name).unwrap().1.clone();
        assert_eq!(of("Content-Type").as_deref(), Some(&b"text/x-odd; a=b"[..]));
        assert_eq!(
            of("Origin").as_deref(),
            Some(&b"https://www.example.com"[..])
        );
        assert_eq!(of("Content-Length").as_deref(), Some(&b"7"[..]));
        for taken_out in ["Referer", "Content-Encoding", "Sec-Fetch-Site", "Range"] {
            assert_eq!(of(taken_out), None, "{taken_out}");
        }
    }

    #[test]
    fn headers_with_two_values_are_not_kept() {
        let two = [header("Origin", "https://a"), header("origin", "https://b")];
        assert!(head(&view(&two)).is_none());
        for cut in [&[9, 0, 0][..], &[0], &[0, 0, 1], &[0, 0, 0, 1]] {
            assert!(replayed_headers(cut, 0).is_none(), "{cut:?}");
        }
        assert!(replayed_headers(&[], 0).is_some());
    }
}
