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

/// Has the kernel kill this process after so many nanoseconds, wherever it is then.
pub(crate) fn die_in(nanos: u64) {
    // SAFETY: all zeroes is a valid event; the fields that count are set next.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGKILL;
    let mut timer = std::mem::MaybeUninit::<libc::timer_t>::uninit();
    // SAFETY: both pointers are to live values of the right type.
    let made = unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, timer.as_mut_ptr()) };
    assert_eq!(made, 0, "timer_create");
    let never = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let when = libc::itimerspec {
        it_interval: never,
        it_value: libc::timespec {
            tv_nsec: nanos as libc::c_long + 1,
            ..never
        },
    };
    // SAFETY: the timer was made above; nothing is to be returned.
    let set = unsafe { libc::timer_settime(timer.assume_init(), 0, &when, std::ptr::null_mut()) };
    assert_eq!(set, 0, "timer_settime");
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
