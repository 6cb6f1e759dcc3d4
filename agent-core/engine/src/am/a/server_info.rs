//! What is AM's session cookie called? Asked anonymously, so it also tells whether AM answers at all.

use alloc::{string::String, vec::Vec};

use serde::Deserialize;

use super::{AmError, Exchange, Reply, SMALL, get, json, status};

/// What AM says about itself to anybody.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerInfo {
    /// Name of the session cookie, and of the header in which a token is presented.
    pub cookie_name: String,
    /// The cookie is sent over TLS only.
    #[serde(default)]
    pub secure_cookie: bool,
    /// Domains for which AM sets its cookie.
    #[serde(default)]
    pub domains: Vec<String>,
}

/// `GET json/serverinfo/*`.
pub fn encode() -> Exchange {
    get(
        String::from("json/serverinfo/*"),
        "resource=1.1, protocol=1.0",
        None,
    )
}

/// The name is used as a header field, so whatever is no RFC 9110 token is refused.
pub fn parse(reply: &Reply<'_>) -> Result<ServerInfo, AmError> {
    if reply.status != 200 {
        return Err(status(reply));
    }
    let info: ServerInfo = json(reply, SMALL)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match !info.cookie_name.is_empty() && info.cookie_name.bytes().all(allowed) {
        true => Ok(info),
        false => Err(AmError::PROTOCOL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Cause;

    fn reply(status: u16, body: &str) -> Result<ServerInfo, AmError> {
        parse(&Reply {
            status,
            headers: &[],
            body: body.as_bytes(),
        })
    }

    #[test]
    fn reads_what_openam_16_sends() {
        let info = reply(
            200,
            r#"{"_id":"*","_rev":"1203573102","domains":["test.example.org"],"protectedUserAttributes":[],"cookieName":"iPlanetDirectoryPro","secureCookie":false,"cookieSameSite":null,"forgotPassword":"false","lang":"en-US","zeroPageLogin":{"enabled":false,"refererWhitelist":[],"allowedWithoutReferer":true},"realm":"/","xuiUserSessionValidationEnabled":true}"#,
        );
        assert_eq!(
            info,
            Ok(ServerInfo {
                cookie_name: "iPlanetDirectoryPro".into(),
                secure_cookie: false,
                domains: ["test.example.org".into()].into(),
            })
        );
    }

    #[test]
    fn a_name_that_is_no_header_name_is_refused() {
        for name in ["", "a b", "a:b", "a\\r\\nX", "é"] {
            let body = std::format!(r#"{{"cookieName":"{name}"}}"#);
            assert_eq!(reply(200, &body), Err(AmError::PROTOCOL), "{name}");
        }
        assert_eq!(reply(200, "{}"), Err(AmError::PROTOCOL));
        assert_eq!(
            reply(302, ""),
            Err(AmError::Unavailable(Cause::Status(302)))
        );
    }
}
