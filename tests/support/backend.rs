//! The application behind the web server: answers each request with what it received, as JSON.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;

/// A running back end; ends when dropped.
pub struct Backend {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    targets: Targets,
}

/// `METHOD target` of each request, in the order of arrival.
type Targets = Arc<Mutex<Vec<String>>>;

impl Backend {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When the loopback interface has no free port.
    pub fn start() -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port");
        let address = listener.local_addr().expect("address");
        let ended = Arc::new(AtomicBool::new(false));
        let seen = ended.clone();
        let targets = Targets::default();
        let arrived = targets.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(stream) = stream {
                    let arrived = arrived.clone();
                    std::thread::spawn(move || serve(stream, &arrived));
                }
            }
        });
        Backend {
            address,
            ended,
            targets,
        }
    }

    /// `METHOD target` of each request that arrived so far.
    ///
    /// # Panics
    /// When an earlier request's thread did.
    pub fn requests(&self) -> Vec<String> {
        self.targets.lock().expect("requests").clone()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address); // wakes the accepting thread
    }
}

/// Answers requests until the connection ends.
fn serve(stream: TcpStream, arrived: &Mutex<Vec<String>>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let mut input = BufReader::new(&stream);
    while let Some(seen) = request(&mut input) {
        let line = ["method", "target"].map(|m| seen[m].as_str().unwrap_or_default());
        arrived.lock().expect("requests").push(line.join(" "));
        let body = seen.to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: public, max-age=60\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if (&stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// One request as JSON: method, target, headers as pairs, length of the body.
fn request(input: &mut impl BufRead) -> Option<serde_json::Value> {
    let mut line = String::new();
    input.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "transfer-encoding" => chunked = true,
            _ => {}
        }
        headers.push(json!([name, value]));
    }
    let body = match chunked {
        true => read_chunks(input)?,
        false => {
            let mut body = vec![0; length];
            input.read_exact(&mut body).ok()?;
            body
        }
    };
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]).into_owned();
    Some(json!({
        "method": method, "target": target, "headers": headers,
        "length": body.len(), "body": text, "hash": hash(&body),
    }))
}

/// Tells a body from others, of whatever length.
pub fn hash(body: &[u8]) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hasher::write(&mut hasher, body);
    format!("{:016x}", std::hash::Hasher::finish(&hasher))
}

fn read_chunks(input: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        input.read_exact(&mut chunk).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

/// What the back end saw, read from its answer.
pub struct Seen(serde_json::Value);

impl Seen {
    /// Reads an answer of the back end; `None` when it is not one.
    pub fn of(response: &crate::client::Response) -> Option<Seen> {
        serde_json::from_slice(&response.body).ok().map(Seen)
    }

    /// All values of a header, compared without case.
    pub fn all(&self, name: &str) -> Vec<String> {
        let pairs = self.0["headers"].as_array().cloned().unwrap_or_default();
        pairs
            .iter()
            .filter(|p| p[0].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)))
            .filter_map(|p| p[1].as_str().map(str::to_owned))
            .collect()
    }

    /// The only value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut all = self.all(name);
        (all.len() == 1).then(|| all.remove(0))
    }

    /// Names of all headers, in lower case.
    pub fn names(&self) -> Vec<String> {
        let pairs = self.0["headers"].as_array().cloned().unwrap_or_default();
        pairs
            .iter()
            .filter_map(|p| p[0].as_str().map(str::to_ascii_lowercase))
            .collect()
    }

    /// Another member of the report.
    pub fn get(&self, member: &str) -> &serde_json::Value {
        &self.0[member]
    }
}
