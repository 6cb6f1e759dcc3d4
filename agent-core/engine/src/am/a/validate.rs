//! Is this token alive? The one question about a token that AM answers without a caller's rights:
//! asked about the agent's own token before a user's is blamed for an error (rule S5).

use alloc::string::String;

use serde::Deserialize;

use super::{AmError, Exchange, Reply, SMALL, json, post, status};
use crate::token::Secret;

#[derive(Deserialize)]
struct Answer {
    valid: bool,
}

/// `validate` exists in version 1 of the resource only. The token travels in its header, because a
/// `tokenId` in the query would end in AM's access log. Measured on OpenAM 16.0.5: the idle time of the
/// token's session starts anew.
pub fn encode(token_header: &str, token: &Secret) -> Exchange {
    let path = String::from("json/sessions?_action=validate");
    post(
        path,
        "resource=1.2, protocol=1.0",
        Some((token_header, token)),
        b"{}".to_vec(),
    )
}

/// Whether the token is alive.
pub fn parse(reply: &Reply<'_>) -> Result<bool, AmError> {
    match reply.status {
        200 => json::<Answer>(reply, SMALL).map(|a| a.valid),
        401 => Ok(false),
        _ => Err(status(reply)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Cause;

    #[test]
    fn reads_what_openam_16_sends() {
        let reply = |status, body: &'static str| {
            parse(&Reply {
                status,
                headers: &[],
                body: body.as_bytes(),
            })
        };
        assert_eq!(
            reply(200, r#"{"valid":true,"uid":"wa1","realm":"/"}"#),
            Ok(true)
        );
        assert_eq!(reply(200, r#"{"valid":false}"#), Ok(false));
        assert_eq!(reply(200, "{}"), Err(AmError::PROTOCOL));
        assert_eq!(
            reply(501, "{}"),
            Err(AmError::Unavailable(Cause::Status(501)))
        );
    }

    #[test]
    fn the_token_is_not_in_the_path() {
        let e = encode("iPlanetDirectoryPro", &Secret::new(b"AQIC5wAGENT".to_vec()));
        assert_eq!(e.path, "json/sessions?_action=validate");
        assert!(e.headers.iter().any(|(n, _)| n == "iPlanetDirectoryPro"));
    }
}
