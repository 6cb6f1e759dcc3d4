//! The two secrets of an instance: how they stand in `agent-key.conf` and `agent-password.conf`, and
//! how they are opened.
//!
//! `agent-key.conf` holds base64 of 32 bytes. `agent-password.conf` holds base64 of one layout byte,
//! a nonce of 12 bytes, the AES-256-GCM ciphertext and its tag of 16 bytes; the key is derived from
//! the 32 bytes for this purpose alone (rule K1). The layout is our own: that of other agents is not
//! published. What does not open is a problem and never used as a password.

use alloc::{borrow::ToOwned, string::String, vec, vec::Vec};

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead, KeyInit, Payload},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    mode,
    parse::{Problem, Severity, problem},
    raw::{Line, Properties, Source},
    values::is_template_word,
};
use crate::{
    contract::UnixMillis,
    token::{
        Secret,
        sealed::{KeyRing, Purpose, SealKey},
    },
};

const PASSWORD: &str = "com.sun.identity.agents.config.password";
const KEY: &str = "com.sun.identity.agents.config.key";
const PREVIOUS_KEY: &str = "portcullis.key.previous";
const CERT_KEY_PASSWORD: &str = "com.forgerock.agents.config.cert.key.password";
const PROXY_PASSWORD: &str = "com.sun.identity.agents.config.forward.proxy.password";
const MONITOR_PASSWORD: &str = "portcullis.monitor.password";

/// First byte of a stored password; another layout gets another number.
const LAYOUT: u8 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Purpose of the derived key, and the associated data of each ciphertext.
const PURPOSE: &[u8] = b"portcullis stored password 1";
/// Bytes of a root key.
const ROOT: usize = 32;
/// Longest password that is stored, in bytes.
const MAX_PASSWORD: usize = 1024;

const MAKE_KEY: &str = "make a key with agentadmin --k";
const MAKE_PASSWORD: &str = "encrypt the password with agentadmin --p";

/// Passwords that installations are shipped with (rule K3).
const PLACEHOLDERS: [&str; 7] = [
    "changeit",
    "changeme",
    "password",
    "secret",
    "secret12",
    "agentpassword",
    "cangetin",
];

/// Why a stored secret cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The root key is not base64 of 32 bytes.
    #[error("is not a key: base64 of 32 bytes is expected")]
    BadKey,
    /// The root key is all one byte, or a template word.
    #[error("is a placeholder, not a key")]
    PlaceholderKey,
    /// Not a key, a space and a date.
    #[error("is not a key, a space and a date such as 2027-01-31T12:00:00Z")]
    BadPrevious,
    /// Not this product's layout: not base64, too short, or written by another agent.
    #[error("was not written by this agent, so it cannot be opened")]
    OtherLayout,
    /// The key does not open it, or it was changed.
    #[error("cannot be opened with the key in agent-key.conf")]
    WrongKey,
    /// It opens, but what is in it is a well-known password.
    #[error("holds a placeholder, not a password")]
    Placeholder,
    /// Empty, too long, or with characters that no header can carry.
    #[error("holds no usable password")]
    Unusable,
}

/// What an instance must keep to itself. No `Debug`; wiped when dropped.
#[derive(Clone)]
pub struct Secrets {
    /// The agent's password in AM.
    pub password: Secret,
    /// The 32 bytes of `agent-key.conf` that every other key is derived from.
    pub agent_key: Secret,
    /// Those of before the last rotation, and until when cookies that they sealed count (rule K1).
    pub previous_key: Option<(Secret, UnixMillis)>,
    /// Pass phrase of the key that belongs to the agent's certificate.
    pub cert_key_password: Option<Secret>,
    /// Password for the forward proxy.
    pub proxy_password: Option<Secret>,
    /// Password of those who may see the agent's numbers (rule W1).
    pub monitor_password: Option<Secret>,
}

