//! Cookies of a request and of a response. Knows how they are written, never what they mean.
//!
//! Pairs end at `;` and at `,`: a host that merges two `Cookie` fields puts a comma between them
//! (httpd on HTTP/1), and no cookie of ours has either inside. One pair of quotes around a value is
//! taken off; quotes do not protect a separator, as they do not in browsers.

use alloc::vec::Vec;

use memchr::{memchr, memchr2};

/// What a request says about one cookie name (rule L4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum One<'a> {
    /// Nothing.
    None,
    /// One value, perhaps more than once.
    One(&'a [u8]),
    /// Different values: none of them counts.
    Conflicting,
}

/// The stretches between separators of one field, with where they begin.
struct Segments<'a> {
    field: &'a [u8],
    next: Option<usize>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = (usize, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<(usize, &'a [u8])> {
        let start = self.next?;
        let rest = &self.field[start..];
        let len = memchr2(b';', b',', rest);
        self.next = len.map(|len| start + len + 1);
        Some((start, &rest[..len.unwrap_or(rest.len())]))
    }
}

fn segments(field: &[u8]) -> Segments<'_> {
    Segments {
        field,
        next: Some(0),
    }
}

/// Name and value of a stretch; a stretch without `=` is a value without a name (RFC 6265bis 5.6).
#[inline]
fn pair(segment: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'=', segment) {
        Some(at) => (
            segment[..at].trim_ascii(),
            unquote(segment[at + 1..].trim_ascii()),
        ),
        None => (b"", segment.trim_ascii()),
    }
}

/// The name of a stretch alone. Names are short: a plain loop finds their end soonest.
#[inline]
fn name(trimmed: &[u8]) -> &[u8] {
    let end = trimmed.iter().position(|b| *b == b'=');
    trimmed[..end.unwrap_or(0)].trim_ascii_end()
}

fn unquote(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// Every (name, value) of the `Cookie` fields in order. `$Version`, `$Path` and the like are
/// attributes of RFC 2965, not cookies.
pub fn pairs<'a>(
    fields: impl IntoIterator<Item = &'a [u8]>,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    fields
        .into_iter()
        .flat_map(segments)
        .map(|(_, segment)| pair(segment))
        .filter(|(name, _)| !name.is_empty() && name[0] != b'$')
}

/// The value of the one cookie of this name (compared exactly). Allocates nothing.
pub fn only<'a>(fields: impl IntoIterator<Item = &'a [u8]>, name: &[u8]) -> One<'a> {
    let mut found = One::None;
    for field in fields {
        for (_, segment) in segments(field) {
            // Most are not the one: look at the bytes before taking the stretch apart.
            let trimmed = segment.trim_ascii_start();
            if !trimmed.starts_with(name) {
                continue;
            }
            let (this, value) = pair(trimmed);
            if this != name || name.is_empty() {
                continue;
            }
            match found {
                One::None => found = One::One(value),
                One::One(before) if before == value => {}
                _ => return One::Conflicting,
            }
        }
    }
    found
}

/// Appends to `out` one `Cookie` value without the cookies that are ours; returns whether there were
/// any. Where there were none, `out` holds the fields joined and need not be used.
///
/// The other cookies stay byte for byte; the `$Path` and `$Domain` of one of ours go with it.
pub fn without<'a>(
    fields: impl IntoIterator<Item = &'a [u8]>,
    is_ours: impl Fn(&[u8]) -> bool,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    let mut removed = false;
    for field in fields {
        let mut previous_ours = false;
        // What stays is copied in runs. The separator in front of a stretch goes with it, but for the
        // first of a field.
        let mut run = None;
        let mut first_of_field = true;
        for (at, segment) in segments(field) {
            let trimmed = segment.trim_ascii_start();
            let name = name(trimmed);
            let attribute = name.first() == Some(&b'$') && !name.eq_ignore_ascii_case(b"$version");
            let ours = if attribute {
                previous_ours
            } else {
                is_ours(name)
            };
            previous_ours = ours;
            removed |= ours;
            if ours || trimmed.is_empty() {
                if let Some(from) = run.take() {
                    out.extend_from_slice(&field[from..at - 1]);
                }
            } else if run.is_none() && first_of_field {
                if out.len() > start {
                    out.extend_from_slice(b"; ");
                }
                run = Some(at + segment.len() - trimmed.len());
                first_of_field = false;
            } else if run.is_none() {
                run = Some(at - 1);
            }
        }
        if let Some(from) = run {
            out.extend_from_slice(&field[from..]);
        }
    }
    removed
}

