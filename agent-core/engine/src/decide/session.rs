//! Who is asking: the token of the request and the session behind it.

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::net::IpAddr;

use arrayvec::ArrayVec;

use super::{
    Cx, ResponseHeaders, Stage, ask, attribute_cookies, client_address,
    fail_closed::{Fact, refuse_for},
    grace, refuse,
};
use crate::{
    config::Snapshot,
    contract::{
        Act, Ask, CookieKey, Decision, FactError, Facts, Known, Need, Now, Opened, Receipt,
        RequestView, SessionKey, UnixMillis,
    },
    event::Code,
    login,
    record::{Session, SessionKind},
    token::{Secret, cookie, sealed::Unsealed},
    url::Canonical,
};

/// Longest token read from a cookie.
pub(crate) const MAX_TOKEN: usize = 4096;

pub(crate) type TokenBuffer = ArrayVec<u8, MAX_TOKEN>;

/// The session token of a request. In the clear only when it has to be sent to AM: what an earlier
/// request found in the cookie is mostly enough.
pub(crate) struct Token<'a> {
    /// Where what is known about it is kept.
    pub(crate) key: SessionKey,
    /// What the cookie opened to, if it had to be opened.
    pub(super) opened: Option<(CookieKey, Opened)>,
    cookie: Cookie<'a>,
}

/// A cookie value with a token in it.
#[derive(Clone, Copy)]
enum Cookie<'a> {
    Own(&'a [u8]),
    Am(&'a [u8]),
}

impl Token<'_> {
    /// Whether it came as AM gives it, in its own cookie or a header, which anybody can make up.
    pub(super) fn is_ams(&self) -> bool {
        matches!(self.cookie, Cookie::Am(_))
    }

    /// When the session ends at the latest that our own cookie is sealed for; 0 for AM's, which says nothing.
    pub(super) fn max_end(&self, cx: &Cx<'_, '_>) -> UnixMillis {
        match self.cookie {
            Cookie::Own(value) => open(cx, value, &mut TokenBuffer::new())
                .map_or(UnixMillis(0), |opened| opened.expires),
            Cookie::Am(_) => UnixMillis(0),
        }
    }

    /// The token in the clear.
    pub(crate) fn secret(&self, cx: &Cx<'_, '_>) -> Secret {
        let mut token = TokenBuffer::new();
        let read = match self.cookie {
            Cookie::Own(value) => open(cx, value, &mut token).is_some(),
            Cookie::Am(value) => sso_token(value, &mut token),
        };
        // What was read once for this request reads again. The runtime asks nothing about an empty token.
        debug_assert!(read);
        Secret::new(token.to_vec())
    }
}

/// A live session and where it is kept.
pub(crate) struct User<'a> {
    pub(crate) token: Token<'a>,
    pub(crate) session: Session<'a>,
    /// How old the oldest answer is that grace lets count, milliseconds; 0 where AM was asked in time.
    pub(super) outlived: u64,
}

