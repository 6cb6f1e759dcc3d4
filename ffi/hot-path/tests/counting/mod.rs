//! Counts what a piece of code asks of the allocator and of the kernel, on its own thread.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    ffi::{c_int, c_void},
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::{Duration, Instant},
};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: everything is passed on to the system's allocator; the counter is a plain number of the
// thread that needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How often `code` allocates on this thread.
pub(crate) fn allocations<T>(code: impl FnOnce() -> T) -> u64 {
    let before = ALLOCATIONS.get();
    code();
    ALLOCATIONS.get() - before
}

/// The number of a system call that was refused; -1 for none.
static REFUSED: AtomicI64 = AtomicI64::new(-1);
static DONE: AtomicBool = AtomicBool::new(false);

/// The first system call that the code which `prepare` returns makes on its thread. None is carried
/// out, so nothing that runs there may end in the ordinary way; once a process.
///
/// # Panics
/// When the kernel has no filters, or the code does not come to its end.
pub(crate) fn system_calls<F: FnOnce()>(
    prepare: impl FnOnce() -> F + Send + 'static,
) -> Option<i64> {
    let thread = std::thread::spawn(|| {
        let code = prepare();
        refuse_system_calls();
        // SAFETY: asks for a number.
        unsafe { libc::getppid() };
        let noticed = REFUSED.swap(-1, Ordering::SeqCst) == libc::SYS_getppid;
        code();
        DONE.store(noticed, Ordering::SeqCst);
        loop {
            // SAFETY: ends this thread alone, which holds nothing that others wait for.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        }
    });
    let limit = Instant::now() + Duration::from_secs(60);
    while !DONE.load(Ordering::SeqCst) {
        assert!(
            !thread.is_finished() && Instant::now() < limit,
            "the filtered thread did not end"
        );
        std::thread::yield_now();
    }
    Some(REFUSED.load(Ordering::SeqCst)).filter(|number| *number >= 0)
}

/// The part of `siginfo_t` that SIGSYS fills in (sigaction(2)).
#[repr(C)]
struct Sigsys {
    _signo_errno_code: [c_int; 3],
    _call_addr: *const c_void,
    syscall: c_int,
}

extern "C" fn refused(_: c_int, info: *const Sigsys, _: *const c_void) {
    // SAFETY: the kernel's own, for a signal that only the filter below sends.
    let number = i64::from(unsafe { (*info).syscall });
    let _ = REFUSED.compare_exchange(-1, number, Ordering::SeqCst, Ordering::SeqCst);
}

/// From now on this thread may only end; every other system call fails and is noted.
fn refuse_system_calls() {
    const NUMBER: u32 = 0; // offset in `seccomp_data`
    let jump_if = |number: libc::c_long| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: 1,
        k: number as u32,
    };
    let say = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let allow = say(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW);
    let mut filter = [
        say(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NUMBER),
        jump_if(libc::SYS_exit),
        allow,
        jump_if(libc::SYS_rt_sigreturn),
        allow,
        say(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_TRAP),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: a zeroed `sigaction` is valid; all pointers live for the calls.
    let installed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = refused as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        [
            libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut()),
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program),
        ]
    };
    assert_eq!(installed, [0; 3], "{}", std::io::Error::last_os_error());
}
