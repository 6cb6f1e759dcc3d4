//! Is the table right whatever the order in which its processes run, and wherever one of them dies?
//!
//! The files of `portcullis-shm` themselves, compiled with the atomics of a model checker and a
//! mapping of a few words; what only the operating system has (the file, its mutexes, processes) is
//! played here. Must not contain a copy of what is to be checked. The questions are in `tests/`.

// The files' own tests belong to `portcullis-shm`.
#![cfg(not(test))]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "parts of the shared files are not asked for here"
)]

mod atomic;
mod layout;
mod lock;
mod mapping;
mod sum;
mod workers;

#[path = "../../src/breaker.rs"]
mod breaker;
#[path = "../../src/buffer.rs"]
mod buffer;
#[path = "../../src/flights.rs"]
mod flights;
#[path = "../../src/instance.rs"]
mod instance;
#[path = "../../src/key.rs"]
mod key;
#[path = "../../src/keyset.rs"]
mod keyset;
#[path = "../../src/once.rs"]
mod once;
#[path = "../../src/slot.rs"]
mod slot;
#[path = "../../src/table.rs"]
mod table;

pub use atomic::{Fate, ended, ends_after};
pub use breaker::Breaker;
pub use flights::{Boarded, Boarding, Flight, Flights, Passage, Progress, Wish};
pub use instance::{Full, InstanceId, InstanceState, Term};
pub use key::Key;
pub use mapping::{Contents, Mapping};
pub use once::{Ended, EndedSet, OnceSet, Spent};
pub use slot::Stamp;
pub use sum::blind;
pub use table::{Put, Table};
pub use workers::WorkerId;

/// Runs this in every order of its loads and stores in which threads are interrupted twice;
/// `LOOM_MAX_PREEMPTIONS` asks for more.
pub fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.max_branches = 100_000;
    builder.check(model);
}

/// The same for every store that a process may be the last to have done: `model` is told how many it does
/// before it ends.
pub fn check_endings(most: u32, model: impl Fn(u32) + Send + Sync + Copy + 'static) {
    for stores in 0..=most {
        check(move || model(stores));
    }
}
