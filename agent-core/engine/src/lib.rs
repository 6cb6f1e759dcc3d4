//! The engine: says what happens to one request, and nothing else.
//!
//! [`decide()`] is a pure function of a request, a configuration snapshot, the facts known so far and
//! the time. It opens no socket, reads no clock, waits for nothing and draws no randomness: what it
//! lacks it names in a [`contract::Need`], and the driver calls it again once the answer is in the
//! memo. So servers, tests, `explain` and log replay get the same answer from the same code.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod am;
pub mod config;
pub mod contract;
pub mod decide;
pub mod event;
pub mod login;
pub mod page;
pub mod record;
pub mod token;
pub mod url;

pub use decide::{
    decide, decide_unanswered, decide_without_configuration, explain, monitor_unconfigured,
};
