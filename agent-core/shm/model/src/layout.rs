//! The smallest places in which everything can still go wrong.

/// Sets of slots of one size, and the mutexes that guard them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub(crate) first: usize,
    pub(crate) sets: usize,
    pub(crate) ways: usize,
    pub(crate) set_words: usize,
    pub(crate) slot_words: usize,
    pub(crate) capacity: usize,
    pub(crate) first_lock: usize,
    pub(crate) locks: usize,
    pub(crate) pushed_out: usize,
}

/// No word: what is counted there is lost.
const NOWHERE: usize = usize::MAX - 1;

pub(crate) const SLOT_HEAD: usize = 8;
pub(crate) const TAGS: usize = 2;
pub(crate) const KEYSET_HEAD: usize = 4;
pub(crate) const KEYSET_ENTRY: usize = 4;
pub(crate) const FLIGHT_WORDS: usize = 16 + 12;
pub(crate) const INSTANCES: usize = 2;
pub(crate) const AGENT_SESSION_BYTES: usize = 16;
pub(crate) const PROFILE_BYTES: usize = 16;

/// All places of a model.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) sessions: Vec<Region>,
    pub(crate) spent: Region,
    pub(crate) ended: Region,
    pub(crate) flights: Region,
    pub(crate) instances: usize,
    pub(crate) instance_lock: usize,
}

impl Default for Region {
    /// None: no set, no word.
    fn default() -> Region {
        Region {
            first: 0,
            sets: 0,
            ways: 0,
            set_words: 0,
            slot_words: 0,
            capacity: 0,
            first_lock: 0,
            locks: 1,
            pushed_out: NOWHERE,
        }
    }
}

impl Region {
    /// One set of so many slots of so many words, behind a head.
    pub(crate) fn new(first: usize, head: usize, ways: usize, slot_words: usize) -> Region {
        Region {
            first,
            sets: 1,
            ways,
            set_words: head + ways * slot_words,
            slot_words,
            capacity: slot_words.saturating_sub(SLOT_HEAD) * 8,
            first_lock: 0,
            locks: 1,
            pushed_out: NOWHERE,
        }
    }
}
