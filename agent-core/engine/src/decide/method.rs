//! Which methods will an application see in this request? Its own, and those that frameworks take in its
//! place: whoever may POST must not DELETE by saying so in a header (`portcullis.method.override`).
//!
//! Only what is in the head of a request is looked at; a `_method` in a form is the application's own.

use arrayvec::ArrayVec;

use super::Cx;
use crate::config::Methods;

/// Headers in which a POST names another method.
const HEADERS: [&[u8]; 3] = [
    b"X-HTTP-Method-Override",
    b"X-HTTP-Method",
    b"X-Method-Override",
];
/// The parameter in which it does.
const PARAMETER: &[u8] = b"_method";
/// Longest name; a longer one is none that anybody allows.
const MAX_NAME: usize = 32;

/// A method's name as frameworks read it: in capital letters, without blanks around.
type Name = ArrayVec<u8, MAX_NAME>;

/// Whether the request may name others at all; most can't, and nobody has to look at their headers.
fn may_name_others(cx: &Cx<'_, '_>) -> bool {
    cx.req.method == b"POST" && cx.snap.config.method_override_checked
}

/// Whether something holds for each method that the request names beside its own.
pub(super) fn all_others(cx: &Cx<'_, '_>, mut holds: impl FnMut(&[u8]) -> bool) -> bool {
    !may_name_others(cx) || others(cx).all(|name| holds(&name))
}

/// The methods that the request names beside its own.
pub(super) fn others<'a>(cx: &Cx<'a, '_>) -> impl Iterator<Item = Name> + 'a {
    let req = cx.req;
    let looked_at = may_name_others(cx);
    let fields = req.headers.iter().filter(move |_| looked_at);
    let headers = fields
        .filter(|h| HEADERS.iter().any(|name| name.eq_ignore_ascii_case(h.name)))
        .map(|h| h.value);
    let query = memchr::memchr(b'?', req.target).filter(|_| looked_at);
    let query = query.map_or(&b""[..], |at| &req.target[at + 1..]);
    let parameters = query.split(|b| *b == b'&').filter_map(|pair| {
        let mut parts = pair.splitn(2, |b| *b == b'=');
        let name = parts.next()?;
        let value = parts.next()?;
        percent_encoding::percent_decode(name)
            .eq(PARAMETER.iter().copied())
            .then_some(value)
    });
    headers.chain(parameters).flat_map(names)
}

/// The names in one value; some proxies have put several lines into one. Nothing is no name.
fn names(value: &[u8]) -> impl Iterator<Item = Name> {
    let parts = value.split(|b| *b == b',').map(<[u8]>::trim_ascii);
    parts.filter(|part| !part.is_empty()).map(|part| {
        let mut decoded = percent_encoding::percent_decode(part);
        let mut name = Name::new();
        if decoded.any(|b| name.try_push(b.to_ascii_uppercase()).is_err()) {
            name.clear(); // which is no method
        }
        name
    })
}

/// All methods that rules have to agree to.
pub(super) fn all(cx: &Cx<'_, '_>) -> Methods {
    let own = Methods::of_request(cx.req.method);
    if !may_name_others(cx) {
        return own;
    }
    others(cx).fold(own, |all, other| all.and(Methods::of_request(&other)))
}
