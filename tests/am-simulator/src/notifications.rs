//! `/notifications`: who may open the WebSocket. Notifications themselves are not simulated yet: an agent that may
//! open it is told so with a 501.

use crate::http::{Reply, Req};
use crate::rest::presented;
use crate::session::Kind;
use crate::state::Am;

/// Answers a handshake. The token counts in the header only, and `Host` is not looked at.
pub(crate) fn answer(am: &Am, req: &Req) -> Reply {
    let upgrade = req.header("upgrade").unwrap_or_default();
    let token = req.header(&am.config.cookie_name);
    match token.and_then(|t| presented(am, req, "header", t)) {
        None => Reply::empty(401),
        Some(s) if s.kind != Kind::Application => Reply::empty(403),
        Some(_) if !upgrade.eq_ignore_ascii_case("websocket") => Reply::container_page(
            404,
            "The requested resource [/openam/notifications] is not available",
        ),
        Some(_) => Reply::text(
            501,
            "text/plain;charset=UTF-8",
            "notifications are not simulated yet",
        ),
    }
}
