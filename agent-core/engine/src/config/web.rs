//! Checks of what a configuration may contain of the web: URLs, hosts, realms, header names.
//!
//! For text that the operator wrote. Addresses from outside go through `crate::url` only.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
};
use core::fmt;

/// What to do about a URL that is wrong.
pub(super) const REMEDY: &str = "write it as in https://am.example.com:8443/openam/";

/// One byte of a header name as applications see it: without case, and every separator equal
/// (rule U3).
pub(super) fn fold(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' => byte | 0x20,
        b'a'..=b'z' | b'0'..=b'9' => byte,
        _ => b'_',
    }
}

/// A token of RFC 9110 section 5.6.2: header and cookie names.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// `name=value` as it can stand in a cookie.
pub(super) fn mark(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let plain = |b: u8| b.is_ascii_graphic() && !b"\",;\\".contains(&b);
    let good = is_token(name) && !value.is_empty() && value.bytes().all(plain);
    good.then(|| (name.into(), value.into()))
}

/// A DNS name or an IPv4 address.
pub(super) fn is_host(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        // Underscores are no host names by RFC 1123, but internal networks have them.
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A host name in which `*` may stand for anything.
pub(super) fn is_host_pattern(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.*".contains(&b))
}

/// A realm with its leading and without a trailing slash.
pub(super) fn realm(text: &str) -> Option<String> {
    let path = text.trim_matches('/');
    let good = !text.contains("//")
        && !path
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || "?#&=".contains(c));
    good.then(|| format!("/{path}"))
}

/// A URL without query, split into what the product needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// `https` or `http`.
    pub(super) scheme: &'static str,
    /// Lower case; an IPv6 address with its brackets.
    pub(super) host: String,
    /// As written; `None` when it was not.
    pub(super) port: Option<u16>,
    /// Begins and ends with `/`.
    pub(super) path: String,
}

impl Base {
    /// Reads `http(s)://host[:port][/path]`; scheme and host become lower case, the path gets its
    /// trailing slash.
    pub(super) fn parse(text: &str) -> Result<Base, &'static str> {
        let (base, rest) = split(text)?;
        if !rest.is_empty() {
            return Err("it has a query or fragment");
        }
        Ok(base)
    }

    /// The port that connections go to.
    pub(super) fn effective_port(&self) -> u16 {
        self.port.unwrap_or(self.default_port())
    }

    /// The port as browsers write it: not at all when it is the scheme's own.
    pub(super) fn port_for_browsers(&self) -> Option<u16> {
        self.port.filter(|port| *port != self.default_port())
    }

    fn default_port(&self) -> u16 {
        if self.scheme == "https" { 443 } else { 80 }
    }

    /// Scheme, host and port; the port only if `port` says so.
    pub(super) fn origin(&self, port: Option<u16>) -> String {
        match port {
            Some(port) => format!("{}://{}:{port}", self.scheme, self.host),
            None => format!("{}://{}", self.scheme, self.host),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(self.port), self.path)
    }
}

/// An absolute URL into its base and what follows the path (`?query#fragment`, or nothing).
pub(super) fn split(text: &str) -> Result<(Base, &str), &'static str> {
    if text
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || "\"<>\\^`{|}".contains(c))
    {
        return Err("it has characters that a URL cannot have");
    }
    let (scheme, rest) = text
        .split_once("://")
        .ok_or("it has no http:// or https://")?;
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => "https",
        _ if scheme.eq_ignore_ascii_case("http") => "http",
        _ => return Err("its scheme is neither http nor https"),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if authority.contains('@') {
        return Err("it has a user name");
    }
    let (host, port) = authority_parts(authority)?;
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (path, rest) = rest.split_at(end);
    if path
        .split('/')
        .any(|segment| segment == "." || segment == "..")
    {
        return Err("its path has . or .. in it");
    }
    let slash = if path.ends_with('/') { "" } else { "/" };
    Ok((
        Base {
            scheme,
            host,
            port,
            path: format!("{path}{slash}"),
        },
        rest,
    ))
}

