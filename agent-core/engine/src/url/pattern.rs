//! Does this URL match this rule? `*` and `-*-`, in time linear in the URL.
//!
//! What a rule can look like:
//! * `scheme://host[:port]/path[?query]` is compared part by part, so that a wildcard in the host
//!   never reaches into the path. Without a port the scheme's default is meant, unless the host
//!   ends with `*`: then any port. Without a path, `/`.
//! * `/path[?query]` is compared with the path of every host.
//! * What begins with a wildcard is compared with the URL as one string: `*/free/*`, `*.gif`.
//!
//! `*` stands for anything, `-*-` for anything within one level. Neither brings a query in: a URL
//! with a query matches only a rule with `?`, and such a rule matches only a URL with a query. (In
//! the query itself `*` also covers a further `?`, which is an ordinary character there.)
//! Escapes in a rule are read as those in a request are, so `%c3` and `%C3` are one, and `%2A` is
//! the only way to write a literal `*`.

use alloc::{string::String, vec::Vec};

use memchr::{memchr, memchr2, memmem};

use super::{
    Canonical,
    escape::{PCHAR, QUERY, UNRESERVED, escape, escaped, is},
};

/// Most wildcards in one rule, as in the vendor's agent.
const MAX_WILDCARDS: usize = 32;
/// Longest rule in bytes.
const MAX_PATTERN: usize = 8192;

/// Why a rule is none. A rule in error must be reported, never silently left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing there.
    #[error("the rule is empty")]
    Empty,
    /// Only wildcards: it would exempt everything, and the vendor's agent never matches it.
    #[error("a wildcard alone matches nothing")]
    BareWildcard,
    /// A blank or control byte inside.
    #[error("the rule contains a blank or control byte")]
    Blank,
    /// `*` and `-*-` in one rule.
    #[error("* and -*- must not share a rule")]
    Mixed,
    /// More than 32 wildcards.
    #[error("the rule has more than 32 wildcards")]
    TooManyWildcards,
    /// Longer than a URL can be.
    #[error("the rule is too long")]
    TooLong,
    /// Begins neither with a scheme, nor with `/`, nor with a wildcard: it could never match.
    #[error("the rule begins with neither a scheme, a slash nor a wildcard")]
    NoScheme,
    /// The host between `://` and the path is missing or has user information.
    #[error("the host of the rule is not valid")]
    BadHost,
    /// The port is neither a number nor a wildcard.
    #[error("the port of the rule is not valid")]
    BadPort,
}

