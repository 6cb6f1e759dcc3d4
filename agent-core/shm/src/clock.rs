//! Which time do deadlines in the mapping use?
//!
//! `CLOCK_BOOTTIME`: the same in every process, never set back, and it goes on while the machine
//! sleeps, so that a session does not live longer because a laptop or a guest was suspended.
//! Must not be compared with the wall clock.

/// Milliseconds since the machine started, sleep included.
///
/// 0 when the kernel refuses the clock, which none that this program runs on does; with 0 nothing
/// counts as expired in the sets, and records stored at other times count as stale or odd.
#[must_use]
pub fn boottime_ms() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a live timespec that the call fills in.
    if unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) } != 0 {
        return 0;
    }
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1000)
        .saturating_add(nanos / 1_000_000)
}

#[cfg(test)]
mod tests {
    #[test]
    fn goes_forward() {
        let first = super::boottime_ms();
        assert!(first > 0);
        assert!(super::boottime_ms() >= first);
    }
}
