//! What the engine may ask of its driver. Adding a variant is an architecture change.

use alloc::{string::String, vec::Vec};

use super::decision::Decision;
use crate::token::Secret;

/// Keyed digest of (instance, session token); the token itself is never a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey(pub u128);

/// Keyed digest of a session token and of the attributes that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttributesKey(pub u128);

/// Keyed digest of everything a policy answer depends on (rule S7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyKey(pub u128);

/// Keyed digest of the instance whose AM publishes keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeysKey(pub u128);

/// Keyed digest of a sealed session cookie and of all that its opening depends on, but for the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CookieKey(pub u128);

/// The environment sent with a policy question, in the order sent.
pub type Environment = Vec<(String, Vec<String>)>;

/// A question: repeatable, shared by all who wait for the same answer, cached.
#[derive(Clone, PartialEq, Eq)]
pub enum Ask {
    /// Who is behind this token?
    Session {
        /// Where the answer is kept.
        key: SessionKey,
        /// AM's session token.
        token: Secret,
    },
    /// May this session do what with this resource?
    Policy {
        /// Where the answer is kept.
        key: PolicyKey,
        /// Digest of everything but the resource: what is alike here may be asked in one call.
        together: PolicyKey,
        /// The session it is about.
        session: SessionKey,
        /// AM's session token.
        token: Secret,
        /// URL exactly as sent to AM.
        resource: String,
        /// Realm of the policy set.
        realm: String,
        /// Policy set.
        application: String,
        /// Conditions may look at this.
        environment: Environment,
    },
    /// Profile attributes of the session's user.
    Attributes {
        /// Where the answer is kept.
        key: AttributesKey,
        /// The session it is about.
        session: SessionKey,
        /// AM's session token.
        token: Secret,
        /// Attribute names in AM's spelling.
        names: Vec<String>,
    },
    /// The keys that AM signs ID tokens with, as it publishes them (dialect B).
    Keys {
        /// Where the answer is kept.
        key: KeysKey,
        /// A token names a key that is not among those known: as AM has them now, as far as the driver
        /// lets AM be asked that often.
        newer: bool,
    },
    /// The request's form body, at most `limit` bytes.
    Form {
        /// Bytes beyond which the body is refused.
        limit: u64,
    },
}

/// Something that must happen exactly once before the response, and whose receipt changes it.
#[derive(Clone, PartialEq, Eq)]
pub enum Act {
    /// Enter a `state` into the set of spent ones (rule L2).
    SpendState {
        /// Keyed digest of the state.
        key: u128,
        /// When the state expires anyway, wall clock.
        expires: super::UnixMillis,
    },
    /// Count something that a client did in this minute; the receipt is [`Receipt::Counted`]. Never fails.
    Count {
        /// Keyed digest of what is counted.
        key: u128,
    },
    /// End a session here and at AM (rule S1).
    EndSession {
        /// The session.
        key: SessionKey,
        /// AM's session token.
        token: Secret,
        /// When the session would end anyway, wall clock; 0 when unknown.
        expires: super::UnixMillis,
    },
    /// Keep the request's body, read piece by piece, until the user has logged in (rule P1). What was
    /// kept before its receipt is the whole of it, or nothing.
    StorePost {
        /// Names it; only the browser's sealed cookies know it.
        key: u128,
        /// Keyed digest of the client's address, whose share is limited; 0 where it is not known.
        client: u64,
        /// What is kept beside the body.
        head: Vec<u8>,
        /// Most bytes of the body.
        limit: u64,
        /// Until when it is kept, wall clock.
        expires: super::UnixMillis,
    },
    /// Take a kept request out of the store; nobody else gets it (rule P3).
    TakePost {
        /// Names it.
        key: u128,
    },
}

/// What became of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// It was carried out, by this request.
    Done,
    /// Somebody did it before: a replay.
    Replayed,
    /// There is nothing of this name, or no more.
    Gone,
    /// The body is longer than allowed, or did not come to its end; nothing of it is left.
    TooLarge,
    /// There is no room for it, or this client has used up its share.
    Full,
    /// It was counted, for so many times in this minute.
    Counted(u32),
}

/// What is missing. Every `Ask` precedes every `Do`.
#[derive(Clone, PartialEq, Eq)]
pub enum Need {
    /// Answers that may be fetched side by side. On the heap: a need suspends the request, which
    /// allocates anyway, and a decision without a need should not carry room for one.
    Ask(Vec<Ask>),
    /// One act.
    Do(Act),
}

/// One step of a request.
#[must_use]
#[allow(clippy::large_enum_variant)] // the large one is the usual one; boxing would allocate on each hit
pub enum Step<'a> {
    /// Decided.
    Done(Decision<'a>),
    /// Get this, put it into the memo, call again.
    Need(Need),
}
