//! A client that has a session at AM already gets the agent's cookie for it
//! (`portcullis.authn.exchange.uri`, off by default).
//!
//! It gives nobody a session who has none: AM is asked whose token it is, as about every other. A page of
//! another site cannot have a browser do it, and what a client may try is limited (rule L9).

use super::{callback, limits};
use crate::{
    contract::{Decision, FactError, Known, Response},
    decide::{
        Cx, Fact, Presented, Stage, acceptable, detail, in_cookie, in_header, is_own_site, live,
        refuse, refuse_for, respond,
    },
    event::Code,
    page,
};

/// Decides a request to the endpoint. On its own, as the callback.
#[cold]
#[inline(never)]
pub(crate) fn exchange<'a>(cx: &Cx<'a, '_>) -> Stage<'a, Decision<'a>> {
    if cx.req.method != b"POST" {
        return Ok(refuse(
            cx.facts,
            Code::ExchangeRefused,
            400,
            None,
            "method".into(),
        ));
    }
    if !is_own_site(cx) {
        return Ok(refuse(
            cx.facts,
            Code::ExchangeRefused,
            403,
            None,
            "site".into(),
        ));
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
    let unknown = matches!(cx.facts.session(token.key), Known::Missing);
    if unknown && let Some(decision) = limits::too_many_dead(cx) {
        return Ok(decision);
    }
    let secret = token.secret(cx);
    let session = match live(cx, token.key, || secret.clone())? {
        Ok(session) => session,
        Err(error) => {
            if matches!(error, FactError::Dead) {
                limits::count_dead(cx, token.key.0)?;
            }
            let refused = refuse_for(cx, Fact::Session, error);
            return Ok(refused.unwrap_or_else(|| super::unauthorized(cx, Code::LoginSessionDead)));
        }
    };
    if let Some(code) = acceptable(cx, &session) {
        let realm = detail(session.realm);
        return Ok(refuse(cx.facts, code, 403, Some(session), realm));
    }
    let Some(cookies) = callback::session_cookies(cx, &session, &secret) else {
        return Ok(refuse(
            cx.facts,
            Code::LoginCookieTooLarge,
            403,
            None,
            "".into(),
        ));
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
