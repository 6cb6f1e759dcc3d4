//! Whom do we believe to be AM? One provider, given explicitly; roots from the CA file or the system.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use super::{ClientError, Settings};

/// The TLS settings. Without `https` no root is read, and none is needed.
pub(super) fn config(settings: &Settings, https: bool) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| ClientError::Library(e.to_string()))?;
    if settings.trust_server_certs {
        let verifier = Arc::new(TrustEveryServer(provider));
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth());
    }
    let roots = match (&settings.ca_file, https) {
        (_, false) => RootCertStore::empty(),
        (Some(path), true) => {
            let unreadable = |e: rustls::pki_types::pem::Error| ClientError::CaFile(e.to_string());
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(|found| found.collect::<Result<Vec<_>, _>>())
                .map_err(unreadable)?;
            let mut roots = RootCertStore::empty();
            for certificate in certificates {
                roots
                    .add(certificate)
                    .map_err(|e| ClientError::CaFile(e.to_string()))?;
            }
            roots
        }
        (None, true) => {
            // Some systems carry a certificate that can't be read; the others still count.
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    if https && roots.is_empty() {
        return Err(ClientError::NoRoots);
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
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
