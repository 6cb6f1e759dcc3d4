//! The logins a browser has under way (rule L3): what was asked for, and what must come back.
//!
//! Plain bytes only; `sealed` makes a cookie of them, and the login decides when.

use alloc::{string::String, vec::Vec};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;

use super::sealed::sealed_len;
use crate::contract::UnixMillis;

/// Most logins under way in one browser; tabs may finish in any order.
pub const MAX_PENDING: usize = 5;
/// Longest sealed value: with the name, browsers keep 4096 bytes (RFC 6265 6.1).
pub const MAX_VALUE: usize = 4096 - "__Host-agent-authn-tx-".len() - ID_TEXT - 1;
/// Characters of a state or nonce.
const ID_TEXT: usize = 22;
/// First byte of the encoding; another layout gets another number.
const LAYOUT: u8 = 2;

/// A POST that waits for the end of a login (rule P1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeptPost {
    /// Names it in the store.
    pub key: [u8; 16],
    /// Digest of the user whose session it came with; zero where nobody was known.
    pub user: [u8; 16],
    /// Until when it is kept, wall clock.
    pub expires: UnixMillis,
}

/// One login under way.
#[derive(Clone, PartialEq, Eq)]
pub struct Pending {
    /// Sent to AM and back; names this record.
    pub state: [u8; 16],
    /// Binds AM's token to this record.
    pub nonce: [u8; 16],
    /// Where the browser wanted to go.
    pub url: String,
    /// Realm that the login was asked for in.
    pub realm: String,
    /// When this login has taken too long, wall clock.
    pub expires: UnixMillis,
    /// The POST that made the login necessary, where it was kept.
    pub post: Option<KeptPost>,
}

/// The logins under way, oldest first.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PendingList(Vec<Pending>);

/// A state or nonce as it travels: base64url, 22 characters.
pub fn text(id: &[u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode(id)
}

/// The state that a text stands for; there is exactly one text for each.
pub fn parse(text: &str) -> Option<[u8; 16]> {
    let mut id = [0; 16];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut id).ok()?;
    (length == id.len() && text.len() == ID_TEXT).then_some(id)
}

impl PendingList {
    /// Adds a login and drops the oldest until there are at most [`MAX_PENDING`] and the sealed value
    /// is at most [`MAX_VALUE`]. Returns how many were dropped; a login that does not even fit alone
    /// is the last of them ([`PendingList::fits`] tells).
    pub fn push(&mut self, pending: Pending) -> usize {
        self.0.push(pending);
        let mut dropped = 0;
        while self.0.len() > MAX_PENDING || (!self.0.is_empty() && !self.within_limit()) {
            self.0.remove(0);
            dropped += 1;
        }
        dropped
    }

    /// Whether a login fits into a cookie at all; it does not when its URL is very long.
    pub fn fits(pending: &Pending) -> bool {
        pending.url.len() <= usize::from(u16::MAX)
            && pending.realm.len() <= usize::from(u16::MAX)
            && sealed_len(2 + size(pending)) <= MAX_VALUE
    }

    fn within_limit(&self) -> bool {
        sealed_len(2 + self.0.iter().map(size).sum::<usize>()) <= MAX_VALUE
    }

    /// Takes out the login with this state.
    pub fn take(&mut self, state: &[u8; 16]) -> Option<Pending> {
        let at = self
            .0
            .iter()
            .position(|p| bool::from(p.state.ct_eq(state)))?;
        Some(self.0.remove(at))
    }

    /// When the first of them expires that was added.
    pub fn oldest(&self) -> Option<UnixMillis> {
        self.0.first().map(|p| p.expires)
    }

    /// When the last of them expires that was added.
    pub fn newest(&self) -> Option<UnixMillis> {
        self.0.last().map(|p| p.expires)
    }

