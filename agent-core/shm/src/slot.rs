//! What does one slot hold, and is it whole?
//!
//! A slot is a sequence number, a head and the value. The number is odd while somebody writes;
//! a reader copies and then looks whether the number is still the same. Everything is a relaxed
//! atomic with a fence on each side, so that torn reads are noticed and never undefined. Must not
//! lock: writers come here with the stripe's mutex held.

use crate::Key;
use crate::atomic::{AtomicU64, Ordering, fence};
use crate::layout::SLOT_HEAD;
use crate::sum::Sum;

const SEQ: usize = 0;
const KEY_LOW: usize = 1;
const KEY_HIGH: usize = 2;
const STORED: usize = 3;
const EXPIRES: usize = 4;
const EPOCH: usize = 5;
const REVOCATIONS: usize = 6;
/// Checksum in the high half; below it the owner, below that the length.
const LENGTH: usize = 7;
/// Bits of a length: one more than [`crate::LARGEST_VALUE`] needs.
const LENGTH_BITS: u32 = 17;
const LENGTH_MASK: u64 = (1 << LENGTH_BITS) - 1;
/// An owner is told from others by so many bits: few enough for the word, enough that two seldom share.
const OWNER_MASK: u64 = (1 << (32 - LENGTH_BITS)) - 1;

/// A writer needs about a microsecond; whoever loses that often asks AM instead.
const TRIES: usize = 3;

/// When and under which counters a record was fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// When it was stored, in milliseconds of [`crate::clock`].
    pub stored_at: u64,
    /// Until when it may be used without grace, in milliseconds of [`crate::clock`].
    pub expires_at: u64,
    /// The policy epoch read before it was fetched (rule S2); of a session, which depends on none: since
    /// when it has been what it is, in milliseconds of [`crate::clock`] (rule S6).
    pub epoch: u64,
    /// The revocation counter read before it was fetched (rule S2).
    pub revocations: u64,
}

/// One slot: a slice of [`SLOT_HEAD`] words and the value's words.
#[derive(Clone, Copy)]
pub(crate) struct Slot<'a> {
    head: &'a [AtomicU64; SLOT_HEAD],
    value: &'a [AtomicU64],
}

impl<'a> Slot<'a> {
    pub(crate) fn new(words: &'a [AtomicU64]) -> Option<Slot<'a>> {
        let (head, value) = words.split_first_chunk()?;
        Some(Slot { head, value })
    }

    /// Copies the value of `key` into `out`; on `None`, `out` is empty.
    #[inline]
    pub(crate) fn read(self, key: Key, out: &mut Vec<u8>) -> Option<Stamp> {
        for _ in 0..TRIES {
            let before = self.head[SEQ].load(Ordering::Acquire);
            if before & 1 == 1 {
                std::hint::spin_loop();
                continue;
            }
            if !self.has_key(key) {
                return None;
            }
            let copied = self.copy(key, out);
            fence(Ordering::Acquire);
            if self.head[SEQ].load(Ordering::Relaxed) == before {
                if copied.is_none() {
                    out.clear();
                }
                return copied;
            }
        }
        out.clear();
        None
    }

    /// Copies without looking at the sequence number; `None` when length or checksum are odd.
    #[inline]
    fn copy(self, key: Key, out: &mut Vec<u8>) -> Option<Stamp> {
        let stamp = Stamp {
            stored_at: self.head[STORED].load(Ordering::Relaxed),
            expires_at: self.head[EXPIRES].load(Ordering::Relaxed),
            epoch: self.head[EPOCH].load(Ordering::Relaxed),
            revocations: self.head[REVOCATIONS].load(Ordering::Relaxed),
        };
        let length_word = self.head[LENGTH].load(Ordering::Relaxed);
        let length = (length_word & LENGTH_MASK) as usize;
        let words = self.value.get(..length.div_ceil(8))?;
        let mut sum = head_sum(key, &stamp, length_word & u64::from(u32::MAX));
        out.clear();
        out.resize(length, 0);
        let (chunks, tail) = out.as_chunks_mut();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            let word = word.load(Ordering::Relaxed);
            sum.add(word);
            *chunk = word.to_le_bytes();
        }
        if let (false, Some(word)) = (tail.is_empty(), words.last()) {
            let word = word.load(Ordering::Relaxed);
            sum.add(word);
            let bytes = word.to_le_bytes();
            tail.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        }
        (sum.finish() >> 32 == length_word >> 32).then_some(stamp)
    }

