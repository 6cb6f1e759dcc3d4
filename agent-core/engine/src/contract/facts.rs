//! What is known: the memo of one request, as the engine sees it. Never waits.

use super::{
    incident::NodeMark,
    need::{Act, AttributesKey, CookieKey, KeysKey, PolicyKey, Receipt, SessionKey},
};
use crate::record::{Attributes, Policy, PublishedKeys, Session};

/// Wall clock, milliseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMillis(pub u64);

/// Clock that never steps back and counts suspension (`CLOCK_BOOTTIME`), milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonoMillis(pub u64);

/// The time of a request; taken once, before its first evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Judges claims in tokens and AM's absolute times only.
    pub wall: UnixMillis,
    /// Judges everything else.
    pub mono: MonoMillis,
}

/// How old a stored answer is, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// Since AM gave it.
    pub total: u64,
    /// Since its interval ended.
    pub over: u64,
}

/// Why AM gave no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No connection, or it broke.
    Transport,
    /// The deadline passed.
    Timeout,
    /// TLS: the peer could not be verified.
    Tls,
    /// AM answered with this status where it must not.
    Status(u16),
    /// AM answered something that is not the protocol.
    Protocol,
    /// As many calls to AM or waiting threads as allowed are under way already.
    Busy,
    /// The agent itself could not log in to AM.
    AgentLogin,
    /// This worker is shutting down.
    Draining,
    /// A set shared by the workers could not take the entry (rules L2 and S1).
    Store,
    /// Nobody asks: AM is known to be away (rule O1).
    Breaker,
    /// The files of kept requests cannot be written or read.
    Files,
}

impl Cause {
    /// What tells of AM itself and not of the question, the asker, or our own limits (rule O1).
    pub const fn tells_of_am(self) -> bool {
        match self {
            Cause::Transport | Cause::Timeout => true,
            Cause::Status(status) => status >= 500,
            Cause::Tls
            | Cause::Protocol
            | Cause::Busy
            | Cause::AgentLogin
            | Cause::Draining
            | Cause::Store
            | Cause::Breaker
            | Cause::Files => false,
        }
    }
}

/// Why a fact could not be had. Three kinds that are never mixed up (design 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FactError {
    /// The user's token is definitely dead.
    Dead,
    /// AM refuses this agent the answer.
    NotAllowed,
    /// There is no answer now.
    Unavailable(Cause),
}

/// What is known of one fact.
pub enum Known<T> {
    /// Known and good for this request.
    Fresh(T),
    /// Known, but its interval has passed: ask before using it.
    Stale(T, Age),
    /// Asked; the answer was a failure. The old value, if any, is what grace may use.
    Failed(FactError, Option<(T, Age)>),
    /// Not asked yet.
    Missing,
}

/// What a sealed session cookie says, without its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The session that it names.
    pub session: SessionKey,
    /// Until when it is good, inclusive.
    pub expires: UnixMillis,
}

/// Look-ups into the memo of this request; an answer once given stays for the whole request.
pub trait Facts {
    /// The session behind a token.
    fn session(&self, of: SessionKey) -> Known<Session<'_>>;
    /// AM's decision about one resource for one session.
    fn policy(&self, of: PolicyKey) -> Known<Policy<'_>>;
    /// Profile attributes of the session's user.
    fn attributes(&self, of: AttributesKey) -> Known<Attributes<'_>>;
    /// The keys that AM publishes; with `newer` those of after the ones that lack a key. Asked at the end
    /// of a login of dialect B only.
    fn keys(&self, _of: KeysKey, _newer: bool) -> Known<PublishedKeys<'_>> {
        Known::Missing
    }
    /// What an earlier request found in this sealed cookie ([`super::Basis::opened`]). Only saves
    /// opening it again: a driver may always say that it does not know.
    fn opened(&self, _of: CookieKey) -> Option<Opened> {
        None
    }
    /// The form body of a request to one of the agent's own endpoints.
    fn form(&self) -> Known<&[u8]>;
    /// Whether an act was carried out.
    fn receipt(&self, of: &Act) -> Known<Receipt>;
    /// How often [`Act::Count`] has counted this key in this minute, without counting.
    fn counted(&self, _of: u128) -> u32 {
        0
    }
    /// Whether AM is known to be away (rule O1). Asked only under strategies that refuse more then.
    fn am_is_away(&self) -> bool {
        false
    }
    /// Which of the servers in `naming.url` answers at the moment, from 0: lists of login pages follow it.
    fn am_serving(&self) -> usize {
        0
    }
    /// Where this is decided; part of an incident's id.
    fn node(&self) -> NodeMark {
        NodeMark::NONE
    }
    /// 32 random bytes, drawn at first use; state, nonce, seals and incident id derive from them.
    fn seed(&self) -> &[u8; 32];
}
