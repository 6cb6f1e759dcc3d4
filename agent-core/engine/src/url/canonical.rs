//! Which URL is this request for? One answer, or a refusal (rule U1).
//!
//! Every spelling of a path that the host would serve alike gets one canonical form, and whatever
//! two servers could read in two ways is refused instead of being interpreted. It never asks what
//! the URL is allowed to do.
//!
//! The choices that RFC 3986 leaves open:
//! * An escape of a byte that may stand in a segment as it is (`%41`, `%21`, `%3B`) is decoded; a
//!   byte that may not (`|`, `"`, anything beyond ASCII) is escaped. Escapes need not be UTF-8.
//! * Runs of `/` collapse before `..` is resolved, as both servers do it.
//! * A query keeps its structure: only letters, digits and `-._~` are decoded in it, a `%` that
//!   begins no escape becomes `%25`, an empty query is none.
//! * A dot at the end of the host name is dropped: it names the same host.

use alloc::{borrow::Cow, string::ToString};

use arrayvec::ArrayString;
use memchr::memchr;

use super::{
    authority::{Bad, MAX_HOST, push_host},
    escape::{PCHAR, PLAIN, QUERY, UNRESERVED, escape, escaped, is},
    outside::Origin,
};
use crate::contract::{Local, RequestView};

/// Longest canonical URL in bytes.
pub const MAX_URL: usize = 8192;
/// Why a request's URL is not looked at any further; answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The target is neither a path nor an absolute http(s) URL.
    #[error("the request target is neither a path nor an http URL")]
    NoPath,
    /// Longer than [`MAX_URL`].
    #[error("the URL is too long")]
    TooLong,
    /// `%` without two hexadecimal digits in the path.
    #[error("a % in the path begins no escape")]
    BadEscape,
    /// A space or control byte, raw or (in the path) escaped, including NUL.
    #[error("a space or control byte in the URL")]
    Control,
    /// `%2F` in the path.
    #[error("an escaped slash in the path")]
    EncodedSlash,
    /// A backslash in the path, raw or escaped.
    #[error("a backslash in the path")]
    Backslash,
    /// A segment that is `.` or `..` only after decoding.
    #[error("an escaped dot segment in the path")]
    EncodedDots,
    /// An escape of an escape of a slash, dot, backslash or NUL.
    #[error("a doubly escaped character in the path")]
    DoubleEncoding,
    /// A parameter on an empty or dot segment: `/;/`, `/..;x`.
    #[error("a parameter on an empty or dot segment")]
    ParameterOfNothing,
    /// `..` leads above the root.
    #[error("the path leads above the root")]
    AboveRoot,
    /// `#` in the request target.
    #[error("a fragment in the request target")]
    Fragment,
    /// `user@` in the authority.
    #[error("user information in the authority")]
    UserInfo,
    /// No host, or one that is not a name or address.
    #[error("the host name is not valid")]
    BadHost,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not valid")]
    BadPort,
    /// An absolute target names another authority than the host took.
    #[error("the target names another host than the request")]
    OtherAuthority,
    /// `X-Forwarded-Proto`, `-Host` or `-Port` of a trusted proxy is not one.
    #[error("a trusted proxy's X-Forwarded header is malformed")]
    Forwarded,
    /// The host's own reading of the path differs from ours: it would serve something else.
    #[error("the server reads this path differently")]
    HostServesOther,
}

/// The canonical URL of a request, with an explicit port. Reusable; allocates nothing.
///
/// After a refusal it is empty, so that an old URL can't be taken for the new one.
pub struct Canonical {
    text: ArrayString<MAX_URL>,
    /// Where the parts begin: host, `:port`, path, end of the script's path, `?query` (or the end).
    at: Offsets,
    port: u16,
}

#[derive(Clone, Copy, Default)]
struct Offsets {
    host: usize,
    port: usize,
    path: usize,
    info: usize,
    query: usize,
}

impl Default for Canonical {
    fn default() -> Canonical {
        Canonical::new()
    }
}

