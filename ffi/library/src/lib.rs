//! What the modules of the web servers are linked with: the C boundary and nothing else.
//!
//! Its functions and their meaning are in the crate `portcullis-ffi`, for C in `include/portcullis.h`.

pub use boundary::*;
