//! What of this machine does the instance use?

use portcullis_engine::config as engine;
use portcullis_runtime::examine;

use super::{check::Finding, patient::Patient};

/// Whether the shared table has the room that it may fill.
pub(crate) fn memory(_: &mut Patient) -> Finding {
    const MIB: u64 = 1 << 20;
    let named = std::env::var("AM_MAX_SESSION_CACHE_SIZE").ok();
    let filled = engine::cache_bytes(named.as_deref()).and_then(examine::shared_memory);
    let Some(filled) = filled else {
        return Finding::not_ok(
            "no shared memory of that size can be laid out",
            "AM_MAX_SESSION_CACHE_SIZE in the environment of the web server",
        );
    };
    match examine::memory_limit() {
        Some(limit) if filled > limit => Finding::not_ok(
            format!(
                "the shared tables may fill {} MiB, and this control group has {} MiB",
                filled / MIB,
                limit / MIB
            ),
            "AM_MAX_SESSION_CACHE_SIZE in the environment of the web server, or a higher limit of memory",
        ),
        limit => {
            let limit = limit.map_or("no limit".to_owned(), |l| {
                format!("a limit of {} MiB", l / MIB)
            });
            Finding::ok(format!(
                "the shared tables may fill {} MiB; {limit}",
                filled / MIB
            ))
        }
    }
}
