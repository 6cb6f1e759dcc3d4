//! Who of this server's processes asks the outside now, and for what else besides?
//!
//! What may be asked together is a flight. Whoever comes first is its pilot and asks; the others wait
//! for the round that their wish goes along with: the one under way if it asks the same, else the next.
//! Must not know what is asked, and must not wait: a pilot that stops or dies loses its place to
//! whoever looks next, and doubt means that everybody asks for itself.

use crate::atomic::{AtomicU64, Ordering};
use crate::layout::{FLIGHT_WORDS, Region};
use crate::lock::{self, Guard, Patience};
use crate::slot::word_of;
use crate::workers::lives;
use crate::{Key, Mapping, WorkerId};

const KEY_LOW: usize = 0;
const KEY_HIGH: usize = 1;
/// The pilot's owner word (`workers.rs`); 0: nobody flies.
const PILOT: usize = 2;
/// Until when it is believed to be at work.
const UNTIL: usize = 3;
/// The round under way or, without a pilot, the last one. It only grows, whatever the slot is used for.
const ROUND: usize = 4;
/// What was known when that round began.
const KNOWN: usize = 5;
/// Words of wishes.
const USED: usize = 6;
/// How the last rounds ended: the round above, what its pilot said below.
const OUTCOMES: usize = 8;
const OUTCOME_COUNT: usize = 8;
const HEAD: usize = OUTCOMES + OUTCOME_COUNT;
/// Words before a wish's bytes: key, round, until when somebody waits, length.
const WISH_HEAD: usize = 5;

/// Flights of all processes.
#[derive(Clone, Copy)]
pub struct Flights<'m> {
    pub(crate) mapping: &'m Mapping,
}

/// One thing that is asked for on a flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Names it, and where its answer is to be found.
    pub key: Key,
    /// Until when somebody waits for it, milliseconds of [`crate::clock`].
    pub until: u64,
    /// What the pilot has to know of it.
    pub bytes: Vec<u8>,
}

/// What a flight is boarded with.
#[derive(Clone, Copy, Debug)]
pub struct Boarding {
    /// Who boards.
    pub worker: WorkerId,
    /// A number that grows whenever older answers become worthless: nobody joins a round that began
    /// before its own.
    pub known: u64,
    /// Now, milliseconds of [`crate::clock`].
    pub now: u64,
    /// How long a pilot is believed that does not report, milliseconds.
    pub lease: u64,
}

/// How a boarding ended.
#[derive(Debug)]
#[must_use]
pub enum Boarded<'m> {
    /// The caller asks, for all that [`Flight::wishes`] names.
    Pilot(Flight<'m>),
    /// Somebody else does.
    Passenger(Passage<'m>),
    /// There is no room, or another process is writing: the caller asks for itself.
    Alone,
}

impl<'m> Flights<'m> {
    /// Joins the flight of this name with a wish, or begins it. A wish of the same key that waits or
    /// is under way already is not added again.
    pub fn board(&self, flight: Key, wish: &Wish, with: Boarding) -> Boarded<'m> {
        let region = &self.mapping.layout().flights;
        let set = flight.place(region.sets);
        let Some(_guard) = self.lock(region, set) else {
            return Boarded::Alone;
        };
        let slots = || (0..region.ways).filter_map(|way| Slot::at(self.mapping, set, way));
        if let Some(slot) = slots().find(|slot| slot.is_of(flight)) {
            return match slot.flies(with.now) {
                true => slot.join(wish, with.known),
                false => slot.begin(wish, with, slot.wishes()),
            };
        }
        let free = slots().filter(|slot| !slot.flies(with.now));
        let Some(slot) = free.min_by_key(|slot| slot.get(UNTIL)) else {
            return Boarded::Alone;
        };
        slot.set(KEY_LOW, flight.low());
        slot.set(KEY_HIGH, flight.high());
        // Whoever still waited for a round that never began finds that it is over.
        slot.set(ROUND, slot.get(ROUND).wrapping_add(1));
        slot.begin(wish, with, Vec::new())
    }

    /// A writer that died may have left anything: these flights are over, and their passengers board
    /// anew.
    fn lock(&self, region: &Region, set: usize) -> Option<Guard<'m>> {
        let index = region.first_lock + set % region.locks;
        lock::try_lock(self.mapping, index, Patience::Patient, || {
            for set in (set % region.locks..region.sets).step_by(region.locks) {
                for slot in (0..region.ways).filter_map(|way| Slot::at(self.mapping, set, way)) {
                    slot.set(PILOT, 0);
                    slot.set(USED, 0);
                    slot.set(ROUND, slot.get(ROUND).wrapping_add(2));
                }
            }
        })
    }
}