/// How the stage ends.
#[allow(clippy::large_enum_variant)] // moved once, on the stack; boxing would allocate on each hit
pub(super) enum Outcome<'a> {
    User(User<'a>),
    Decided(Decision<'a>),
}

/// What the cookies of a request hold.
pub(crate) enum Presented<'a> {
    /// A session token.
    Token(Token<'a>),
    /// Nothing that counts; the code says why, and these cookies are cleared.
    None(Code),
}

/// The session token that the request carries: our own cookie first, AM's where it is accepted.
pub(crate) fn presented<'a>(cx: &Cx<'a, '_>) -> Presented<'a> {
    let config = &cx.snap.config;
    let own = own_cookie(cx);
    if config.session_header.is_some()
        && matches!(own, Presented::None(_))
        && let Some(found) = in_header(cx)
    {
        return found;
    }
    if let Presented::None(code) = own
        && config.accept_sso_token
        && !config.cookie_name.is_empty()
    {
        return match in_cookie(cx, &config.cookie_name) {
            Presented::None(Code::LoginNoToken) => Presented::None(code),
            found => found,
        };
    }
    own
}

fn own_cookie<'a>(cx: &Cx<'a, '_>) -> Presented<'a> {
    match cookie::only(cx.req.values(b"cookie"), cx.snap.config.jwt_name.as_bytes()) {
        cookie::One::None => Presented::None(Code::LoginNoToken),
        cookie::One::Conflicting => Presented::None(Code::LoginTwoCookies),
        cookie::One::One(value) => {
            let name = cx.snap.cookie_key(cookie_scope(cx), value);
            let (key, opened) = match cx.facts.opened(name) {
                Some(known) if known.expires >= cx.now.wall => (known.session, None),
                _ => match open(cx, value, &mut TokenBuffer::new()) {
                    Some(opened) => (opened.session, Some((name, opened))),
                    None => return Presented::None(Code::LoginBadCookie),
                },
            };
            Presented::Token(Token {
                key,
                opened,
                cookie: Cookie::Own(value),
            })
        }
    }
}

/// The token that a client without cookies brings (`portcullis.session.header`). On its own, because
/// few do.
#[cold]
#[inline(never)]
pub(crate) fn in_header<'a>(cx: &Cx<'a, '_>) -> Option<Presented<'a>> {
    let name = cx.snap.config.session_header.as_deref()?;
    let mut values = cx.req.values(name.as_bytes());
    let (value, more) = (values.next()?, values.next());
    Some(match more {
        None => ams(cx, value),
        // Two are none, as with cookies (rule L4).
        Some(_) => Presented::None(Code::LoginTwoCookies),
    })
}

/// The token that the cookie of this name holds as AM writes it.
pub(crate) fn in_cookie<'a>(cx: &Cx<'a, '_>, name: &str) -> Presented<'a> {
    match cookie::only(cx.req.values(b"cookie"), name.as_bytes()) {
        cookie::One::None => Presented::None(Code::LoginNoToken),
        cookie::One::Conflicting => Presented::None(Code::LoginTwoCookies),
        cookie::One::One(value) => ams(cx, value),
    }
}

/// A token as AM gives it to clients, who may as well have made it up.
fn ams<'a>(cx: &Cx<'a, '_>, value: &'a [u8]) -> Presented<'a> {
    let mut token = TokenBuffer::new();
    match sso_token(value, &mut token) {
        true => Presented::Token(Token {
            key: key_of(cx, &token),
            opened: None,
            cookie: Cookie::Am(value),
        }),
        false => Presented::None(Code::LoginBadCookie),
    }
}

/// Opens our own cookie; the token goes into the caller's buffer.
pub(super) fn open(cx: &Cx<'_, '_>, value: &[u8], token: &mut TokenBuffer) -> Option<Opened> {
    let keys = &cx.snap.keys.session_cookie;
    let scope = cookie_scope(cx);
    let opened = keys.open(&cx.snap.identity, scope, cx.now.wall, value, token);
    opened.ok().map(|(token, expires)| Opened {
        session: key_of(cx, token),
        expires,
    })
}

/// Whether our own cookie opens, where there is one; why not.
pub(crate) fn open_own_cookie(cx: &Cx<'_, '_>) -> Option<Result<(), Unsealed>> {
    let name = cx.snap.config.jwt_name.as_bytes();
    let cookie::One::One(value) = cookie::only(cx.req.values(b"cookie"), name) else {
        return None;
    };
    Some(open_own(cx, value))
}

/// Whether a value of our own cookie opens; why not.
pub(super) fn open_own(cx: &Cx<'_, '_>, value: &[u8]) -> Result<(), Unsealed> {
    let mut token = TokenBuffer::new();
    let (keys, scope) = (&cx.snap.keys.session_cookie, cookie_scope(cx));
    let opened = keys.open(&cx.snap.identity, scope, cx.now.wall, value, &mut token);
    opened.map(|_| ())
}

/// AM's own cookie value, percent-decoded once; `false` when it is empty or too long.
pub(crate) fn sso_token(value: &[u8], token: &mut TokenBuffer) -> bool {
    token.clear();
    let fits = percent_encoding::percent_decode(value).all(|byte| token.try_push(byte).is_ok());
    fits && !token.is_empty()
}

/// Where what is known about a token is kept: both ways to write one token are one session.
pub(crate) fn key_of(cx: &Cx<'_, '_>, token: &[u8]) -> SessionKey {
    if crate::am::a::is_normal(token) {
        return cx.snap.session_key(token);
    }
    let mut normal = TokenBuffer::new();
    // A longer token came from no cookie of ours; it is its own key, unnormalised.
    if normal.try_extend_from_slice(token).is_err() {
        return cx.snap.session_key(token);
    }
    crate::am::a::normalize_in_place(&mut normal);
    cx.snap.session_key(&normal)
}

