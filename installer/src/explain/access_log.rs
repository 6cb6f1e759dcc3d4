//! Which request does a line of an access log tell of?
//!
//! The formats that httpd and nginx come with, and JSON objects with the usual names. A log has neither cookies
//! nor bodies; what that means is said by whoever asks. Must not decide anything.

use std::{borrow::Cow, net::IpAddr};

use clap::ValueEnum;
use serde_json::Value;

/// How the lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// `client ident user [time] "request" status bytes`
    Common,
    /// The same, then `"referer" "user agent"`
    Combined,
    /// `host:port` before combined, as Debian's other_vhosts_access.log has it
    Vhost,
    /// One JSON object a line: request, or request_method and request_uri; remote_addr, host, scheme
    Json,
}

/// A request as the log tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Logged {
    pub(super) method: String,
    /// As the client sent it; may be a whole URL.
    pub(super) target: String,
    /// `None` where the log has a name in place of the address.
    pub(super) client: Option<IpAddr>,
    pub(super) scheme: Option<String>,
    /// With its port, where the log has that.
    pub(super) host: Option<String>,
    /// Headers that the log has.
    pub(super) headers: Vec<(String, String)>,
}

impl Format {
    /// Reads a line.
    ///
    /// # Errors
    /// Says what is missing.
    pub(super) fn read(self, line: &str) -> Result<Logged, &'static str> {
        match self {
            Format::Json => json(line),
            Format::Common | Format::Combined => common(line, None),
            Format::Vhost => {
                let (host, rest) = line.split_once(' ').ok_or("the host is missing")?;
                common(rest, Some(host.to_owned()))
            }
        }
    }
}

fn common(line: &str, host: Option<String>) -> Result<Logged, &'static str> {
    let (client, rest) = line.split_once(' ').ok_or("the address is missing")?;
    // User names may have spaces; the time's bracket ends them.
    let (_, rest) = rest.split_once(" [").ok_or("the time is missing")?;
    let (_, rest) = rest.split_once("] ").ok_or("the time does not end")?;
    let (request, rest) = quoted(rest).ok_or("the request is missing")?;
    let (method, target) = request_line(&request)?;
    let mut headers = Vec::new();
    // After status and bytes.
    if let Some(at) = rest.find('"')
        && let Some((referer, rest)) = quoted(&rest[at..])
    {
        let agent = quoted(rest.trim_start()).map(|(agent, _)| agent);
        let all = [("Referer", Some(referer)), ("User-Agent", agent)];
        let given = all.into_iter().filter_map(|(n, v)| Some((n, v?)));
        headers.extend(
            given
                .filter(|(_, value)| value != "-")
                .map(|(name, value)| (name.to_owned(), value.into_owned())),
        );
    }
    Ok(Logged {
        method: method.to_owned(),
        target: target.to_owned(),
        client: client.parse().ok(),
        scheme: None,
        host,
        headers,
    })
}

fn json(line: &str) -> Result<Logged, &'static str> {
    let all: Value = serde_json::from_str(line).map_err(|_| "it is no JSON object")?;
    let first = |names: &[&str]| {
        let mut values = names.iter().filter_map(|name| all[*name].as_str());
        values.find(|value| !value.is_empty()).map(str::to_owned)
    };
    let method = first(&["request_method", "method"]);
    let target = first(&["request_uri", "uri", "url", "path"]);
    let (method, target) = match (method, target, first(&["request"])) {
        (Some(method), Some(target), _) => (method, target),
        (_, _, Some(request)) => {
            let (method, target) = request_line(&request)?;
            (method.to_owned(), target.to_owned())
        }
        _ => return Err("request, or request_method and request_uri, are missing"),
    };
    let client = first(&["remote_addr", "client_ip", "remote_ip", "clientip"]);
    let header = |name: &str, keys: &[&str]| Some((name.to_owned(), first(keys)?));
    Ok(Logged {
        method,
        target,
        client: client.and_then(|client| client.parse().ok()),
        scheme: first(&["scheme"]),
        host: first(&["http_host", "host", "server_name"]),
        headers: [
            header("Referer", &["http_referer", "referer"]),
            header("User-Agent", &["http_user_agent", "user_agent", "agent"]),
        ]
        .into_iter()
        .flatten()
        .collect(),
    })
}

