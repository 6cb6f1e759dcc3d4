//! What does a host remember of sessions and decisions, and until when would each count without AM?
//!
//! For tools: reads shared memory only. It must not decide who gets in; that depends on the request, and the
//! engine says it. Users and pages are not told of.

use std::sync::atomic::Ordering;

use portcullis_engine::record::{Policy, Session, SessionKind};
use portcullis_shm::{Stamp, clock};

use crate::{logs::wall_ms, memo, running::Running};

/// One record that AM gave, in milliseconds from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// Until its interval ends; 0: it has ended.
    pub fresh: u64,
    /// Since its interval ended; 0: it has not.
    pub over: u64,
    /// Until the end that AM itself has set, which no grace goes beyond.
    pub ends: u64,
}

/// What is known, each in no order. Of all instances of the host: no record says of which it is.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// Sessions of users that are not known to have ended.
    pub sessions: Vec<Left>,
    /// Policy decisions of the epoch that counts.
    pub decisions: Vec<Left>,
}

impl Running {
    /// Looks at every session and decision in the host's memory.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        let (mapping, state) = (self.mapping(), self.state());
        let (now, wall) = (clock::boottime_ms(), wall_ms());
        let since = state.spare(memo::VALID_SINCE);
        let since = since.map_or(u64::MAX, |since| since.load(Ordering::Acquire));
        let mut all = Remembered::default();
        mapping.sessions().each(|key, stamp, record| {
            let Some(session) = Session::decode(record) else {
                return;
            };
            let counts = session.kind == SessionKind::User
                && stamp.stored_at > since
                && !memo::is_over_at(mapping, key.0, now);
            if counts {
                let end = session.max_end.min(session.idle_end);
                all.sessions.extend(left(&stamp, now, end, wall));
            }
        });
        let skew = i64::from(self.config().policy_clock_skew) * 1000;
        mapping.decisions().each(|_, stamp, record| {
            // Attributes and keys of AM lie beside them.
            if let Some(policy) = Policy::decode(record).filter(|_| stamp.epoch == state.epoch()) {
                let at_am = wall.saturating_add_signed(-skew);
                all.decisions.extend(left(&stamp, now, policy.ttl, at_am));
            }
        });
        all
    }
}

/// `None` for what never had an interval.
fn left(stamp: &Stamp, now: u64, end: u64, wall: u64) -> Option<Left> {
    (stamp.stored_at < stamp.expires_at).then(|| Left {
        fresh: stamp.expires_at.saturating_sub(now),
        over: now.saturating_sub(stamp.expires_at),
        ends: end.saturating_sub(wall),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_counted_from_now() {
        let stamp = Stamp {
            stored_at: 100,
            expires_at: 200,
            epoch: 0,
            revocations: 0,
        };
        let of = |now| left(&stamp, now, 5_300, 5_000).unwrap();
        let is = |fresh, over| Left {
            fresh,
            over,
            ends: 300,
        };
        assert_eq!(of(150), is(50, 0));
        assert_eq!(of(200), is(0, 0));
        assert_eq!(of(260), is(0, 60));
        assert_eq!(left(&stamp, 150, 4_000, 5_000).unwrap().ends, 0);
        let never = Stamp {
            expires_at: 100,
            ..stamp
        };
        assert_eq!(left(&never, 150, 5_300, 5_000), None);
    }
}