/// The host or domain that a session cookie is sealed for: the configured domain that the host is
/// in, or the host itself.
pub(crate) fn cookie_scope<'u>(cx: &Cx<'u, 'u>) -> &'u str {
    let host = cx.asked.host();
    let within = |domain: &&String| {
        let domain = domain.trim_start_matches('.');
        host.strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    cx.snap
        .config
        .cookie_domain
        .iter()
        .find(within)
        .map_or(host, String::as_str)
}

/// The value of the cookie that counts rounds of a login, sealed again from what was written down of it
/// ([`super::ROUNDS`]); `None` where that or the URL is none. For `explain`.
pub fn rounds_cookie_of(
    req: &RequestView<'_>,
    snap: &Snapshot,
    facts: &dyn Facts,
    now: Now,
    written: &str,
) -> Option<String> {
    on_its_host(req, snap, facts, now, |cx| {
        login::rounds_sealed(cx, written)
    })?
}

/// The value of the session cookie that a browser would send with this request after a login with
/// this token; `None` where the URL is none. For `explain`, which has a session and no cookie.
pub fn cookie_of(
    req: &RequestView<'_>,
    snap: &Snapshot,
    facts: &dyn Facts,
    now: Now,
    token: &[u8],
) -> Option<String> {
    let nonce = [0; 12]; // for made-up keys only: each run of explain seals one value
    on_its_host(req, snap, facts, now, |cx| {
        let (keys, scope) = (&snap.keys.session_cookie, cookie_scope(cx));
        keys.seal(&snap.identity, scope, now.wall, token, nonce)
    })
}

/// Does something for the host that a request asks for.
fn on_its_host<T>(
    req: &RequestView<'_>,
    snap: &Snapshot,
    facts: &dyn Facts,
    now: Now,
    act: impl FnOnce(&Cx<'_, '_>) -> T,
) -> Option<T> {
    let mut url = Canonical::new();
    url.set(req).ok()?;
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
    let cx = super::elsewhere(&cx, &mut room).ok()?;
    Some(act(&cx))
}

/// The stage.
pub(super) fn session<'a>(cx: &Cx<'a, '_>) -> Stage<'a, Outcome<'a>> {
    let token = match presented(cx) {
        Presented::Token(token) => token,
        Presented::None(code) => return login::start(cx, code).map(Outcome::Decided),
    };
    if token.is_ams() {
        return of_am(cx, token);
    }
    match live(cx, token.key, || token.secret(cx))? {
        Ok(session) => accepted(cx, token, session),
        Err(FactError::Dead) => match beside(cx, &token) {
            Some(other) => of_am(cx, other),
            None => no_session(cx, FactError::Dead),
        },
        Err(error) => unanswered(cx, token, error),
    }
}

#[inline(always)]
fn accepted<'a>(cx: &Cx<'a, '_>, token: Token<'a>, session: Session<'a>) -> Stage<'a, Outcome<'a>> {
    match acceptable(cx, &session) {
        None if from_its_address(cx, &session) => Ok(Outcome::User(User {
            token,
            session,
            outlived: 0,
        })),
        None => from_elsewhere(cx, &token, &session).map(Outcome::Decided),
        Some(code) => Ok(Outcome::Decided(refuse(
            cx.facts,
            code,
            403,
            Some(session),
            super::detail(alloc::format!("realm {}", session.realm)),
        ))),
    }
}

/// AM's cookie beside one of ours whose session is over, where AM's counts at all.
#[cold]
fn beside<'a>(cx: &Cx<'a, '_>, dead: &Token<'_>) -> Option<Token<'a>> {
    let config = &cx.snap.config;
    if dead.is_ams() || !config.accept_sso_token || config.cookie_name.is_empty() {
        return None;
    }
    match in_cookie(cx, &config.cookie_name) {
        Presented::Token(other) if other.key != dead.key => Some(other),
        _ => None,
    }
}

/// The stage with a token as AM gives it, which anybody can make up (rule L9). On its own, to keep the path
/// of our own cookie short.
#[inline(never)]
fn of_am<'a>(cx: &Cx<'a, '_>, token: Token<'a>) -> Stage<'a, Outcome<'a>> {
    match login::tried(cx, token.key, || token.secret(cx))? {
        login::Tried::Said(Ok(session)) => accepted(cx, token, session),
        login::Tried::Said(Err(error)) => unanswered(cx, token, error),
        login::Tried::TooMany(decision) => Ok(Outcome::Decided(*decision)),
    }
}

/// With a session that cannot be asked about: as it was, or refused.
#[cold]
#[inline(never)]
fn unanswered<'a>(cx: &Cx<'a, '_>, token: Token<'a>, error: FactError) -> Stage<'a, Outcome<'a>> {
    let Some((session, age)) = grace::session(cx, token.key, error) else {
        return no_session(cx, error);
    };
    Ok(match accepted(cx, token, session)? {
        Outcome::User(user) => Outcome::User(User {
            outlived: age.total.max(1),
            ..user
        }),
        decided => decided,
    })
}

#[cold]
#[inline(never)]
fn no_session<'a>(cx: &Cx<'a, '_>, error: FactError) -> Stage<'a, Outcome<'a>> {
    let decision = match refuse_for(cx, Fact::Session, error) {
        Some(refused) => refused,
        None => login::start(cx, Code::LoginSessionDead)?,
    };
    Ok(Outcome::Decided(decision))
}