/// One compiled rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    place: Place,
    /// For [`Place::Whole`] everything before the query, else the path.
    path: Glob,
    query: Option<Glob>,
    fold: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    AnyHost,
    Whole,
    Origin {
        scheme: Glob,
        host: Glob,
        port: Port,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Port {
    /// The default of the request's scheme.
    Default,
    Any,
    Is(Glob),
}

impl Pattern {
    /// Compiles a rule; `case_ignore` is about path and query, scheme and host never have a case.
    pub fn parse(text: &str, case_ignore: bool) -> Result<Pattern, PatternError> {
        let text = text.trim_ascii();
        let level = text.contains("-*-");
        let wildcards = text.matches(if level { "-*-" } else { "*" }).count();
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > MAX_PATTERN {
            return Err(PatternError::TooLong);
        }
        if text
            .bytes()
            .any(|b| b.is_ascii_whitespace() || b.is_ascii_control())
        {
            return Err(PatternError::Blank);
        }
        if wildcards > MAX_WILDCARDS {
            return Err(PatternError::TooManyWildcards);
        }
        if level && text.replace("-*-", "").contains('*') {
            return Err(PatternError::Mixed);
        }
        if text.replace(if level { "-*-" } else { "*" }, "").is_empty() {
            return Err(PatternError::BareWildcard);
        }
        let (before, query) = match text.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (text, None),
        };
        let (place, path) = place(before, level)?;
        Ok(Pattern {
            place,
            path: Glob::parse(path, level, Part::Path, case_ignore),
            query: query.map(|q| Glob::parse(q, level, Part::Query, case_ignore)),
            fold: case_ignore,
        })
    }

    /// Whether a canonical URL matches.
    pub fn matches(&self, url: &str) -> bool {
        Parts::split(url).is_some_and(|parts| self.matches_parts(&parts))
    }

    pub(super) fn matches_parts(&self, url: &Parts<'_>) -> bool {
        let query = match (&self.query, url.query) {
            (None, None) => true,
            (None, Some(_)) => url.any_query,
            (Some(glob), Some(query)) => glob.matches(query, self.fold),
            _ => false,
        };
        query
            && match &self.place {
                Place::AnyHost => self.path.matches(url.path, self.fold),
                Place::Whole => self.path.matches(url.before_query, self.fold),
                Place::Origin { scheme, host, port } => {
                    self.path.matches(url.path, self.fold)
                        && host.matches(url.host, true)
                        && match port {
                            Port::Any => true,
                            Port::Default => url.port == default_port(url.scheme),
                            Port::Is(glob) => glob.matches(url.port, false),
                        }
                        && scheme.matches(url.scheme, true)
                }
            }
    }

    /// Lower-case text with which `host:port/path`, or for a rule about any host `/path`, begins in
    /// every URL that matches; empty when nothing is known.
    pub(super) fn prefix(&self) -> Vec<u8> {
        let mut key = Vec::new();
        if let Place::Origin { scheme, host, port } = &self.place
            && let Some(host) = host.exact()
        {
            let port = match (port, scheme.exact()) {
                (Port::Is(port), _) => port.exact(),
                (Port::Default, Some(scheme)) => Some(default_port(scheme)),
                _ => None,
            };
            if let Some(port) = port {
                key.extend_from_slice(host);
                key.push(b':');
                key.extend_from_slice(port);
            }
        }
        if self.place != Place::Whole {
            key.extend_from_slice(self.path.first());
        }
        key.make_ascii_lowercase();
        key
    }

    /// Lower-case text with which the URL without its query ends in every URL that matches; empty
    /// when nothing is known.
    pub(super) fn suffix(&self) -> Vec<u8> {
        self.path.last().to_ascii_lowercase()
    }

    /// Lower-case text that begins with `/` and that every URL which matches has somewhere before its
    /// query; empty when nothing is known.
    pub(super) fn infix(&self) -> Vec<u8> {
        let literals = self.path.literals.iter().skip(1);
        let within = literals.filter(|l| l.len() > 1 && l.first() == Some(&b'/'));
        let longest = within.max_by_key(|l| l.len());
        longest.map_or_else(Vec::new, |l| l.to_ascii_lowercase())
    }

    /// Whether the rule is about how a name ends, as `*.gif` is (rule U1).
    pub(super) fn is_by_extension(&self) -> bool {
        let last = self.path.last();
        self.path.literals.len() > 1 && memchr(b'.', last).is_some() && !last.contains(&b'/')
    }
}

/// Scheme, host and port of a rule, and the rest of it.
fn place(text: &str, level: bool) -> Result<(Place, &str), PatternError> {
    if let Some((scheme, rest)) = text.split_once("://")
        && !scheme.contains('/')
    {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = split_port(authority.as_bytes());
        let host = &authority[..host.len()];
        if host.is_empty() || host.contains('@') {
            return Err(PatternError::BadHost);
        }
        let glob = |text: &str| Glob::parse(text, level, Part::Origin, true);
        let port = match port {
            None if host.ends_with('*') => Port::Any,
            None => Port::Default,
            Some(port) => {
                let sound = |b: &u8| b.is_ascii_digit() || matches!(b, b'*' | b'-');
                if port.is_empty() || !port.iter().all(sound) {
                    return Err(PatternError::BadPort);
                }
                Port::Is(glob(&String::from_utf8_lossy(port)))
            }
        };
        let path = if path.is_empty() { "/" } else { path };
        return Ok((
            Place::Origin {
                scheme: glob(scheme),
                host: glob(host),
                port,
            },
            path,
        ));
    }
    let wildcard = if level { "-*-" } else { "*" };
    let literal = text
        .split(wildcard)
        .next()
        .unwrap_or(text)
        .to_ascii_lowercase();
    match literal.as_str() {
        "" if text.is_empty() => Err(PatternError::NoScheme),
        l if l.starts_with('/') => Ok((Place::AnyHost, text)),
        l if "http://".starts_with(l) || "https://".starts_with(l) => Ok((Place::Whole, text)),
        _ => Err(PatternError::NoScheme),
    }
}