    /// Number of logins.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The plain bytes, to be sealed.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 + self.0.iter().map(size).sum::<usize>());
        out.extend_from_slice(&[LAYOUT, self.0.len() as u8]);
        for p in &self.0 {
            out.extend_from_slice(&p.state);
            out.extend_from_slice(&p.nonce);
            out.extend_from_slice(&p.expires.0.to_be_bytes());
            for part in [&p.url, &p.realm] {
                // `push` keeps everything far below 64 KiB.
                out.extend_from_slice(&(part.len() as u16).to_be_bytes());
                out.extend_from_slice(part.as_bytes());
            }
            out.push(u8::from(p.post.is_some()));
            if let Some(post) = &p.post {
                out.extend_from_slice(&post.key);
                out.extend_from_slice(&post.user);
                out.extend_from_slice(&post.expires.0.to_be_bytes());
            }
        }
        out
    }

    /// Reads what [`PendingList::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<PendingList> {
        let (&[layout, count], mut rest) = bytes.split_first_chunk::<2>()?;
        if layout != LAYOUT || usize::from(count) > MAX_PENDING {
            return None;
        }
        let mut list = PendingList::default();
        for _ in 0..count {
            list.0.push(Pending {
                state: take(&mut rest)?,
                nonce: take(&mut rest)?,
                expires: UnixMillis(u64::from_be_bytes(take(&mut rest)?)),
                url: string(&mut rest)?,
                realm: string(&mut rest)?,
                post: match take(&mut rest)? {
                    [0] => None,
                    [1] => Some(KeptPost {
                        key: take(&mut rest)?,
                        user: take(&mut rest)?,
                        expires: UnixMillis(u64::from_be_bytes(take(&mut rest)?)),
                    }),
                    _ => return None,
                },
            });
        }
        rest.is_empty().then_some(list)
    }
}

fn size(pending: &Pending) -> usize {
    let post = 1 + pending.post.map_or(0, |_| 16 + 16 + 8);
    16 + 16 + 8 + 2 + pending.url.len() + 2 + pending.realm.len() + post
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn string(rest: &mut &[u8]) -> Option<String> {
    let length = u16::from_be_bytes(take(rest)?);
    let (head, tail) = rest.split_at_checked(usize::from(length))?;
    *rest = tail;
    Some(core::str::from_utf8(head).ok()?.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pending(n: u8, url: usize) -> Pending {
        Pending {
            state: [n; 16],
            nonce: [n + 100; 16],
            url: "u".repeat(url),
            realm: "/shop".into(),
            expires: UnixMillis(u64::from(n)),
            post: None,
        }
    }

    #[test]
    fn ids_travel_as_22_characters() {
        assert_eq!(text(&[0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(parse(&text(&[255; 16])), Some([255; 16]));
        for bad in [
            "",
            "AAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAB",
            "AAAAAAAAAAAAAAAAAAAAA+",
            "AAAAAAAAAAAAAAAAAAAAAA==",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut list = PendingList::default();
        for n in 0..5 {
            assert_eq!(list.push(pending(n, 40)), 0);
        }
        assert_eq!(list.push(pending(5, 40)), 1);
        assert_eq!(
            (list.len(), list.oldest(), list.newest()),
            (5, Some(UnixMillis(1)), Some(UnixMillis(5)))
        );
        assert!(list.take(&[0; 16]).is_none());
        assert!(list.take(&[3; 16]).is_some_and(|p| p.nonce == [103; 16]));
        assert!(list.take(&[3; 16]).is_none());
        assert_eq!(list.len(), 4);
        // One with a long address needs the room of three.
        assert_eq!(list.push(pending(6, 2700)), 2);
        assert!(sealed_len(list.encode().len()) <= MAX_VALUE);
    }

    #[test]
    fn a_login_that_never_fits_is_dropped_and_said_so() {
        let mut list = PendingList::default();
        assert!(PendingList::fits(&pending(1, 2900)) && !PendingList::fits(&pending(1, 8000)));
        list.push(pending(1, 40));
        assert_eq!(list.push(pending(2, 8000)), 2);
        assert!(list.is_empty() && list.newest().is_none());
    }

    proptest! {
        #[test]
        fn a_list_reads_back_as_written(
            items in prop::collection::vec((any::<[u8; 16]>(), any::<[u8; 16]>(), "\\PC{0,60}", "\\PC{0,20}", any::<u64>(), any::<Option<[u8; 16]>>()), 0..7),
        ) {
            let mut list = PendingList::default();
            for (state, nonce, url, realm, expires, key) in items {
                let expires = UnixMillis(expires);
                let post = key.map(|key| KeptPost { key, user: nonce, expires });
                list.push(Pending { state, nonce, url, realm, expires, post });
            }
            let bytes = list.encode();
            prop_assert!(PendingList::decode(&bytes) == Some(list));
            for cut in 0..bytes.len() {
                prop_assert!(PendingList::decode(&bytes[..cut]).is_none());
            }
            prop_assert!(PendingList::decode(&[&bytes[..], b"x"].concat()).is_none());
        }

        #[test]
        fn rubbish_is_no_list(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = PendingList::decode(&bytes);
        }
    }
}
