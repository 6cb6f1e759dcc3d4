//! What must hold at every entry: no panic crosses, no NULL is followed, no unknown struct is read.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use crate::portcullis_result::{self, *};

/// Runs an entry point; a panic becomes a result.
pub(crate) fn guard(body: impl FnOnce() -> portcullis_result) -> portcullis_result {
    guard_or(PORTCULLIS_PANIC, body)
}

/// Runs an entry point with its own answer for a panic.
///
/// Unwind safety: whatever the panic interrupted belongs to one request, whose caller answers 503
/// and frees it; shared state is in atomics and in locks that do not poison.
pub(crate) fn guard_or<T>(fault: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fault)
}

/// Replaces the default panic hook, which prints to the host's standard error and may take 100 ms to
/// find out names of functions. Where it happened is enough to report it.
pub(crate) fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
}

/// A reference to what a pointer points to, or a return with NULL_PARAMETER.
macro_rules! borrow {
    ($pointer:expr) => {{
        // SAFETY: the caller passes NULL or a pointer that is valid for this call (header).
        match unsafe { $pointer.as_ref() } {
            Some(reference) => reference,
            None => return crate::portcullis_result::PORTCULLIS_NULL_PARAMETER,
        }
    }};
}

/// A mutable reference to what a pointer points to, or a return with NULL_PARAMETER.
macro_rules! borrow_mut {
    ($pointer:expr) => {{
        // SAFETY: the caller passes NULL or a pointer that is valid and its own for this call.
        match unsafe { $pointer.as_mut() } {
            Some(reference) => reference,
            None => return crate::portcullis_result::PORTCULLIS_NULL_PARAMETER,
        }
    }};
}

pub(crate) use {borrow, borrow_mut};

/// Whether `size` is that of the struct this library was built with.
pub(crate) fn sized<T>(size: usize) -> bool {
    size == size_of::<T>()
}