/// Host and port of an authority; a colon inside brackets belongs to the host.
fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let start = memchr::memrchr(b']', authority).unwrap_or(0);
    match memchr(b':', &authority[start..]) {
        Some(colon) => (
            &authority[..start + colon],
            Some(&authority[start + colon + 1..]),
        ),
        None => (authority, None),
    }
}

fn default_port(scheme: &[u8]) -> &'static [u8] {
    if scheme.eq_ignore_ascii_case(b"https") {
        b"443"
    } else {
        b"80"
    }
}

/// A canonical URL taken apart once for all the rules it is compared with.
#[derive(Clone, Copy)]
pub struct Parts<'u> {
    scheme: &'u [u8],
    host: &'u [u8],
    port: &'u [u8],
    pub(super) query: Option<&'u [u8]>,
    pub(super) path: &'u [u8],
    /// Everything before the `?`.
    pub(super) before_query: &'u [u8],
    /// The same without the scheme: `host:port/path`.
    pub(super) from_host: &'u [u8],
    /// The whole URL; `None` where path info was cut out of its middle.
    pub(super) all: Option<&'u [u8]>,
    /// A rule without `?` is about URLs with any query, too.
    pub(super) any_query: bool,
}

impl<'u> Parts<'u> {
    /// The parts of a request's URL.
    pub fn of(url: &'u Canonical) -> Parts<'u> {
        let (all, before_query) = (url.url().as_bytes(), url.without_query().as_bytes());
        let (host, path) = (url.host().as_bytes(), url.origin().len());
        let scheme = match url.url().starts_with("https:") {
            true => 5,
            false => 4,
        };
        let from_host = before_query.get(scheme + 3..).unwrap_or(&[]);
        Parts {
            scheme: all.get(..scheme).unwrap_or(&[]),
            host,
            port: all.get(scheme + 3 + host.len() + 1..path).unwrap_or(&[]),
            query: url.query().map(str::as_bytes),
            path: before_query.get(path..).unwrap_or(&[]),
            before_query,
            from_host,
            all: Some(all),
            any_query: false,
        }
    }

    /// The parts of a canonical URL as text; `None` when it is none.
    pub fn split(url: &'u str) -> Option<Parts<'u>> {
        let url = url.as_bytes();
        let end = memchr(b'?', url).unwrap_or(url.len());
        let before_query = &url[..end];
        let colon = memchr(b':', before_query)?;
        let from_host = before_query[colon..].strip_prefix(b"://")?;
        let (authority, path) = from_host.split_at(memchr(b'/', from_host)?);
        let scheme = &url[..colon];
        let (host, port) = split_port(authority);
        Some(Parts {
            scheme,
            host,
            port: port.unwrap_or(default_port(scheme)),
            query: url.get(end + 1..),
            path,
            before_query,
            from_host,
            all: Some(url),
            any_query: false,
        })
    }

    /// The same URL without the last bytes of its path: its path info.
    #[must_use]
    pub fn without_path_info(self, bytes: usize) -> Parts<'u> {
        let cut = |text: &'u [u8]| text.get(..text.len().saturating_sub(bytes)).unwrap_or(text);
        Parts {
            path: cut(self.path),
            before_query: cut(self.before_query),
            from_host: cut(self.from_host),
            all: self.all.filter(|_| bytes == 0),
            ..self
        }
    }

    /// Rules without `?` match whatever the query is.
    #[must_use]
    pub fn with_any_query(self) -> Parts<'u> {
        Parts {
            any_query: true,
            ..self
        }
    }
}

