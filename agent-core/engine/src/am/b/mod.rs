//! Dialect B: what ForgeRock AM 6.5 to 7 and PingAM say otherwise than OpenAM. Everything that is not here
//! they are asked as in dialect A: server information, policies, profiles and users' attributes.
//!
//! It follows the vendor's documentation; no server of this kind was asked. So it is used only where
//! `portcullis.am.dialect` says so, and an answer that is not what is written here lets nobody in.

pub mod agent_login;
pub mod keys;
pub mod logout;
pub mod session;

use alloc::vec::Vec;

use serde::Serialize;

use super::{
    AmError,
    a::{self, user_token},
};
use crate::token::Secret;

/// `{"tokenId":"…"}`: the session that a call is about. OpenAM does not read it and would answer about the
/// caller.
#[derive(Serialize)]
struct About<'t> {
    #[serde(rename = "tokenId")]
    token_id: &'t str,
}

/// The version of the resource `sessions` that takes a token in the body.
const SESSIONS: &str = "resource=4.0, protocol=1.0";

/// A call about the session of `token`, made with the caller's. The token is in no URL.
fn about(
    realm: &str,
    action: &str,
    caller: (&str, &Secret),
    token: &Secret,
) -> Result<super::Exchange, AmError> {
    let token_id = user_token(token)?;
    let body: Vec<u8> = serde_json::to_vec(&About { token_id }).map_err(|_| AmError::PROTOCOL)?;
    let path = a::realm_path(realm, action);
    Ok(a::post(path, SESSIONS, Some(caller), body))
}
