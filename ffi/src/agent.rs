//! A generation of the host's configuration, and the worker of a process.

use std::{
    ffi::{OsStr, c_void},
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::Arc,
};

use portcullis_engine::event::Severity;
use portcullis_runtime::{AddError, Agent, StartError, WorkerOptions};

use crate::{
    boundary::{borrow, borrow_mut, guard, guard_or, quiet_panics, sized},
    mapping::portcullis_mapping,
    portcullis_agent_options, portcullis_header, portcullis_level, portcullis_log_fn,
    portcullis_result::{self, *},
    portcullis_str, portcullis_worker_options,
    signals::Blocked,
};

/// One generation of the host's configuration: its instances. Made by the parent, inherited.
pub struct portcullis_agent(pub(crate) Arc<Agent>);

/// A callback with its context. The header obliges the caller to make both fit for any thread.
struct Log(portcullis_log_fn, *mut c_void);

// SAFETY: the header says that `log` is called on any thread and that `log_ctx` must bear it.
unsafe impl Send for Log {}
// SAFETY: as above.
unsafe impl Sync for Log {}

impl Log {
    fn line(&self, severity: Severity, line: &str) {
        let level = match severity {
            Severity::Error => portcullis_level::PORTCULLIS_ERROR,
            Severity::Warning => portcullis_level::PORTCULLIS_WARNING,
            Severity::Info => portcullis_level::PORTCULLIS_INFO,
            Severity::Debug => portcullis_level::PORTCULLIS_DEBUG,
        };
        if let Some(log) = self.0 {
            // SAFETY: the callback and its context live as long as the generation (header).
            unsafe { log(self.1, level, portcullis_str::of(line.as_bytes())) };
        }
    }
}

/// Makes a generation without instances.
///
/// # Safety
/// `options` must be NULL or valid; `out` NULL or writable. Free with `portcullis_agent_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_agent_new(
    options: *const portcullis_agent_options,
    out: *mut *mut portcullis_agent,
) -> portcullis_result {
    guard(|| {
        quiet_panics();
        let (options, out) = (borrow!(options), borrow_mut!(out));
        if !sized::<portcullis_agent_options>(options.size) {
            return PORTCULLIS_BAD_SIZE;
        }
        let log = Log(options.log, options.log_ctx);
        let agent = Agent::new(Box::new(move |severity, line| log.line(severity, line)));
        *out = Box::into_raw(Box::new(portcullis_agent(Arc::new(agent))));
        PORTCULLIS_OK
    })
}

/// Reads `agent.conf` and the two files beside it. The same path gives the same index. With
/// `keep_broken` a configuration that cannot be used still gets an index: it answers 503 to all.
/// Only before `portcullis_worker_start`.
///
/// # Safety
/// `agent` and `index` must be NULL or valid; `path` must be valid for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_agent_add(
    agent: *mut portcullis_agent,
    path: portcullis_str,
    keep_broken: i32,
    index: *mut u32,
) -> portcullis_result {
    guard(|| {
        let (agent, index) = (borrow_mut!(agent), borrow_mut!(index));
        let Some(agent) = Arc::get_mut(&mut agent.0) else {
            return PORTCULLIS_SYSTEM;
        };
        // SAFETY: valid for the call.
        let path = Path::new(OsStr::from_bytes(unsafe { path.bytes() }));
        match agent.add(path, keep_broken != 0) {
            Ok(n) => {
                *index = n as u32; // at most PORTCULLIS_MAX_INSTANCES
                PORTCULLIS_OK
            }
            Err(AddError::Configuration) => PORTCULLIS_CONFIG,
            Err(AddError::Full) => PORTCULLIS_FULL,
        }
    })
}

/// After the last instance: opens logs, binds the generation to the mapping. Never asks AM.
///
/// # Safety
/// Both must be NULL or handles of ours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_agent_attach(
    agent: *mut portcullis_agent,
    mapping: *const portcullis_mapping,
) -> portcullis_result {
    guard(|| {
        let (agent, mapping) = (borrow_mut!(agent), borrow!(mapping));
        match Arc::get_mut(&mut agent.0) {
            Some(agent) => {
                agent.attach(mapping.0.clone());
                PORTCULLIS_OK
            }
            None => PORTCULLIS_SYSTEM,
        }
    })
}

/// Frees a generation; stop its worker first.
///
/// # Safety
/// `agent` must be NULL or a handle of ours that is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_agent_free(agent: *mut portcullis_agent) {
    guard_or((), || {
        if !agent.is_null() {
            // SAFETY: it came from Box::into_raw and is not used again.
            drop(unsafe { Box::from_raw(agent) });
        }
    });
}

