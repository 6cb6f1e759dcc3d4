//! Sealing of what we give away and want back unread and unchanged (rule K1): AES-256-GCM with a
//! sub-key of its own for each purpose.
//!
//! The text is base64url without padding of `key id (4) | expiry (8) | nonce (12) | ciphertext | tag
//! (16)`. The tag also covers the purpose, the instance and the host name, which are not in the text:
//! a cookie moved to another host, instance or purpose does not open. It draws no nonces: the caller
//! does, from the request's seed.

use alloc::{string::String, vec::Vec};

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{AeadInOut, Nonce, Tag},
};
use arrayvec::ArrayVec;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Secret;
use crate::contract::UnixMillis;

const ID: usize = 4;
const EXPIRY: usize = 8;
const NONCE: usize = 12;
const TAG: usize = 16;
/// What tells two keys apart where four bytes do not.
const FINGERPRINT: usize = 16;
/// Key id, expiry and nonce: 24 bytes, which are exactly 32 characters.
const HEAD: usize = ID + EXPIRY + NONCE;
const HEAD_TEXT: usize = HEAD / 3 * 4;
/// Longest host name that can be sealed for (RFC 1035, with room for an IPv6 address's brackets).
const MAX_HOST: usize = 255;
const AAD: usize = 1 + 16 + EXPIRY + MAX_HOST;

/// Length of the sealed text of `plain` bytes.
pub const fn sealed_len(plain: usize) -> usize {
    let bytes = HEAD + plain + TAG;
    bytes / 3 * 4 + [0, 2, 3][bytes % 3]
}

/// What a sealed value is for; one never opens as the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The pre-authentication cookie (rule L3).
    PreAuthentication,
    /// The session cookie of dialect A (rule L4).
    SessionCookie,
    /// Preserved POST bodies (rule P3).
    PostStore,
    /// The last-known-good configuration (rule O3).
    LastKnownGood,
    /// The file of ended client-side sessions (rule S1).
    EndedSessions,
    /// The file of logouts that AM has to be told.
    UntoldLogouts,
}

impl Purpose {
    /// Never renumbered: the byte is part of what is authenticated.
    fn byte(self) -> u8 {
        match self {
            Purpose::PreAuthentication => 1,
            Purpose::SessionCookie => 2,
            Purpose::PostStore => 3,
            Purpose::LastKnownGood => 4,
            Purpose::EndedSessions => 5,
            Purpose::UntoldLogouts => 6,
        }
    }
}

/// Why a text does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsealed {
    /// Not our format, or longer than the caller's buffer.
    #[error("not a sealed value")]
    Malformed,
    /// Sealed with a key that we do not have (any more).
    #[error("sealed with an unknown key")]
    UnknownKey,
    /// Changed, or sealed for another purpose, instance or host.
    #[error("the seal does not fit")]
    Forged,
    /// Genuine, but past its time.
    #[error("the sealed value has expired")]
    Expired,
}

/// A key for one purpose; its schedule is computed once.
pub struct SealKey {
    id: [u8; ID],
    fingerprint: [u8; FINGERPRINT],
    purpose: Purpose,
    cipher: Aes256Gcm,
}

impl SealKey {
    /// The sub-key for a purpose of this root secret (HKDF-SHA-256, RFC 5869).
    pub fn derive(root: &Secret, purpose: Purpose) -> SealKey {
        let mut okm = Zeroizing::new([0u8; 32 + FINGERPRINT]);
        let info = [b"portcullis seal v1 ".as_slice(), &[purpose.byte()]];
        // Its only error is an output of more than 8160 bytes; ours is 48.
        let done = Hkdf::<Sha256>::new(None, root.expose()).expand_multi_info(&info, &mut *okm);
        debug_assert!(done.is_ok());
        let mut key = Zeroizing::new([0u8; 32]);
        key.copy_from_slice(&okm[..32]);
        let mut fingerprint = [0; FINGERPRINT];
        fingerprint.copy_from_slice(&okm[32..]);
        let mut id = [0; ID];
        id.copy_from_slice(&fingerprint[..ID]);
        SealKey {
            id,
            fingerprint,
            purpose,
            cipher: Aes256Gcm::new((&*key).into()),
        }
    }

