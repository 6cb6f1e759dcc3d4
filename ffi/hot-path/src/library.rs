//! Where is the library that decides? The one that this is linked with, or a file as it ships.

use std::{
    ffi::{CStr, CString, c_void},
    mem::transmute,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use portcullis::*;

macro_rules! functions {
    ($($field:ident = $name:ident: fn($($argument:ty),*) $(-> $answer:ty)?;)*) => {
        /// The functions of the library.
        pub struct Library {
            $(pub(crate) $field: unsafe extern "C" fn($($argument),*) $(-> $answer)?,)*
        }

        impl Library {
            /// This very build's.
            pub fn linked() -> Library {
                Library { $($field: $name,)* }
            }

            /// That of a shared library of the same sources; it stays loaded.
            ///
            /// # Panics
            /// When it can't be loaded.
            pub fn open(file: &Path) -> Library {
                let path = CString::new(file.as_os_str().as_bytes()).unwrap();
                // SAFETY: the path is a C string; what the library does when it is loaded is ours.
                let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
                assert!(!library.is_null(), "{}: {}", file.display(), trouble());
                $(
                    let name = CString::new(stringify!($name)).unwrap();
                    // SAFETY: the library is loaded, the name is a C string.
                    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
                    assert!(!found.is_null(), "{}", trouble());
                    // SAFETY: a function of that name has this type, in these sources.
                    let $field = unsafe {
                        transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $answer)?>(found)
                    };
                )*
                Library { $($field,)* }
            }
        }
    };
}

functions! {
    mapping_create = portcullis_mapping_create: fn(u64, *mut *mut portcullis_mapping) -> portcullis_result;
    mapping_fd = portcullis_mapping_fd: fn(*const portcullis_mapping) -> i32;
    mapping_free = portcullis_mapping_free: fn(*mut portcullis_mapping);
    agent_new = portcullis_agent_new: fn(*const portcullis_agent_options, *mut *mut portcullis_agent) -> portcullis_result;
    agent_add = portcullis_agent_add: fn(*mut portcullis_agent, portcullis_str, i32, *mut u32) -> portcullis_result;
    agent_attach = portcullis_agent_attach: fn(*mut portcullis_agent, *const portcullis_mapping) -> portcullis_result;
    agent_free = portcullis_agent_free: fn(*mut portcullis_agent);
    worker_start = portcullis_worker_start: fn(*mut portcullis_agent, *const portcullis_worker_options) -> portcullis_result;
    worker_stop = portcullis_worker_stop: fn(*mut portcullis_agent);
    decide = portcullis_decide: fn(
        *const portcullis_agent, u32, *const portcullis_request, *const portcullis_sink,
        *mut *mut portcullis_ticket, *mut portcullis_verdict) -> portcullis_result;
}

/// What the loader says.
fn trouble() -> String {
    // SAFETY: it gives NULL or a C string that lives until its next call on this thread.
    let said = unsafe {
        let text = libc::dlerror();
        (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
    };
    said.unwrap_or_default()
}
