//! The way back: AM's form is checked against the login this browser began, and becomes a cookie.
//!
//! Every failure is terminal (a page with an incident id), never a redirect that could loop; only a
//! login that took too long starts again (rule L2).

use alloc::{
    borrow::Cow,
    boxed::Box,
    string::{String, ToString},
    vec::Vec,
};

use percent_encoding::percent_decode;

use super::{authorize, fragment, id_token, rounds};
use crate::{
    am::a::{
        self,
        lares::{Lares, LaresError},
    },
    contract::{Act, Ask, Decision, Known, Need, Receipt, UnixMillis},
    decide::{
        Cx, Fact, Failure, ResponseHeaders, Stage, acceptable, ask, cookie_scope, detail,
        fail_closed, hand_on, key_of, live, refuse, refuse_for, respond,
    },
    event::Code,
    page,
    record::Session,
    token::{
        Secret,
        authn_tx::{self, Pending, PendingList},
        cookie::SetCookie,
        rounds::Last,
    },
    url::ReturnUrl,
};

/// Longest form that is read.
const MAX_FORM: u64 = 64 * 1024;
/// Longest `Set-Cookie` a browser is sure to keep (RFC 6265, 6.1).
const MAX_SET_COOKIE: usize = 4096;

/// A refusal: code, status, more for the log.
pub(super) struct Refusal(
    pub(super) Code,
    pub(super) u16,
    pub(super) Cow<'static, str>,
);

impl Refusal {
    pub(super) fn of(code: Code) -> Refusal {
        Refusal(code, 403, "".into())
    }
}

/// AM's form.
struct Form {
    answer: Answer,
    state: String,
}

/// What AM says of the login.
enum Answer {
    IdToken(Secret),
    /// Of `/cdcservlet`.
    Lares(Lares),
}

/// The login this answer belongs to, and the cookie that remembered it.
pub(super) struct Begun {
    pub(super) pending: Pending,
    cookie: String,
    rest: PendingList,
}

/// Decides a request to the callback address.
#[cold]
#[inline(never)]
pub(crate) fn callback<'a>(cx: &Cx<'a, '_>) -> Stage<'a, Decision<'a>> {
    if let Err(refusal) = origin_and_method(cx) {
        return Ok(refused(cx, refusal));
    }
    let bytes = match cx.facts.form() {
        Known::Fresh(bytes) => bytes,
        Known::Failed(..) => return Ok(refuse(cx.facts, Code::BodyTooLarge, 413, None, "".into())),
        Known::Stale(..) | Known::Missing => return Err(ask(Ask::Form { limit: MAX_FORM })),
    };
    let form = match cx.snap.config.login_cdcservlet {
        true => lares(bytes),
        false => form(bytes),
    };
    let begun_and_form = form.and_then(|form| Ok((begun(cx, &form.state)?, form)));
    let (begun, form) = match begun_and_form {
        Ok(both) => both,
        Err(refusal) => return Ok(refused(cx, refusal)),
    };
    if begun.pending.expires <= cx.now.wall {
        return Ok(restart(cx, &begun));
    }
    match token(cx, &form, &begun.pending)? {
        Ok(token) => finish(cx, begun, token),
        Err(decision) => Ok(*decision),
    }
}

pub(super) fn refused<'a>(cx: &Cx<'a, '_>, Refusal(code, status, detail): Refusal) -> Decision<'a> {
    refuse(cx.facts, code, status, None, detail)
}