fn authority_parts(authority: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = match authority.rfind(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let good = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) => address.parse::<core::net::Ipv6Addr>().is_ok(),
        None => is_host(host),
    };
    if !good {
        return Err("it has no valid host name");
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return Err("something follows its host name"),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(
            digits
                .parse()
                .ok()
                .filter(|p| *p != 0)
                .ok_or("its port is not a port")?,
        ),
        Some(_) => return Err("its port is not a port"),
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// The address of a page: an absolute URL, or a path on this server.
pub(super) fn page(text: &str) -> Result<(), &'static str> {
    if text.starts_with("//") {
        return Err("it begins with two slashes, which browsers take for a host");
    }
    if text.starts_with('/') {
        // The rules for a path are those of a URL; a host in front lets one parser see both.
        return split(&format!("http://localhost{text}")).map(|_| ());
    }
    split(text).map(|_| ())
}

/// AM's own URL out of one of its pages: what stands before `/UI/`, `/XUI/`, `/oauth2/`,
/// `/cdcservlet`. A page of somebody else gives nothing.
pub(super) fn deployment(page: &str) -> Option<Base> {
    let (mut base, _) = split(page).ok()?;
    let end = ["/UI/", "/XUI/", "/oauth2/", "/cdcservlet/"]
        .iter()
        .filter_map(|mark| base.path.find(mark))
        .min()?;
    base.path.truncate(end + 1);
    Some(base)
}

/// The realm that the query of a login page names.
pub(super) fn realm_parameter(page: &str) -> Option<String> {
    let (_, query) = page.split_once('?')?;
    let query = query.split('#').next().unwrap_or_default();
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("realm="))?;
    realm(
        &percent_encoding::percent_decode_str(value)
            .decode_utf8()
            .ok()?,
    )
}

/// The realm that an address of AM's names: in its query, or in its path, as
/// `/oauth2/realms/root/realms/shop/authorize` or `/oauth2/shop/authorize`.
pub(crate) fn realm_named(address: &str) -> Option<String> {
    let by_path = || {
        let path = address.split(['?', '#']).next()?;
        let path = path.split_once("/oauth2/")?.1.strip_suffix("authorize")?;
        let steps = path.split('/').filter(|step| !step.is_empty());
        let names: alloc::vec::Vec<&str> = match path.starts_with("realms/root/") {
            true => steps.skip(1).step_by(2).skip(1).collect(),
            false => steps.collect(),
        };
        match path {
            "realms/root/" => Some("/".to_string()),
            _ if names.is_empty() => None,
            _ => realm(&format!("/{}", names.join("/"))),
        }
    };
    realm_parameter(address).or_else(by_path)
}

/// Whether a pattern matches every URL of a host, or of all.
pub(super) fn covers_everything(pattern: &str) -> bool {
    let rest = match pattern.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or(rest, |(_, path)| path),
        None => pattern.trim_start_matches('/'),
    };
    !rest.is_empty() && rest.bytes().all(|b| b == b'*' || b == b'/')
}

/// `/app` for `/app`, `app`, `/app/` and `/app/*`; empty for the root.
pub(super) fn path_prefix(key: &str) -> Option<String> {
    let path = key.strip_suffix("/*").unwrap_or(key);
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = match path.starts_with('/') || path.is_empty() {
        true => path.to_string(),
        false => format!("/{path}"),
    };
    let plain = path
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"*?#%;\\".contains(&b));
    let climbs = path.split('/').any(|part| part == "." || part == "..");
    (!key.is_empty() && plain && !climbs && !path.contains("//")).then_some(path)
}

/// A path of the agent's own, with its leading slash.
pub(super) fn endpoint(text: &str) -> Option<String> {
    let path = format!("/{}", text.trim_start_matches('/'));
    let good = path.len() > 1
        && path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b))
        && !path.contains("//")
        && !path.split('/').any(|s| s == "." || s == "..");
    good.then(|| path.to_string())
}