    /// Replaces the content. The caller holds the stripe and checked that the value fits; what
    /// does not fit is cut, which the checksum then gives away.
    pub(crate) fn write(self, key: Key, owner: u64, stamp: &Stamp, value: &[u8]) {
        let low = mark_of(owner) << LENGTH_BITS | value.len() as u64 & LENGTH_MASK;
        self.change(|| {
            let head = self.head;
            head[KEY_LOW].store(key.low(), Ordering::Relaxed);
            head[KEY_HIGH].store(key.high(), Ordering::Relaxed);
            head[STORED].store(stamp.stored_at, Ordering::Relaxed);
            head[EXPIRES].store(stamp.expires_at, Ordering::Relaxed);
            head[EPOCH].store(stamp.epoch, Ordering::Relaxed);
            head[REVOCATIONS].store(stamp.revocations, Ordering::Relaxed);
            let mut sum = head_sum(key, stamp, low);
            for (to, from) in self.value.iter().zip(value.chunks(8)) {
                let word = word_of(from);
                sum.add(word);
                to.store(word, Ordering::Relaxed);
            }
            let check = sum.finish() >> 32 << 32;
            head[LENGTH].store(low | check, Ordering::Relaxed);
        });
    }

    /// Empties the slot, also one that a dead writer left half-written. The value's bytes go as
    /// well: they may be a token that nobody should find later.
    pub(crate) fn clear(self) {
        // The length of a half-written slot says nothing.
        let torn = self.is_odd();
        self.change(|| {
            let length = self.head[LENGTH].load(Ordering::Relaxed) & LENGTH_MASK;
            let used = if torn {
                usize::MAX
            } else {
                (length as usize).div_ceil(8)
            };
            self.head[KEY_LOW..]
                .iter()
                .for_each(|w| w.store(0, Ordering::Relaxed));
            self.value
                .iter()
                .take(used)
                .for_each(|w| w.store(0, Ordering::Relaxed));
        });
    }

    /// Makes the sequence number odd, runs `write`, makes it even and different from all before.
    fn change(self, write: impl FnOnce()) {
        let odd = self.head[SEQ].load(Ordering::Relaxed) | 1;
        self.head[SEQ].store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        write();
        self.head[SEQ].store(odd.wrapping_add(1), Ordering::Release);
    }

    /// Whether a write is going on; under the stripe's mutex: whether one was never finished.
    pub(crate) fn is_odd(self) -> bool {
        self.head[SEQ].load(Ordering::Relaxed) & 1 == 1
    }

    /// Whether the record is of this owner, or of one that looks the same. 0 owns nothing.
    pub(crate) fn is_of(self, owner: u64) -> bool {
        let there = self.head[LENGTH].load(Ordering::Relaxed) >> LENGTH_BITS & OWNER_MASK;
        there != 0 && there == mark_of(owner)
    }

    pub(crate) fn expires_at(self) -> u64 {
        self.head[EXPIRES].load(Ordering::Relaxed)
    }

    /// Whose record it seems to be; [`Slot::read`] says whether it is.
    pub(crate) fn key(self) -> Key {
        let half = |at: usize| u128::from(self.head[at].load(Ordering::Relaxed));
        Key(half(KEY_LOW) | half(KEY_HIGH) << 64)
    }

    #[inline]
    pub(crate) fn has_key(self, key: Key) -> bool {
        self.head[KEY_LOW].load(Ordering::Relaxed) == key.low()
            && self.head[KEY_HIGH].load(Ordering::Relaxed) == key.high()
    }
}

/// What a slot keeps of its owner; 0: nobody.
fn mark_of(owner: u64) -> u64 {
    match owner {
        0 => 0,
        owner => 1 + owner % OWNER_MASK,
    }
}

#[inline]
fn head_sum(key: Key, stamp: &Stamp, length_and_owner: u64) -> Sum {
    let mut sum = Sum::new();
    for word in [
        key.low(),
        key.high(),
        stamp.stored_at,
        stamp.expires_at,
        stamp.epoch,
        stamp.revocations,
        length_and_owner,
    ] {
        sum.add(word);
    }
    sum
}

/// Little-endian; shorter input counts as padded with zeros.
pub(crate) fn word_of(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}
