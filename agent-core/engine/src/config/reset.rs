//! Which cookies of others does the agent take back, on the way to a login and at a logout?
//!
//! It reads the entries of the three properties; what becomes a header is `decide/reset.rs`'s.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use super::{snapshot::PRE_AUTHENTICATION, values::Values, web};

/// A cookie to be cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieReset {
    /// Its name.
    pub name: String,
    /// Its domain, in lower case; without it a cookie of the host.
    pub domain: Option<String>,
    /// Its path.
    pub path: String,
}

/// Reads `name[=value][;Domain=domain][;Path=path]`. The value is what the Web Agent leaves in the
/// cookie that it lets expire, so it means nothing.
fn parse(text: &str) -> Result<CookieReset, &'static str> {
    let mut parts = text.split(';').map(str::trim);
    let pair = parts.next().unwrap_or_default();
    let name = pair.split_once('=').map_or(pair, |(name, _)| name.trim());
    if !web::is_token(name) {
        return Err("names no cookie");
    }
    if name
        .strip_prefix("__Host-")
        .unwrap_or(name)
        .as_bytes()
        .starts_with(PRE_AUTHENTICATION)
    {
        return Err("names a cookie that the agent needs for logins");
    }
    let mut reset = CookieReset {
        name: name.to_string(),
        domain: None,
        path: "/".to_string(),
    };
    for part in parts.filter(|p| !p.is_empty()) {
        let (attribute, value) = part
            .split_once('=')
            .ok_or("has an attribute without a value")?;
        let value = value.trim();
        match attribute.trim() {
            a if a.eq_ignore_ascii_case("domain") => {
                if !web::is_host(value.strip_prefix('.').unwrap_or(value)) {
                    return Err("has no host name as its domain");
                }
                reset.domain = Some(value.to_ascii_lowercase());
            }
            a if a.eq_ignore_ascii_case("path") => {
                let plain = |b: u8| b.is_ascii_graphic() && b != b';';
                if !value.starts_with('/') || !value.bytes().all(plain) {
                    return Err("has no path that begins with a slash");
                }
                reset.path = value.to_string();
            }
            _ => return Err("has an attribute that is neither Domain nor Path"),
        }
    }
    Ok(reset)
}

/// The entries of a property.
pub(super) fn read(to: &mut Vec<CookieReset>, values: &mut Values<'_>) {
    to.clear();
    for &line in values.lines() {
        match parse(&line.value) {
            Ok(reset) => to.push(reset),
            Err(why) => values.wrong(line, why, "write it as in name;Domain=.example.com"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_to_reset_are_read() {
        let reset = |name: &str, domain: Option<&str>, path: &str| CookieReset {
            name: name.to_string(),
            domain: domain.map(ToString::to_string),
            path: path.to_string(),
        };
        for (text, read) in [
            ("LtpaToken", reset("LtpaToken", None, "/")),
            ("a=b", reset("a", None, "/")),
            (
                "a = b ; Domain = .Example.com",
                reset("a", Some(".example.com"), "/"),
            ),
            (
                "a;domain=example.com;Path=/app",
                reset("a", Some("example.com"), "/app"),
            ),
        ] {
            assert_eq!(parse(text), Ok(read), "{text}");
        }
        for text in [
            "",
            "=x",
            "a b",
            "a;Domain",
            "a;Domain=",
            "a;Domain=x y",
            "a;Path=app",
            "a;Max-Age=1",
            "a\r\nb",
            "a;Path=/x\r\ny",
            "agent-authn-tx",
            "__Host-agent-authn-tx-1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
