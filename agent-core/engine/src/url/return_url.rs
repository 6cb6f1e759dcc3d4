//! Where may a browser be sent? Only to hosts that the configuration names (rule L7).
//!
//! A [`ReturnUrl`] is put together again from its parsed parts, never passed on as it came: what we
//! understood is what the browser gets. The parser is stricter than any browser: whatever one of
//! them might read differently is refused, not repaired.

use alloc::{format, string::String, vec::Vec};
use core::net::Ipv4Addr;

use arrayvec::ArrayString;

use super::{
    authority::{MAX_HOST, push_host},
    canonical::{Canonical, MAX_URL},
    escape::{QUERY, escape, is},
    pattern::{Glob, Part},
};

/// Why an address is not redirected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReturnUrlError {
    /// Does not begin with `http://` or `https://`.
    #[error("not an absolute http URL")]
    NotHttp,
    /// A blank, a control byte, a backslash or a byte beyond ASCII.
    #[error("a byte that has no place in a URL")]
    BadByte,
    /// `user@`.
    #[error("user information")]
    UserInfo,
    /// The host is not a name or address.
    #[error("the host name is not valid")]
    BadHost,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not valid")]
    BadPort,
    /// Host, port or scheme are not among the allowed ones.
    #[error("the host is not one of the configured ones")]
    NotAllowed,
    /// Longer than a URL may be.
    #[error("the URL is too long")]
    TooLong,
}

/// Why a configured host can't be one that redirects may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowedHostError {
    /// A scheme other than http and https.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// Not a host name, an address, or a name with `*`.
    #[error("the host name is not valid")]
    Host,
    /// Not a port number.
    #[error("the port is not valid")]
    Port,
    /// Nothing fixed behind the last `*`: it would allow every host.
    #[error("a wildcard must be followed by a fixed domain that begins with a dot")]
    Wildcard,
}

/// The hosts that redirects may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    entries: Vec<Allowed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    https: Option<bool>,
    host: Glob,
    port: Option<u16>,
}

impl AllowedHosts {
    /// The hosts of all these texts; see [`AllowedHosts::add`]. The first error comes with its text.
    pub fn new<'t>(
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Result<AllowedHosts, (&'t str, AllowedHostError)> {
        let mut hosts = AllowedHosts::default();
        for text in texts {
            hosts.add(text).map_err(|error| (text, error))?;
        }
        Ok(hosts)
    }

    /// Adds `host`, `host:port` or `scheme://host[:port][/…]`. A bare host stands for each scheme
    /// and port, one with a port for that port only, a URL without a port for its scheme's default.
    /// `*` in a name stands for any part of a name, but not for its end.
    pub fn add(&mut self, text: &str) -> Result<(), AllowedHostError> {
        let text = text.trim_ascii();
        let (https, rest) = match text.split_once("://") {
            Some((scheme, rest)) => match is_https(scheme.as_bytes()) {
                Some(https) => (
                    Some(https),
                    rest.split(['/', '?', '#']).next().unwrap_or(rest),
                ),
                None => return Err(AllowedHostError::Scheme),
            },
            None => (None, text),
        };
        let (name, port) = if rest.contains('*') {
            wildcard(rest)?
        } else {
            literal(rest)?
        };
        let port = port.or(https.map(default_port));
        self.entries.push(Allowed {
            https,
            host: Glob::parse(&name, false, Part::Origin, true),
            port,
        });
        Ok(())
    }

    /// Whether redirects may go to this host, given in lower case, with this scheme and port.
    pub fn allows(&self, https: bool, host: &str, port: u16) -> bool {
        self.entries.iter().any(|entry| {
            entry.https.is_none_or(|only| only == https)
                && entry.port.is_none_or(|only| only == port)
                // A browser reads a name that ends in a number as an IPv4 address.
                && (entry.host.exact().is_some() || !ends_in_number(host))
                && entry.host.matches(host.as_bytes(), true)
        })
    }

