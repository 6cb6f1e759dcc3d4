//! Processes for the tests.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use portcullis_shm::Key;

/// Starts a process that runs `child` and ends with its result; 101 after a panic.
pub(crate) fn fork(child: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: the child runs `child` on this thread alone and leaves with _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
        // SAFETY: ends this process without the test harness's clean-up.
        unsafe { libc::_exit(code) };
    }
    pid
}

/// Waits for a child; its exit code, or minus the signal that ended it.
pub(crate) fn wait(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    if libc::WIFSIGNALED(status) {
        -libc::WTERMSIG(status)
    } else {
        libc::WEXITSTATUS(status)
    }
}

/// Sends a signal to a child that has not been waited for.
pub(crate) fn signal(pid: libc::pid_t, signal: i32) {
    // SAFETY: the child is ours and not reaped, so the id is still its own.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// Numbers that look random (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

/// The n-th test key, spread like a digest.
pub(crate) fn key(n: u64) -> Key {
    let mut random = Random(n.wrapping_mul(0xd134_2543_de82_ef95));
    Key(u128::from(random.next()) << 64 | u128::from(random.next()))
}

/// Zeroed numbers that this process and its children share, for as long as they live.
pub(crate) fn shared_numbers(count: usize) -> &'static [AtomicU64] {
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANON,
    );
    // SAFETY: a new anonymous mapping.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), count * 8, protection, flags, -1, 0) };
    assert_ne!(base, libc::MAP_FAILED);
    // SAFETY: mapped just above for `count` words, zeroed, aligned, and never unmapped.
    unsafe { std::slice::from_raw_parts(base.cast::<AtomicU64>(), count) }
}

/// Polls until `done`; fails after a limit that only a hung process reaches.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < limit, "waited too long: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}
