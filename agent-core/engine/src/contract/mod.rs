//! The words in which the engine and its drivers speak: what a request is, what is known, what is
//! needed, what was decided. Types only; no behaviour beyond what keeps a value well-formed.

mod decision;
mod facts;
mod incident;
mod need;
mod request;

pub use decision::{
    Basis, Decision, Edits, Fill, Grant, Identity, Opinion, Outcome, Response, RuleId, RuleList,
    Second, Shadow, Sink, Why, Would,
};
pub use facts::{Age, Cause, FactError, Facts, Known, MonoMillis, Now, Opened, UnixMillis};
pub use incident::{Incident, NodeMark};
pub use need::{
    Act, Ask, AttributesKey, CookieKey, Environment, KeysKey, Need, PolicyKey, Receipt, SessionKey,
    Step,
};
pub use request::{Header, Local, RequestView};