    /// Origin of the first host without a wildcard. What its entry leaves open comes from an entry
    /// with a port for the same host, because AM sends logins back to root URLs only, else from the
    /// arguments. `None` when there is no such host.
    pub fn primary(&self, scheme: &str, port: u16) -> Option<String> {
        let first = self
            .entries
            .iter()
            .find(|entry| entry.host.exact().is_some())?;
        let fuller = self
            .entries
            .iter()
            .rev() // of equally good ones `max_by_key` takes the last
            .filter(|entry| entry.host.exact() == first.host.exact() && entry.port.is_some())
            .max_by_key(|entry| {
                let fits = entry.https.is_none_or(|https| scheme_of(https) == scheme);
                (fits, entry.port == Some(port))
            });
        let entry = match first.port {
            Some(_) => first,
            None => fuller.unwrap_or(first),
        };
        let host = core::str::from_utf8(entry.host.exact()?).ok()?;
        let scheme = entry.https.map_or(scheme, |https| scheme_of(https));
        Some(format!("{scheme}://{host}:{}", entry.port.unwrap_or(port)))
    }

    /// Whether no host is allowed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn literal(text: &str) -> Result<(ArrayString<MAX_HOST>, Option<u16>), AllowedHostError> {
    let mut name = ArrayString::new();
    let port = push_host(&mut name, text.as_bytes()).map_err(|bad| match bad {
        super::authority::Bad::Port => AllowedHostError::Port,
        _ => AllowedHostError::Host,
    })?;
    // `1.2.3` is `1.2.0.3` to a browser: only the full form means the same everywhere.
    if ends_in_number(&name) && name.parse::<Ipv4Addr>().is_err() {
        return Err(AllowedHostError::Host);
    }
    Ok((name, port))
}

fn wildcard(text: &str) -> Result<(ArrayString<MAX_HOST>, Option<u16>), AllowedHostError> {
    let name = text.split(':').next().unwrap_or(text).trim_end_matches('.');
    if !name.rsplit('*').next().unwrap_or("").starts_with('.') {
        return Err(AllowedHostError::Wildcard);
    }
    // With a letter for each wildcard it has to be a name like any other.
    let (_, port) = literal(&text.replace('*', "x"))?;
    let name = ArrayString::from(name).map_err(|_| AllowedHostError::Host)?;
    Ok((name, port))
}

