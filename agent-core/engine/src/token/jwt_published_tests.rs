//! Tokens of dialect B: who may sign them, and what they have to say.

use std::{format, string::ToString};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};

use super::*;
use crate::record::PublishedKey;

const NOW: u64 = 1_800_000_000;

/// A key of AM's.
enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Key {
    fn rsa(size: KeySize) -> Key {
        Key::Rsa(RsaKeyPair::generate(size).unwrap())
    }

    fn ec() -> Key {
        Key::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// As AM publishes it.
    fn numbers(&self) -> [String; 2] {
        let (first, second) = match self {
            Key::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                (public.n, public.e)
            }
            Key::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                (point[..32].to_vec(), point[32..].to_vec())
            }
        };
        [first, second].map(|number| URL_SAFE_NO_PAD.encode(number))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Key::Rsa(pair) => {
                let mut signature = std::vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Key::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
        }
    }

    fn token(&self, header: &Value, claims: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

/// A record of keys by name.
fn published(keys: &[(&str, KeyKind, &Key)]) -> Vec<u8> {
    let numbers: Vec<_> = keys.iter().map(|(_, _, key)| key.numbers()).collect();
    let keys = keys.iter().zip(&numbers);
    let keys: Vec<_> = keys
        .map(|((id, kind, _), [first, second])| PublishedKey {
            id,
            kind: *kind,
            numbers: [first, second],
        })
        .collect();
    PublishedKeys::encode(&keys).unwrap()
}

/// The claims that the documentation shows.
fn claims() -> Value {
    json!({
        "sub": "demo", "auditTrackingId": "a-1", "iss": "https://am.example.com:8443/am/oauth2",
        "tokenName": "id_token", "nonce": "n0nce", "aud": "wa1", "s_hash": "x", "azp": "wa1",
        "auth_time": NOW, "forgerock": { "ssotoken": "AQIC5w*", "suid": "b-2" }, "realm": "/shop",
        "exp": NOW + 3600, "tokenType": "JWTToken", "iat": NOW, "agent_realm": "/agents",
    })
}

fn check(token: &str, keys: &[u8]) -> Result<IdToken, JwtError> {
    let expect = Expect {
        client: "wa1",
        any_client: false,
        also: &[],
        issuers: &["https://am.example.com:8443/am/oauth2"],
        nonce: "n0nce",
        realm: "/shop",
        agent_realm: "/agents",
    };
    let keys = PublishedKeys::decode(keys).unwrap();
    let now = UnixMillis(NOW * 1000);
    verify(token.as_bytes(), Signer::Published(keys), &expect, now)
}

#[test]
fn the_key_that_the_token_names_has_to_have_signed_it() {
    let (rsa, other, ec) = (
        Key::rsa(KeySize::Rsa2048),
        Key::rsa(KeySize::Rsa2048),
        Key::ec(),
    );
    let keys = published(&[
        ("r", KeyKind::Rs256, &rsa),
        ("o", KeyKind::Rs256, &other),
        ("e", KeyKind::Es256, &ec),
    ]);
    let text = claims().to_string();
    let made = |key: &Key, alg: &str, kid: &str| {
        let token = key.token(&json!({ "alg": alg, "kid": kid }), &text);
        check(&token, &keys).err()
    };
    for (key, alg, kid) in [
        (&rsa, "RS256", "r"),
        (&ec, "ES256", "e"),
        (&other, "RS256", "o"),
    ] {
        assert_eq!(made(key, alg, kid), None, "{alg} {kid}");
    }
    let good = check(
        &rsa.token(&json!({ "alg": "RS256", "kid": "r" }), &text),
        &keys,
    );
    assert_eq!(good.ok().unwrap().sso_token.expose(), b"AQIC5w*");
    for (key, alg, kid, error) in [
        (&rsa, "RS256", "o", JwtError::BadSignature),
        (&ec, "RS256", "r", JwtError::BadSignature),
        (&rsa, "ES256", "e", JwtError::BadSignature),
        // A name belongs to a key of one kind.
        (&rsa, "ES256", "r", JwtError::UnknownKey),
        (&ec, "RS256", "e", JwtError::UnknownKey),
        (&rsa, "RS256", "R", JwtError::UnknownKey),
        (&rsa, "RS256", "", JwtError::UnknownKey),
    ] {
        assert_eq!(made(key, alg, kid), Some(error), "{alg} {kid}");
    }
    for alg in [
        "none", "None", "", "rs256", "HS256", "HS512", "RS384", "RS512", "PS256", "ES384", "EdDSA",
    ] {
        assert_eq!(made(&rsa, alg, "r"), Some(JwtError::BadAlgorithm), "{alg}");
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let rsa = Key::rsa(KeySize::Rsa2048);
    let keys = published(&[("r", KeyKind::Rs256, &rsa)]);
    let [n, _] = rsa.numbers();
    let message = |alg: &str| {
        let header = json!({ "alg": alg, "kid": "r" }).to_string();
        let header = URL_SAFE_NO_PAD.encode(header);
        format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims().to_string()))
    };
    let raw = URL_SAFE_NO_PAD.decode(&n).unwrap();
    for secret in [n.as_bytes(), &raw, b""] {
        for (alg, error) in [
            ("HS256", JwtError::BadAlgorithm),
            ("RS256", JwtError::BadSignature),
        ] {
            let message = message(alg);
            let key = jsonwebtoken::EncodingKey::from_secret(secret);
            let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
            let forged = format!("{message}.{signature}");
            assert_eq!(check(&forged, &keys).err(), Some(error));
        }
    }
    // Nor does a key that comes with the token count, or an address to fetch one from.
    let [n, e] = rsa.numbers();
    for header in [
        json!({ "alg": "RS256", "jwk": { "kty": "RSA", "n": n, "e": e } }),
        json!({ "alg": "RS256", "kid": "r", "crit": ["exp"] }),
        json!({ "alg": "RS256", "kid": 1 }),
        json!({ "kid": "r" }),
    ] {
        let token = rsa.token(&header, &claims().to_string());
        assert_eq!(
            check(&token, &keys).err(),
            Some(JwtError::Malformed),
            "{header}"
        );
    }
}

