//! What do the workers know about one agent instance, and who speaks for it?
//!
//! Per instance: the two counters that make old answers stale, the leader's lease, and what the
//! leader publishes (agent session, agent profile, status). Must not know what the bytes mean.
//! Whatever needs a term is written under the instance's mutex after comparing the term, so that
//! a leader that was stopped, lost its lease and wakes up writes nothing.

use crate::atomic::{AtomicU64, Ordering, nowhere};
use crate::breaker::Breaker;
use crate::buffer::{Buffer, words_for};
use crate::layout::{AGENT_SESSION_BYTES, INSTANCES, PROFILE_BYTES};
use crate::lock::{self, Guard, Patience};
use crate::slot::word_of;
use crate::{Mapping, WorkerId};

/// Counters of each instance without a meaning here.
pub const SPARE_COUNTERS: usize = 8;

// Words of an instance's block.
const IDENTITY: usize = 0; // and 1
const EPOCH: usize = 2;
const REVOCATIONS: usize = 3;
const LEASE_TERM: usize = 4;
/// The holder's worker index plus one; 0: nobody.
const LEASE_HOLDER: usize = 5;
const LEASE_DEADLINE: usize = 6;
const AGENT_STATE: usize = 7;
const PROFILE_STATE: usize = 8;
const LEASE_SINCE: usize = 9;
const STATUS: usize = 16;
const SPARE: usize = 32;
const BREAKER: usize = SPARE + SPARE_COUNTERS;
const STATE_WORDS: usize = 64;
const AGENT_WORDS: usize = words_for(AGENT_SESSION_BYTES);
/// One instance's block: whole pages.
pub(crate) const BLOCK_WORDS: usize =
    (STATE_WORDS + AGENT_WORDS + words_for(PROFILE_BYTES)).next_multiple_of(512);

/// All [`INSTANCES`] places belong to other identities; only a restart of the server frees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mapping already holds {INSTANCES} instances")]
pub struct Full;

/// A place found by [`Mapping::instance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstanceId(u8);

impl InstanceId {
    /// The first place; always there, whoever has it.
    pub const FIRST: InstanceId = InstanceId(0);

    /// Its number, below [`INSTANCES`].
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Proof of having taken the lease once; worthless when somebody took it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Term {
    number: u64,
    worker: u32,
}

impl Term {
    /// Grows with every change of leader.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// Who holds the lease, for reports only: it may have changed already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// [`WorkerId::index`] of the leader.
    pub worker: u32,
    /// Its term.
    pub term: u64,
    /// When the lease ends unless renewed, in milliseconds of [`crate::clock`].
    pub deadline: u64,
    /// When it took the lease.
    pub since: u64,
}

/// What a leader lets the others know about itself; numbers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum StatusWord {
    /// Code of the last failure (a `u32`); 0: none.
    LastError = 0,
    /// When it happened.
    LastErrorAt = 1,
    /// When AM answered last.
    LastContactAt = 2,
    /// When the profile was last read successfully, changed or not.
    ProfileReadAt = 3,
    /// Since when notifications arrive; 0: they don't.
    NotifiedSince = 4,
    /// When the last notification arrived.
    LastNotificationAt = 5,
    /// Which of AM's addresses answers the leader, from 1; 0: not known.
    Serving = 6,
}

/// State of one instance.
#[derive(Clone, Copy)]
pub struct InstanceState<'m> {
    mapping: &'m Mapping,
    id: InstanceId,
    words: &'m [AtomicU64; STATE_WORDS],
}

impl<'m> InstanceState<'m> {
    /// Places are taken front to back, and never given back, so the first place that is free or
    /// ours is the answer. A process that dies between the two halves leaves a place that only
    /// the same identity takes up again.
    pub(crate) fn find_or_claim(mapping: &'m Mapping, identity: [u8; 16]) -> Result<Self, Full> {
        let (low, high) = identity.split_at(8);
        // Zero means free.
        let (low, high) = (word_of(low).max(1), word_of(high).max(1));
        let mine = |word: &AtomicU64, half: u64| match word.compare_exchange(
            0,
            half,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => true,
            Err(there) => there == half,
        };
        (0..INSTANCES as u8)
            .map(|index| Self::at(mapping, InstanceId(index)))
            .find(|i| mine(&i.words[IDENTITY], low) && mine(&i.words[IDENTITY + 1], high))
            .ok_or(Full)
    }

