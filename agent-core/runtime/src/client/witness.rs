//! What went over the wire? For the tool that examines an installation; a worker never has a witness.
//!
//! What is kept may be shown to anybody: of headers, parameters and bodies only what an allow-list names,
//! everything else is [`HIDDEN`] (rule K3).

use std::{sync::Arc, time::SystemTime};

use parking_lot::Mutex;
use portcullis_engine::am::{Exchange, Method, Value};
use reqwest::{
    Url,
    header::{HeaderName, HeaderValue},
};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::Value as Json;

/// What stands in the place of everything that is not to be seen.
pub const HIDDEN: &str = "***";
/// Longest word of a text of AM that is shown: tokens are longer.
const MAX_WORD: usize = 40;
/// Header fields of an answer whose values are shown.
const HEADERS: [&str; 17] = [
    "cache-control",
    "connection",
    "content-api-version",
    "content-length",
    "content-type",
    "date",
    "location",
    "proxy-authenticate",
    "retry-after",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "server",
    "upgrade",
    "via",
    "warning",
    "www-authenticate",
];
/// Parameters of a request whose values are shown.
const PARAMETERS: [&str; 4] = ["_action", "_fields", "authIndexType", "authIndexValue"];
/// Members of JSON whose texts are shown.
const MEMBERS: [&str; 9] = [
    "cookieName",
    "domains",
    "realm",
    "code",
    "reason",
    "message",
    "AgentType",
    "agenttype",
    "sunIdentityServerDeviceStatus",
];

/// Sees every exchange of the clients that have it in their settings.
#[derive(Default)]
pub struct Witness {
    seen: Mutex<Vec<Seen>>,
    shown: Mutex<Shown>,
}

/// One exchange, fit to be shown.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was over, by this machine's clock.
    pub at: SystemTime,
    /// Request line and headers.
    pub request: String,
    /// Status, or in whoever's words why there is none.
    pub status: Result<u16, String>,
    /// Header fields of the answer; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body of the answer.
    pub body: String,
}

/// What AM's side of the last TLS handshake showed.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Certificates in DER, AM's own first.
    pub chain: Vec<Vec<u8>>,
    /// `TLSv1.2` or `TLSv1.3`, once the handshake came so far.
    pub version: Option<&'static str>,
}

impl Seen {
    /// The first value of a header field of the answer; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// AM's own words about a refusal.
    pub fn message(&self) -> Option<String> {
        let body: Json = serde_json::from_str(&self.body).ok()?;
        let words = body.get("message")?.as_str()?;
        // OpenAM writes its messages for pages.
        Some(words.replace("&quot;", "\"").replace("&#39;", "'"))
    }
}

impl Witness {
    /// Every exchange so far, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// The last exchange.
    pub fn last(&self) -> Option<Seen> {
        self.seen.lock().last().cloned()
    }

    /// What was shown in the last TLS handshake; from now on nothing was.
    pub fn take_shown(&self) -> Shown {
        std::mem::take(&mut self.shown.lock())
    }

    pub(super) fn saw<'h>(
        &self,
        base: &Url,
        exchange: &Exchange,
        status: Result<u16, String>,
        headers: impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)>,
        body: &[u8],
    ) {
        let headers = headers
            .map(|(name, value)| (name.as_str().to_owned(), header(name.as_str(), value)))
            .collect();
        self.seen.lock().push(Seen {
            at: SystemTime::now(),
            request: request(base, exchange),
            status,
            headers,
            body: self::body(body),
        });
    }
}

fn request(base: &Url, exchange: &Exchange) -> String {
    let method = match exchange.method {
        Method::Get => "GET",
        Method::Post => "POST",
    };
    let mut text = format!("{method} {base}{}", path(&exchange.path));
    for (name, value) in &exchange.headers {
        let value = match value {
            Value::Plain(value) if !name.eq_ignore_ascii_case("cookie") => value,
            _ => HIDDEN,
        };
        text.push_str(&format!("\n{name}: {value}"));
    }
    let length = exchange.body.expose().len();
    if length > 0 {
        text.push_str(&format!("\n\n({length} bytes)"));
    }
    text
}

fn path(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else {
        return path.to_owned();
    };
    let shown = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = if PARAMETERS.contains(&name) {
            value
        } else {
            HIDDEN
        };
        format!("{name}={value}")
    };
    let query: Vec<String> = query.split('&').map(shown).collect();
    format!("{path}?{}", query.join("&"))
}

