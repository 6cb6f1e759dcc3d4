use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use portcullis_engine::token::Secret;
use rustls::pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// Far more than any call here needs; reached only when something is broken.
const GENEROUS: Duration = Duration::from_secs(60);
const TOKEN: &str = "AQIC5wMadeUpToken";

fn settings() -> Settings {
    Settings {
        connect_timeout: GENEROUS,
        hostmap: vec![("am.test.invalid".into(), Ipv4Addr::LOCALHOST.into())],
        calls_max: 4,
        ..Settings::default()
    }
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn within(limit: Duration) -> Call {
    Call {
        permit: Permit::Other,
        until: Instant::now() + limit,
    }
}

fn exchange() -> Exchange {
    Exchange {
        method: Method::Get,
        path: "json/secret-path".into(),
        headers: vec![("X-Token".into(), Value::Secret(Secret::new(TOKEN.into())))],
        body: Secret::new(vec![]),
        max_body: 1000,
        once: false,
    }
}

/// Everything up to the end of the request head.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server that gives one answer and returns the request that it got.
async fn once(answer: &'static str) -> (Url, tokio::task::JoinHandle<String>) {
    let (listener, address) = listen().await;
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        request
    });
    (
        url(&format!(
            "http://am.test.invalid:{}/openam/",
            address.port()
        )),
        served,
    )
}

async fn send(base: &Url, limit: Duration) -> Result<Answer, Failure> {
    let client = Client::new(&settings(), std::slice::from_ref(base)).unwrap();
    client.send(base, &exchange(), within(limit)).await
}

async fn cause(base: &Url, limit: Duration) -> Option<Cause> {
    send(base, limit).await.err().map(|f| f.cause)
}

#[tokio::test]
async fn the_request_is_what_am_expects() {
    let (base, served) =
        once("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\n{}").await;
    let answer = send(&base, GENEROUS).await.unwrap();
    let request = served.await.unwrap();
    assert!(
        request.starts_with("GET /openam/json/secret-path HTTP/1.1\r\n"),
        "{request}"
    );
    let lower = request.to_ascii_lowercase();
    assert!(lower.contains(&format!(
        "\r\nhost: am.test.invalid:{}\r\n",
        base.port().unwrap()
    )));
    assert!(lower.contains(&format!(
        "\r\nuser-agent: portcullis/{}\r\n",
        env!("CARGO_PKG_VERSION")
    )));
    assert!(
        request.contains(&format!("x-token: {TOKEN}\r\n")),
        "{request}"
    );
    for absent in [
        "\r\naccept-encoding:",
        "\r\ncookie:",
        "\r\nreferer:",
        "\r\nauthorization:",
    ] {
        assert!(!lower.contains(absent), "{absent}");
    }
    answer.read(|reply| {
        assert_eq!((reply.status, reply.body), (200, &b"{}"[..]));
        assert_eq!(reply.values("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
    });
}

/// Runs the test above in a process of its own whose environment names this listener as the proxy for
/// everything. It passes there only when it reaches its own server, and nothing comes here.
#[test]
fn no_proxy_of_the_environment_is_obeyed() {
    let proxy = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "client::tests::the_request_is_what_am_expects"]);
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        child.env(name, &address);
    }
    let output = child
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    proxy.set_nonblocking(true).unwrap();
    assert_eq!(
        proxy.accept().unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_else_sees_the_token() {
    let (elsewhere, address) = listen().await;
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{address}/steal\r\nContent-Length: 0\r\n\r\n"
    );
    let (base, served) = once(Box::leak(answer.into_boxed_str())).await;
    assert_eq!(send(&base, GENEROUS).await.unwrap().status(), 302);
    served.await.unwrap();
    // Nobody is waiting in the queue of the other server: this connection is the first one there.
    let own = tokio::net::TcpStream::connect(address).await.unwrap();
    let (_stream, first) = elsewhere.accept().await.unwrap();
    assert_eq!(first, own.local_addr().unwrap());
}

#[tokio::test]
async fn failures_name_no_url_and_no_token() {
    let (listener, address) = listen().await;
    drop(listener);
    let refused = url(&format!(
        "http://am.test.invalid:{}/openam/",
        address.port()
    ));
    let failure = send(&refused, GENEROUS).await.err().unwrap();
    assert_eq!(failure.cause, Cause::Transport);
    let (garbage, served) = once("this is not HTTP\r\n\r\n").await;
    let other = send(&garbage, GENEROUS).await.err().unwrap();
    assert_eq!(other.cause, Cause::Transport);
    served.await.unwrap();
    let unknown = send(&url("http://no-such-host.invalid/openam/"), GENEROUS)
        .await
        .err()
        .unwrap();
    assert_eq!(unknown.cause, Cause::Transport);
    for failure in [failure, other, unknown] {
        assert!(!failure.why.is_empty());
        for secret in ["http://", "secret-path", "openam", TOKEN] {
            assert!(!failure.why.contains(secret), "{}", failure.why);
        }
    }
}