/// One `Cookie` field with other values, which `value` gives for the name and the value of each cookie;
/// a value without a name has an empty one. Names, separators and the attributes of RFC 2965 stay.
pub fn rewritten(field: &[u8], mut value: impl FnMut(&[u8], &[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, segment) in segments(field) {
        if at > 0 {
            out.push(field[at - 1]);
        }
        let (name, old) = pair(segment);
        let blank = segment.len() - segment.trim_ascii_start().len();
        out.extend_from_slice(&segment[..blank]);
        if name.first() == Some(&b'$') {
            out.extend_from_slice(&segment[blank..]);
            continue;
        }
        if segment.contains(&b'=') {
            out.extend_from_slice(name);
            out.push(b'=');
        }
        if !old.is_empty() {
            out.extend_from_slice(&value(name, old));
        }
    }
    out
}

/// Builds a `Set-Cookie` value. Anything that could end the value early makes it unusable as a whole.
#[derive(Clone, Copy)]
pub struct SetCookie<'s> {
    name: &'s str,
    value: &'s str,
    domain: Option<&'s str>,
    path: &'s str,
    max_age: Option<u64>,
    clears: bool,
    secure: bool,
    http_only: bool,
    same_site: Option<&'s str>,
}

impl<'s> SetCookie<'s> {
    /// A host cookie for every path, until the browser closes.
    pub fn new(name: &'s str, value: &'s str) -> SetCookie<'s> {
        SetCookie {
            name,
            value,
            domain: None,
            path: "/",
            max_age: None,
            clears: false,
            secure: false,
            http_only: false,
            same_site: None,
        }
    }

    /// Removes a cookie; domain and path have to be those it was set with.
    pub fn clear(name: &'s str) -> SetCookie<'s> {
        SetCookie {
            clears: true,
            ..SetCookie::new(name, "")
        }
    }

    /// `Domain`, without it a host cookie.
    pub fn domain(self, domain: Option<&'s str>) -> SetCookie<'s> {
        SetCookie { domain, ..self }
    }

    /// `Path`, `/` unless set.
    pub fn path(self, path: &'s str) -> SetCookie<'s> {
        SetCookie { path, ..self }
    }

    /// `Max-Age` in seconds.
    pub fn max_age(self, seconds: u64) -> SetCookie<'s> {
        SetCookie {
            max_age: Some(seconds),
            ..self
        }
    }

    /// `Secure`.
    pub fn secure(self, secure: bool) -> SetCookie<'s> {
        SetCookie { secure, ..self }
    }

    /// `HttpOnly`.
    pub fn http_only(self, http_only: bool) -> SetCookie<'s> {
        SetCookie { http_only, ..self }
    }

    /// `SameSite`: `Lax`, `Strict` or `None` in any case; empty is like absent. `None` on a cookie
    /// that is not `Secure` is left out, because browsers throw such a cookie away.
    pub fn same_site(self, same_site: Option<&'s str>) -> SetCookie<'s> {
        SetCookie { same_site, ..self }
    }

    /// Appends the header's value to `out`; `false` and nothing appended when a part holds bytes that
    /// it must not, when `SameSite` is unknown, or when the name's prefix (`__Host-`, `__Secure-`)
    /// promises what the attributes do not keep.
    #[must_use]
    pub fn write(&self, out: &mut Vec<u8>) -> bool {
        let Some(same_site) = self.same_site_attribute() else {
            return false;
        };
        if !self.is_sound() {
            return false;
        }
        out.extend_from_slice(self.name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(self.value.as_bytes());
        out.extend_from_slice(b"; Path=");
        out.extend_from_slice(self.path.as_bytes());
        if let Some(domain) = self.domain {
            out.extend_from_slice(b"; Domain=");
            out.extend_from_slice(domain.as_bytes());
        }
        if self.clears {
            out.extend_from_slice(b"; Max-Age=0; Expires=Thu, 01-Jan-1970 00:00:01 GMT");
        } else if let Some(seconds) = self.max_age {
            out.extend_from_slice(b"; Max-Age=");
            out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
        }
        if self.secure {
            out.extend_from_slice(b"; Secure");
        }
        if self.http_only {
            out.extend_from_slice(b"; HttpOnly");
        }
        out.extend_from_slice(same_site.as_bytes());
        true
    }

    /// The header's value; `None` where [`SetCookie::write`] refuses.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(self.name.len() + self.value.len() + 120);
        self.write(&mut out).then_some(out)
    }

    fn is_sound(&self) -> bool {
        let name = !self.name.is_empty() && self.name.bytes().all(is_token);
        let quotes = self.value.strip_prefix('"');
        let value = match quotes.and_then(|v| v.strip_suffix('"')) {
            Some(within) => within.bytes().all(is_quotable),
            None => self.value.bytes().all(is_cookie_octet),
        };
        let host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let domain = self
            .domain
            .is_none_or(|d| !d.is_empty() && d.bytes().all(host));
        let path = self.path.starts_with('/')
            && self
                .path
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b';' | b','));
        let prefix = |prefix: &str| {
            let start = self.name.as_bytes().get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        // RFC 6265bis 4.1.3
        let promised = if prefix("__Host-") {
            self.secure && self.domain.is_none() && self.path == "/"
        } else {
            !prefix("__Secure-") || self.secure
        };
        name && value && domain && path && promised
    }

    fn same_site_attribute(&self) -> Option<&'static str> {
        match self.same_site.map(str::trim) {
            None | Some("") => Some(""),
            Some(s) if s.eq_ignore_ascii_case("lax") => Some("; SameSite=Lax"),
            Some(s) if s.eq_ignore_ascii_case("strict") => Some("; SameSite=Strict"),
            Some(s) if s.eq_ignore_ascii_case("none") => {
                Some(if self.secure { "; SameSite=None" } else { "" })
            }
            Some(_) => None,
        }
    }
}