/// Starts this process's one thread. Call after the fork only.
///
/// # Safety
/// Both must be NULL or valid; `wake_fd` must be -1 or open for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_worker_start(
    agent: *mut portcullis_agent,
    options: *const portcullis_worker_options,
) -> portcullis_result {
    guard(|| {
        let (agent, options) = (borrow!(agent), borrow!(options));
        if !sized::<portcullis_worker_options>(options.size) {
            return PORTCULLIS_BAD_SIZE;
        }
        let wake = match options.wake_fd {
            fd if fd < 0 => None,
            fd => match duplicate(fd) {
                Ok(fd) => Some(fd),
                Err(_) => return PORTCULLIS_SYSTEM,
            },
        };
        let _blocked = Blocked::new();
        let options = WorkerOptions {
            wake,
            threads: options.threads,
        };
        match agent.0.start_worker(options) {
            Ok(()) => PORTCULLIS_OK,
            Err(StartError::NotAttached) => PORTCULLIS_MAPPING,
            Err(StartError::TooManyProcesses | StartError::System(_)) => PORTCULLIS_SYSTEM,
        }
    })
}

fn duplicate(fd: i32) -> std::io::Result<OwnedFd> {
    // SAFETY: the caller keeps the fd open for the call; the duplicate is our own, close-on-exec.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}

/// This worker takes no new duties and cuts waits to 1 s. One atomic store: safe in a signal handler.
///
/// # Safety
/// `agent` must be NULL or a handle of ours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_worker_drain(agent: *const portcullis_agent) {
    // SAFETY: NULL or a handle of ours.
    if let Some(worker) = unsafe { agent.as_ref() }.and_then(|a| a.0.worker()) {
        worker.drain();
    }
}

/// Ends the thread without waiting for it. Not for signal handlers.
///
/// # Safety
/// `agent` must be NULL or a handle of ours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_worker_stop(agent: *mut portcullis_agent) {
    guard_or((), || {
        // SAFETY: NULL or a handle of ours.
        let agent = unsafe { agent.as_ref() };
        if let Some((agent, worker)) = agent.and_then(|a| Some((&a.0, a.0.worker()?))) {
            worker.stop(agent);
        }
    });
}

/// Sets `remove[i]` to 1 for each header that a client must not send to a server block with these
/// instances, to 0 for the others. Without a generation (`agent` NULL) the built-in names hold; after
/// a fault all become 1: nothing forged gets through.
///
/// # Safety
/// `instances`, `headers` and `remove` must be NULL or hold as many elements as their counts say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_scrub(
    agent: *const portcullis_agent,
    instances: *const u32,
    instance_count: usize,
    headers: *const portcullis_header,
    header_count: usize,
    remove: *mut u8,
) -> portcullis_result {
    if header_count == 0 {
        return PORTCULLIS_OK;
    }
    if remove.is_null() {
        return PORTCULLIS_NULL_PARAMETER;
    }
    // SAFETY: not NULL, and as long as header_count says.
    let remove = unsafe { std::slice::from_raw_parts_mut(remove, header_count) };
    if headers.is_null() || (instances.is_null() && instance_count > 0) {
        remove.fill(1);
        return PORTCULLIS_NULL_PARAMETER;
    }
    let result = guard(|| {
        // SAFETY: not NULL, and as long as header_count says.
        let headers = unsafe { std::slice::from_raw_parts(headers, header_count) };
        let instances = match instances.is_null() {
            true => &[][..],
            // SAFETY: not NULL, and as long as instance_count says.
            false => unsafe { std::slice::from_raw_parts(instances, instance_count) },
        };
        // SAFETY: NULL or a handle of ours.
        let agent = unsafe { agent.as_ref() };
        if let Some(agent) = agent {
            agent.0.prepare_scrub(instances);
        }
        for (header, remove) in headers.iter().zip(remove.iter_mut()) {
            // SAFETY: valid for the call.
            let name = unsafe { header.name.bytes() };
            let forged = match agent {
                Some(agent) => agent.0.scrubs(instances, name),
                None => portcullis_runtime::built_in_scrubs(name),
            };
            *remove = u8::from(forged);
        }
        match agent {
            Some(_) => PORTCULLIS_OK,
            None => PORTCULLIS_NULL_PARAMETER,
        }
    });
    if result == PORTCULLIS_PANIC {
        remove.fill(1);
    }
    result
}
