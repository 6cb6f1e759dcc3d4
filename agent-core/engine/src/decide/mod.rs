//! The decision about one request: the order of the stages, on one screen.
//!
//! A stage either ends the request or lets it go on. Nothing reaches "allow" but through one of the
//! constructors at the end of this file; a stage that can't know answers through `fail_closed`.

pub(crate) mod answer;
mod attribute_cookies;
mod client;
mod endpoint;
mod environment;
mod exempt;
mod fail_closed;
mod finish;
mod grace;
mod host;
mod logout;
mod method;
mod monitor;
mod outage;
mod pages;
mod plan;
mod policy;
mod post;
mod reader;
mod report;
pub(crate) mod reset;
mod session;
mod shadow;
mod watch;
mod words;
mod written;

use alloc::{borrow::Cow, string::ToString, vec::Vec};

pub use client::{ClientAddress, client_address};
pub(crate) use fail_closed::refuse_for;
pub use fail_closed::{FAILURES, Fact, Failure, PROVOKED_BY, fail_closed, may_be_outlived};
pub use finish::audited_user;
pub use monitor::monitor_unconfigured;
pub(crate) use pages::below;
use plan::Plan;
pub(crate) use post::{Kept, hand_on, is_own_site, keep, marked, sticky_cookie};
pub use post::{ReplayedHeader, replayed_headers};
pub(crate) use reader::{is_told_json, is_unseen};
pub(crate) use session::{
    Presented, TokenBuffer, acceptable, clear_session_cookies, cookie_scope, in_cookie, in_header,
    key_of, live, open_own_cookie, sso_token,
};
pub use session::{cookie_of, rounds_cookie_of};
use watch::Watch;
pub use watch::{Phase, Trace};
pub use written::{
    ROUNDS, TOKEN, VALUE, WrittenHeader, answers_a_login, outcome_word, pseudonym, why_not_again,
    written_form, written_headers, written_target,
};

use crate::{
    config::{Enforcement, Paths, Snapshot},
    contract::{
        Ask, Basis, Decision, Edits, Facts, Fill, Grant, Incident, Need, Now, Outcome, RequestView,
        Response, Step, Why,
    },
    event::Code,
    page,
    record::Session,
    url::{Canonical, Refusal, Room},
};

/// What every stage may look at.
#[derive(Clone, Copy)]
pub(crate) struct Cx<'a, 'u> {
    /// The request.
    pub(crate) req: &'a RequestView<'a>,
    /// The configuration this request is decided with, from beginning to end.
    pub(crate) snap: &'a Snapshot,
    /// What is known.
    pub(crate) facts: &'a dyn Facts,
    /// When it is.
    pub(crate) now: Now,
    /// The one form of the URL that every rule is matched against.
    pub(crate) url: &'u Canonical,
    /// The URL as the browser wrote it, for where it is sent and what is kept on its host. It is
    /// `url` unless `ignore.path.info` or one of `portcullis.url.query.…` leaves something out.
    pub(crate) asked: &'u Canonical,
    /// What is asked about it.
    pub(crate) plan: Plan<'a>,
}

impl Cx<'_, '_> {
    /// Whether the browser uses https, whatever the last step to this host is.
    pub(crate) fn https(&self) -> bool {
        self.asked.scheme() == "https"
    }
}

/// Decides a request, or says what is missing.
///
/// Total: it never panics and has no error of its own; an internal fault is a denial with
/// [`Code::Internal`]. Call it again with the same request, snapshot, time and memo after each need.
pub fn decide<'a>(
    req: &'a RequestView<'a>,
    snap: &'a Snapshot,
    facts: &'a dyn Facts,
    now: Now,
) -> Step<'a> {
    watched(req, snap, facts, now, &mut ())
}

/// Decides like [`decide`], and tells how it came to that: for `agentadmin explain`.
///
/// It is the same code, compiled a second time with somebody looking on, so that a request of the
/// host pays nothing for it.
pub fn explain<'a>(
    req: &'a RequestView<'a>,
    snap: &'a Snapshot,
    facts: &'a dyn Facts,
    now: Now,
) -> (Step<'a>, Trace) {
    let mut trace = Trace::default();
    let step = watched(req, snap, facts, now, &mut trace);
    (step, trace)
}