/// Method and target of a request line.
fn request_line(request: &str) -> Result<(&str, &str), &'static str> {
    let none = "there was no whole request";
    let (method, rest) = request.split_once(' ').ok_or(none)?;
    // HTTP/0.9 has no version; a space in a target is one that the server took.
    let target = match rest.rsplit_once(' ') {
        Some((target, version)) if version.starts_with("HTTP/") => target,
        _ => rest,
    };
    match method.is_empty() || target.is_empty() {
        true => Err(none),
        false => Ok((method, target)),
    }
}

/// A text in quotation marks with what the servers escape in it, and the rest behind.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut end = None;
    let mut escaped = false;
    for (at, byte) in inside.bytes().enumerate() {
        match (escaped, byte) {
            (true, _) => escaped = false,
            (false, b'\\') => escaped = true,
            (false, b'"') => {
                end = Some(at);
                break;
            }
            _ => {}
        }
    }
    let (value, rest) = inside.split_at(end?);
    Some((unescaped(value), &rest[1..]))
}

/// `\xHH` of both servers, and the letters of httpd.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let hex = after
            .strip_prefix(b"x")
            .and_then(|h| std::str::from_utf8(h.get(..2)?).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        let (value, taken) = match (hex, after.first()) {
            (Some(value), _) => (value, 3),
            (None, Some(b'n')) => (b'\n', 1),
            (None, Some(b'r')) => (b'\r', 1),
            (None, Some(b't')) => (b'\t', 1),
            (None, Some(&other)) => (other, 1),
            (None, None) => (b'\\', 0),
        };
        out.push(value);
        rest = &after[taken..];
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_of_both_servers_are_read() {
        let common = r#"192.0.2.7 - demo user [10/Oct/2026:13:55:36 +0000] "GET /a%20b?x=1 HTTP/1.1" 200 12"#;
        let combined = format!(r#"{common} "http://a/\"q\"" "curl \x22x\\""#);
        let vhost = format!("www.example.com:443 {combined}");
        let read = Format::Common.read(common).unwrap();
        assert_eq!((&*read.method, &*read.target), ("GET", "/a%20b?x=1"));
        assert_eq!(read.client, Some([192, 0, 2, 7].into()));
        assert!(read.headers.is_empty());
        let read = Format::Combined.read(&combined).unwrap();
        assert_eq!(
            read.headers[0],
            ("Referer".into(), r#"http://a/"q""#.into())
        );
        assert_eq!(read.headers[1], ("User-Agent".into(), r#"curl "x\"#.into()));
        let read = Format::Vhost.read(&vhost).unwrap();
        assert_eq!(read.host.as_deref(), Some("www.example.com:443"));
        let json = r#"{"request":"PUT /x HTTP/2.0","remote_addr":"::1","host":"a.example","scheme":"https"}"#;
        let read = Format::Json.read(json).unwrap();
        assert_eq!((&*read.method, &*read.target), ("PUT", "/x"));
        assert_eq!(read.client, Some("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_request_is_said() {
        for line in [
            "",
            "192.0.2.7",
            r#"192.0.2.7 - - [10/Oct/2026:13:55:36 +0000] "-" 408 0"#,
            r#"192.0.2.7 - - [10/Oct/2026:13:55:36 +0000] "GET /x"#,
            r#"192.0.2.7 - - [10/Oct/2026:13:55:36 +0000] "\x16\x03\x01" 400 0"#,
        ] {
            assert!(Format::Combined.read(line).is_err(), "{line}");
        }
        assert!(Format::Json.read(r#"{"host":"a"}"#).is_err());
        let named = r#"name.example - - [10/Oct/2026:13:55:36 +0000] "GET /x HTTP/1.0" 200 1"#;
        assert_eq!(Format::Common.read(named).unwrap().client, None);
    }
}
