//! An application whose responses do not end: server-sent events, and WebSockets as far as a proxy looks
//! at them. It says something only when a test tells it to.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{client::Request, site::Builder, site::Site};

/// No test waits longer for what a stream says.
const PATIENCE: Duration = Duration::from_secs(60);
const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n\
                      Connection: close\r\n\r\ndata: begun\n\n";
const SOCKET: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nbegun\n\n";

/// The application.
pub struct Streams {
    address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Streams {
    /// Starts it on a free port; its threads end with the test's process.
    ///
    /// # Panics
    /// When the loopback interface has no free port.
    #[must_use]
    pub fn start() -> Streams {
        let listener = TcpListener::bind("127.0.0.1:0").expect("free port");
        let address = listener.local_addr().expect("address");
        let open = Arc::new(Mutex::new(Vec::new()));
        let all = open.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all = all.clone();
                std::thread::spawn(move || begin(stream, &all));
            }
        });
        Streams { address, open }
    }

    /// Has the site's server pass `/docs/stream` on to it.
    #[must_use]
    pub fn behind(&self, site: Builder) -> Builder {
        let to = self.address;
        site.host(
            &format!("ProxyPass /docs/stream http://{to}/ upgrade=websocket flushpackets=on\n"),
            &format!(
                "location /docs/stream {{ proxy_pass http://{to}/; proxy_http_version 1.1; \
                 proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection; }}\n"
            ),
        )
    }

    /// Says something to whoever listens.
    ///
    /// # Panics
    /// When an earlier call did.
    pub fn say(&self, words: &str) {
        let mut open = self.open.lock().expect("streams");
        open.retain_mut(|stream| write!(stream, "data: {words}\n\n").is_ok());
    }
}

impl Streams {
    /// Ends all that it says. A web server that is stopped would wait for that.
    ///
    /// # Panics
    /// When an earlier call did.
    pub fn end(&self) {
        for stream in self.open.lock().expect("streams").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn begin(mut stream: TcpStream, all: &Mutex<Vec<TcpStream>>) {
    let Ok(reading) = stream.try_clone() else {
        return;
    };
    let mut upgrade = false;
    for line in BufReader::new(reading).lines().map_while(Result::ok) {
        upgrade |= line.to_ascii_lowercase().starts_with("upgrade:");
        if line.is_empty() {
            break;
        }
    }
    let answer = if upgrade { SOCKET } else { EVENTS };
    // Registered first: whoever has read the beginning hears everything that is said later.
    let writing = stream.try_clone();
    let mut all = all.lock().expect("streams");
    if stream.write_all(answer.as_bytes()).is_ok() {
        all.extend(writing);
    }
}

/// A client of a response that does not end.
pub struct Listener {
    stream: BufReader<TcpStream>,
    /// The head of the response.
    pub head: String,
}

impl Listener {
    /// Asks for it, over a WebSocket or not, and waits for the beginning.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn open(site: &Site, cookie: &str, upgrade: bool) -> Listener {
        let mut request = Request::get("/docs/stream").header("Cookie", cookie);
        if upgrade {
            request = request
                .header("Connection", "Upgrade")
                .header("Upgrade", "websocket")
                .header("Sec-WebSocket-Version", "13")
                .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        }
        let mut stream = TcpStream::connect(site.server.address()).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
            .write_all(&request.bytes(&site.authority()))
            .expect("a request");
        let mut listener = Listener {
            stream: BufReader::new(stream),
            head: String::new(),
        };
        while !listener.head.ends_with("\r\n\r\n") {
            let mut line = String::new();
            let read = listener.stream.read_line(&mut line).expect("a head");
            assert!(read > 0, "no answer: {}", listener.head);
            listener.head += &line;
        }
        assert!(listener.hears("begun"), "{}", listener.head);
        listener
    }

    /// Reads until these words come (`true`) or the connection ends.
    ///
    /// # Panics
    /// When neither happens.
    pub fn hears(&mut self, words: &str) -> bool {
        let mut line = Vec::new();
        loop {
            line.clear();
            match self.stream.read_until(b'\n', &mut line) {
                Ok(0) => return false,
                Ok(_) if String::from_utf8_lossy(&line).contains(words) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return false,
                Err(error) => panic!("{words}: {error}"),
            }
        }
    }

    /// Reads to the end of the connection.
    ///
    /// # Panics
    /// When it does not end.
    pub fn ends(&mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}