#[test]
fn what_is_wrong_is_said_before_a_key_is_looked_for() {
    let rsa = Key::rsa(KeySize::Rsa2048);
    let none = published(&[]);
    let token = rsa.token(&json!({ "alg": "RS256", "kid": "r" }), "{}");
    assert_eq!(check(&token, &none).err(), Some(JwtError::UnknownKey));
    for (token, error) in [
        ("x".to_string(), JwtError::Malformed),
        (format!("{token}.x"), JwtError::Malformed),
        (
            rsa.token(&json!({ "alg": "HS256", "kid": "r" }), "{}"),
            JwtError::BadAlgorithm,
        ),
        (
            rsa.token(&json!({ "alg": "RS256" }), "{}"),
            JwtError::Malformed,
        ),
    ] {
        assert_eq!(check(&token, &none).err(), Some(error), "{token}");
    }
}

#[test]
fn each_claim_of_dialect_b_is_required_and_single() {
    let ec = Key::ec();
    let keys = published(&[("e", KeyKind::Es256, &ec)]);
    let of = |claims: &str| {
        check(
            &ec.token(&json!({ "alg": "ES256", "kid": "e" }), claims),
            &keys,
        )
    };
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        of(&claims.to_string()).err()
    };
    for name in [
        "iss",
        "aud",
        "azp",
        "nonce",
        "realm",
        "exp",
        "iat",
        "agent_realm",
    ] {
        let mut less = claims();
        less.as_object_mut().unwrap().remove(name);
        let found = of(&less.to_string()).err();
        assert_eq!(found, Some(JwtError::MissingClaim(name)));
        let all = claims().to_string();
        let twice = format!("{{\"{name}\":{},{}", claims()[name], &all[1..]);
        assert_eq!(of(&twice).err(), Some(JwtError::DuplicateClaim), "{name}");
    }
    for (name, value, error) in [
        (
            "iss",
            json!("https://evil.example.com/am/oauth2"),
            JwtError::WrongIssuer,
        ),
        ("aud", json!("wa2"), JwtError::WrongAudience),
        ("azp", json!("wa2"), JwtError::WrongAudience),
        ("nonce", json!("other"), JwtError::WrongNonce),
        ("realm", json!("/agents"), JwtError::WrongRealm),
        ("agent_realm", json!("/shop"), JwtError::WrongRealm),
        ("agent_realm", json!("/Agents"), JwtError::WrongRealm),
        ("exp", json!(NOW - 61), JwtError::Expired),
        ("iat", json!(NOW + 61), JwtError::NotYetValid),
        ("nbf", json!(NOW + 61), JwtError::NotYetValid),
        ("forgerock", json!("AQIC5w*"), JwtError::Malformed),
    ] {
        assert_eq!(with(name, value.clone()), Some(error), "{name} {value}");
    }
    assert_eq!(
        with(
            "iss",
            json!("https://am.example.com:8443/am/oauth2/realms/root/realms/shop")
        ),
        None
    );
}