impl Secrets {
    /// Takes the secrets from the lines of `agent-key.conf` and `agent-password.conf`.
    ///
    /// # Errors
    /// Every secret that is missing, a placeholder or cannot be opened.
    pub fn read(files: &Properties) -> Result<Secrets, Vec<Problem>> {
        let key = match files.last(KEY) {
            None => return Err(vec![missing(KEY, "agent-key.conf", MAKE_KEY)]),
            Some(line) => match parse_key(&line.value) {
                Ok(key) => key,
                Err(error) => return Err(vec![unusable(line, KEY, error, MAKE_KEY)]),
            },
        };
        let mut problems = vec![];
        let previous_key = match previous(files) {
            Ok(previous) => previous,
            Err(problem) => return Err(vec![problem]),
        };
        let mut open = |name: &str| {
            // A line without a value is the template's.
            let line = files.last(name).filter(|line| !line.value.is_empty())?;
            let before = previous_key.as_ref().map(|(key, _)| key);
            decrypt_with_either(&key, before, &line.value)
                .map_err(|error| problems.push(unusable(line, name, error, MAKE_PASSWORD)))
                .ok()
        };
        let password = open(PASSWORD);
        let cert_key_password = open(CERT_KEY_PASSWORD);
        let proxy_password = open(PROXY_PASSWORD);
        let monitor_password = open(MONITOR_PASSWORD);
        match password {
            Some(password) if problems.is_empty() => Ok(Secrets {
                password,
                agent_key: key,
                previous_key,
                cert_key_password,
                proxy_password,
                monitor_password,
            }),
            None if problems.is_empty() => Err(vec![missing(
                PASSWORD,
                "agent-password.conf",
                MAKE_PASSWORD,
            )]),
            _ => Err(problems),
        }
    }

    /// What cookies and whatever else clients bring is sealed with, for this purpose.
    pub fn ring(&self, purpose: Purpose) -> KeyRing {
        self.ring_until(purpose, |until| until)
    }

    /// The same for files that only the agent's parent can have written: what the previous key sealed there is
    /// read for as long as that key stands in `agent-key.conf`, because an ended session must not be forgotten.
    pub fn file_ring(&self, purpose: Purpose) -> KeyRing {
        self.ring_until(purpose, |_| UnixMillis(u64::MAX))
    }

    fn ring_until(&self, purpose: Purpose, until: impl Fn(UnixMillis) -> UnixMillis) -> KeyRing {
        let ring = KeyRing::new(SealKey::derive(&self.agent_key, purpose));
        match &self.previous_key {
            None => ring,
            Some((key, at)) => ring.with_previous(SealKey::derive(key, purpose), until(*at)),
        }
    }
}

/// The key of before the last rotation, and until when it counts.
fn previous(files: &Properties) -> Result<Option<(Secret, UnixMillis)>, Problem> {
    let Some(line) = files.last(PREVIOUS_KEY) else {
        return Ok(None);
    };
    parse_previous_key(&line.value)
        .map(Some)
        .map_err(|error| unusable(line, PREVIOUS_KEY, error, "remove the line"))
}

/// Reads the value of `portcullis.key.previous`: the key, a space, the date until which it counts.
///
/// # Errors
/// [`SecretError::BadPrevious`], and those of [`parse_key`].
pub fn parse_previous_key(text: &str) -> Result<(Secret, UnixMillis), SecretError> {
    let (key, date) = text.split_once(' ').ok_or(SecretError::BadPrevious)?;
    let until = mode::moment(date.trim()).ok_or(SecretError::BadPrevious)?;
    Ok((parse_key(key)?, UnixMillis(until)))
}

/// Opens a password with the key, or with the one of before: a rotation writes one file after the other.
fn decrypt_with_either(
    key: &Secret,
    before: Option<&Secret>,
    text: &str,
) -> Result<Secret, SecretError> {
    let opened = decrypt_password(key, text);
    match (before, &opened) {
        (Some(before), Err(SecretError::WrongKey)) => decrypt_password(before, text),
        _ => opened,
    }
}

