#![no_std]
#![forbid(unsafe_code)]
//! Engine.
extern crate alloc;
