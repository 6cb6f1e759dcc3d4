//! Is the ID token that AM's form brought one that this login waits for? It brings together what the token has
//! to say and whose signature counts: the agent's password, or the keys that AM publishes.

use alloc::{boxed::Box, string::String, vec::Vec};

use super::callback::{Refusal, refused};
use crate::{
    config::Dialect,
    contract::{Ask, Decision, Known},
    decide::{Cx, Fact, Stage, ask, refuse_for},
    event::Code,
    record::PublishedKeys,
    token::{
        Secret,
        authn_tx::{self, Pending},
        jwt::{self, IdToken, JwtError, Signer},
    },
};

/// What the check of a token comes to; the decision where it could not be made.
type Checked<'a> = Result<Result<IdToken, JwtError>, Box<Decision<'a>>>;

/// Checks the token; what it gives is the session token in it, nothing else (rule L1).
pub(super) fn check<'a>(
    cx: &Cx<'a, '_>,
    token: &Secret,
    pending: &Pending,
) -> Stage<'a, Result<Secret, Box<Decision<'a>>>> {
    let nonce = authn_tx::text(&pending.nonce);
    let issuers: Vec<&str> = cx.snap.issuers.iter().map(String::as_str).collect();
    let config = &cx.snap.config;
    let expect = jwt::Expect {
        client: &config.username,
        any_client: config.any_audience,
        also: &config.audiences,
        issuers: &issuers,
        nonce: &nonce,
        realm: &pending.realm,
        agent_realm: &config.organization_name,
    };
    let by = |signer: Signer<'_>| jwt::verify(token.expose(), signer, &expect, cx.now.wall);
    let checked = match config.dialect {
        Dialect::OpenAm => by(Signer::Shared(&cx.snap.id_token_key)),
        Dialect::PingAm => match by_published(cx, by)? {
            Ok(checked) => checked,
            Err(unavailable) => return Ok(Err(unavailable)),
        },
    };
    Ok(checked
        .map(|token| token.sso_token)
        .map_err(|error| Box::new(refused(cx, Refusal::of(code_of(&error))))))
}

/// The check with the keys that AM publishes. It may have changed them: for a key that is not known they are
/// looked at once more.
fn by_published<'a>(
    cx: &Cx<'a, '_>,
    by: impl Fn(Signer<'_>) -> Result<IdToken, JwtError>,
) -> Stage<'a, Checked<'a>> {
    // What is no token of such an AM is refused without asking it for anything.
    let mut checked = by(Signer::Published(PublishedKeys::NONE));
    for newer in [false, true] {
        if !matches!(checked, Err(JwtError::UnknownKey)) {
            break;
        }
        let key = cx.snap.keys_key();
        checked = match cx.facts.keys(key, newer) {
            Known::Fresh(keys) => by(Signer::Published(keys)),
            Known::Failed(error, _) => {
                let refusal = refuse_for(cx, Fact::Keys, error);
                let unknown = || refused(cx, Refusal::of(Code::TokenUnknownKey));
                return Ok(Err(Box::new(refusal.unwrap_or_else(unknown))));
            }
            Known::Stale(..) | Known::Missing => return Err(ask(Ask::Keys { key, newer })),
        };
    }
    Ok(Ok(checked))
}

fn code_of(error: &JwtError) -> Code {
    match error {
        JwtError::Malformed | JwtError::TooLarge => Code::TokenMalformed,
        JwtError::BadAlgorithm => Code::TokenAlgorithm,
        JwtError::BadSignature => Code::TokenSignature,
        JwtError::UnknownKey => Code::TokenUnknownKey,
        JwtError::WrongAudience => Code::TokenAudience,
        JwtError::WrongIssuer => Code::TokenIssuer,
        JwtError::WrongNonce => Code::TokenNonce,
        JwtError::WrongRealm => Code::TokenRealm,
        JwtError::Expired => Code::TokenExpired,
        JwtError::NotYetValid => Code::TokenNotYetValid,
        JwtError::MissingClaim(_) | JwtError::DuplicateClaim => Code::TokenClaims,
    }
}
