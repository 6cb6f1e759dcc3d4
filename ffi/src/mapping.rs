//! The shared mapping, as a handle of the parent.

use std::{
    fs::{self, DirEntry, File},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    sync::Arc,
};

use portcullis_engine::config;
use portcullis_shm::{DEFAULT_CACHE_BYTES, Mapping};

use crate::{
    boundary::{borrow_mut, guard, guard_or, quiet_panics},
    portcullis_result::{self, *},
};

/// How the kernel shows the name that [`Mapping::create`] gives.
const MEMFD_NAME: &[u8] = b"/memfd:portcullis";

/// The shared mapping of one host process tree: made by the parent before it forks.
pub struct portcullis_mapping(pub(crate) Arc<Mapping>);

/// Makes a mapping. `cache_bytes` 0 means `AM_MAX_SESSION_CACHE_SIZE`, or 16 MiB.
///
/// # Safety
/// `out` must be NULL or writable. Free what it receives with `portcullis_mapping_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_mapping_create(
    cache_bytes: u64,
    out: *mut *mut portcullis_mapping,
) -> portcullis_result {
    guard(|| {
        quiet_panics();
        let out = borrow_mut!(out);
        let bytes = match cache_bytes {
            0 => from_environment(),
            n => usize::try_from(n).unwrap_or(DEFAULT_CACHE_BYTES),
        };
        match Mapping::create(bytes) {
            Ok(mapping) => {
                *out = Box::into_raw(Box::new(portcullis_mapping(Arc::new(mapping))));
                PORTCULLIS_OK
            }
            Err(_) => PORTCULLIS_MAPPING,
        }
    })
}

/// The size that `AM_MAX_SESSION_CACHE_SIZE` names. What is no size is named when the configuration is
/// read, and the nearest one counts.
fn from_environment() -> usize {
    let named = std::env::var("AM_MAX_SESSION_CACHE_SIZE").ok();
    let bytes = match config::cache_bytes(named.as_deref()) {
        Some(bytes) => bytes,
        None => {
            let number = named.and_then(|text| text.trim().parse::<u64>().ok());
            number.map_or(0, |n| n.clamp(1 << 20, 1 << 30))
        }
    };
    match usize::try_from(bytes) {
        Ok(0) | Err(_) => DEFAULT_CACHE_BYTES,
        Ok(n) => n,
    }
}

/// Takes over the mapping that another process keeps open: the old master, after an upgrade of nginx's
/// binary. NONE: it has none, or none that this version can use, or it may not be looked into.
///
/// # Safety
/// `out` must be NULL or writable. Free what it receives with `portcullis_mapping_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_mapping_adopt(
    pid: u32,
    out: *mut *mut portcullis_mapping,
) -> portcullis_result {
    guard(|| {
        quiet_panics();
        let out = borrow_mut!(out);
        match mapping_of(pid) {
            Some(mapping) => {
                *out = Box::into_raw(Box::new(portcullis_mapping(Arc::new(mapping))));
                PORTCULLIS_OK
            }
            None => PORTCULLIS_NONE,
        }
    })
}

/// The first of a process's open files that proves to be a mapping of ours; a name proves nothing.
fn mapping_of(pid: u32) -> Option<Mapping> {
    let open = |entry: std::io::Result<DirEntry>| {
        let path = entry.ok()?.path();
        let target = fs::read_link(&path).ok()?;
        if !target.as_os_str().as_bytes().starts_with(MEMFD_NAME) {
            return None;
        }
        let file = File::options().read(true).write(true).open(path).ok()?;
        Mapping::adopt(file.as_fd()).ok()
    };
    fs::read_dir(format!("/proc/{pid}/fd")).ok()?.find_map(open)
}

/// The mapping's fd, or -1. It belongs to the mapping.
///
/// # Safety
/// `mapping` must be NULL or one of ours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_mapping_fd(mapping: *const portcullis_mapping) -> i32 {
    guard_or(-1, || {
        // SAFETY: NULL or a handle of ours.
        unsafe { mapping.as_ref() }
            .and_then(|m| m.0.fd())
            .unwrap_or(-1)
    })
}

/// Frees a handle; generations that use the mapping keep it.
///
/// # Safety
/// `mapping` must be NULL or a handle of ours that is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn portcullis_mapping_free(mapping: *mut portcullis_mapping) {
    guard_or((), || {
        if !mapping.is_null() {
            // SAFETY: it came from Box::into_raw and is not used again.
            drop(unsafe { Box::from_raw(mapping) });
        }
    });
}
