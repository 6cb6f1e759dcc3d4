//! Is this the id_token we asked AM for? (rule L1)
//!
//! Who may have signed it says the dialect, never the token: HS256 with the agent's password, or RS256 and
//! ES256 with a key that AM publishes. Signature and claims only. Who the user is it does not say: that is
//! AM's answer about the session token inside. The JWT library looks at no clock here; times are judged against the request's.

use alloc::{string::String, vec::Vec};
use core::fmt;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Secret;
use crate::{
    contract::UnixMillis,
    record::{KeyKind, PublishedKeys},
};

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 64 * 1024;
/// How far AM's clock may be from ours, seconds. OpenAM's tokens live 4 s (measured on 16.0.5).
pub const SKEW: u64 = 60;
/// Most claims that a token may have.
const MAX_CLAIMS: usize = 64;

/// Why an id_token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Not a JWT, or a claim of the wrong type.
    #[error("not an id_token")]
    Malformed,
    /// Longer than [`MAX_TOKEN`].
    #[error("the id_token is too large")]
    TooLarge,
    /// Signed in another way than this AM signs.
    #[error("the id_token is not signed as this AM signs")]
    BadAlgorithm,
    /// Not signed with the key that it has to be signed with.
    #[error("the signature of the id_token is wrong")]
    BadSignature,
    /// The key that the token names is none of those that AM publishes.
    #[error("the id_token is signed with a key that AM does not publish")]
    UnknownKey,
    /// `aud` or `azp` is not this agent alone.
    #[error("the id_token is for another client")]
    WrongAudience,
    /// `iss` is none of the configured AM addresses.
    #[error("the id_token comes from another issuer")]
    WrongIssuer,
    /// `nonce` is not the one that was sent.
    #[error("the id_token answers another request")]
    WrongNonce,
    /// `realm` is not the one that the login was for.
    #[error("the id_token is for another realm")]
    WrongRealm,
    /// `exp` has passed by more than [`SKEW`].
    #[error("the id_token has expired")]
    Expired,
    /// `iat` or `nbf` is ahead by more than [`SKEW`].
    #[error("the id_token is not valid yet")]
    NotYetValid,
    /// A claim that has to be there is not.
    #[error("the id_token lacks the claim {0}")]
    MissingClaim(&'static str),
    /// A claim occurs twice.
    #[error("a claim of the id_token occurs twice")]
    DuplicateClaim,
}

/// What the token has to say.
pub struct Expect<'e> {
    /// The agent's profile name: `aud` and `azp`, exactly.
    pub client: &'e str,
    /// `com.forgerock.agents.jwt.aud.disable`: any other name in both will do as well.
    pub any_client: bool,
    /// `com.forgerock.agents.jwt.aud.whitelist`: one of these in both will do as well.
    pub also: &'e [String],
    /// AM's addresses up to and including `/oauth2`. `iss` is one of them, or goes on with a realm's
    /// path. AM makes it from the `Host` that the browser sent, so public addresses belong here.
    pub issuers: &'e [&'e str],
    /// As it was sent to AM.
    pub nonce: &'e str,
    /// Realm of the login, exactly.
    pub realm: &'e str,
    /// In dialect B the realm of the agent's profile, exactly: `agent_realm`.
    pub agent_realm: &'e str,
}

