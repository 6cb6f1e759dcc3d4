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

/// AM's answer to a login comes here: an exact path, whatever the query.
pub(super) fn callback<'a>(cx: &Cx<'a, '_>) -> Stage<'a, Option<Decision<'a>>> {
    match is_callback(cx) {
        true => login::callback(cx).map(Some),
        false => Ok(None),
    }
}

/// Whether AM's answers to logins come here.
pub(super) fn is_callback(cx: &Cx<'_, '_>) -> bool {
    cx.asked.path() == cx.snap.config.cdsso_redirect_uri
}
