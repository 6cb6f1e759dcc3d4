//! Ends the session when a logout URL is asked for, or another URL with the parameter of logouts.

use super::{
    Cx, Stage, allow,
    fail_closed::{Fact, refuse_for},
    refuse, reset, respond, session,
};
use crate::{
    contract::{Act, Decision, Edits, Known, Need, Receipt, UnixMillis, Why},
    event::Code,
    login, page,
    record::Session,
    url::{Parts, has_parameter},
};

/// The stage: decided when the request is a logout.
pub(super) fn logout<'a>(cx: &Cx<'a, '_>) -> Stage<'a, Option<Decision<'a>>> {
    let by_url = by_url(cx);
    if !by_url && !by_parameter(cx) {
        return Ok(None);
    }
    if cross_site_fetch(cx) {
        // A parameter makes no page one that everybody may see.
        return Ok(by_url.then(|| allow(cx, Why::LogoutPage, Code::NotEnforced, Edits::default())));
    }
    let config = &cx.snap.config;
    let presented = session::presented(cx);
    // AM may not be asked for this: what is known of the session is enough.
    let known = match &presented {
        session::Presented::Token(token) => match cx.facts.session(token.key) {
            Known::Fresh(session) | Known::Stale(session, _) => Some(session),
            _ => None,
        },
        _ => None,
    };
    if config.logout_session_invalidate
        && let session::Presented::Token(token) = presented
        && let Some(refused) = end(cx, &token, known)?
    {
        return Ok(Some(refused));
    }
    // Where the page ends the session itself it needs AM's cookie for that.
    let mut response = match config.logout_session_invalidate {
        true => session::clear_session_cookies(cx),
        false => session::clear_own_cookie(cx),
    };
    response.extend(reset::on_logout(cx));
    response.extend(login::forget_rounds(cx));
    if config.logout_redirect_disable && by_url {
        let edits = Edits {
            response,
            ..Edits::default()
        };
        return Ok(Some(allow(cx, Why::LogoutPage, Code::LogoutPage, edits)));
    }
    let realm = known.map(|session| session.realm);
    let mut redirect = page::redirect(login::logout_address(cx, realm));
    redirect.headers.extend(response);
    Ok(Some(respond(
        cx.facts,
        Code::LoggedOut,
        redirect,
        None,
        "".into(),
    )))
}

/// Ends the session of a token; the refusal when that could not be done.
fn end<'a>(
    cx: &Cx<'a, '_>,
    token: &session::Token<'_>,
    known: Option<Session<'_>>,
) -> Stage<'a, Option<Decision<'a>>> {
    // Anybody can make up AM's cookie (rule L9).
    if token.is_ams() && matches!(cx.facts.session(token.key), Known::Missing) {
        if let Some(decision) = login::too_many_dead(cx) {
            return Ok(Some(decision));
        }
        login::count_dead(cx, token.key.0)?;
    }
    let act = Act::EndSession {
        key: token.key,
        token: token.secret(cx),
        // What is known of the session's end bounds how long the token must be remembered.
        expires: known.map_or_else(|| token.max_end(cx), |session| UnixMillis(session.max_end)),
    };
    match cx.facts.receipt(&act) {
        Known::Fresh(Receipt::Done | Receipt::Replayed) => Ok(None),
        Known::Fresh(_) => Ok(Some(refuse(cx.facts, Code::Internal, 503, None, "".into()))),
        Known::Failed(error, _) => {
            // A token that is dead already is not logged in anywhere: it was never asked about.
            match refuse_for(cx, Fact::EndedSession, error) {
                Some(refused) => Ok(Some(refused)),
                None => login::start(cx, Code::LoggedOut).map(Some),
            }
        }
        Known::Stale(..) | Known::Missing => Err(Need::Do(act)),
    }
}

/// Whether the request asks for a logout.
pub(super) fn is_logout(cx: &Cx<'_, '_>) -> bool {
    by_url(cx) || by_parameter(cx)
}

/// Whether the URL is one that ends sessions.
fn by_url(cx: &Cx<'_, '_>) -> bool {
    let rules = &cx.snap.logout;
    rules.find(&Parts::of(cx.url), |_| true).is_some()
}

/// Whether the query has the parameter that ends sessions (`portcullis.logout.parameter`).
fn by_parameter(cx: &Cx<'_, '_>) -> bool {
    let name = cx.snap.config.logout_parameter.as_deref();
    name.is_some_and(|name| has_parameter(cx.asked.query().unwrap_or_default(), name))
}

/// Rule S8: a request that another site makes and that is not a navigation ends nothing.
fn cross_site_fetch(cx: &Cx<'_, '_>) -> bool {
    let is = |name: &[u8], value: &[u8]| cx.req.values(name).any(|v| v == value);
    is(b"sec-fetch-site", b"cross-site") && !is(b"sec-fetch-mode", b"navigate")
}
