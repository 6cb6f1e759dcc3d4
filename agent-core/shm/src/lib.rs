//! What do the processes of one web server know together?
//!
//! One shared mapping, made by the parent before it forks, holds what one worker learnt and the
//! others need not ask for again: cached records, the sets that make "once" and "ended" true in
//! every process, the state of each agent instance, and the load of each worker.
//!
//! This crate knows opaque bytes, 128-bit keys and numbers. It must not know what a session or a
//! policy is, must not wait (a stopped process may hold any lock), and must not trust what it
//! reads: memory that looks odd is a miss, a refusal or "unknown", never an answer.
//!
//! Readers take no lock and write nothing. Writers hold robust mutexes, tried and never waited
//! for, so a process that is killed at any instruction costs one fetch and leaves no lock behind.
//! All times are milliseconds of [`clock::boottime_ms`].

mod breaker;
mod buffer;
pub mod clock;
mod counts;
mod flights;
mod instance;
mod keyset;
mod layout;
mod lock;
mod mapping;
mod once;
mod slot;
mod sum;
mod table;
mod workers;

pub use breaker::Breaker;
pub use counts::{COUNT_WINDOW_MS, Counts};
pub use flights::{Boarded, Boarding, Flight, Flights, Passage, Progress, Wish};
pub use instance::{
    AGENT_SESSION_BYTES, Full, INSTANCES, InstanceId, InstanceState, LeaseHolder, PROFILE_BYTES,
    SPARE_COUNTERS, StatusWord, Term,
};
pub use layout::{DEFAULT_CACHE_BYTES, LARGEST_VALUE, LAYOUT_VERSION, Layout, MIN_CACHE_BYTES};
pub use mapping::{MapError, Mapping};
pub use once::{Ended, EndedSet, OnceSet, Spent};
pub use slot::Stamp;
pub use table::{Put, Table};
pub use workers::{Counted, Gauge, WORKERS, WorkerId, Workers, process_start_time};

/// Names an entry: a keyed 128-bit digest that the caller makes.
///
/// The digest must be uniform and keyed with [`Mapping::boot_key`] (or a secret), because its bits
/// choose the place: whoever can choose keys could fill one place on purpose. The caller mixes the
/// instance's identity and the kind of record into it; nothing here keeps instances apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub u128);

impl Key {
    /// The low half, which recognises an entry.
    #[inline]
    pub(crate) fn low(self) -> u64 {
        self.0 as u64
    }

    /// The high half, which also chooses the set.
    #[inline]
    pub(crate) fn high(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// Spreads the high half evenly over `sets` places, without a division.
    #[inline]
    pub(crate) fn place(self, sets: usize) -> usize {
        ((u128::from(self.high()) * sets as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests;
