//! Which keys has somebody put into this set, and can we be sure of "none"?
//!
//! The common ground of the spent and the ended set: sets of entries {key, deadline, checksum}
//! that are never evicted before their deadline. Must not forget: what looks damaged makes the
//! whole set's answer uncertain, and stays, because nobody knows what it was.

use crate::atomic::{AtomicU64, Ordering, fence};
use crate::layout::{KEYSET_ENTRY, KEYSET_HEAD, Region};
use crate::lock::{self, Guard, Patience};
use crate::sum::Sum;
use crate::{Key, Mapping};

/// Odd while a writer is at it.
const SEQ: usize = 0;
/// Until when an entry that found no room could be meant: absence proves nothing before.
const UNCERTAIN_UNTIL: usize = 1;

const TRIES: usize = 3;

/// An entry stays this long after its deadline: requests judge by the time they began at, and an
/// older one must not find the place already empty.
const KEEP_LONGER_MS: u64 = 120_000;

/// What is in one entry's place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Empty,
    Holds(Key, u64),
    Damaged,
}

/// What a set says about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There, with the latest of its deadlines.
    Until(u64),
    /// Proven: not there, or only with deadlines that have passed.
    Absent,
    /// Not seen, but something was odd.
    Uncertain,
}

/// One set of a region.
#[derive(Clone, Copy)]
pub(crate) struct KeySet<'m> {
    mapping: &'m Mapping,
    region: &'m Region,
    index: usize,
    words: &'m [AtomicU64],
}

