//! Decides whether a request is exempt by a not-enforced rule. Never looks at cookies.

use super::Cx;

/// Number reported for "no listed URL matches" when the list is inverted.
const INVERTED: u32 = u32::MAX;

/// The rule that exempts the request, by its place in the list.
pub(super) fn exempt(cx: &Cx<'_, '_>) -> Option<u32> {
    let config = &cx.snap.config;
    let url = if config.notenforced_ignore_path_info {
        cx.url.without_path_info()
    } else {
        cx.url.url()
    };
    let found = cx.snap.exempt.find(cx.req.method, url);
    if !config.notenforced_invert {
        return found;
    }
    // An empty inverted list exempts nothing: everything is enforced.
    (found.is_none() && !config.notenforced_url.is_empty()).then_some(INVERTED)
}
