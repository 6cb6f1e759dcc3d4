//! How bytes get to AM and back. Everything that the libraries underneath decide by default is
//! decided here instead, because several of their defaults would hand the agent's token to somebody
//! else (rule W4) or let AM, or whoever sits in its place, hold a worker up.
//!
//! Must not know what is asked: the words are in `portcullis_engine::am`. Repeats a call only where its
//! connection broke before an answer began, and once.

use std::{
    error::Error as _,
    io,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use portcullis_engine::{
    am::{Exchange, Method, Reply, Value},
    config::TlsVersions,
    contract::Cause,
    token::Secret,
};
use reqwest::{
    Url,
    header::{HeaderName, HeaderValue},
};
use tokio::time::{Instant, timeout_at};

use crate::{meter::CallMeter, transaction};

mod identity;
mod socket;
mod tls;
mod witness;

pub use identity::{ClientIdentity, IdentityError};
pub use socket::{Heard, Opening, Socket};
pub use tls::TrustEveryServer;
pub use witness::{HIDDEN, Seen, Shown, Witness};

/// Idle connections to one server that are kept; AM closes them after 20 s by itself (Tomcat).
const MAX_IDLE: usize = 8;
/// How long an idle connection is kept: shorter than Tomcat does, so a call seldom meets a closed one.
const IDLE: Duration = Duration::from_secs(15);
/// Most header fields of an answer.
const MAX_HEADERS: usize = 100;

/// What an instance's configuration says about connections to AM.
#[derive(Clone, Default)]
pub struct Settings {
    /// `connect.timeout`: how long a TCP and TLS handshake may take.
    pub connect_timeout: Duration,
    /// `cert.ca.file`: PEM file whose certificates are the only roots. `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// `trust.server.certs`: any certificate will do (rule W5: only where explicitly true).
    pub trust_server_certs: bool,
    /// `hostmap`: host names that are not looked up.
    pub hostmap: Vec<(String, IpAddr)>,
    /// `forward.proxy.*`: how AM is reached; `None`: directly (rule W4).
    pub proxy: Option<ForwardProxy>,
    /// `cert.file` and `cert.key`: what the agent shows to AM.
    pub identity: Option<ClientIdentity>,
    /// `ciphers`: names of [`portcullis_engine::config::CIPHERS`]; empty: all.
    pub ciphers: Vec<String>,
    /// `tls`: versions that may be used.
    pub versions: TlsVersions,
    /// `cert.verify.depth`: authorities above AM's certificate; 0: as many as the library follows.
    pub verify_depth: u32,
    /// `tls.keylog.enable`: where the secrets of connections are written.
    pub key_log: Option<PathBuf>,
    /// `portcullis.am.calls.max`: calls under way at once, per worker.
    pub calls_max: usize,
    /// Sees what goes over the wire; only where an installation is examined.
    pub witness: Option<Arc<Witness>>,
}

/// The proxy that the configuration names. No `Debug`.
#[derive(Clone)]
pub struct ForwardProxy {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u32,
    /// User name and password, where it wants them.
    pub login: Option<(String, Option<Secret>)>,
}

impl ForwardProxy {
    fn way(&self) -> Result<reqwest::Proxy, ClientError> {
        let way = reqwest::Proxy::all(format!("http://{}:{}", self.host, self.port))
            .map_err(|e| ClientError::Library(words(&e.without_url())))?;
        let Some((user, password)) = &self.login else {
            return Ok(way);
        };
        let password = password.as_ref().map_or(&b""[..], Secret::expose);
        let password = std::str::from_utf8(password)
            .map_err(|_| ClientError::Library("the proxy's password is no text".into()))?;
        Ok(way.basic_auth(user, password))
    }
}

/// Why a client can't be made: the configuration is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A naming URL that is not `http(s)://host[:port]/path`.
    #[error("AM's URL is not of the form http(s)://host[:port]/path: entry {0}")]
    Url(usize),
    /// The CA file can't be read.
    #[error("the CA file can't be read: {0}")]
    CaFile(String),
    /// There is not a single root certificate.
    #[error("no root certificate was found")]
    NoRoots,
    /// The file for the secrets of connections can't be written.
    #[error("the file that AM_SSL_KEYLOG_FILE names can't be written: {0}")]
    KeyLog(String),
    /// The TLS or HTTP library refuses its settings.
    #[error("the HTTP client can't be made: {0}")]
    Library(String),
}

