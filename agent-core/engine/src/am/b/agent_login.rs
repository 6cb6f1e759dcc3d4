//! How the agent proves itself where there are trees: by the tree `Agent`, which PingAM brings along and
//! others may have. The answer is read as in dialect A.

use crate::{
    am::{Exchange, a::agent_login::encode_as},
    token::Secret,
};

/// Logs `agent` in to the realm of its profile by the tree `Agent`.
pub fn encode(realm: &str, agent: &str, password: &Secret) -> Exchange {
    let index = "authIndexType=service&authIndexValue=Agent";
    encode_as(realm, agent, password, index)
}
