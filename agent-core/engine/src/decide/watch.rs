//! How did a request come to its decision? What `agentadmin explain` shows of it.
//!
//! Only looks on: nothing here may change what is decided.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{Cx, exempt};
use crate::{
    config::{Enforcement, FilterMode},
    contract::{RuleId, RuleList},
    url::Parts,
};

/// A part of the way of a request, in the order in which the engine takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Whether the URL and the headers have one meaning only.
    Headers,
    /// Whether AM's answer to a login arrives.
    Callback,
    /// Whether a rule refuses the request.
    Denied,
    /// Whether the URL ends the session.
    Logout,
    /// Whether a rule exempts the request.
    NotEnforced,
    /// Whose session it is.
    Session,
    /// What AM's policies say.
    Policy,
    /// What the application learns of the user.
    Attributes,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Phase; 8] = [
        Phase::Headers,
        Phase::Callback,
        Phase::Denied,
        Phase::Logout,
        Phase::NotEnforced,
        Phase::Session,
        Phase::Policy,
        Phase::Attributes,
    ];

    /// In an operator's words.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Headers => "URL and headers",
            Phase::Callback => "answer to a login",
            Phase::Denied => "denied by a rule",
            Phase::Logout => "logout",
            Phase::NotEnforced => "not enforced",
            Phase::Session => "session",
            Phase::Policy => "policy",
            Phase::Attributes => "attributes",
        }
    }
}

/// The way of one request through the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The one form of the URL that every rule is compared with; empty when there is none.
    pub url: String,
    /// The phase that decided; `None` when not even the URL could be read.
    pub last: Option<Phase>,
    /// Of each logout pattern, whether it matches; empty when nobody asked.
    pub logout: Vec<bool>,
    /// Of each rule that refuses requests, whether it matches; empty when nobody asked.
    pub denied: Vec<(RuleId, bool)>,
    /// Of each not-enforced rule, whether it matches, and of an inverted list at its end whether it
    /// exempts; empty when nobody asked.
    pub not_enforced: Vec<(RuleId, bool)>,
    /// Whether what is decided is carried out; `None` when not even the URL could be read.
    pub mode: Option<Enforcement>,
    /// Whose policies are asked for, in an operator's words; empty when nobody asked.
    pub policies: String,
}

/// Somebody who looks on. The engine is compiled for nobody (`()`) and for a [`Trace`].
pub(super) trait Watch {
    /// A phase begins.
    fn enters(&mut self, phase: Phase, cx: &Cx<'_, '_>);
}

/// Hands everything on, and remembers which phase was the last.
pub(super) struct Last<'w, W> {
    inner: &'w mut W,
    phase: Phase,
}

impl<'w, W: Watch> Last<'w, W> {
    pub(super) fn new(inner: &'w mut W) -> Last<'w, W> {
        let phase = Phase::Headers;
        Last { inner, phase }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }
}

impl<W: Watch> Watch for Last<'_, W> {
    fn enters(&mut self, phase: Phase, cx: &Cx<'_, '_>) {
        self.phase = phase;
        self.inner.enters(phase, cx);
    }
}

impl Watch for () {
    #[inline(always)]
    fn enters(&mut self, _: Phase, _: &Cx<'_, '_>) {}
}

impl Watch for Trace {
    fn enters(&mut self, phase: Phase, cx: &Cx<'_, '_>) {
        self.url = cx.url.url().to_string();
        self.last = Some(phase);
        self.mode = Some(cx.plan.enforcement);
        match phase {
            Phase::Logout => {
                let rules = &cx.snap.logout;
                let url = Parts::of(cx.url);
                let matches = |rule| rules.rule(rule).is_some_and(|rule| rule.matches(&url));
                self.logout = (0..rules.len() as u32).map(matches).collect();
            }
            Phase::Denied => self.denied = exempt::each(cx, &[RuleList::Deny]),
            Phase::NotEnforced => self.not_enforced = exempt::each(cx, &RuleList::NOT_ENFORCED),
            Phase::Policy => self.policies = policies(cx),
            _ => {}
        }
    }
}

fn policies(cx: &Cx<'_, '_>) -> String {
    let (config, plan) = (&cx.snap.config, &cx.plan);
    if plan.mode != FilterMode::UrlPolicy {
        return "a session is enough".to_string();
    }
    let realm = match config.policy_user_realm {
        true => "of the user",
        false => plan.realm.unwrap_or(&config.policy_realm),
    };
    let set = plan.set.unwrap_or(&config.policy_set);
    format!("realm {realm}, policy set {set}")
}
