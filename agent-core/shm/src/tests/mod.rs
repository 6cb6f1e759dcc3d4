//! Tests that need to reach behind the public interface: damage memory, die with a lock held.

mod damage;
mod owner_died;

use crate::Mapping;

/// A small mapping.
fn mapping() -> Mapping {
    Mapping::create(0).unwrap()
}

/// Runs `child` in a forked process that ends without unwinding or clean-up, and waits for it.
fn in_child(child: impl FnOnce()) {
    // SAFETY: the child only touches memory and leaves with _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child();
        // SAFETY: ends this process without running the test harness's clean-up.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0, "the child failed");
}
