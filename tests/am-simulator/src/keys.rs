//! Which keys does AM sign agents' ID tokens with, and which does it publish? Dialect B; the shape is that of the
//! vendor's documentation of `/oauth2/connect/jwk_uri`.

use crate::http::Reply;
use crate::state::Am;
use crate::token::random_hex;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// How ID tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// RSA of 2048 bits: AM's default.
    Rs256,
    /// EC on P-256.
    Es256,
}

impl Signing {
    fn alg(self) -> &'static str {
        match self {
            Signing::Rs256 => "RS256",
            Signing::Es256 => "ES256",
        }
    }
}

#[derive(Debug)]
enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

/// A key: whoever holds the private half signs.
#[derive(Debug)]
struct Key {
    id: String,
    pair: Pair,
    published: bool,
}

/// All keys; the last one signs. Made at first use.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<Vec<Key>>);

#[expect(clippy::expect_used, reason = "without keys a test tool can only stop")]
impl Key {
    fn new(signing: Signing) -> Key {
        let pair = match signing {
            Signing::Rs256 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("key")),
            Signing::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
                Pair::Ec(pair.expect("key"))
            }
        };
        Key {
            // As AM's: the digest of the certificate's name, in Base64.
            id: format!("{}/+=", random_hex::<10>()),
            pair,
            published: true,
        }
    }

    fn signing(&self) -> Signing {
        match self.pair {
            Pair::Rsa(_) => Signing::Rs256,
            Pair::Ec(_) => Signing::Es256,
        }
    }

    fn sign(&self, message: &str) -> String {
        let (random, message) = (SystemRandom::new(), message.as_bytes());
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("signature");
                signature
            }
            Pair::Ec(pair) => {
                let signature = pair.sign(&random, message).expect("signature");
                signature.as_ref().to_vec()
            }
        };
        URL_SAFE_NO_PAD.encode(signature)
    }

    fn to_json(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "kid": self.id, "use": "sig", "alg": "RS256", "n": text(&public.n), "e": text(&public.e)})
            }
            Pair::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "kid": self.id, "use": "sig", "alg": "ES256", "crv": "P-256", "x": text(x), "y": text(y)})
            }
        }
    }
}

/// What else AM publishes there: nobody signs ID tokens with it.
fn others() -> [Value; 2] {
    let number = URL_SAFE_NO_PAD.encode([0xa5; 256]);
    let coordinate = URL_SAFE_NO_PAD.encode([0x5a; 48]);
    [
        json!({"kty": "RSA", "kid": "DkKMPE7hFVEn77WWhVuzaoFp4O8=", "use": "enc", "alg": "RSA-OAEP", "n": number, "e": "AQAB"}),
        json!({"kty": "EC", "kid": "I4x/IijvdDsUZMghwNq2gC/7pYQ=", "use": "sig", "alg": "ES384", "crv": "P-384",
            "x": coordinate, "y": coordinate}),
    ]
}

/// Answers a call to `/oauth2/connect/jwk_uri`.
pub(crate) fn published(am: &Am) -> Reply {
    let keys = am.keys.with(|keys| {
        let own = keys.iter().filter(|key| key.published).map(Key::to_json);
        others().into_iter().chain(own).collect::<Vec<_>>()
    });
    Reply::json(200, &json!({ "keys": keys }))
}

impl Keys {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<Key>) -> T) -> T {
        let mut keys = self.0.lock();
        if keys.is_empty() {
            keys.push(Key::new(Signing::Rs256));
        }
        act(&mut keys)
    }
}

impl Am {
    /// Signs ID tokens with a new key from now on; withdraws the older ones.
    pub fn rotate_keys(&self, signing: Signing) {
        self.keys.with(|keys| {
            keys.clear();
            keys.push(Key::new(signing));
        });
    }

    /// Whether the key that signs is published.
    pub fn publish_key(&self, published: bool) {
        self.keys.with(|keys| {
            for key in keys {
                key.published = published;
            }
        });
    }

    /// The header of an ID token: how it is signed, and the name of the key.
    #[must_use]
    pub fn id_token_header(&self) -> Value {
        self.keys.with(|keys| {
            let key = keys.last();
            let (alg, id) = key.map_or(("none", ""), |key| (key.signing().alg(), &*key.id));
            json!({"typ": "JWT", "kid": id, "alg": alg})
        })
    }

    /// A JWT with the signature of the key that signs ID tokens, whatever its header says.
    #[must_use]
    pub fn sign(&self, header: &Value, claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", part(&header.to_string()), part(claims));
        let signature = self
            .keys
            .with(|keys| keys.last().map(|key| key.sign(&message)));
        format!("{message}.{}", signature.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Config;
    use jsonwebtoken::{Algorithm, DecodingKey, jwk::JwkSet};

    fn set(am: &Am) -> JwkSet {
        serde_json::from_slice(&published(am).body).expect("a key set")
    }

    #[test]
    fn what_is_signed_is_verified_with_what_is_published() {
        let am = Am::new(Config::default(), 1).expect("simulator");
        for (signing, algorithm) in [
            (Signing::Rs256, Algorithm::RS256),
            (Signing::Es256, Algorithm::ES256),
        ] {
            am.rotate_keys(signing);
            let header = am.id_token_header();
            let token = am.sign(&header, "{}");
            let (message, signature) = token.rsplit_once('.').expect("a signature");
            let set = set(&am);
            let key = set.find(header["kid"].as_str().expect("kid")).expect("key");
            let key = DecodingKey::from_jwk(key).expect("key");
            let good = jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, algorithm);
            assert!(good.expect("verified"), "{signing:?}");
        }
        am.publish_key(false);
        assert_eq!(set(&am).keys.len(), 2);
        am.publish_key(true);
        assert_eq!(set(&am).keys.len(), 3);
    }
}