impl<'m> KeySet<'m> {
    pub(crate) fn of(mapping: &'m Mapping, region: &'m Region, key: Key) -> KeySet<'m> {
        KeySet::at(mapping, region, key.place(region.sets))
    }

    pub(crate) fn at(mapping: &'m Mapping, region: &'m Region, index: usize) -> KeySet<'m> {
        let first = region.first + index * region.set_words;
        KeySet {
            mapping,
            region,
            index,
            words: mapping.words(first, region.set_words),
        }
    }

    /// Holds the set's stripe, or `None` when somebody else does.
    pub(crate) fn lock(&self, patience: Patience) -> Option<Guard<'m>> {
        let stripe = self.index % self.region.locks;
        lock::try_lock(
            self.mapping,
            self.region.first_lock + stripe,
            patience,
            || {
                for index in (stripe..self.region.sets).step_by(self.region.locks) {
                    KeySet::at(self.mapping, self.region, index).repair();
                }
            },
        )
    }

    /// Looks for a key without a lock.
    pub(crate) fn look(&self, key: Key, now: u64) -> Found {
        for _ in 0..TRIES {
            let Some(seq) = self.words.get(SEQ) else {
                return Found::Uncertain;
            };
            let before = seq.load(Ordering::Acquire);
            if before == 0 && self.uncertain_until() == 0 {
                // Nobody has ever written here: most requests meet such a set.
                return Found::Absent;
            }
            let found = self.scan(key, now);
            if let Found::Until(_) = found {
                // Its checksum says that it was whole once, and until then nothing removes it.
                return found;
            }
            fence(Ordering::Acquire);
            if before & 1 == 0 && seq.load(Ordering::Relaxed) == before {
                let uncertain = self.uncertain_until() > now;
                return if uncertain { Found::Uncertain } else { found };
            }
            std::hint::spin_loop();
        }
        Found::Uncertain
    }

    /// Whether a writer is in the set, or died in it.
    pub(crate) fn is_odd(&self) -> bool {
        self.words
            .get(SEQ)
            .is_none_or(|seq| seq.load(Ordering::Relaxed) & 1 == 1)
    }

    /// Looks for entries of a key with deadlines after `now`, as they are at this moment. Under
    /// the stripe's mutex that is exact.
    pub(crate) fn scan(&self, key: Key, now: u64) -> Found {
        let mut found = Found::Absent;
        for words in self.entries() {
            match read(words) {
                Entry::Empty => {}
                Entry::Holds(other, until) if other == key && until > now => {
                    found = match found {
                        Found::Until(already) => Found::Until(already.max(until)),
                        _ => Found::Until(until),
                    };
                }
                Entry::Holds(..) => {}
                Entry::Damaged if found == Found::Absent => found = Found::Uncertain,
                Entry::Damaged => {}
            }
        }
        found
    }

    /// Under the stripe's mutex: writes the key into an empty place or over one whose
    /// deadline passed some time ago. `false`: all places are taken.
    pub(crate) fn add(&self, key: Key, until: u64, now: u64) -> bool {
        let free = self.entries().find(|words| match read(words) {
            Entry::Empty => true,
            Entry::Holds(_, deadline) => is_free(deadline, now),
            Entry::Damaged => false,
        });
        let Some(words) = free else { return false };
        self.change(|| {
            let sum = entry_sum(key, until);
            for (to, from) in words.iter().zip([key.low(), key.high(), until, sum]) {
                to.store(from, Ordering::Relaxed);
            }
        })
    }

    /// Under the stripe's mutex: whether less than half of the places hold odd deadlines, which mark what
    /// strangers brought.
    pub(crate) fn has_room_for_strangers(&self, now: u64) -> bool {
        let strange = |words: &&[AtomicU64; KEYSET_ENTRY]| match read(words) {
            Entry::Holds(_, deadline) => deadline % 2 == 1 && !is_free(deadline, now),
            Entry::Empty | Entry::Damaged => false,
        };
        self.entries().filter(strange).count() < self.region.ways / 2
    }

    /// From now on and until then, absence from this set proves nothing. Needs no lock.
    pub(crate) fn doubt_until(&self, until: u64) {
        if let Some(word) = self.words.get(UNCERTAIN_UNTIL) {
            word.fetch_max(until, Ordering::SeqCst);
        }
    }

    fn uncertain_until(&self) -> u64 {
        self.words
            .get(UNCERTAIN_UNTIL)
            .map_or(u64::MAX, |word| word.load(Ordering::SeqCst))
    }

    fn entries(&self) -> impl Iterator<Item = &'m [AtomicU64; KEYSET_ENTRY]> + use<'m> {
        let entries = self.words.get(KEYSET_HEAD..).unwrap_or(&[]);
        entries
            .chunks_exact(KEYSET_ENTRY)
            .take(self.region.ways)
            .filter_map(|e| e.try_into().ok())
    }

    fn change(&self, write: impl FnOnce()) -> bool {
        let Some(seq) = self.words.get(SEQ) else {
            return false;
        };
        let odd = seq.load(Ordering::Relaxed) | 1;
        seq.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        write();
        seq.store(odd.wrapping_add(1), Ordering::Release);
        true
    }

    /// Under the stripe's mutex, after its owner died. In a set that it was writing, one entry can
    /// be half-written; whoever wanted that died before an answer, and the place was free before.
    /// Two damaged ones are not the work of a writer: they stay, and so does the doubt.
    fn repair(&self) {
        if !self.is_odd() {
            return;
        }
        let mut damaged = self.entries().filter(|words| read(words) == Entry::Damaged);
        let (first, second) = (damaged.next(), damaged.next());
        self.change(|| {
            if let (Some(words), None) = (first, second) {
                words.iter().for_each(|w| w.store(0, Ordering::Relaxed));
            }
        });
    }
}

/// Whether the place of an entry may be taken by another.
fn is_free(deadline: u64, now: u64) -> bool {
    deadline.saturating_add(KEEP_LONGER_MS) <= now
}

fn read(words: &[AtomicU64; KEYSET_ENTRY]) -> Entry {
    let [low, high, until, sum] = [0, 1, 2, 3].map(|i| words[i].load(Ordering::Relaxed));
    if low | high | until | sum == 0 {
        return Entry::Empty;
    }
    let key = Key(u128::from(high) << 64 | u128::from(low));
    if entry_sum(key, until) == sum {
        Entry::Holds(key, until)
    } else {
        Entry::Damaged
    }
}

fn entry_sum(key: Key, until: u64) -> u64 {
    let mut sum = Sum::new();
    [key.low(), key.high(), until]
        .iter()
        .for_each(|w| sum.add(*w));
    sum.finish()
}
