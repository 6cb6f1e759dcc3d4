//! Answers that AM never gave: id_tokens with any header, claims and key.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use portcullis_openam::seed::Form;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

/// What AM signs with: the stored form of the agent's password (measured on OpenAM 16.0.5).
pub fn key_of(password: &str) -> Vec<u8> {
    let digest: [u8; 20] = Sha1::digest(password.as_bytes()).into();
    format!("{{SHA-1}}{}", STANDARD.encode(digest)).into_bytes()
}

/// The claims of a token, unverified.
///
/// # Panics
/// When it is not a token.
pub fn claims_of(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("three parts");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    serde_json::from_slice(&claims).expect("claims")
}

/// The header that AM writes.
pub fn header() -> Value {
    json!({ "typ": "JWT", "alg": "HS256" })
}

/// A token signed with HS256, whatever its header says.
///
/// # Panics
/// When signing fails.
pub fn token(header: &Value, claims: &str, key: &[u8]) -> String {
    let text = |part: &str| URL_SAFE_NO_PAD.encode(part);
    let message = format!("{}.{}", text(&header.to_string()), text(claims));
    let key = EncodingKey::from_secret(key);
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("signature");
    format!("{message}.{signature}")
}

/// The form with another value of a field.
pub fn with(form: &Form, name: &str, value: &str) -> Form {
    let mut form = form.clone();
    for field in &mut form.fields {
        if field.0 == name {
            field.1 = value.to_owned();
        }
    }
    form
}

/// The form without a field.
pub fn without(form: &Form, name: &str) -> Form {
    let mut form = form.clone();
    form.fields.retain(|(n, _)| n != name);
    form
}

/// The form with one field more.
pub fn and(form: &Form, name: &str, value: &str) -> Form {
    let mut form = form.clone();
    form.fields.push((name.to_owned(), value.to_owned()));
    form
}
