//! A mapping of a few words.

use loom::sync::atomic::AtomicU64 as Mutex;

use crate::atomic::AtomicU64;
use crate::instance::BLOCK_WORDS;
use crate::layout::{
    FLIGHT_WORDS, INSTANCES, KEYSET_ENTRY, KEYSET_HEAD, Layout, Region, SLOT_HEAD, TAGS,
};
use crate::{EndedSet, Flights, Full, InstanceState, OnceSet, Table};

/// What a model needs memory for.
#[derive(Clone, Copy, Debug)]
pub enum Contents {
    /// Two classes, for values of eight and of sixteen bytes, with so many slots each.
    Sessions(usize),
    /// The ended and the spent set, of so many places.
    Sets(usize),
    /// So many flights.
    Flights(usize),
    /// Two instances.
    Instances,
}

/// What the processes of a model share.
#[derive(Debug)]
pub struct Mapping {
    words: Vec<AtomicU64>,
    locks: Vec<Mutex>,
    layout: Layout,
}

impl Mapping {
    /// Memory for this, empty.
    #[must_use]
    pub fn of(contents: Contents) -> Mapping {
        let mut layout = Layout::default();
        let (words, locks) = match contents {
            Contents::Sessions(ways) => {
                let mut small = Region::new(0, TAGS, ways, SLOT_HEAD + 1);
                let mut large = Region::new(small.set_words, TAGS, ways, SLOT_HEAD + 2);
                large.first_lock = 1;
                small.pushed_out = small.set_words + large.set_words;
                large.pushed_out = small.pushed_out + 1;
                layout.sessions = vec![small, large];
                (large.pushed_out + 1, 2)
            }
            Contents::Sets(ways) => {
                layout.spent = Region::new(0, KEYSET_HEAD, ways, KEYSET_ENTRY);
                let first = layout.spent.set_words;
                layout.ended = Region::new(first, KEYSET_HEAD, ways, KEYSET_ENTRY);
                layout.ended.first_lock = 1;
                (2 * first, 2)
            }
            Contents::Flights(ways) => {
                layout.flights = Region::new(0, 0, ways, FLIGHT_WORDS);
                (ways * FLIGHT_WORDS, 1)
            }
            Contents::Instances => (INSTANCES * BLOCK_WORDS, INSTANCES),
        };
        Mapping {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            locks: (0..locks).map(|_| Mutex::new(0)).collect(),
            layout,
        }
    }

    /// Records.
    #[must_use]
    pub fn sessions(&self) -> Table<'_> {
        Table {
            mapping: self,
            classes: &self.layout.sessions,
        }
    }

    /// What may happen once.
    #[must_use]
    pub fn spent(&self) -> OnceSet<'_> {
        OnceSet { mapping: self }
    }

    /// What is over.
    #[must_use]
    pub fn ended(&self) -> EndedSet<'_> {
        EndedSet { mapping: self }
    }

    /// Who asks.
    #[must_use]
    pub fn flights(&self) -> Flights<'_> {
        Flights { mapping: self }
    }

    /// An instance.
    pub fn instance(&self, identity: [u8; 16]) -> Result<InstanceState<'_>, Full> {
        InstanceState::find_or_claim(self, identity)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn words(&self, first: usize, count: usize) -> &[AtomicU64] {
        self.words.get(first..first + count).unwrap_or_default()
    }

    pub(crate) fn lock_at(&self, index: usize) -> Option<&Mutex> {
        self.locks.get(index)
    }
}
