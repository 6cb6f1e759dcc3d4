//! In which form does an answer of ours go out: a redirect, a page, or JSON?
//!
//! It changes the form alone: who is refused was decided before.

use alloc::{borrow::Cow, string::String};

use super::{Cx, endpoint, pages, reader, words};
use crate::{
    config::Snapshot,
    contract::{Decision, Incident, Outcome, Response},
    event::Code,
    page,
};

/// Brings an answer into the form that its reader takes.
pub(super) fn dress(cx: &Cx<'_, '_>, decision: &mut Decision<'_>) {
    let Outcome::Respond(response) = &mut decision.outcome else {
        return;
    };
    // AM's form comes from a page: whatever is configured, its answer leads a browser on.
    if endpoint::is_callback(cx) || !reader::is_told_json(cx) {
        pages::instead(cx, decision.reason, response);
        if endpoint::is_ams_form(cx) {
            end_fragment(response);
        }
        if endpoint::is_callback(cx) {
            page::lead_on(response);
        }
    } else if response.status >= 300 {
        in_json(cx, decision.reason, response, &decision.incident);
        return;
    }
    if response.status >= 400 && reader::prefers_json(cx) {
        in_json(cx, decision.reason, response, &decision.incident);
        return;
    }
    in_own_looks(cx.snap, decision);
}

/// The form of AM has the ID token, with the user's session in it, in the fragment of its address, too
/// (measured on OpenAM 16.0.5). A browser hands a fragment on to where it is redirected, unless that has one of
/// its own (Fetch, "HTTP-redirect fetch"): applications, and whoever is sent the address, would have the session.
fn end_fragment(response: &mut Response) {
    for (_, location) in response.headers.iter_mut().filter(|h| h.0 == "Location") {
        if !location.contains(&b'#') {
            location.push(b'#');
        }
    }
}

/// Makes a page of ours look as the operator wishes (`portcullis.page.template`,
/// `com.forgerock.agents.csp.frame.ancestors.…`).
pub(super) fn in_own_looks(snap: &Snapshot, decision: &mut Decision<'_>) {
    let config = &snap.config;
    if config.page_templates.is_empty() && config.frame_ancestors.is_empty() {
        return;
    }
    let Outcome::Respond(response) = &mut decision.outcome else {
        return;
    };
    if !response
        .headers
        .iter()
        .any(|h| h.0 == "Content-Security-Policy")
    {
        return; // no page
    }
    let kind = kind(decision.reason, response.status);
    let named = |name: &str| {
        let mut all = config.page_templates.iter().rev();
        all.find(|(n, _)| n == name).map(|(_, text)| text.as_str())
    };
    let refusal = response.status >= 400;
    let looks = page::Looks {
        template: named(kind).or_else(|| named("")).filter(|_| refusal),
        framed_by: match config.frame_ancestors.as_str() {
            "" => "'self'",
            sources => sources,
        },
    };
    let words = words::words(decision.reason, response.status);
    page::dress(response, &looks, words, &decision.incident);
}

/// Which page it is, in an operator's words.
fn kind(code: Code, status: u16) -> &'static str {
    match (code.number(), status) {
        (312..=319 | 326..=329, _) => "loop",
        (_, 503) => "unavailable",
        (200..240, _) | (_, 401 | 429) => "login",
        (_, 403) => "denied",
        _ => "error",
    }
}

/// The names of pages, for `portcullis.page.template`.
pub(crate) const PAGES: [&str; 5] = ["login", "denied", "loop", "unavailable", "error"];

/// The same in JSON. A redirect becomes its address, for the program to act upon: it could not follow
/// one to AM itself.
fn in_json(cx: &Cx<'_, '_>, code: Code, response: &mut Response, incident: &Incident) {
    let config = &cx.snap.config;
    let real = response.status;
    let location = response.headers.iter().find(|h| h.0 == "Location");
    let location = location.map(|h| String::from_utf8_lossy(&h.1).into_owned());
    response.status = match (&location, config.json_response_code, code) {
        (None, ..) => real,
        (Some(_), chosen @ 1.., _) => chosen as u16, // at most 599
        (Some(_), _, Code::LoggedOut) => 200,
        (Some(_), _, code) if starts_a_login(code) => 401,
        (Some(_), ..) => 403,
    };
    let url = cx.asked.url();
    let template = page::Template {
        text: config.json_template.as_deref(),
        kind: &config.json_content_type,
        uri: &url[cx.asked.origin().len()..],
        url,
    };
    let (kind, body) = page::json(&template, real, location.as_deref(), incident);
    response.body = body;
    let ours = |name: &str| {
        !matches!(
            name,
            "Location" | "Content-Type" | "Content-Security-Policy"
        )
    };
    response.headers.retain(|h| ours(&h.0));
    let kind = (Cow::Borrowed("Content-Type"), kind.into_bytes());
    response.headers.push(kind);
    if !response
        .headers
        .iter()
        .any(|h| h.0 == "X-Content-Type-Options")
    {
        let nosniff = (Cow::Borrowed("X-Content-Type-Options"), b"nosniff".to_vec());
        response.headers.push(nosniff);
    }
    if response.status == 401 && !response.headers.iter().any(|h| h.0 == "WWW-Authenticate") {
        response.headers.push(page::challenge());
    }
}

/// Whether a redirect of this code leads to a login.
fn starts_a_login(code: Code) -> bool {
    (200..210).contains(&code.number()) && code != Code::LoginOtherHost
        || matches!(code, Code::LoginOtherAddress | Code::LoginStepUp)
}
