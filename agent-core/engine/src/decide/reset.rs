//! Clears cookies of others as configured, on the way to a login and at a logout. It never looks
//! whether the browser has them: it may have one that it does not send here.

use alloc::borrow::Cow;

use super::{Cx, ResponseHeaders};
use crate::{config::CookieReset, token::cookie::SetCookie};

/// What a redirect to a login takes back (`com.sun.identity.agents.config.cookie.reset`).
pub(crate) fn on_login(cx: &Cx<'_, '_>) -> ResponseHeaders {
    match cx.snap.config.cookie_reset_enable {
        true => headers(cx, &cx.snap.config.cookie_reset),
        false => ResponseHeaders::new(),
    }
}

/// What a logout takes back (`com.sun.identity.agents.config.logout.cookie.reset`).
pub(super) fn on_logout(cx: &Cx<'_, '_>) -> ResponseHeaders {
    headers(cx, &cx.snap.config.logout_cookie_reset)
}

/// An entry without a domain means the host's own cookie, and one that the default host set for its
/// name: nobody can tell by the name which of them there is.
fn headers(cx: &Cx<'_, '_>, list: &[CookieReset]) -> ResponseHeaders {
    let config = &cx.snap.config;
    let secure = config.cookie_secure || cx.https();
    let default = config.fqdn_default.as_deref();
    let default = default.filter(|host| host.eq_ignore_ascii_case(cx.asked.host()));
    let mut out = ResponseHeaders::new();
    for reset in list {
        let named = reset.domain.as_deref();
        let also = default.filter(|_| named.is_none());
        for domain in core::iter::once(named).chain(also.map(Some)) {
            let cookie = SetCookie::clear(&reset.name)
                .domain(domain)
                .path(&reset.path)
                .secure(secure)
                .http_only(config.cookie_httponly);
            out.extend(
                cookie
                    .to_bytes()
                    .map(|value| (Cow::Borrowed("Set-Cookie"), value)),
            );
        }
    }
    out
}
