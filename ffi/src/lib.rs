//! The C boundary: how a web server written in C calls the agent.
//!
//! Every function checks its pointers, stops panics, and reports by a frozen number. It decides
//! nothing and knows nothing of AM; `include/portcullis.h` is made from this crate.

// C names, spelled as C spells them.
#![allow(non_camel_case_types)]

mod agent;
mod boundary;
mod decide;
mod mapping;
mod result;
mod signals;
mod types;

pub use agent::*;
pub use decide::*;
pub use mapping::*;
pub use result::*;
pub use types::*;
