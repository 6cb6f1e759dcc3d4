//! How often has a browser come back from a login without a session? (rule L8)
//!
//! Plain bytes only; `sealed` makes a cookie of them, and the login decides what they mean.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::contract::UnixMillis;

/// Most pages that are remembered; tabs may log in side by side.
pub const MAX_ROUNDS: usize = 8;
/// First byte of the encoding. It is none of `authn_tx`, which is sealed with the same key.
const LAYOUT: u8 = 0x81;
/// Bytes of one entry.
const ENTRY: usize = 8 + 8 + 1 + 1;

/// What happened last to the logins for one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// A login began.
    Begun = 0,
    /// A login ended well: the browser was sent back to the page with a session.
    Finished = 1,
    /// A login took too long: the browser was sent back to begin again.
    TooSlow = 2,
}

/// The logins for one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Names the page.
    pub page: [u8; 8],
    /// When it last happened, wall clock.
    pub at: UnixMillis,
    /// How often the browser came back in vain.
    pub count: u8,
    /// What happened.
    pub last: Last,
}

/// All of a browser, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rounds(Vec<Round>);

/// The name of a page: part of a digest, because the address may be long.
pub fn page(url: &str) -> [u8; 8] {
    let mut name = [0; 8];
    name.copy_from_slice(&Sha256::digest(url)[..8]);
    name
}

impl Rounds {
    /// What is remembered of a page.
    pub fn of(&self, page: [u8; 8]) -> Option<Round> {
        self.0.iter().find(|r| r.page == page).copied()
    }

    /// Remembers this of its page, as the newest; drops the oldest beyond [`MAX_ROUNDS`].
    pub fn put(&mut self, round: Round) {
        self.forget(round.page);
        if self.0.len() == MAX_ROUNDS {
            self.0.remove(0);
        }
        self.0.push(round);
    }

    /// Forgets a page.
    pub fn forget(&mut self, page: [u8; 8]) {
        self.0.retain(|r| r.page != page);
    }

    /// Forgets everything for which `keep` says so.
    pub fn retain(&mut self, keep: impl FnMut(&Round) -> bool) {
        self.0.retain(keep);
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The plain bytes, to be sealed.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + self.0.len() * ENTRY);
        out.push(LAYOUT);
        for r in &self.0 {
            out.extend_from_slice(&r.page);
            out.extend_from_slice(&r.at.0.to_be_bytes());
            out.extend_from_slice(&[r.count, r.last as u8]);
        }
        out
    }

    /// Reads what [`Rounds::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Rounds> {
        let (&layout, entries) = bytes.split_first()?;
        let (entries, []) = entries.as_chunks::<ENTRY>() else {
            return None;
        };
        if layout != LAYOUT || entries.len() > MAX_ROUNDS {
            return None;
        }
        let read = |entry: &[u8; ENTRY]| {
            let (page, rest) = entry.split_first_chunk::<8>()?;
            let (at, rest) = rest.split_first_chunk::<8>()?;
            let &[count, last] = rest else { return None };
            Some(Round {
                page: *page,
                at: UnixMillis(u64::from_be_bytes(*at)),
                count,
                last: match last {
                    0 => Last::Begun,
                    1 => Last::Finished,
                    2 => Last::TooSlow,
                    _ => return None,
                },
            })
        };
        entries.iter().map(read).collect::<Option<_>>().map(Rounds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::{authn_tx::PendingList, sealed::sealed_len};

    fn round(n: u8) -> Round {
        Round {
            page: [n; 8],
            at: UnixMillis(u64::from(n)),
            count: n,
            last: Last::Finished,
        }
    }

    #[test]
    fn the_oldest_page_goes_first_and_each_is_there_once() {
        let mut rounds = Rounds::default();
        (0..8).for_each(|n| rounds.put(round(n)));
        rounds.put(Round {
            count: 9,
            ..round(0)
        });
        assert_eq!(rounds.of([0; 8]).map(|r| r.count), Some(9));
        rounds.put(round(8));
        assert_eq!(rounds.of([1; 8]), None, "now the oldest");
        assert!(rounds.of([0; 8]).is_some());
        rounds.forget([0; 8]);
        assert_eq!(rounds.of([0; 8]), None);
        // A browser sends it with every request for minutes.
        assert!(sealed_len(rounds.encode().len()) < 256);
    }

    #[test]
    fn a_login_under_way_is_no_round() {
        assert!(Rounds::decode(&PendingList::default().encode()).is_none());
        assert!(PendingList::decode(&Rounds::default().encode()).is_none());
    }

    proptest! {
        #[test]
        fn rounds_read_back_as_written(
            items in prop::collection::vec((any::<[u8; 8]>(), any::<u64>(), any::<u8>(), 0u8..3), 0..12),
        ) {
            let mut rounds = Rounds::default();
            for (page, at, count, last) in items {
                let last = [Last::Begun, Last::Finished, Last::TooSlow][usize::from(last)];
                rounds.put(Round { page, at: UnixMillis(at), count, last });
            }
            let bytes = rounds.encode();
            prop_assert_eq!(Rounds::decode(&bytes), Some(rounds));
            prop_assert_eq!(Rounds::decode(&[&bytes[..], b"x"].concat()), None);
        }

        #[test]
        fn rubbish_is_no_round(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Rounds::decode(&bytes);
        }
    }
}
