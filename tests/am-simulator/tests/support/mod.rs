//! A plain HTTP client for the tests, and what they have in common.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses a part of it; tests may panic"
)]

use am_simulator::{Config, Running, Simulator};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) const HOST: &str = "am.test.example.org";
pub(crate) const TOKEN: &str = "iPlanetDirectoryPro";
pub(crate) const W: &str = "http://www.test.example.org:8080";
pub(crate) const LATEST: (&str, &str) = ("Accept-API-Version", "resource=2.1, protocol=1.0");

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map_or("", |(_, v)| v)
    }

    /// The value of a cookie that the answer sets.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let start = format!("{name}=");
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case("set-cookie"))
            .find_map(|(_, v)| v.strip_prefix(&start))
            .map(|v| v.split(';').next().unwrap().to_owned())
    }
}

/// Sends a request and gives back everything that comes until the server closes.
pub(crate) fn raw(address: SocketAddr, request: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let mut out = Vec::new();
    stream.read_to_end(&mut out)?;
    Ok(out)
}

pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(n, _)| *n == "Host") {
        text.push_str(&format!("Host: {HOST}:8080\r\n"));
    }
    for (n, v) in headers {
        text.push_str(&format!("{n}: {v}\r\n"));
    }
    if let Some(body) = body {
        if !headers.iter().any(|(n, _)| *n == "Content-Type") {
            text.push_str("Content-Type: application/json\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    } else {
        text.push_str("\r\n");
    }
    text
}

pub(crate) fn call(
    am: &Running,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Answer {
    let path = if path.starts_with("/simulator") {
        path.to_owned()
    } else {
        format!("/openam{path}")
    };
    let bytes = raw(am.address(), &request(method, &path, headers, body)).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_owned(), v.trim().to_owned()))
        .collect();
    Answer {
        status,
        headers,
        body: body.to_owned(),
    }
}

/// An AM with a realm, users, agents and policies, all made by configuration.
pub(crate) fn seeded() -> Running {
    let agent = |realm: &str, name: &str| {
        json!({"realm": realm, "username": name, "userpassword": ["s3cretagent"], "agenttype": ["WebAgent"],
            "serverurl": ["http://am.test.example.org:8080/openam"], "agenturl": [W]})
    };
    let policy = |name: &str, path: &str, more: Value| {
        let mut p = json!({"name": name, "applicationName": "iPlanetAMWebAgentService",
            "resourceTypeUuid": "76656a38-5f8e-401b-83aa-4ccb74ce88d2", "resources": [format!("{W}{path}")],
            "actionValues": {"GET": true, "POST": false}, "subject": {"type": "AuthenticatedUsers"}});
        p.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        p
    };
    let config = Config {
        realms: vec![
            json!({"name": "shop", "parentPath": "/", "active": true, "aliases": ["store"]}),
        ],
        users: vec![
            json!({"username": "demo", "userpassword": "changeit8", "mail": "demo@example.com", "cn": "Demo User"}),
        ],
        agents: vec![agent("/", "wa1"), agent("/shop", "wa2")],
        policies: vec![
            policy(
                "docs",
                "/docs/*",
                json!({"resourceAttributes": [
                {"type": "Static", "propertyName": "X-Dept", "propertyValues": ["sales"]},
                {"type": "User", "propertyName": "mail", "propertyValues": []}]}),
            ),
            policy(
                "deny",
                "/docs/secret/*",
                json!({"actionValues": {"GET": false}}),
            ),
            policy(
                "level",
                "/level/*",
                json!({"condition": {"type": "AuthLevel", "authLevel": 2}}),
            ),
        ],
        ..Config::default()
    };
    Simulator::start(config).unwrap()
}

pub(crate) fn login(am: &Running, realm: &str, query: &str, name: &str, password: &str) -> Answer {
    let headers = [
        LATEST,
        ("X-OpenAM-Username", name),
        ("X-OpenAM-Password", password),
    ];
    call(
        am,
        "POST",
        &format!("/json{realm}/authenticate{query}"),
        &headers,
        Some("{}"),
    )
}

pub(crate) const APPLICATION: &str = "?authIndexType=module&authIndexValue=Application";

pub(crate) fn agent_token(am: &Running) -> String {
    token_of(&login(am, "", APPLICATION, "wa1", "s3cretagent"))
}

pub(crate) fn user_token(am: &Running) -> String {
    token_of(&login(am, "", "", "demo", "changeit8"))
}

pub(crate) fn token_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["tokenId"].as_str().unwrap().to_owned()
}

pub(crate) fn message(answer: &Answer) -> String {
    answer.json()["message"].as_str().unwrap().to_owned()
}

/// A percent-encoded form of a token.
pub(crate) fn quoted(token: &str) -> String {
    token.replace('*', "%2A")
}
