//! The fail-closed table: what every failure of every fact means for the request, under each strategy.
//!
//! The rows are the arms of one `match` without a default: a new failure, fact or strategy does not
//! build without its row, and `docs/fail-closed.md` is written from the same rows.

use super::{Cx, refuse};
use crate::{
    config::Strategy,
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

/// What kind of failure it is (design 4: the three are never mixed up).
#[derive(Clone, Copy)]
enum Kind {
    Dead,
    NotAllowed(Code),
    Unavailable(Code),
}

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident $text:literal, dead: $dead:expr, grace: $grace:literal;)*) => {
        /// A fact that can fail to be had, or an act that can fail.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fact {
            $($(#[$doc])* $name,)*
        }

        impl Fact {
            /// All facts.
            pub const ALL: &'static [Fact] = &[$(Fact::$name,)*];

            /// For the reference.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Fact::$name => $text,)*
                }
            }

            /// What the token's death means: a login helps only where a page was asked for.
            const fn if_dead(self) -> Failure {
                match self {
                    $(Fact::$name => $dead,)*
                }
            }

            /// Whether an earlier answer may count in grace at all.
            const fn has_grace(self) -> bool {
                match self {
                    $(Fact::$name => $grace,)*
                }
            }
        }
    };
}

facts! {
    /// The session behind the request's token.
    Session "the session behind the request's token", dead: Failure::Login, grace: true;
    /// AM's policy decision.
    Policy "AM's decision about the URL", dead: Failure::Login, grace: true;
    /// Profile attributes of the user.
    Attributes "the user's profile attributes", dead: Failure::Refuse(403, Code::LoginSessionDead), grace: true;
    /// The keys that AM signs logins with; no token of a user's is asked about.
    Keys "the keys that AM signs ID tokens with", dead: Failure::Refuse(403, Code::TokenUnknownKey), grace: false;
    /// The session that a login brought.
    NewSession "the session that a login brought", dead: Failure::Refuse(403, Code::LoginDeadSession), grace: false;
    /// The record that a login's state is used up.
    SpentState "the record that a login's state is used up", dead: Failure::Refuse(403, Code::LoginStateStore), grace: false;
    /// The end of a session by logout.
    EndedSession "the end of a session by logout", dead: Failure::Refuse(403, Code::LoggedOut), grace: false;
    /// The place of a POST that is kept during a login.
    KeptPost "the keeping of a POST during a login", dead: Failure::Refuse(403, Code::PostNotKept), grace: false;
}

macro_rules! failures {
    ($($pattern:pat, $example:expr, $text:literal => $kind:expr, shown by $test:literal;)*) => {
        /// One failure of each kind, with its words for the reference.
        pub const FAILURES: &[(FactError, &str)] = &[$(($example, $text),)*];

        /// For each of them the test that provokes it on real servers.
        pub const PROVOKED_BY: &[&str] = &[$($test,)*];

        const fn kind(error: FactError) -> Kind {
            match error {
                $($pattern => $kind,)*
            }
        }
    };
}

use FactError::{Dead, NotAllowed, Unavailable};