    /// The place of this identity, if it has one; changes nothing.
    pub(crate) fn find(mapping: &'m Mapping, identity: [u8; 16]) -> Option<Self> {
        let (low, high) = identity.split_at(8);
        let (low, high) = (word_of(low).max(1), word_of(high).max(1));
        let is = |word: &AtomicU64, half: u64| word.load(Ordering::Acquire) == half;
        (0..INSTANCES as u8)
            .map(|index| Self::at(mapping, InstanceId(index)))
            .find(|i| is(&i.words[IDENTITY], low) && is(&i.words[IDENTITY + 1], high))
    }

    pub(crate) fn at(mapping: &'m Mapping, id: InstanceId) -> Self {
        let first = mapping.layout().instances + usize::from(id.0) * BLOCK_WORDS;
        // The layout has room for every id that this file makes; `nowhere` is never used.
        let words = mapping
            .words(first, STATE_WORDS)
            .try_into()
            .unwrap_or_else(|_| nowhere());
        InstanceState { mapping, id, words }
    }

    /// For [`Mapping::instance_at`].
    #[must_use]
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// The policy epoch: read before a fetch, stored with its answer, compared before use.
    #[inline]
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.words[EPOCH].load(Ordering::Acquire)
    }

    /// Makes all decisions of before stale. Returns the new epoch.
    pub fn bump_epoch(&self) -> u64 {
        self.words[EPOCH]
            .fetch_add(1, Ordering::AcqRel)
            .wrapping_add(1)
    }

    /// The revocation counter, used like the epoch.
    #[inline]
    #[must_use]
    pub fn revocations(&self) -> u64 {
        self.words[REVOCATIONS].load(Ordering::Acquire)
    }

    /// Counts a revocation. Returns the new number.
    pub fn bump_revocations(&self) -> u64 {
        self.words[REVOCATIONS]
            .fetch_add(1, Ordering::AcqRel)
            .wrapping_add(1)
    }

    /// Takes the lease for `ttl_ms` when nobody has it or its time is over. `None`: somebody
    /// leads, perhaps the caller itself, or is just writing: try again at the next tick.
    ///
    /// A leader that is *stopped* (not killed) within the few microseconds of a write keeps the
    /// mutex and with it the lease until it continues or dies; the others go on with what it
    /// published. That is the price of "a stopped leader writes nothing later".
    pub fn lease_try(&self, worker: WorkerId, now: u64, ttl_ms: u64) -> Option<Term> {
        // Asked every half second by everybody: look before taking the mutex.
        if self.lease_is_held(now) {
            return None;
        }
        let _guard = self.lock(Patience::None)?;
        if self.lease_is_held(now) {
            return None;
        }
        let number = self.words[LEASE_TERM]
            .load(Ordering::Relaxed)
            .wrapping_add(1);
        // The term first: if we die here, earlier holders have lost it and nobody has it.
        self.words[LEASE_HOLDER].store(0, Ordering::Release);
        self.words[LEASE_TERM].store(number, Ordering::Release);
        self.words[LEASE_DEADLINE].store(now.saturating_add(ttl_ms), Ordering::Release);
        self.words[LEASE_SINCE].store(now, Ordering::Release);
        self.words[LEASE_HOLDER].store(u64::from(worker.index()) + 1, Ordering::Release);
        Some(Term {
            number,
            worker: worker.index(),
        })
    }

    /// Extends the lease. `false`: the term is over (stop leading) or another process was
    /// writing for milliseconds ([`InstanceState::leads`] tells which). An overdue lease that nobody took is extended.
    #[must_use]
    pub fn lease_renew(&self, term: Term, now: u64, ttl_ms: u64) -> bool {
        self.as_leader(term, |words| {
            words[LEASE_DEADLINE].store(now.saturating_add(ttl_ms), Ordering::Release);
            true
        })
    }

    /// Whether the term is still the current one; takes no lock. For a leader that got `false`
    /// from a write and wants to know why.
    #[must_use]
    pub fn leads(&self, term: Term) -> bool {
        self.words[LEASE_TERM].load(Ordering::Acquire) == term.number
            && self.words[LEASE_HOLDER].load(Ordering::Acquire) == u64::from(term.worker) + 1
    }

    /// Gives the lease back at once. `false` when it was not ours any more.
    pub fn lease_resign(&self, term: Term) -> bool {
        self.as_leader(term, |words| {
            words[LEASE_HOLDER].store(0, Ordering::Release);
            true
        })
    }

    /// Who leads, also when overdue; `None` when nobody does.
    #[must_use]
    pub fn lease_holder(&self) -> Option<LeaseHolder> {
        let holder = self.words[LEASE_HOLDER].load(Ordering::Acquire);
        let worker = u32::try_from(holder.checked_sub(1)?).ok()?;
        let term = self.words[LEASE_TERM].load(Ordering::Acquire);
        let deadline = self.words[LEASE_DEADLINE].load(Ordering::Acquire);
        Some(LeaseHolder {
            worker,
            term,
            deadline,
            since: self.words[LEASE_SINCE].load(Ordering::Acquire),
        })
    }

    /// Publishes the agent's session, at most [`AGENT_SESSION_BYTES`]. `false`: the term is over,
    /// it is too long, or the mutex was taken for milliseconds; nothing changed.
    #[must_use]
    pub fn publish_agent_session(&self, term: Term, token: &[u8]) -> bool {
        self.as_leader(term, |_| self.agent_buffer().publish(token))
    }

    /// Copies the agent's session and returns its generation. `None`: there is none.
    #[must_use]
    pub fn agent_session(&self, out: &mut Vec<u8>) -> Option<u64> {
        self.agent_buffer().read(out)
    }

    /// The generation of the agent's session, while there is one.
    #[must_use]
    pub fn agent_session_generation(&self) -> Option<u64> {
        self.agent_buffer().version()
    }

    /// Withdraws the agent's session, from any worker that AM told that it is dead; only if
    /// `generation` is still the current one. `true` for exactly one caller per generation.
    pub fn invalidate_agent_session(&self, generation: u64) -> bool {
        self.agent_buffer().invalidate(generation)
    }

    /// Publishes the agent profile, at most [`PROFILE_BYTES`]; fails like
    /// [`InstanceState::publish_agent_session`].
    #[must_use]
    pub fn publish_profile(&self, term: Term, profile: &[u8]) -> bool {
        self.as_leader(term, |_| self.profile_buffer().publish(profile))
    }

    /// The version of the published profile; 0 before the first.
    #[inline]
    #[must_use]
    pub fn profile_version(&self) -> u64 {
        self.profile_buffer().version().unwrap_or(0)
    }

    /// Copies the agent profile and returns its version.
    #[must_use]
    pub fn profile(&self, out: &mut Vec<u8>) -> Option<u64> {
        self.profile_buffer().read(out)
    }

    /// Reads one status number.
    #[must_use]
    pub fn status(&self, word: StatusWord) -> u64 {
        self.words[STATUS + word as usize].load(Ordering::Relaxed)
    }

    /// Writes one status number, as the leader. `false`: the term is over or the mutex taken.
    pub fn set_status(&self, term: Term, word: StatusWord, value: u64) -> bool {
        self.as_leader(term, |words| {
            words[STATUS + word as usize].store(value, Ordering::Relaxed);
            true
        })
    }

    /// A number for the caller's own use, shared by all workers; `None` from
    /// [`SPARE_COUNTERS`] on.
    #[inline]
    #[must_use]
    pub fn spare(&self, index: usize) -> Option<&'m AtomicU64> {
        if index < SPARE_COUNTERS {
            self.words.get(SPARE + index)
        } else {
            None
        }
    }

    /// Whether AM is known to be away.
    #[inline]
    #[must_use]
    pub fn breaker(&self) -> Breaker<'m> {
        let words = self.words[BREAKER..].first_chunk();
        Breaker {
            words: words.unwrap_or_else(|| &nowhere().as_chunks().0[0]), // the words end behind it
        }
    }

    fn lease_is_held(&self, now: u64) -> bool {
        self.words[LEASE_HOLDER].load(Ordering::Acquire) != 0
            && self.words[LEASE_DEADLINE].load(Ordering::Acquire) > now
    }

    /// Runs `write` under the mutex while `term` is the current one.
    fn as_leader(&self, term: Term, write: impl FnOnce(&[AtomicU64; STATE_WORDS]) -> bool) -> bool {
        let Some(_guard) = self.lock(Patience::Patient) else {
            return false;
        };
        self.leads(term) && write(self.words)
    }

    /// Nothing needs repair after a dead owner: every write ends with the one store that makes it
    /// count, and a lease without a holder is free.
    fn lock(&self, patience: Patience) -> Option<Guard<'m>> {
        let index = self.mapping.layout().instance_lock + usize::from(self.id.0);
        lock::try_lock(self.mapping, index, patience, || ())
    }

    fn agent_buffer(&self) -> Buffer<'m> {
        self.buffer(AGENT_STATE, STATE_WORDS, AGENT_WORDS)
    }

    fn profile_buffer(&self) -> Buffer<'m> {
        self.buffer(
            PROFILE_STATE,
            STATE_WORDS + AGENT_WORDS,
            words_for(PROFILE_BYTES),
        )
    }

    fn buffer(&self, state: usize, first: usize, count: usize) -> Buffer<'m> {
        let block = self.mapping.layout().instances + usize::from(self.id.0) * BLOCK_WORDS;
        Buffer {
            state: &self.words[state],
            words: self.mapping.words(block + first, count),
        }
    }
}