/// Rule L2: a form POST, from AM when the browser says from where.
fn origin_and_method(cx: &Cx<'_, '_>) -> Result<(), Refusal> {
    if cx.req.method != b"POST" {
        return Err(
            match error_parameter(cx.asked.query().unwrap_or("").as_bytes()) {
                Some(error) => Refusal(Code::CallbackAmError, 403, detail(error)),
                None => Refusal(Code::CallbackNotPost, 400, "".into()),
            },
        );
    }
    let mut types = cx.req.values(b"content-type");
    let form_encoded = types.next().is_some_and(|t| {
        let essence = t
            .split(|b| *b == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    });
    if !form_encoded || types.next().is_some() {
        return Err(Refusal(Code::CallbackForm, 400, "Content-Type".into()));
    }
    let mut origins = cx.req.values(b"origin");
    match (origins.next(), origins.next()) {
        (None, _) => Ok(()),
        (Some(b"null"), None) if cx.snap.config.callback_null_origin => Ok(()),
        (Some(origin), None) if is_am(cx, origin) => Ok(()),
        _ => Err(Refusal::of(Code::CallbackOrigin)),
    }
}

/// An origin leaves a default port out; the configured addresses are compared likewise.
fn is_am(cx: &Cx<'_, '_>, origin: &[u8]) -> bool {
    cx.snap
        .am_origins
        .iter()
        .any(|known| known.as_bytes() == origin)
}

/// AM's `error` parameter, only as far as it is a plain word (RFC 6749, 4.1.2.1).
fn error_parameter(bytes: &[u8]) -> Option<String> {
    let value = fields(bytes)
        .find(|(name, _)| name == "error")
        .map(|(_, value)| value)?;
    let plain = value.len() <= 64
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_');
    plain.then_some(value)
}

/// The fields of a form; a field that is not UTF-8 becomes an empty name, which nobody looks for.
pub(super) fn fields(bytes: &[u8]) -> impl Iterator<Item = (String, String)> {
    bytes
        .split(|b| *b == b'&')
        .filter(|field| !field.is_empty())
        .map(|field| {
            let mut halves = field.splitn(2, |b| *b == b'=');
            let mut text = || {
                let plus: Vec<u8> = halves
                    .next()
                    .unwrap_or_default()
                    .iter()
                    .map(|b| if *b == b'+' { b' ' } else { *b })
                    .collect();
                percent_decode(&plus)
                    .decode_utf8()
                    .map(|s| s.to_string())
                    .unwrap_or_default()
            };
            (text(), text())
        })
}

fn form(bytes: &[u8]) -> Result<Form, Refusal> {
    if let Some(error) = error_parameter(bytes) {
        return Err(Refusal(Code::CallbackAmError, 403, detail(error)));
    }
    let (mut id_token, mut state) = (None, None);
    for (name, value) in fields(bytes) {
        let slot = match name.as_str() {
            "id_token" => &mut id_token,
            "state" => &mut state,
            _ => continue, // `scope` and whatever a later AM adds
        };
        if slot.replace(value).is_some() {
            return Err(Refusal(
                Code::CallbackForm,
                400,
                detail("a field occurs twice"),
            ));
        }
    }
    match (id_token, state) {
        (Some(token), Some(state)) => Ok(Form {
            answer: Answer::IdToken(Secret::new(token.into_bytes())),
            state,
        }),
        _ => Err(Refusal(
            Code::CallbackForm,
            400,
            detail("a field is missing"),
        )),
    }
}

/// The form of `/cdcservlet`: one field, in which the request is named that it answers.
fn lares(bytes: &[u8]) -> Result<Form, Refusal> {
    let mut named = fields(bytes).filter(|(name, _)| name == "LARES");
    let (Some((_, field)), None) = (named.next(), named.next()) else {
        return Err(Refusal(Code::CallbackForm, 400, detail("LARES")));
    };
    let field = Secret::new(field.into_bytes());
    let lares = a::lares::read(field.expose()).map_err(refusal_of_lares)?;
    Ok(Form {
        state: lares.request.clone(),
        answer: Answer::Lares(lares),
    })
}

fn refusal_of_lares(error: LaresError) -> Refusal {
    Refusal::of(match error {
        LaresError::Malformed => Code::LaresMalformed,
        LaresError::Status => Code::LaresStatus,
        LaresError::Audience => Code::LaresAudience,
        LaresError::Issuer => Code::LaresIssuer,
        LaresError::Time => Code::LaresTime,
    })
}

/// The login this browser began with this state.
pub(super) fn begun(cx: &Cx<'_, '_>, state: &str) -> Result<Begun, Refusal> {
    let Some(wanted) = authn_tx::parse(state) else {
        return Err(Refusal(Code::CallbackForm, 400, detail("state")));
    };
    let multi = cx.snap.config.multivalue_pre_authn;
    let cookie = authorize::cookie_name(cx, (!multi).then_some(state));
    let missing = || {
        Refusal(
            Code::CallbackNoCookie,
            403,
            authorize::why_unreadable(cx, &cookie).into(),
        )
    };
    let mut rest = authorize::read(cx, &cookie).ok_or_else(missing)?;
    let pending = rest.take(&wanted).ok_or(Refusal::of(Code::CallbackState))?;
    Ok(Begun {
        pending,
        cookie,
        rest,
    })
}

/// An expired state with a valid cookie: back to the page asked for, where a new login begins.
pub(super) fn restart<'a>(cx: &Cx<'a, '_>, begun: &Begun) -> Decision<'a> {
    back(cx, Code::LoginRestarted, begun, ResponseHeaders::new())
}

fn back<'a>(cx: &Cx<'a, '_>, code: Code, begun: &Begun, cookies: ResponseHeaders) -> Decision<'a> {
    let Ok(target) = ReturnUrl::parse(&begun.pending.url, &cx.snap.allowed_hosts) else {
        return refuse(cx.facts, Code::DeniedHost, 403, None, "".into());
    };
    let fragment = cx.snap.config.fragment_redirect && begun.pending.post.is_none();
    let mut response = match fragment {
        true => fragment::arrive(target.as_str()),
        false => page::redirect(target.as_str().to_string()),
    };
    response.headers.extend(cookies);
    let last = match code {
        Code::LoginRestarted => Last::TooSlow,
        _ => Last::Finished,
    };
    let counter = rounds::sent_back(cx, target.as_str(), last);
    response.headers.extend(counter);
    response
        .headers
        .extend(authorize::write(cx, &begun.cookie, &begun.rest));
    respond(cx.facts, code, response, None, "".into())
}

/// Back to the page, and to the POST that waits there, if this user may send it (rule P2).
fn done<'a>(
    cx: &Cx<'a, '_>,
    begun: &Begun,
    user: &Session<'_>,
    mut cookies: ResponseHeaders,
) -> Decision<'a> {
    let mut code = Code::LoginDone;
    if let Some(post) = &begun.pending.post {
        match hand_on(cx, post, &begun.pending.url, user) {
            Some(cookie) => cookies.extend(cookie),
            None => code = Code::PostOtherUser,
        }
    }
    back(cx, code, begun, cookies)
}