fn watched<'a, W: Watch>(
    req: &'a RequestView<'a>,
    snap: &'a Snapshot,
    facts: &'a dyn Facts,
    now: Now,
    watch: &mut W,
) -> Step<'a> {
    let mut url = Canonical::new();
    if let Err(refusal) = url.set(req) {
        let mut decision = bad_request(facts, Code::AmbiguousUrl, refusal.into());
        answer::in_own_looks(snap, &mut decision);
        return Step::Done(decision);
    }
    if let Some(pages) = &snap.monitor
        && let Some(decision) = monitor::monitor(pages, &snap.config, (req, &url), facts, None)
    {
        return Step::Done(decision);
    }
    let cx = Cx {
        req,
        snap,
        facts,
        now,
        url: &url,
        asked: &url,
        plan: Plan::everywhere(snap, now),
    };
    let stages = match snap.outside.is_none() && snap.view.is_none() {
        true => stages_and_page(&cx, watch),
        false => stages_elsewhere(&cx, watch),
    };
    match stages {
        Ok(decision) => Step::Done(decision),
        Err(need) => Step::Need(need),
    }
}

/// The stages, and the page that a refused browser is sent to.
fn stages_and_page<'a>(cx: &Cx<'a, '_>, watch: &mut impl Watch) -> Stage<'a, Decision<'a>> {
    let mut decision = match &cx.snap.paths {
        None => stages_in_mode(cx, watch)?,
        Some(paths) => stages_by_path(cx, paths, watch)?,
    };
    answer::dress(cx, &mut decision);
    Ok(decision)
}

/// The stages, and whether what they decide is carried out.
fn stages_in_mode<'a>(cx: &Cx<'a, '_>, watch: &mut impl Watch) -> Stage<'a, Decision<'a>> {
    if cx.plan.enforcement == Enforcement::Report {
        return report::stages(cx, watch);
    }
    let mut decision = stages(cx, watch)?;
    if cx.plan.enforcement == Enforcement::Shadow {
        decision.shadow = shadow::beside(cx, &decision);
    }
    Ok(decision)
}

/// The stages where it depends on the path what is asked. On its own because of the room that further
/// forms of the URL take.
#[inline(never)]
fn stages_by_path<'a>(
    cx: &Cx<'a, '_>,
    paths: &'a Paths,
    watch: &mut impl Watch,
) -> Stage<'a, Decision<'a>> {
    match Plan::of(cx, paths) {
        Some(plan) => stages_in_mode(&Cx { plan, ..*cx }, watch),
        None => Ok(bad_request(
            cx.facts,
            Code::AmbiguousUrl,
            "with its parameters and without them other policies count".into(),
        )),
    }
}

/// The stages where the URL is not what the host sees. On its own because of the room that further
/// URLs take.
#[inline(never)]
fn stages_elsewhere<'a>(cx: &Cx<'a, '_>, watch: &mut impl Watch) -> Stage<'a, Decision<'a>> {
    let mut room = [Canonical::new(), Canonical::new()];
    match elsewhere(cx, &mut room) {
        Ok(cx) => stages_and_page(&cx, watch),
        Err(refusal) => {
            let mut decision = bad_request(cx.facts, Code::AmbiguousUrl, refusal.into());
            answer::in_own_looks(cx.snap, &mut decision);
            Ok(decision)
        }
    }
}

/// The same request with the URLs that the browser and the rules see: behind a proxy, or with parts
/// left out.
fn elsewhere<'a, 'u>(
    cx: &Cx<'a, 'u>,
    [moved, seen]: &'u mut [Canonical; 2],
) -> Result<Cx<'a, 'u>, Refusal> {
    let mut cx = *cx;
    if let Some(outside) = &cx.snap.outside
        && outside.apply(cx.req, cx.asked, moved)?
    {
        cx.asked = moved;
        cx.url = cx.asked;
    }
    if let Some(view) = &cx.snap.view {
        view.apply(cx.asked, seen)?;
        cx.url = seen;
    }
    Ok(cx)
}

