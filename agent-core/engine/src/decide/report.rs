//! What happens to a request whose decision is only reported (rule O5)?
//!
//! It goes on, with its user's identity where a live session says who that is. URLs and headers that
//! have no one meaning are refused as ever, and the agent's own endpoints work as ever. It ends no
//! session and spends nothing: what a decision would have done, it leaves.

use alloc::borrow::Cow;

use super::{
    Cx, Phase, Stage, allow, endpoint, finish, logout, session,
    watch::{Last, Watch},
};
use crate::{
    contract::{Act, Basis, Decision, Edits, Identity, Need, Outcome, RuleId, Why, Would},
    event::Code,
    record::Session,
};

/// The stages, and what is made of a refusal or a redirect.
pub(super) fn stages<'a>(cx: &Cx<'a, '_>, watch: &mut impl Watch) -> Stage<'a, Decision<'a>> {
    let mut last = Last::new(watch);
    let stop = super::stages(cx, &mut last);
    let phase = last.phase();
    let refused = match stop {
        Ok(decision) => match &decision.outcome {
            Outcome::Respond(page) if !stands(phase, page.status) => Refused {
                would: Would {
                    code: decision.reason,
                    status: page.status,
                },
                rule: decision.rule,
                subject: decision.subject,
                detail: decision.detail,
            },
            _ => return Ok(decision),
        },
        // Only a session that came from another address is ended here.
        Err(Need::Do(Act::EndSession { .. })) if phase == Phase::Session => {
            Refused::new(Code::LoginOtherAddress, 302)
        }
        Err(need) => return Err(need),
    };
    if let Some(decision) = endpoints(cx, phase)? {
        return Ok(decision);
    }
    let user = match asks_nobody(cx, refused.would.code) {
        true => None,
        false => user(cx)?,
    };
    Ok(let_through(cx, refused, user))
}

/// What is left of a decision that is not carried out.
struct Refused<'a> {
    would: Would,
    rule: Option<RuleId>,
    subject: Option<Session<'a>>,
    detail: Cow<'static, str>,
}

impl<'a> Refused<'a> {
    fn new(code: Code, status: u16) -> Refused<'a> {
        Refused {
            would: Would { code, status },
            rule: None,
            subject: None,
            detail: Cow::Borrowed(""),
        }
    }
}

/// The agent's endpoints, where a refusal came before them: they work all the same.
fn endpoints<'a>(cx: &Cx<'a, '_>, phase: Phase) -> Stage<'a, Option<Decision<'a>>> {
    if cx.snap.config.rules_only.is_some() {
        return Ok(None); // there are none
    }
    if phase < Phase::Callback
        && let Some(decision) = endpoint::callback(cx)?
    {
        return Ok(Some(decision));
    }
    match phase < Phase::Logout {
        true => logout::logout(cx),
        false => Ok(None),
    }
}

/// What stays as it is: what could be read in two ways, and the answers of the agent's endpoints.
fn stands(phase: Phase, status: u16) -> bool {
    status == 400 || matches!(phase, Phase::Callback | Phase::Logout)
}

/// Where AM is not to be asked, or what it said does not count, nobody is known.
fn asks_nobody(cx: &Cx<'_, '_>, code: Code) -> bool {
    cx.snap.config.rules_only.is_some() || code == Code::UnavailableStrategy
}

/// A request that can't be decided now, as a part of another page: whether it goes on, and as what.
pub(super) fn undecided<'a>(cx: &Cx<'a, '_>, code: Code, status: u16) -> Option<Decision<'a>> {
    let own = endpoint::is_callback(cx) || logout::is_logout(cx);
    if own || endpoint::connection_header(cx).is_some() {
        return None;
    }
    Some(let_through(cx, Refused::new(code, status), None))
}

/// Whoever has a live session, with what the application would learn of them.
fn user<'a>(cx: &Cx<'a, '_>) -> Stage<'a, Option<(Identity<'a>, Basis)>> {
    let session::Presented::Token(token) = session::presented(cx) else {
        return Ok(None);
    };
    let Ok(session) = session::live(cx, token.key, || token.secret(cx))? else {
        return Ok(None);
    };
    let counts =
        session::acceptable(cx, &session).is_none() && session::from_its_address(cx, &session);
    if !counts {
        return Ok(None);
    }
    let attributes = finish::attributes(cx, &token)?;
    let identity = Identity {
        session,
        policy: None,
        attributes: attributes.ok().flatten(),
    };
    let basis = Basis {
        session: Some(token.key),
        opened: token.opened,
    };
    Ok(Some((identity, basis)))
}

fn let_through<'a>(
    cx: &Cx<'a, '_>,
    refused: Refused<'a>,
    user: Option<(Identity<'a>, Basis)>,
) -> Decision<'a> {
    let (identity, basis) = user.unzip();
    let edits = Edits {
        identity,
        ..Edits::default()
    };
    let allowed = allow(cx, Why::Reported, Code::Reported, edits);
    Decision {
        subject: allowed.subject.or(refused.subject),
        basis: basis.unwrap_or_default(),
        rule: refused.rule,
        would: Some(refused.would),
        detail: refused.detail,
        ..allowed
    }
}
