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
    fn pages_are_never_stored() {
        let p = page(403, "No access", "You may not see this page.", &[0; 10]);
        assert!(
            p.headers
                .iter()
                .any(|(n, v)| n == "Cache-Control" && v == b"no-store")
        );
    }
}