impl Canonical {
    /// An empty one; every part is empty until [`Canonical::set`].
    pub fn new() -> Canonical {
        Canonical {
            text: ArrayString::new(),
            at: Offsets::default(),
            port: 0,
        }
    }

    /// Takes the URL of `req`. Scheme from the connection, host and port from the effective host
    /// (without a port: the scheme's default), path and query from the target.
    pub fn set(&mut self, req: &RequestView<'_>) -> Result<(), Refusal> {
        let done = self.build(req);
        if done.is_err() {
            *self = Canonical::new();
        }
        done
    }

    fn build(&mut self, req: &RequestView<'_>) -> Result<(), Refusal> {
        self.text.clear();
        let target = self.origin_of(req)?;
        self.at.path = self.text.len();
        let path_len = plain_path(target);
        let rest = match target.get(path_len) {
            None | Some(b'?') => {
                self.copy(&target[..path_len])?;
                &target[path_len..]
            }
            Some(_) => {
                let end = memchr(b'?', target).unwrap_or(target.len());
                self.push_path(&target[..end])?;
                &target[end..]
            }
        };
        self.at.query = self.text.len();
        if rest.len() > 1 {
            self.push_query(rest)?;
        }
        self.at.info = self.at.path + self.script_len(&req.local)?;
        Ok(())
    }

    /// Path and query of `from` at another origin. After an error it is empty.
    pub(super) fn set_moved(&mut self, from: &Canonical, to: &Origin) -> Result<(), Refusal> {
        *self = Canonical::new();
        let done = self.push_moved(from, to);
        if done.is_err() {
            *self = Canonical::new();
        }
        done
    }

    fn push_moved(&mut self, from: &Canonical, to: &Origin) -> Result<(), Refusal> {
        self.push(if to.https { "https://" } else { "http://" })?;
        self.at.host = self.text.len();
        self.push(&to.host)?;
        self.at.port = self.text.len();
        self.port = to.port;
        self.put(b':')?;
        self.push(itoa::Buffer::new().format(to.port))?;
        self.at.path = self.text.len();
        self.push(&from.text[from.at.path..])?;
        self.at.query = self.at.path + from.path().len();
        self.at.info = self.at.path + (from.at.info - from.at.path);
        Ok(())
    }

    /// `from` without its query, and without path info if that is to be left out.
    pub(super) fn set_path_of(
        &mut self,
        from: &Canonical,
        ignore_path_info: bool,
    ) -> Result<(), Refusal> {
        self.text.clear();
        self.push(match ignore_path_info {
            true => from.without_path_info(),
            false => from.without_query(),
        })?;
        (self.at, self.port) = (from.at, from.port);
        self.at.query = self.text.len();
        self.at.info = self.at.info.min(self.at.query);
        Ok(())
    }

    /// Adds a parameter that came out of a canonical query.
    pub(super) fn push_parameter(&mut self, parameter: &str) -> Result<(), Refusal> {
        let first = self.text.len() == self.at.query;
        self.put(if first { b'?' } else { b'&' })?;
        self.push(parameter)
    }

