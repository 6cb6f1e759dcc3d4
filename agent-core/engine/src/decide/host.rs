//! Is the request at the right door? A URL that is valid at all
//! (`com.forgerock.agents.agent.invalid.url.regex`), and the host name that users shall use
//! (`com.sun.identity.agents.config.fqdn.check.enable`).

use alloc::{format, string::ToString};

use super::{Cx, refuse, respond};
use crate::{contract::Decision, event::Code, page};

/// Refuses a URL that does not look as `com.forgerock.agents.agent.invalid.url.regex` says, whoever asks.
pub(super) fn invalid<'a>(cx: &Cx<'a, '_>) -> Option<Decision<'a>> {
    let valid = cx.snap.valid_url.as_ref()?;
    let refused = !valid.is_match(cx.asked.url().as_bytes());
    refused.then(|| refuse(cx.facts, Code::DeniedUrl, 403, None, "".into()))
}

/// Sends users of another host name to the right one. What is not a plain look-up is refused: its
/// body would be lost on the way, or carried to another host.
pub(super) fn host<'a>(cx: &Cx<'a, '_>) -> Option<Decision<'a>> {
    let (scheme, port) = (cx.asked.scheme(), cx.asked.port());
    let target = cx.snap.host_check.as_ref()?.elsewhere(cx.asked.host())?;
    if !matches!(cx.req.method, b"GET" | b"HEAD") {
        let host = cx.asked.host().to_string();
        return Some(refuse(
            cx.facts,
            Code::DeniedHostName,
            403,
            None,
            host.into(),
        ));
    }
    let rest = &cx.asked.url()[cx.asked.origin().len()..];
    let response = page::redirect(format!("{scheme}://{target}:{port}{rest}"));
    Some(respond(
        cx.facts,
        Code::OtherHostName,
        response,
        None,
        "".into(),
    ))
}
