//! Which server keeps a session? What AM's load balancer reads from its cookie, taken from the token.
//!
//! Nothing else is ever read from a token: its first part is AM's own affair.

use alloc::{string::String, vec::Vec};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::normalize_token;

/// Longest server id that is passed on.
const MAX_ID: usize = 32;

/// The value of `amlbcookie` for calls about this token: the id of the primary server (`S1`), which a
/// token of a site has, else of the server or site (`SI`). `None` for what no AM issued.
pub fn server_id(token: &[u8]) -> Option<String> {
    let token = normalize_token(token);
    let mut parts = token.expose().split(|b| *b == b'*');
    let (_, extensions) = (parts.next()?, parts.next()?);
    let end = extensions.iter().rposition(|b| *b != b'.')? + 1;
    let bytes = URL_SAFE_NO_PAD.decode(&extensions[..end]).ok()?;
    let mut texts = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (text, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        texts.push(text);
        rest = after;
    }
    let (pairs, _) = texts.as_chunks::<2>();
    let value = |name: &[u8]| pairs.iter().find(|[n, _]| *n == name).map(|[_, v]| *v);
    let id = value(b"S1").or_else(|| value(b"SI"))?;
    let plain = id
        .iter()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
    (plain && (1..=MAX_ID).contains(&id.len())).then(|| String::from_utf8_lossy(id).into_owned())
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    fn token(pairs: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in pairs {
            bytes.extend_from_slice(&(text.len() as u16).to_be_bytes());
            bytes.extend_from_slice(text);
        }
        format!("AQIC5wM2.*{}..*", URL_SAFE_NO_PAD.encode(bytes)).into_bytes()
    }

    #[test]
    fn the_primary_server_comes_before_the_site() {
        let known = b"AQIC5wM2LY4Sfc.*AAJTSQACMDEAAlNLABQtMTIzNDU2Nzg5MDEyMzQ1Njc4OTAAAlMxAAA.*";
        assert_eq!(server_id(known), None, "an empty id is none");
        assert_eq!(server_id(&token(&[b"SI", b"01"])).as_deref(), Some("01"));
        let site = token(&[b"SI", b"02", b"SK", b"-9", b"S1", b"01"]);
        assert_eq!(server_id(&site).as_deref(), Some("01"));
        // As AM writes it without c66 encoding.
        let raw = b"AQIC5wM2LY4Sfc==@AAJTSQACMDE=#";
        assert_eq!(server_id(raw).as_deref(), Some("01"));
    }

    #[test]
    fn nothing_that_a_client_makes_up_becomes_a_header() {
        for bad in [
            &b""[..],
            b"AQIC5w",
            b"AQIC5w.*",
            b"AQIC5w.**",
            b"AQIC5w.*!!!*",
            b"AQIC5w.*AAJTSQD_MDE*",
            &token(&[b"SI", b"01\r\nX: y"]),
            &token(&[b"SI", b"01; other=1"]),
            &token(&[b"SI", &[b'1'; 33]]),
            &token(&[b"SK", b"01"]),
        ] {
            assert_eq!(server_id(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