    /// Writes scheme, host and port; returns the target from its path on.
    fn origin_of<'r>(&mut self, req: &RequestView<'r>) -> Result<&'r [u8], Refusal> {
        let default = if req.local.tls { 443 } else { 80 };
        self.push(if req.local.tls { "https://" } else { "http://" })?;
        self.at.host = self.text.len();
        self.port = push_host(&mut self.text, req.host)?.unwrap_or(default);
        self.at.port = self.text.len();
        self.put(b':')?;
        self.push(itoa::Buffer::new().format(self.port))?;

        if req.target.first() == Some(&b'/') {
            return Ok(req.target);
        }
        let (authority, rest) = absolute(req.target).ok_or(Refusal::NoPath)?;
        let mut named = ArrayString::<MAX_HOST>::new();
        let port = push_host(&mut named, authority)?.unwrap_or(default);
        if port != self.port || named.as_str() != self.host() {
            return Err(Refusal::OtherAuthority);
        }
        match rest.first() {
            Some(b'/') => Ok(rest),
            None => Ok(b"/"),
            Some(b'#') => Err(Refusal::Fragment),
            // `http://host?query`: the path is the root, but there is no slash to point at.
            Some(_) => Err(Refusal::NoPath),
        }
    }

    /// The path of a target that is not plain throughout; `raw` begins with `/`.
    fn push_path(&mut self, raw: &[u8]) -> Result<(), Refusal> {
        self.put(b'/')?;
        let root = self.text.len();
        let mut rest = &raw[1..];
        loop {
            let end = memchr(b'/', rest);
            let segment = &rest[..end.unwrap_or(rest.len())];
            match self.push_segment(segment, end.is_none())? {
                Segment::Name if end.is_some() => self.put(b'/')?,
                Segment::Name | Segment::Nothing => {}
                Segment::Up => {
                    let parent = &self.text.as_bytes()[root - 1..self.text.len() - 1];
                    let slash = memchr::memrchr(b'/', parent).ok_or(Refusal::AboveRoot)?;
                    self.text.truncate(root + slash);
                }
            }
            match end {
                Some(end) => rest = &rest[end + 1..],
                None => return Ok(()),
            }
        }
    }

    /// One segment, decoded and checked; a dot segment writes nothing.
    fn push_segment(&mut self, segment: &[u8], last: bool) -> Result<Segment, Refusal> {
        if segment.is_empty() {
            return Ok(Segment::Nothing);
        }
        let start = self.text.len();
        let mut encoded_dot = false;
        let mut at = 0;
        while let Some(&b) = segment.get(at) {
            at += 1;
            if b == b'%' {
                let b = escaped(&segment[at..]).ok_or(Refusal::BadEscape)?;
                at += 2;
                encoded_dot |= b == b'.';
                self.push_escaped(b)?;
            } else if is(b, PCHAR) {
                self.put(b)?;
            } else {
                self.push_raw(b)?;
            }
        }
        let written = &self.text.as_bytes()[start..];
        if hides_danger(written) {
            return Err(Refusal::DoubleEncoding);
        }
        let name = memchr(b';', written).unwrap_or(written.len());
        let parameter = name < written.len();
        let dots = matches!(&written[..name], b"." | b"..");
        if dots && encoded_dot {
            return Err(Refusal::EncodedDots);
        }
        // `/a/;jsessionid=1` is what servlet containers write; anywhere else it hides a segment.
        let session = last && written.len() > 1;
        if parameter && (dots || (name == 0 && !session)) {
            return Err(Refusal::ParameterOfNothing);
        }
        if !dots {
            return Ok(Segment::Name);
        }
        self.text.truncate(start);
        Ok(if name == 2 {
            Segment::Up
        } else {
            Segment::Nothing
        })
    }

    /// A byte that the path has as an escape.
    fn push_escaped(&mut self, b: u8) -> Result<(), Refusal> {
        match b {
            0..=0x1f | 0x7f => Err(Refusal::Control),
            b'/' => Err(Refusal::EncodedSlash),
            b'\\' => Err(Refusal::Backslash),
            _ if is(b, PCHAR) => self.put(b),
            _ => self.put_escape(b),
        }
    }

    /// A byte that may not stand in a URL as it is.
    fn push_raw(&mut self, b: u8) -> Result<(), Refusal> {
        match b {
            0..=0x20 | 0x7f => Err(Refusal::Control),
            b'#' => Err(Refusal::Fragment),
            b'\\' => Err(Refusal::Backslash),
            _ => self.put_escape(b),
        }
    }

    /// The query; `raw` begins with `?`.
    fn push_query(&mut self, raw: &[u8]) -> Result<(), Refusal> {
        let plain = raw.iter().take_while(|b| is(**b, QUERY)).count();
        self.copy(&raw[..plain])?;
        let mut at = plain;
        while let Some(&b) = raw.get(at) {
            at += 1;
            if b == b'%' {
                match escaped(&raw[at..]) {
                    Some(b) => {
                        at += 2;
                        if is(b, UNRESERVED) {
                            self.put(b)?
                        } else {
                            self.put_escape(b)?
                        }
                    }
                    None => self.put_escape(b'%')?,
                }
            } else if is(b, QUERY) {
                self.put(b)?;
            } else if b == b'\\' {
                self.put_escape(b)?; // browsers send it raw in a query
            } else {
                self.push_raw(b)?;
            }
        }
        Ok(())
    }

    /// How much of our path is the host's path without its path info; refuses when the host reads
    /// the path differently. A host that has no path of its own (empty) is not compared.
    fn script_len(&self, local: &Local<'_>) -> Result<usize, Refusal> {
        let path = self.path().as_bytes();
        if local.path.is_empty() {
            return Ok(path.len());
        }
        if memchr(b'%', path).is_none() {
            let same = path.strip_prefix(local.path) == Some(local.path_info);
            return if same {
                Ok(local.path.len())
            } else {
                Err(Refusal::HostServesOther)
            };
        }
        let mut theirs = local.path.iter().chain(local.path_info);
        let (mut at, mut decoded, mut script) = (0, 0, path.len());
        while let Some(&b) = path.get(at) {
            if decoded == local.path.len() {
                script = at;
            }
            let ours = if b == b'%' {
                escaped(&path[at + 1..])
            } else {
                Some(b)
            };
            if ours != theirs.next().copied() {
                return Err(Refusal::HostServesOther);
            }
            at += if b == b'%' { 3 } else { 1 };
            decoded += 1;
        }
        if theirs.next().is_some() {
            return Err(Refusal::HostServesOther);
        }
        Ok(script)
    }

    #[inline]
    fn put(&mut self, b: u8) -> Result<(), Refusal> {
        self.text
            .try_push(char::from(b))
            .map_err(|_| Refusal::TooLong)
    }

    fn put_escape(&mut self, b: u8) -> Result<(), Refusal> {
        escape(b).into_iter().try_for_each(|b| self.put(b))
    }

    fn push(&mut self, text: &str) -> Result<(), Refusal> {
        self.text.try_push_str(text).map_err(|_| Refusal::TooLong)
    }

    /// Bytes that are known to be ASCII.
    fn copy(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.push(core::str::from_utf8(bytes).map_err(|_| Refusal::Control)?)
    }

    /// The whole URL: `scheme://host:port/path?query`.
    pub fn url(&self) -> &str {
        &self.text
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        let text = &self.text[..self.at.host];
        text.strip_suffix("://").unwrap_or(text)
    }

    /// Host in lower case; an IPv6 address with its brackets.
    pub fn host(&self) -> &str {
        &self.text[self.at.host..self.at.port]
    }

    /// Port, never 0 in a URL that was accepted.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path, escaped, beginning with `/`.
    pub fn path(&self) -> &str {
        &self.text[self.at.path..self.at.query]
    }

    /// Query without the `?`; `None` also for an empty one.
    pub fn query(&self) -> Option<&str> {
        self.text[self.at.query..].strip_prefix('?')
    }

    /// `scheme://host:port/path`.
    pub fn without_query(&self) -> &str {
        &self.text[..self.at.query]
    }

    /// `scheme://host:port/path` up to where the host's path info begins.
    pub fn without_path_info(&self) -> &str {
        &self.text[..self.at.info]
    }

    /// `scheme://host:port`.
    pub fn origin(&self) -> &str {
        &self.text[..self.at.path]
    }
}

