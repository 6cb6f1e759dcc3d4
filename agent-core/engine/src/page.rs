//! The agent's own pages: plain HTML that works without scripts or anything from elsewhere.
//!
//! A page tells the user what they can do; the cause is in the log under the incident id.

use alloc::{
    borrow::Cow,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use crate::contract::{Incident, Response};

/// Headers of every page and redirect of ours (rule L9).
const NO_STORE: (&str, &str) = ("Cache-Control", "no-store");
/// Follows the reader's choice of light or dark, and the width of a phone.
const STYLE: &str = ":root{color-scheme:light dark;font-family:system-ui,sans-serif;line-height:1.5}\
main{max-width:36rem;margin:12vh auto 0;padding:0 1rem}code{font:1.1rem monospace}";
/// The style above and nothing else; its digest is compared in a test.
const OWN: &str = "default-src 'none'; style-src 'sha256-JbPOUa1MxTbfbDPJNdseUKaB4MwJBUcE2Fahj5lJDRw='; \
base-uri 'none'; form-action 'none'; frame-ancestors ";
/// What each of them ends with, before the sources.
const FRAMED_BY: &str = "frame-ancestors ";
/// For a page of the operator's: styles, pictures and fonts of the same host, no script from anywhere.
const OPERATORS: &str = "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors ";

/// A page: status, title, one sentence for the user, incident id.
pub fn page(status: u16, title: &str, text: &str, incident: &Incident) -> Response {
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n<p>{text}</p>\n\
         <p>If you ask for help, give this number: <code>{incident}</code></p>\n{END}"
    );
    Response {
        status,
        headers: vec![
            header("Content-Type", "text/html; charset=utf-8"),
            header("Content-Security-Policy", &format!("{OWN}'self'")),
            header("X-Content-Type-Options", "nosniff"),
            header(NO_STORE.0, NO_STORE.1),
        ],
        body: body.into_bytes(),
    }
}

/// The last line of a page.
const END: &str = "</main>\n</body>\n</html>\n";

/// Gives a page a way on, where its own address leads nowhere: loaded again, or gone back from, it would be
/// there once more.
pub fn lead_on(page: &mut Response) {
    if page.body.ends_with(END.as_bytes()) {
        page.body.truncate(page.body.len() - END.len());
        page.body
            .extend_from_slice(b"<p><a href=\"/\">Start page of this site</a></p>\n");
        page.body.extend_from_slice(END.as_bytes());
    }
}

/// The text of an answer in JSON, or of the operator's own.
pub struct Template<'t> {
    /// `portcullis.json.template`; without it, the Web Agent's form.
    pub text: Option<&'t str>,
    /// Content type of the operator's text.
    pub kind: &'t str,
    /// Path and query that were asked for.
    pub uri: &'t str,
    /// The whole URL.
    pub url: &'t str,
}

/// Content type and body that stand for an answer with this status, and what a redirect leads to.
pub fn json(
    template: &Template<'_>,
    status: u16,
    location: Option<&str>,
    incident: &Incident,
) -> (String, Vec<u8>) {
    let id = incident.to_string();
    let Some(text) = template.text else {
        let mut error = serde_json::json!({ "message": reason(status) });
        if let Some(location) = location {
            error["location"] = location.into();
        }
        let body = serde_json::json!({
            "error": { "errors": [error], "code": status, "incident": id }
        });
        return ("application/json".into(), body.to_string().into_bytes());
    };
    let escape: fn(&str) -> String = match template.kind.contains("json") {
        true => in_json_string,
        false => escaped,
    };
    let status = format!("{status}");
    let values = [
        ("%REQUEST_URI%", template.uri),
        ("%REQUEST_URL%", template.url),
        ("%TARGET%", location.unwrap_or_default()),
        ("%STATUS%", status.as_str()),
        ("%INCIDENT%", id.as_str()),
    ];
    (
        template.kind.into(),
        filled(text, &values, escape).into_bytes(),
    )
}

/// The text with its words replaced, in one pass: a value that looks like a word stays as it is.
pub(crate) fn filled(text: &str, values: &[(&str, &str)], escape: fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match values.iter().find(|(word, _)| rest.starts_with(word)) {
            Some((word, value)) => {
                out.push_str(&escape(value));
                rest = &rest[word.len()..];
            }
            None => {
                out.push('%');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// For the inside of a string of JSON.
fn in_json_string(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].into()
}

/// What sends the form of [`posting`] on its way.
const SUBMIT: &str = "document.forms[0].submit()";
/// `base64(SHA-256(SUBMIT))`
const SUBMIT_HASH: &str = "ePniVEkSivX/c7XWBGafqh8tSpiRrKiqYeqbG7N1TOE=";

/// A page that posts fields to an address of AM's, by itself or by its button.
///
/// Its policy leaves the form's way open: browsers hold all redirects that follow against it.
pub fn posting(action: &str, fields: &[(&str, &str)]) -> Response {
    let inputs: String = fields
        .iter()
        .map(|(name, value)| {
            let (name, value) = (escaped(name), escaped(value));
            format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">\n")
        })
        .collect();
    let action = escaped(action);
    let main = format!(
        "<p>This page asks for another login.</p>\n\
         <form method=\"post\" action=\"{action}\">\n{inputs}<button>Continue</button>\n</form>"
    );
    scripted("One more step", &main, (SUBMIT, SUBMIT_HASH))
}

/// A page that runs one script, which does what its one link or form would: by the base64 of its SHA-256
/// (CSP level 2).
pub(crate) fn scripted(title: &str, main: &str, (script, hash): (&str, &str)) -> Response {
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n{main}\n</main>\n\
         <script>{script}</script>\n</body>\n</html>\n"
    );
    let csp = format!(
        "default-src 'none'; script-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'self'"
    );
    Response {
        status: 200,
        headers: vec![
            header("Content-Type", "text/html; charset=utf-8"),
            header("Content-Security-Policy", &csp),
            header("X-Content-Type-Options", "nosniff"),
            header(NO_STORE.0, NO_STORE.1),
        ],
        body: body.into_bytes(),
    }
}