fn header(name: &str, value: &HeaderValue) -> String {
    let value = String::from_utf8_lossy(value.as_bytes());
    match name {
        "set-cookie" => {
            let cookie = value.split('=').next().unwrap_or_default();
            format!("{}={HIDDEN}", words(cookie))
        }
        "location" => words(value.split(['?', '#']).next().unwrap_or_default()),
        // Its length is fixed, and it proves nothing to anybody else.
        "sec-websocket-accept" => value.into_owned(),
        name if HEADERS.contains(&name) => words(&value),
        _ => HIDDEN.to_owned(),
    }
}

/// A text without words that may be tokens.
fn words(text: &str) -> String {
    let shown = |word: &str| match word.len() > MAX_WORD && !word.starts_with("http") {
        true => HIDDEN.to_owned(),
        false => word.replace(char::is_control, "?"),
    };
    let words: Vec<String> = text.split(' ').map(shown).collect();
    words.join(" ")
}

fn body(bytes: &[u8]) -> String {
    match serde_json::from_slice::<Json>(bytes) {
        _ if bytes.is_empty() => String::new(),
        Ok(mut value) => {
            hide(&mut value, false);
            value.to_string()
        }
        Err(_) => format!("({} bytes that are no JSON)", bytes.len()),
    }
}

fn hide(value: &mut Json, named: bool) {
    match value {
        Json::String(text) if named => *text = words(text),
        Json::String(text) => HIDDEN.clone_into(text),
        Json::Array(items) => items.iter_mut().for_each(|item| hide(item, named)),
        Json::Object(members) => members
            .iter_mut()
            .for_each(|(name, member)| hide(member, MEMBERS.contains(&name.as_str()))),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// Lets another verifier judge, and keeps what it saw.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) inner: Arc<dyn ServerCertVerifier>,
    pub(super) witness: Arc<Witness>,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Witness")
    }
}

impl ServerCertVerifier for Observed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let all = std::iter::once(end_entity).chain(intermediates);
        self.witness.shown.lock().chain = all.map(|c| c.as_ref().to_vec()).collect();
        self.inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.witness.shown.lock().version = Some("TLSv1.2");
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.witness.shown.lock().version = Some("TLSv1.3");
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use portcullis_engine::token::Secret;

    use super::*;

    #[test]
    fn nothing_secret_is_kept() {
        let witness = Witness::default();
        let token = "AQIC5wM2LY4SfcxsMadeUpTokenThatIsLongerThanAnyWord.*AAJTSQ*";
        let exchange = Exchange {
            method: Method::Post,
            path: format!("json/sessions/?_action=logout&tokenId={token}"),
            headers: vec![
                (
                    "iPlanetDirectoryPro".into(),
                    Value::Secret(Secret::new(token.into())),
                ),
                (
                    "Cookie".into(),
                    Value::Plain(format!("amlbcookie={token}").into()),
                ),
                ("Accept".into(), Value::Plain("application/json".into())),
            ],
            body: Secret::new(token.into()),
            max_body: 1,
            once: false,
        };
        let base = Url::parse("https://am.example.com/openam/").unwrap();
        let headers: Vec<(HeaderName, HeaderValue)> = [
            ("set-cookie", format!("iPlanetDirectoryPro={token}; Path=/")),
            ("location", format!("https://am.example.com/x?t={token}")),
            ("x-token", token.to_owned()),
            ("server", format!("Apache {token}")),
            ("date", "Fri, 15 Mar 2019 17:38:15 GMT".to_owned()),
        ]
        .map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap()))
        .into();
        let body = format!(
            r#"{{"tokenId":"{token}","message":"token: {token} is dead","code":401,"domains":["a.b"],"x":{{"realm":"/"}}}}"#
        );
        let pairs = headers.iter().map(|(n, v)| (n, v));
        witness.saw(&base, &exchange, Ok(401), pairs, body.as_bytes());
        let seen = witness.last().unwrap();
        let all = format!("{seen:?}");
        assert!(!all.contains("MadeUp"), "{all}");
        assert!(seen.request.contains("?_action=logout&tokenId=***\n"));
        assert_eq!(seen.header("set-cookie"), Some("iPlanetDirectoryPro=***"));
        assert_eq!(seen.header("date"), Some("Fri, 15 Mar 2019 17:38:15 GMT"));
        assert_eq!(seen.message().as_deref(), Some("token: *** is dead"));
        assert!(seen.body.contains(r#""domains":["a.b"]"#), "{}", seen.body);
        assert!(seen.body.contains(r#""realm":"/""#), "{}", seen.body);
    }
}
