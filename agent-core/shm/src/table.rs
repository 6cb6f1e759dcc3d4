//! What did a process of this server learn about this key?
//!
//! A table is a few size classes; a class is sets of slots; a key belongs to one set of each
//! class. In front of a set stands a line of tags, so that a look-up touches one cache line per
//! class. Must not judge: records are returned after they expired too, because grace needs them.

use crate::atomic::{AtomicU64, Ordering};
use crate::layout::{Region, SLOT_HEAD, TAGS};
use crate::lock::{self, Guard, Patience};
use crate::slot::Slot;
use crate::{Key, Mapping, Stamp};

/// A record stored further ahead of the reader's time than this is damaged: a reader's `now` is
/// at most as old as its request.
const FUTURE_MS: u64 = 60_000;

/// How a put ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Put {
    /// Others see it now.
    Stored,
    /// The value exceeds the largest class; an older record of the key is gone.
    TooLarge,
    /// Another writer was there, or stopped there; nothing changed, or only an older record of
    /// the key is gone.
    Busy,
}

/// Records of one kind. A cache: any entry can be gone at any time.
#[derive(Clone, Copy)]
pub struct Table<'m> {
    pub(crate) mapping: &'m Mapping,
    pub(crate) classes: &'m [Region],
}

impl<'m> Table<'m> {
    /// Copies the record of `key` into `out` (emptied first) and returns its stamp.
    ///
    /// Takes no lock, writes nothing shared, makes no system call, and allocates only when `out`
    /// is too small. Expired records are returned too: the caller compares `expires_at`. `None`
    /// also when the record is being written or looks damaged. `now` is the request's time.
    #[inline]
    #[must_use]
    pub fn get(&self, key: Key, now: u64, out: &mut Vec<u8>) -> Option<Stamp> {
        out.clear();
        let tag = tag_of(key);
        for region in self.classes {
            let set = Set::of(self.mapping, region, key.place(region.sets));
            for (way, seen) in set.tags().iter().enumerate() {
                if seen.load(Ordering::Relaxed) != tag {
                    continue;
                }
                let Some(slot) = set.slot(way) else { continue };
                let Some(stamp) = slot.read(key, out) else {
                    continue;
                };
                if stamp.stored_at <= now.saturating_add(FUTURE_MS) {
                    return Some(stamp);
                }
                out.clear();
            }
        }
        None
    }

    /// Stores a record in the smallest class that holds it, in place of the key's older one, an
    /// empty slot, or the one that expires first.
    pub fn put(&self, key: Key, stamp: Stamp, value: &[u8]) -> Put {
        self.put_of(0, key, stamp, value)
    }

    /// The same for one of many records of one owner, any number like a digest:
    /// all of them together get no more than half of every place, so that they push only each
    /// other out beyond that. 0 is nobody.
    pub fn put_of(&self, owner: u64, key: Key, stamp: Stamp, value: &[u8]) -> Put {
        let target = self
            .classes
            .iter()
            .position(|region| value.len() <= region.capacity);
        // Held until the end, so that two writers of one key can't take each other's record away
        // and then both believe that theirs is there.
        let (set, _guard) = match target {
            None => (None, None),
            Some(class) => match self.lock_set(&self.classes[class], key) {
                None => return Put::Busy,
                Some((set, guard)) => (Some(set), Some(guard)),
            },
        };
        // An older record in another class must go first: it would be found instead.
        for (class, region) in self.classes.iter().enumerate() {
            if Some(class) != target && !self.forget(region, key) {
                return Put::Busy;
            }
        }
        match set {
            None => Put::TooLarge,
            Some(set) => {
                if set.store(key, owner, &stamp, value) {
                    self.count_pushed_out(set.region);
                }
                Put::Stored
            }
        }
    }