/// Whose signature counts (rule L1): fixed by the dialect, whatever the token says of itself.
#[derive(Clone, Copy)]
pub enum Signer<'k> {
    /// Dialect A: HS256 with this key.
    Shared(&'k Secret),
    /// Dialect B: RS256 or ES256, as its type has it, with the key that the token names.
    Published(PublishedKeys<'k>),
}

/// An id_token that passed every check.
pub struct IdToken {
    /// AM's session token; only AM can say whose it is.
    pub sso_token: Secret,
    /// `iat`.
    pub issued: UnixMillis,
    /// `exp`.
    pub expires: UnixMillis,
}

/// The key of dialect A's tokens: `{SHA-1}` and the base64 of the password's SHA-1, as AM stores it.
pub fn dialect_a_key(password: &Secret) -> Secret {
    let digest = Zeroizing::new(<[u8; 20]>::from(Sha1::digest(password.expose())));
    let mut key = Vec::with_capacity(64);
    key.extend_from_slice(b"{SHA-1}");
    key.extend_from_slice(Zeroizing::new(STANDARD.encode(digest.as_slice())).as_bytes());
    Secret::new(key)
}

/// Checks an id_token. `now` is the wall clock.
///
/// # Errors
/// The first thing that is wrong. [`JwtError::UnknownKey`] comes before everything that takes a key.
pub fn verify(
    token: &[u8],
    signer: Signer<'_>,
    expect: &Expect<'_>,
    now: UnixMillis,
) -> Result<IdToken, JwtError> {
    if token.len() > MAX_TOKEN {
        return Err(JwtError::TooLarge);
    }
    let text = core::str::from_utf8(token).map_err(|_| JwtError::Malformed)?;
    let (message, signature) = text.rsplit_once('.').ok_or(JwtError::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(JwtError::Malformed)?;
    if claims.contains('.') {
        return Err(JwtError::Malformed);
    }
    let (key, algorithm) = key(header, signer)?;
    // Only the signature is the library's: its claims check would look at a clock.
    match crypto::verify(signature, message.as_bytes(), &key, algorithm) {
        Ok(true) => {}
        Ok(false) => return Err(JwtError::BadSignature),
        Err(_) => return Err(JwtError::Malformed),
    }
    let claims = Zeroizing::new(
        URL_SAFE_NO_PAD
            .decode(claims)
            .map_err(|_| JwtError::Malformed)?,
    );
    let mut claims: Claims = serde_json::from_slice(&claims).map_err(|_| JwtError::Malformed)?;
    if claims.duplicate {
        return Err(JwtError::DuplicateClaim);
    }
    let token = match signer {
        Signer::Shared(_) => claims.sso_token.take(),
        Signer::Published(_) => claims.published_token(expect.agent_realm)?,
    };
    claims.check(token, expect, now.0 / 1000)
}

/// The key and the algorithm that go together. A header that names another algorithm is refused, and so
/// are extensions that must be understood (`crit`, RFC 7515 4.1.11).
fn key(header: &str, signer: Signer<'_>) -> Result<(DecodingKey, Algorithm), JwtError> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
        kid: Option<String>,
        crit: Option<IgnoredAny>,
    }
    let header = URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|_| JwtError::Malformed)?;
    let header: Header = serde_json::from_slice(&header).map_err(|_| JwtError::Malformed)?;
    let keys = match (signer, header.alg.as_str()) {
        (Signer::Shared(secret), "HS256") if header.crit.is_none() => {
            return Ok((DecodingKey::from_secret(secret.expose()), Algorithm::HS256));
        }
        (Signer::Shared(_), "HS256") => return Err(JwtError::Malformed),
        (Signer::Shared(_), _) => return Err(JwtError::BadAlgorithm),
        (Signer::Published(keys), _) => keys,
    };
    let kind = KeyKind::named(&header.alg).ok_or(JwtError::BadAlgorithm)?;
    if header.crit.is_some() {
        return Err(JwtError::Malformed);
    }
    // AM names its keys; a token without a name would have us try them in turn.
    let id = header.kid.ok_or(JwtError::Malformed)?;
    let found = keys.find(&id, kind).ok_or(JwtError::UnknownKey)?;
    let [first, second] = found.numbers;
    let (key, algorithm) = match kind {
        KeyKind::Rs256 => (
            DecodingKey::from_rsa_components(first, second),
            Algorithm::RS256,
        ),
        KeyKind::Es256 => (
            DecodingKey::from_ec_components(first, second),
            Algorithm::ES256,
        ),
    };
    key.map(|key| (key, algorithm))
        .map_err(|_| JwtError::UnknownKey)
}