/// Checks AM's answer; what it gives is the session token in it, nothing else (rules L1 and L6).
fn token<'a>(
    cx: &Cx<'a, '_>,
    form: &Form,
    pending: &Pending,
) -> Stage<'a, Result<Secret, Box<Decision<'a>>>> {
    let lares = match &form.answer {
        Answer::IdToken(token) => return id_token::check(cx, token, pending),
        Answer::Lares(lares) => lares,
    };
    let expect = a::lares::Expect {
        audience: &authorize::provider_id(cx),
        issuers: &cx.snap.servlets,
    };
    let checked = lares.check(&expect, cx.now.wall);
    let refusal = |error| Box::new(refused(cx, refusal_of_lares(error)));
    Ok(checked.map(|()| lares.token.clone()).map_err(refusal))
}

/// The last checks, which need AM and the shared set of used states; then the cookie.
pub(super) fn finish<'a>(cx: &Cx<'a, '_>, begun: Begun, token: Secret) -> Stage<'a, Decision<'a>> {
    let key = key_of(cx, token.expose());
    let session = match live(cx, key, || token.clone())? {
        Ok(session) => session,
        Err(error) => {
            let refusal = refuse_for(cx, Fact::NewSession, error);
            let dead = || refused(cx, Refusal::of(Code::LoginDeadSession));
            return Ok(refusal.unwrap_or_else(dead));
        }
    };
    if let Some(code) = acceptable(cx, &session) {
        let realm = detail(session.realm);
        return Ok(refuse(cx.facts, code, 403, Some(session), realm));
    }
    let Some(cookies) = session_cookies(cx, &session, &token) else {
        return Ok(refused(cx, Refusal::of(Code::LoginCookieTooLarge)));
    };
    let act = Act::SpendState {
        key: cx.snap.state_key(&begun.pending.state),
        expires: begun.pending.expires,
    };
    let strategy = cx.snap.config.strategy;
    match cx.facts.receipt(&act) {
        Known::Fresh(Receipt::Done) => {
            let mut decision = done(cx, &begun, &session, cookies);
            decision.basis.session = Some(key);
            Ok(decision)
        }
        Known::Fresh(_) => Ok(refused(cx, Refusal::of(Code::CallbackReplayed))),
        Known::Failed(error, _) => Ok(match fail_closed(Fact::SpentState, error, strategy) {
            Failure::Login => refused(cx, Refusal::of(Code::LoginStateStore)),
            Failure::Refuse(status, code) => refused(cx, Refusal(code, status, "".into())),
        }),
        Known::Stale(..) | Known::Missing => Err(Need::Do(act)),
    }
}

/// The session cookies, sealed for this instance and host; `None` when a browser would drop them.
pub(super) fn session_cookies(
    cx: &Cx<'_, '_>,
    session: &Session<'_>,
    token: &Secret,
) -> Option<ResponseHeaders> {
    let config = &cx.snap.config;
    let nonce = authorize::seal_nonce(cx.facts, b"session");
    let sealed = cx.snap.keys.session_cookie.seal(
        &cx.snap.identity,
        cookie_scope(cx),
        UnixMillis(session.max_end),
        token.expose(),
        nonce,
    );
    let domains: Vec<Option<&str>> = match config.cookie_domain.is_empty() {
        true => alloc::vec![None],
        false => config
            .cookie_domain
            .iter()
            .map(|d| Some(d.as_str()))
            .collect(),
    };
    domains
        .into_iter()
        .map(|domain| {
            let mut cookie = SetCookie::new(&config.jwt_name, &sealed);
            if config.persistent_cookie {
                cookie = cookie.max_age(session.max_end.saturating_sub(cx.now.wall.0) / 1000);
            }
            let value = cookie
                .domain(domain)
                .secure(config.cookie_secure || cx.https())
                .http_only(config.cookie_httponly)
                .same_site(config.cookie_samesite.as_deref())
                .to_bytes()?;
            (value.len() <= MAX_SET_COOKIE).then_some(("Set-Cookie".into(), value))
        })
        .collect()
}
