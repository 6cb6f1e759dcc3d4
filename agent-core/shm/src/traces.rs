//! What were the last things that somebody may ask about?
//!
//! Rings of fixed slots, oldest overwritten first. Whoever writes names a share, and can push out what is
//! in that share only (rule W2). No lock: a writer that is killed leaves one slot that the next one takes
//! over, and a reader leaves out what is half written. Must not know what a trace says.

use crate::atomic::{AtomicU64, Ordering, fence};
use crate::layout::{TRACE_SHARES, TRACE_WORDS};
use crate::slot::word_of;
use crate::sum::Sum;
use crate::{InstanceId, Mapping};

// Words of a slot.
/// Even: whole; odd: being written; 0: never written.
const SEQUENCE: usize = 0;
const INSTANCE: usize = 1;
const AT: usize = 2;
const LENGTH: usize = 3;
const SUM: usize = 4;
const TEXT: usize = 5;

/// Longest trace, in bytes; what is longer is not kept.
pub const TRACE_BYTES: usize = (TRACE_WORDS - TEXT) * 8;

/// The rings of all instances.
#[derive(Clone, Copy)]
pub struct Traces<'m> {
    mapping: &'m Mapping,
}

impl Mapping {
    /// The last things that somebody may ask about.
    #[must_use]
    pub fn traces(&self) -> Traces<'_> {
        Traces { mapping: self }
    }
}

impl<'m> Traces<'m> {
    /// Keeps a trace in the share that `share` chooses. `at`: milliseconds since 1970. `false`: it is too
    /// long, or another one is written at this place now.
    pub fn keep(&self, of: InstanceId, share: u64, at: u64, text: &[u8]) -> bool {
        let share = share as usize % TRACE_SHARES;
        let slots = self.mapping.layout().trace_slots;
        let Some(head) = self.heads().get(share) else {
            return false;
        };
        if text.len() > TRACE_BYTES || slots == 0 {
            return false;
        }
        let turn = head.fetch_add(1, Ordering::Relaxed) as usize % slots;
        let Some(slot) = self.slot(share * slots + turn) else {
            return false;
        };
        let old = slot[SEQUENCE].load(Ordering::Relaxed);
        // A writer that died here is passed over; one that only slept spoils the sum.
        let begun = (old | 1).wrapping_add(2);
        let taken =
            slot[SEQUENCE].compare_exchange(old, begun, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_err() {
            return false;
        }
        fence(Ordering::Release);
        let words = text.chunks(8).map(word_of);
        for (word, value) in slot[TEXT..].iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        let head = [of.index() as u64, at, text.len() as u64];
        for (place, value) in [INSTANCE, AT, LENGTH].into_iter().zip(head) {
            slot[place].store(value, Ordering::Relaxed);
        }
        slot[SUM].store(sum(slot, text.len()), Ordering::Relaxed);
        let whole = begun.wrapping_add(1);
        let ended =
            slot[SEQUENCE].compare_exchange(begun, whole, Ordering::Release, Ordering::Relaxed);
        ended.is_ok()
    }

    /// The traces of one instance, oldest first: when, and what.
    #[must_use]
    pub fn of(&self, instance: InstanceId) -> Vec<(u64, Vec<u8>)> {
        let count = self.mapping.layout().trace_slots * TRACE_SHARES;
        let slots = (0..count).filter_map(|index| self.slot(index));
        let mut all: Vec<(u64, Vec<u8>)> = slots.filter_map(|slot| read(slot, instance)).collect();
        all.sort_by_key(|(at, _)| *at);
        all
    }

    fn heads(&self) -> &'m [AtomicU64] {
        self.mapping
            .words(self.mapping.layout().trace_heads, TRACE_SHARES)
    }

    fn slot(&self, index: usize) -> Option<&'m [AtomicU64; TRACE_WORDS]> {
        let first = self.mapping.layout().traces + index * TRACE_WORDS;
        self.mapping.words(first, TRACE_WORDS).first_chunk()
    }
}