/// The claims we look at, each of which may occur once.
#[derive(Default)]
struct Claims {
    iss: Option<String>,
    aud: Option<Audience>,
    azp: Option<String>,
    nonce: Option<String>,
    realm: Option<String>,
    exp: Option<u64>,
    iat: Option<u64>,
    nbf: Option<u64>,
    agent_realm: Option<String>,
    sso_token: Option<Zeroizing<String>>,
    forgerock: Option<ForgeRock>,
    /// A name occurred twice.
    duplicate: bool,
}

/// What dialect B says of the session, `forgerock`.
struct ForgeRock {
    sso_token: Option<Zeroizing<String>>,
    /// A name occurred twice.
    duplicate: bool,
}

impl Claims {
    /// The session token of dialect B: in the member that its documentation shows, or in the one of AM 5;
    /// in both if they say the same. `agent_realm` is another agent's otherwise.
    fn published_token(
        &mut self,
        agent_realm: &str,
    ) -> Result<Option<Zeroizing<String>>, JwtError> {
        let named = self.agent_realm.as_deref();
        let named = named.ok_or(JwtError::MissingClaim("agent_realm"))?;
        if named != agent_realm {
            return Err(JwtError::WrongRealm);
        }
        let own = self.sso_token.take();
        match (self.forgerock.take(), own) {
            (Some(inner), _) if inner.duplicate => Err(JwtError::DuplicateClaim),
            (Some(inner), Some(own)) if inner.sso_token.as_ref().is_some_and(|t| *t != own) => {
                Err(JwtError::DuplicateClaim)
            }
            (Some(inner), own) => Ok(inner.sso_token.or(own)),
            (None, own) => Ok(own),
        }
    }

    fn check(
        self,
        sso_token: Option<Zeroizing<String>>,
        expect: &Expect<'_>,
        now: u64,
    ) -> Result<IdToken, JwtError> {
        let missing = JwtError::MissingClaim;
        let iss = self.iss.ok_or(missing("iss"))?;
        let aud = self.aud.ok_or(missing("aud"))?;
        let azp = self.azp.ok_or(missing("azp"))?;
        let nonce = self.nonce.ok_or(missing("nonce"))?;
        let realm = self.realm.ok_or(missing("realm"))?;
        let exp = self.exp.ok_or(missing("exp"))?;
        let iat = self.iat.ok_or(missing("iat"))?;
        let mut sso_token = sso_token.ok_or(missing("ssoToken"))?;

        if !expect.issuers.iter().any(|base| is_issuer(&iss, base)) {
            return Err(JwtError::WrongIssuer);
        }
        // There is one audience in any case, and the token was made for it (rule L1).
        let made_for = aud.0.filter(|aud| *aud == azp);
        let ours = |aud: &String| {
            *aud == expect.client || expect.any_client || expect.also.iter().any(|also| also == aud)
        };
        if !made_for.as_ref().is_some_and(ours) {
            return Err(JwtError::WrongAudience);
        }
        if expect.nonce.is_empty() || !bool::from(nonce.as_bytes().ct_eq(expect.nonce.as_bytes())) {
            return Err(JwtError::WrongNonce);
        }
        if realm != expect.realm {
            return Err(JwtError::WrongRealm);
        }
        if exp.saturating_add(SKEW) < now {
            return Err(JwtError::Expired);
        }
        if iat.max(self.nbf.unwrap_or(0)) > now.saturating_add(SKEW) {
            return Err(JwtError::NotYetValid);
        }
        if sso_token.is_empty() {
            return Err(missing("ssoToken"));
        }
        Ok(IdToken {
            sso_token: Secret::new(core::mem::take(&mut *sso_token).into_bytes()),
            issued: UnixMillis(iat.saturating_mul(1000)),
            expires: UnixMillis(exp.saturating_mul(1000)),
        })
    }
}

