//! How do the tests talk HTTP to a server on loopback, with a host name that no DNS knows?
//!
//! One connection a request, straight to 127.0.0.1, the URL's own authority in `Host`. It follows no
//! redirect, keeps no cookie, asks no proxy and never looks a name up: a test must see exactly what
//! the server answered. Plain HTTP only; it is no client for production code.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

/// More than any answer of AM; a bound, so that a broken server can't fill the memory.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Why there is no answer. Shows method and path, never the query: it may hold a token.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL is not `http://host[:port][/path]`, or a header is not valid.
    #[error("not a usable request: {0}")]
    Request(String),
    /// Nobody listens, or the connection broke.
    #[error("{what}: {cause}")]
    Transport {
        /// Method and path.
        what: String,
        /// The library's words.
        cause: String,
    },
    /// No complete answer within the limit.
    #[error("{what}: no answer within {seconds} s")]
    Timeout {
        /// Method and path.
        what: String,
        /// The limit that passed.
        seconds: u64,
    },
}

/// A server on loopback: where it listens and what it is called.
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    authority: String,
    timeout: Duration,
}

/// A request under construction; `send` runs it.
#[derive(Debug)]
pub struct Request<'c> {
    client: &'c Client,
    method: hyper::Method,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What the server said, whole.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Client {
    /// A client for the server behind `url` (`http://name:port/…`); whatever the name, it connects
    /// to 127.0.0.1 at that port. The path is ignored.
    ///
    /// # Errors
    /// [`HttpError::Request`] when `url` is not plain `http` with a host.
    pub fn loopback(url: &str) -> Result<Self, HttpError> {
        let bad = || HttpError::Request(format!("{url} is not http://host:port/…"));
        let uri: hyper::Uri = url.parse().map_err(|_| bad())?;
        if uri.scheme_str() != Some("http") {
            return Err(bad());
        }
        let authority = uri.authority().ok_or_else(bad)?;
        Ok(Self {
            address: (Ipv4Addr::LOCALHOST, authority.port_u16().unwrap_or(80)).into(),
            authority: authority.to_string(),
            timeout: Duration::from_secs(60),
        })
    }

    /// The same server with another limit for a whole exchange (60 s by default).
    #[must_use]
    pub fn with_timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Starts a request; `target` is path and query.
    #[must_use]
    pub fn request(&self, method: hyper::Method, target: &str) -> Request<'_> {
        Request {
            client: self,
            method,
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A `GET` of path and query.
    #[must_use]
    pub fn get(&self, target: &str) -> Request<'_> {
        self.request(hyper::Method::GET, target)
    }

    /// A `POST` to path and query.
    #[must_use]
    pub fn post(&self, target: &str) -> Request<'_> {
        self.request(hyper::Method::POST, target)
    }

    /// A `PUT` to path and query.
    #[must_use]
    pub fn put(&self, target: &str) -> Request<'_> {
        self.request(hyper::Method::PUT, target)
    }

    /// A `DELETE` of path and query.
    #[must_use]
    pub fn delete(&self, target: &str) -> Request<'_> {
        self.request(hyper::Method::DELETE, target)
    }
}

impl Request<'_> {
    /// Adds a header; `Host` replaces the URL's own authority.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A JSON body with its content type.
    #[must_use]
    pub fn json(self, body: &serde_json::Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// A form body with its content type.
    #[must_use]
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        self.body("application/x-www-form-urlencoded", query(fields))
    }

    /// Any body; it goes out with `Content-Length`, which AM's XML services insist on.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("Content-Type", content_type)
    }

    /// Sends it and waits for the whole answer.
    ///
    /// # Errors
    /// Any [`HttpError`]; a status is never an error here.
    pub fn send(self) -> Result<Response, HttpError> {
        let what = format!(
            "{} {}",
            self.method,
            self.target.split('?').next().unwrap_or("/")
        );
        let limit = self.client.timeout;
        let broken = |cause: String| HttpError::Transport {
            what: what.clone(),
            cause,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| broken(e.to_string()))?;
        runtime.block_on(async {
            match tokio::time::timeout(limit, self.exchange()).await {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(cause)) => Err(broken(cause)),
                Err(_) => Err(HttpError::Timeout {
                    what: what.clone(),
                    seconds: limit.as_secs(),
                }),
            }
        })
    }

    async fn exchange(self) -> Result<Response, String> {
        let mut builder = hyper::Request::builder()
            .method(self.method)
            .uri(&self.target);
        if !self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            builder = builder.header("Host", &self.client.authority);
        }
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        let request = builder
            .body(Full::new(Bytes::from(self.body)))
            .map_err(|e| e.to_string())?;

        let stream = tokio::net::TcpStream::connect(self.client.address)
            .await
            .map_err(|e| e.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
        let driver = tokio::spawn(connection);
        let (head, body) = sender
            .send_request(request)
            .await
            .map_err(|e| e.to_string())?
            .into_parts();
        let body = Limited::new(body, MAX_BODY)
            .collect()
            .await
            .map_err(|e| e.to_string())?;
        driver.abort();
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        Ok(Response {
            status: head.status.as_u16(),
            headers,
            body: body.to_bytes().to_vec(),
        })
    }
}

impl Response {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Every header of that name, in order.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text; bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, if it is JSON.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// One query or form component, everything but unreserved characters escaped.
#[must_use]
pub fn escape(text: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(text, KEEP).to_string()
}

/// `name=value&…`, escaped; in the order given.
#[must_use]
pub fn query(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    pairs.join("&")
}

/// The fields of a query string, decoded; what is no UTF-8 is replaced.
#[must_use]
pub fn fields(query: &str) -> Vec<(String, String)> {
    let text = |part: &str| {
        percent_encoding::percent_decode_str(&part.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    query
        .split('&')
        .filter(|field| !field.is_empty())
        .map(|field| field.split_once('=').unwrap_or((field, "")))
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers one connection with `answer` and hands back what it was sent.
    fn serve_once(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!(
            "http://am.test.example.org:{}/openam",
            listener.local_addr().unwrap().port()
        );
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            while !String::from_utf8_lossy(&seen).contains("\r\n\r\n") {
                let mut part = [0; 1024];
                let n = stream.read(&mut part).unwrap();
                seen.extend_from_slice(&part[..n]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(seen).unwrap()
        });
        (url, server)
    }

    #[test]
    fn a_name_without_dns_reaches_loopback_and_stays_in_the_host_header() {
        let (url, server) =
            serve_once("HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n");
        let response = Client::loopback(&url)
            .unwrap()
            .get("/openam/x?a=b")
            .send()
            .unwrap();
        assert_eq!(
            (response.status, response.header("location")),
            (302, Some("/next"))
        );
        let seen = server.join().unwrap();
        assert!(seen.starts_with("GET /openam/x?a=b HTTP/1.1\r\n"), "{seen}");
        assert!(
            seen.to_lowercase().contains("host: am.test.example.org:"),
            "{seen}"
        );
    }

    #[test]
    fn an_error_does_not_show_the_query() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let client = Client::loopback(&format!("http://x.example.org:{port}")).unwrap();
        let error = client
            .get("/a?tokenId=secret")
            .send()
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("GET /a: "), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn query_escapes_what_separates() {
        assert_eq!(query(&[("a b", "x&y=ü")]), "a%20b=x%26y%3D%C3%BC");
    }
}