fn missing(property: &str, file: &str, remedy: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        line: None,
        source: Source::File(file.to_owned()),
        property: property.to_owned(),
        what: "is missing".to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn unusable(line: &Line, property: &str, error: SecretError, remedy: &str) -> Problem {
    problem(
        Severity::Error,
        line,
        property,
        alloc::format!("{error}"),
        remedy,
    )
}

/// Reads a root key: base64 of 32 bytes.
///
/// # Errors
/// [`SecretError::BadKey`], [`SecretError::PlaceholderKey`].
pub fn parse_key(text: &str) -> Result<Secret, SecretError> {
    if is_template_word(text) {
        return Err(SecretError::PlaceholderKey);
    }
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| SecretError::BadKey)?);
    if bytes.len() != ROOT {
        return Err(SecretError::BadKey);
    }
    if bytes.iter().all(|b| *b == bytes[0]) {
        return Err(SecretError::PlaceholderKey);
    }
    Ok(Secret::new(bytes.to_vec()))
}

/// A root key as it stands in `agent-key.conf`. The installer draws the bytes.
pub fn key_text(key: &Secret) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(key.expose()))
}

fn cipher(key: &Secret) -> Result<Aes256Gcm, SecretError> {
    if key.expose().len() != ROOT {
        return Err(SecretError::BadKey);
    }
    let mut derived = Zeroizing::new([0u8; 32]);
    Hkdf::<Sha256>::new(None, key.expose())
        .expand(PURPOSE, derived.as_mut())
        .map_err(|_| SecretError::BadKey)?;
    Aes256Gcm::new_from_slice(derived.as_ref()).map_err(|_| SecretError::BadKey)
}

/// Whether a password may be used at all: it travels in a header, and AM's samples are known to all.
fn check_password(plain: &[u8]) -> Result<(), SecretError> {
    let text = core::str::from_utf8(plain).map_err(|_| SecretError::Unusable)?;
    if text.is_empty() || text.len() > MAX_PASSWORD || text.chars().any(char::is_control) {
        return Err(SecretError::Unusable);
    }
    if is_template_word(text) || PLACEHOLDERS.iter().any(|p| p.eq_ignore_ascii_case(text)) {
        return Err(SecretError::Placeholder);
    }
    Ok(())
}

/// Encrypts a password for `agent-password.conf`. `nonce` must be random and never used twice with
/// the same key.
///
/// # Errors
/// The password is a placeholder or unusable, or the key has not 32 bytes.
pub fn encrypt_password(
    key: &Secret,
    plain: &Secret,
    nonce: [u8; NONCE],
) -> Result<String, SecretError> {
    check_password(plain.expose())?;
    let payload = Payload {
        msg: plain.expose(),
        aad: PURPOSE,
    };
    let sealed = cipher(key)?
        .encrypt(&Nonce::from(nonce), payload)
        .map_err(|_| SecretError::Unusable)?;
    let mut bytes = vec![LAYOUT];
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(&sealed);
    Ok(STANDARD.encode(bytes))
}

