//! As which URL may something behind the agent take this request? (rule U1)
//!
//! There is one canonical URL, but what serves it may cut path info off its end, and an application
//! server the parameters (`;a=b`) out of its segments. A rule that lets somebody in has to hold for
//! what remains, too; one that protects counts when it holds for any of them.

use arrayvec::ArrayString;
use memchr::memchr;

use super::{Canonical, Parts, UrlRule, canonical::MAX_URL};

/// Room for a URL without its parameters.
pub type Room = ArrayString<MAX_URL>;

/// The forms of one URL.
#[derive(Clone, Copy)]
pub struct Forms<'u> {
    full: Parts<'u>,
    /// Without the path info that the server reports.
    without_info: Option<Parts<'u>>,
    /// Without the parameters of its segments.
    bare: Option<Parts<'u>>,
    ignore_path_info: bool,
}

impl<'u> Forms<'u> {
    /// The forms of a request's URL. `ignore_path_info`: exempting rules look neither at path info nor,
    /// without a `?` of their own, at the query.
    pub fn of(url: &'u Canonical, ignore_path_info: bool, room: &'u mut Room) -> Forms<'u> {
        let full = Parts::of(url);
        let info = url.without_query().len() - url.without_path_info().len();
        let without_info = (info > 0).then(|| full.without_path_info(info));
        let bare = memchr(b';', url.path().as_bytes())
            .and_then(|_| without_parameters(url, info, ignore_path_info, room));
        Forms {
            full,
            without_info,
            bare,
            ignore_path_info,
        }
    }

    /// What exempting rules are looked up by; [`Forms::exempts`] has to agree.
    pub fn asked(&self) -> Parts<'u> {
        match (self.ignore_path_info, self.without_info) {
            (true, Some(parts)) => parts.with_any_query(),
            (true, None) => self.full.with_any_query(),
            (false, _) => self.full,
        }
    }

    /// Whether a rule that matches what was asked holds for the other forms as well.
    pub fn confirms(&self, rule: &UrlRule) -> bool {
        let same = |parts: Parts<'u>| match self.ignore_path_info {
            true => parts.with_any_query(),
            false => parts,
        };
        let info = match self.without_info {
            Some(parts) if !self.ignore_path_info && rule.is_by_extension() => rule.matches(&parts),
            _ => true,
        };
        info && self.bare.is_none_or(|parts| rule.matches(&same(parts)))
    }

    /// Whether a rule that lets somebody in holds.
    pub fn exempts(&self, rule: &UrlRule) -> bool {
        rule.matches(&self.asked()) && self.confirms(rule)
    }

    /// What protecting rules are looked up by: each may match any of these.
    pub fn protected(&self) -> impl Iterator<Item = Parts<'u>> {
        let all = [Some(self.full), self.without_info, self.bare];
        all.into_iter().flatten().map(Parts::with_any_query)
    }

    /// The whole URL, and without parameters, as an application server may read it.
    pub fn read_by_applications(&self) -> impl Iterator<Item = Parts<'u>> {
        let all = [Some(self.full), self.bare];
        all.into_iter().flatten().map(Parts::with_any_query)
    }

    /// Whether a rule that protects holds.
    pub fn protects(&self, rule: &UrlRule) -> bool {
        self.protected().any(|parts| rule.matches(&parts))
    }
}

/// The URL without `;…` in its path, and without path info where that is ignored.
fn without_parameters<'u>(
    url: &Canonical,
    info: usize,
    ignore_path_info: bool,
    room: &'u mut Room,
) -> Option<Parts<'u>> {
    room.clear();
    let path = match ignore_path_info {
        true => url.path().get(..url.path().len() - info)?,
        false => url.path(),
    };
    room.try_push_str(url.origin()).ok()?;
    let mut rest = path;
    while let Some(semicolon) = memchr(b';', rest.as_bytes()) {
        room.try_push_str(rest.get(..semicolon)?).ok()?;
        rest = rest.get(semicolon..)?;
        let end = memchr(b'/', rest.as_bytes()).unwrap_or(rest.len());
        rest = rest.get(end..)?;
    }
    room.try_push_str(rest).ok()?;
    if let Some(query) = url.query() {
        room.try_push_str("?").ok()?;
        room.try_push_str(query).ok()?;
    }
    Parts::split(room)
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::contract::{Local, RequestView};

    /// Whether an exempting and a protecting rule hold for a target of which the server takes `script`
    /// for its own path and the rest for path info.
    fn hold(target: &str, script: &str, ignore: bool, rule: &str) -> (bool, bool) {
        let path = target.split('?').next().unwrap();
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let req = RequestView {
            method: b"GET",
            target: target.as_bytes(),
            host: b"h",
            headers: &[],
            merged: false,
            peer,
            client: peer,
            local: Local {
                tls: false,
                port: 80,
                path: script.as_bytes(),
                path_info: path.strip_prefix(script).unwrap().as_bytes(),
                authorizes: false,
            },
        };
        let mut url = Canonical::new();
        url.set(&req).unwrap();
        let mut room = Room::new();
        let forms = Forms::of(&url, ignore, &mut room);
        let rule = UrlRule::wildcard(rule, true).unwrap();
        (forms.exempts(&rule), forms.protects(&rule))
    }

    #[test]
    fn exemptions_by_extension_are_checked_on_what_is_served() {
        for (target, script, ignore, rule, expected) in [
            ("/a/x.gif", "/a/x.gif", true, "*.gif", (true, true)),
            ("/a.html/x.gif", "/a.html", true, "*.gif", (false, true)),
            ("/a.html/x.gif", "/a.html", false, "*.gif", (false, true)),
            ("/a.html/x", "/a.html", true, "*.html", (true, true)),
            ("/a.html/x", "/a.html", false, "*.html", (false, true)),
            (
                "/a.cgi/free/x",
                "/a.cgi",
                false,
                "/a.cgi/free/*",
                (true, true),
            ),
            (
                "/a.cgi/free/x",
                "/a.cgi",
                true,
                "/a.cgi/free/*",
                (false, true),
            ),
            ("/a;x.gif", "/a;x.gif", true, "*.gif", (false, true)),
            ("/x.gif;v=1", "/x.gif;v=1", true, "*.gif", (false, true)),
            ("/free/a;v=1", "/free/a;v=1", true, "/free/*", (true, true)),
            ("/adm;v=1/a", "/adm;v=1/a", true, "/adm/*", (false, true)),
            (
                "/a.html;v=1/x;y.gif",
                "/a.html;v=1",
                true,
                "*.gif",
                (false, true),
            ),
        ] {
            assert_eq!(
                hold(target, script, ignore, rule),
                expected,
                "{target} {rule}"
            );
        }
    }

    #[test]
    fn the_query_counts_where_the_rule_or_the_switch_says_so() {
        for (target, ignore, rule, expected) in [
            ("/a?b=1", true, "/a", (true, true)),
            ("/a?b=1", false, "/a", (false, true)),
            ("/a?b=1", true, "/a?b=*", (true, true)),
            ("/a?b=1", false, "/a?b=*", (true, true)),
            ("/a?c=1", true, "/a?b=*", (false, false)),
            ("/a", true, "/a?b=*", (false, false)),
            ("/a;x?b=1", true, "/a*?b=*", (true, true)),
        ] {
            let script = target.split('?').next().unwrap();
            assert_eq!(
                hold(target, script, ignore, rule),
                expected,
                "{target} {rule}"
            );
        }
    }
}