/// One place for a flight. All but [`Passage`] changes it with the set's mutex held.
#[derive(Clone, Copy, Debug)]
struct Slot<'m> {
    mapping: &'m Mapping,
    set: usize,
    words: &'m [AtomicU64],
}

impl<'m> Slot<'m> {
    fn at(mapping: &'m Mapping, set: usize, way: usize) -> Option<Slot<'m>> {
        let region = &mapping.layout().flights;
        let first = region.first + set * region.set_words + way * region.slot_words;
        let words = mapping.words(first, FLIGHT_WORDS);
        (words.len() == FLIGHT_WORDS).then_some(Slot {
            mapping,
            set,
            words,
        })
    }

    fn get(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Acquire)
    }

    fn set(&self, word: usize, value: u64) {
        self.words[word].store(value, Ordering::Release);
    }

    fn is_of(&self, flight: Key) -> bool {
        self.get(KEY_LOW) == flight.low() && self.get(KEY_HIGH) == flight.high()
    }

    fn flies(&self, now: u64) -> bool {
        self.get(PILOT) != 0 && self.get(UNTIL) > now
    }

    fn lock(&self) -> Option<Guard<'m>> {
        let flights = Flights {
            mapping: self.mapping,
        };
        flights.lock(&self.mapping.layout().flights, self.set)
    }

    /// Begins a round with this wish, and with those that a pilot left behind.
    fn begin(self, wish: &Wish, with: Boarding, left: Vec<(u64, Wish)>) -> Boarded<'m> {
        let round = self.get(ROUND).wrapping_add(1);
        let others = left.into_iter().map(|(_, wish)| wish);
        let mut all: Vec<Wish> = others
            .filter(|other| other.key != wish.key && other.until > with.now)
            .collect();
        all.push(wish.clone());
        self.set(USED, 0);
        if !all.iter().all(|wish| self.add(round, wish)) {
            self.set(USED, 0);
            if !self.add(round, wish) {
                return Boarded::Alone;
            }
        }
        self.set(KNOWN, with.known);
        self.set(ROUND, round);
        self.set(UNTIL, with.now.saturating_add(with.lease));
        self.set(PILOT, with.worker.owner());
        Boarded::Pilot(Flight {
            slot: self,
            worker: with.worker,
            round,
        })
    }

    /// Takes a place on the round under way if that asks the same and nothing has changed since, else
    /// on the next.
    fn join(self, wish: &Wish, known: u64) -> Boarded<'m> {
        let round = self.get(ROUND);
        let next = round.wrapping_add(1);
        let wishes = self.wishes();
        let aboard = |of: u64| {
            wishes
                .iter()
                .any(|(r, other)| *r == of && other.key == wish.key)
        };
        let round = match () {
            () if aboard(round) && self.get(KNOWN) >= known => round,
            () if aboard(next) || self.add(next, wish) => next,
            () => return Boarded::Alone,
        };
        Boarded::Passenger(Passage { slot: self, round })
    }

    /// The wishes with their rounds. What makes no sense ends the list.
    fn wishes(&self) -> Vec<(u64, Wish)> {
        let used = usize::try_from(self.get(USED)).unwrap_or(0);
        let mut rest = self.words[HEAD..].get(..used).unwrap_or_default();
        let mut wishes = Vec::new();
        while let Some((head, after)) = rest.split_first_chunk::<WISH_HEAD>() {
            let [low, high, round, until, length] =
                head.each_ref().map(|word| word.load(Ordering::Acquire));
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some(words) = after.get(..length.div_ceil(8)) else {
                break;
            };
            let words = words.iter().map(|w| w.load(Ordering::Acquire));
            let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
            bytes.truncate(length);
            let key = Key(u128::from(high) << 64 | u128::from(low));
            wishes.push((round, Wish { key, until, bytes }));
            rest = &after[length.div_ceil(8)..];
        }
        wishes
    }

    /// `false`: there is no room for it.
    fn add(&self, round: u64, wish: &Wish) -> bool {
        let used = usize::try_from(self.get(USED)).unwrap_or(usize::MAX);
        let chunks = wish.bytes.chunks(8).map(word_of);
        let end = used.saturating_add(WISH_HEAD + chunks.len());
        let Some(room) = self.words[HEAD..].get(used..end) else {
            return false;
        };
        let length = wish.bytes.len() as u64;
        let head = [wish.key.low(), wish.key.high(), round, wish.until, length];
        for (word, value) in room.iter().zip(head.into_iter().chain(chunks)) {
            word.store(value, Ordering::Release);
        }
        self.set(USED, end as u64);
        true
    }

    fn outcome(&self, round: u64) -> Option<u32> {
        let word = self.get(OUTCOMES + (round % OUTCOME_COUNT as u64) as usize);
        let code = word as u32;
        (word >> 32 == round & u64::from(u32::MAX) && code != 0).then_some(code)
    }
}

