//! Requests over HTTP/2 without TLS, sent by curl: both servers speak it, and field names that HTTP/1
//! parsers refuse may pass there.

use std::{io::Cursor, net::SocketAddr, process::Command};

use crate::client::{self, Response};

/// A GET of `url` at the server that listens on `to`, with these fields.
///
/// # Panics
/// When curl is missing or there is no answer over HTTP/2.
pub fn get(to: SocketAddr, url: &str, headers: &[(&str, &str)]) -> Response {
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
    let output = curl.arg(url).output().expect("curl; see README, \"Build\"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {url}: {said}");
    assert!(output.stdout.starts_with(b"HTTP/2 "), "not HTTP/2: {url}");
    client::read(Cursor::new(output.stdout), "GET").expect("an answer")
}