/// Whether a call is about a session that is known to be valid. Half of all calls are reserved for
/// those, so that strangers with random tokens can't lock out who is logged in (design 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// The session was valid when AM was last asked; also the agent's own calls.
    KnownSession,
    /// Anything else.
    Other,
    /// Asks whether AM is there: not counted, because it is asked when all places may be taken by calls
    /// that hang, and one worker asks at a time.
    Probe,
}

impl Permit {
    /// What a call counts as: of all, and of those about no known session.
    fn counts(self) -> (usize, usize) {
        match self {
            Permit::KnownSession => (1, 0),
            Permit::Other => (1, 1),
            Permit::Probe => (0, 0),
        }
    }
}

/// When a call must be over, and what it counts as.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// See [`Permit`].
    pub permit: Permit,
    /// The end of the whole call: name look-up, connection, request and body.
    pub until: Instant,
}

/// A call that brought nothing. The text names no URL, header or token; it is for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub cause: Cause,
    /// In the words of the library that noticed.
    pub why: String,
}

impl Failure {
    fn new(cause: Cause, why: &str) -> Failure {
        Failure {
            cause,
            why: String::from(why),
        }
    }
}

/// An answer of AM. No `Debug`: `Set-Cookie` and body may hold tokens.
pub struct Answer {
    status: u16,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: zeroize::Zeroizing<Vec<u8>>,
}

impl Answer {
    /// Lends the answer to one of the engine's `parse` functions.
    pub fn read<T>(&self, parse: impl FnOnce(&Reply<'_>) -> T) -> T {
        let headers: Vec<(&str, &[u8])> = self
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_bytes()))
            .collect();
        parse(&Reply {
            status: self.status,
            headers: &headers,
            body: &self.body,
        })
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }
}

/// Calls under way: (all, those that are about no known session).
#[derive(Default)]
struct InFlight(Mutex<(usize, usize)>);

/// One call under way; dropping it ends the count, also when the call is cancelled.
struct Slot {
    counts: Arc<InFlight>,
    permit: Permit,
}

impl InFlight {
    fn enter(self: &Arc<Self>, permit: Permit, max: usize) -> Option<Slot> {
        let (all, other) = permit.counts();
        let mut counts = self.0.lock();
        if counts.0 + all > max || counts.1 + other > max.div_ceil(2) {
            return None;
        }
        counts.0 += all;
        counts.1 += other;
        Some(Slot {
            counts: Arc::clone(self),
            permit,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let (all, other) = self.permit.counts();
        let mut counts = self.counts.0.lock();
        counts.0 -= all;
        counts.1 -= other;
    }
}

/// A worker's HTTP client for one instance.
pub struct Client {
    http: reqwest::Client,
    in_flight: Arc<InFlight>,
    calls_max: usize,
    meter: OnceLock<CallMeter>,
    witness: Option<Arc<Witness>>,
}

impl Client {
    /// Makes a client for these servers. Root certificates are read only where one of them is https:
    /// the system's 145 take 13 ms and 0.37 MB a worker.
    pub fn new(settings: &Settings, bases: &[Url]) -> Result<Client, ClientError> {
        let tls = tls::config(settings, bases.iter().any(|b| b.scheme() == "https"))?;
        let mut builder = reqwest::Client::builder()
            // HTTP_PROXY and its like are for programs of users; a proxy would see the agent's token.
            .no_proxy()
            // The token header would go along to wherever AM's answer points.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            // A repeated login or logout is a second one.
            .retry(reqwest::retry::never())
            // Tomcat speaks HTTP/1.1; with one dialect there is one set of limits to reason about.
            .http1_only()
            .http1_max_headers(MAX_HEADERS)
            .connect_timeout(settings.connect_timeout)
            .pool_max_idle_per_host(MAX_IDLE)
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("Portcullis/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls);
        if let Some(proxy) = &settings.proxy {
            builder = builder.proxy(proxy.way()?);
        }
        for (host, address) in &settings.hostmap {
            // Port 0 stands for the port of the URL.
            builder = builder.resolve(&host.to_ascii_lowercase(), (*address, 0).into());
        }
        let http = builder
            .build()
            .map_err(|e| ClientError::Library(words(&e.without_url())))?;
        let in_flight = Arc::new(InFlight::default());
        Ok(Client {
            http,
            in_flight,
            calls_max: settings.calls_max.max(1),
            meter: OnceLock::new(),
            witness: settings.witness.clone(),
        })
    }

    /// Counts each call from now on.
    pub fn metered(&self, meter: CallMeter) {
        // A second one would be the same.
        let _ = self.meter.set(meter);
    }

    /// Asks `base`. A refusal by the cap comes at once and without a connection.
    pub async fn send(
        &self,
        base: &Url,
        exchange: &Exchange,
        call: Call,
    ) -> Result<Answer, Failure> {
        let metered = self.meter.get().map(|meter| meter.begin(&exchange.path));
        let result = self.unmetered(base, exchange, call).await;
        if let Some(witness) = &self.witness {
            match &result {
                Ok(answer) => {
                    let headers = answer.headers.iter().map(|(n, v)| (n, v));
                    witness.saw(base, exchange, Ok(answer.status), headers, &answer.body);
                }
                Err(failure) => {
                    let none = std::iter::empty();
                    witness.saw(base, exchange, Err(failure.why.clone()), none, &[]);
                }
            }
        }
        if let Some(metered) = metered {
            metered.end(match &result {
                Ok(answer) => Ok(answer.status),
                Err(failure) => Err(failure.cause),
            });
        }
        result
    }

    async fn unmetered(
        &self,
        base: &Url,
        exchange: &Exchange,
        call: Call,
    ) -> Result<Answer, Failure> {
        let Some(_slot) = self.in_flight.enter(call.permit, self.calls_max) else {
            return Err(Failure::new(
                Cause::Busy,
                "as many calls as allowed are under way",
            ));
        };
        match timeout_at(call.until, self.perform(base, exchange)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(Cause::Timeout, "the deadline passed")),
        }
    }

    fn request(&self, base: &Url, exchange: &Exchange) -> Result<reqwest::Request, Failure> {
        let broken = |why| Failure::new(Cause::Protocol, why);
        let url = base
            .join(&exchange.path)
            .map_err(|_| broken("the path is no URL"))?;
        // An absolute or climbing path would leave the AM that the configuration names.
        if url.origin() != base.origin() || !url.path().starts_with(base.path()) {
            return Err(broken("the path leaves AM's URL"));
        }
        let mut request = match exchange.method {
            Method::Get => self.http.get(url),
            Method::Post => self.http.post(url).body(exchange.body.expose().to_vec()),
        };
        for (name, value) in &exchange.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| broken("a header name is invalid"))?;
            let value = match value {
                Value::Plain(text) => HeaderValue::from_str(text),
                Value::Secret(secret) => {
                    HeaderValue::from_bytes(secret.expose()).map(|mut value| {
                        value.set_sensitive(true);
                        value
                    })
                }
            };
            request = request.header(
                name,
                value.map_err(|_| broken("a header value is invalid"))?,
            );
        }
        let id = transaction::next();
        request
            .header(transaction::HEADER, id)
            .header(transaction::TRACEPARENT, transaction::next_traceparent())
            .build()
            .map_err(failure)
    }

