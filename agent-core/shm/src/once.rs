//! Has this already happened once, or ended, in any process of this server?
//!
//! Two sets of opaque keys. `OnceSet` answers "first" at most once per key; `EndedSet` never says
//! "no" about a key that was put in. Must not guess: doubt is a refusal here and "unknown" there.

use crate::keyset::{Found, KeySet};
use crate::lock::Patience;
use crate::{Key, Mapping};

/// The answer to an attempt to spend a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Spent {
    /// Nobody spent it before, and nobody will again before it expires.
    First,
    /// Somebody did.
    Replayed,
    /// It could not be recorded: the place is full, damaged, or held by another process; or its
    /// time is over. The key was not spent.
    Refused,
}

/// Keys that may be used once (rule L2).
#[derive(Clone, Copy)]
pub struct OnceSet<'m> {
    pub(crate) mapping: &'m Mapping,
}

impl OnceSet<'_> {
    /// Spends `key`. Entries stay until `expires_at`, so that must be the same moment for every
    /// attempt with one key and not before the key loses its meaning.
    ///
    /// Waits for other writers for less than a millisecond. A process killed in the middle leaves
    /// the key either unspent or spent with nobody told.
    pub fn spend(&self, key: Key, expires_at: u64, now: u64) -> Spent {
        if expires_at <= now {
            return Spent::Refused;
        }
        let set = KeySet::of(self.mapping, &self.mapping.layout().spent, key);
        let Some(_guard) = set.lock(Patience::Patient) else {
            return Spent::Refused;
        };
        // Expired entries that still stand here count as well: 0 is before every deadline.
        match set.scan(key, 0) {
            Found::Until(_) => Spent::Replayed,
            Found::Uncertain => Spent::Refused,
            Found::Absent if set.add(key, expires_at, now) => Spent::First,
            Found::Absent => Spent::Refused,
        }
    }
}

/// Whether a key was put into the ended set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ended {
    /// It was, and still counts.
    Yes,
    /// Proven: it was not.
    No,
    /// The place is full, damaged, or being written: ask AM again, or refuse what AM can't know
    /// (rule S1).
    Unknown,
}

/// Keys of tokens that were logged out (rule S1).
#[derive(Clone, Copy)]
pub struct EndedSet<'m> {
    pub(crate) mapping: &'m Mapping,
}

impl<'m> EndedSet<'m> {
    /// Records that `key` ended; it is kept until `expires_at`, which must not be before the
    /// token's own end. `true` only when every later [`EndedSet::look`] says `Yes` until then.
    ///
    /// On `false` there was no room, or another process kept the place for about a millisecond;
    /// looks at every key of that place then say `Unknown` until `expires_at`, so that the ended
    /// token does not come back to life.
    #[must_use]
    pub fn insert(&self, key: Key, expires_at: u64, now: u64) -> bool {
        if expires_at <= now {
            return true;
        }
        let set = self.set(key);
        let expires_at = expires_at.next_multiple_of(2);
        let Some(_guard) = set.lock(Patience::Patient) else {
            set.doubt_until(expires_at);
            return false;
        };
        // An entry with an earlier end stays beside the new one until then.
        let recorded = matches!(set.scan(key, now), Found::Until(until) if until >= expires_at)
            || set.add(key, expires_at, now);
        if !recorded {
            set.doubt_until(expires_at);
        }
        recorded
    }

    /// The same for a key that anybody may have made up: such keys get no more than half of a place, so
    /// that they leave room for the others, and where there is none for them nothing is doubted.
    #[must_use]
    pub fn insert_of_stranger(&self, key: Key, expires_at: u64, now: u64) -> bool {
        if expires_at <= now {
            return true;
        }
        let set = self.set(key);
        let Some(_guard) = set.lock(Patience::Patient) else {
            return false;
        };
        let expires_at = expires_at | 1;
        matches!(set.scan(key, now), Found::Until(until) if until >= expires_at)
            || set.has_room_for_strangers(now) && set.add(key, expires_at, now)
    }

    /// Looks without a lock. Only where a writer seems to have died is its stripe tried and mended.
    pub fn look(&self, key: Key, now: u64) -> Ended {
        let set = self.set(key);
        let mut found = set.look(key, now);
        if found == Found::Uncertain && set.is_odd() && set.lock(Patience::None).is_some() {
            found = set.look(key, now);
        }
        match found {
            Found::Until(_) => Ended::Yes,
            Found::Absent => Ended::No,
            Found::Uncertain => Ended::Unknown,
        }
    }

    /// From now on and until then, no absence is proven: somebody knows that there are ended keys, and
    /// not which.
    pub fn doubt_all(&self, until: u64) {
        let region = &self.mapping.layout().ended;
        for index in 0..region.sets {
            KeySet::at(self.mapping, region, index).doubt_until(until);
        }
    }

    fn set(&self, key: Key) -> KeySet<'m> {
        KeySet::of(self.mapping, &self.mapping.layout().ended, key)
    }
}