/// What says that text and head belong together.
fn sum(slot: &[AtomicU64; TRACE_WORDS], length: usize) -> u64 {
    let mut sum = Sum::new();
    let words = length.div_ceil(8).min(TRACE_WORDS - TEXT);
    let head = [INSTANCE, AT, LENGTH].map(|place| &slot[place]);
    for word in head.into_iter().chain(&slot[TEXT..TEXT + words]) {
        sum.add(word.load(Ordering::Relaxed));
    }
    sum.finish()
}

fn read(slot: &[AtomicU64; TRACE_WORDS], of: InstanceId) -> Option<(u64, Vec<u8>)> {
    let before = slot[SEQUENCE].load(Ordering::Acquire);
    let load = |place: usize| slot[place].load(Ordering::Relaxed);
    let length = usize::try_from(load(LENGTH)).ok()?;
    let looks_whole = before != 0 && before & 1 == 0 && load(INSTANCE) == of.index() as u64;
    if !looks_whole || length > TRACE_BYTES {
        return None;
    }
    let (at, expected) = (load(AT), load(SUM));
    let words = length.div_ceil(8);
    let bytes = slot[TEXT..TEXT + words].iter();
    let mut text: Vec<u8> = bytes
        .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
        .collect();
    text.truncate(length);
    let whole = sum(slot, length) == expected;
    fence(Ordering::Acquire);
    let after = slot[SEQUENCE].load(Ordering::Relaxed);
    (whole && after == before).then_some((at, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(mapping: &Mapping, n: u8) -> InstanceId {
        mapping.instance([n; 16]).unwrap().id()
    }

    #[test]
    fn traces_come_back_by_instance_and_oldest_first() {
        let mapping = Mapping::create(0).unwrap();
        let (one, two) = (instance(&mapping, 1), instance(&mapping, 2));
        assert!(mapping.traces().of(one).is_empty());
        for (at, share) in [(3, 7), (1, 8), (2, 23)] {
            let text = format!("{at}").repeat(13);
            assert!(mapping.traces().keep(one, share, at, text.as_bytes()));
        }
        assert!(mapping.traces().keep(two, 7, 9, b""));
        let texts: Vec<Vec<u8>> = mapping
            .traces()
            .of(one)
            .into_iter()
            .map(|(_, t)| t)
            .collect();
        assert_eq!(texts, [[b'1'; 13], [b'2'; 13], [b'3'; 13]]);
        assert_eq!(mapping.traces().of(two), [(9, Vec::new())]);
        assert!(!mapping.traces().keep(one, 0, 0, &[b'x'; TRACE_BYTES + 1]));
    }

    #[test]
    fn whoever_floods_one_share_pushes_nobody_else_out() {
        let mapping = Mapping::create(0).unwrap();
        let one = instance(&mapping, 1);
        let room = mapping.layout().trace_slots as u64;
        assert!(mapping.traces().keep(one, 3, 0, b"somebody else's"));
        for at in 1..=3 * room {
            assert!(mapping.traces().keep(one, 4, at, b"flood"));
        }
        let kept = mapping.traces().of(one);
        assert_eq!(kept.len() as u64, room + 1);
        assert_eq!(kept[0], (0, b"somebody else's".to_vec()));
        assert_eq!(kept[1].0, 2 * room + 1, "the oldest of the flood are gone");
    }

    #[test]
    fn a_writer_that_died_costs_one_trace() {
        let mapping = Mapping::create(0).unwrap();
        let (one, room) = (instance(&mapping, 1), mapping.layout().trace_slots as u64);
        for at in 0..room {
            assert!(mapping.traces().keep(one, 0, at, b"x"));
        }
        let slot = mapping.traces().slot(0).unwrap();
        slot[SEQUENCE].fetch_add(1, Ordering::Relaxed);
        assert_eq!(mapping.traces().of(one).len() as u64, room - 1);
        assert!(mapping.traces().keep(one, 0, room, b"after it"));
        assert_eq!(
            mapping.traces().of(one).last(),
            Some(&(room, b"after it".to_vec()))
        );
        // Damage is no trace.
        slot[TEXT].fetch_add(1, Ordering::Relaxed);
        assert_eq!(mapping.traces().of(one).len() as u64, room - 1);
    }
}
