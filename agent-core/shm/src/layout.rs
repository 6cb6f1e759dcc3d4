//! Where in the mapping is what?
//!
//! Everything follows from one number, the bytes wanted for the record cache, so that another
//! process can work out the same places from the mapping alone. Must not read the mapping: places
//! that came out of shared memory could not be trusted.

use crate::sum::Sum;

/// Changes whenever the meaning of any byte in the mapping changes.
pub const LAYOUT_VERSION: u64 = 9;
/// Size of the record cache when the operator says nothing.
pub const DEFAULT_CACHE_BYTES: usize = 16 << 20;
/// Smaller wishes are raised to this.
pub const MIN_CACHE_BYTES: usize = 1 << 20;
/// Larger wishes are refused: 64 GiB.
const MAX_CACHE_BYTES: u64 = 64 << 30;
/// The longest record that any table stores, in bytes.
pub const LARGEST_VALUE: usize = 64 << 10;

/// Bytes in a word; every place is counted in words.
const WORD: usize = 8;
const LINE: usize = 64 / WORD;
const PAGE: usize = 4096 / WORD;

/// Words before the value of a slot (`slot.rs` names them).
pub(crate) const SLOT_HEAD: usize = 8;
/// Tags in front of each set: one cache line.
pub(crate) const TAGS: usize = 8;
/// Words in front of a key set's entries, and of one entry (`keyset.rs`).
pub(crate) const KEYSET_HEAD: usize = 4;
pub(crate) const KEYSET_ENTRY: usize = 4;
/// Entries in one key set: the set is exactly 1 KiB. Many entries per set make an overfull set
/// rare: at half load about one set in 2 000.
pub(crate) const KEYSET_WAYS: usize = 31;
/// Slots of one set of flights, and sets.
pub(crate) const FLIGHT_WAYS: usize = 4;
const FLIGHT_SETS: usize = 128;
/// Words of one slot: a head (`flights.rs`), and room for wishes.
pub(crate) const FLIGHT_WORDS: usize = 16 + 1024;
/// Instances that a mapping has room for.
pub const INSTANCES: usize = 32;
/// Longest agent session token, in bytes.
pub const AGENT_SESSION_BYTES: usize = 8 << 10;
/// Longest agent profile, in bytes.
pub const PROFILE_BYTES: usize = 1 << 20;
/// Words of one worker's slot: a cache line, so that workers don't disturb each other.
pub(crate) const WORKER_WORDS: usize = LINE;
/// Shares of the traces, and words of one trace.
pub(crate) const TRACE_SHARES: usize = 16;
pub(crate) const TRACE_WORDS: usize = 96;
/// Most traces of all shares together.
const MAX_TRACES: usize = 10_000;
/// Bytes of the record cache for each trace, where that gives fewer.
const CACHE_BYTES_A_TRACE: usize = 1600;
/// Room for one mutex: more than any C library needs (x86-64: 40 bytes, aarch64: 48).
pub(crate) const LOCK_WORDS: usize = LINE;

/// Size classes of a table: bytes of a value, and sixteenths of the table's bytes. Few, because a look-up
/// visits each. What OpenAM says of a session is some 900 bytes, and more where its properties are many;
/// decisions are many and small.
const SESSIONS: [(usize, usize); 4] = [(1024, 8), (3072, 4), (8192, 2), (LARGEST_VALUE, 2)];
const DECISIONS: [(usize, usize); 5] =
    [(128, 4), (512, 5), (2048, 3), (8192, 2), (LARGEST_VALUE, 2)];
/// Bytes of a value of a dead token: there is nothing to say of it.
const DEAD: usize = 0;
/// Size classes of all tables together: sessions, decisions, definite deaths.
const TABLE_CLASSES: usize = SESSIONS.len() + DECISIONS.len() + 1;

/// Sets of slots of one size, and the mutexes that guard them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    /// First word.
    pub(crate) first: usize,
    pub(crate) sets: usize,
    pub(crate) ways: usize,
    pub(crate) set_words: usize,
    /// Words of one slot (table) or entry (key set).
    pub(crate) slot_words: usize,
    /// Bytes of a value; 0 in a key set.
    pub(crate) capacity: usize,
    pub(crate) first_lock: usize,
    pub(crate) locks: usize,
    /// The word that counts records pushed out; of a table only.
    pub(crate) pushed_out: usize,
}

