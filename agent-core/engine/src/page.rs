//! The agent's own pages: plain HTML that works without scripts, styles or anything from elsewhere.
//!
//! A page tells the user what they can do; the cause is in the log under the incident id.

use alloc::{borrow::Cow, format, string::String, vec, vec::Vec};

use crate::contract::Response;

/// Headers of every page and redirect of ours (rule L9).
const NO_STORE: (&str, &str) = ("Cache-Control", "no-store");
const CSP: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// An incident id as shown: 16 characters of Crockford's base 32.
pub fn incident_text(id: &[u8; 10]) -> [u8; 16] {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut text = [0; 16];
    for (i, slot) in text.iter_mut().enumerate() {
        let bit = i * 5;
        let pair = u16::from(id[bit / 8]) << 8 | u16::from(*id.get(bit / 8 + 1).unwrap_or(&0));
        *slot = ALPHABET[usize::from(pair >> (11 - bit % 8) & 31)];
    }
    text
}

/// A page: status, title, one sentence for the user, incident id.
pub fn page(status: u16, title: &str, text: &str, incident: &[u8; 10]) -> Response {
    let id = incident_text(incident);
    let id = core::str::from_utf8(&id).unwrap_or_default();
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n<p>{text}</p>\n\
         <p>If you ask for help, give this number: <code>{id}</code></p>\n</main>\n</body>\n</html>\n"
    );
    Response {
        status,
        headers: vec![
            header("Content-Type", "text/html; charset=utf-8"),
            header("Content-Security-Policy", CSP),
            header("X-Content-Type-Options", "nosniff"),
            header(NO_STORE.0, NO_STORE.1),
        ],
        body: body.into_bytes(),
    }
}

/// What sends the form of [`posting`] on its way.
const SUBMIT: &str = "document.forms[0].submit()";
/// `base64(SHA-256(SUBMIT))`: the one script that the page may run (CSP level 2).
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
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>One more step</title>\n</head>\n\
         <body>\n<main>\n<h1>One more step</h1>\n<p>This page asks for another login.</p>\n\
         <form method=\"post\" action=\"{action}\">\n{inputs}<button>Continue</button>\n</form>\n</main>\n\
         <script>{SUBMIT}</script>\n</body>\n</html>\n"
    );
    let csp = format!(
        "default-src 'none'; script-src 'sha256-{SUBMIT_HASH}'; base-uri 'none'; frame-ancestors 'self'"
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

fn header(name: &'static str, value: &str) -> (Cow<'static, str>, Vec<u8>) {
    (Cow::Borrowed(name), value.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_id_uses_all_its_bits() {
        assert_eq!(&incident_text(&[0; 10]), b"0000000000000000");
        assert_eq!(&incident_text(&[255; 10]), b"ZZZZZZZZZZZZZZZZ");
        assert_eq!(
            &incident_text(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            b"0000000000000001"
        );
        assert_eq!(
            &incident_text(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            b"G000000000000000"
        );
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
    fn pages_are_never_stored() {
        let p = page(403, "No access", "You may not see this page.", &[0; 10]);
        assert!(
            p.headers
                .iter()
                .any(|(n, v)| n == "Cache-Control" && v == b"no-store")
        );
    }
}