/// Whether a browser would take the last label for part of an IPv4 address (WHATWG URL 3.5).
fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let hex = last
        .strip_prefix("0x")
        .map(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hex.unwrap_or(!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
}

fn is_https(scheme: &[u8]) -> Option<bool> {
    if scheme.eq_ignore_ascii_case(b"https") {
        Some(true)
    } else {
        scheme.eq_ignore_ascii_case(b"http").then_some(false)
    }
}

fn scheme_of(https: bool) -> &'static str {
    if https { "https" } else { "http" }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// An address that a browser may be sent to, in our own spelling and with an explicit port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnUrl(String);

impl ReturnUrl {
    /// The request's own URL, if its host is an allowed one: `Host` is the client's word.
    pub fn from_canonical(
        url: &Canonical,
        allowed: &AllowedHosts,
    ) -> Result<ReturnUrl, ReturnUrlError> {
        if !allowed.allows(url.scheme() == "https", url.host(), url.port()) {
            return Err(ReturnUrlError::NotAllowed);
        }
        Ok(ReturnUrl(url.url().into()))
    }

    /// An address from outside, or one that we stored: the one parser for both.
    pub fn parse(text: &str, allowed: &AllowedHosts) -> Result<ReturnUrl, ReturnUrlError> {
        if text.len() > MAX_URL {
            return Err(ReturnUrlError::TooLong);
        }
        if text.bytes().any(|b| !b.is_ascii_graphic() || b == b'\\') {
            return Err(ReturnUrlError::BadByte);
        }
        let (scheme, rest) = text.split_once("://").ok_or(ReturnUrlError::NotHttp)?;
        let https = is_https(scheme.as_bytes()).ok_or(ReturnUrlError::NotHttp)?;
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let mut host = ArrayString::<MAX_HOST>::new();
        let port = push_host(&mut host, authority.as_bytes()).map_err(|bad| match bad {
            super::authority::Bad::Host => ReturnUrlError::BadHost,
            super::authority::Bad::Port => ReturnUrlError::BadPort,
            super::authority::Bad::UserInfo => ReturnUrlError::UserInfo,
        })?;
        if authority
            .split(':')
            .next()
            .is_some_and(|name| name.ends_with('.'))
        {
            return Err(ReturnUrlError::BadHost); // the same host to us, another one to a browser
        }
        let port = port.unwrap_or(default_port(https));
        if !allowed.allows(https, &host, port) {
            return Err(ReturnUrlError::NotAllowed);
        }
        let slash = if rest.starts_with('/') { "" } else { "/" };
        let mut url = format!("{}://{host}:{port}{slash}", scheme_of(https));
        for b in rest.bytes() {
            if is(b, QUERY) || matches!(b, b'%' | b'#') {
                url.push(char::from(b));
            } else {
                url.extend(escape(b).map(char::from));
            }
        }
        if url.len() > MAX_URL {
            return Err(ReturnUrlError::TooLong);
        }
        Ok(ReturnUrl(url))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address for a `Location` header: printable ASCII without blanks, quotes or brackets.
    pub fn location_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::string::ToString;

    use super::*;

    fn hosts() -> AllowedHosts {
        AllowedHosts::new([
            "www.example.com",
            "*.apps.example.com",
            "https://secure.example.com",
            "http://port.example.com:8080/ignored/path",
            "plain.example.com:81",
            "http://[::1]:8080",
            "127.0.0.1",
        ])
        .unwrap()
    }

    #[test]
    fn the_corpus_of_redirects_holds() {
        let corpus = include_str!("../../../../tests/corpora/open_redirects.txt");
        let mut lines = 0;
        for line in corpus
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with("## "))
        {
            let (input, expected) = line.split_once(" => ").expect(line);
            let input = input
                .replace("\\t", "\t")
                .replace("\\n", "\n")
                .replace("\\r", "\r")
                .replace("\\0", "\0");
            let found = match ReturnUrl::parse(&input, &hosts()) {
                Ok(url) => url.as_str().to_string(),
                Err(error) => format!("!{error:?}"),
            };
            assert_eq!(found, expected, "{line}");
            lines += 1;
        }
        assert!(lines > 150, "{lines} lines");
    }

    #[test]
    fn what_is_too_long_is_not_redirected_to() {
        let fits = |text: &str| ReturnUrl::parse(text, &hosts());
        let long = |end: &str, count: usize| {
            let text = std::format!("http://www.example.com/{}", end.repeat(count));
            fits(&text)
        };
        assert!(long("a", 1000).is_ok());
        assert_eq!(long("a", MAX_URL), Err(ReturnUrlError::TooLong));
        // Escaped, it is longer than it came.
        assert_eq!(long("\"", MAX_URL / 2), Err(ReturnUrlError::TooLong));
        let host = std::format!(
            "http://{}.apps.example.com/",
            "a.".repeat(200).trim_end_matches('.')
        );
        assert_eq!(fits(&host), Err(ReturnUrlError::BadHost));
    }

    #[test]
    fn configured_hosts_are_checked() {
        let error = |text: &str| AllowedHosts::new([text]).err().map(|(_, error)| error);
        for (text, expected) in [
            ("*", AllowedHostError::Wildcard),
            ("www.*", AllowedHostError::Wildcard),
            ("www.example.*", AllowedHostError::Wildcard),
            ("*example.com", AllowedHostError::Wildcard),
            ("*.", AllowedHostError::Wildcard),
            ("*..com", AllowedHostError::Host),
            ("", AllowedHostError::Host),
            ("a b", AllowedHostError::Host),
            ("u@h", AllowedHostError::Host),
            ("h/x", AllowedHostError::Host),
            ("1.2.3", AllowedHostError::Host),
            ("0x7f000001", AllowedHostError::Host),
            ("h:0", AllowedHostError::Port),
            ("*.h.com:x", AllowedHostError::Port),
            ("ftp://h", AllowedHostError::Scheme),
        ] {
            assert_eq!(error(text), Some(expected), "{text:?}");
        }
        assert!(
            AllowedHosts::default().is_empty() && !AllowedHosts::default().allows(true, "h", 443)
        );
    }

    #[test]
    fn the_primary_host_fills_in_what_is_open() {
        let primary = |text: &str| AllowedHosts::new([text]).unwrap().primary("http", 8080);
        assert_eq!(
            primary("WWW.example.com").as_deref(),
            Some("http://www.example.com:8080")
        );
        assert_eq!(primary("h:81").as_deref(), Some("http://h:81"));
        assert_eq!(primary("https://h/").as_deref(), Some("https://h:443"));
        assert_eq!(primary("*.h.com"), None);
        let hosts = AllowedHosts::new(["h", "http://h:82", "https://h:8443", "i:83"]).unwrap();
        for (scheme, port, origin) in [
            ("http", 80, "http://h:82"),
            ("http", 82, "http://h:82"),
            ("https", 443, "https://h:8443"),
        ] {
            assert_eq!(hosts.primary(scheme, port).as_deref(), Some(origin));
        }
    }

    fn urls() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(Vec::from([
            "http:",
            "https:",
            "HTTP:",
            "javascript:",
            "//",
            "/",
            "\\",
            "@",
            "www.example.com",
            "evil.example",
            "a.apps.example.com",
            "secure.example.com",
            ":80",
            ":443",
            ":",
            ".",
            "%2e",
            "%40",
            "%5c",
            "?",
            "#",
            "\t",
            "\n",
            " ",
            "[::1]",
            ":8080",
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "xn--",
            "\u{ff0e}",
            "\u{3002}",
            "\u{ad}",
            "x",
            "..",
            "&",
            ";",
            "'",
            "\"",
            "<",
            "^",
            "|",
            "[",
            "]",
        ]));
        (
            prop::sample::select(Vec::from(["", "http://", "https://"])),
            prop::collection::vec(piece, 0..7),
        )
            .prop_map(|(scheme, pieces)| format!("{scheme}{}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// The browser goes where we thought, both for the text we read and for the one we write.
        #[test]
        fn the_whatwg_parser_agrees(text in urls()) {
            let allowed = hosts();
            if let Ok(ours) = ReturnUrl::parse(&text, &allowed) {
                let plain = |b: &u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(b);
                let clean = ours.location_bytes().iter().all(plain);
                prop_assert!(clean);
                let base = url::Url::parse("https://elsewhere.example/x/y").unwrap();
                for text in [text.as_str(), ours.as_str()] {
                    // A name that is no name to the browser (a broken `xn--`) leads nowhere.
                    let Ok(theirs) = base.join(text) else { continue };
                    let host = theirs.host_str().unwrap();
                    let port = theirs.port_or_known_default().unwrap();
                    prop_assert!(allowed.allows(theirs.scheme() == "https", host, port), "{}", theirs);
                    let expected = format!("{}://{host}:{port}/", theirs.scheme());
                    prop_assert!(ours.as_str().starts_with(&expected), "{} {}", ours.as_str(), expected);
                    prop_assert!(theirs.username().is_empty() && theirs.password().is_none());
                }
                prop_assert_eq!(ReturnUrl::parse(ours.as_str(), &allowed), Ok(ours.clone()));
            }
        }
    }
}