/// Whether `iss` is `base`, or `base` with a realm's path behind it. Scheme and host have no case,
/// and a default port may be written or not.
fn is_issuer(iss: &str, base: &str) -> bool {
    let (Some((scheme, host, port, path)), Some(expected)) = (origin(iss), origin(base)) else {
        return false;
    };
    let same = scheme == expected.0 && host.eq_ignore_ascii_case(expected.1) && port == expected.2;
    let Some(realm) = path.strip_prefix(expected.3.trim_end_matches('/')) else {
        return false;
    };
    let named = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.contains(['?', '#', '\\', '%', ';', '@'])
    };
    same && (realm.is_empty()
        || realm
            .strip_prefix('/')
            .is_some_and(|parts| parts.split('/').all(named)))
}

/// Whether it is https, host, port and path of an address of AM.
fn origin(url: &str) -> Option<(bool, &str, u16, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let https = scheme.eq_ignore_ascii_case("https");
    if !https && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, if https { 443 } else { 80 }),
    };
    Some((https, host, port, path))
}

/// `aud`: the one audience, or nothing when the list does not have exactly one.
struct Audience(Option<String>);

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Audience, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Audience;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an audience")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Audience, E> {
                Ok(Audience(Some(text.into())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Audience, A::Error> {
                let first = list.next_element::<String>()?;
                let more = list.next_element::<String>()?.is_some();
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Audience(first.filter(|_| !more)))
            }
        }
        deserializer.deserialize_any(One)
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Claims, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the claims of an id_token")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
                let mut claims = Claims::default();
                let mut seen: Vec<String> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if seen.len() == MAX_CLAIMS {
                        return Err(de::Error::custom("too many claims"));
                    }
                    claims.duplicate |= seen.contains(&name);
                    match name.as_str() {
                        "iss" => claims.iss = Some(map.next_value()?),
                        "aud" => claims.aud = Some(map.next_value()?),
                        "azp" => claims.azp = Some(map.next_value()?),
                        "nonce" => claims.nonce = Some(map.next_value()?),
                        "realm" => claims.realm = Some(map.next_value()?),
                        "exp" => claims.exp = Some(map.next_value()?),
                        "iat" => claims.iat = Some(map.next_value()?),
                        "nbf" => claims.nbf = Some(map.next_value()?),
                        "agent_realm" => claims.agent_realm = Some(map.next_value()?),
                        "ssoToken" => {
                            claims.sso_token = Some(Zeroizing::new(map.next_value()?));
                        }
                        "forgerock" => claims.forgerock = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                    seen.push(name);
                }
                Ok(claims)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl<'de> Deserialize<'de> for ForgeRock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ForgeRock, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = ForgeRock;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("what the id_token says of the session")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ForgeRock, A::Error> {
                let mut inner = ForgeRock {
                    sso_token: None,
                    duplicate: false,
                };
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "ssotoken" => {
                            inner.duplicate |= inner.sso_token.is_some();
                            inner.sso_token = Some(Zeroizing::new(map.next_value()?));
                        }
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(inner)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
#[path = "jwt_published_tests.rs"]
mod published_tests;

#[cfg(test)]
mod tests {
    use std::{format, string::ToString};

    use jsonwebtoken::{EncodingKey, crypto::sign};
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn key() -> Secret {
        dialect_a_key(&Secret::new(b"password".to_vec()))
    }

    fn signed(header: &str, claims: &str, key: &[u8], alg: Algorithm) -> String {
        let head = URL_SAFE_NO_PAD.encode(header);
        let message = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = sign(message.as_bytes(), &EncodingKey::from_secret(key), alg).unwrap();
        format!("{message}.{signature}")
    }

    fn token(claims: &str) -> String {
        signed(
            r#"{"typ":"JWT","alg":"HS256"}"#,
            claims,
            key().expose(),
            Algorithm::HS256,
        )
    }

    fn check_at(token: &str, now: u64) -> Result<IdToken, JwtError> {
        let expect = Expect {
            client: "wa1",
            any_client: false,
            also: &[],
            issuers: &[
                "https://am.example.com:8443/openam/oauth2",
                "http://am2/am/oauth2",
            ],
            nonce: "n0nce",
            realm: "/shop",
            agent_realm: "/",
        };
        let key = key();
        verify(
            token.as_bytes(),
            Signer::Shared(&key),
            &expect,
            UnixMillis(now * 1000),
        )
    }

    fn error(token: &str) -> Option<JwtError> {
        check_at(token, NOW).err()
    }

    /// The claims in OpenAM's shape, one of them replaced.
    fn claims(name: &str, value: Option<&str>) -> String {
        let iat = NOW.to_string();
        let exp = (NOW + 4).to_string();
        let all = [
            ("tokenName", "\"id_token\""),
            ("azp", "\"wa1\""),
            ("iss", "\"https://am.example.com:8443/openam/oauth2\""),
            ("nonce", "\"n0nce\""),
            ("aud", "\"wa1\""),
            ("auth_time", "1"),
            ("realm", "\"/shop\""),
            ("ssoToken", "\"AQIC5w*\""),
            ("exp", &exp),
            ("tokenType", "\"JWTToken\""),
            ("iat", &iat),
        ];
        let mut members: Vec<String> = all
            .iter()
            .filter_map(|(n, v)| {
                let v = if *n == name { value } else { Some(*v) };
                v.map(|v| format!("\"{n}\":{v}"))
            })
            .collect();
        if let (Some(value), false) = (value, all.iter().any(|(n, _)| *n == name)) {
            members.push(format!("\"{name}\":{value}"));
        }
        format!("{{{}}}", members.join(","))
    }

    fn with(name: &str, value: &str) -> Option<JwtError> {
        error(&token(&claims(name, Some(value))))
    }

    #[test]
    fn a_good_token_gives_its_session_token() {
        let good = check_at(&token(&claims("", None)), NOW).ok().unwrap();
        assert_eq!(good.sso_token.expose(), b"AQIC5w*");
        assert_eq!(
            (good.issued.0, good.expires.0),
            (NOW * 1000, (NOW + 4) * 1000)
        );
    }

    #[test]
    fn the_key_is_the_stored_form_of_the_password() {
        assert_eq!(key().expose(), b"{SHA-1}W6ph5Mm5Pz8GgiULbPgzG37mj9g=");
    }

    #[test]
    fn each_claim_is_required() {
        for name in [
            "iss", "aud", "azp", "nonce", "realm", "exp", "iat", "ssoToken",
        ] {
            let found = error(&token(&claims(name, None)));
            assert_eq!(found, Some(JwtError::MissingClaim(name)));
        }
        assert_eq!(
            with("ssoToken", "\"\""),
            Some(JwtError::MissingClaim("ssoToken"))
        );
    }

    #[test]
    fn no_claim_may_occur_twice() {
        let good = claims("", None);
        for more in [
            "\"aud\":\"wa1\"",
            "\"tokenName\":1",
            "\"realm\":\"/shop\"",
            "\"\\u0061ud\":\"wa1\"",
        ] {
            let twice = format!("{{{more},{}", &good[1..]);
            assert_eq!(
                error(&token(&twice)),
                Some(JwtError::DuplicateClaim),
                "{more}"
            );
        }
    }

    #[test]
    fn issuers_are_compared_by_their_parts() {
        for good in [
            "https://am.example.com:8443/openam/oauth2",
            "HTTPS://AM.example.com:8443/openam/oauth2",
            "https://am.example.com:8443/openam/oauth2/shop",
            "https://am.example.com:8443/openam/oauth2/realms/root/realms/shop",
            "http://am2/am/oauth2",
            "http://am2:80/am/oauth2",
        ] {
            assert_eq!(with("iss", &format!("\"{good}\"")), None, "{good}");
        }
        for bad in [
            "",
            "https://am.example.com/openam/oauth2",
            "http://am.example.com:8443/openam/oauth2",
            "https://am.example.com:8443/openam/oauth2x",
            "https://am.example.com:8443/openam/oauth",
            "https://am.example.com:8443/openam",
            "https://am.example.com:8443/openam/oauth2/",
            "https://am.example.com:8443/openam/oauth2/../x",
            "https://am.example.com:8443/openam/oauth2/x?y",
            "https://am.example.com:8443/openam/OAUTH2",
            "https://am.example.com:8443@evil/openam/oauth2",
            "https://am.example.com.evil:8443/openam/oauth2",
            "https://evil/https://am.example.com:8443/openam/oauth2",
            "http://am2:8443/am/oauth2",
            "https://am2:80/am/oauth2",
        ] {
            assert_eq!(
                with("iss", &format!("\"{bad}\"")),
                Some(JwtError::WrongIssuer),
                "{bad}"
            );
        }
    }

    #[test]
    fn other_audiences_count_where_told_and_there_is_one() {
        let check = |aud: &str, azp: &str, any_client: bool, also: &[String]| {
            let claims = Claims {
                aud: Some(serde_json::from_str(aud).unwrap()),
                azp: Some(azp.into()),
                iss: Some("https://am/oauth2".into()),
                nonce: Some("n".into()),
                realm: Some("/".into()),
                exp: Some(100),
                iat: Some(100),
                ..Claims::default()
            };
            let expect = Expect {
                client: "wa1",
                any_client,
                also,
                issuers: &["https://am/oauth2"],
                nonce: "n",
                realm: "/",
                agent_realm: "/",
            };
            let token = Some(Zeroizing::new("t".into()));
            claims.check(token, &expect, 100).is_ok()
        };
        let list = ["wa2".to_string()];
        for (aud, azp, plain, listed, any) in [
            ("\"wa1\"", "wa1", true, true, true),
            ("\"wa2\"", "wa2", false, true, true),
            ("[\"wa3\"]", "wa3", false, false, true),
            ("\"wa2\"", "wa1", false, false, false),
            ("\"wa1\"", "wa2", false, false, false),
            ("[\"wa1\",\"wa2\"]", "wa1", false, false, false),
            ("[]", "wa1", false, false, false),
        ] {
            assert_eq!(check(aud, azp, false, &[]), plain, "{aud}");
            assert_eq!(check(aud, azp, false, &list), listed, "{aud}");
            assert_eq!(check(aud, azp, true, &[]), any, "{aud}");
        }
    }

    #[test]
    fn audience_nonce_and_realm_are_exact() {
        assert_eq!(with("aud", r#"["wa1"]"#), None);
        for bad in [
            r#""wa2""#,
            r#""WA1""#,
            r#"["wa1","wa2"]"#,
            r#"["wa2"]"#,
            "[]",
            r#"["wa1","wa1"]"#,
        ] {
            assert_eq!(with("aud", bad), Some(JwtError::WrongAudience), "{bad}");
        }
        assert_eq!(with("azp", "\"wa2\""), Some(JwtError::WrongAudience));
        assert_eq!(with("nonce", "\"N0nce\""), Some(JwtError::WrongNonce));
        assert_eq!(with("nonce", "\"\""), Some(JwtError::WrongNonce));
        for bad in ["/", "/Shop", "shop", "/shop/"] {
            assert_eq!(
                with("realm", &format!("\"{bad}\"")),
                Some(JwtError::WrongRealm)
            );
        }
    }

    #[test]
    fn times_are_judged_with_a_skew_of_a_minute() {
        let text = token(&claims("", None));
        let at = |now: u64| check_at(&text, now).err();
        assert_eq!(at(NOW + 4 + SKEW), None);
        assert_eq!(at(NOW + 5 + SKEW), Some(JwtError::Expired));
        assert_eq!(at(NOW - SKEW), None);
        assert_eq!(at(NOW - SKEW - 1), Some(JwtError::NotYetValid));
        assert_eq!(
            with("nbf", &(NOW + 61).to_string()),
            Some(JwtError::NotYetValid)
        );
        assert_eq!(with("exp", &u64::MAX.to_string()), None);
        assert_eq!(
            with("iat", &u64::MAX.to_string()),
            Some(JwtError::NotYetValid)
        );
    }

    #[test]
    fn types_are_not_bent() {
        for (name, value) in [
            ("exp", "\"1800000000\""),
            ("exp", "-1"),
            ("exp", "1.5e300"),
            ("iss", "[\"https://am.example.com:8443/openam/oauth2\"]"),
            ("aud", "{}"),
            ("aud", "null"),
            ("nonce", "1"),
            ("ssoToken", "null"),
        ] {
            assert_eq!(
                with(name, value),
                Some(JwtError::Malformed),
                "{name} {value}"
            );
        }
        assert_eq!(error(&token("[]")), Some(JwtError::Malformed));
        assert_eq!(error(&token("")), Some(JwtError::Malformed));
        let many = (0..70)
            .map(|n| format!("\"x{n}\":1"))
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(
            error(&token(&format!("{{{many}}}"))),
            Some(JwtError::Malformed)
        );
    }

    #[test]
    fn only_hs256_with_our_key_counts() {
        let claims = claims("", None);
        let ours = key();
        let made = |header: &str, key: &[u8], alg| error(&signed(header, &claims, key, alg));
        let hs256 = r#"{"alg":"HS256"}"#;
        assert_eq!(
            made(hs256, b"other", Algorithm::HS256),
            Some(JwtError::BadSignature)
        );
        assert_eq!(
            made(hs256, b"password", Algorithm::HS256),
            Some(JwtError::BadSignature)
        );
        assert_eq!(
            made(hs256, ours.expose(), Algorithm::HS384),
            Some(JwtError::BadSignature)
        );
        for alg in [
            "none", "None", "HS384", "HS512", "RS256", "ES256", "hs256", "", "XX",
        ] {
            let header = format!("{{\"alg\":\"{alg}\"}}");
            let found = made(&header, ours.expose(), Algorithm::HS256);
            assert_eq!(found, Some(JwtError::BadAlgorithm), "{alg}");
        }
        for header in [
            r#"{"alg":"HS256","alg":"HS256"}"#,
            r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
            r#"{"typ":"JWT"}"#,
            "[]",
            "",
        ] {
            let found = made(header, ours.expose(), Algorithm::HS256);
            assert_eq!(found, Some(JwtError::Malformed), "{header}");
        }
    }

    #[test]
    fn forged_and_broken_tokens() {
        let good = token(&claims("", None));
        let (message, signature) = good.rsplit_once('.').unwrap();
        assert_eq!(error(&format!("{message}.")), Some(JwtError::BadSignature));
        let (header, _) = message.split_once('.').unwrap();
        let other = URL_SAFE_NO_PAD.encode(claims("realm", Some("\"/\"")));
        assert_eq!(
            error(&format!("{header}.{other}.{signature}")),
            Some(JwtError::BadSignature)
        );
        for broken in [
            "",
            ".",
            "..",
            "a.b",
            "a.b.c.d",
            &format!("{good}."),
            &format!(" {good}"),
        ] {
            assert_eq!(error(broken), Some(JwtError::Malformed), "{broken}");
        }
        assert_eq!(error(&"a".repeat(MAX_TOKEN + 1)), Some(JwtError::TooLarge));
        let large = format!("\"{}\"", "x".repeat(40_000));
        assert_eq!(error(&token(&claims("more", Some(&large)))), None);
    }

    proptest! {
        #[test]
        fn no_changed_token_passes(at in 0usize..500, with in "[A-Za-z0-9_.-]") {
            let mut text = token(&claims("", None));
            let at = at % text.len();
            let before = text.clone();
            text.replace_range(at..=at, &with);
            prop_assert!(text == before || error(&text).is_some());
        }

        #[test]
        fn rubbish_is_refused(text in "\\PC{0,60}") {
            prop_assert!(error(&text).is_some());
        }
    }
}
