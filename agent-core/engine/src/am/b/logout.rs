//! How is a session ended? By its own token as the caller and named in the body, so that AM needs no other
//! session to be alive. The answer is read as in dialect A.

use super::about;
use crate::{
    am::{AmError, Exchange},
    token::Secret,
};

/// Ends the session of this token, a user's or the agent's own. `realm` is the agent's.
pub fn encode(realm: &str, token_header: &str, token: &Secret) -> Result<Exchange, AmError> {
    about(
        realm,
        "sessions?_action=logout",
        (token_header, token),
        token,
    )
}
