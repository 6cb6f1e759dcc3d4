//! The checker's atomics, in threads that may die.
//!
//! Each thread of a model stands for a process. One that is to die carries out so many stores and no
//! more: what it does after that nobody sees, which is what a `kill -9` between two stores means.

use std::cell::Cell;

use loom::sync::atomic::AtomicU64 as Checked;
pub(crate) use loom::sync::atomic::{Ordering, fence};

/// How a process ends before its time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is gone, and the kernel says so to whoever tries its mutexes.
    Killed,
    /// It is there and does nothing more: its mutexes stay taken.
    Stopped,
}

loom::thread_local! {
    /// Stores that are left, and what comes then. `None`: lives as long as its thread.
    static LEFT: Cell<Option<(u32, Fate)>> = Cell::new(None);
}

/// From now on this thread carries out only so many stores.
pub fn ends_after(stores: u32, fate: Fate) {
    LEFT.with(|left| left.set(Some((stores, fate))));
}

/// Whether that has happened to this thread.
pub fn ended() -> Option<Fate> {
    LEFT.with(|left| match left.get() {
        Some((0, fate)) => Some(fate),
        _ => None,
    })
}

/// Whether this thread still does its next store.
fn stores() -> bool {
    LEFT.with(|left| match left.get() {
        None => true,
        Some((0, _)) => false,
        Some((more, fate)) => {
            left.set(Some((more - 1, fate)));
            true
        }
    })
}

/// One shared word.
#[derive(Debug)]
pub struct AtomicU64(Checked);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> AtomicU64 {
        AtomicU64(Checked::new(value))
    }

    /// What a dead process reads matters to nobody, so nothing is looked at for it.
    pub(crate) fn load(&self, order: Ordering) -> u64 {
        match ended() {
            None => self.0.load(order),
            Some(_) => 0,
        }
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        if stores() {
            self.0.store(value, order);
        }
    }

    pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
        match stores() {
            true => self.0.swap(value, order),
            false => 0,
        }
    }

    pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        match stores() {
            true => self.0.fetch_add(value, order),
            false => 0,
        }
    }

    pub(crate) fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
        match stores() {
            true => self.0.fetch_max(value, order),
            false => 0,
        }
    }

    pub(crate) fn compare_exchange(
        &self,
        old: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        match stores() {
            true => self.0.compare_exchange(old, new, success, failure),
            false => Err(0),
        }
    }
}

/// No place of a model is missing.
pub(crate) fn nowhere() -> &'static [AtomicU64; 64] {
    unreachable!("a place outside the mapping")
}
