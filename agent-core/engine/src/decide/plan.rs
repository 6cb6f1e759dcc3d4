//! What is asked about this URL: nothing, a session, or AM, and in which realm and policy set; and is
//! what is decided carried out?
//!
//! What an application server may read in another way than the agent is looked up in every way: the
//! strictest reading counts (rule U1). It never asks for anything.

use super::Cx;
use crate::{
    config::{Enforcement, FilterMode, Paths, RulesOnly, Snapshot},
    contract::{Now, RuleId, RuleList},
    url::{Forms, Room},
};

/// What is asked about one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    /// What everybody has to bring.
    pub(crate) mode: FilterMode,
    /// The line that says so, where it is one for this path.
    pub(crate) rule: Option<RuleId>,
    /// Realm of the policies; `None`: the configured one.
    pub(crate) realm: Option<&'a str>,
    /// Policy set; `None`: the configured one.
    pub(crate) set: Option<&'a str>,
    /// Whether what is decided is carried out.
    pub(crate) enforcement: Enforcement,
}

impl<'a> Plan<'a> {
    /// Where no path says otherwise.
    pub(super) fn everywhere(snap: &'a Snapshot, now: Now) -> Plan<'a> {
        Plan {
            mode: snap.filter_mode,
            rule: None,
            realm: None,
            set: None,
            enforcement: in_force(snap, snap.config.mode, now),
        }
    }

    /// By path. `None` where it depends on who reads the URL whose policies are meant.
    pub(super) fn of(cx: &Cx<'a, '_>, paths: &'a Paths) -> Option<Plan<'a>> {
        let mut room = Room::new();
        // Path info stays: a page that takes it is meant by its whole path.
        let forms = Forms::of(cx.url, false, &mut room);
        let mode = |url| match paths.modes.find(&url) {
            Some((at, mode)) => (*mode, Some(*at)),
            None => (cx.snap.filter_mode, None),
        };
        let (mode, at) = forms.protected().map(mode).max()?;
        let policies = |url| {
            let realm = paths.realms.find(&url).map(|found| found.1.as_str());
            let set = paths.sets.find(&url).map(|found| found.1.as_str());
            (realm, set)
        };
        let enforcement = |url| {
            let found = paths.enforcement.find(&url);
            found.map_or(cx.snap.config.mode, |found| found.1)
        };
        let enforcement = forms.protected().map(enforcement).max()?;
        let mut readings = forms.read_by_applications().map(policies);
        let (realm, set) = readings.next()?;
        readings.all(|other| other == (realm, set)).then_some(Plan {
            mode,
            rule: at.map(|at| RuleId {
                list: RuleList::Mode,
                at,
            }),
            realm: realm.filter(|_| !cx.snap.config.policy_user_realm),
            set,
            enforcement: in_force(cx.snap, enforcement, cx.now),
        })
    }
}

/// Rule O5: reporting has an end, and needs a whole configuration.
fn in_force(snap: &Snapshot, mode: Enforcement, now: Now) -> Enforcement {
    let config = &snap.config;
    let reports = || {
        config.mode_until.is_some_and(|until| now.wall.0 < until)
            && config.rules_only != Some(RulesOnly::Fallback)
    };
    match mode {
        Enforcement::Report if !reports() => Enforcement::Enforce,
        mode => mode,
    }
}
