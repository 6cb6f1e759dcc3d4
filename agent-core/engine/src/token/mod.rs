//! Tokens and the cookies that carry them. Never logs, compares or prints one in the clear.

pub mod authn_tx;
pub mod cookie;
pub mod jwt;
pub mod pieces;
pub mod rounds;
pub mod sealed;
mod secret;

pub use secret::Secret;
