//! Decides whether a request is exempt by a not-enforced rule. Never looks at cookies.

use alloc::vec::Vec;

use super::Cx;

/// Number reported for "no listed URL matches" when the list is inverted.
const INVERTED: u32 = u32::MAX;

/// The rule that exempts the request, by its place in the list.
pub(super) fn exempt(cx: &Cx<'_, '_>) -> Option<u32> {
    let config = &cx.snap.config;
    let found = cx.snap.exempt.find(cx.req.method, compared(cx));
    if !config.notenforced_invert {
        return found;
    }
    // An empty inverted list exempts nothing: everything is enforced.
    (found.is_none() && !config.notenforced_url.is_empty()).then_some(INVERTED)
}

/// Of each rule, whether it matches; for `explain`.
pub(super) fn each(cx: &Cx<'_, '_>) -> Vec<bool> {
    let rules = &cx.snap.exempt;
    (0..rules.len())
        .map(|rule| rules.rule_matches(rule, cx.req.method, compared(cx)))
        .collect()
}

/// What the rules are compared with.
fn compared<'u>(cx: &Cx<'u, 'u>) -> &'u str {
    match cx.snap.config.notenforced_ignore_path_info {
        true => cx.url.without_path_info(),
        false => cx.url.url(),
    }
}
