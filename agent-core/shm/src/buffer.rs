//! Which bytes did the leader publish last?
//!
//! Two halves: one is current, the next version is written into the other and then made current
//! by one store, so that a reader always finds a whole one and a writer that dies changes nothing.
//! Must not decide who may write: the caller holds the instance's mutex and checked the term.

use crate::atomic::{AtomicU64, Ordering, fence};
use crate::slot::word_of;
use crate::sum::Sum;

/// Length and checksum in front of each half.
const HEAD: usize = 2;
const TRIES: usize = 3;

/// A published value of bounded length with a version number.
pub(crate) struct Buffer<'m> {
    /// Version in the upper 63 bits, lowest bit: valid. 0: never published.
    pub(crate) state: &'m AtomicU64,
    pub(crate) words: &'m [AtomicU64],
}

/// Words that two halves for values of `bytes` bytes need.
pub(crate) const fn words_for(bytes: usize) -> usize {
    2 * (HEAD + bytes.div_ceil(8))
}

impl<'m> Buffer<'m> {
    /// The current version, while it is valid.
    pub(crate) fn version(&self) -> Option<u64> {
        let state = self.state.load(Ordering::Acquire);
        (state & 1 == 1).then_some(state >> 1)
    }

    /// Copies the current value into `out`. `None`, with `out` empty: never published,
    /// invalidated, changed three times during the copy, or damaged.
    pub(crate) fn read(&self, out: &mut Vec<u8>) -> Option<u64> {
        for _ in 0..TRIES {
            out.clear();
            let version = self.version()?;
            let whole = copy(self.half(version), version, out);
            fence(Ordering::Acquire);
            // The half is written again only after the next version became current.
            if self.version() == Some(version) {
                if whole.is_none() {
                    break;
                }
                return Some(version);
            }
        }
        out.clear();
        None
    }

    /// Publishes the next version. One writer at a time. `false`: too long.
    pub(crate) fn publish(&self, value: &[u8]) -> bool {
        let version = (self.state.load(Ordering::Relaxed) >> 1) + 1;
        let half = self.half(version);
        if half.len() < HEAD || value.len() > (half.len() - HEAD) * 8 {
            return false;
        }
        // Pairs with the reader's fence: whoever sees a byte of this write sees that the version
        // before the current one is gone.
        fence(Ordering::Release);
        let (head, data) = half.split_at(HEAD);
        let mut sum = start(version, value.len());
        for (to, from) in data.iter().zip(value.chunks(8)) {
            let word = word_of(from);
            sum.add(word);
            to.store(word, Ordering::Relaxed);
        }
        head[0].store(value.len() as u64, Ordering::Relaxed);
        head[1].store(sum.finish(), Ordering::Relaxed);
        self.state.store(version << 1 | 1, Ordering::Release);
        true
    }

    /// Makes this version invalid. `false`: it was not the current one, or already invalid.
    pub(crate) fn invalidate(&self, version: u64) -> bool {
        let (from, to) = (version << 1 | 1, version << 1);
        self.state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    fn half(&self, version: u64) -> &'m [AtomicU64] {
        let (even, odd) = self.words.split_at(self.words.len() / 2);
        if version & 1 == 0 { even } else { odd }
    }
}

fn start(version: u64, length: usize) -> Sum {
    let mut sum = Sum::new();
    sum.add(version);
    sum.add(length as u64);
    sum
}

fn copy(half: &[AtomicU64], version: u64, out: &mut Vec<u8>) -> Option<()> {
    let (head, data) = half.split_first_chunk::<HEAD>()?;
    let length = usize::try_from(head[0].load(Ordering::Relaxed)).ok()?;
    let words = data.get(..length.div_ceil(8))?;
    let mut sum = start(version, length);
    out.reserve(length);
    for word in words {
        let word = word.load(Ordering::Relaxed);
        sum.add(word);
        let bytes = word.to_le_bytes();
        let rest = (length - out.len()).min(8);
        out.extend_from_slice(&bytes[..rest]);
    }
    (sum.finish() == head[1].load(Ordering::Relaxed)).then_some(())
}
