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

mod atomic;
mod breaker;
mod buffer;
pub mod clock;
mod counts;
mod flights;
mod instance;
mod key;
mod keyset;
mod layout;
mod lock;
mod mapping;
mod meters;
mod once;
mod slot;
mod sum;
mod table;
mod traces;
mod usage;
mod walk;
mod workers;

pub use breaker::Breaker;
pub use counts::{COUNT_WINDOW_MS, Counts};
pub use flights::{Boarded, Boarding, Flight, Flights, Passage, Progress, Wish};
pub use instance::{
    Full, InstanceId, InstanceState, LeaseHolder, SPARE_COUNTERS, StatusWord, Term,
};
pub use key::Key;
pub use layout::{
    AGENT_SESSION_BYTES, DEFAULT_CACHE_BYTES, INSTANCES, LARGEST_VALUE, LAYOUT_VERSION, Layout,
    MIN_CACHE_BYTES, PROFILE_BYTES,
};
pub use mapping::{MapError, Mapping};
pub use meters::{METERS, Meter, Meters};
pub use once::{Ended, EndedSet, OnceSet, Spent};
pub use slot::Stamp;
pub use table::{Put, Table};
pub use traces::{TRACE_BYTES, Traces};
pub use usage::Usage;
pub use workers::{Counted, Gauge, WORKERS, WorkerId, Workers, process_start_time};

#[cfg(test)]
mod tests;
