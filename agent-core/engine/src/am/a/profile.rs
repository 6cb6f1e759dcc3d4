//! What does AM hold as the configuration of this agent?

use alloc::{format, string::String, vec::Vec};

use percent_encoding::utf8_percent_encode;

use super::{
    AmError, Exchange, LARGE, Members, Reply, SEGMENT, Texts, get, json, realm_path, status,
};
use crate::{am::Refusal, token::Secret};

/// Asks for the profile of `agent` with the agent's own token; the profile must be in `realm`.
/// `agent` must not be `.` or `..`, which no URL can carry as the name of one thing.
pub fn encode(realm: &str, agent: &str, token_header: &str, token: &Secret) -> Exchange {
    let path = realm_path(
        realm,
        &format!("agents/{}", utf8_percent_encode(agent, SEGMENT)),
    );
    let exchange = get(
        path,
        "resource=3.0, protocol=1.0",
        Some((token_header, token)),
    );
    Exchange {
        max_body: LARGE,
        once: false,
        ..exchange
    }
}

/// Every attribute with its values, in AM's order and spelling. Members that are neither text nor a
/// list of text are left out. The password is not among them.
pub fn parse(reply: &Reply<'_>, agent: &str) -> Result<Vec<(String, Vec<String>)>, AmError> {
    match reply.status {
        200 => {}
        401 => return Err(AmError::AgentDead),
        403 => return Err(AmError::NotAllowed(Refusal::Operation)),
        404 => return Err(AmError::Refused { status: 404 }),
        _ => return Err(status(reply)),
    }
    let members: Members<Texts> = json(reply, LARGE)?;
    let profile: Vec<(String, Vec<String>)> = members
        .0
        .into_iter()
        .filter_map(|(n, v)| Some((n, v.into_vec()?)))
        .collect();
    // Rule S5: the profile must be the one that was asked for.
    let named = |v: &Vec<String>| v.len() == 1 && v[0].eq_ignore_ascii_case(agent);
    match profile.iter().any(|(n, v)| n == "username" && named(v)) {
        true => Ok(profile),
        false => Err(AmError::PROTOCOL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<Vec<(String, Vec<String>)>, AmError> {
        parse(
            &Reply {
                status,
                headers: &[],
                body: body.as_bytes(),
            },
            "wa1",
        )
    }

    #[test]
    fn asks_for_its_own_profile() {
        let e = encode(
            "/shop",
            "w/a 1",
            "iPlanetDirectoryPro",
            &Secret::new(b"t".to_vec()),
        );
        assert_eq!(e.path, "json/realms/root/realms/shop/agents/w%2Fa%201");
    }

    #[test]
    fn reads_what_openam_16_sends() {
        let profile = read(
            200,
            r#"{"username":"wa1","realm":"/","com.sun.identity.agents.config.cookie.secure":["false"],"com.sun.identity.agents.config.fqdn.mapping":["[]="],"com.sun.identity.agents.config.login.url":["[0]=http://am.test.example.org:18080/openam/UI/Login","[1]=b"],"AgentType":["WebAgent"],"odd":{"a":[1]},"n":3}"#,
        )
        .unwrap();
        assert_eq!(profile.len(), 6);
        assert_eq!(profile[0], ("username".into(), ["wa1".into()].into()));
        assert_eq!(profile[4].1.len(), 2);
    }

    #[test]
    fn failures_are_told_apart() {
        let other = r#"{"username":"wa2","realm":"/"}"#;
        assert_eq!(read(200, other), Err(AmError::PROTOCOL));
        assert_eq!(
            read(200, r#"{"username":"wa1","a":["1"],"a":["2"]}"#),
            Err(AmError::PROTOCOL)
        );
        assert_eq!(read(401, ""), Err(AmError::AgentDead));
        assert_eq!(read(403, ""), Err(AmError::NotAllowed(Refusal::Operation)));
        assert_eq!(read(404, ""), Err(AmError::Refused { status: 404 }));
    }
}