/// One round of a flight, in the hands of its pilot. Dropped before it landed, it is over without an
/// outcome, and one of those who wait takes its place.
#[derive(Debug)]
#[must_use]
pub struct Flight<'m> {
    slot: Slot<'m>,
    worker: WorkerId,
    round: u64,
}

impl<'m> Flight<'m> {
    /// What this round asks for.
    #[must_use]
    pub fn wishes(&self) -> Vec<Wish> {
        let all = self.slot.wishes().into_iter();
        all.filter(|(round, _)| *round == self.round)
            .map(|(_, wish)| wish)
            .collect()
    }

    /// What was known when this round began.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.slot.get(KNOWN)
    }

    /// Says that the pilot is still at work. No lock: a place that was lost meanwhile is not won back
    /// by it, its new pilot is believed a little longer at worst.
    pub fn renew(&self, now: u64, lease: u64) {
        if self.is_ours() {
            self.slot.set(UNTIL, now.saturating_add(lease));
        }
    }

    /// Tells the passengers how the round ended (`code` is theirs to understand, not 0) and begins the
    /// next one if somebody wishes more; `with` says what is known before that is asked.
    pub fn land(self, code: u32, with: Boarding) -> Option<Flight<'m>> {
        let (slot, worker, round) = (self.slot, self.worker, self.round);
        std::mem::forget(self);
        let _guard = slot.lock()?; // nobody hears of it, and the place is lost with its lease
        if slot.get(PILOT) != worker.owner() || slot.get(ROUND) != round {
            return None;
        }
        let outcome = OUTCOMES + (round % OUTCOME_COUNT as u64) as usize;
        slot.set(outcome, round << 32 | u64::from(code));
        let mut more: Vec<Wish> = Vec::new();
        for (of, wish) in slot.wishes() {
            if of != round && wish.until > with.now {
                more.push(wish);
            }
        }
        slot.set(USED, 0);
        let next = round.wrapping_add(1);
        if more.is_empty() || !more.iter().all(|wish| slot.add(next, wish)) {
            slot.set(USED, 0);
            slot.set(UNTIL, with.now);
            slot.set(PILOT, 0);
            return None;
        }
        slot.set(KNOWN, with.known);
        slot.set(UNTIL, with.now.saturating_add(with.lease));
        slot.set(ROUND, next);
        Some(Flight {
            slot,
            worker,
            round: next,
        })
    }

    fn is_ours(&self) -> bool {
        self.slot.get(PILOT) == self.worker.owner() && self.slot.get(ROUND) == self.round
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(_guard) = self.slot.lock()
            && self.is_ours()
        {
            self.slot.set(PILOT, 0);
        }
    }
}

/// A place on a round that somebody else flies.
#[derive(Debug)]
#[must_use]
pub struct Passage<'m> {
    slot: Slot<'m>,
    round: u64,
}

/// How far a passage has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Not over yet.
    Flying,
    /// Over; this is what the pilot said.
    Landed(u32),
    /// Nobody flies any more, and it is not known how it ended: board anew.
    Lost,
}

impl Passage<'_> {
    /// Looks without a lock.
    pub fn look(&self, now: u64) -> Progress {
        let (slot, round) = (self.slot, self.round);
        let under_way = slot.get(ROUND);
        let waits = under_way == round || under_way.wrapping_add(1) == round;
        let flies = slot.flies(now);
        // Said before the round goes on: looked at last, so that it is not missed.
        match slot.outcome(round) {
            Some(code) => Progress::Landed(code),
            None if waits && flies => Progress::Flying,
            None => Progress::Lost,
        }
    }

    /// Takes the place away from a pilot whose process is gone, without waiting for the end of its
    /// lease. Asks the system: for now and then.
    pub fn bury(&self) {
        let pilot = self.slot.get(PILOT);
        if pilot != 0 && !lives(pilot) {
            let word = &self.slot.words[PILOT];
            let _ = word.compare_exchange(pilot, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[path = "flights_tests.rs"]
mod tests;
