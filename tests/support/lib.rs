//! Harness.

pub mod contract;
