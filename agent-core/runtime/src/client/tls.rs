//! Whom do we believe to be AM? One provider, given explicitly; roots from the CA file or the system.

use std::{
    fs::File, fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc,
};

use parking_lot::Mutex;
use portcullis_engine::config::{CIPHERS, TlsVersions};
use rustls::{
    ClientConfig, DigitallySignedStruct, KeyLog, RootCertStore, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::{ClientError, Settings, witness::Observed};

/// The TLS settings. Without `https` no root is read, and none is needed.
pub(super) fn config(settings: &Settings, https: bool) -> Result<ClientConfig, ClientError> {
    let library = |e: rustls::Error| ClientError::Library(e.to_string());
    let mut provider = aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| is_chosen(&settings.ciphers, suite));
    let provider = Arc::new(provider);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(settings.versions))
        .map_err(library)?;
    let builder = match verifier(settings, https, provider)? {
        Some(verifier) => builder
            .dangerous()
            .with_custom_certificate_verifier(observed(settings, verifier)),
        None => builder.with_root_certificates(RootCertStore::empty()),
    };
    let mut config = match settings.identity.clone() {
        Some(own) => builder
            .with_client_auth_cert(own.chain, own.key)
            .map_err(library)?,
        None => builder.with_no_client_auth(),
    };
    if let Some(path) = &settings.key_log {
        let log = Secrets::open(path).map_err(|e| ClientError::KeyLog(e.to_string()))?;
        config.key_log = Arc::new(log);
    }
    Ok(config)
}

/// Who judges AM's certificate; nobody has to where there is no https.
fn verifier(
    settings: &Settings,
    https: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ServerCertVerifier>>, ClientError> {
    if settings.trust_server_certs {
        return Ok(Some(Arc::new(TrustEveryServer(provider))));
    }
    if !https {
        return Ok(None);
    }
    let roots = Arc::new(roots(settings)?);
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|e| ClientError::Library(e.to_string()))?;
    let depth = settings.verify_depth;
    Ok(Some(Arc::new(Shallow { inner, depth })))
}

/// The same verifier; with a witness, where there is one.
fn observed(
    settings: &Settings,
    inner: Arc<dyn ServerCertVerifier>,
) -> Arc<dyn ServerCertVerifier> {
    match settings.witness.clone() {
        Some(witness) => Arc::new(Observed { inner, witness }),
        None => inner,
    }
}

fn versions(allowed: TlsVersions) -> Vec<&'static SupportedProtocolVersion> {
    let mut versions = Vec::new();
    versions.extend(allowed.tls13.then_some(&TLS13));
    versions.extend(allowed.tls12.then_some(&TLS12));
    versions
}

fn is_chosen(names: &[String], suite: &SupportedCipherSuite) -> bool {
    let standard = suite.suite().as_str();
    let of = |name: &String| CIPHERS.iter().find(|c| c.0 == name).map(|c| c.1);
    names.is_empty() || names.iter().any(|name| of(name) == standard)
}

fn roots(settings: &Settings) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        Some(path) => {
            let unreadable = |e: rustls::pki_types::pem::Error| ClientError::CaFile(e.to_string());
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(|found| found.collect::<Result<Vec<_>, _>>())
                .map_err(unreadable)?;
            for certificate in certificates {
                roots
                    .add(certificate)
                    .map_err(|e| ClientError::CaFile(e.to_string()))?;
            }
        }
        None => {
            // Some systems carry a certificate that can't be read; the others still count.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    match roots.is_empty() {
        true => Err(ClientError::NoRoots),
        false => Ok(roots),
    }
}

/// Verifies as usual, but sees only the first certificates that AM sends: `cert.verify.depth` counts
/// authorities, and the trusted one at the end is among them.
#[derive(Debug)]
struct Shallow {
    inner: Arc<WebPkiServerVerifier>,
    depth: u32,
}

impl ServerCertVerifier for Shallow {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let most = match self.depth {
            0 => usize::MAX,
            depth => depth as usize - 1,
        };
        let seen = &intermediates[..most.min(intermediates.len())];
        self.inner
            .verify_server_cert(end_entity, seen, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Writes the secrets of connections, in the format that network tracers read (NSS key log).
#[derive(Debug)]
struct Secrets(Mutex<File>);

impl Secrets {
    fn open(path: &Path) -> std::io::Result<Secrets> {
        let follow_no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(follow_no_link)
            .open(path)?;
        Ok(Secrets(Mutex::new(file)))
    }
}

impl KeyLog for Secrets {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        use std::fmt::Write as _;
        let mut line = format!("{label} ");
        for (at, bytes) in [client_random, secret].into_iter().enumerate() {
            line.push_str(if at == 0 { "" } else { " " });
            for byte in bytes {
                let _ = write!(line, "{byte:02x}"); // a String takes everything
            }
        }
        line.push('\n');
        // A full disk ends the trace, not the connection.
        let _ = self.0.lock().write_all(line.as_bytes());
    }
}

/// Takes every certificate for AM's. Used only where `trust.server.certs` is explicitly true, which
/// is said at each start (rule W5): whoever is in the path can read and change everything.
///
/// The server must still prove that it holds the key of the certificate that it shows.
#[derive(Debug)]
pub struct TrustEveryServer(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustEveryServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
