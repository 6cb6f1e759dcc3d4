//! What AM's policy says about this URL for this session.

use alloc::string::ToString;

use super::{
    Cx, Stage, ask,
    environment::Sent,
    fail_closed::{Fact, refuse_for},
    grace, method, refuse,
    session::User,
};
use crate::{
    config::{Enforcement, FilterMode},
    contract::{Ask, Decision, FactError, Known, PolicyKey, SessionKey},
    event::Code,
    login,
    record::{Policy, Session},
    token::Secret,
};

/// How the stage ends.
#[allow(clippy::large_enum_variant)] // moved once, on the stack; boxing would allocate on each hit
pub(super) enum Outcome<'a> {
    /// Allowed; the answer, unless nobody asked (SSO-only mode).
    Allowed(Option<Policy<'a>>),
    /// Refused, and the host's own rules decide.
    LeftToHost,
    Decided(Decision<'a>),
}

/// The stage.
pub(super) fn policy<'a>(cx: &Cx<'a, '_>, user: &mut User<'a>) -> Stage<'a, Outcome<'a>> {
    if cx.plan.mode == FilterMode::SsoOnly {
        return Ok(Outcome::Allowed(None));
    }
    let session = user.token.key;
    let question = Question::of(cx, session, place(cx, &user.session));
    let answer = match cx.facts.policy(question.key) {
        // AM's `ttl` bounds how long the driver keeps it; one just given is good for this request even
        // if the clocks differ.
        Known::Fresh(answer) => answer,
        Known::Failed(error, _) => match grace::policy(cx, question.key, error) {
            Some((answer, age)) => {
                user.outlived = user.outlived.max(age.total).max(1);
                answer
            }
            None => return unanswered(cx, user, error),
        },
        Known::Stale(..) | Known::Missing => {
            return Err(ask(question.ask(cx, user.token.secret(cx))));
        }
    };
    if allows(cx, &answer) {
        return Ok(Outcome::Allowed(Some(answer)));
    }
    // What is only reported nobody refuses, the host's rules neither.
    if cx.req.local.authorizes && cx.plan.enforcement != Enforcement::Report {
        return Ok(Outcome::LeftToHost);
    }
    refused(cx, user, &answer).map(Outcome::Decided)
}

/// Without an answer that counts.
#[cold]
#[inline(never)]
fn unanswered<'a>(cx: &Cx<'a, '_>, user: &User<'a>, error: FactError) -> Stage<'a, Outcome<'a>> {
    let decision = match refuse_for(cx, Fact::Policy, error) {
        Some(refused) => refused,
        None => login::start_after(cx, Code::LoginSessionDead, Some(&user.session))?,
    };
    Ok(Outcome::Decided(decision))
}

/// Refuses, or sends the user to get what is missing. On its own, as a step-up.
#[cold]
#[inline(never)]
fn refused<'a>(cx: &Cx<'a, '_>, user: &User<'a>, answer: &Policy<'a>) -> Stage<'a, Decision<'a>> {
    // Back from a login it would be a GET, without the method that it names in place of its own.
    let other_method = answer.allows(cx.req.method);
    let (code, detail) = match (answer.has_advices(), other_method) {
        (true, false) => return login::step_up(cx, user.token.key, user.session, answer),
        (true, true) => (Code::DeniedWithAdvices, OTHER_METHOD),
        (false, true) => (Code::DeniedByPolicy, OTHER_METHOD),
        (false, false) => (Code::DeniedByPolicy, ""),
    };
    let subject = Some(user.session);
    Ok(refuse(cx.facts, code, 403, subject, detail.into()))
}

/// What is refused where the request's own method is allowed.
const OTHER_METHOD: &str = "by the method that the request names in place of its own";

/// Whether AM allows the request's method, and each that an application may take in its place.
pub(super) fn allows(cx: &Cx<'_, '_>, answer: &Policy<'_>) -> bool {
    answer.allows(cx.req.method) && method::all_others(cx, |other| answer.allows(other))
}

/// What AM is asked, and where its answer is kept.
pub(super) struct Question<'q> {
    pub(super) key: PolicyKey,
    session: SessionKey,
    sent: Sent<'q>,
    place: Place<'q>,
}

impl<'q> Question<'q> {
    pub(super) fn of(cx: &Cx<'q, '_>, session: SessionKey, place: Place<'q>) -> Question<'q> {
        let sent = Sent::of(cx);
        Question {
            key: sent.key(cx, session, place, cx.url.url()),
            session,
            sent,
            place,
        }
    }

    pub(super) fn ask(&self, cx: &Cx<'_, '_>, token: Secret) -> Ask {
        let (config, (realm, set)) = (&cx.snap.config, self.place);
        Ask::Policy {
            key: self.key,
            // No resource is empty, so this is nobody's own key.
            together: self.sent.key(cx, self.session, self.place, ""),
            session: self.session,
            token,
            resource: cx.url.url().to_string(),
            realm: realm.unwrap_or(&config.policy_realm).to_string(),
            application: set.unwrap_or(&config.policy_set).to_string(),
            environment: self.sent.environment(cx),
        }
    }
}

/// Where AM's decision about this request is kept.
pub(super) fn key(cx: &Cx<'_, '_>, session: SessionKey, of: &Session<'_>) -> PolicyKey {
    Sent::of(cx).key(cx, session, place(cx, of), cx.url.url())
}

/// A realm and a policy set; `None` is the configured one.
pub(super) type Place<'a> = (Option<&'a str>, Option<&'a str>);

/// Whose policies count (`policy.evaluation.realm` and `.application`, or the user's own realm).
pub(super) fn place<'a>(cx: &Cx<'a, '_>, user: &Session<'a>) -> Place<'a> {
    let realm = match cx.snap.config.policy_user_realm {
        true => Some(user.realm),
        false => cx.plan.realm,
    };
    (realm, cx.plan.set)
}
