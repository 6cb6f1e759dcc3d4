//! What does AM know about the user of a session? Read with the user's own token: an agent may not
//! read anybody's profile.

use alloc::{format, string::String, vec::Vec};

use percent_encoding::utf8_percent_encode;

use super::{
    AmError, Exchange, MAX_TOKEN, Members, Reply, SEGMENT, SMALL, Texts, borrowed, get, json,
    realm_path, slices, status, user_token,
};
use crate::{am::Refusal, record::Attributes, token::Secret};

/// Cap of an answer: an attribute may be a picture.
const MAX_BODY: usize = 16 * SMALL;

/// Asks for `names` of `user` (see [`super::session::user_of`]) in `realm`, both as AM's answer about
/// the session has them. A name with a comma or a slash is no attribute name and is left out.
/// AM answers with the entry that the URL names and gives a user no other than their own (403), so
/// the answer is about the owner of the token (rule S5) although it does not repeat the name.
/// The question counts as activity of the user: the token is used as caller.
pub fn encode(
    realm: &str,
    user: &str,
    names: &[String],
    token_header: &str,
    token: &Secret,
) -> Result<Exchange, AmError> {
    user_token(token)?;
    if user.is_empty() || user == "." || user == ".." || user.len() > MAX_TOKEN {
        return Err(AmError::PROTOCOL);
    }
    let fields: Vec<String> = names
        .iter()
        .filter(|n| !n.is_empty() && !n.contains([',', '/']))
        .map(|n| format!("{}", utf8_percent_encode(n, SEGMENT)))
        .collect();
    let user = utf8_percent_encode(user, SEGMENT);
    let path = realm_path(realm, &format!("users/{user}?_fields={}", fields.join(",")));
    let exchange = get(
        path,
        "resource=3.0, protocol=1.0",
        Some((token_header, token)),
    );
    Ok(Exchange {
        max_body: MAX_BODY,
        once: false,
        ..exchange
    })
}

/// A record for [`Attributes`] with the attributes of `names` that have a value.
pub fn parse(reply: &Reply<'_>, names: &[String]) -> Result<Vec<u8>, AmError> {
    match reply.status {
        200 => {}
        401 => return Err(AmError::UserDead),
        403 | 404 => return Err(AmError::NotAllowed(Refusal::Operation)),
        _ => return Err(status(reply)),
    }
    let members: Members<Texts> = json(reply, MAX_BODY)?;
    let wanted: Vec<(String, Vec<String>)> = members
        .0
        .into_iter()
        .filter(|(name, _)| names.contains(name))
        .filter_map(|(name, texts)| Some((name, texts.into_vec().filter(|v| !v.is_empty())?)))
        .collect();
    Attributes::encode(&slices(&borrowed(&wanted))).ok_or(AmError::PROTOCOL)
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    fn names() -> Vec<String> {
        vec!["cn".into(), "mail".into(), "nosuch".into()]
    }

    fn read(status: u16, body: &str) -> Result<Vec<u8>, AmError> {
        parse(
            &Reply {
                status,
                headers: &[],
                body: body.as_bytes(),
            },
            &names(),
        )
    }

    #[test]
    fn asks_for_the_attributes_wanted_and_no_others() {
        let token = Secret::new(b"AQIC5wUSER.*".to_vec());
        let asked = vec!["cn".into(), "a,b".into(), "x;y".into(), "".into()];
        let e = encode("/shop", "a/b é", &asked, "iPlanetDirectoryPro", &token)
            .ok()
            .unwrap();
        assert_eq!(
            e.path,
            "json/realms/root/realms/shop/users/a%2Fb%20%C3%A9?_fields=cn,x%3By"
        );
        assert!(encode("/", "..", &asked, "x", &token).is_err());
    }

    #[test]
    fn reads_what_openam_16_sends() {
        let body = r#"{"cn":["Demo User"],"mail":["a@example.com","b@example.com"],"nosuch":[],"uid":["demo1"]}"#;
        let bytes = read(200, body).unwrap();
        let a = Attributes::decode(&bytes).unwrap();
        assert_eq!(a.values.first("cn"), Some("Demo User"));
        assert_eq!(a.values.get("mail").unwrap().count(), 2);
        assert_eq!(a.values.iter().count(), 2);
    }

    #[test]
    fn failures_are_told_apart() {
        assert_eq!(
            read(200, r#"{"cn":["x"],"cn":["y"]}"#),
            Err(AmError::PROTOCOL)
        );
        assert_eq!(read(401, ""), Err(AmError::UserDead));
        assert_eq!(read(403, ""), Err(AmError::NotAllowed(Refusal::Operation)));
    }
}
