//! Which keys does AM sign agents' ID tokens with? What it publishes at `/oauth2/connect/jwk_uri` of the root
//! realm, also where no OAuth2 provider is configured.
//!
//! Keys that no ID token may be signed with are left out here: encryption keys, other algorithms, RSA below
//! 2048 bits. Must not decide which key a token needs; that is `token/jwt.rs`.

use alloc::{borrow::Cow, collections::BTreeMap, string::String, vec::Vec};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::{
    am::{
        AmError, Exchange, Method, Reply, Value,
        a::{json, status},
    },
    record::{KeyKind, PublishedKey, PublishedKeys},
    token::Secret,
};

/// Cap of an answer, bytes: some dozen keys with their certificates.
const MAX_BODY: usize = 256 * 1024;
/// Most keys that are kept: so many fit into shared memory, however large they are.
const MAX_KEYS: usize = 32;
/// Longest name of a key that is kept.
const MAX_ID: usize = 256;
/// RSA keys of other sizes are neither safe nor sane, bits (RFC 7518, 3.3).
const RSA_BITS: core::ops::RangeInclusive<usize> = 2048..=8192;
/// Bytes of a coordinate on P-256 (RFC 7518, 6.2.1.2).
const P256: usize = 32;

/// Asks for the keys; nobody has to be logged in.
pub fn encode() -> Exchange {
    let accept = Value::Plain(Cow::Borrowed("application/json"));
    Exchange {
        method: Method::Get,
        path: "oauth2/connect/jwk_uri".into(),
        headers: Vec::from([(Cow::Borrowed("Accept"), accept)]),
        body: Secret::new(Vec::new()),
        max_body: MAX_BODY,
        once: false,
    }
}

/// A JWK set (RFC 7517, 5).
#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// A key, as far as it matters here (RFC 7517, 4; RFC 7518, 6).
#[derive(Deserialize)]
struct Jwk {
    kty: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A record of the keys that may sign ID tokens.
///
/// # Errors
/// The answer is none, or no key set. A key that is odd is no error: it is not there.
pub fn parse(reply: &Reply<'_>) -> Result<Vec<u8>, AmError> {
    if reply.status != 200 {
        return Err(status(reply));
    }
    let set: Set = json(reply, MAX_BODY)?;
    // What has one name twice with different numbers has no key of that name.
    let mut named: BTreeMap<(&str, &str), Option<PublishedKey<'_>>> = BTreeMap::new();
    for key in set.keys.iter().filter_map(usable) {
        let known = named.entry((key.id, key.kind.word())).or_insert(Some(key));
        if known.is_some_and(|known| known != key) {
            *known = None;
        }
    }
    let keys: Vec<PublishedKey<'_>> = named.into_values().flatten().take(MAX_KEYS).collect();
    PublishedKeys::encode(&keys).ok_or(AmError::PROTOCOL)
}

/// The key, where an ID token may be signed with it.
fn usable(key: &Jwk) -> Option<PublishedKey<'_>> {
    let id = key.kid.as_deref()?;
    if id.is_empty() || id.len() > MAX_ID || key.usage.as_deref().is_some_and(|u| u != "sig") {
        return None;
    }
    let (kind, numbers) = match key.kty.as_deref()? {
        "RSA" => (KeyKind::Rs256, rsa(key)?),
        "EC" => (KeyKind::Es256, p256(key)?),
        _ => return None,
    };
    // A key says for itself what it is for; its type alone says what it can do.
    let meant = key.alg.as_deref().is_none_or(|alg| alg == kind.word());
    meant.then_some(PublishedKey { id, kind, numbers })
}

fn rsa(key: &Jwk) -> Option<[&str; 2]> {
    let (n, e) = (key.n.as_deref()?, key.e.as_deref()?);
    let exponent = number(e)?;
    let odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    // 1 signs anything; 3 and 65537 are those in use, and none is longer than four bytes.
    let sane = odd && exponent.len() <= 4 && exponent != [1];
    (sane && RSA_BITS.contains(&bits(&number(n)?))).then_some([n, e])
}

fn p256(key: &Jwk) -> Option<[&str; 2]> {
    let (x, y) = (key.x.as_deref()?, key.y.as_deref()?);
    let fits = |text: &str| URL_SAFE_NO_PAD.decode(text).is_ok_and(|n| n.len() == P256);
    (key.crv.as_deref()? == "P-256" && fits(x) && fits(y)).then_some([x, y])
}

/// A number without the zeros in front (RFC 7518, 2: `Base64urlUInt`).
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes[first..].to_vec())
}

fn bits(number: &[u8]) -> usize {
    let unused = number
        .first()
        .map_or(0, |byte| byte.leading_zeros() as usize);
    number.len() * 8 - unused
}

#[cfg(test)]
mod tests {
    use std::{format, string::ToString};

    use serde_json::{Value as Json, json};

    use super::*;
    use crate::contract::Cause;

    fn read(status: u16, body: &str) -> Result<Vec<u8>, AmError> {
        parse(&Reply {
            status,
            headers: &[],
            body: body.as_bytes(),
        })
    }

    fn names(keys: Json) -> Vec<String> {
        let record = read(200, &json!({ "keys": keys }).to_string()).unwrap();
        let keys = PublishedKeys::decode(&record).unwrap();
        keys.iter()
            .map(|key| format!("{} {}", key.id, key.kind.word()))
            .collect()
    }

