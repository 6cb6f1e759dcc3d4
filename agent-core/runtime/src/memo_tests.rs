//! What the shared memory hands out of before a failure: nothing that is known to have ended or changed
//! (rules O2, S1 and S2).

use portcullis_engine::{
    contract::{MonoMillis, UnixMillis},
    record::{NewPolicy, NewSession, SessionKind},
};
use portcullis_shm::InstanceId;

use super::*;

const SESSION: u128 = 7;
const POLICY: u128 = 8;
const AWAY: FactError = FactError::Unavailable(Cause::Breaker);

fn session_record() -> Vec<u8> {
    let session = NewSession {
        kind: SessionKind::User,
        client_side: false,
        max_end: u64::MAX,
        idle_end: u64::MAX,
        realm: "/",
        universal_id: "id=demo,ou=user",
        properties: &[],
    };
    session.encode().unwrap()
}

fn policy_record() -> Vec<u8> {
    let policy = NewPolicy {
        ttl: u64::MAX,
        actions: &[("GET", true)],
        attributes: &[],
        advices: &[],
    };
    policy.encode().unwrap()
}

/// A host in which a session and a decision were learnt ten seconds ago, for five seconds.
struct Host {
    mapping: Mapping,
    now: u64,
}

impl Host {
    fn new() -> Host {
        let mapping = Mapping::create(4 << 20).unwrap();
        let now = clock::boottime_ms();
        let stamp = Stamp {
            stored_at: now - 10_000,
            expires_at: now - 5_000,
            epoch: 0,
            revocations: 0,
        };
        let session = Stamp {
            epoch: stamp.stored_at - 1, // since when it is what it is
            ..stamp
        };
        let _ = mapping
            .sessions()
            .put(Key(SESSION), session, &session_record());
        let _ = mapping
            .decisions()
            .put(Key(POLICY), stamp, &policy_record());
        Host { mapping, now }
    }

    fn state(&self) -> InstanceState<'_> {
        self.mapping.instance_at(InstanceId::FIRST)
    }

    fn view<'h>(&'h self, memo: &'h Memo) -> View<'h> {
        View {
            memo,
            mapping: &self.mapping,
            state: self.state(),
            now: Now {
                wall: UnixMillis(1),
                mono: MonoMillis(self.now),
            },
            serving: None,
            node: NodeMark::NONE,
        }
    }

    /// How long the interval of session and decision is over, for a request whose questions fail.
    fn old(&self, error: FactError) -> (Option<u64>, Option<u64>) {
        let memo = Memo::default();
        let view = self.view(&memo);
        assert!(!matches!(
            view.session(SessionKey(SESSION)),
            Known::Fresh(_)
        ));
        memo.give(Kind::Session, SESSION, Err(error));
        memo.give(Kind::Policy, POLICY, Err(error));
        fn over<T>(known: Known<T>) -> Option<u64> {
            match known {
                Known::Failed(_, old) => old.map(|(_, age)| age.over),
                _ => panic!("no failure"),
            }
        }
        (
            over(view.session(SessionKey(SESSION))),
            over(view.policy(PolicyKey(POLICY))),
        )
    }
}

#[test]
fn what_was_known_is_there_after_a_failure() {
    let host = Host::new();
    assert_eq!(host.old(AWAY), (Some(5_000), Some(5_000)));
    for error in [FactError::Dead, FactError::NotAllowed] {
        assert_eq!(host.old(error), (None, None), "AM has answered");
    }
}

#[test]
fn what_has_ended_or_changed_is_not() {
    let host = Host::new();
    host.state().bump_epoch();
    assert_eq!(host.old(AWAY), (Some(5_000), None), "a policy was changed");

    // A session that ended is dead before anybody asks.
    let host = Host::new();
    let _ = host
        .mapping
        .ended()
        .insert(Key(SESSION), host.now + 60_000, host.now);
    let memo = Memo::default();
    let view = host.view(&memo);
    let known = view.session(SessionKey(SESSION));
    assert!(matches!(known, Known::Failed(FactError::Dead, None)));

    // AM has not told of anything for a while.
    let host = Host::new();
    let since = host.state();
    since
        .spare(VALID_SINCE)
        .unwrap()
        .store(host.now - 9_000, Ordering::Release);
    assert_eq!(host.old(AWAY).0, None, "learnt before a gap");

    // The session has changed after the decision.
    let host = Host::new();
    let changed = Stamp {
        stored_at: host.now - 8_000,
        expires_at: host.now - 5_000,
        epoch: host.now - 8_000,
        revocations: 0,
    };
    let sessions = host.mapping.sessions();
    let _ = sessions.put(Key(SESSION), changed, &session_record());
    assert_eq!(host.old(AWAY), (Some(5_000), None));

    // A login may have changed it.
    let host = Host::new();
    let at = host.now - 10_000;
    let doubtful = Stamp {
        stored_at: at,
        expires_at: at,
        epoch: at,
        revocations: 0,
    };
    let sessions = host.mapping.sessions();
    let _ = sessions.put(Key(SESSION), doubtful, &session_record());
    assert_eq!(host.old(AWAY).0, None);
}

#[test]
fn a_session_that_ends_while_its_question_is_open_is_not_old_but_over() {
    let host = Host::new();
    let memo = Memo::default();
    let view = host.view(&memo);
    assert!(matches!(view.session(SessionKey(SESSION)), Known::Missing));
    memo.give(Kind::Session, SESSION, Err(AWAY));
    let _ = host
        .mapping
        .ended()
        .insert(Key(SESSION), host.now + 60_000, host.now);
    let known = view.session(SessionKey(SESSION));
    assert!(matches!(known, Known::Failed(_, None)));
}