/// A port where nobody takes connections any more: its queue is full, and the kernel answers nothing.
fn full() -> (Vec<std::net::TcpStream>, std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    rustix::net::listen(&listener, 0).unwrap(); // a shorter queue than it was bound with
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let patience = Duration::from_millis(300);
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, patience) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue never fills");
    }
    (waiting, listener, address)
}

#[tokio::test]
async fn a_connection_that_does_not_come_is_given_up_before_the_deadline() {
    let (_waiting, _listener, address) = full();
    let settings = Settings {
        connect_timeout: Duration::from_secs(1),
        ..settings()
    };
    let base = url(&format!("http://{address}/openam/"));
    let client = Client::new(&settings, std::slice::from_ref(&base)).unwrap();
    let failure = client
        .send(&base, &exchange(), within(GENEROUS))
        .await
        .err()
        .unwrap();
    assert_eq!(failure.cause, Cause::Timeout);
    assert_ne!(failure.why, "the deadline passed");
}

#[tokio::test]
async fn an_endless_body_stops_at_the_cap() {
    let (listener, address) = listen().await;
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        // Ends only because the client hangs up.
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let base = url(&format!("http://{address}/"));
    assert_eq!(cause(&base, GENEROUS).await, Some(Cause::Protocol));
    served.await.unwrap();
    let (base, served) = once("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n").await;
    assert_eq!(cause(&base, GENEROUS).await, Some(Cause::Protocol));
    served.await.unwrap();
}

#[tokio::test]
async fn a_body_that_drips_stops_at_the_deadline() {
    let (listener, address) = listen().await;
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
            .await
            .unwrap();
        // Never silent for long, so only a limit on the whole call ends it.
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let base = url(&format!("http://{address}/"));
    assert_eq!(
        cause(&base, Duration::from_millis(400)).await,
        Some(Cause::Timeout)
    );
    served.await.unwrap();
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_at_the_deadline() {
    let (listener, address) = listen().await;
    let base = url(&format!("http://{address}/"));
    assert_eq!(
        cause(&base, Duration::from_millis(200)).await,
        Some(Cause::Timeout)
    );
    drop(listener);
}

#[tokio::test]
async fn nothing_is_decompressed() {
    let (base, served) =
        once("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x08abc")
            .await;
    let answer = send(&base, GENEROUS).await.unwrap();
    answer.read(|reply| assert_eq!(reply.body, b"\x1f\x08abc"));
    served.await.unwrap();
}

#[test]
fn half_of_the_calls_are_reserved_for_known_sessions() {
    let counts = Arc::new(InFlight::default());
    let enter = |permit| counts.enter(permit, 4);
    let others: Vec<_> = (0..3).map(|_| enter(Permit::Other)).collect();
    assert!(others[1].is_some() && others[2].is_none());
    let known: Vec<_> = (0..3).map(|_| enter(Permit::KnownSession)).collect();
    assert!(known[1].is_some() && known[2].is_none());
    drop(others);
    assert!(enter(Permit::Other).is_some());
    drop(known);
    assert_eq!(*counts.0.lock(), (0, 0));
    let all: Vec<_> = (0..4).map(|_| enter(Permit::KnownSession)).collect();
    assert!(all.iter().all(Option::is_some) && enter(Permit::Other).is_none());
}

#[tokio::test]
async fn at_the_cap_a_call_is_refused_at_once_and_a_cancelled_one_counts_no_more() {
    let (listener, address) = listen().await;
    let base = url(&format!("http://{address}/"));
    let one = Settings {
        calls_max: 1,
        ..settings()
    };
    let client = Client::new(&one, std::slice::from_ref(&base)).unwrap();
    let question = exchange();
    let mut first = Box::pin(client.send(&base, &question, within(GENEROUS)));
    tokio::select! {
        biased;
        _ = &mut first => panic!("nobody answered"),
        _ = listener.accept() => {}
    }
    let refused = client
        .send(&base, &question, within(GENEROUS))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.cause, Cause::Busy);
    drop(first);
    let next = client
        .send(&base, &question, within(Duration::from_millis(200)))
        .await;
    assert_eq!(next.err().unwrap().cause, Cause::Timeout);
}

#[tokio::test]
async fn a_path_does_not_leave_the_server_it_is_for() {
    let base = url("http://am.test.invalid:1/openam/");
    let client = Client::new(&settings(), std::slice::from_ref(&base)).unwrap();
    for path in [
        "//evil.invalid/x",
        "http://evil.invalid/",
        "../manager/html",
        "/manager",
    ] {
        let exchange = Exchange {
            path: path.into(),
            ..exchange()
        };
        let failure = client
            .send(&base, &exchange, within(GENEROUS))
            .await
            .err()
            .unwrap();
        assert_eq!(failure.cause, Cause::Protocol, "{path}");
    }
}

