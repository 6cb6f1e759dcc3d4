//! Is it known to all workers that AM is not there?
//!
//! A breaker of single words: no lock, so a process may die between any two instructions. Whoever
//! opens or closes it has asked AM first; nothing here asks or waits. Must not know what a failure is.

use crate::atomic::{AtomicU64, Ordering};

/// Words that a breaker takes.
pub(crate) const BREAKER_WORDS: usize = FIRST_SUSPECT + SUSPECTS;

/// When it was opened; 0: closed.
const OPENED_AT: usize = 0;
/// Until when somebody asks AM, or nobody need ask again.
const PROBE_UNTIL: usize = 1;
/// When it was closed last; 0: never.
const CLOSED_AT: usize = 2;
/// When AM answered anybody last.
const ANSWERED_AT: usize = 3;
/// Somebody failed while another had the turn to ask: 1.
const WANTED: usize = 4;
/// Sessions that have failed lately: half of a digest, and the second of the failure.
const FIRST_SUSPECT: usize = 5;
const SUSPECTS: usize = 8;
/// For so long one more failure of a session says nothing new.
const SUSPECT_SECONDS: u64 = 10;
const SECONDS: u64 = 0xffff_ffff;

/// The breaker of one instance.
#[derive(Clone, Copy)]
pub struct Breaker<'m> {
    pub(crate) words: &'m [AtomicU64; BREAKER_WORDS],
}

