//! May this process write here now?
//!
//! Robust, process-shared mutexes: the kernel tells the next one who tries that the owner died.
//! Must not wait: the owner may be a stopped process, and a server's thread would stop with it.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::clock::boottime_ms;
use crate::mapping::{MapError, Mapping};

const _: () = assert!(
    size_of::<libc::pthread_mutex_t>() <= crate::layout::LOCK_WORDS * 8
        && align_of::<libc::pthread_mutex_t>() <= 64
);

/// How hard to try.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A single attempt.
    None,
    /// About a microsecond, which is what a running owner needs: for writes that may be dropped.
    Brief,
    /// One to two milliseconds, other threads first: for what should not get lost without need.
    Patient,
}

/// Attempts that only spin.
const SPINS: u32 = 32;
/// Ends a patient attempt when the clock has moved on this often.
const PATIENT_MS: u64 = 2;

impl Patience {
    /// Whether to try again after `attempt` failures.
    fn again(self, attempt: u32, started: &mut Option<u64>) -> bool {
        if self == Patience::None {
            return false;
        }
        if attempt < SPINS {
            std::hint::spin_loop();
            return true;
        }
        if self == Patience::Brief {
            return false;
        }
        let now = boottime_ms();
        let started = *started.get_or_insert(now);
        std::thread::yield_now();
        // The second condition ends the loop even if the clock stood still.
        now.saturating_sub(started) < PATIENT_MS && attempt < 100_000
    }
}

/// A held mutex. It is bound to its thread (a raw pointer is not `Send`).
pub(crate) struct Guard<'m> {
    mutex: *mut libc::pthread_mutex_t,
    mapping: PhantomData<&'m Mapping>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // SAFETY: the mutex is initialised, lies in a live mapping (`'m`) and is held by this
        // thread: only `try_lock` makes guards.
        unsafe { libc::pthread_mutex_unlock(self.mutex) };
    }
}

/// Takes mutex `index`, or says `None` when somebody else keeps it for too long.
///
/// `repair` runs, under the mutex, when its owner died; it must leave nothing half-written. If
/// this process dies in it, the next owner is told again.
pub(crate) fn try_lock<'m>(
    mapping: &'m Mapping,
    index: usize,
    patience: Patience,
    repair: impl FnOnce(),
) -> Option<Guard<'m>> {
    let mutex = mapping.lock_at(index)?;
    let (mut attempt, mut started) = (0, None);
    loop {
        // SAFETY: the mutex was initialised before the mapping was shared and is never destroyed.
        match unsafe { libc::pthread_mutex_trylock(mutex) } {
            0 => {
                return Some(Guard {
                    mutex,
                    mapping: PhantomData,
                });
            }
            libc::EOWNERDEAD => {
                let guard = Guard {
                    mutex,
                    mapping: PhantomData,
                };
                repair();
                // SAFETY: this thread holds the mutex and has just been told EOWNERDEAD.
                unsafe { libc::pthread_mutex_consistent(mutex) };
                return Some(guard);
            }
            libc::EBUSY if patience.again(attempt, &mut started) => attempt += 1,
            _ => return None,
        }
    }
}

/// Makes every mutex of a fresh mapping; once, before anybody else can see it.
pub(crate) fn init_all(mapping: &Mapping) -> Result<(), MapError> {
    let mut attr = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    let fail = |call, code| MapError::System {
        call,
        source: code_error(code),
    };
    // SAFETY: `attr` is writable memory of the right type.
    let code = unsafe { libc::pthread_mutexattr_init(attr.as_mut_ptr()) };
    if code != 0 {
        return Err(fail("pthread_mutexattr_init", code));
    }
    let attr = attr.as_mut_ptr();
    // SAFETY: `attr` was initialised just above.
    let shared = unsafe { libc::pthread_mutexattr_setpshared(attr, libc::PTHREAD_PROCESS_SHARED) };
    // SAFETY: as above.
    let robust = unsafe { libc::pthread_mutexattr_setrobust(attr, libc::PTHREAD_MUTEX_ROBUST) };
    let mut code = if shared != 0 { shared } else { robust };
    for index in 0..mapping.layout().locks {
        if let (Some(mutex), 0) = (mapping.lock_at(index), code) {
            // SAFETY: `mutex` points to unused, zeroed, aligned memory inside the mapping, which
            // no other process knows yet; `attr` is initialised.
            code = unsafe { libc::pthread_mutex_init(mutex, attr) };
        }
    }
    // SAFETY: `attr` is initialised and not used afterwards.
    unsafe { libc::pthread_mutexattr_destroy(attr) };
    if code == 0 {
        Ok(())
    } else {
        Err(fail("pthread_mutex_init", code))
    }
}

fn code_error(code: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(code)
}
