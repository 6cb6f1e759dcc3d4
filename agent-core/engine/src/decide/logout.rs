//! Ends the session when a logout URL is asked for.

use super::{
    Cx, Stage, allow,
    fail_closed::{Fact, refuse_for},
    respond, session,
};
use crate::{
    contract::{Act, Decision, Edits, Known, Need, Receipt, UnixMillis, Why},
    event::Code,
    login, page,
    url::Parts,
};

/// The stage: decided when the URL is a logout URL.
pub(super) fn logout<'a>(cx: &Cx<'a, '_>) -> Stage<'a, Option<Decision<'a>>> {
    if !is_logout(cx) {
        return Ok(None);
    }
    if cross_site_fetch(cx) {
        return Ok(Some(allow(
            cx,
            Why::LogoutPage,
            Code::NotEnforced,
            Edits::default(),
        )));
    }
    let config = &cx.snap.config;
    if config.logout_session_invalidate
        && let session::Presented::Token(token) = session::presented(cx)
    {
        let key = token.key;
        // What is known of the session's end bounds how long the token must be remembered.
        let expires = match cx.facts.session(key) {
            Known::Fresh(s) | Known::Stale(s, _) => UnixMillis(s.max_end),
            _ => UnixMillis(0),
        };
        let act = Act::EndSession {
            key,
            token: token.secret(cx),
            expires,
        };
        match cx.facts.receipt(&act) {
            Known::Fresh(Receipt::Done | Receipt::Replayed) => {}
            Known::Failed(error, _) => {
                // A token that is dead already is not logged in anywhere: it was never asked about.
                let refused = refuse_for(cx, Fact::EndedSession, error);
                return Ok(Some(
                    refused.unwrap_or_else(|| login::start(cx, Code::LoggedOut)),
                ));
            }
            Known::Stale(..) | Known::Missing => return Err(Need::Do(act)),
        }
    }
    // Where the page ends the session itself it needs AM's cookie for that.
    let response = match config.logout_session_invalidate {
        true => session::clear_session_cookies(cx),
        false => session::clear_own_cookie(cx),
    };
    if config.logout_redirect_disable {
        let edits = Edits {
            response,
            ..Edits::default()
        };
        return Ok(Some(allow(cx, Why::LogoutPage, Code::LogoutPage, edits)));
    }
    let mut redirect = page::redirect(login::logout_address(cx));
    redirect.headers.extend(response);
    Ok(Some(respond(
        cx.facts,
        Code::LoggedOut,
        redirect,
        None,
        "".into(),
    )))
}

/// Whether the URL ends sessions.
pub(super) fn is_logout(cx: &Cx<'_, '_>) -> bool {
    let rules = &cx.snap.logout;
    rules.find(&Parts::of(cx.url), |_| true).is_some()
}

/// Rule S8: a request that another site makes and that is not a navigation ends nothing.
fn cross_site_fetch(cx: &Cx<'_, '_>) -> bool {
    let is = |name: &[u8], value: &[u8]| cx.req.values(name).any(|v| v == value);
    is(b"sec-fetch-site", b"cross-site") && !is(b"sec-fetch-mode", b"navigate")
}
