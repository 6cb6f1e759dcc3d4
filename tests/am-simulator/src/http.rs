//! How is a request read and an answer written? Knows HTTP and AM's conventions for it (versions, error bodies), and
//! nothing about realms, sessions or policies.

use axum::body::Bytes;
use axum::http::{HeaderMap, Method};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};
use std::net::IpAddr;

/// What a query string or a form leaves unescaped.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'*');

/// Escapes text for a query string, as Java's `URLEncoder` does except that a space becomes `%20`.
pub(crate) fn url_encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// One request, read completely.
pub(crate) struct Req {
    pub(crate) method: Method,
    /// Decoded segments below the deployment URI.
    pub(crate) path: Vec<String>,
    /// The path as it came, below the deployment URI.
    pub(crate) raw_path: String,
    pub(crate) raw_query: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) peer: IpAddr,
    /// Who was presented and how, for the call log: `header:agent:wa1`.
    pub(crate) tokens: Mutex<Vec<String>>,
}

impl Req {
    /// A header as text; empty when absent or not text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The first value of a query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// The value of a cookie.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.headers
            .get_all("cookie")
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v.trim_matches('"'))
    }

    /// The body as form fields.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        parse_pairs(&String::from_utf8_lossy(&self.body))
    }

    /// Host and port of the request; the port is 80 when the header names none.
    pub(crate) fn host_and_port(&self) -> (String, u16) {
        let host = self.header("host").unwrap_or_default();
        match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => {
                (name.to_owned(), port.parse().unwrap_or(80))
            }
            _ => (host.to_owned(), 80),
        }
    }
}

/// The first value of a name.
pub(crate) fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, v)| v.as_str())
}

/// Reads `a=b&c=d`.
pub(crate) fn parse_pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|p| !p.is_empty())
        .map(|p| {
            let (n, v) = p.split_once('=').unwrap_or((p, ""));
            (decode(&n.replace('+', " ")), decode(&v.replace('+', " ")))
        })
        .collect()
}

/// Undoes percent escapes.
pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// An answer before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// No body, no type.
    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Text of a given type.
    pub(crate) fn text(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut reply = Self::empty(status).with("content-type", kind);
        reply.body = body.into();
        reply
    }

    /// A JSON document.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json;charset=UTF-8", body.to_string())
    }

    /// AM's error document; the message is escaped as for HTML (measured on OpenAM 16.0.5).
    pub(crate) fn error(status: u16, message: &str) -> Self {
        let body =
            json!({"code": status, "reason": reason(status), "message": escape_html(message)});
        Self::json(status, &body)
    }

    /// The page of the servlet container.
    pub(crate) fn container_page(status: u16, message: &str) -> Self {
        let reason = reason(status);
        let page = format!(
            "<!doctype html><html lang=\"en\"><head><title>HTTP Status {status} – {reason}</title></head><body>\
             <h1>HTTP Status {status} – {reason}</h1><hr class=\"line\" /><p><b>Message</b> {}</p></body></html>",
            escape_html(message)
        );
        Self::text(status, "text/html;charset=utf-8", page)
    }

    /// A redirect.
    pub(crate) fn redirect(status: u16, to: impl Into<String>) -> Self {
        Self::empty(status).with("location", to)
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds the version that answered.
    pub(crate) fn version(self, version: (u32, u32)) -> Self {
        self.with(
            "content-api-version",
            format!("resource={}.{}", version.0, version.1),
        )
    }
}

/// The reason phrase in error documents.
fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        415 => "Unsupported Media Type",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

/// Escapes text for HTML as AM does.
pub(crate) fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// `Accept-API-Version`, read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Version {
    resource: Option<(u32, u32)>,
    protocol: Option<(u32, u32)>,
}

impl Version {
    /// Reads the header; the error is the whole answer.
    pub(crate) fn of(req: &Req) -> Result<Self, Reply> {
        let Some(text) = req.header("accept-api-version") else {
            return Ok(Self::default());
        };
        let bad = || {
            let mut reply = Reply::empty(400);
            reply.body = format!("Version string is in an invalid format: {text}").into_bytes();
            reply
        };
        let mut out = Self::default();
        for part in text.split(',') {
            let (name, number) = part.trim().split_once('=').ok_or_else(bad)?;
            let (major, minor) = number
                .trim()
                .split_once('.')
                .unwrap_or((number.trim(), "0"));
            let number = (
                major.parse().map_err(|_| bad())?,
                minor.parse().map_err(|_| bad())?,
            );
            match name.trim() {
                "resource" => out.resource = Some(number),
                "protocol" => out.protocol = Some(number),
                _ => return Err(bad()),
            }
        }
        match out.protocol {
            Some((major, minor)) if major == 0 || major > 2 => {
                let message = format!("Unsupported major version: {major}.{minor}");
                Err(Reply::error(400, &message).with("cache-control", "no-cache"))
            }
            _ => Ok(out),
        }
    }

    /// The route that serves the request: same major, highest minor, not lower than the one asked for; the newest when
    /// none was asked for.
    pub(crate) fn pick(self, offered: &[(u32, u32)]) -> Option<(u32, u32)> {
        match self.resource {
            None => offered.iter().copied().max(),
            Some((major, minor)) => offered
                .iter()
                .copied()
                .filter(|v| v.0 == major)
                .max()
                .filter(|v| v.1 >= minor),
        }
    }

    /// Protocol 1 shows neither `_id` nor `_rev` (measured on OpenAM 16.0.5).
    pub(crate) fn hides_ids(self) -> bool {
        self.protocol.is_some_and(|p| p.0 == 1)
    }
}

/// The JSON body of a call to `/json`, or the answer that refuses it. An empty body is `{}`.
pub(crate) fn json_body(req: &Req) -> Result<Value, Reply> {
    if let Some(kind) = req.header("content-type") {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Reply::error(
                400,
                &format!(
                    "The request could not be processed because it specified the content-type '{kind}' when only the \
                     content-type 'application/json' and 'multipart/form-data' are supported"
                ),
            ));
        }
    }
    if req.body.iter().all(u8::is_ascii_whitespace) {
        return Ok(json!({}));
    }
    serde_json::from_slice(&req.body).map_err(|e| {
        let body = json!({"code": 400, "reason": "Bad Request", "detail": e.to_string(),
            "message": "The request could not be processed because the provided content is not valid JSON"});
        Reply::json(400, &body)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_matched_by_major_and_minimum_minor() {
        let asked = |major, minor| Version {
            resource: Some((major, minor)),
            protocol: None,
        };
        let offered = [(1, 2), (2, 0)];
        assert_eq!(asked(1, 1).pick(&offered), Some((1, 2)));
        assert_eq!(asked(2, 1).pick(&offered), None);
        assert_eq!(asked(4, 0).pick(&offered), None);
        assert_eq!(Version::default().pick(&offered), Some((2, 0)));
    }

    #[test]
    fn pairs_are_decoded() {
        let pairs = parse_pairs("a=1+2&b=%2F&c");
        assert_eq!(find(&pairs, "a"), Some("1 2"));
        assert_eq!(find(&pairs, "b"), Some("/"));
        assert_eq!(find(&pairs, "c"), Some(""));
        assert_eq!(url_encode("a b/c*"), "a%20b%2Fc*");
    }
}