/// A cookie attribute `SameSite` in its usual spelling.
pub(super) fn same_site(text: &str) -> Option<String> {
    ["Strict", "Lax", "None"]
        .into_iter()
        .find(|word| word.eq_ignore_ascii_case(text))
        .map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn an_address_of_am_names_a_realm_in_two_ways() {
        for (address, expected) in [
            ("https://a/am/oauth2/authorize", None),
            ("https://a/am/oauth2/authorize?realm=/x", Some("/x")),
            ("https://a/am/oauth2/realms/root/authorize", Some("/")),
            (
                "https://a/am/oauth2/realms/root/realms/x/realms/y/authorize?service=t",
                Some("/x/y"),
            ),
            ("https://a/am/oauth2/x/authorize", Some("/x")),
            (
                "https://a/am/oauth2/realms/root/realms/x/authorize?realm=/z",
                Some("/z"),
            ),
            ("https://a/am/UI/Login?realm=%2Fx", Some("/x")),
            ("https://a/am", None),
        ] {
            assert_eq!(realm_named(address).as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn a_base_is_brought_into_one_form() {
        for (text, form) in [
            (
                "HTTPS://AM.Example.com/openam",
                "https://am.example.com/openam/",
            ),
            ("http://am:8080", "http://am:8080/"),
            ("https://[::1]:8443/am/", "https://[::1]:8443/am/"),
        ] {
            assert_eq!(
                Base::parse(text).map(|b| b.to_string()),
                Ok(form.to_string())
            );
        }
    }

    #[test]
    fn wrong_bases_are_refused() {
        for text in [
            "am.example.com",
            "ftp://am.example.com/",
            "https://",
            "https://user:pw@am/",
            "https://am:0/",
            "https://am:99999/",
            "https://am:8o/",
            "https://am/?x=1",
            "https://am/#x",
            "https://am/../x",
            "https://a m/",
            "https://[::g]/",
            "https://-am/",
        ] {
            assert!(Base::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pages_may_be_paths() {
        for good in ["/denied.html", "https://www/x?y=1#z", "/a?b"] {
            assert_eq!(page(good), Ok(()), "{good}");
        }
        for bad in [
            "//evil.example.com/",
            "denied.html",
            "/a/../b",
            "javascript:alert(1)",
            "/a b",
        ] {
            assert!(page(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_deployment_of_a_login_page() {
        let of = |page: &str| deployment(page).map(|b| b.to_string());
        assert_eq!(
            of("https://am/openam/UI/Login?realm=/x").as_deref(),
            Some("https://am/openam/")
        );
        assert_eq!(of("https://am/XUI/#login").as_deref(), Some("https://am/"));
        assert_eq!(
            of("https://am/am/oauth2/realms/root/authorize").as_deref(),
            Some("https://am/am/")
        );
        assert_eq!(of("https://login.example.com/custom"), None);
        assert_eq!(
            realm_parameter("https://am/UI/Login?a=b&realm=%2Fx#f").as_deref(),
            Some("/x")
        );
        assert_eq!(realm_parameter("https://am/UI/Login"), None);
    }

    #[test]
    fn wide_patterns_are_recognised() {
        for wide in [
            "*",
            "/*",
            "http://www.example.com:80/*",
            "http*://*",
            "*://*/*",
        ] {
            assert!(covers_everything(wide), "{wide}");
        }
        for narrow in [
            "/public/*",
            "http://www/favicon.ico",
            "*.png",
            "https://www/",
        ] {
            assert!(!covers_everything(narrow), "{narrow}");
        }
    }

    #[test]
    fn realms_get_their_slash() {
        assert_eq!(realm("customers/").as_deref(), Some("/customers"));
        assert_eq!(realm("/").as_deref(), Some("/"));
        assert_eq!(realm("/a b"), None);
        assert_eq!(realm("//a"), None);
    }
}