impl Breaker<'_> {
    /// Whether AM is known to be away.
    #[inline]
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.words[OPENED_AT].load(Ordering::Acquire) != 0
    }

    /// Since when AM is known to be away, in milliseconds of [`crate::clock`].
    #[must_use]
    pub fn open_since(&self) -> Option<u64> {
        let since = self.words[OPENED_AT].load(Ordering::Acquire);
        (since != 0).then_some(since)
    }

    /// Notes that a call about a session failed (rule O1). `true`: the caller is the one that asks AM
    /// now whether it is there, and has until `until` for that; times are of [`crate::clock`].
    /// A session counts once in ten seconds, whoever sends its token how often.
    #[must_use]
    pub fn suspect(&self, session: u64, now: u64, until: u64) -> bool {
        let second = (now / 1000) & SECONDS;
        let digest = session & !SECONDS;
        let suspects = &self.words[FIRST_SUSPECT..];
        let age = |word: u64| second.saturating_sub(word & SECONDS);
        let mut oldest = (0, 0);
        for (at, word) in suspects.iter().enumerate() {
            let word = word.load(Ordering::Relaxed);
            // A page of zeroes is nobody, also for a session whose half is zero.
            if word != 0 && word & !SECONDS == digest && age(word) < SUSPECT_SECONDS {
                return false;
            }
            let age = if word == 0 { u64::MAX } else { age(word) };
            if age >= oldest.1 {
                oldest = (at, age);
            }
        }
        suspects[oldest.0].store(digest | second, Ordering::Relaxed);
        if !self.probe_try(now, until) {
            // The question that is under way may have begun before this.
            self.words[WANTED].store(1, Ordering::Release);
            return false;
        }
        true
    }

    /// Whether somebody has to ask AM whether it is there, at the next turn.
    #[inline]
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.is_open() || self.words[WANTED].load(Ordering::Acquire) != 0
    }

    /// Takes the turn to ask AM, for exactly one caller at a time. `until` bounds the turn, also of a
    /// process that dies in it.
    #[must_use]
    pub fn probe_try(&self, now: u64, until: u64) -> bool {
        let word = &self.words[PROBE_UNTIL];
        let seen = word.load(Ordering::Acquire);
        let mine = seen <= now
            && word
                .compare_exchange(seen, until, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        if mine {
            self.words[WANTED].store(0, Ordering::Release);
        }
        mine
    }

    /// AM has answered a call, whatever it said.
    pub fn answered(&self, now: u64) {
        self.words[ANSWERED_AT].store(now, Ordering::Release);
    }

    /// AM gave no answer to the question of `asked_at`. `true` for the one caller that opened it;
    /// nobody does when somebody else was answered since then.
    pub fn open(&self, asked_at: u64, now: u64) -> bool {
        if self.words[ANSWERED_AT].load(Ordering::Acquire) >= asked_at {
            return false;
        }
        self.words[OPENED_AT]
            .compare_exchange(0, now.max(1), Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// AM is there. Returns since when it was not, to the one caller that closed it.
    pub fn close(&self, now: u64) -> Option<u64> {
        // First, so that nobody sees it closed and goes on waiting for what failed before.
        if self.is_open() {
            self.words[CLOSED_AT].store(now, Ordering::Release);
            // What failed in this outage is no answer to the question about the next.
            let suspects = &self.words[FIRST_SUSPECT..];
            suspects
                .iter()
                .for_each(|word| word.store(0, Ordering::Relaxed));
        }
        match self.words[OPENED_AT].swap(0, Ordering::AcqRel) {
            0 => None,
            since => Some(since),
        }
    }

    /// When it was closed last; 0: never. What failed before that is no reason to wait any more.
    #[must_use]
    pub fn closed_at(&self) -> u64 {
        self.words[CLOSED_AT].load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> [AtomicU64; BREAKER_WORDS] {
        [const { AtomicU64::new(0) }; BREAKER_WORDS]
    }

    const ALICE: u64 = 7 << 32;
    const BOB: u64 = 8 << 32;

    #[test]
    fn one_opens_and_one_closes() {
        let words = words();
        let breaker = Breaker { words: &words };
        assert!(!breaker.is_open());
        assert_eq!((breaker.close(5), breaker.closed_at()), (None, 0));
        breaker.answered(7);
        assert!(!breaker.open(7, 10), "somebody was answered meanwhile");
        assert!(breaker.open(8, 10));
        assert!(!breaker.open(9, 11));
        assert!(breaker.is_open());
        assert_eq!(breaker.close(20), Some(10));
        assert_eq!(breaker.close(21), None);
        assert_eq!(breaker.closed_at(), 20);
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_session_counts_once_and_one_asks_at_a_time() {
        let words = words();
        let breaker = Breaker { words: &words };
        assert!(breaker.suspect(ALICE, 1_000, 2_000));
        assert!(!breaker.suspect(BOB, 1_500, 2_500), "somebody asks already");
        assert!(!breaker.suspect(ALICE, 2_500, 3_500), "counted already");
        assert!(breaker.is_doubtful() && !breaker.is_open());
        assert!(breaker.probe_try(2_500, 3_500), "asked at the next turn");
        assert!(!breaker.is_doubtful());
        assert!(!breaker.suspect(BOB, 4_000, 5_000), "counted, too");
        assert!(breaker.suspect(ALICE, 12_000, 13_000), "long ago");
        assert!(breaker.suspect(0, 14_000, 15_000));
        assert!(!breaker.suspect(0, 16_000, 17_000));
    }

    #[test]
    fn a_crowd_of_sessions_costs_one_question_at_a_time() {
        let words = words();
        let breaker = Breaker { words: &words };
        let asked = (0..1_000).filter(|n| breaker.suspect(n << 32, 5_000, 6_000));
        assert_eq!(asked.count(), 1);
    }

    #[test]
    fn after_an_outage_everybody_counts_again() {
        let words = words();
        let breaker = Breaker { words: &words };
        assert!(breaker.suspect(ALICE, 1_000, 2_000));
        assert!(breaker.open(1_000, 2_000));
        assert_eq!(breaker.close(3_000), Some(2_000));
        assert!(breaker.suspect(ALICE, 3_000, 4_000));
    }

    #[test]
    fn a_turn_ends_with_its_time() {
        let words = words();
        let breaker = Breaker { words: &words };
        assert!(breaker.probe_try(100, 200));
        assert!(!breaker.probe_try(199, 300));
        assert!(breaker.probe_try(200, 300));
    }
}