#[test]
fn the_session_token_is_where_the_documentation_shows_it() {
    let ec = Key::ec();
    let keys = published(&[("e", KeyKind::Es256, &ec)]);
    let of = |inner: &str| {
        let text = claims().to_string();
        let documented = r#""forgerock":{"ssotoken":"AQIC5w*","suid":"b-2"}"#;
        assert!(text.contains(documented), "{text}");
        let text = text.replace(documented, inner);
        let token = check(
            &ec.token(&json!({ "alg": "ES256", "kid": "e" }), &text),
            &keys,
        );
        token.map(|token| String::from_utf8(token.sso_token.expose().to_vec()).unwrap())
    };
    for (inner, expected) in [
        (r#""forgerock":{"ssotoken":"a"}"#, Ok("a")),
        (r#""ssoToken":"a""#, Ok("a")),
        (r#""ssoToken":"a","forgerock":{"suid":"b"}"#, Ok("a")),
        (r#""ssoToken":"a","forgerock":{"ssotoken":"a"}"#, Ok("a")),
        (
            r#""ssoToken":"a","forgerock":{"ssotoken":"b"}"#,
            Err(JwtError::DuplicateClaim),
        ),
        (
            r#""forgerock":{"ssotoken":"a","ssotoken":"a"}"#,
            Err(JwtError::DuplicateClaim),
        ),
        (
            r#""forgerock":{"ssotoken":"a"},"forgerock":{"ssotoken":"a"}"#,
            Err(JwtError::DuplicateClaim),
        ),
        (r#""forgerock":{"ssotoken":1}"#, Err(JwtError::Malformed)),
        (
            r#""forgerock":{"ssotoken":""}"#,
            Err(JwtError::MissingClaim("ssoToken")),
        ),
        (
            r#""forgerock":{"suid":"b"}"#,
            Err(JwtError::MissingClaim("ssoToken")),
        ),
        (r#""suid":"b""#, Err(JwtError::MissingClaim("ssoToken"))),
    ] {
        assert_eq!(of(inner), expected.map(ToString::to_string), "{inner}");
    }
}

#[test]
fn a_weak_key_verifies_nothing() {
    // Such a key is not kept in the first place; that it is refused here, too, is the library's doing.
    let Ok(short) = RsaKeyPair::generate(KeySize::Rsa2048) else {
        panic!("no key")
    };
    let key = Key::Rsa(short);
    let [n, e] = key.numbers();
    let half = URL_SAFE_NO_PAD.decode(&n).unwrap()[..128].to_vec();
    let n = URL_SAFE_NO_PAD.encode(half);
    let weak = PublishedKey {
        id: "w",
        kind: KeyKind::Rs256,
        numbers: [&n, &e],
    };
    let keys = PublishedKeys::encode(&[weak]).unwrap();
    let token = key.token(
        &json!({ "alg": "RS256", "kid": "w" }),
        &claims().to_string(),
    );
    assert_eq!(check(&token, &keys).err(), Some(JwtError::BadSignature));
}
