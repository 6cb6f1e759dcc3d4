//! A plain HTTP/1.1 client that sends exactly the bytes a test wants to send.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// No answer takes longer in any test.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields in order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let field = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        field.map(|(_, v)| v.as_str())
    }

    /// All fields of this name.
    pub fn all<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Where a redirect leads.
    pub fn location(&self) -> &str {
        self.header("location").unwrap_or_default()
    }
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// `target` goes out byte for byte.
    pub fn new(method: &str, target: &str) -> Request {
        Request {
            method: method.into(),
            target: target.into(),
            headers: vec![],
            body: vec![],
        }
    }

    /// A GET.
    pub fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    /// Adds a field; the same name may be added twice.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A body with its type.
    pub fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Request {
        self.body = body.into();
        self.header("Content-Type", kind)
    }

    /// The request for a host, as it goes out.
    pub fn bytes(&self, host: &str) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self
            .headers
            .iter()
            .any(|(n, _)| n.eq_ignore_ascii_case("host"))
        {
            text += &format!("Host: {host}\r\n");
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !self.body.is_empty() || self.method == "POST" {
            text += &format!("Content-Length: {}\r\n", self.body.len());
        }
        text += "Connection: close\r\n\r\n";
        let mut bytes = text.into_bytes();
        bytes.extend(&self.body);
        bytes
    }

    /// Sends it on a connection of its own and reads the answer to its end.
    ///
    /// # Errors
    /// Those of the connection, or an answer that is not HTTP.
    pub fn send(&self, to: SocketAddr, host: &str) -> std::io::Result<Response> {
        let stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // A server may answer and close before it has read everything.
        let _ = (&stream).write_all(&self.bytes(host));
        read(BufReader::new(stream), &self.method)
    }
}

/// Sends bytes as they are, with `Connection: close` among them, and reads the answer to its end.
///
/// # Errors
/// Those of the connection, or an answer that is not HTTP.
pub fn send_bytes(to: SocketAddr, bytes: &[u8]) -> std::io::Result<Response> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    (&stream).write_all(bytes)?;
    read(BufReader::new(stream), "")
}

/// Reads an answer to a request of this method to its end.
///
/// # Errors
/// Those of the connection, or an answer that is not HTTP.
pub fn read(mut from: impl BufRead, method: &str) -> std::io::Result<Response> {
    loop {
        let mut response = head(&mut from)?;
        if response.status == 100 {
            continue;
        }
        if method != "HEAD" && !matches!(response.status, 204 | 304) {
            response.body = body(&mut from, &response)?;
        }
        return Ok(response);
    }
}

fn head(from: &mut impl BufRead) -> std::io::Result<Response> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|s| s.trim().parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no HTTP: {line:?}")))?;
    let mut response = Response {
        status,
        ..Response::default()
    };
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(response);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        response
            .headers
            .push((name.to_owned(), value.trim().to_owned()));
    }
}

fn body(from: &mut impl BufRead, response: &Response) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if response.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or(""), 16);
            let size = size.map_err(std::io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            from.read_exact(&mut chunk)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    match response
        .header("content-length")
        .and_then(|n| n.parse::<usize>().ok())
    {
        Some(length) => {
            body.resize(length, 0);
            from.read_exact(&mut body)?;
        }
        None => {
            from.read_to_end(&mut body)?;
        }
    }
    Ok(body)
}