/// What a segment comes to.
enum Segment {
    Name,
    Nothing,
    Up,
}

impl From<Refusal> for Cow<'static, str> {
    fn from(refusal: Refusal) -> Cow<'static, str> {
        Cow::Owned(refusal.to_string())
    }
}

impl From<Bad> for Refusal {
    fn from(bad: Bad) -> Refusal {
        match bad {
            Bad::Host => Refusal::BadHost,
            Bad::Port => Refusal::BadPort,
            Bad::UserInfo => Refusal::UserInfo,
        }
    }
}

/// How many bytes of a path can be taken over as they are: no escape, parameter, `//` or `/.`.
fn plain_path(target: &[u8]) -> usize {
    let mut after_slash = true;
    let mut at = 1;
    while let Some(&b) = target.get(at) {
        if is(b, PLAIN) {
            after_slash = false;
        } else if after_slash || !matches!(b, b'/' | b'.') {
            // A final slash before a query is as plain as one at the end.
            break;
        } else {
            after_slash = b == b'/';
        }
        at += 1;
    }
    at.min(target.len())
}

/// Authority and rest of an absolute http(s) target.
fn absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr(b':', target)?;
    let (scheme, rest) = target.split_at(colon);
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return None;
    }
    let rest = rest.strip_prefix(b"://")?;
    let end = rest
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    Some(rest.split_at(end))
}

