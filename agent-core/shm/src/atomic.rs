//! Through which atomics is shared memory read and written?
//!
//! The processor's. Everything that a model checker looks at (`../model`) takes them from here, so that
//! it can put its own in their place. Must not hold any of the table's logic.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Words for a place that is not there, which no place of a layout is.
pub(crate) fn nowhere() -> &'static [AtomicU64; 64] {
    static NOWHERE: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
    &NOWHERE
}