    /// A number of so many bits.
    fn of_bits(bits: usize) -> String {
        let mut bytes = [0xa5_u8; 1200][..bits.div_ceil(8)].to_vec();
        bytes[0] = 1 << ((bits - 1) % 8);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn rsa_key(id: &str, bits: usize) -> Json {
        json!({ "kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "n": of_bits(bits), "e": "AQAB",
            "x5t": "JRxY4hJRL3sI", "x5c": ["MIIDYTCCAkm"] })
    }

    fn ec_key(id: &str) -> Json {
        let coordinate = URL_SAFE_NO_PAD.encode([7; 32]);
        json!({ "kty": "EC", "kid": id, "use": "sig", "alg": "ES256", "crv": "P-256", "x": coordinate, "y": coordinate })
    }

    fn with(mut key: Json, name: &str, value: Json) -> Json {
        key[name] = value;
        key
    }

    #[test]
    fn nobody_has_to_be_logged_in_to_ask() {
        let asked = encode();
        assert_eq!(asked.path, "oauth2/connect/jwk_uri");
        assert!(asked.method == Method::Get && asked.body.is_empty());
        assert!(asked.headers.iter().all(|(name, _)| name == "Accept"));
    }

    #[test]
    fn keys_that_sign_id_tokens_are_kept() {
        let all = json!([
            rsa_key("wU3ifIIaLOUAReRB/FG6eM1P1QM=", 2048),
            ec_key("e"),
            rsa_key("r", 8192)
        ]);
        assert_eq!(
            names(all),
            ["e ES256", "r RS256", "wU3ifIIaLOUAReRB/FG6eM1P1QM= RS256"]
        );
        // What a key does not say of itself follows from its type.
        for member in ["alg", "use"] {
            assert_eq!(
                names(json!([with(rsa_key("r", 2048), member, Json::Null)])),
                ["r RS256"]
            );
        }
        // One name may stand for a key of each kind, and be there twice.
        let same = json!([rsa_key("a", 2048), ec_key("a"), rsa_key("a", 2048)]);
        assert_eq!(names(same), ["a ES256", "a RS256"]);
    }

    #[test]
    fn no_other_key_is_there() {
        let (rsa, ec) = (rsa_key("r", 2048), ec_key("e"));
        let long = "x".repeat(300);
        for odd in [
            rsa_key("r", 1024),
            rsa_key("r", 2047),
            rsa_key("r", 8200),
            with(rsa.clone(), "use", json!("enc")),
            with(rsa.clone(), "alg", json!("RS384")),
            with(rsa.clone(), "alg", json!("PS256")),
            with(rsa.clone(), "alg", json!("HS256")),
            with(rsa.clone(), "alg", json!("ES256")),
            with(rsa.clone(), "kid", Json::Null),
            with(rsa.clone(), "kid", json!("")),
            with(rsa.clone(), "kid", json!(long)),
            with(rsa.clone(), "n", Json::Null),
            with(rsa.clone(), "n", json!("+/==")),
            with(rsa.clone(), "n", json!("")),
            with(rsa.clone(), "e", json!("AQ")),
            with(rsa.clone(), "e", json!("BA")),
            with(rsa.clone(), "e", json!("AAAA")),
            with(rsa.clone(), "e", json!("AQAAAAAB")),
            with(rsa, "kty", json!("oct")),
            with(ec.clone(), "crv", json!("P-384")),
            with(ec.clone(), "crv", Json::Null),
            with(ec.clone(), "x", json!("AAAA")),
            with(ec.clone(), "alg", json!("RS256")),
            with(ec.clone(), "alg", json!("ES384")),
            with(ec, "kty", json!("RSA")),
            json!({ "kty": "oct", "kid": "o", "alg": "HS256", "k": "AAAA" }),
            json!({}),
        ] {
            assert_eq!(names(json!([odd])), [""; 0], "{odd}");
        }
        // Zeros in front are no bits.
        let padded = [&[0; 200][..], &[1; 60]].concat();
        let padded = with(
            rsa_key("r", 2048),
            "n",
            json!(URL_SAFE_NO_PAD.encode(padded)),
        );
        assert_eq!(names(json!([padded])), [""; 0]);
        // Two keys of one name: nobody knows which is meant.
        let two = json!([
            rsa_key("a", 2048),
            rsa_key("a", 2049),
            rsa_key("a", 2048),
            rsa_key("b", 2048)
        ]);
        assert_eq!(names(two), ["b RS256"]);
    }

    #[test]
    fn a_set_is_bounded() {
        let many: Vec<Json> = (0..200).map(|n| ec_key(&n.to_string())).collect();
        assert_eq!(names(json!(many)).len(), MAX_KEYS);
        assert_eq!(names(json!([])), [""; 0]);
    }

    #[test]
    fn what_is_no_key_set_is_none() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[1]}"#,
            r#"{"keys":[{"kty":1}]}"#,
            r#"{"keys":[],"keys":[]}"#,
        ] {
            assert_eq!(read(200, body).err(), Some(AmError::PROTOCOL), "{body}");
        }
        for status in [404, 500, 302] {
            let error = AmError::Unavailable(Cause::Status(status));
            assert_eq!(read(status, r#"{"keys":[]}"#).err(), Some(error));
        }
    }
}