/// A certificate authority, and a server that has a certificate of it for one name.
async fn tls_server(name: &str, ca_file: &Path) -> SocketAddr {
    tls_server_below(
        name,
        ca_file,
        0,
        &[&rustls::version::TLS12, &rustls::version::TLS13],
    )
    .await
}

fn authority() -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
}

/// The same with authorities between the trusted one and the server's certificate.
async fn tls_server_below(
    name: &str,
    ca_file: &Path,
    between: usize,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> SocketAddr {
    let generate = || rcgen::KeyPair::generate().unwrap();
    let named = |n: usize| {
        let mut params = authority();
        let text = format!("authority {n}");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, text);
        params
    };
    let mut ca = rcgen::CertifiedIssuer::self_signed(named(0), generate()).unwrap();
    std::fs::File::create(ca_file)
        .unwrap()
        .write_all(ca.pem().as_bytes())
        .unwrap();
    let mut chain = Vec::new();
    for n in 1..=between {
        ca = rcgen::CertifiedIssuer::signed_by(named(n), generate(), &ca).unwrap();
        chain.insert(0, ca.der().clone());
    }
    let key = generate();
    let leaf = rcgen::CertificateParams::new(vec![name.to_string()]).unwrap();
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    chain.insert(0, leaf.der().clone());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream).await;
            }
        }
    });
    address
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    head(&mut stream).await;
    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    stream.write_all(text).await.unwrap();
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn tls_verifies_unless_it_is_told_not_to() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let address = tls_server("am.test.invalid", &ca).await;
    let right = url(&format!(
        "https://am.test.invalid:{}/openam/",
        address.port()
    ));
    let wrong_name = url(&format!("https://{address}/openam/"));
    let ask = async |settings: Settings, base: &Url| {
        let client = Client::new(&settings, std::slice::from_ref(base)).unwrap();
        client
            .send(base, &exchange(), within(GENEROUS))
            .await
            .map(|a| a.status())
            .map_err(|f| f.cause)
    };
    let with_ca = || Settings {
        ca_file: Some(ca.clone()),
        ..settings()
    };
    assert_eq!(ask(with_ca(), &right).await, Ok(200));
    assert_eq!(ask(with_ca(), &wrong_name).await, Err(Cause::Tls));
    let other = dir.path().join("other.pem");
    tls_server("am.test.invalid", &other).await;
    let unrelated = Settings {
        ca_file: Some(other),
        ..settings()
    };
    assert_eq!(ask(unrelated, &right).await, Err(Cause::Tls));
    let trusting = || Settings {
        trust_server_certs: true,
        ..settings()
    };
    assert_eq!(ask(trusting(), &right).await, Ok(200));
    assert_eq!(ask(trusting(), &wrong_name).await, Ok(200));
}

#[test]
fn a_ca_file_that_is_of_no_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let with_ca = Settings {
        ca_file: Some(file.clone()),
        ..settings()
    };
    let https = [url("https://am.test.invalid/")];
    assert!(matches!(
        Client::new(&with_ca, &https).err(),
        Some(ClientError::CaFile(_))
    ));
    std::fs::write(&file, "nothing\n").unwrap();
    assert!(matches!(
        Client::new(&with_ca, &https).err(),
        Some(ClientError::NoRoots)
    ));
    // Without https nobody reads it.
    assert!(Client::new(&with_ca, &[url("http://am.test.invalid/")]).is_ok());
}

async fn ask_tls(settings: Settings, address: SocketAddr) -> Result<u16, Cause> {
    let base = url(&format!(
        "https://am.test.invalid:{}/openam/",
        address.port()
    ));
    let client = Client::new(&settings, std::slice::from_ref(&base)).unwrap();
    let answer = client.send(&base, &exchange(), within(GENEROUS)).await;
    answer.map(|a| a.status()).map_err(|f| f.cause)
}

#[tokio::test]
async fn a_chain_is_followed_no_further_than_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let versions = [&rustls::version::TLS13];
    for between in [0, 2] {
        let ca = dir.path().join(format!("{between}.pem"));
        let address = tls_server_below("am.test.invalid", &ca, between, &versions).await;
        for depth in [0, 1, 2, 3, 9] {
            let settings = Settings {
                ca_file: Some(ca.clone()),
                verify_depth: depth,
                ..settings()
            };
            let enough = depth == 0 || depth as usize > between;
            let expected = if enough { Ok(200) } else { Err(Cause::Tls) };
            assert_eq!(
                ask_tls(settings, address).await,
                expected,
                "{between} {depth}"
            );
        }
    }
}

