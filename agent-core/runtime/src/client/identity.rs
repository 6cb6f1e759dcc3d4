//! Who does the agent say it is, below HTTP? The certificate that it shows to AM, and its key.
//!
//! Read by the parent, whom the key file belongs to. An encrypted key is PKCS#8 with PBES2, PBKDF2 and
//! AES-CBC (RFC 8018), which is what OpenSSL writes; other forms are named and refused.

use std::{fs, num::NonZeroU32, os::unix::fs::MetadataExt, path::Path};

use aws_lc_rs::{
    cipher::{
        AES_128, AES_192, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey,
        UnboundCipherKey,
    },
    iv::FixedLength,
    pbkdf2,
};
use portcullis_engine::token::Secret;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use zeroize::Zeroizing;

/// Rounds beyond which a key file is a mistake: it would hold the server's start up.
const MAX_ROUNDS: u32 = 10_000_000;
/// Longest key file.
const MAX_FILE: u64 = 1 << 20;

/// A certificate with those above it, and its key. No `Debug`.
pub struct ClientIdentity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Clone for ClientIdentity {
    fn clone(&self) -> Self {
        ClientIdentity {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

/// Why a certificate or key can't be used; the text is for the operator and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// `cert.file` is of no use.
    #[error("{0}")]
    Certificate(String),
    /// `cert.key` is of no use.
    #[error("{0}")]
    Key(String),
    /// The pass phrase does not open the key, or is missing.
    #[error("{0}")]
    Password(String),
}

impl ClientIdentity {
    /// Reads both files.
    ///
    /// # Errors
    /// See [`IdentityError`]. A key that others may read is refused (rule K3).
    pub fn read(
        certificate: &Path,
        key: &Path,
        password: Option<&Secret>,
    ) -> Result<ClientIdentity, IdentityError> {
        let bad = |what: String| IdentityError::Certificate(what);
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(|found| found.collect::<Result<Vec<_>, _>>())
            .map_err(|e| bad(format!("cannot be read: {e}")))?;
        if chain.is_empty() {
            return Err(bad("holds no certificate".into()));
        }
        let key = private_key(key, password)?;
        let identity = ClientIdentity { chain, key };
        identity.fits()?;
        Ok(identity)
    }

    /// Whether the key is the certificate's.
    fn fits(&self) -> Result<(), IdentityError> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        rustls::sign::CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &provider)
            .map(drop)
            .map_err(|e| IdentityError::Key(format!("does not go with the certificate: {e}")))
    }
}

fn private_key(
    path: &Path,
    password: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let bad = |what: &str| IdentityError::Key(what.into());
    let meta = fs::metadata(path).map_err(|e| bad(&format!("cannot be read: {e}")))?;
    if meta.mode() & 0o077 != 0 {
        return Err(bad("can be read by others; it must be 0600"));
    }
    if meta.len() > MAX_FILE {
        return Err(bad("is too large for a key"));
    }
    let text = Zeroizing::new(fs::read(path).map_err(|e| bad(&format!("cannot be read: {e}")))?);
    if contains(&text, b"Proc-Type: 4,ENCRYPTED") {
        return Err(bad(
            "is encrypted in OpenSSL's old form; convert it with openssl pkcs8 -topk8",
        ));
    }
    if !contains(&text, b"BEGIN ENCRYPTED PRIVATE KEY") {
        return PrivateKeyDer::from_pem_slice(&text)
            .map_err(|_| bad("holds no private key in PEM form"));
    }
    let Some(password) = password else {
        let what = "is missing, and the key is encrypted";
        return Err(IdentityError::Password(what.into()));
    };
    let sealed = encrypted_der(&text).ok_or_else(|| bad("holds no private key in PEM form"))?;
    let form =
        "is encrypted in a form that is not supported; use openssl pkcs8 -topk8 -v2 aes-256-cbc";
    let sealed = Sealed::parse(sealed.secret_pkcs8_der()).ok_or_else(|| bad(form))?;
    sealed
        .open(password)
        .ok_or_else(|| IdentityError::Password("does not open the key".into()))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|w| w == part)
}

/// The bytes between the two lines of an encrypted key. The library does not know that label, and does
/// not look at what is between.
fn encrypted_der(pem: &[u8]) -> Option<PrivatePkcs8KeyDer<'static>> {
    let text = std::str::from_utf8(pem).ok()?;
    let text = text.replace(" ENCRYPTED PRIVATE KEY", " PRIVATE KEY");
    PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).ok()
}

