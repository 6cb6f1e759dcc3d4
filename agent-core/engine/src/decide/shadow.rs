//! What would a second policy set have said (`portcullis.mode = shadow`)?
//!
//! Looked at when everything is decided, and asked for after the response. It changes nothing: all it
//! can do is ask one question, which ends no session and spends nothing.

use alloc::{boxed::Box, format, vec::Vec};

use super::{Cx, method, policy, session};
use crate::{
    contract::{Decision, Known, Opinion, Second, Shadow},
    event::Code,
};

/// The second opinion about a decision by policy; `None` where there is nothing to compare or both say
/// the same.
pub(super) fn beside<'a>(cx: &Cx<'a, '_>, decision: &Decision<'a>) -> Option<Box<Shadow>> {
    let by_policy = matches!(
        decision.reason,
        Code::AllowedByPolicy
            | Code::LeftToHost
            | Code::DeniedByPolicy
            | Code::DeniedWithAdvices
            | Code::LoginStepUp
            | Code::DeniedAdviceAgain
    );
    if !by_policy {
        return None;
    }
    let config = &cx.snap.config;
    let set = config.shadow_set.as_deref()?;
    let session::Presented::Token(token) = session::presented(cx) else {
        return None;
    };
    let Known::Fresh(session) = cx.facts.session(token.key) else {
        return None;
    };
    let Known::Fresh(answer) = cx.facts.policy(policy::key(cx, token.key, &session)) else {
        return None;
    };
    let own = core::iter::once(cx.req.method.to_vec());
    let methods: Vec<Vec<u8>> = own
        .chain(method::others(cx).map(|name| name.to_vec()))
        .collect();
    let enforced = Opinion::of(&answer, &methods);
    let (first, _) = policy::place(cx, &session);
    let realm = config.shadow_realm.as_deref().or(first);
    let question = policy::Question::of(cx, token.key, (realm, Some(set)));
    let second = match cx.facts.policy(question.key) {
        Known::Fresh(answer) => match Opinion::of(&answer, &methods) {
            same if same == enforced => return None,
            other => Second::Known(other),
        },
        Known::Stale(..) | Known::Failed(..) | Known::Missing => {
            Second::Ask(question.ask(cx, token.secret(cx)))
        }
    };
    Some(Box::new(Shadow {
        enforced,
        methods,
        second,
        place: format!(
            "realm {}, policy set {set}",
            realm.unwrap_or(&config.policy_realm)
        ),
    }))
}