#[tokio::test]
async fn versions_that_are_off_are_not_spoken() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let servers = [&rustls::version::TLS12, &rustls::version::TLS13];
    for (server, of13) in servers.into_iter().zip([false, true]) {
        let address = tls_server_below("am.test.invalid", &ca, 0, &[server]).await;
        for (tls12, tls13) in [(true, true), (true, false), (false, true)] {
            let settings = Settings {
                ca_file: Some(ca.clone()),
                versions: TlsVersions { tls12, tls13 },
                ..settings()
            };
            let spoken = if of13 { tls13 } else { tls12 };
            let answer = ask_tls(settings, address).await;
            assert_eq!(answer.is_ok(), spoken, "{of13} {tls12} {tls13}");
        }
        // Ciphers of the other version are of no use.
        let settings = Settings {
            ca_file: Some(ca.clone()),
            ciphers: vec!["TLS_AES_128_GCM_SHA256".into()],
            ..settings()
        };
        assert_eq!(ask_tls(settings, address).await.is_ok(), of13);
    }
}

#[tokio::test]
async fn the_secrets_of_connections_are_written_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, log) = (dir.path().join("ca.pem"), dir.path().join("keys.log"));
    let address = tls_server("am.test.invalid", &ca).await;
    for key_log in [None, Some(log.clone())] {
        let written = key_log.is_some();
        let settings = Settings {
            ca_file: Some(ca.clone()),
            key_log,
            ..settings()
        };
        assert_eq!(ask_tls(settings, address).await, Ok(200));
        assert_eq!(log.exists(), written);
    }
    let text = std::fs::read_to_string(&log).unwrap();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let hex = |w: &str| w.len() >= 64 && w.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(words.len() == 3 && hex(words[1]) && hex(words[2]), "{line}");
    }
    assert!(text.contains("CLIENT_TRAFFIC_SECRET_0"), "{text}");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&log).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A link would let somebody else choose the file.
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&log, &link).unwrap();
    let settings = Settings {
        ca_file: Some(ca),
        key_log: Some(link),
        ..settings()
    };
    let refused = Client::new(&settings, &[url("https://am.test.invalid/")]);
    assert!(matches!(refused.err(), Some(ClientError::KeyLog(_))));
}

#[tokio::test]
async fn the_proxy_gets_its_password_and_am_does_not() {
    let (base, served) = once("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let settings = Settings {
        proxy: Some(ForwardProxy {
            host: "127.0.0.1".into(),
            port: base.port().unwrap().into(),
            login: Some(("me".into(), Some(Secret::new(b"a password".to_vec())))),
        }),
        ..settings()
    };
    let elsewhere = url("http://am.elsewhere.invalid/openam/");
    let client = Client::new(&settings, std::slice::from_ref(&elsewhere)).unwrap();
    let answer = client.send(&elsewhere, &exchange(), within(GENEROUS)).await;
    assert_eq!(answer.map(|a| a.status()), Ok(200));
    let request = served.await.unwrap();
    assert!(
        request.starts_with("GET http://am.elsewhere.invalid/openam/json/secret-path HTTP/1.1\r\n")
    );
    assert!(
        request
            .to_lowercase()
            .contains("proxy-authorization: basic bwu6ysbwyxnzd29yza=="),
        "{request}"
    );
}

/// Two connections: the first is kept open for one answer and breaks at the next question.
async fn breaking() -> (Url, tokio::task::JoinHandle<usize>) {
    let (listener, address) = listen().await;
    let served = tokio::spawn(async move {
        let answer = "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}";
        let (mut first, _) = listener.accept().await.unwrap();
        head(&mut first).await;
        first.write_all(answer.as_bytes()).await.unwrap();
        head(&mut first).await;
        drop(first);
        let mut more = 0;
        while let Ok(Ok((mut next, _))) =
            tokio::time::timeout(Duration::from_secs(2), listener.accept()).await
        {
            more += 1;
            head(&mut next).await;
            next.write_all(answer.as_bytes()).await.unwrap();
        }
        more
    });
    (url(&format!("http://{address}/openam/")), served)
}

#[tokio::test]
async fn a_connection_that_broke_is_no_outage_and_nothing_is_done_twice() {
    for (once, expected) in [(false, (Ok(200), 1)), (true, (Err(Cause::Transport), 0))] {
        let (base, served) = breaking().await;
        let client = Client::new(&settings(), std::slice::from_ref(&base)).unwrap();
        let asked = Exchange { once, ..exchange() };
        let ask = async || {
            let answer = client.send(&base, &asked, within(GENEROUS)).await;
            answer.map(|a| a.status()).map_err(|failure| failure.cause)
        };
        assert_eq!(ask().await, Ok(200));
        let second = ask().await;
        assert_eq!((second, served.await.unwrap()), expected);
    }
}