/// The answer where no snapshot can decide: the instance has no valid configuration, or the request
/// may not wait. Never an allow.
pub fn decide_without_configuration<'a>(facts: &dyn Facts, code: Code) -> Decision<'a> {
    let status = if (300..400).contains(&code.number()) || code == Code::NotStored {
        403
    } else {
        503
    };
    refuse(facts, code, status, None, "".into())
}

/// The answer where this request, which has a configuration, can't be decided: as
/// [`decide_without_configuration`], unless decisions are only reported.
pub fn decide_unanswered<'a>(
    req: &'a RequestView<'a>,
    snap: &'a Snapshot,
    facts: &'a dyn Facts,
    now: Now,
    code: Code,
) -> Decision<'a> {
    let mut refusal = decide_without_configuration(facts, code);
    answer::in_own_looks(snap, &mut refusal);
    let Outcome::Respond(page) = &refusal.outcome else {
        return refusal;
    };
    let (mut url, mut room) = (Canonical::new(), [Canonical::new(), Canonical::new()]);
    if url.set(req).is_err() {
        return refusal;
    }
    let cx = Cx {
        req,
        snap,
        facts,
        now,
        url: &url,
        asked: &url,
        plan: Plan::everywhere(snap, now),
    };
    let Ok(mut cx) = elsewhere(&cx, &mut room) else {
        return refusal;
    };
    if let Some(paths) = &snap.paths {
        match Plan::of(&cx, paths) {
            Some(plan) => cx.plan = plan,
            None => return refusal,
        }
    }
    match cx.plan.enforcement {
        Enforcement::Report => report::undecided(&cx, code, page.status).unwrap_or(refusal),
        Enforcement::Shadow | Enforcement::Enforce => refusal,
    }
}

/// A stage's result: decided or not here (`Ok`), or something is missing (`Err`).
pub(crate) type Stage<'a, T> = Result<T, Need>;

/// Returns where a stage ends the request. `?` would move the room of a decision also where there is none,
/// at each stage of each request.
macro_rules! ends_here {
    ($stage:expr) => {
        match $stage {
            Ok(None) => {}
            Ok(Some(decision)) => return Ok(decision),
            Err(need) => return Err(need),
        }
    };
}

fn stages<'a>(cx: &Cx<'a, '_>, watch: &mut impl Watch) -> Stage<'a, Decision<'a>> {
    // ORDER: nothing may be decided before the request is known to be unambiguous and at the right
    // host; the agent's own endpoints come before rules that could close or exempt them; a refusal
    // comes before whatever lets somebody in; a logout URL counts as not enforced; the session comes
    // before the policy, which is about it.
    watch.enters(Phase::Headers, cx);
    if let Some(decision) = endpoint::connection_header(cx) {
        return Ok(decision);
    }
    if let Some(decision) = host::invalid(cx) {
        return Ok(decision);
    }
    if let Some(decision) = host::host(cx) {
        return Ok(decision);
    }
    let mut room = Room::new();
    let asked = exempt::Asked::new(cx, &mut room);
    if let Some(only) = cx.snap.config.rules_only {
        watch.enters(Phase::Denied, cx);
        if let Some(rule) = asked.denied() {
            return Ok(exempt::deny(cx, rule));
        }
        watch.enters(Phase::NotEnforced, cx);
        return Ok(not_enforced(&asked).unwrap_or_else(|| outage::no_rule(cx, only)));
    }
    watch.enters(Phase::Callback, cx);
    ends_here!(endpoint::callback(cx));
    watch.enters(Phase::Denied, cx);
    if let Some(rule) = asked.denied() {
        return Ok(exempt::deny(cx, rule));
    }
    watch.enters(Phase::Logout, cx);
    ends_here!(logout::logout(cx));
    watch.enters(Phase::NotEnforced, cx);
    if let Some(decision) = outage::before_rules(cx) {
        return Ok(decision);
    }
    // Before a rule that opens the page for a GET: the kept POST may need a session.
    ends_here!(post::replay(cx));
    if let Some(decision) = not_enforced(&asked) {
        return Ok(decision);
    }
    if let Some(decision) = outage::before_cache(cx) {
        return Ok(decision);
    }
    watch.enters(Phase::Session, cx);
    let mut user = match session::session(cx)? {
        session::Outcome::User(user) => user,
        session::Outcome::Decided(decision) => return Ok(decision),
    };
    watch.enters(Phase::Policy, cx);
    let (answer, why, code) = match policy::policy(cx, &mut user)? {
        policy::Outcome::Allowed(None) => (None, Why::SsoOnly, Code::AllowedSsoOnly),
        policy::Outcome::Allowed(answer) => (answer, Why::Policy, Code::AllowedByPolicy),
        policy::Outcome::LeftToHost => (None, Why::LeftToHost, Code::LeftToHost),
        policy::Outcome::Decided(decision) => return Ok(decision),
    };
    watch.enters(Phase::Attributes, cx);
    finish::finish(cx, user, answer, (why, code))
}

