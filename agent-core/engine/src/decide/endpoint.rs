//! The agent's own addresses, and what a client may not do to the headers we set.

use super::{Cx, Stage, bad_request};
use crate::{contract::Decision, event::Code, login};

/// Refuses a request whose `Connection` header names one of our headers: a proxy module of the host
/// would drop ours on the way (rule U3).
pub(super) fn connection_header<'a>(cx: &Cx<'a, '_>) -> Option<Decision<'a>> {
    let named = cx
        .req
        .values(b"connection")
        .flat_map(|value| value.split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .any(|token| cx.snap.scrub.matches(token));
    named.then(|| bad_request(cx.facts, Code::ConnectionHeader, "".into()))
}

/// The answer to a login comes here, AM's or that of a login page: an exact path, whatever the query.
pub(super) fn callback<'a>(cx: &Cx<'a, '_>) -> Stage<'a, Option<Decision<'a>>> {
    if is_ams_form(cx) {
        return login::callback(cx).map(Some);
    }
    if cx.snap.config.exchange_uri.as_deref() == Some(cx.asked.path()) {
        return login::exchange(cx).map(Some);
    }
    match is_custom_response(cx) {
        true => login::response(cx).map(Some),
        false => Ok(None),
    }
}

/// Whether answers to logins come here.
pub(super) fn is_callback(cx: &Cx<'_, '_>) -> bool {
    is_ams_form(cx) || is_custom_response(cx)
}

/// Whether AM's own answers come here.
pub(super) fn is_ams_form(cx: &Cx<'_, '_>) -> bool {
    cx.asked.path() == cx.snap.config.cdsso_redirect_uri
}

/// Whether login pages of one's own send users here (custom login mode 1).
fn is_custom_response(cx: &Cx<'_, '_>) -> bool {
    cx.snap.config.allow_custom_login == 1 && cx.asked.path() == login::RESPONSE
}
