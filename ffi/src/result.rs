//! What a call did, as numbers that never change.

use crate::portcullis_str;

/// Raised by one whenever a struct or the meaning of a function changes.
pub const PORTCULLIS_ABI: u32 = 1;
/// Most instances one generation may hold.
pub const PORTCULLIS_MAX_INSTANCES: u32 = 32;

/// What a call did. Numbers never change their meaning.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum portcullis_result {
    /// Done.
    PORTCULLIS_OK = 0,
    /// Not decided yet: see the ticket.
    PORTCULLIS_PENDING = 1,
    /// Nothing there.
    PORTCULLIS_NONE = 2,
    /// A pointer that must not be NULL was NULL.
    PORTCULLIS_NULL_PARAMETER = 8001,
    /// A fault inside; it went no further.
    PORTCULLIS_PANIC = 8002,
    /// `size` of a struct is not one this library knows.
    PORTCULLIS_BAD_SIZE = 8003,
    /// No such instance.
    PORTCULLIS_BAD_INDEX = 8004,
    /// A configuration cannot be used; each mistake was logged.
    PORTCULLIS_CONFIG = 8010,
    /// The shared mapping could not be made or adopted.
    PORTCULLIS_MAPPING = 8011,
    /// Too many instances.
    PORTCULLIS_FULL = 8012,
    /// No worker runs in this process.
    PORTCULLIS_NOT_STARTED = 8013,
    /// The operating system refused a thread or a file.
    PORTCULLIS_SYSTEM = 8014,
}

use portcullis_result::*;

impl portcullis_result {
    /// All results, in the order of their numbers.
    pub const ALL: &'static [portcullis_result] = &[
        PORTCULLIS_OK,
        PORTCULLIS_PENDING,
        PORTCULLIS_NONE,
        PORTCULLIS_NULL_PARAMETER,
        PORTCULLIS_PANIC,
        PORTCULLIS_BAD_SIZE,
        PORTCULLIS_BAD_INDEX,
        PORTCULLIS_CONFIG,
        PORTCULLIS_MAPPING,
        PORTCULLIS_FULL,
        PORTCULLIS_NOT_STARTED,
        PORTCULLIS_SYSTEM,
    ];

    /// A few words for a log line.
    pub fn text(self) -> &'static str {
        match self {
            PORTCULLIS_OK => "ok",
            PORTCULLIS_PENDING => "not decided yet",
            PORTCULLIS_NONE => "nothing there",
            PORTCULLIS_NULL_PARAMETER => "a pointer is NULL",
            PORTCULLIS_PANIC => "internal fault",
            PORTCULLIS_BAD_SIZE => "a struct has an unknown size",
            PORTCULLIS_BAD_INDEX => "no such instance",
            PORTCULLIS_CONFIG => "the configuration has mistakes, see the lines before",
            PORTCULLIS_MAPPING => "the shared memory could not be made",
            PORTCULLIS_FULL => "too many instances",
            PORTCULLIS_NOT_STARTED => "the agent does not run in this process",
            PORTCULLIS_SYSTEM => "the operating system refused",
        }
    }
}

/// The ABI of this library; compare it with `PORTCULLIS_ABI` of the header compiled against.
#[unsafe(no_mangle)]
pub extern "C" fn portcullis_abi() -> u32 {
    PORTCULLIS_ABI
}

/// The version as text; static.
#[unsafe(no_mangle)]
pub extern "C" fn portcullis_version() -> portcullis_str {
    portcullis_str::of(env!("CARGO_PKG_VERSION").as_bytes())
}

/// A few words for a result; static. A number that is none of ours must not be passed.
#[unsafe(no_mangle)]
pub extern "C" fn portcullis_result_text(result: portcullis_result) -> portcullis_str {
    portcullis_str::of(result.text().as_bytes())
}
