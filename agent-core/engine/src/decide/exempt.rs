//! Do rules alone decide this request: is it refused to everybody, or open without a session?
//!
//! Looks at method, URL and what the rules name beside them. It never asks for anything: what is not
//! known opens nothing. A rule that lets somebody in has to hold for every form of the URL, one that
//! protects for any (rule U1).

use alloc::vec::Vec;
use core::{fmt::Write, net::IpAddr};

use arrayvec::ArrayString;

use super::{Cx, client_address, detail, method, pages, policy, refuse, session};
use crate::{
    config::{Addresses, Condition, FilterMode, IpList, List, Methods, Test},
    contract::{Decision, Edits, Identity, Known, RuleId, RuleList, Why},
    event::Code,
    token::cookie,
    url::{Forms, Room},
};

/// Longest address as text, of either family.
const MAX_ADDRESS: usize = 48;

/// Refuses the request, whoever sends it.
pub(super) fn deny<'a>(cx: &Cx<'a, '_>, rule: RuleId) -> Decision<'a> {
    let name = detail(cx.snap.config.rule_name(rule));
    Decision {
        rule: Some(rule),
        ..refuse(cx.facts, Code::DeniedByRule, 403, None, name)
    }
}

/// Lets the request through, with what is known of its user where that is wished.
pub(super) fn allow<'a>(cx: &Cx<'a, '_>, rule: RuleId) -> Decision<'a> {
    let (config, rules) = (&cx.snap.config, &cx.snap.rules);
    let identity = match config.notenforced_attributes {
        true => known_user(cx),
        false => None,
    };
    let edits = Edits {
        identity,
        anonymous: config.anonymous_user,
        ..Edits::default()
    };
    // A cache of the host would show the page to whoever a rule refuses, or show one user's to others.
    let by_url = match rule.list {
        RuleList::Url | RuleList::Inverted | RuleList::Page | RuleList::Mode => true,
        RuleList::Own => rules.own.is_plain(rule.at),
        RuleList::Deny | RuleList::Ip | RuleList::IpUrl => false,
    };
    let for_everybody = by_url && rules.deny.entries.is_empty() && !config.notenforced_attributes;
    Decision {
        rule: Some(rule),
        for_everybody,
        ..super::allow(cx, Why::NotEnforced(rule), Code::NotEnforced, edits)
    }
}

/// The user of an exempt page, as far as everything about them is known: AM is not asked, because every
/// question about a session counts as activity of its user (rule S4; measured on OpenAM 16.0.5), and
/// because an exempt page does not wait for AM.
fn known_user<'a>(cx: &Cx<'a, '_>) -> Option<Identity<'a>> {
    let session::Presented::Token(token) = session::presented(cx) else {
        return None;
    };
    let key = token.key;
    let Known::Fresh(session) = cx.facts.session(key) else {
        return None;
    };
    let counts = session.max_end > cx.now.wall.0
        && session::acceptable(cx, &session).is_none()
        && session::from_its_address(cx, &session);
    if !counts {
        return None;
    }
    let policy = match cx.facts.policy(policy::key(cx, key, &session)) {
        Known::Fresh(policy) if policy::allows(cx, &policy) => Some(policy),
        _ => None,
    };
    let attributes = match cx.facts.attributes(cx.snap.attributes_key(key)) {
        Known::Fresh(attributes) => Some(attributes),
        _ => None,
    };
    Some(Identity {
        session,
        policy,
        attributes,
    })
}

/// Of each rule of some lists, whether it holds for the request; for `explain`.
pub(super) fn each(cx: &Cx<'_, '_>, lists: &[RuleList]) -> Vec<(RuleId, bool)> {
    let mut room = Room::new();
    let asked = Asked::new(cx, &mut room);
    let ids = cx.snap.config.rule_ids(lists).into_iter();
    ids.map(|rule| (rule, asked.rule_holds(rule))).collect()
}

/// What the rules are compared with.
pub(super) struct Asked<'v, 'a> {
    pub(super) cx: &'v Cx<'a, 'v>,
    /// Its own, and those that an application may take in its place.
    methods: Methods,
    forms: Forms<'v>,
}

impl<'v, 'a> Asked<'v, 'a> {
    pub(super) fn new(cx: &'v Cx<'a, 'v>, room: &'v mut Room) -> Asked<'v, 'a> {
        let ignore_path_info = cx.snap.config.notenforced_ignore_path_info;
        Asked {
            cx,
            methods: method::all(cx),
            forms: Forms::of(cx.url, ignore_path_info, room),
        }
    }

    /// The rule that refuses the request.
    pub(super) fn denied(&self) -> Option<RuleId> {
        let list = &self.cx.snap.rules.deny;
        let at = self.protected(list)?;
        Some(id(list, RuleList::Deny, at))
    }

    /// The rule that lets the request through without a session.
    pub(super) fn exempt(&self) -> Option<RuleId> {
        let rules = &self.cx.snap.rules;
        let addresses = self.from(&rules.ip);
        let urls = || match self.cx.snap.config.notenforced_invert {
            true => self.unlisted(&rules.url),
            false => self.opened(&rules.url, RuleList::Url),
        };
        addresses
            .or_else(urls)
            .or_else(|| self.opened(&rules.ipurl, RuleList::IpUrl))
            .or_else(|| self.opened(&rules.own, RuleList::Own))
            .or_else(|| self.by_mode())
    }

    /// Where a path's filter mode asks for nothing.
    fn by_mode(&self) -> Option<RuleId> {
        let plan = &self.cx.plan;
        plan.rule.filter(|_| plan.mode == FilterMode::None)
    }