/// An `EncryptedPrivateKeyInfo` (RFC 5958) in the one form that is read.
struct Sealed<'d> {
    prf: pbkdf2::Algorithm,
    rounds: NonZeroU32,
    salt: &'d [u8],
    cipher: &'static Algorithm,
    key_length: usize,
    iv: [u8; 16],
    data: &'d [u8],
}

// Tags and object identifiers in DER.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const PBES2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
const PBKDF2: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
/// `2.16.840.1.101.3.4.1`, the arc of AES; 2, 22 and 42 are CBC with 128, 192 and 256 bits.
const AES: &[u8] = b"\x60\x86\x48\x01\x65\x03\x04\x01";
/// `1.2.840.113549.2`, the arc of HMACs; 7 is SHA-1, 9 to 11 are SHA-256, 384 and 512.
const HMAC: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x02";

impl<'d> Sealed<'d> {
    fn parse(der: &'d [u8]) -> Option<Sealed<'d>> {
        let mut all = only(SEQUENCE, der)?;
        let mut algorithm = take(SEQUENCE, &mut all)?;
        let data = only(OCTETS, all)?;
        (take(OID, &mut algorithm)? == PBES2).then_some(())?;
        let mut parameters = only(SEQUENCE, algorithm)?;
        let mut derivation = take(SEQUENCE, &mut parameters)?;
        let mut encryption = only(SEQUENCE, parameters)?;
        (take(OID, &mut derivation)? == PBKDF2).then_some(())?;
        let mut derivation = only(SEQUENCE, derivation)?;
        let salt = take(OCTETS, &mut derivation)?;
        let rounds = integer(take(INTEGER, &mut derivation)?)?;
        if derivation.first() == Some(&INTEGER) {
            take(INTEGER, &mut derivation)?; // the key's length, which the cipher says as well
        }
        let prf = match derivation {
            [] => 7, // SHA-1 is the default of RFC 8018
            some => {
                let mut prf = only(SEQUENCE, some)?;
                *take(OID, &mut prf)?.strip_prefix(HMAC)?.first()?
            }
        };
        let (cipher, key_length) = match take(OID, &mut encryption)?.strip_prefix(AES)? {
            [2] => (&AES_128, 16),
            [22] => (&AES_192, 24),
            [42] => (&AES_256, 32),
            _ => return None,
        };
        let rounds = NonZeroU32::new(rounds).filter(|n| n.get() <= MAX_ROUNDS)?;
        Some(Sealed {
            prf: match prf {
                7 => pbkdf2::PBKDF2_HMAC_SHA1,
                9 => pbkdf2::PBKDF2_HMAC_SHA256,
                10 => pbkdf2::PBKDF2_HMAC_SHA384,
                11 => pbkdf2::PBKDF2_HMAC_SHA512,
                _ => return None,
            },
            rounds,
            salt,
            cipher,
            key_length,
            iv: only(OCTETS, encryption)?.try_into().ok()?,
            data,
        })
    }

    fn open(&self, password: &Secret) -> Option<PrivateKeyDer<'static>> {
        let mut key = Zeroizing::new(vec![0; self.key_length]);
        pbkdf2::derive(
            self.prf,
            self.rounds,
            self.salt,
            password.expose(),
            &mut key,
        );
        let key = UnboundCipherKey::new(self.cipher, &key).ok()?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
        let mut data = Zeroizing::new(self.data.to_vec());
        let context = DecryptionContext::Iv128(FixedLength::from(self.iv));
        let plain = key.decrypt(&mut data, context).ok()?;
        // A wrong pass phrase passes the padding once in 256 times; what comes out is no key then.
        only(SEQUENCE, plain)?;
        Some(PrivatePkcs8KeyDer::from(plain.to_vec()).into())
    }
}

/// The content of the next element, which must have this tag.
fn take<'d>(tag: u8, from: &mut &'d [u8]) -> Option<&'d [u8]> {
    let (&found, rest) = from.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *from = rest;
    (found == tag).then_some(content)
}

/// [`take`], where nothing may follow.
fn only(tag: u8, mut from: &[u8]) -> Option<&[u8]> {
    let content = take(tag, &mut from)?;
    from.is_empty().then_some(content)
}

fn integer(bytes: &[u8]) -> Option<u32> {
    match bytes {
        [] => None,
        [first, ..] if first & 0x80 != 0 || bytes.len() > 5 => None,
        _ => {
            let n = bytes.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
            u32::try_from(n).ok()
        }
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