/// All places of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub(crate) cache_bytes: usize,
    pub(crate) total_words: usize,
    pub(crate) first_lock_word: usize,
    pub(crate) locks: usize,
    pub(crate) workers: usize,
    pub(crate) sessions: [Region; SESSIONS.len()],
    pub(crate) decisions: [Region; DECISIONS.len()],
    pub(crate) dead: [Region; 1],
    pub(crate) spent: Region,
    pub(crate) ended: Region,
    pub(crate) flights: Region,
    /// First word of the counters.
    pub(crate) counts: usize,
    /// First word of the meters of the first instance.
    pub(crate) meters: usize,
    /// First word of the counts of written traces, of the traces, and how many of them a share has.
    pub(crate) trace_heads: usize,
    pub(crate) traces: usize,
    pub(crate) trace_slots: usize,
    /// Each instance's block and its mutex.
    pub(crate) instances: usize,
    pub(crate) instance_lock: usize,
}

/// Hands out words and locks one after the other.
struct Plan {
    word: usize,
    lock: usize,
    /// The next word for a count of records pushed out.
    pushed_out: usize,
}

impl Plan {
    fn take(&mut self, words: usize, align: usize) -> usize {
        let first = self.word.next_multiple_of(align);
        self.word = first + words;
        first
    }

    /// Locks are many enough that two writers rarely meet, and never more than there are sets.
    fn region(&mut self, bytes: usize, set_words: usize, most_locks: usize) -> Region {
        let sets = (bytes / (set_words * WORD)).max(1);
        let locks = sets.min(most_locks);
        let first_lock = self.lock;
        self.lock += locks;
        let first = self.take(sets * set_words, LINE);
        Region {
            first,
            sets,
            ways: 0,
            set_words,
            slot_words: 0,
            capacity: 0,
            first_lock,
            locks,
            pushed_out: 0,
        }
    }

    fn class(&mut self, bytes: usize, capacity: usize) -> Region {
        // The largest class would otherwise have one or two sets.
        let ways = if capacity == LARGEST_VALUE {
            TAGS / 2
        } else {
            TAGS
        };
        let slot_words = SLOT_HEAD + capacity / WORD;
        let region = self.region(bytes, TAGS + ways * slot_words, 64);
        let pushed_out = self.pushed_out;
        self.pushed_out += 1;
        Region {
            pushed_out,
            ways,
            slot_words,
            capacity,
            ..region
        }
    }

    fn table<const N: usize>(&mut self, bytes: usize, classes: [(usize, usize); N]) -> [Region; N] {
        classes.map(|(capacity, share)| self.class(bytes / 16 * share, capacity))
    }

    fn keyset(&mut self, bytes: usize) -> Region {
        let region = self.region(bytes, KEYSET_HEAD + KEYSET_WAYS * KEYSET_ENTRY, 256);
        Region {
            ways: KEYSET_WAYS,
            slot_words: KEYSET_ENTRY,
            ..region
        }
    }

    fn flights(&mut self) -> Region {
        let set_words = FLIGHT_WAYS * FLIGHT_WORDS;
        let region = self.region(FLIGHT_SETS * set_words * WORD, set_words, FLIGHT_SETS);
        Region {
            ways: FLIGHT_WAYS,
            slot_words: FLIGHT_WORDS,
            ..region
        }
    }
}

impl Layout {
    /// The layout for about `cache_bytes` of session and decision records; the other regions are
    /// a quarter of that on top, flights, meters, traces and the instances' buffers 100 MiB of address space. Pages that nobody
    /// has touched cost no memory. `None` above 64 GiB.
    #[must_use]
    pub fn for_cache_bytes(cache_bytes: usize) -> Option<Layout> {
        if cache_bytes as u64 > MAX_CACHE_BYTES {
            return None;
        }
        let cache_bytes = cache_bytes.max(MIN_CACHE_BYTES);
        let mut plan = Plan {
            word: PAGE,
            lock: 0,
            pushed_out: 0,
        };
        let workers = plan.take(crate::WORKERS * WORKER_WORDS, PAGE);
        plan.pushed_out = plan.take(TABLE_CLASSES, LINE);
        let sessions = plan.table(cache_bytes / 2, SESSIONS);
        let decisions = plan.table(cache_bytes / 2, DECISIONS);
        let dead = [plan.class(cache_bytes / 32, DEAD)];
        let spent = plan.keyset(cache_bytes / 16);
        let ended = plan.keyset(cache_bytes / 8);
        let flights = plan.flights();
        let counts = plan.take(crate::counts::COUNT_WORDS, PAGE);
        let meters = plan.take(crate::INSTANCES * crate::meters::METER_WORDS, PAGE);
        let trace_slots = MAX_TRACES.min(cache_bytes / CACHE_BYTES_A_TRACE) / TRACE_SHARES;
        let trace_heads = plan.take(TRACE_SHARES, PAGE);
        let traces = plan.take(TRACE_SHARES * trace_slots * TRACE_WORDS, LINE);
        let instances = plan.take(crate::INSTANCES * crate::instance::BLOCK_WORDS, PAGE);
        let instance_lock = plan.lock;
        let locks = plan.lock + crate::INSTANCES;
        let first_lock_word = plan.take(locks * LOCK_WORDS, PAGE);
        let total_words = plan.word.next_multiple_of(PAGE);
        Some(Layout {
            cache_bytes,
            total_words,
            first_lock_word,
            locks,
            workers,
            sessions,
            decisions,
            dead,
            spent,
            ended,
            flights,
            counts,
            meters,
            trace_heads,
            traces,
            trace_slots,
            instances,
            instance_lock,
        })
    }

