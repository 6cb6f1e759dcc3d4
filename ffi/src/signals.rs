//! Keeps the host's signals away from our thread.

/// Blocks signals while it lives, so that a thread started meanwhile inherits the mask. Signals that
/// report a fault of the thread itself stay open: blocked, they would kill without a trace.
pub(crate) struct Blocked(libc::sigset_t);

impl Blocked {
    pub(crate) fn new() -> Blocked {
        // SAFETY: sigset_t is plain data that sigfillset and pthread_sigmask write before it is read.
        unsafe {
            let mut wanted: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut wanted);
            let faults = [
                libc::SIGSEGV,
                libc::SIGBUS,
                libc::SIGFPE,
                libc::SIGILL,
                libc::SIGABRT,
                libc::SIGTRAP,
            ];
            for signal in faults {
                libc::sigdelset(&mut wanted, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &wanted, &mut before);
            Blocked(before)
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: restores what `new` read.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut());
        }
    }
}