/// Whether the client has the address that AM saw at the login, where that is asked for
/// (`com.sun.identity.agents.config.client.ip.validation.enable`). What is unknown is no address.
pub(super) fn from_its_address(cx: &Cx<'_, '_>, session: &Session<'_>) -> bool {
    let config = &cx.snap.config;
    if !config.client_ip_validation {
        return true;
    }
    let begun = session.properties.first("Host");
    let begun = begun.and_then(|host| host.parse::<IpAddr>().ok());
    let here = client_address(cx.req, config).known();
    begun.is_some() && begun.map(|ip| ip.to_canonical()) == here
}

/// A session that is used from another address than it was begun from.
fn from_elsewhere<'a>(
    cx: &Cx<'a, '_>,
    token: &Token<'_>,
    session: &Session<'a>,
) -> Stage<'a, Decision<'a>> {
    if !cx.snap.config.client_ip_reauth {
        let subject = Some(*session);
        return Ok(refuse(
            cx.facts,
            Code::DeniedAddress,
            403,
            subject,
            "".into(),
        ));
    }
    let act = Act::EndSession {
        key: token.key,
        token: token.secret(cx),
        expires: UnixMillis(session.max_end),
    };
    match cx.facts.receipt(&act) {
        Known::Fresh(Receipt::Done | Receipt::Replayed) => {
            login::start_after(cx, Code::LoginOtherAddress, Some(session))
        }
        Known::Fresh(_) => Ok(refuse(cx.facts, Code::Internal, 503, None, "".into())),
        Known::Failed(error, _) => match refuse_for(cx, Fact::EndedSession, error) {
            Some(refused) => Ok(refused),
            None => login::start_after(cx, Code::LoginOtherAddress, Some(session)),
        },
        Known::Stale(..) | Known::Missing => Err(Need::Do(act)),
    }
}

/// The session behind a token, alive now; or why not.
pub(crate) fn live<'a>(
    cx: &Cx<'a, '_>,
    key: SessionKey,
    token: impl FnOnce() -> Secret,
) -> Stage<'a, Result<Session<'a>, FactError>> {
    match cx.facts.session(key) {
        Known::Fresh(session) if session.max_end > cx.now.wall.0 => Ok(Ok(session)),
        Known::Fresh(_) => Ok(Err(FactError::Dead)),
        Known::Failed(error, _) => Ok(Err(error)),
        Known::Stale(..) | Known::Missing => Err(ask(Ask::Session {
            key,
            token: token(),
        })),
    }
}

/// Rule L5: a person's session, of a realm that this instance names, or of the one whose policies count
/// for this path.
pub(crate) fn acceptable(cx: &Cx<'_, '_>, session: &Session<'_>) -> Option<Code> {
    if session.kind != SessionKind::User {
        return Some(Code::DeniedNotUser);
    }
    let is_its = |realm: &str| realm.eq_ignore_ascii_case(session.realm);
    let named =
        cx.snap.login_realms.iter().any(|realm| is_its(realm)) || cx.plan.realm.is_some_and(is_its);
    (!named).then_some(Code::DeniedRealm)
}

/// Clears the cookies that sessions are read from: ours, and AM's where it counts, as far as they
/// live on this host or in the configured domains.
pub(crate) fn clear_session_cookies(cx: &Cx<'_, '_>) -> ResponseHeaders {
    let mut headers = clear_own_cookie(cx);
    let config = &cx.snap.config;
    if config.accept_sso_token && !config.cookie_name.is_empty() {
        headers.extend(clear(cx, &config.cookie_name));
    }
    headers
}

/// Clears our session cookie alone, and what cookies say of its user.
pub(crate) fn clear_own_cookie(cx: &Cx<'_, '_>) -> ResponseHeaders {
    let mut headers: ResponseHeaders = clear(cx, &cx.snap.config.jwt_name).collect();
    headers.extend(attribute_cookies::clear(cx));
    headers
}

fn clear<'c>(
    cx: &Cx<'c, '_>,
    name: &'c str,
) -> impl Iterator<Item = (Cow<'static, str>, Vec<u8>)> + 'c {
    let config = &cx.snap.config;
    let secure = config.cookie_secure || cx.https();
    let domains = config.cookie_domain.iter().map(|d| Some(d.as_str()));
    core::iter::once(None)
        .chain(domains)
        .filter_map(move |domain| {
            let cookie = cookie::SetCookie::clear(name)
                .domain(domain)
                .secure(secure)
                .http_only(config.cookie_httponly);
            Some((Cow::Borrowed("Set-Cookie"), cookie.to_bytes()?))
        })
}
