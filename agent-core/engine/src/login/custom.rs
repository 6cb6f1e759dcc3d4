//! Custom login mode 1: a login page of one's own, and the way back from it.
//!
//! The page makes a session at AM and sends the browser to our endpoint. Where AM's cookie is seen here,
//! its session becomes the agent's cookie; else AM is asked for it as in the default login, where it sees
//! its own cookie. What is not this browser's login ends in a page, never in a redirect (rule L8).

use alloc::{format, string::String};

use super::{
    append, authorize, by_rule,
    callback::{self, Begun, Refusal},
    limits::{self, Tried},
    public_am, serving,
};
use crate::{
    config::realm_named,
    contract::{Decision, FactError},
    decide::{
        Cx, Fact, ResponseHeaders, Stage, TokenBuffer, detail, key_of, refuse, refuse_for, respond,
        sso_token,
    },
    event::Code,
    page,
    token::{
        Secret, authn_tx,
        cookie::{self, One},
    },
    url::ReturnUrl,
};

/// Where login pages send users.
pub(crate) const RESPONSE: &str = "/agent/custom-login-response";

/// The login page, and the cookies that remember this login.
pub(super) fn begin(cx: &Cx<'_, '_>, back: &ReturnUrl) -> (String, ResponseHeaders) {
    let config = &cx.snap.config;
    let page = by_rule(cx).unwrap_or_else(|| serving(cx, &config.login_url));
    let mut page = match page {
        Some(url) => String::from(url),
        None => format!("{}UI/Login", public_am(cx)),
    };
    let realm = realm_named(&page).unwrap_or_else(|| config.organization_name.clone());
    let pending = authorize::pending(cx, back, &realm, None);
    let state = authn_tx::text(&pending.state);
    let mut goto = format!("{}{RESPONSE}", cx.asked.origin());
    append(&mut goto, "state", &state);
    if realm_named(&page).is_some() {
        append(&mut goto, "realm", &realm);
    }
    append(&mut page, &config.redirect_param, &goto);
    append(&mut page, "original_request_url", back.as_str());
    (page, authorize::remember(cx, pending, &state))
}

/// Decides a request to [`RESPONSE`]. On its own, as a step-up.
#[cold]
#[inline(never)]
pub(crate) fn response<'a>(cx: &Cx<'a, '_>) -> Stage<'a, Decision<'a>> {
    let (begun, realm) = match asked(cx) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(callback::refused(cx, refusal)),
    };
    if begun.pending.expires <= cx.now.wall {
        return Ok(callback::restart(cx, &begun));
    }
    let Some(token) = ams_token(cx) else {
        return Ok(at_am(cx, &begun, realm));
    };
    let key = key_of(cx, token.expose());
    // Anybody can make up AM's cookie (rule L9).
    match limits::tried(cx, key, || token.clone())? {
        Tried::TooMany(decision) => Ok(*decision),
        Tried::Said(Ok(_)) => callback::finish(cx, begun, token),
        Tried::Said(Err(FactError::Dead)) => Ok(at_am(cx, &begun, realm)),
        Tried::Said(Err(error)) => {
            let refused = refuse_for(cx, Fact::NewSession, error);
            Ok(refused.unwrap_or_else(|| at_am(cx, &begun, realm)))
        }
    }
}

/// The login that this browser began, and the realm that the page says.
fn asked(cx: &Cx<'_, '_>) -> Result<(Begun, Option<String>), Refusal> {
    if !matches!(cx.req.method, b"GET" | b"HEAD") {
        return Err(Refusal(Code::CallbackForm, 400, detail("method")));
    }
    let (mut state, mut realm) = (None, None);
    for (name, value) in callback::fields(cx.asked.query().unwrap_or("").as_bytes()) {
        let slot = match name.as_str() {
            "state" => &mut state,
            "realm" => &mut realm,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(Refusal(
                Code::CallbackForm,
                400,
                detail("a field occurs twice"),
            ));
        }
    }
    let state = state.ok_or_else(|| Refusal(Code::CallbackForm, 400, detail("state")))?;
    // Rule L5: a page may choose among the realms that count here.
    let known = |realm: &String| {
        let mut realms = cx.snap.login_realms.iter();
        realms.any(|known| known.eq_ignore_ascii_case(realm))
    };
    match realm {
        Some(realm) if !known(&realm) => Err(Refusal(Code::DeniedRealm, 403, detail("realm"))),
        realm => Ok((callback::begun(cx, &state)?, realm)),
    }
}

/// AM's own session token, where its cookie comes here.
fn ams_token(cx: &Cx<'_, '_>) -> Option<Secret> {
    let name = cx.snap.config.cookie_name.as_bytes();
    let One::One(value) = cookie::only(cx.req.values(b"cookie"), name) else {
        return None;
    };
    let mut token = TokenBuffer::new();
    sso_token(value, &mut token).then(|| Secret::new(token.to_vec()))
}

/// AM is asked as in the default login: it knows the session that the page made.
fn at_am<'a>(cx: &Cx<'a, '_>, begun: &Begun, realm: Option<String>) -> Decision<'a> {
    let Ok(back) = ReturnUrl::parse(&begun.pending.url, &cx.snap.allowed_hosts) else {
        return refuse(cx.facts, Code::DeniedHost, 403, None, "".into());
    };
    let realm = realm.unwrap_or_else(|| begun.pending.realm.clone());
    let login = authorize::at(cx, &back, (None, Some(realm)), None);
    let mut response = page::redirect(login.address());
    response.headers.extend(login.cookies);
    respond(cx.facts, Code::LoginAtAm, response, None, "".into())
}
