//! The fail-closed table: what every failure of every fact means for the request.
//!
//! One `match`, no default arm: a new failure does not build without a row here.

use super::{Cx, refuse};
use crate::{
    contract::{Cause, Decision, FactError},
    event::Code,
};

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The user has to log in.
    Login,
    /// Refuse with this status and code.
    Refuse(u16, Code),
}

/// The table. Whichever fact it is about, the same failure means the same.
pub fn fail_closed(error: FactError) -> Failure {
    match error {
        FactError::Dead => Failure::Login,
        FactError::NotAllowed => Failure::Refuse(403, Code::AmNotAllowed),
        FactError::Unavailable(cause) => Failure::Refuse(
            503,
            match cause {
                Cause::Transport => Code::UnavailableTransport,
                Cause::Timeout => Code::UnavailableTimeout,
                Cause::Tls => Code::UnavailableTls,
                Cause::Status(_) => Code::UnavailableStatus,
                Cause::Protocol => Code::UnavailableProtocol,
                Cause::Busy => Code::UnavailableBusy,
                Cause::AgentLogin => Code::UnavailableAgentLogin,
                Cause::Draining => Code::UnavailableDraining,
                Cause::Store => Code::UnavailableStore,
                Cause::Breaker => Code::UnavailableBreaker,
            },
        ),
    }
}

/// The decision for a failure where a login can't help or isn't the point.
pub(crate) fn refuse_for<'a>(cx: &Cx<'a, '_>, error: FactError, if_dead: Code) -> Decision<'a> {
    let (status, code) = match fail_closed(error) {
        Failure::Login => (403, if_dead),
        Failure::Refuse(status, code) => (status, code),
    };
    let detail = match error {
        FactError::Unavailable(Cause::Status(status)) => {
            super::detail(alloc::format!("HTTP {status}"))
        }
        _ => "".into(),
    };
    refuse(cx.facts, code, status, None, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dead_token_leads_to_login_and_nothing_leads_to_allow() {
        let causes = [
            Cause::Transport,
            Cause::Timeout,
            Cause::Tls,
            Cause::Status(500),
            Cause::Protocol,
            Cause::Busy,
            Cause::AgentLogin,
            Cause::Draining,
            Cause::Store,
            Cause::Breaker,
        ];
        for cause in causes {
            let failure = fail_closed(FactError::Unavailable(cause));
            assert!(matches!(failure, Failure::Refuse(503, _)), "{cause:?}");
        }
        assert_eq!(
            fail_closed(FactError::NotAllowed),
            Failure::Refuse(403, Code::AmNotAllowed)
        );
        assert_eq!(fail_closed(FactError::Dead), Failure::Login);
    }
}