/// Lets everybody in where a rule says so, and onto the pages that refused browsers are sent to.
fn not_enforced<'a>(asked: &exempt::Asked<'_, 'a>) -> Option<Decision<'a>> {
    let cx = asked.cx;
    let rule = asked.exempt().or_else(|| pages::shown_to_all(cx))?;
    Some(exempt::allow(cx, rule))
}

// --- the constructors of a decision

/// Lets the request through.
#[inline]
pub(crate) fn allow<'a>(cx: &Cx<'a, '_>, why: Why, code: Code, edits: Edits<'a>) -> Decision<'a> {
    let subject = edits.identity.as_ref().map(|i| i.session);
    Decision {
        outcome: Outcome::Allow(Grant::new(why)),
        reason: code,
        edits: Edits {
            cookies: Some(cx.snap),
            // Only for the flags of attribute cookies.
            https: !cx.snap.carried.forgeable.is_empty() && cx.https(),
            ..edits
        },
        basis: Basis::default(),
        incident: Incident::NONE,
        subject,
        age: 0,
        rule: None,
        for_everybody: false,
        would: None,
        shadow: None,
        fill: Fill::Nothing,
        detail: Cow::Borrowed(""),
    }
}

/// Answers with a response of our own.
pub(crate) fn respond<'a>(
    facts: &dyn Facts,
    code: Code,
    response: Response,
    subject: Option<Session<'a>>,
    detail: Cow<'static, str>,
) -> Decision<'a> {
    Decision {
        outcome: Outcome::Respond(response),
        reason: code,
        edits: Edits::default(),
        basis: Basis::default(),
        incident: incident(facts),
        subject,
        age: 0,
        rule: None,
        for_everybody: false,
        would: None,
        shadow: None,
        fill: Fill::Nothing,
        detail,
    }
}

/// A page that refuses the request.
pub(crate) fn refuse<'a>(
    facts: &dyn Facts,
    code: Code,
    status: u16,
    subject: Option<Session<'a>>,
    detail: Cow<'static, str>,
) -> Decision<'a> {
    let (title, text) = words::words(code, status);
    let mut response = page::page(status, title, text, &incident(facts));
    if status == 503 {
        response
            .headers
            .push((Cow::Borrowed("Retry-After"), b"5".to_vec()));
    }
    respond(facts, code, response, subject, detail)
}

fn bad_request<'a>(facts: &dyn Facts, code: Code, detail: Cow<'static, str>) -> Decision<'a> {
    refuse(facts, code, 400, None, detail)
}

/// Random 80 bits of this request, and where it is decided (rule W2).
fn incident(facts: &dyn Facts) -> Incident {
    let mut number = [0; 10];
    number.copy_from_slice(&facts.seed()[22..32]);
    let node = facts.node();
    Incident { number, node }
}

/// 16 bytes that stand for the request in logs here and at AM. They say nothing of state or nonce.
pub fn transaction_id(facts: &dyn Facts) -> [u8; 16] {
    crate::login::derive(facts, b"transaction")
}

/// The need for one answer.
pub(crate) fn ask(ask: Ask) -> Need {
    Need::Ask(alloc::vec![ask])
}

/// Text for a decision's detail; never with secrets.
pub(crate) fn detail(text: impl ToString) -> Cow<'static, str> {
    Cow::Owned(text.to_string())
}

/// Response headers that clear cookies, as [`Edits`] carry them.
pub(crate) type ResponseHeaders = Vec<(Cow<'static, str>, Vec<u8>)>;
