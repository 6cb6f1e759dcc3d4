//! Where is a browser sent that was refused? To a page of the operator's, never in a circle.
//!
//! Only refusals that the user can do something about lead there: by policy, and those of a login.
//! What AM's absence refuses keeps its status.

use alloc::string::String;

use super::Cx;
use crate::{
    contract::{Response, RuleId, RuleList},
    event::Code,
    login::{append, renamed},
    page,
    url::ReturnUrl,
};

/// Whether the request asks for one of the pages itself, which everybody may see: otherwise whoever is
/// sent there would be sent there again.
pub(super) fn shown_to_all(cx: &Cx<'_, '_>) -> Option<RuleId> {
    if !matches!(cx.req.method, b"GET" | b"HEAD") {
        return None;
    }
    let pages = &cx.snap.pages;
    let mut all = pages
        .denied
        .iter()
        .map(|(_, page)| page)
        .chain(&pages.login_failed);
    let at = all.position(|page| page.is_at(cx.asked))?;
    Some(RuleId {
        list: RuleList::Page,
        at: at as u32, // as many as lines of a configuration
    })
}

/// Makes a refusal lead to a page instead. Reason, incident and cookies stay.
pub(super) fn instead(cx: &Cx<'_, '_>, reason: Code, response: &mut Response) {
    let location = match reason {
        Code::DeniedByPolicy | Code::DeniedWithAdvices | Code::DeniedAdviceAgain
            if response.status == 403 =>
        {
            denied(cx)
        }
        code if response.status < 500 => login_failed(cx, code),
        _ => None,
    };
    if let Some(location) = location {
        let mut redirect = page::redirect(location);
        let cookies = response.headers.drain(..).filter(|h| h.0 == "Set-Cookie");
        redirect.headers.extend(cookies);
        *response = redirect;
    }
}

/// What is said of the most specific path that holds this one.
pub(crate) fn below<'t, T>(by_path: &'t [(String, T)], path: &str) -> Option<&'t T> {
    let within = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
    };
    let held = by_path.iter().filter(|(prefix, _)| within(prefix));
    let longest = held.max_by_key(|(prefix, _)| prefix.len());
    longest.map(|(_, what)| what)
}

/// The page of the most specific path, with the address that was refused.
fn denied(cx: &Cx<'_, '_>) -> Option<String> {
    let page = below(&cx.snap.pages.denied, cx.asked.path())?;
    let mut location = page.location();
    // Rule L7: an address under a host that nobody configured is not handed on.
    if let Ok(back) = ReturnUrl::from_canonical(cx.asked, &cx.snap.allowed_hosts) {
        append(&mut location, &cx.snap.config.redirect_param, back.as_str());
    }
    Some(location)
}

fn login_failed(cx: &Cx<'_, '_>, code: Code) -> Option<String> {
    let page = cx.snap.pages.login_failed.as_ref()?;
    let reason = reason(code)?;
    let config = &cx.snap.config;
    let mut location = page.location();
    if let Some(parameter) = &config.authn_fail_parameter {
        let text = renamed(&config.authn_fail_remap, reason);
        append(&mut location, parameter, text);
    }
    Some(location)
}

/// The code that a page is told, in the Java Agent's words where it has one. `None`: no page.
///
/// A callback without its cookie is terminal, never a redirect (rule L8).
fn reason(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::CallbackState | Code::TokenNonce => "NONCE_MISSING",
        Code::TokenAudience | Code::LaresAudience => "BAD_AUDIENCE",
        Code::CallbackForm => "NO_TOKEN",
        Code::TokenExpired | Code::LaresTime => "TOKEN_EXPIRED",
        Code::LoginDeadSession => "AM_SAYS_INVALID",
        Code::TokenMalformed
        | Code::TokenAlgorithm
        | Code::TokenSignature
        | Code::TokenIssuer
        | Code::TokenClaims
        | Code::TokenRealm
        | Code::TokenNotYetValid
        | Code::LaresMalformed
        | Code::LaresIssuer => "JWT_INVALID",
        Code::CallbackAmError | Code::LaresStatus => "AM_ERROR",
        Code::CallbackReplayed => "ANSWER_USED_BEFORE",
        Code::LoginStateStore | Code::LoginCookieTooLarge => "EXCEPTION",
        _ => return None,
    })
}
