//! A client that has a session at AM already gets the agent's cookie for it
//! (`portcullis.authn.exchange.uri`, off by default).
//!
//! It gives nobody a session who has none: AM is asked whose token it is, as about every other. A page of
//! another site cannot have a browser do it, and what a client may try is limited (rule L9).

use alloc::borrow::Cow;

use super::{
    callback,
    limits::{self, Tried},
};
use crate::{
    contract::{Decision, Response},
    decide::{
        Cx, Fact, Presented, Stage, acceptable, detail, in_cookie, in_header, is_own_site, refuse,
        refuse_for, respond,
    },
    event::Code,
    page,
};

/// Decides a request to the endpoint. On its own, as the callback.
#[cold]
#[inline(never)]
pub(crate) fn exchange<'a>(cx: &Cx<'a, '_>) -> Stage<'a, Decision<'a>> {
    let no = |code, status, why: Cow<'static, str>| Ok(refuse(cx.facts, code, status, None, why));
    if cx.req.method != b"POST" {
        return no(Code::ExchangeRefused, 400, "method".into());
    }
    if !is_own_site(cx) {
        return no(Code::ExchangeRefused, 403, "site".into());
    }
    let config = &cx.snap.config;
    let cookie = match config.exchange_cookie.as_str() {
        "" => &config.cookie_name,
        name => name,
    };
    let found = in_header(cx).unwrap_or_else(|| in_cookie(cx, cookie));
    let token = match found {
        Presented::Token(token) => token,
        Presented::None(code) => return Ok(super::unauthorized(cx, code)),
    };
    let secret = token.secret(cx);
    let session = match limits::tried(cx, token.key, || secret.clone())? {
        Tried::TooMany(decision) => return Ok(*decision),
        Tried::Said(Ok(session)) => session,
        Tried::Said(Err(error)) => {
            let refused = refuse_for(cx, Fact::Session, error);
            return Ok(refused.unwrap_or_else(|| super::unauthorized(cx, Code::LoginSessionDead)));
        }
    };
    if let Some(code) = acceptable(cx, &session) {
        let realm = detail(session.realm);
        return Ok(refuse(cx.facts, code, 403, Some(session), realm));
    }
    let Some(cookies) = callback::session_cookies(cx, &session, &secret) else {
        return no(Code::LoginCookieTooLarge, 403, "".into());
    };
    let mut headers = cookies;
    headers.push(page::no_store());
    let response = Response {
        status: 204,
        headers,
        body: Default::default(),
    };
    let mut decision = respond(
        cx.facts,
        Code::LoginExchanged,
        response,
        Some(session),
        "".into(),
    );
    decision.basis.session = Some(token.key);
    Ok(decision)
}