failures! {
    Dead, Dead,
        "AM says that the user's token is dead" => Kind::Dead,
            shown by "a_session_that_ended_at_am_is_asked_about_again";
    NotAllowed, NotAllowed,
        "AM refuses this agent the answer" => Kind::NotAllowed(Code::AmNotAllowed),
            shown by "each_path_has_the_policies_of_its_realm_and_set";
    Unavailable(Cause::Transport), Unavailable(Cause::Transport),
        "no connection to AM, or it broke" => Kind::Unavailable(Code::UnavailableTransport),
            shown by "whatever_is_wrong_with_am_is_refused_with_its_code_and_mends_by_itself";
    Unavailable(Cause::Timeout), Unavailable(Cause::Timeout),
        "no answer before the deadline" => Kind::Unavailable(Code::UnavailableTimeout),
            shown by "whatever_is_wrong_with_am_is_refused_with_its_code_and_mends_by_itself";
    Unavailable(Cause::Tls), Unavailable(Cause::Tls),
        "AM's certificate is not verified" => Kind::Unavailable(Code::UnavailableTls),
            shown by "an_am_that_becomes_another_is_not_believed";
    Unavailable(Cause::Status(_)), Unavailable(Cause::Status(500)),
        "a status that AM must not give here" => Kind::Unavailable(Code::UnavailableStatus),
            shown by "whatever_is_wrong_with_am_is_refused_with_its_code_and_mends_by_itself";
    Unavailable(Cause::Protocol), Unavailable(Cause::Protocol),
        "an answer that is not the protocol" => Kind::Unavailable(Code::UnavailableProtocol),
            shown by "whatever_is_wrong_with_am_is_refused_with_its_code_and_mends_by_itself";
    Unavailable(Cause::Busy), Unavailable(Cause::Busy),
        "too many calls or waiting threads" => Kind::Unavailable(Code::UnavailableBusy),
            shown by "more_questions_than_am_may_be_asked_at_once_are_refused";
    Unavailable(Cause::AgentLogin), Unavailable(Cause::AgentLogin),
        "the agent cannot log in" => Kind::Unavailable(Code::UnavailableAgentLogin),
            shown by "a_wrong_agent_password_is_named_and_does_not_storm_am";
    Unavailable(Cause::Draining), Unavailable(Cause::Draining),
        "this worker is shutting down" => Kind::Unavailable(Code::UnavailableDraining),
            shown by "a_reload_does_not_wait_for_an_am_that_hangs";
    Unavailable(Cause::Store), Unavailable(Cause::Store),
        "a shared table took no entry" => Kind::Unavailable(Code::UnavailableStore),
            shown by "where_no_end_of_a_session_can_be_kept_a_logout_is_refused";
    Unavailable(Cause::Breaker), Unavailable(Cause::Breaker),
        "AM is known to be away" => Kind::Unavailable(Code::UnavailableBreaker),
            shown by "an_am_that_is_away_is_not_asked_until_it_is_back";
    Unavailable(Cause::Files), Unavailable(Cause::Files),
        "a file of kept POSTs cannot be written or read" => Kind::Unavailable(Code::PostNotKept),
            shown by "nothing_is_lost_in_silence_when_the_directory_cannot_be_used";
}

/// The table.
pub const fn fail_closed(fact: Fact, error: FactError, strategy: Strategy) -> Failure {
    match kind(error) {
        Kind::Dead => fact.if_dead(),
        Kind::NotAllowed(code) => Failure::Refuse(403, code),
        // What cannot be kept is a login's state: it has a code of its own, which says what to do.
        Kind::Unavailable(Code::UnavailableStore) if matches!(fact, Fact::SpentState) => {
            Failure::Refuse(strategy.status(), Code::LoginStateStore)
        }
        Kind::Unavailable(code) => Failure::Refuse(strategy.status(), code),
    }
}

/// Whether grace can let an earlier answer count after this failure (rule O2): of a fact that has been asked
/// for before, and after those failures that tell of AM's absence (rule O1).
pub const fn may_be_outlived(fact: Fact, error: FactError) -> bool {
    fact.has_grace()
        && match error {
            Unavailable(cause) => cause.tells_of_am() || matches!(cause, Cause::Breaker),
            Dead | NotAllowed => false,
        }
}

/// The decision for a failure; `None` where the user has to log in.
pub(crate) fn refuse_for<'a>(
    cx: &Cx<'a, '_>,
    fact: Fact,
    error: FactError,
) -> Option<Decision<'a>> {
    let Failure::Refuse(status, code) = fail_closed(fact, error, cx.snap.config.strategy) else {
        return None;
    };
    let detail = match error {
        FactError::Unavailable(Cause::Status(status)) => {
            super::detail(alloc::format!("HTTP {status}"))
        }
        _ => "".into(),
    };
    Some(refuse(cx.facts, code, status, None, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dead_token_leads_to_login_and_nothing_leads_to_allow() {
        for fact in Fact::ALL {
            for (error, text) in FAILURES {
                for strategy in Strategy::ALL {
                    let failure = fail_closed(*fact, *error, *strategy);
                    let page = matches!(fact, Fact::Session | Fact::Policy);
                    match (failure, error) {
                        (Failure::Login, FactError::Dead) => assert!(page),
                        (Failure::Refuse(403, _), FactError::Dead) => assert!(!page),
                        (Failure::Refuse(403, code), FactError::NotAllowed) => {
                            assert_eq!(code, Code::AmNotAllowed);
                        }
                        (Failure::Refuse(status, _), FactError::Unavailable(_)) => {
                            assert_eq!(status, strategy.status());
                        }
                        other => panic!("{fact:?} {text} {strategy:?}: {other:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn each_failure_has_a_code_of_its_own() {
        let code = |error| match kind(error) {
            Kind::Dead => None,
            Kind::NotAllowed(code) | Kind::Unavailable(code) => Some(code),
        };
        for (at, (error, _)) in FAILURES.iter().enumerate() {
            for (other, _) in &FAILURES[..at] {
                assert_ne!(code(*error), code(*other));
            }
        }
    }
}
