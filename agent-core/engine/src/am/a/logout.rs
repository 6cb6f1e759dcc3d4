//! How is a session ended at AM? By its own token as the caller, with no `tokenId`: that way the
//! token is in no URL and so in no access log, and AM needs no other session to be alive.

use alloc::string::String;

use super::{AmError, Exchange, Reply, post, status, user_token};
use crate::token::Secret;

/// What AM did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It ended the session now. A client-side session stays valid at AM all the same (rule S1).
    Now,
    /// The session was over before.
    Before,
}

/// Ends the session of this token, a user's or the agent's own.
pub fn encode(token_header: &str, token: &Secret) -> Result<Exchange, AmError> {
    user_token(token)?;
    let path = String::from("json/sessions?_action=logout");
    Ok(post(
        path,
        "resource=1.2, protocol=1.0",
        Some((token_header, token)),
        b"{}".to_vec(),
    ))
}

/// The caller's token being dead (401) is what was wanted.
pub fn parse(reply: &Reply<'_>) -> Result<Ended, AmError> {
    match reply.status {
        200 => Ok(Ended::Now),
        401 => Ok(Ended::Before),
        _ => Err(status(reply)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Cause;

    #[test]
    fn reads_what_openam_16_sends() {
        let read = |status, body: &'static str| {
            parse(&Reply {
                status,
                headers: &[],
                body: body.as_bytes(),
            })
        };
        assert_eq!(
            read(200, r#"{"result":"Successfully logged out"}"#),
            Ok(Ended::Now)
        );
        let dead = r#"{"code":401,"reason":"Unauthorized","message":"Access Denied"}"#;
        assert_eq!(read(401, dead), Ok(Ended::Before));
        assert_eq!(read(302, ""), Err(AmError::Unavailable(Cause::Status(302))));
    }

    #[test]
    fn the_token_is_in_no_url() {
        let e = encode("iPlanetDirectoryPro", &Secret::new(b"AQIC5w.*".to_vec()))
            .ok()
            .unwrap();
        assert_eq!(e.path, "json/sessions?_action=logout");
        assert!(encode("x", &Secret::new(b"a\nb".to_vec())).err() == Some(AmError::UserDead));
    }
}
