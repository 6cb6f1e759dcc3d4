//! What stands before an AM: a door that can be shut, TLS that asks for a certificate, a forward proxy.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;

use crate::site::Site;

/// Something before an AM. Dropped, it is gone with all its connections.
pub struct Front {
    address: SocketAddr,
    passed: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

/// The files that TLS needs on both sides.
pub struct Certificates {
    /// The authority that both sides trust.
    pub authority: PathBuf,
    /// The agent's certificate.
    pub certificate: PathBuf,
    /// Its key, in the clear.
    pub key: PathBuf,
    server: Arc<ServerConfig>,
    /// The same for clients without a certificate.
    open: Arc<ServerConfig>,
}

impl Front {
    /// A door: passes everything on.
    pub fn door(to: SocketAddr) -> Front {
        Front::door_at(anywhere(), to)
    }

    /// A door where another one was.
    pub fn door_at(at: SocketAddr, to: SocketAddr) -> Front {
        Front::start_at(at, move |mut stream, passed| async move {
            if let Ok(mut am) = TcpStream::connect(to).await {
                passed.fetch_add(1, Ordering::SeqCst);
                let _ = copy_bidirectional(&mut stream, &mut am).await;
            }
        })
    }

    /// A port in the place of this front that takes no connection: attempts get no answer at all.
    ///
    /// # Panics
    /// When the port does not become free.
    #[must_use]
    pub fn replaced_by_silence(self) -> Front {
        let at = self.address;
        drop(self);
        crate::wait_until("a free port", || std::net::TcpListener::bind(at).is_ok());
        let runtime = runtime();
        let listener = runtime.block_on(async {
            let socket = TcpSocket::new_v4().expect("socket");
            socket.set_reuseaddr(true).expect("option");
            socket.bind(at).expect("the same port");
            socket.listen(1).expect("listener")
        });
        // Nobody accepts: once a few wait, the kernel leaves further ones without an answer.
        let mut waiting = Vec::new();
        let patience = std::time::Duration::from_millis(300);
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&at, patience) {
            waiting.push(stream);
        }
        runtime.spawn(async move {
            let _held = (listener, waiting);
            std::future::pending::<()>().await;
        });
        Front {
            address: at,
            passed: Arc::default(),
            runtime: Some(runtime),
        }
    }

    /// TLS, for whoever shows a certificate of the authority.
    pub fn tls(to: SocketAddr, certificates: &Certificates) -> Front {
        Front::tls_at(anywhere(), to, certificates)
    }

    /// TLS, for everybody.
    pub fn open_tls(to: SocketAddr, certificates: &Certificates) -> Front {
        Front::tls_with(anywhere(), to, certificates.open.clone())
    }

    fn tls_at(at: SocketAddr, to: SocketAddr, certificates: &Certificates) -> Front {
        Front::tls_with(at, to, certificates.server.clone())
    }

    fn tls_with(at: SocketAddr, to: SocketAddr, server: Arc<ServerConfig>) -> Front {
        let acceptor = TlsAcceptor::from(server);
        Front::start_at(at, move |stream, passed| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                if let Ok(mut am) = TcpStream::connect(to).await {
                    passed.fetch_add(1, Ordering::SeqCst);
                    let _ = copy_bidirectional(&mut stream, &mut am).await;
                }
            }
        })
    }

    /// Puts TLS with other certificates in the place of this front.
    ///
    /// # Panics
    /// When the port does not become free.
    #[must_use]
    pub fn replaced_by_tls(self, to: SocketAddr, certificates: &Certificates) -> Front {
        let at = self.address;
        drop(self);
        crate::wait_until("a free port", || std::net::TcpListener::bind(at).is_ok());
        Front::tls_at(at, to, certificates)
    }

    /// A forward proxy that wants this user and password and leads everywhere to `to`.
    pub fn proxy(to: SocketAddr, login: &str) -> Front {
        let wanted = format!("basic {}", STANDARD.encode(login)).to_lowercase();
        Front::start(move |stream, passed| {
            let wanted = wanted.clone();
            async move { proxied(stream, to, &wanted, &passed).await }
        })
    }

    fn start<F>(serve: impl Fn(TcpStream, Arc<AtomicUsize>) -> F + Send + 'static) -> Front
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Front::start_at(anywhere(), serve)
    }

    fn start_at<F>(
        at: SocketAddr,
        serve: impl Fn(TcpStream, Arc<AtomicUsize>) -> F + Send + 'static,
    ) -> Front
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = runtime();
        let listener = runtime
            .block_on(TcpListener::bind(at))
            .expect("a free port");
        let address = listener.local_addr().expect("address");
        let passed = Arc::new(AtomicUsize::new(0));
        let counter = passed.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, counter.clone()));
            }
        });
        Front {
            address,
            passed,
            runtime: Some(runtime),
        }
    }

    /// Where it listens, whole.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port where it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections it has let through.
    pub fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("runtime")
}

