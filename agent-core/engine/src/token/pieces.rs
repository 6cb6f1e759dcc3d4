//! Sealing of what is too long for one piece of memory: a kept POST, piece by piece (rules K1 and P3).
//!
//! Each entry has a key of its own, out of the sub-key for this purpose and the entry's 128-bit name,
//! which only the browser's cookie knows: neither the files nor the key file alone open one. A piece
//! opens in its place only, and the last one is marked, so that none can be left out, moved or cut
//! off. It does no input or output.

use alloc::vec::Vec;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{AeadInOut, Nonce, Tag},
};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Secret;
use crate::contract::UnixMillis;

/// What a piece is longer by when it is sealed.
pub const TAG: usize = 16;

/// The sub-key for kept POSTs.
pub struct PieceKey(Zeroizing<[u8; 32]>);

/// The key of one entry, and the number of the next piece.
pub struct Pieces {
    cipher: Aes256Gcm,
    aad: [u8; 24],
    next: u32,
}

impl PieceKey {
    /// Out of the root secret (HKDF-SHA-256, RFC 5869).
    pub fn derive(root: &Secret) -> PieceKey {
        let mut key = Zeroizing::new([0; 32]);
        // Its only error is an output of more than 8160 bytes.
        let done =
            Hkdf::<Sha256>::new(None, root.expose()).expand(b"portcullis posts v1", &mut *key);
        debug_assert!(done.is_ok());
        PieceKey(key)
    }

    /// Name of the entry's file: says nothing of the entry's key.
    pub fn file_name(&self, entry: u128) -> u128 {
        let mut name = [0; 16];
        let hkdf = Hkdf::<Sha256>::new(Some(&entry.to_be_bytes()), &*self.0);
        let done = hkdf.expand(b"name", &mut name);
        debug_assert!(done.is_ok());
        u128::from_be_bytes(name)
    }

    /// The pieces of an entry from the first on. An entry is sealed once.
    pub fn pieces(&self, entry: u128, instance: &[u8; 16], expires: UnixMillis) -> Pieces {
        let mut key = Zeroizing::new([0; 32]);
        let hkdf = Hkdf::<Sha256>::new(Some(&entry.to_be_bytes()), &*self.0);
        let done = hkdf.expand(b"body", &mut *key);
        debug_assert!(done.is_ok());
        let mut aad = [0; 24];
        aad[..16].copy_from_slice(instance);
        aad[16..].copy_from_slice(&expires.0.to_be_bytes());
        Pieces {
            cipher: Aes256Gcm::new((&*key).into()),
            aad,
            next: 0,
        }
    }
}

impl Pieces {
    /// The number of a piece is its nonce: no key ever seals two pieces under one.
    fn nonce(&mut self, last: bool) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.next.to_be_bytes());
        nonce[11] = u8::from(last);
        self.next += 1;
        nonce
    }

    /// Seals the next piece where it is, and appends its tag. `false`: it cannot be sealed, and is empty.
    #[must_use]
    pub fn seal(&mut self, piece: &mut Vec<u8>, last: bool) -> bool {
        let nonce = Nonce::<Aes256Gcm>::from(self.nonce(last));
        let sealed =
            self.cipher
                .encrypt_inout_detached(&nonce, &self.aad, piece.as_mut_slice().into());
        match sealed {
            Ok(tag) => piece.extend_from_slice(&tag),
            Err(_) => piece.clear(),
        }
        sealed.is_ok()
    }

    /// Opens the next piece where it is. `false`: it is not that piece, and is empty.
    #[must_use]
    pub fn open(&mut self, piece: &mut Vec<u8>, last: bool) -> bool {
        let nonce = Nonce::<Aes256Gcm>::from(self.nonce(last));
        let opened = piece.len().checked_sub(TAG).is_some_and(|end| {
            let mut tag = [0; TAG];
            tag.copy_from_slice(&piece[end..]);
            piece.truncate(end);
            let tag = Tag::<Aes256Gcm>::from(tag);
            let inside = piece.as_mut_slice().into();
            self.cipher
                .decrypt_inout_detached(&nonce, &self.aad, inside, &tag)
                .is_ok()
        });
        if !opened {
            piece.clear();
        }
        opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: [u8; 16] = [7; 16];
    const UNTIL: UnixMillis = UnixMillis(5);

    fn key(root: &[u8]) -> PieceKey {
        PieceKey::derive(&Secret::new(root.to_vec()))
    }

    fn sealed() -> [Vec<u8>; 2] {
        let mut pieces = key(b"root").pieces(1, &INSTANCE, UNTIL);
        let mut both = [b"first".to_vec(), b"second".to_vec()];
        assert!(pieces.seal(&mut both[0], false) && pieces.seal(&mut both[1], true));
        both
    }

    /// What these pieces, each said to be the last or not, open to.
    fn opened(mut pieces: Pieces, sealed: &[(&Vec<u8>, bool)]) -> Option<Vec<Vec<u8>>> {
        let open = |(piece, last): &(&Vec<u8>, bool)| {
            let mut piece = (*piece).clone();
            pieces.open(&mut piece, *last).then_some(piece)
        };
        sealed.iter().map(open).collect()
    }

    #[test]
    fn a_piece_opens_in_its_place_only() {
        let [first, second] = &sealed();
        let whole = [(first, false), (second, true)];
        let of = |root: &[u8], entry, instance: [u8; 16], until| {
            opened(key(root).pieces(entry, &instance, until), &whole)
        };
        let plain = of(b"root", 1, INSTANCE, UNTIL).unwrap();
        assert_eq!(plain, [b"first".to_vec(), b"second".to_vec()]);
        for other in [
            of(b"other", 1, INSTANCE, UNTIL),
            of(b"root", 2, INSTANCE, UNTIL),
            of(b"root", 1, [8; 16], UNTIL),
            of(b"root", 1, INSTANCE, UnixMillis(6)),
        ] {
            assert!(other.is_none());
        }
        let pieces = || key(b"root").pieces(1, &INSTANCE, UNTIL);
        for moved in [
            &[(second, false), (first, true)][..],
            &[(first, true)],
            &[(first, false), (second, false)],
            &[(second, true)],
            &[(&first[..3].to_vec(), false)],
            &[(&Vec::new(), false)],
        ] {
            assert!(opened(pieces(), moved).is_none());
        }
        let mut changed = first.clone();
        changed[2] ^= 1;
        assert!(opened(pieces(), &[(&changed, false)]).is_none());
    }

    #[test]
    fn the_name_of_a_file_depends_on_the_key() {
        assert_eq!(key(b"root").file_name(1), key(b"root").file_name(1));
        assert_ne!(key(b"root").file_name(1), key(b"other").file_name(1));
        assert_ne!(key(b"root").file_name(1), key(b"root").file_name(2));
    }
}