    /// The four bytes in front of everything sealed with this key; says nothing about the key.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Seals `plain` for one instance and host. `nonce` must never be used twice with one key.
    ///
    /// Opens until `expires` inclusive. What is sealed for a host name of more than 255 bytes never
    /// opens.
    pub fn seal(
        &self,
        instance: &[u8; 16],
        host: &str,
        expires: UnixMillis,
        plain: &[u8],
        nonce: [u8; 12],
    ) -> String {
        let mut bytes = Vec::with_capacity(HEAD + plain.len() + TAG);
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&expires.0.to_be_bytes());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(plain);
        let aad = self.aad(instance, host, expires).unwrap_or_default();
        let nonce = Nonce::<Aes256Gcm>::from(nonce);
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce, &aad, (&mut bytes[HEAD..]).into());
        match tag {
            Ok(tag) => bytes.extend_from_slice(&tag),
            // Only beyond 64 GiB: nothing of the plain text may stay in what we give away.
            Err(_) => bytes.clear(),
        }
        URL_SAFE_NO_PAD.encode(&bytes)
    }

    /// Opens a sealed text into `out` and says until when it is good. Allocates nothing; on an error
    /// `out` is empty. The text behind its first 32 characters must fit into `out`, or it
    /// counts as malformed.
    pub fn open<'b, const N: usize>(
        &self,
        instance: &[u8; 16],
        host: &str,
        now: UnixMillis,
        text: &[u8],
        out: &'b mut ArrayVec<u8, N>,
    ) -> Result<(&'b [u8], UnixMillis), Unsealed> {
        let opened = self.open_into(instance, host, now, text, out);
        if opened.is_err() {
            out.clear();
        }
        opened.map(|expires| (out.as_slice(), expires))
    }

    fn open_into<const N: usize>(
        &self,
        instance: &[u8; 16],
        host: &str,
        now: UnixMillis,
        text: &[u8],
        out: &mut ArrayVec<u8, N>,
    ) -> Result<UnixMillis, Unsealed> {
        let head = head(text)?;
        if head.id != self.id {
            return Err(Unsealed::UnknownKey);
        }
        out.clear();
        // Only to make room: text is longer than what it stands for.
        out.try_extend_from_slice(head.rest)
            .map_err(|_| Unsealed::Malformed)?;
        let end = self.decrypt(instance, host, &head, out)?;
        out.truncate(end);
        if head.expires < now {
            return Err(Unsealed::Expired);
        }
        Ok(head.expires)
    }

    /// Opens what was sealed without a host name and may be of any length; otherwise as [`SealKey::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open_long(
        &self,
        instance: &[u8; 16],
        now: UnixMillis,
        text: &[u8],
    ) -> Result<(Vec<u8>, UnixMillis), Unsealed> {
        let head = head(text)?;
        if head.id != self.id {
            return Err(Unsealed::UnknownKey);
        }
        let mut out = head.rest.to_vec();
        let end = self.decrypt(instance, "", &head, &mut out)?;
        out.truncate(end);
        match head.expires < now {
            true => Err(Unsealed::Expired),
            false => Ok((out, head.expires)),
        }
    }

    /// Opens the rest of a text into a buffer of at least its length; the length of what was sealed.
    #[inline(always)]
    fn decrypt(
        &self,
        instance: &[u8; 16],
        host: &str,
        head: &Head<'_>,
        out: &mut [u8],
    ) -> Result<usize, Unsealed> {
        let length = URL_SAFE_NO_PAD
            .decode_slice(head.rest, out)
            .map_err(|_| Unsealed::Malformed)?;
        let end = length.checked_sub(TAG).ok_or(Unsealed::Malformed)?;
        let (sealed, tag) = out[..length].split_at_mut(end);
        let tag = Tag::<Aes256Gcm>::try_from(&*tag).map_err(|_| Unsealed::Malformed)?;
        let aad = self
            .aad(instance, host, head.expires)
            .ok_or(Unsealed::Malformed)?;
        self.cipher
            .decrypt_inout_detached(
                &Nonce::<Aes256Gcm>::from(head.nonce),
                &aad,
                sealed.into(),
                &tag,
            )
            .map_err(|_| Unsealed::Forged)?;
        Ok(end)
    }

    /// What the tag covers besides the ciphertext; the host comes last, so lengths are no question.
    fn aad(
        &self,
        instance: &[u8; 16],
        host: &str,
        expires: UnixMillis,
    ) -> Option<ArrayVec<u8, AAD>> {
        let mut aad = ArrayVec::new();
        aad.push(self.purpose.byte());
        aad.try_extend_from_slice(instance).ok()?;
        aad.try_extend_from_slice(&expires.0.to_be_bytes()).ok()?;
        aad.try_extend_from_slice(host.as_bytes()).ok()?;
        Some(aad)
    }
}

