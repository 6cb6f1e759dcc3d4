//! What goes over the wire to AM: which bytes ask a question, and what an answer means.
//!
//! Pure: nothing here opens a connection, repeats a call or remembers an answer. Each operation has
//! an `encode` that makes an [`Exchange`] and a `parse` that turns a [`Reply`] into a value or an
//! [`AmError`]. [`a`] speaks to OpenAM 14 to 16, where every answer was measured; [`b`] has what other
//! servers say otherwise.

pub mod a;
pub mod b;

use alloc::{borrow::Cow, string::String, vec::Vec};

use crate::{
    contract::{Cause, FactError},
    token::Secret,
};

/// HTTP method of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
}

/// Value of a header that is sent to AM.
#[derive(Clone)]
pub enum Value {
    /// Anything that may be seen.
    Plain(Cow<'static, str>),
    /// A token, name or password.
    Secret(Secret),
}

/// One request to AM. No `Debug`: headers and body carry tokens (rule K3).
pub struct Exchange {
    /// HTTP method.
    pub method: Method,
    /// Path and query relative to AM's base URL, without a leading slash; never holds a token.
    pub path: String,
    /// Header fields beyond those the client itself sets (`Host`, `Content-Length`).
    pub headers: Vec<(Cow<'static, str>, Value)>,
    /// Body; empty for `GET`. It may hold the user's token, so it is wiped when dropped.
    pub body: Secret,
    /// Bytes beyond which the answer is not this protocol.
    pub max_body: usize,
    /// Asked twice it would do something twice: never repeated, also where the connection broke.
    pub once: bool,
}

/// One answer of AM, borrowed from the client.
#[derive(Clone, Copy)]
pub struct Reply<'a> {
    /// HTTP status.
    pub status: u16,
    /// Header fields in order.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Body as received; nothing is decompressed.
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The values of all fields of this name, compared without case.
    pub fn values(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| *v)
    }
}

/// What AM refuses this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The operation: a privilege is missing (403).
    Operation,
    /// The policy set, or the realm it is looked for in, does not exist (404 of `evaluate`).
    PolicySet,
}

/// Why AM gave no value. The kinds lead to different decisions and are never mixed up (design 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AmError {
    /// The user's session is definitely over, or the token never was one.
    #[error("the user's session is not alive")]
    UserDead,
    /// The agent's own session is over: log in again, once, and repeat.
    #[error("the agent's own session is not alive")]
    AgentDead,
    /// AM refuses the agent the answer; logging in again changes nothing.
    #[error("AM does not let this agent ask: {0:?}")]
    NotAllowed(Refusal),
    /// AM refuses the agent itself with this status: wrong password, realm or profile name.
    #[error("AM refused the agent with status {status}")]
    Refused {
        /// HTTP status.
        status: u16,
    },
    /// There is no answer now.
    #[error("AM gave no answer: {0:?}")]
    Unavailable(Cause),
}

impl AmError {
    /// An answer that is not the protocol.
    pub const PROTOCOL: AmError = AmError::Unavailable(Cause::Protocol);

    /// What the engine is told once nothing more can be tried.
    pub fn fact(self) -> FactError {
        match self {
            AmError::UserDead => FactError::Dead,
            AmError::NotAllowed(_) => FactError::NotAllowed,
            AmError::AgentDead | AmError::Refused { .. } => {
                FactError::Unavailable(Cause::AgentLogin)
            }
            AmError::Unavailable(cause) => FactError::Unavailable(cause),
        }
    }
}
