//! May what AM said before be used beyond its interval, because AM is away (rule O2)? By somebody's wish
//! only, and never beyond what AM itself has set an end to.
//!
//! Must not be asked where somebody logs in or out, or where no failure was: nothing here makes an answer
//! good that AM could still be asked for. What is known to have ended or changed the driver does not hand out.

use alloc::{format, string::ToString};

use super::{
    Cx,
    fail_closed::{Fact, may_be_outlived},
    method,
};
use crate::{
    config::Methods,
    contract::{Age, AttributesKey, Decision, FactError, Known, PolicyKey, SessionKey},
    event::Code,
    record::{Attributes, Policy, Session},
    url::{Forms, Room},
};

/// Response header of what was let in by grace: the age of the oldest answer that it rests on, in seconds.
const HEADER: &str = "Portcullis-Grace";
/// Response attribute of a policy whose decisions are not to be used beyond their interval.
const NEVER: &str = "portcullis.no-grace";

/// The session as it was, if it may still count after this failure.
pub(super) fn session<'a>(
    cx: &Cx<'a, '_>,
    key: SessionKey,
    error: FactError,
) -> Option<(Session<'a>, Age)> {
    let Known::Failed(_, Some((session, age))) = cx.facts.session(key) else {
        return None;
    };
    let wall = cx.now.wall.0;
    let lives = session.max_end > wall && session.idle_end > wall;
    (lives && counts(cx, Fact::Session, error, age)).then_some((session, age))
}

/// The decision as it was, likewise.
pub(super) fn policy<'a>(
    cx: &Cx<'a, '_>,
    key: PolicyKey,
    error: FactError,
) -> Option<(Policy<'a>, Age)> {
    let Known::Failed(_, Some((policy, age))) = cx.facts.policy(key) else {
        return None;
    };
    let skew = i64::from(cx.snap.config.policy_clock_skew) * 1000;
    let at_am = cx.now.wall.0.saturating_add_signed(-skew);
    let holds = policy.ttl > at_am && policy.attributes.get(NEVER).is_none();
    (holds && counts(cx, Fact::Policy, error, age)).then_some((policy, age))
}

/// The attributes as they were, likewise.
pub(super) fn attributes<'a>(
    cx: &Cx<'a, '_>,
    key: AttributesKey,
    error: FactError,
) -> Option<(Attributes<'a>, Age)> {
    let Known::Failed(_, Some((attributes, age))) = cx.facts.attributes(key) else {
        return None;
    };
    counts(cx, Fact::Attributes, error, age).then_some((attributes, age))
}

/// Says that a decision rests on answers of this age.
#[cold]
pub(super) fn say(decision: &mut Decision<'_>, age: u64) {
    let seconds = (age / 1000).to_string();
    // What the host's own rules decide by keeps the code that says so.
    if decision.reason != Code::LeftToHost {
        decision.reason = Code::AllowedInGrace;
    }
    decision.age = age;
    decision.detail = super::detail(format!("AM is away; what it said is {seconds} s old"));
    let header = (HEADER.into(), seconds.into_bytes());
    decision.edits.response.push(header);
}

fn counts(cx: &Cx<'_, '_>, fact: Fact, error: FactError, age: Age) -> bool {
    let methods = cx.snap.config.grace_methods;
    let named = |method: &[u8]| methods.cover(Methods::of_request(method));
    may_be_outlived(fact, error)
        && age.over < most(cx)
        && named(cx.req.method)
        && method::all_others(cx, named)
        // Rule O1: a failure alone says nothing. That AM is away somebody has confirmed.
        && cx.facts.am_is_away()
}

/// For how long, milliseconds: the least of what is configured for any reading of the URL (rule U1).
fn most(cx: &Cx<'_, '_>) -> u64 {
    let mut room = Room::new();
    let forms = Forms::of(cx.url, false, &mut room);
    let by_path = |url| cx.snap.grace.find(&url).map(|found| found.1);
    let seconds = forms
        .protected()
        .map(|url| by_path(url).unwrap_or(cx.snap.config.grace_max));
    u64::from(seconds.min().unwrap_or(0)) * 1000
}