    /// Bytes of memory that the tables take once they are full; the rest is hardly touched.
    #[must_use]
    pub fn filled_bytes(&self) -> usize {
        self.cache_bytes / 4 * 5
    }

    /// Size of the mapping in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.total_words * WORD
    }

    /// A number that differs when any place differs, also when somebody forgot to change
    /// [`LAYOUT_VERSION`]; it covers the C library's mutex, too.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut sum = Sum::new();
        let tables = self
            .sessions
            .iter()
            .chain(&self.decisions)
            .chain(&self.dead);
        for r in tables.chain([&self.spent, &self.ended, &self.flights]) {
            for n in [
                r.first,
                r.sets,
                r.ways,
                r.set_words,
                r.slot_words,
                r.first_lock,
                r.locks,
                r.pushed_out,
            ] {
                sum.add(n as u64);
            }
        }
        for n in [
            size_of::<libc::pthread_mutex_t>(),
            self.total_words,
            self.first_lock_word,
            self.locks,
            self.workers,
            self.counts,
            self.meters,
            self.trace_heads,
            self.traces,
            self.trace_slots,
            TRACE_WORDS,
            crate::meters::METER_WORDS,
            self.instances,
            crate::instance::BLOCK_WORDS,
            self.instance_lock,
        ] {
            sum.add(n as u64);
        }
        sum.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_follow_each_other_inside_the_mapping() {
        for bytes in [0, MIN_CACHE_BYTES, 3_333_333, DEFAULT_CACHE_BYTES, 1 << 30] {
            let l = Layout::for_cache_bytes(bytes).unwrap();
            let mut end = l.workers + crate::WORKERS * WORKER_WORDS;
            let (mut lock, mut pushed_out) = (0, end);
            end += TABLE_CLASSES;
            let tables = l.sessions.iter().chain(&l.decisions).chain(&l.dead);
            for r in tables.chain([&l.spent, &l.ended, &l.flights]) {
                assert!(r.first >= end && r.sets >= 1 && r.locks >= 1 && r.locks <= r.sets);
                assert_eq!(r.first % LINE, 0);
                assert!(r.ways * r.slot_words <= r.set_words);
                assert_eq!(r.first_lock, lock);
                lock += r.locks;
                if r.pushed_out > 0 {
                    assert_eq!(r.pushed_out, pushed_out);
                    pushed_out += 1;
                }
                end = r.first + r.sets * r.set_words;
            }
            assert!(l.instances >= end);
            assert_eq!(pushed_out, l.dead[0].pushed_out + 1);
            end = l.instances + crate::INSTANCES * crate::instance::BLOCK_WORDS;
            assert_eq!(l.instance_lock, lock);
            assert!(l.first_lock_word >= end);
            assert!(l.first_lock_word + l.locks * LOCK_WORDS <= l.total_words);
        }
    }

    #[test]
    fn size_is_what_was_asked_for() {
        let l = Layout::for_cache_bytes(DEFAULT_CACHE_BYTES).unwrap();
        let records: usize = l
            .sessions
            .iter()
            .chain(&l.decisions)
            .map(|r| r.sets * r.set_words * WORD)
            .sum();
        assert!(records <= DEFAULT_CACHE_BYTES && records > DEFAULT_CACHE_BYTES * 9 / 10);
        assert!(Layout::for_cache_bytes(usize::MAX).is_none());
        assert_ne!(
            l.fingerprint(),
            Layout::for_cache_bytes(DEFAULT_CACHE_BYTES * 2)
                .unwrap()
                .fingerprint()
        );
    }
}
