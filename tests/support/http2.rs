//! Requests over HTTP/2 without TLS, sent by curl: both servers speak it, and field names that HTTP/1
//! parsers refuse may pass there.

use std::{
    io::{Cursor, Write},
    net::SocketAddr,
    process::{Command, Stdio},
};

use crate::client::{self, Response};

/// A GET of `url` at the server that listens on `to`, with these fields.
///
/// # Panics
/// When curl is missing or there is no answer over HTTP/2.
pub fn get(to: SocketAddr, url: &str, headers: &[(&str, &str)]) -> Response {
    send(to, url, headers, None)
}

/// A POST of `body`.
///
/// # Panics
/// When curl is missing or there is no answer over HTTP/2.
pub fn post(to: SocketAddr, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    send(to, url, headers, Some(body))
}

fn send(to: SocketAddr, url: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Response {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--include", "--path-as-is"])
        .args([
            "--http2-prior-knowledge",
            "--noproxy",
            "*",
            "--max-time",
            "60",
        ])
        .arg("--connect-to")
        .arg(format!("::{to}"));
    for (name, value) in headers {
        curl.arg("--header").arg(format!("{name}: {value}"));
    }
    if body.is_some() {
        curl.args(["--data-binary", "@-"]);
    }
    let piped = curl.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = piped.stderr(Stdio::piped()).spawn();
    let mut child = child.expect("curl; see README, \"Build\"");
    let mut input = child.stdin.take().expect("piped");
    // A server may answer before it has read everything.
    let _ = input.write_all(body.unwrap_or_default());
    drop(input);
    let output = child.wait_with_output().expect("curl");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {url}: {said}");
    assert!(output.stdout.starts_with(b"HTTP/2 "), "not HTTP/2: {url}");
    client::read(Cursor::new(output.stdout), "GET").expect("an answer")
}