/// Which bytes a part of a rule keeps as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Origin,
    Path,
    Query,
    /// No URL: every byte stands for itself.
    Text,
}

/// Literals with a wildcard between each two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    /// Never empty; in lower case when the comparison ignores case.
    literals: Vec<Vec<u8>>,
    /// For each literal where its rarest byte is: a search looks for that one first.
    rarest: Vec<usize>,
    /// The wildcards stop at `/` and `?`.
    level: bool,
}

impl Glob {
    pub(crate) fn parse(text: &str, level: bool, part: Part, fold: bool) -> Glob {
        let literals: Vec<Vec<u8>> = text
            .split(if level { "-*-" } else { "*" })
            .map(|literal| {
                let mut out = normal(literal.as_bytes(), part);
                if fold {
                    out.make_ascii_lowercase();
                }
                out
            })
            .collect();
        let rarest = literals.iter().map(|literal| rarest(literal)).collect();
        Glob {
            literals,
            rarest,
            level,
        }
    }

    fn first(&self) -> &[u8] {
        self.literals.first().map_or(&[], Vec::as_slice)
    }

    pub(super) fn last(&self) -> &[u8] {
        self.literals.last().map_or(&[], Vec::as_slice)
    }

    /// The only text that matches, if there is only one.
    pub(super) fn exact(&self) -> Option<&[u8]> {
        (self.literals.len() == 1).then(|| self.first())
    }

    /// Each literal is taken at its first place behind the one before. For `*` a later place can't
    /// help; nor can it for `-*-`, because what lies between the two places would have to be free
    /// of slashes, and then the first place is as good. So there is nothing to go back to.
    pub(crate) fn matches(&self, text: &[u8], fold: bool) -> bool {
        let (first, middle, last) = match self.literals.as_slice() {
            [] => return false,
            [only] => return only.len() == text.len() && same(text, only, fold),
            [first, middle @ .., last] => (first, middle, last),
        };
        let Some(end) = text
            .len()
            .checked_sub(last.len())
            .filter(|end| *end >= first.len())
        else {
            return false;
        };
        if !same(&text[..first.len()], first, fold) || !same(&text[end..], last, fold) {
            return false;
        }
        let mut rest = &text[first.len()..end];
        for (literal, rarest) in middle.iter().zip(&self.rarest[1..]) {
            let Some(at) = find(rest, literal, *rarest, fold) else {
                return false;
            };
            if self.level && stops(&rest[..at]) {
                return false;
            }
            rest = &rest[at + literal.len()..];
        }
        !(self.level && stops(rest))
    }
}

/// Whether `-*-` can't stand for this.
fn stops(text: &[u8]) -> bool {
    memchr2(b'/', b'?', text).is_some()
}

fn same(text: &[u8], literal: &[u8], fold: bool) -> bool {
    if fold {
        text.eq_ignore_ascii_case(literal)
    } else {
        text == literal
    }
}