    async fn perform(&self, base: &Url, exchange: &Exchange) -> Result<Answer, Failure> {
        let cap = exchange.max_body;
        let too_long = || Failure::new(Cause::Protocol, "the answer is longer than allowed");
        let first = self.http.execute(self.request(base, exchange)?).await;
        let answer = match first {
            // One that was kept open since AM was stopped is no sign that AM is away.
            Err(error) if !exchange.once && broke(&error) => {
                self.http.execute(self.request(base, exchange)?).await
            }
            other => other,
        };
        let mut response = answer.map_err(failure)?;
        if response.content_length().is_some_and(|n| n > cap as u64) {
            return Err(too_long());
        }
        let mut body = zeroize::Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(failure)? {
            if chunk.len() > cap - body.len() {
                return Err(too_long());
            }
            body.extend_from_slice(&chunk);
        }
        let headers = response.headers_mut().drain();
        let mut name = None;
        let headers = headers
            .filter_map(|(next, value)| {
                // A repeated field comes without its name.
                name = next.or(name.take());
                Some((name.clone()?, value))
            })
            .collect();
        Ok(Answer {
            status: response.status().as_u16(),
            headers,
            body,
        })
    }
}

/// What kind of failure this is. An answer that is no HTTP counts as transport: the connection that
/// brought it is of no use.
fn failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let cause = match error.is_timeout() {
        true => Cause::Timeout,
        false if speaks_of_tls(&error) => Cause::Tls,
        false => Cause::Transport,
    };
    Failure {
        cause,
        why: words(&error),
    }
}

/// Whether a connection that was there broke before an answer began.
fn broke(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout()
}

/// Whether the TLS library is at the bottom of this. An `io::Error` hides what it wraps from `source()`.
fn speaks_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    error.is::<rustls::Error>()
        || wrapped.is_some_and(|inner| speaks_of_tls(inner))
        || error.source().is_some_and(speaks_of_tls)
}

/// The texts of an error and of what caused it.
fn words(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