/// Would decoding what is written once more, or several times, give a slash, dot, backslash or NUL?
fn hides_danger(written: &[u8]) -> bool {
    memchr::memchr_iter(b'%', written).any(|at| {
        let Some(mut rest) = written[at..].strip_prefix(b"%25") else {
            return false;
        };
        while let Some(more) = rest.strip_prefix(b"25") {
            rest = more;
        }
        matches!(escaped(rest), Some(b'/' | b'.' | b'\\' | 0))
    })
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr};
    use std::{
        format,
        string::{String, ToString},
        vec::Vec,
    };

    use proptest::prelude::*;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn request<'r>(host: &'r [u8], target: &'r [u8], local: Local<'r>) -> RequestView<'r> {
        RequestView {
            method: b"GET",
            target,
            host,
            headers: &[],
            merged: false,
            peer: PEER,
            client: PEER,
            local,
        }
    }

    fn local<'r>(path: &'r [u8], path_info: &'r [u8]) -> Local<'r> {
        Local {
            tls: false,
            port: 80,
            path,
            path_info,
            authorizes: false,
        }
    }

    fn canonical(host: &[u8], target: &[u8]) -> Result<String, Refusal> {
        let mut c = Canonical::new();
        c.set(&request(host, target, local(b"", b"")))?;
        Ok(c.url().to_string())
    }

    fn path_and_query(target: &[u8]) -> Result<String, Refusal> {
        canonical(b"h", target).map(|u| u.strip_prefix("http://h:80").unwrap().to_string())
    }

    /// `\\xNN` in the corpus stands for a byte that a text file should not hold.
    fn unescape(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = text;
        while let Some((plain, more)) = rest.split_once("\\x") {
            out.extend_from_slice(plain.as_bytes());
            out.push(u8::from_str_radix(&more[..2], 16).unwrap());
            rest = &more[2..];
        }
        out.extend_from_slice(rest.as_bytes());
        out
    }

    #[test]
    fn the_corpus_of_paths_holds() {
        let corpus = include_str!("../../../../tests/corpora/paths.txt");
        let mut lines = 0;
        for line in corpus
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            let (input, expected) = line.split_once(" => ").expect(line);
            let found = match path_and_query(&unescape(input)) {
                Ok(path) => path,
                Err(refusal) => format!("!{refusal:?}"),
            };
            assert_eq!(found, expected, "{line}");
            lines += 1;
        }
        assert!(lines > 100, "{lines} lines");
    }

    #[test]
    fn parts_are_where_they_belong() {
        let mut c = Canonical::new();
        let tls = Local {
            tls: true,
            ..local(b"/a b/x.php", b"/info")
        };
        c.set(&request(
            b"WWW.Example.COM.",
            b"/a%20b/./x.php/info?q=%7e&r=/",
            tls,
        ))
        .unwrap();
        assert_eq!(
            c.url(),
            "https://www.example.com:443/a%20b/x.php/info?q=~&r=/"
        );
        assert_eq!(
            (c.scheme(), c.host(), c.port()),
            ("https", "www.example.com", 443)
        );
        assert_eq!(
            (c.path(), c.query()),
            ("/a%20b/x.php/info", Some("q=~&r=/"))
        );
        assert_eq!(
            c.without_query(),
            "https://www.example.com:443/a%20b/x.php/info"
        );
        assert_eq!(
            c.without_path_info(),
            "https://www.example.com:443/a%20b/x.php"
        );
        assert_eq!(c.origin(), "https://www.example.com:443");
        c.set(&request(b"h", b"/x.php/i", local(b"/x.php", b"/i")))
            .unwrap();
        assert_eq!(c.without_path_info(), "http://h:80/x.php");
        assert_eq!(c.query(), None);
    }

    #[test]
    fn hosts_and_ports() {
        let ok = |host: &[u8]| canonical(host, b"/").unwrap();
        assert_eq!(ok(b"h:8080"), "http://h:8080/");
        assert_eq!(ok(b"[2001:DB8:0::1]:81"), "http://[2001:db8::1]:81/");
        assert_eq!(ok(b"a_b-c.d1"), "http://a_b-c.d1:80/");
        let bad = |host: &[u8]| canonical(host, b"/").unwrap_err();
        for host in [
            &b""[..],
            b".",
            b"a..b",
            b".a",
            b"a b",
            b"a/b",
            b"a%2eb",
            b"[::1",
            b"[x]",
            b"h[",
            b"a\\b",
        ] {
            assert_eq!(bad(host), Refusal::BadHost, "{host:?}");
        }
        assert_eq!(bad(&[b'a'; 254]), Refusal::BadHost);
        for host in [
            &b"h:"[..],
            b"h:0",
            b"h:65536",
            b"h:99999",
            b"h:123456",
            b"h:8a",
            b"h:-1",
        ] {
            assert_eq!(bad(host), Refusal::BadPort, "{host:?}");
        }
        assert_eq!(bad(b"u@h"), Refusal::UserInfo);
        assert_eq!(bad(b"u:p@h:80"), Refusal::UserInfo);
    }

    #[test]
    fn an_absolute_target_names_the_host_of_the_request() {
        let at = |target: &[u8]| canonical(b"h:8080", target);
        assert_eq!(at(b"http://H:8080/a").unwrap(), "http://h:8080/a");
        assert_eq!(at(b"HTTP://h:8080").unwrap(), "http://h:8080/");
        assert_eq!(at(b"http://h/a"), Err(Refusal::OtherAuthority));
        assert_eq!(at(b"http://evil:8080/a"), Err(Refusal::OtherAuthority));
        assert_eq!(at(b"http://h:8080@evil/a"), Err(Refusal::UserInfo));
        assert_eq!(at(b"http://evil\\@h:8080/a"), Err(Refusal::UserInfo));
        assert_eq!(at(b"ftp://h:8080/a"), Err(Refusal::NoPath));
        assert_eq!(at(b"http:/h:8080/a"), Err(Refusal::NoPath));
        for target in [&b"*"[..], b"h:8080", b"", b"a/b", b"?x", b"http://h:8080?x"] {
            assert_eq!(at(target), Err(Refusal::NoPath), "{target:?}");
        }
    }

    #[test]
    fn what_the_host_reads_differently_is_refused() {
        let check = |target: &[u8], path: &[u8], info: &[u8]| {
            Canonical::new().set(&request(b"h", target, local(path, info)))
        };
        assert_eq!(check(b"/a/../b", b"/b", b""), Ok(()));
        assert_eq!(check(b"//b", b"/b", b""), Ok(()));
        assert_eq!(check(b"//b", b"//b", b""), Err(Refusal::HostServesOther));
        assert_eq!(check(b"/b", b"/b/", b""), Err(Refusal::HostServesOther));
        assert_eq!(check(b"/b/x", b"/b", b"/x"), Ok(()));
        assert_eq!(check(b"/b/x", b"/b", b"/xy"), Err(Refusal::HostServesOther));
        assert_eq!(check(b"/b/x", b"/b", b""), Err(Refusal::HostServesOther));
        assert_eq!(
            check(b"/%c3%a5 ".trim_ascii(), "/\u{e5}".as_bytes(), b""),
            Ok(())
        );
        assert_eq!(check(b"/%ff", b"/\xff", b""), Ok(()));
        assert_eq!(check(b"/%ff", b"/\xfe", b""), Err(Refusal::HostServesOther));
        assert_eq!(
            check(b"/%ff", b"/\xffx", b""),
            Err(Refusal::HostServesOther)
        );
        assert_eq!(check(b"/a%2541", b"/a%41", b""), Ok(()));
        assert_eq!(
            check(b"/a%2541", b"/aA", b""),
            Err(Refusal::HostServesOther)
        );
    }

    #[test]
    fn a_refusal_leaves_nothing_of_the_url_before() {
        let mut c = Canonical::new();
        c.set(&request(b"h", b"/a?b", local(b"", b""))).unwrap();
        c.set(&request(b"h", b"/%2f", local(b"", b""))).unwrap_err();
        assert_eq!(
            (c.url(), c.host(), c.path(), c.query(), c.port()),
            ("", "", "", None, 0)
        );
    }

    #[test]
    fn length_is_limited_after_escaping() {
        let mut long = Vec::from(&b"/"[..]);
        long.resize(MAX_URL - "http://h:80".len(), b'a');
        assert_eq!(path_and_query(&long).unwrap().len(), long.len());
        long[5] = b'|';
        assert_eq!(path_and_query(&long), Err(Refusal::TooLong));
        long[5] = b'a';
        long.push(b'a');
        assert_eq!(path_and_query(&long), Err(Refusal::TooLong));
    }

    /// The rules once more, slowly: split, decode, check, resolve, encode.
    fn reference(target: &[u8]) -> Option<String> {
        let (path, query) = match target.iter().position(|b| *b == b'?') {
            Some(at) => (&target[..at], Some(&target[at + 1..])),
            None => (target, None),
        };
        if target.contains(&b'#') || path.contains(&b'\\') {
            return None;
        }
        let mut stack: Vec<Vec<u8>> = Vec::new();
        let parts: Vec<&[u8]> = path[1..].split(|b| *b == b'/').collect();
        let mut slash = false;
        for (i, part) in parts.iter().enumerate() {
            let last = i + 1 == parts.len();
            let decoded = decode_strictly(part)?;
            let name = decoded.split(|b| *b == b';').next().unwrap();
            let dots = name == b"." || name == b"..";
            let parameter = name.len() < decoded.len();
            if dots && (parameter || part.len() != decoded.len()) {
                return None;
            }
            if parameter && name.is_empty() && !(last && decoded.len() > 1) {
                return None;
            }
            if name == b".." {
                stack.pop()?;
            } else if !dots && !decoded.is_empty() {
                stack.push(decoded.clone());
            }
            slash = dots || decoded.is_empty();
        }
        let mut out = String::new();
        for part in &stack {
            out.push('/');
            part.iter().for_each(|b| encode(*b, PCHAR, &mut out));
        }
        if slash || stack.is_empty() {
            out.push('/');
        }
        if let Some(query) = query.filter(|q| !q.is_empty()) {
            out.push('?');
            encode_query(query, &mut out)?;
        }
        Some(out)
    }

    fn decode_strictly(part: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut i = 0;
        while i < part.len() {
            let mut b = part[i];
            if b == b' ' {
                return None;
            }
            if b == b'%' {
                let digits = core::str::from_utf8(part.get(i + 1..i + 3)?).ok()?;
                if !digits.bytes().all(|d| d.is_ascii_hexdigit()) {
                    return None;
                }
                b = u8::from_str_radix(digits, 16).ok()?;
                if b == b'/' || b == b'\\' {
                    return None;
                }
                i += 2;
            }
            if b.is_ascii_control() {
                return None;
            }
            out.push(b);
            i += 1;
        }
        let text = String::from_utf8_lossy(&out).to_ascii_lowercase();
        let again = text.split('%').skip(1).any(|after| {
            let digits = after.trim_start_matches("25");
            ["2f", "2e", "5c", "00"]
                .iter()
                .any(|bad| digits.starts_with(bad))
        });
        (!again).then_some(out)
    }

    fn encode(b: u8, class: u8, out: &mut String) {
        if is(b, class) {
            out.push(b as char)
        } else {
            out.push_str(&format!("%{b:02X}"))
        }
    }

    fn encode_query(query: &[u8], out: &mut String) -> Option<()> {
        let mut i = 0;
        while i < query.len() {
            let b = query[i];
            let hex = |at: usize| query.get(at).filter(|d| d.is_ascii_hexdigit());
            i += 1;
            match b {
                b'%' if hex(i).is_some() && hex(i + 1).is_some() => {
                    let text = core::str::from_utf8(&query[i..i + 2]).unwrap();
                    encode(u8::from_str_radix(text, 16).unwrap(), UNRESERVED, out);
                    i += 2;
                }
                0..=0x20 | 0x7f => return None,
                b => encode(b, QUERY, out),
            }
        }
        Some(())
    }

    /// Targets in which the interesting pieces are frequent.
    fn targets() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            6 => "[a-zA-Z0-9]{1,3}".prop_map(String::into_bytes),
            4 => Just(b"/".to_vec()),
            6 => prop::sample::select(Vec::from([
                ".", "..", "/../", "/./", "//", ";", "/;x", "%2e", "%2E", "%2f", "%5c", "%25", "%252e",
                "%25252f", "%00", "%41", "%c3%a5", "%ff", "%", "%4", "%zz", "?", "?a=b", "&c[]=%20", "#",
                "\\", "|", "%7c", "*", "%2A", "%3b", ":@", "+",
            ])).prop_map(|s| s.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 1..3),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| {
            let mut target = b"/".to_vec();
            pieces.into_iter().for_each(|p| target.extend(p));
            target
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn agrees_with_the_reference_and_is_stable(target in targets()) {
            let ours = path_and_query(&target).ok();
            prop_assert_eq!(&ours, &reference(&target));
            if let Some(once) = ours {
                prop_assert_eq!(path_and_query(once.as_bytes()), Ok(once.clone()));
            }
        }

        #[test]
        fn any_bytes_are_judged(host in prop::collection::vec(any::<u8>(), 0..20),
                                target in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(url) = canonical(&host, &target) {
                prop_assert!(url.bytes().all(|b| b.is_ascii_graphic()));
                prop_assert!(url::Url::parse(&url).is_ok());
            }
        }

        /// What we judge is what the host serves: our path decodes to the path we compared with.
        #[test]
        fn the_host_serves_what_was_judged(target in targets()) {
            if let Ok(path) = path_and_query(&target) {
                let path = path.split('?').next().unwrap();
                let decoded: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
                let mut c = Canonical::new();
                prop_assert_eq!(c.set(&request(b"h", &target, local(&decoded, b""))), Ok(()));
                for cut in 1..decoded.len() {
                    let (script, info) = decoded.split_at(cut);
                    c.set(&request(b"h", &target, local(script, info))).unwrap();
                    let cut_url: Vec<u8> = percent_encoding::percent_decode_str(
                        c.without_path_info().strip_prefix("http://h:80").unwrap()).collect();
                    prop_assert_eq!(cut_url, script);
                }
                let other = [&decoded[..], b"x"].concat();
                prop_assert_eq!(c.set(&request(b"h", &target, local(&other, b""))),
                                Err(Refusal::HostServesOther));
            }
        }
    }
}