    /// Once the table is full this happens with most puts, under one of the class's mutexes: one word will do.
    fn count_pushed_out(&self, region: &Region) {
        for word in self.mapping.words(region.pushed_out, 1) {
            word.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Removes the record of `key`. `true`: no reader finds it from now on, unless somebody puts
    /// it at the same time or later. `false`: a writer was there, it may still be found.
    #[must_use]
    pub fn remove(&self, key: Key) -> bool {
        let mut gone = true;
        for region in self.classes {
            // All classes are visited, even after a busy one.
            gone &= self.forget(region, key);
        }
        gone
    }

    /// Removes all records that were there when it began. `false`: some stripes were busy and
    /// kept theirs.
    pub fn clear(&self) -> bool {
        let mut complete = true;
        for region in self.classes {
            for stripe in 0..region.locks {
                let Some(_guard) = self.lock_stripe(region, stripe, Patience::Patient) else {
                    complete = false;
                    continue;
                };
                for set in (stripe..region.sets).step_by(region.locks) {
                    Set::of(self.mapping, region, set).empty();
                }
            }
        }
        complete
    }

    /// Removes `key` from one class; takes the lock only when the key seems to be there.
    fn forget(&self, region: &'m Region, key: Key) -> bool {
        let tag = tag_of(key);
        let set = Set::of(self.mapping, region, key.place(region.sets));
        if !set
            .tags()
            .iter()
            .any(|seen| seen.load(Ordering::Acquire) == tag)
        {
            return true;
        }
        let Some((set, _guard)) = self.lock_set(region, key) else {
            return false;
        };
        set.drop_tag(tag, None);
        true
    }

    fn lock_set(&self, region: &'m Region, key: Key) -> Option<(Set<'m>, Guard<'m>)> {
        let set = key.place(region.sets);
        let guard = self.lock_stripe(region, set % region.locks, Patience::Brief)?;
        Some((Set::of(self.mapping, region, set), guard))
    }

    fn lock_stripe(
        &self,
        region: &'m Region,
        stripe: usize,
        patience: Patience,
    ) -> Option<Guard<'m>> {
        lock::try_lock(self.mapping, region.first_lock + stripe, patience, || {
            for set in (stripe..region.sets).step_by(region.locks) {
                Set::of(self.mapping, region, set).repair();
            }
        })
    }
}

/// What the tag line shows of a key. 0 means an empty slot.
#[inline]
fn tag_of(key: Key) -> u64 {
    key.low().max(1)
}

/// One set: its tags and its slots.
#[derive(Clone, Copy)]
struct Set<'m> {
    words: &'m [AtomicU64],
    region: &'m Region,
}

impl<'m> Set<'m> {
    #[inline]
    fn of(mapping: &'m Mapping, region: &'m Region, index: usize) -> Set<'m> {
        let first = region.first + index * region.set_words;
        Set {
            words: mapping.words(first, region.set_words),
            region,
        }
    }

    #[inline]
    fn tags(&self) -> &'m [AtomicU64] {
        self.words.get(..self.region.ways).unwrap_or(&[])
    }

    #[inline]
    fn slot(&self, way: usize) -> Option<Slot<'m>> {
        let first = TAGS + way * self.region.slot_words;
        Slot::new(self.words.get(first..first + self.region.slot_words)?)
    }

    fn slots(self) -> impl Iterator<Item = (usize, &'m AtomicU64, Slot<'m>)> {
        let tags = self.tags().iter().enumerate();
        tags.filter_map(move |(way, tag)| Some((way, tag, self.slot(way)?)))
    }

    /// Under the stripe's mutex. The tag is taken away first and set last: a slot whose writer
    /// dies in between is free, and readers don't see it. `true`: another key's record had to go that had not
    /// expired.
    fn store(&self, key: Key, owner: u64, stamp: &Stamp, value: &[u8]) -> bool {
        debug_assert!(value.len() <= (self.region.slot_words - SLOT_HEAD) * 8);
        let tag = tag_of(key);
        let owns = |tag_word: &AtomicU64, slot: Slot<'_>| {
            tag_word.load(Ordering::Relaxed) != 0 && slot.is_of(owner)
        };
        let its = self
            .slots()
            .filter(|(_, tag_word, slot)| owns(tag_word, *slot));
        // At least one, also where a set has one slot.
        let bound = its.count() >= self.region.ways.div_ceil(2);
        let rank = |tag_word: &AtomicU64, slot: Slot<'_>| {
            let seen = tag_word.load(Ordering::Relaxed);
            if seen == tag && slot.has_key(key) {
                (0, 0)
            } else if bound && !owns(tag_word, slot) {
                (3, 0)
            } else if seen == 0 || slot.is_odd() {
                (1, 0)
            } else {
                (2, slot.expires_at())
            }
        };
        let best = self
            .slots()
            .min_by_key(|(_, tag_word, slot)| rank(tag_word, *slot));
        let Some((way, tag_word, slot)) = best else {
            return false;
        };
        // Whoever stores looked at the clock just now.
        let pushed_out = rank(tag_word, slot).0 >= 2
            && tag_word.load(Ordering::Relaxed) != 0
            && slot.expires_at() > stamp.stored_at;
        tag_word.store(0, Ordering::Relaxed);
        slot.write(key, owner, stamp, value);
        tag_word.store(tag, Ordering::Release);
        self.drop_tag(tag, Some(way));
        pushed_out
    }

    /// Under the stripe's mutex: empties the slots with this tag, but for one.
    fn drop_tag(&self, tag: u64, but: Option<usize>) {
        for (way, tag_word, slot) in self.slots() {
            if tag_word.load(Ordering::Relaxed) == tag && Some(way) != but {
                tag_word.store(0, Ordering::Relaxed);
                slot.clear();
            }
        }
    }

    /// Under the stripe's mutex.
    fn empty(&self) {
        for (_, tag_word, slot) in self.slots() {
            if tag_word.swap(0, Ordering::Relaxed) != 0 {
                slot.clear();
            }
        }
    }

    /// Under the stripe's mutex, after its owner died: half-written slots are emptied.
    fn repair(&self) {
        for (_, tag_word, slot) in self.slots() {
            if slot.is_odd() {
                tag_word.store(0, Ordering::Relaxed);
                slot.clear();
            }
        }
    }
}