/// RFC 9110 5.6.2.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// RFC 6265 4.1.1: printable ASCII without blank, quote, comma, semicolon and backslash.
fn is_cookie_octet(b: u8) -> bool {
    b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\')
}

/// What may stand in a cookie value within quotes: a blank too, which browsers keep there. A comma may
/// not: httpd puts one between two `Cookie` fields.
pub(crate) fn is_quotable(b: u8) -> bool {
    b == b' ' || is_cookie_octet(b)
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use proptest::prelude::*;

    use super::*;

    fn get<'a>(fields: &[&'a str], name: &str) -> One<'a> {
        only(fields.iter().map(|f| f.as_bytes()), name.as_bytes())
    }

    fn strip(fields: &[&str]) -> (bool, String) {
        let mut out = Vec::new();
        let ours = |name: &[u8]| name == b"ours" || name.starts_with(b"ours-");
        let removed = without(fields.iter().map(|f| f.as_bytes()), ours, &mut out);
        (removed, String::from_utf8(out).unwrap())
    }

    #[test]
    fn one_value_is_found() {
        assert_eq!(get(&["a=1; b=2;c=3"], "b"), One::One(b"2"));
        assert_eq!(get(&["a=1; b=2;c=3"], "c"), One::One(b"3"));
        assert_eq!(get(&["a=1", "b=2"], "b"), One::One(b"2"));
        assert_eq!(get(&["a=1, b=2"], "b"), One::One(b"2"));
        assert_eq!(get(&["  b = \"2\" "], "b"), One::One(b"2"));
        assert_eq!(get(&["b=x=y=="], "b"), One::One(b"x=y=="));
        assert_eq!(get(&["b="], "b"), One::One(b""));
        assert_eq!(get(&["$Version=1; b=2; $Path=/"], "b"), One::One(b"2"));
        assert_eq!(get(&["b=\""], "b"), One::One(b"\""));
        assert_eq!(get(&["a=1; bb=2; b2=3; B=4; xb=5"], "b"), One::None);
        assert_eq!(get(&[], "b"), One::None);
        assert_eq!(get(&["b"], "b"), One::None);
        assert_eq!(get(&["=b; b2"], ""), One::None);
    }

    #[test]
    fn two_different_values_are_none() {
        assert_eq!(get(&["b=1; b=1"], "b"), One::One(b"1"));
        assert_eq!(get(&["b=1; b=\"1\""], "b"), One::One(b"1"));
        assert_eq!(get(&["b=1; a=1; b=2"], "b"), One::Conflicting);
        assert_eq!(get(&["b=1", "b=2"], "b"), One::Conflicting);
        assert_eq!(get(&["b=1, b=2"], "b"), One::Conflicting);
        assert_eq!(get(&["b=1; b=2; b=1"], "b"), One::Conflicting);
        assert_eq!(get(&["b=1; b="], "b"), One::Conflicting);
    }

    #[test]
    fn ours_are_taken_out_and_the_others_stay_as_they_are() {
        for (fields, expected) in [
            (&["ours=1"][..], ""),
            (&["ours=1; a=2"], "a=2"),
            (&["a=2; ours=1"], "a=2"),
            (&["a=2;ours=1;b=\"3\""], "a=2;b=\"3\""),
            (&["a=2; ours-x=1; b=3 ; c=4"], "a=2; b=3 ; c=4"),
            (&["a=1", "ours=2", "b=3"], "a=1; b=3"),
            (&["a=1, ours=2, b=3"], "a=1, b=3"),
            (
                &["$Version=1; ours=2; $Path=/; $Domain=h; b=3; $Path=/b"],
                "$Version=1; b=3; $Path=/b",
            ),
            (&["a=\"x; ours=1; y\""], "a=\"x; y\""),
            (&[" ours = 1 ;  a=2"], "a=2"),
            (&["ours=1; ours=2; ours-3=3"], ""),
            (&["ours=1;; ;a=2"], "a=2"),
        ] {
            assert_eq!(strip(fields), (true, expected.into()), "{fields:?}");
        }
        assert!(!strip(&["a=1; xours=2; ours2=3; ours"]).0);
        assert_eq!(strip(&[]), (false, String::new()));
        let mut out = b"before".to_vec();
        assert!(without([&b"ours=1; a=2"[..]], |n| n == b"ours", &mut out));
        assert_eq!(out, b"beforea=2");
    }

    #[test]
    fn set_cookie_is_written() {
        let text = |c: SetCookie<'_>| c.to_bytes().map(|b| String::from_utf8(b).unwrap());
        assert_eq!(text(SetCookie::new("n", "v")).unwrap(), "n=v; Path=/");
        let all = SetCookie::new("n", "v*.=@#")
            .domain(Some(".example.com"))
            .path("/a")
            .max_age(300)
            .secure(true)
            .http_only(true)
            .same_site(Some("none"));
        assert_eq!(
            text(all).unwrap(),
            "n=v*.=@#; Path=/a; Domain=.example.com; Max-Age=300; Secure; HttpOnly; SameSite=None"
        );
        assert_eq!(
            text(SetCookie::clear("n")).unwrap(),
            "n=; Path=/; Max-Age=0; Expires=Thu, 01-Jan-1970 00:00:01 GMT"
        );
        assert_eq!(
            text(SetCookie::new("n", "v").same_site(Some("None"))).unwrap(),
            "n=v; Path=/"
        );
        assert_eq!(
            text(SetCookie::new("n", "v").same_site(Some("LAX"))).unwrap(),
            "n=v; Path=/; SameSite=Lax"
        );
    }

    #[test]
    fn set_cookie_refuses_what_would_end_it_early() {
        let ok = |c: SetCookie<'_>| c.to_bytes().is_some();
        for value in [
            "a;b", "a\r\nb", "a\nb", "a b", "a\"b", "a,b", "a\\b", "\u{e5}", "a\0",
        ] {
            assert!(!ok(SetCookie::new("n", value)), "{value:?}");
            assert!(
                !ok(SetCookie::new("n", "v").domain(Some(value))),
                "{value:?}"
            );
        }
        for value in [
            "\"a\"b\"", "\"a;b\"", "\"a,b\"", "\"a\\b\"", "\"a\tb\"", "\"",
        ] {
            assert!(!ok(SetCookie::new("n", value)), "{value:?}");
        }
        assert!(ok(SetCookie::new("n", "\"a b=c\"")));
        for name in ["", "a b", "a=b", "a;b", "a\r\nb", "a,b"] {
            assert!(!ok(SetCookie::new(name, "v")), "{name:?}");
        }
        for path in ["", "a", "/a;b", "/a\r\nb"] {
            assert!(!ok(SetCookie::new("n", "v").path(path)), "{path:?}");
        }
        assert!(!ok(SetCookie::new("n", "v").same_site(Some("x"))));
        assert!(ok(SetCookie::new("__Host-n", "v").secure(true)));
        assert!(!ok(SetCookie::new("__Host-n", "v")));
        assert!(!ok(SetCookie::new("__host-n", "v")));
        assert!(!ok(SetCookie::new("__Host-n", "v")
            .secure(true)
            .domain(Some("h"))));
        assert!(!ok(SetCookie::new("__Host-n", "v").secure(true).path("/a")));
        assert!(!ok(SetCookie::new("__Secure-n", "v")));
        assert!(ok(SetCookie::new("__Secure-n", "v")
            .secure(true)
            .domain(Some("h"))));
    }

    proptest! {
        #[test]
        fn rewritten_with_its_own_values_a_field_says_the_same(field in "[ ab$=;,x]{0,40}") {
            let field = field.as_bytes();
            let same = rewritten(field, |_, value| value.to_vec());
            let all = |field| pairs([field]).map(|(n, v)| (n.to_vec(), v.to_vec())).collect::<Vec<_>>();
            prop_assert_eq!(all(field), all(&same[..]));
        }
    }

    #[test]
    fn quotes_and_nameless_values_are_rewritten_too() {
        let field = b"$Version=1; a=\"b\"; $Path=/;c , d=";
        let rewritten = rewritten(field, |name, _| [name, b"!"].concat());
        assert_eq!(rewritten, b"$Version=1; a=a!; $Path=/;!, d=");
    }

    proptest! {
        #[test]
        fn after_without_none_of_ours_is_left(
            fields in prop::collection::vec("([ ;,=\"$ab]|ours|ours=1|other=2|\\$Path=/){0,12}", 0..4),
        ) {
            let refs = fields.iter().map(String::as_str).collect::<Vec<_>>();
            let bytes = || fields.iter().map(|f| f.as_bytes());
            let (removed, left) = strip(&refs);
            let is_ours = |n: &[u8]| n == b"ours" || n.starts_with(b"ours-");
            prop_assert!(pairs([left.as_bytes()]).all(|(n, _)| !is_ours(n)));
            prop_assert_eq!(removed, pairs(bytes()).any(|(n, _)| is_ours(n)));
            let others: Vec<_> = pairs(bytes()).filter(|(n, _)| !is_ours(n)).collect();
            prop_assert_eq!(pairs([left.as_bytes()]).collect::<Vec<_>>(), others);
            // `only` says about `ours` what a plain look at all pairs says.
            let mut values: Vec<_> = pairs(bytes()).filter(|(n, _)| *n == b"ours").map(|p| p.1).collect();
            values.dedup();
            prop_assert_eq!(only(bytes(), b"ours"), match values.as_slice() {
                [] => One::None,
                [v] => One::One(v),
                _ => One::Conflicting,
            });
        }
    }
}
