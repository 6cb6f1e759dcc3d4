//! Processes for the tests.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::panic::{AssertUnwindSafe, catch_unwind};

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