/// Opens a password of `agent-password.conf`.
///
/// # Errors
/// What is not in our layout, was not made with this key, or is no usable password.
pub fn decrypt_password(key: &Secret, text: &str) -> Result<Secret, SecretError> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| SecretError::OtherLayout)?;
    let Some((&[LAYOUT], rest)) = bytes.split_first_chunk::<1>() else {
        return Err(SecretError::OtherLayout);
    };
    let Some((nonce, sealed)) = rest.split_first_chunk::<NONCE>() else {
        return Err(SecretError::OtherLayout);
    };
    if sealed.len() <= TAG {
        return Err(SecretError::OtherLayout);
    }
    let plain = cipher(key)?
        .decrypt(
            &Nonce::from(*nonce),
            Payload {
                msg: sealed,
                aad: PURPOSE,
            },
        )
        .map_err(|_| SecretError::WrongKey)?;
    let plain = Secret::new(plain);
    check_password(plain.expose())?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::{format, string::ToString};

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    fn key(first: u8) -> Secret {
        Secret::new((0..32).map(|i| first.wrapping_add(i)).collect())
    }

    fn files(key: &str, password: &str) -> Properties {
        let file = |name: &str| Source::File(name.to_string());
        let mut all = Properties::parse(&format!("{KEY} = {key}\n"), file("agent-key.conf"));
        all.append(Properties::parse(
            &format!("{PASSWORD} = {password}\n"),
            file("agent-password.conf"),
        ));
        all
    }

    fn shown(result: Result<Secrets, Vec<Problem>>) -> String {
        match result {
            Ok(_) => "no problem".to_string(),
            Err(problems) => problems[0].to_string(),
        }
    }

    #[test]
    fn a_password_comes_back_with_its_key_only() {
        let text = encrypt_password(&key(1), &secret("pa=ss wörd"), [7; 12]).unwrap();
        assert!(decrypt_password(&key(1), &text).is_ok_and(|p| p == secret("pa=ss wörd")));
        assert_eq!(
            decrypt_password(&key(2), &text).err(),
            Some(SecretError::WrongKey)
        );
        let mut bytes = STANDARD.decode(&text).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(
                decrypt_password(&key(1), &STANDARD.encode(&bytes)).is_err(),
                "byte {at}"
            );
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn what_is_not_ours_is_never_taken_for_a_password() {
        for text in [
            "",
            "s3cret-but-plain",
            "c2hvcnQ=",
            &STANDARD.encode([9u8; 60]),
        ] {
            let error = decrypt_password(&key(1), text).err();
            assert_eq!(error, Some(SecretError::OtherLayout), "{text}");
        }
        let text = shown(Secrets::read(&files(
            &key_text(&key(1)),
            "s3cret-but-plain",
        )));
        assert_eq!(
            text,
            "agent-password.conf line 1: com.sun.identity.agents.config.password: was not written by \
             this agent, so it cannot be opened; encrypt the password with agentadmin --p"
        );
    }

    #[test]
    fn placeholders_are_refused() {
        for plain in ["changeit", "Password", "AM_AGENT_PASSWORD"] {
            let error = encrypt_password(&key(1), &secret(plain), [0; 12]).err();
            assert_eq!(error, Some(SecretError::Placeholder), "{plain}");
        }
        for plain in ["", "a\nb"] {
            let error = encrypt_password(&key(1), &secret(plain), [0; 12]).err();
            assert_eq!(error, Some(SecretError::Unusable), "{plain}");
        }
        assert_eq!(
            parse_key("AM_AGENT_KEY").err(),
            Some(SecretError::PlaceholderKey)
        );
        assert_eq!(
            parse_key(&STANDARD.encode([0; 32])).err(),
            Some(SecretError::PlaceholderKey)
        );
    }

    #[test]
    fn passwords_open_with_the_key_of_before_a_rotation() {
        let sealed = encrypt_password(&key(1), &secret("pa-ss-word-of-old"), [7; 12]).unwrap();
        let both = |previous: &str| {
            let mut all = files(&key_text(&key(2)), &sealed);
            let text = format!("{PREVIOUS_KEY} = {previous}\n");
            all.append(Properties::parse(
                &text,
                Source::File("agent-key.conf".to_string()),
            ));
            Secrets::read(&all)
        };
        let old = key_text(&key(1));
        let read = both(&format!("{} 1970-01-02", old.as_str())).ok().unwrap();
        assert!(read.password == secret("pa-ss-word-of-old") && read.agent_key == key(2));
        assert!(read.previous_key == Some((key(1), UnixMillis(86_400_000))));
        for bad in [
            old.as_str(),
            "x 2027-01-01",
            &format!("{} soon", old.as_str()),
        ] {
            let said = shown(both(bad));
            assert!(
                said.contains("portcullis.key.previous: is not a key"),
                "{said}"
            );
            assert!(!said.contains(bad), "{said}");
        }
        let other = key_text(&key(3));
        let said = shown(both(&format!("{} 2027-01-01", other.as_str())));
        assert!(said.contains("cannot be opened with the key"), "{said}");
    }

    #[test]
    fn the_key_file_holds_32_bytes() {
        assert!(parse_key(&key_text(&key(1))).is_ok_and(|k| k == key(1)));
        for text in [
            "",
            "short",
            &STANDARD.encode([1; 31]),
            &STANDARD.encode([1; 33]),
        ] {
            assert_eq!(parse_key(text).err(), Some(SecretError::BadKey), "{text}");
        }
        let text = shown(Secrets::read(&files("short", "x")));
        assert!(text.starts_with("agent-key.conf line 1: ") && text.contains("agentadmin --k"));
        assert!(!text.contains("short"));
        let text = shown(Secrets::read(&files("", "x")));
        assert!(text.contains("agent-key.conf: com.sun.identity.agents.config.key: is missing"));
    }
}
