//! Who reads the answer: a person at a browser, or a program that cannot log in?
//!
//! It looks at the request alone, and must not decide whether anybody is let in.

use super::Cx;
use crate::url::{Index, Parts};

/// Where the answer is JSON, because the operator named the URL or a header
/// (`org.forgerock.agents.config.json.url`, `.header` and `.url.invert`).
pub(crate) fn is_told_json(cx: &Cx<'_, '_>) -> bool {
    let answers = &cx.snap.answers;
    if answers.json.is_empty() && cx.snap.config.json_header.is_empty() {
        return false; // nothing is listed, so inverting changes nothing
    }
    let listed = lists(&answers.json, cx) || carries(cx, &cx.snap.config.json_header);
    listed != cx.snap.config.json_invert
}

/// Where a login makes no sense: nobody sees AM's page, or it could not come back.
pub(crate) fn is_unseen(cx: &Cx<'_, '_>) -> bool {
    let config = &cx.snap.config;
    let listed =
        || lists(&cx.snap.answers.unauthorized, cx) || carries(cx, &config.unauthorized_header);
    brings_token(cx)
        || listed()
        || config.unauthorized_detect && !is_told_json(cx) && is_a_programs(cx)
}

/// Clients without cookies cannot finish a login (`portcullis.session.header`).
fn brings_token(cx: &Cx<'_, '_>) -> bool {
    let name = cx.snap.config.session_header.as_deref();
    name.is_some_and(|name| cx.req.values(name.as_bytes()).next().is_some())
}

/// Whether the request takes JSON and no page.
pub(super) fn prefers_json(cx: &Cx<'_, '_>) -> bool {
    let takes = |part: &[u8]| accepted(cx).any(|kind| contains(kind, part));
    takes(b"json") && !accepted(cx).any(is_page)
}

/// Whether a pattern is about the URL; one without `?` is, whatever the query.
fn lists(urls: &Index, cx: &Cx<'_, '_>) -> bool {
    let url = Parts::of(cx.url).with_any_query();
    !urls.is_empty() && urls.find(&url, |_| true).is_some()
}

/// Whether one of these headers has its value, compared without case.
fn carries(cx: &Cx<'_, '_>, headers: &[(alloc::string::String, alloc::string::String)]) -> bool {
    headers.iter().any(|(name, value)| {
        let mut values = cx.req.values(name.as_bytes());
        values.any(|v| v.trim_ascii().eq_ignore_ascii_case(value.as_bytes()))
    })
}

/// Requests that scripts, sockets and other programs make. A browser's own word about itself
/// (`Sec-Fetch-Mode`, which no script can set) counts before everything else.
fn is_a_programs(cx: &Cx<'_, '_>) -> bool {
    let is = |name: &[u8], value: &[u8]| {
        let mut values = cx.req.values(name);
        values.any(|v| v.trim_ascii().eq_ignore_ascii_case(value))
    };
    let has = |name: &[u8]| cx.req.values(name).next().is_some();
    if is(b"upgrade", b"websocket") {
        return true;
    }
    if has(b"sec-fetch-mode") {
        return !is(b"sec-fetch-mode", b"navigate");
    }
    let preflight = cx.req.method == b"OPTIONS" && has(b"access-control-request-method");
    // Browsers inside of applications send the application's name in X-Requested-With, for pages too.
    let script = is(b"x-requested-with", b"XMLHttpRequest");
    preflight || script || (accepted(cx).next().is_some() && !accepted(cx).any(is_page))
}

/// The types of `Accept` (RFC 9110, 12.5.1), without parameters; those with `q=0` are refused by the
/// client, not accepted.
fn accepted<'r>(cx: &Cx<'r, '_>) -> impl Iterator<Item = &'r [u8]> {
    let req = cx.req;
    let kinds = req.values(b"accept").flat_map(|v| v.split(|b| *b == b','));
    kinds.filter_map(|element| {
        let mut parts = element.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let kind = parts.next()?;
        let refused = parts.any(|p| {
            p.split_first_chunk::<2>().is_some_and(|(q, weight)| {
                q.eq_ignore_ascii_case(b"q=") && weight.iter().all(|b| b"0.".contains(b))
            })
        });
        (!kind.is_empty() && !refused).then_some(kind)
    })
}

/// Whether a type covers HTML.
fn is_page(kind: &[u8]) -> bool {
    let pages: [&[u8]; 4] = [b"text/html", b"application/xhtml+xml", b"text/*", b"*/*"];
    pages.iter().any(|page| kind.eq_ignore_ascii_case(page))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len())
        .any(|w| w.eq_ignore_ascii_case(part))
}