/// A free port of this machine.
fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn proxied(mut stream: TcpStream, to: SocketAddr, wanted: &str, passed: &AtomicUsize) {
    let Some(head) = head(&mut stream).await else {
        return;
    };
    let folded = head.to_lowercase();
    let shown = folded
        .lines()
        .find_map(|l| l.strip_prefix("proxy-authorization: "));
    if shown.map(str::trim) != Some(wanted) {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(refusal.as_bytes()).await;
        return;
    }
    let Ok(mut am) = TcpStream::connect(to).await else {
        return;
    };
    passed.fetch_add(1, Ordering::SeqCst);
    let begun = match head.starts_with("CONNECT ") {
        true => stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await,
        false => am.write_all(head.as_bytes()).await,
    };
    if begun.is_ok() {
        pass(&mut stream, &mut am).await;
    }
}

async fn pass(a: &mut (impl AsyncRead + AsyncWrite + Unpin), b: &mut TcpStream) {
    let _ = copy_bidirectional(a, b).await;
}

/// Everything up to the end of the request head; `None` when the connection ends before.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(bytes).ok()
}

impl Certificates {
    /// Makes them for an AM of this name, in this folder. The key's file is for its owner only.
    pub fn make(folder: &Path, name: &str) -> Certificates {
        let generate = || KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, generate()).expect("authority");
        let signed = |name: &str| {
            let key = generate();
            let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
            (
                params.signed_by(&key, &authority).expect("certificate"),
                key,
            )
        };
        let (server, server_key) = signed(name);
        let (agent, agent_key) = signed("agent.test.example.org");
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("file");
            path
        };
        let files = [
            file("authority.pem", &authority.pem()),
            file("agent.pem", &agent.pem()),
            file("agent-key.pem", &agent_key.serialize_pem()),
        ];
        private(&files[2]);
        let [authority_file, certificate, key] = files;
        let der = authority.der().clone();
        let open = open_config(server.der().clone(), &server_key);
        let server = server_config(der, server.der().clone(), &server_key);
        Certificates {
            authority: authority_file,
            certificate,
            key,
            server: Arc::new(server),
            open: Arc::new(open),
        }
    }
}

/// Names AM's addresses in place of the one that the installer wrote.
///
/// # Panics
/// When `agent.conf` can't be changed.
pub fn name_am(site: &Site, urls: &str) {
    const NAMING: &str = "com.sun.identity.agents.config.naming.url";
    let path = site.instance.join("config/agent.conf");
    let text = std::fs::read_to_string(&path).expect("agent.conf");
    let lines = text.lines().map(|line| match line.starts_with(NAMING) {
        true => format!("{NAMING} = {urls}\n"),
        false => format!("{line}\n"),
    });
    std::fs::write(&path, lines.collect::<String>()).expect("agent.conf");
}

/// Makes a file readable by its owner only.
pub fn private(path: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("mode");
}

fn server_config(
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: &KeyPair,
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority).expect("root");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .expect("verifier");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)
        .expect("certificate")
}

fn open_config(certificate: CertificateDer<'static>, key: &KeyPair) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("certificate")
}
