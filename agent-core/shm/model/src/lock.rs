//! Robust mutexes, played: one word that says free, taken, or left by a dead owner.

use loom::sync::atomic::{AtomicU64, Ordering};

use crate::Mapping;
use crate::atomic::{Fate, ended};

const FREE: u64 = 0;
const TAKEN: u64 = 1;
const OWNER_DIED: u64 = 2;

/// How hard to try.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    None,
    Brief,
    Patient,
}

pub(crate) struct Guard<'m> {
    mutex: &'m AtomicU64,
}

impl Drop for Guard<'_> {
    /// The kernel's part is done for a dead owner, too.
    fn drop(&mut self) {
        match ended() {
            None => self.mutex.store(FREE, Ordering::Release),
            Some(Fate::Killed) => self.mutex.store(OWNER_DIED, Ordering::Release),
            Some(Fate::Stopped) => {}
        }
    }
}

pub(crate) fn try_lock<'m>(
    mapping: &'m Mapping,
    index: usize,
    patience: Patience,
    repair: impl FnOnce(),
) -> Option<Guard<'m>> {
    let mutex = mapping.lock_at(index)?;
    let mut repair = Some(repair);
    for attempt in 0..2 {
        if ended().is_some() {
            return None;
        }
        match mutex.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return Some(Guard { mutex }),
            Err(OWNER_DIED) => {
                let taken =
                    mutex.compare_exchange(OWNER_DIED, TAKEN, Ordering::Acquire, Ordering::Relaxed);
                if taken.is_ok() {
                    let guard = Guard { mutex };
                    if let Some(repair) = repair.take() {
                        repair();
                    }
                    return Some(guard);
                }
            }
            Err(_) if attempt == 0 && patience == Patience::Patient => loom::thread::yield_now(),
            Err(_) => return None,
        }
    }
    None
}
