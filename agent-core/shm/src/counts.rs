//! How often has somebody done something in this minute, in any process of this server?
//!
//! Counters of single words, two for each key, of which the lower one counts: keys that share one
//! place can only count too much, and hardly ever share both. Nothing is pushed out and nothing
//! grows, so whoever makes up keys fills no table. Must not know what is counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Key, Mapping};

/// Counters of one row; a power of two.
const ROW: usize = 1 << 14;
/// Words of both rows.
pub(crate) const COUNT_WORDS: usize = 2 * ROW;
/// Length of the time that is counted together, milliseconds.
pub const COUNT_WINDOW_MS: u64 = 60_000;
/// A word: the number of its minute above, the count below.
const COUNT: u64 = 0xffff_ffff;
/// Attempts at one word that others are changing.
const TRIES: usize = 16;

/// Counters by key.
#[derive(Clone, Copy)]
pub struct Counts<'m> {
    pub(crate) mapping: &'m Mapping,
}

impl Counts<'_> {
    /// Counts once more, and says how often that was in this minute, at least. Takes no lock and
    /// never waits; a process that is killed meanwhile leaves at most one of the two words behind.
    pub fn count(&self, key: Key, now: u64) -> u32 {
        let minute = minute(now);
        let counted = self.places(key).map(|word| word.map(|w| raise(w, minute)));
        least(counted)
    }

    /// How often it was in this minute, without counting.
    #[must_use]
    pub fn look(&self, key: Key, now: u64) -> u32 {
        let minute = minute(now);
        let known = |w: &AtomicU64| in_minute(w.load(Ordering::Relaxed), minute);
        least(self.places(key).map(|word| word.map(known)))
    }

    /// One place in each row; each half of a key chooses one.
    fn places(&self, key: Key) -> [Option<&AtomicU64>; 2] {
        let words = self
            .mapping
            .words(self.mapping.layout().counts, COUNT_WORDS);
        let at = |half: u64, row: usize| words.get(row * ROW + (half as usize & (ROW - 1)));
        [at(key.low(), 0), at(key.high(), 1)]
    }
}

/// From 1 on: a page of zeroes has counted nothing.
fn minute(now: u64) -> u64 {
    ((now / COUNT_WINDOW_MS) & (COUNT >> 1)) + 1
}

fn in_minute(word: u64, minute: u64) -> u32 {
    match word >> 32 == minute {
        true => (word & COUNT) as u32,
        false => 0,
    }
}

fn raise(word: &AtomicU64, minute: u64) -> u32 {
    let mut old = word.load(Ordering::Relaxed);
    for _ in 0..TRIES {
        let count = in_minute(old, minute).saturating_add(1);
        let new = minute << 32 | u64::from(count);
        match word.compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return count,
            Err(now) => old = now,
        }
    }
    // So many count here at once that one more makes no difference.
    in_minute(old, minute).saturating_add(1)
}

/// Memory that is not there has counted without end: a limit then holds at once.
fn least(counted: [Option<u32>; 2]) -> u32 {
    counted
        .iter()
        .map(|c| c.unwrap_or(u32::MAX))
        .min()
        .unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;

    fn mapping() -> Mapping {
        Mapping::create(0).unwrap()
    }

    fn key(n: u64) -> Key {
        // Spreads like a digest.
        let spread = u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        Key(spread ^ spread >> 64)
    }

    #[test]
    fn each_minute_begins_anew() {
        let mapping = mapping();
        let counts = Counts { mapping: &mapping };
        assert_eq!(counts.look(key(1), 0), 0);
        for n in 1..=5 {
            assert_eq!(counts.count(key(1), 59_999), n);
        }
        assert_eq!(
            (counts.look(key(1), 59_999), counts.look(key(1), 60_000)),
            (5, 0)
        );
        assert_eq!(counts.count(key(1), 60_000), 1);
        assert_eq!(counts.look(key(2), 60_000), 0);
    }

    #[test]
    fn strangers_raise_nobodys_count_much() {
        let mapping = mapping();
        let counts = Counts { mapping: &mapping };
        for n in 0..4_000 {
            counts.count(key(n), 0);
        }
        let wrong = (10_000..12_000)
            .filter(|n| counts.look(key(*n), 0) > 1)
            .count();
        assert!(wrong < 20, "{wrong}");
    }

    #[test]
    fn all_threads_count_together() {
        let mapping = mapping();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        Counts { mapping: &mapping }.count(key(7), 0);
                    }
                });
            }
        });
        let counted = Counts { mapping: &mapping }.look(key(7), 0);
        // One is left out where somebody met sixteen others at once.
        assert!((3_900..=4_000).contains(&counted), "{counted}");
    }

    #[test]
    fn its_memory_is_its_own() {
        let layout = Layout::for_cache_bytes(0).unwrap();
        assert!(
            layout.counts >= layout.flights.first + layout.flights.sets * layout.flights.set_words
        );
        assert!(layout.counts + COUNT_WORDS <= layout.instances);
    }
}