    /// Where nobody can be trusted to know it: none. It is in no set then (rule U2).
    fn address(&self) -> Option<IpAddr> {
        client_address(self.cx.req, &self.cx.snap.config).known()
    }

    /// The first rule about addresses alone.
    fn from(&self, list: &IpList) -> Option<RuleId> {
        if list.methods.is_empty() {
            return None;
        }
        let at = match list.regexes.is_empty() {
            true => list
                .addresses
                .find(self.address()?, |at| self.fits_method(list, at)),
            false => (0..list.methods.len() as u32).find(|at| self.ip_rule_holds(list, *at)),
        };
        at.map(|at| RuleId {
            list: RuleList::Ip,
            at,
        })
    }

    /// Whether one rule about addresses alone holds.
    fn ip_rule_holds(&self, list: &IpList, at: u32) -> bool {
        let matches = |address| match list.regexes.get(at as usize) {
            Some(regex) => regex.is_match(written(address).as_bytes()),
            None => list
                .addresses
                .set(at)
                .is_some_and(|set| set.contains(address)),
        };
        self.fits_method(list, at) && self.address().is_some_and(matches)
    }

    fn fits_method(&self, list: &IpList, at: u32) -> bool {
        let methods = list.methods.get(at as usize);
        methods.is_some_and(|methods| methods.cover(self.methods))
    }

    /// An inverted list opens what none of its entries is about. An empty one opens nothing.
    fn unlisted(&self, list: &List) -> Option<RuleId> {
        let open = !list.urls.is_empty() && self.protected(list).is_none();
        open.then_some(RuleId {
            list: RuleList::Inverted,
            at: 0,
        })
    }

    fn opened(&self, list: &List, name: RuleList) -> Option<RuleId> {
        let at = list.urls.find(&self.forms.asked(), |at| {
            let rule = list.urls.rule(at);
            rule.is_some_and(|rule| self.forms.confirms(rule)) && self.fits(list, at, false)
        })?;
        Some(id(list, name, at))
    }

    /// The first rule of a protecting list.
    fn protected(&self, list: &List) -> Option<u32> {
        if list.urls.is_empty() {
            return None;
        }
        let found = self.forms.protected();
        let found = found.filter_map(|url| list.urls.find(&url, |at| self.fits(list, at, true)));
        found.min()
    }

    /// Whether one rule holds; for `explain`.
    fn rule_holds(&self, rule: RuleId) -> bool {
        let (config, rules) = (&self.cx.snap.config, &self.cx.snap.rules);
        let (list, protects) = match rule.list {
            RuleList::Ip => return self.ip_rule_holds(&rules.ip, rule.at),
            RuleList::Inverted => return self.unlisted(&rules.url).is_some(),
            RuleList::Mode => return self.by_mode() == Some(rule),
            RuleList::Page => return pages::shown_to_all(self.cx).is_some(),
            RuleList::Deny => (&rules.deny, true),
            RuleList::Url => (&rules.url, config.notenforced_invert),
            RuleList::IpUrl => (&rules.ipurl, false),
            RuleList::Own => (&rules.own, false),
        };
        let entries = (0u32..).zip(&list.entries);
        let of_line = entries.filter(|(_, entry)| entry.line == rule.at);
        of_line.map(|(at, _)| at).any(|at| {
            let url = list.urls.rule(at).is_some_and(|url| match protects {
                true => self.forms.protects(url),
                false => self.forms.exempts(url),
            });
            url && self.fits(list, at, protects)
        })
    }

    /// Whether method and conditions of a rule fit, whose URL does.
    fn fits(&self, list: &List, at: u32, protects: bool) -> bool {
        list.entries.get(at as usize).is_some_and(|entry| {
            let mut conditions = entry.conditions.iter();
            let methods = match protects {
                true => entry.methods.meet(self.methods),
                false => entry.methods.cover(self.methods),
            };
            methods && conditions.all(|c| self.holds(c, protects))
        })
    }

    /// Whether a condition holds. What cannot be told opens nothing and does not lift a refusal.
    fn holds(&self, condition: &Condition, protects: bool) -> bool {
        let found = match &condition.test {
            // What is not exempt is protected, and the other way round.
            Test::Url(rule) if protects == condition.negated => Some(self.forms.exempts(rule)),
            Test::Url(rule) => Some(self.forms.protects(rule)),
            Test::Address(addresses) => self.address().map(|address| match addresses {
                Addresses::Set(set) => set.contains(address),
                Addresses::Regexes(all) => {
                    let text = written(address);
                    all.iter().any(|regex| regex.is_match(text.as_bytes()))
                }
            }),
            Test::Cookie(name, value) => {
                let fields = self.cx.req.values(b"cookie");
                match cookie::only(fields, name.as_bytes()) {
                    cookie::One::None => Some(false),
                    cookie::One::One(found) => Some(value.matches(found, false)),
                    cookie::One::Conflicting => None,
                }
            }
            Test::Header(name, value) => {
                let mut all = self.cx.req.values(name.as_bytes());
                match all.next().map(|first| value.matches(first, false)) {
                    None => Some(false),
                    Some(first) => all
                        .all(|v| value.matches(v, false) == first)
                        .then_some(first),
                }
            }
        };
        found.map_or(protects, |found| found != condition.negated)
    }
}

/// An address as expressions are compared with it.
fn written(address: IpAddr) -> ArrayString<MAX_ADDRESS> {
    let mut text = ArrayString::new();
    // It fits; what did not fit would match nothing.
    let _ = write!(text, "{address}");
    text
}

/// An entry's rule as it was written.
fn id(list: &List, name: RuleList, at: u32) -> RuleId {
    let line = list.entries.get(at as usize).map_or(at, |entry| entry.line);
    RuleId {
        list: name,
        at: line,
    }
}