/// What stands in front of the ciphertext, and the text of the rest.
struct Head<'t> {
    id: [u8; ID],
    expires: UnixMillis,
    nonce: [u8; NONCE],
    rest: &'t [u8],
}

fn head(text: &[u8]) -> Result<Head<'_>, Unsealed> {
    let (head, rest) = text
        .split_at_checked(HEAD_TEXT)
        .ok_or(Unsealed::Malformed)?;
    let mut bytes = [0; HEAD];
    URL_SAFE_NO_PAD
        .decode_slice(head, &mut bytes)
        .map_err(|_| Unsealed::Malformed)?;
    let (mut id, mut expires, mut nonce) = ([0; ID], [0; EXPIRY], [0; NONCE]);
    id.copy_from_slice(&bytes[..ID]);
    expires.copy_from_slice(&bytes[ID..ID + EXPIRY]);
    nonce.copy_from_slice(&bytes[ID + EXPIRY..]);
    Ok(Head {
        id,
        expires: UnixMillis(u64::from_be_bytes(expires)),
        nonce,
        rest,
    })
}

/// The key in use and, for one login lifetime after a rotation, the one before.
pub struct KeyRing {
    current: SealKey,
    previous: Option<(SealKey, UnixMillis)>,
}

impl KeyRing {
    /// A ring of one key.
    pub fn new(current: SealKey) -> KeyRing {
        KeyRing {
            current,
            previous: None,
        }
    }

    /// Also opens, until then, what this key sealed.
    pub fn with_previous(self, previous: SealKey, until: UnixMillis) -> KeyRing {
        KeyRing {
            previous: Some((previous, until)),
            ..self
        }
    }

    /// One for each key, from which nothing follows about it.
    pub fn fingerprints(&self) -> impl Iterator<Item = [u8; 16]> {
        let previous = self.previous.iter().map(|(key, _)| key);
        let keys = core::iter::once(&self.current).chain(previous);
        keys.map(|key| key.fingerprint)
    }

    /// Seals with the current key; see [`SealKey::seal`].
    pub fn seal(
        &self,
        instance: &[u8; 16],
        host: &str,
        expires: UnixMillis,
        plain: &[u8],
        nonce: [u8; 12],
    ) -> String {
        self.current.seal(instance, host, expires, plain, nonce)
    }