/// First place of `literal` (lower case when folding) in `text`; `rarest` is a place in `literal`.
fn find(text: &[u8], literal: &[u8], rarest: usize, fold: bool) -> Option<usize> {
    let Some(&lower) = literal.get(rarest).filter(|_| fold) else {
        return memmem::find(text, literal);
    };
    let last = text.len().checked_sub(literal.len())?;
    let mut at = 0;
    while at <= last {
        let candidates = &text[at + rarest..=last + rarest];
        at += memchr2(lower, lower.to_ascii_uppercase(), candidates)?;
        if text[at..at + literal.len()].eq_ignore_ascii_case(literal) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Where the byte of a literal stands that URLs hold least often; only speed depends on it.
fn rarest(literal: &[u8]) -> usize {
    const COMMON: &[u8] = b"/etaoinsrhpldc.mugw:-fybv";
    let rank = |b: &u8| memchr(b.to_ascii_lowercase(), COMMON).unwrap_or(COMMON.len());
    let ranks = literal.iter().map(rank).enumerate();
    ranks.max_by_key(|(_, rank)| *rank).map_or(0, |(at, _)| at)
}

/// A literal in the spelling that canonical URLs have.
fn normal(text: &[u8], part: Part) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let (kept, decoded) = match part {
        Part::Text => return text.to_vec(),
        Part::Origin => return text.to_ascii_lowercase(),
        Part::Path => (PCHAR, PCHAR),
        Part::Query => (QUERY, UNRESERVED),
    };
    let mut at = 0;
    while let Some(&b) = text.get(at) {
        at += 1;
        if b == b'%'
            && let Some(b) = escaped(&text[at..])
        {
            at += 2;
            if is(b, decoded) {
                out.push(b)
            } else {
                out.extend(escape(b))
            }
        } else if is(b, kept) || b == b'/' {
            out.push(b);
        } else {
            out.extend(escape(b));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::{format, string::ToString};

    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text, false).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// A rule, the URLs that match it and those that do not; `/…` means `http://h:8080/…`.
    type Row = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    );

    const ROWS: &[Row] = &[
        // `*`
        (
            "http://h:8080/*",
            &["/", "/index.html", "/x.gif", "/a/b/c"],
            &[
                "http://other:8080/",
                "http://h:8081/x.gif",
                "https://h:8080/",
                "/a?b=1",
            ],
        ),
        (
            "http://h:8080/*.html",
            &["/index.html", "/pub/ab.html"],
            &[
                "http://h:8090/index.html",
                "/x.gif",
                "/index.html?a=b",
                "/index.html/x",
            ],
        ),
        (
            "http://h:8080/*/ab",
            &["/xy/ab", "/pri/xy/ab/xy/ab"],
            &["/ab", "/ab.html", "/ab/", "/x/ab/y"],
        ),
        (
            "http://h:8080/ab/*/de",
            &["/ab/123/de", "/ab/ab/de", "/ab/de/ab/de"],
            &["/ab/de", "/ab/123/def", "/x/ab/1/de"],
        ),
        (
            "http://h:8080/foo*",
            &["/foo", "/foo/bar", "/foobar"],
            &["/foo?x=1", "/fo"],
        ),
        (
            "http://h:8080/foo*?*",
            &["/foo?x=1", "/foo/a?b", "/foo?a?b"],
            &["/foo", "/fo?x"],
        ),
        (
            "http://h:8080/foo?a=*",
            &["/foo?a=", "/foo?a=1&b=2"],
            &["/foo", "/foo?b=1", "/foo/?a="],
        ),
        (
            "http://h:8080/images/",
            &["/images/"],
            &["/images", "/images/index.html"],
        ),
        (
            "http://h:8080/images/*",
            &["/images/", "/images/index.html"],
            &["/images"],
        ),
        // `-*-`
        (
            "http://h:8080/b/-*-",
            &["/b/", "/b/cd"],
            &["/b", "/b/c?d=e", "/b/cd/e", "http://h:8090/b/cd", "/b/cd/"],
        ),
        (
            "http://h:8080/b/-*-/f",
            &["/b/c/f", "/b/cde/f"],
            &["/b/c/e/f", "/f/"],
        ),
        (
            "http://h:8080/b/c-*-/f",
            &["/b/cde/f", "/b/c/f"],
            &["/b/c/e/f", "/b/c/", "/b/c/fg"],
        ),
        (
            "http://h:8080/-*-/-*-.gif",
            &["/a/b.gif"],
            &["/b.gif", "/a/b/c.gif", "/a/b.gif/d"],
        ),
        (
            "http://h:8080/-*-?a=-*-",
            &["/x?a=1"],
            &["/x", "/x?a=1/2", "/x?a=1?2"],
        ),
        // ports
        ("http://h/*", &["http://h:80/a"], &["/a", "https://h:443/a"]),
        (
            "https://h/*",
            &["https://h:443/a"],
            &["https://h:80/a", "http://h:80/a"],
        ),
        (
            "http://h*/a",
            &["/a", "http://h:80/a", "http://hx:1/a"],
            &["http://x.h:80/a"],
        ),
        (
            "http://h:*/a",
            &["/a", "http://h:80/a"],
            &["http://hx:80/a"],
        ),
        (
            "http://h:80*/a",
            &["/a", "http://h:80/a"],
            &["http://h:443/a"],
        ),
        (
            "http*://h/a",
            &["http://h:80/a", "https://h:443/a"],
            &["/a", "https://h:80/a"],
        ),
        ("http://h:8080", &["/"], &["/a", "http://h:80/"]),
        (
            "http://[::1]:8080/a",
            &["http://[::1]:8080/a"],
            &["http://[::1]:80/a"],
        ),
        (
            "http://[::1]/a",
            &["http://[::1]:80/a"],
            &["http://[::1]:8080/a"],
        ),
        // a wildcard in the host stays in the host
        (
            "http://*.example.com:8080/*",
            &[
                "http://www.example.com:8080/a",
                "http://a.b.example.com:8080/",
            ],
            &[
                "http://evil:8080/x.example.com:8080/",
                "http://example.com:8080/",
            ],
        ),
        (
            "http://*/free/*",
            &["http://h:1/free/x"],
            &["http://h:1/secret/free/x"],
        ),
        // parts of URLs
        (
            "/images/*",
            &["/images/a", "https://x:443/images/"],
            &["/a/images/b", "/images/a?b"],
        ),
        (
            "*/free/*",
            &["/free/a", "/a/free/b", "https://x:443/free/"],
            &["/freedom/a", "/x?/free/a"],
        ),
        (
            "*.gif",
            &["/a.gif", "https://x:443/b/c.gif"],
            &["/a.gift", "/a.gif?x", "/a?x.gif"],
        ),
        ("*.gif?*", &["/a.gif?x"], &["/a.gif", "/a?x.gif"]),
        ("http*/free", &["/free", "/a/free"], &["/free/"]),
        // spelling
        ("/forst%c3%a5/*", &["/forst%C3%A5/x"], &["/forst%C3%A4/x"]),
        ("/forst\u{e5}/*", &["/forst%C3%A5/x"], &[]),
        ("/a%20b%41", &["/a%20bA"], &["/a%20ba"]),
        ("/a%2Ab", &["/a*b"], &["/axb"]),
        ("/a?b[]=*", &["/a?b%5B%5D=1"], &["/a?b=1"]),
        ("/a?b=%2f", &["/a?b=%2F"], &["/a?b=/"]),
        ("HTTP://H:8080/a", &["/a"], &["/A"]),
    ];

    fn full(url: &str) -> String {
        if url.starts_with('/') {
            format!("http://h:8080{url}")
        } else {
            url.to_string()
        }
    }

    #[test]
    fn the_documented_tables_hold() {
        for (rule, yes, no) in ROWS {
            for url in *yes {
                assert!(pattern(rule).matches(&full(url)), "{rule} must match {url}");
            }
            for url in *no {
                assert!(
                    !pattern(rule).matches(&full(url)),
                    "{rule} must not match {url}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_rule_is_said_to_be_none() {
        let error = |text: &str| Pattern::parse(text, true).err();
        for (text, expected) in [
            ("", PatternError::Empty),
            ("  ", PatternError::Empty),
            ("*", PatternError::BareWildcard),
            ("**", PatternError::BareWildcard),
            ("-*-", PatternError::BareWildcard),
            ("/a *", PatternError::Blank),
            ("/a\n*", PatternError::Blank),
            ("/a/-*-/*", PatternError::Mixed),
            ("/*/-*-", PatternError::Mixed),
            ("www.example.com/*", PatternError::NoScheme),
            ("images/*", PatternError::NoScheme),
            ("?a=b", PatternError::NoScheme),
            ("http:///a", PatternError::BadHost),
            ("http://u@h/a", PatternError::BadHost),
            ("http://h:x/a", PatternError::BadPort),
            ("http://h:/a", PatternError::BadPort),
        ] {
            assert_eq!(error(text), Some(expected), "{text:?}");
        }
        assert_eq!(error(&"/*".repeat(32)), None);
        assert_eq!(
            error(&"/*".repeat(33)),
            Some(PatternError::TooManyWildcards)
        );
        assert_eq!(error(&"/a".repeat(5000)), Some(PatternError::TooLong));
    }

    #[test]
    fn case_is_ignored_on_request() {
        let folded = Pattern::parse("http://h:8080/Pub/*.GIF?A=*", true).unwrap();
        assert!(folded.matches("http://h:8080/pUB/x.gif?a=1"));
        assert!(!pattern("http://h:8080/Pub/*.GIF?A=*").matches("http://h:8080/pub/x.gif?a=1"));
        assert!(
            Pattern::parse("/*abc*x", true)
                .unwrap()
                .matches("http://h:80/aBaBCx")
        );
    }

    #[test]
    fn nothing_explodes() {
        let rule = format!("/{}b", "*a".repeat(31));
        let url = format!("http://h:80/{}", "a".repeat(8000));
        assert!(!pattern(&rule).matches(&url));
        assert!(!Pattern::parse(&rule, true).unwrap().matches(&url));
    }

    /// The meaning of the wildcards, written down without any cleverness.
    fn reference(rule: &[u8], text: &[u8]) -> bool {
        if let Some(rest) = rule.strip_prefix(b"-*-") {
            return reference(rest, text)
                || text
                    .split_first()
                    .is_some_and(|(b, text)| !b"/?".contains(b) && reference(rule, text));
        }
        match rule.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => {
                reference(rest, text)
                    || text
                        .split_first()
                        .is_some_and(|(b, text)| *b != b'?' && reference(rule, text))
            }
            Some((b, rest)) => text
                .split_first()
                .is_some_and(|(t, text)| t == b && reference(rest, text)),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        #[test]
        fn agrees_with_the_reference(
            level in any::<bool>(), rule in "/([ab/]|W|W){0,9}(\\?[abW]{0,3})?", path in "/[ab/]{0,12}(\\?[ab]{0,3})?",
        ) {
            let rule = rule.replace('W', if level { "-*-" } else { "*" });
            let found = pattern(&rule).matches(&format!("http://h:80{path}"));
            prop_assert_eq!(found, reference(rule.as_bytes(), path.as_bytes()), "{} {}", rule, path);
            let upper = Pattern::parse(&rule.to_ascii_uppercase(), true).unwrap();
            prop_assert_eq!(upper.matches(&format!("http://h:80{path}")), found);
        }

        #[test]
        fn a_whole_url_agrees_with_the_reference(level in any::<bool>(), rule in "W[ab/:h]{0,3}(W|[ab/]){0,6}b", path in "/[ab/]{0,9}") {
            let rule = rule.replace('W', if level { "-*-" } else { "*" });
            let url = format!("http://h:80{path}");
            prop_assume!(!rule.contains("://"));
            prop_assert_eq!(pattern(&rule).matches(&url), reference(rule.as_bytes(), url.as_bytes()), "{} {}", rule, url);
        }

        #[test]
        fn any_text_is_a_rule_or_an_error(rule in "\\PC{0,30}", url in "\\PC{0,30}") {
            if let Ok(p) = Pattern::parse(&rule, true) {
                p.matches(&url);
                p.matches(&format!("http://h:80/{url}"));
            }
        }
    }
}