/// Text inside an element or an attribute's quotes, of HTML or XML.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The reason phrase of a status (RFC 9110, 15).
fn reason(status: u16) -> &'static str {
    match status {
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

/// What a 401 has to say (RFC 9110, 11.6.1). No browser asks for a password on this word.
pub(crate) fn challenge() -> (Cow<'static, str>, Vec<u8>) {
    header("WWW-Authenticate", "Portcullis realm=\"login\"")
}

/// What an operator says about pages of ours.
pub struct Looks<'l> {
    /// `portcullis.page.template` for this kind of page.
    pub template: Option<&'l str>,
    /// Sources of `frame-ancestors`.
    pub framed_by: &'l str,
}

/// Makes a page of ours look as its operator wishes: title, text and incident id stay. The page that posts a
/// form has a template of its own, and only learns who may frame it.
pub fn dress(response: &mut Response, looks: &Looks<'_>, words: (&str, &str), incident: &Incident) {
    let mut rules = None;
    if let Some(template) = looks.template {
        let id = incident.to_string();
        let status = format!("{}", response.status);
        let values = [
            ("%TITLE%", words.0),
            ("%TEXT%", words.1),
            ("%STATUS%", status.as_str()),
            ("%INCIDENT%", id.as_str()),
        ];
        response.body = filled(template, &values, escaped).into_bytes();
        rules = Some(OPERATORS);
    }
    let policy = response.headers.iter_mut();
    for (_, value) in policy.filter(|h| h.0 == "Content-Security-Policy") {
        let known = core::str::from_utf8(value).unwrap_or(OWN);
        let rules = rules.unwrap_or(known);
        let kept = rules.rfind(FRAMED_BY).map_or(rules, |at| &rules[..at]);
        *value = format!("{kept}{FRAMED_BY}{}", looks.framed_by).into_bytes();
    }
}

/// A redirect to an address that was built or checked by `url::return_url`.
pub fn redirect(location: String) -> Response {
    Response {
        status: 302,
        headers: vec![
            (Cow::Borrowed("Location"), location.into_bytes()),
            header(NO_STORE.0, NO_STORE.1),
        ],
        body: Vec::new(),
    }
}

/// For answers that are no page (rule L9).
pub(crate) fn no_store() -> (Cow<'static, str>, Vec<u8>) {
    header(NO_STORE.0, NO_STORE.1)
}

fn header(name: &'static str, value: &str) -> (Cow<'static, str>, Vec<u8>) {
    (Cow::Borrowed(name), value.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_is_the_one_that_browsers_are_told_of() {
        use base64::{Engine, engine::general_purpose::STANDARD};
        use sha2::{Digest, Sha256};
        let digest = STANDARD.encode(Sha256::digest(STYLE));
        assert!(OWN.contains(&format!("'sha256-{digest}'")), "{digest}");
    }

    #[test]
    fn a_form_holds_what_it_is_given_and_runs_one_script() {
        use base64::{Engine, engine::general_purpose::STANDARD};
        use sha2::{Digest, Sha256};
        assert_eq!(STANDARD.encode(Sha256::digest(SUBMIT)), SUBMIT_HASH);
        let p = posting("http://am/?a=1&b=\"", &[("x", "<Advices a=\"1\"/>")]);
        let body = String::from_utf8(p.body).unwrap();
        assert!(
            body.contains("action=\"http://am/?a=1&amp;b=&quot;\""),
            "{body}"
        );
        assert!(
            body.contains("value=\"&lt;Advices a=&quot;1&quot;/&gt;\""),
            "{body}"
        );
    }

    #[test]
    fn a_page_may_lead_on() {
        let mut p = page(
            403,
            "No access",
            "You may not see this page.",
            &Incident::NONE,
        );
        lead_on(&mut p);
        let body = String::from_utf8(p.body).unwrap();
        assert!(
            body.contains("<a href=\"/\">") && body.ends_with(END),
            "{body}"
        );
        let mut none = redirect("http://am/".into());
        lead_on(&mut none);
        assert!(none.body.is_empty());
    }

    #[test]
    fn pages_are_never_stored() {
        let p = page(
            403,
            "No access",
            "You may not see this page.",
            &Incident::NONE,
        );
        assert!(
            p.headers
                .iter()
                .any(|(n, v)| n == "Cache-Control" && v == b"no-store")
        );
    }
}