    /// Opens with whichever key the text names; see [`SealKey::open`]. What the previous key sealed is good
    /// as long as that key is, at most.
    pub fn open<'b, const N: usize>(
        &self,
        instance: &[u8; 16],
        host: &str,
        now: UnixMillis,
        text: &[u8],
        out: &'b mut ArrayVec<u8, N>,
    ) -> Result<(&'b [u8], UnixMillis), Unsealed> {
        match self.previous_for(text) {
            None => self.current.open(instance, host, now, text, out),
            Some((_, until)) if *until < now => {
                out.clear();
                Err(Unsealed::UnknownKey)
            }
            Some((previous, until)) => {
                let opened = previous.open(instance, host, now, text, out);
                opened.map(|(plain, expires)| (plain, expires.min(*until)))
            }
        }
    }

    /// The same for what was sealed without a host name and may be of any length; see [`SealKey::open_long`].
    ///
    /// # Errors
    /// As there.
    pub fn open_long(
        &self,
        instance: &[u8; 16],
        now: UnixMillis,
        text: &[u8],
    ) -> Result<(Vec<u8>, UnixMillis), Unsealed> {
        match self.previous_for(text) {
            None => self.current.open_long(instance, now, text),
            Some((_, until)) if *until < now => Err(Unsealed::UnknownKey),
            Some((previous, until)) => {
                let opened = previous.open_long(instance, now, text);
                opened.map(|(plain, expires)| (plain, expires.min(*until)))
            }
        }
    }

    /// The previous key, where the text names it and not the current one.
    fn previous_for(&self, text: &[u8]) -> Option<&(SealKey, UnixMillis)> {
        let named = |key: &SealKey| head(text).is_ok_and(|head| head.id == key.id);
        let previous = self.previous.as_ref()?;
        (named(&previous.0) && !named(&self.current)).then_some(previous)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INSTANCE: [u8; 16] = [7; 16];
    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn key(root: &[u8], purpose: Purpose) -> SealKey {
        SealKey::derive(&Secret::new(root.to_vec()), purpose)
    }

    fn open(key: &SealKey, host: &str, text: &str) -> Result<Vec<u8>, Unsealed> {
        let mut out = ArrayVec::<u8, 512>::new();
        let opened = key.open(&INSTANCE, host, NOW, text.as_bytes(), &mut out);
        let plain = opened.map(|(plain, _)| plain.to_vec());
        assert_eq!(plain.clone().unwrap_or_default(), out.as_slice());
        plain
    }

    #[test]
    fn what_was_sealed_opens_only_where_it_belongs() {
        let ours = key(b"root", Purpose::SessionCookie);
        let text = ours.seal(&INSTANCE, "h", NOW, b"token", [1; 12]);
        assert_eq!(text.len(), sealed_len(5));
        assert_eq!(open(&ours, "h", &text).as_deref(), Ok(&b"token"[..]));
        assert_eq!(open(&ours, "H", &text), Err(Unsealed::Forged));
        assert_eq!(open(&ours, "hh", &text), Err(Unsealed::Forged));
        assert_eq!(
            open(&ours, &"h".repeat(256), &text),
            Err(Unsealed::Malformed)
        );
        assert_eq!(
            open(&key(b"Root", Purpose::SessionCookie), "h", &text),
            Err(Unsealed::UnknownKey)
        );
        assert_eq!(
            open(&key(b"root", Purpose::PostStore), "h", &text),
            Err(Unsealed::UnknownKey)
        );
        let mut out = ArrayVec::<u8, 512>::new();
        let other = ours.open(&[8; 16], "h", NOW, text.as_bytes(), &mut out);
        assert_eq!(other, Err(Unsealed::Forged));
    }

    #[test]
    fn it_expires_but_only_when_genuine() {
        let ours = key(b"root", Purpose::SessionCookie);
        let late = ours.seal(&INSTANCE, "h", UnixMillis(NOW.0 - 1), b"token", [1; 12]);
        assert_eq!(open(&ours, "h", &late), Err(Unsealed::Expired));
        assert_eq!(open(&ours, "other", &late), Err(Unsealed::Forged));
        let mut out = ArrayVec::<u8, 512>::new();
        let text = ours.seal(&INSTANCE, "h", UnixMillis(NOW.0 + 5), b"", [1; 12]);
        let opened = ours.open(&INSTANCE, "h", NOW, text.as_bytes(), &mut out);
        assert_eq!(opened, Ok((&b""[..], UnixMillis(NOW.0 + 5))));
    }

    #[test]
    fn no_single_character_can_be_changed() {
        let ours = key(b"root", Purpose::PreAuthentication);
        let text = ours.seal(&INSTANCE, "h", NOW, b"some plain text", [1; 12]);
        for at in 0..text.len() {
            for other in ["A", "b", "=", "+", "%", ""] {
                let mut forged = text.clone();
                forged.replace_range(at..=at, other);
                assert!(
                    forged == text || open(&ours, "h", &forged).is_err(),
                    "{at} {other}"
                );
            }
        }
        for more in ["A", "AA", "AAAA", "=", "==", " "] {
            assert!(open(&ours, "h", &(text.clone() + more)).is_err(), "{more}");
        }
    }

    #[test]
    fn the_previous_key_opens_but_does_not_seal() {
        let old = key(b"old", Purpose::SessionCookie);
        let text = old.seal(&INSTANCE, "h", NOW, b"token", [1; 12]);
        let text_later = old.seal(&INSTANCE, "h", UnixMillis(NOW.0 + 9), b"token", [3; 12]);
        let until = UnixMillis(NOW.0 + 5);
        let ring = KeyRing::new(key(b"new", Purpose::SessionCookie)).with_previous(old, until);
        let mut out = ArrayVec::<u8, 64>::new();
        let mut open_at = |text: &str, at: u64| {
            let opened = ring.open(&INSTANCE, "h", UnixMillis(at), text.as_bytes(), &mut out);
            opened.map(|(_, expires)| expires)
        };
        assert_eq!(open_at(&text, NOW.0), Ok(NOW));
        assert_eq!(open_at(&text_later, NOW.0), Ok(until));
        assert_eq!(open_at(&text_later, until.0), Ok(until));
        assert_eq!(open_at(&text_later, until.0 + 1), Err(Unsealed::UnknownKey));
        let fresh = ring.seal(&INSTANCE, "h", NOW, b"token", [2; 12]);
        assert_eq!(
            open(&key(b"new", Purpose::SessionCookie), "h", &fresh).unwrap(),
            b"token"
        );
        let ring = KeyRing::new(key(b"new", Purpose::SessionCookie));
        let gone = ring.open(&INSTANCE, "h", NOW, text.as_bytes(), &mut out);
        assert_eq!(gone, Err(Unsealed::UnknownKey));
        assert!(out.is_empty());
    }

    /// The format on the wire is a promise to the other nodes of a farm: it changes with a version.
    #[test]
    fn the_format_stays() {
        let text = key(&[1; 32], Purpose::SessionCookie).seal(
            &INSTANCE,
            "www.example.com",
            NOW,
            b"token",
            [2; 12],
        );
        assert_eq!(
            text,
            "dPgdMQAAAaMYXFAAAgICAgICAgICAgICA2tt1bw7s3gUyMoJgaNFn6IauVrt"
        );
    }

    proptest! {
        #[test]
        fn any_plain_text_comes_back(plain in prop::collection::vec(any::<u8>(), 0..600),
                                     host in "[a-z.]{0,255}", nonce in any::<[u8; 12]>()) {
            let ours = key(b"root", Purpose::PostStore);
            let text = ours.seal(&INSTANCE, &host, NOW, &plain, nonce);
            prop_assert_eq!(text.len(), sealed_len(plain.len()));
            // All of the text behind the head has to fit into the buffer.
            let fits = text.len() - HEAD_TEXT <= 512;
            let expected = if fits { Ok(plain) } else { Err(Unsealed::Malformed) };
            prop_assert_eq!(open(&ours, &host, &text), expected);
        }

        #[test]
        fn rubbish_never_opens(text in "[A-Za-z0-9_-]{0,200}") {
            prop_assert!(open(&key(b"root", Purpose::PostStore), "h", &text).is_err());
        }
    }
}
