//! What is counted, and under which number of the shared meters?
//!
//! One relaxed addition each, from any thread. A cached allow pays two: its decision, and what it found in
//! the table. Must not name users, and must not write the numbers down; `metrics.rs` does.

use std::{sync::Arc, time::Duration};

use portcullis_engine::{
    contract::{Ask, Cause, Decision, Outcome},
    event::Code,
};
use portcullis_shm::{Counted, Gauge, InstanceId, Mapping, Meter, Meters, WorkerId};

use crate::memo::Kind;

/// Places of one code.
const OF_CODE: usize = 8;
/// Codes have numbers below this.
const CODES: usize = 1024;
/// Facts found in the table: which ones, and how old the oldest was.
const FOUND: usize = CODES * OF_CODE;
/// Facts that were not there, by kind.
const MISSED: usize = FOUND + 8 * AGES;
const EVENTS: usize = MISSED + 8;
const WAITS: usize = EVENTS + 32;
const CALLS: usize = WAITS + HISTOGRAM;
/// Places of one operation: results, then the histogram.
const OF_CALL: usize = 16 + HISTOGRAM;
/// Places of a histogram: its buckets, and the sum in microseconds.
const HISTOGRAM: usize = 16;
const _: () = assert!(CALLS + Operation::ALL.len() * OF_CALL <= portcullis_shm::METERS);

/// Upper ends of the buckets of time, in milliseconds; one more has no end.
pub(crate) const TIMES_MS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];
/// Classes of age of what was found.
pub(crate) const AGES: usize = 8;
/// Upper end of a class of age, in milliseconds; the last one has none.
pub(crate) const fn age_end_ms(class: usize) -> u64 {
    1024 << (2 * class)
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Ending {
    Allowed = 0,
    /// Answered with 2xx.
    Answered = 1,
    Redirected = 2,
    Denied = 3,
    Failed = 4,
}

impl Ending {
    pub(crate) const ALL: [(Ending, &'static str); 5] = [
        (Ending::Allowed, "allowed"),
        (Ending::Answered, "answered"),
        (Ending::Redirected, "redirected"),
        (Ending::Denied, "denied"),
        (Ending::Failed, "failed"),
    ];

    #[inline]
    fn of(decision: &Decision<'_>) -> Ending {
        match &decision.outcome {
            Outcome::Allow(_) => Ending::Allowed,
            Outcome::Replay => Ending::Answered,
            Outcome::Respond(answer) => match answer.status {
                0..300 => Ending::Answered,
                300..400 => Ending::Redirected,
                400..500 => Ending::Denied,
                500.. => Ending::Failed,
            },
        }
    }
}

/// Further places of a code.
const LINES: usize = 5;
const ASKED: usize = 6;

/// What is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Event {
    /// AM told of a changed policy.
    PolicyChange = 0,
    /// AM told of a changed profile.
    ConfigChange = 1,
    /// AM told of a session that ended or changed.
    SessionChange = 2,
    /// Records put into the table.
    Stored = 3,
    /// Records that found no place there, or met another writer.
    NotStored = 4,
    /// Records taken out.
    Removed = 5,
    /// Questions that somebody asked already.
    Joined = 6,
    /// Log lines and audit events that found no room.
    LinesLost = 7,
    /// Requests that a thread allowed as it did the same one before.
    Again = 8,
    /// Audit events for AM that are in the local file instead.
    AuditKeptHere = 9,
}

/// An operation of AM's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Operation {
    ServerInfo = 0,
    AgentLogin = 1,
    Profile = 2,
    Session = 3,
    Policy = 4,
    Attributes = 5,
    Logout = 6,
    Validate = 7,
    Keys = 8,
    Audit = 9,
    Notifications = 10,
    Other = 11,
}

impl Operation {
    pub(crate) const ALL: [(Operation, &'static str); 12] = [
        (Operation::ServerInfo, "serverinfo"),
        (Operation::AgentLogin, "agent_login"),
        (Operation::Profile, "profile"),
        (Operation::Session, "session"),
        (Operation::Policy, "policy"),
        (Operation::Attributes, "attributes"),
        (Operation::Logout, "logout"),
        (Operation::Validate, "validate"),
        (Operation::Keys, "keys"),
        (Operation::Audit, "audit"),
        (Operation::Notifications, "notifications"),
        (Operation::Other, "other"),
    ];

    /// Which one a path of AM's is about.
    fn of(path: &str) -> Operation {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let action = query.strip_prefix("_action=").unwrap_or_default();
        let mut parts = path.rsplit('/');
        let (last, before) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        match (before, last, action) {
            ("serverinfo", "*", _) => Operation::ServerInfo,
            (_, "authenticate", _) => Operation::AgentLogin,
            (_, "sessionservice", _) | (_, "sessions", "getSessionInfo") => Operation::Session,
            (_, "sessions", "logout") => Operation::Logout,
            (_, "sessions", "validate") => Operation::Validate,
            (_, "policies", "evaluate") => Operation::Policy,
            ("users", _, _) => Operation::Attributes,
            ("realm-audit", _, _) => Operation::Audit,
            (_, "jwk_uri", _) => Operation::Keys,
            (_, "notifications", _) => Operation::Notifications,
            ("agents", _, _) => Operation::Profile,
            _ => Operation::Other,
        }
    }
}

/// How calls to AM end, by place.
pub(crate) const RESULTS: [&str; 10] = [
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "transport",
    "timeout",
    "tls",
    "busy",
    "protocol",
    "cancelled",
];

fn result_of(ended: Result<u16, Cause>) -> usize {
    match ended {
        Ok(0..300) => 0,
        Ok(300..400) => 1,
        Ok(400..500) => 2,
        Ok(500..) => 3,
        Err(Cause::Transport) => 4,
        Err(Cause::Timeout) => 5,
        Err(Cause::Tls) => 6,
        Err(Cause::Busy) => 7,
        Err(_) => 8,
    }
}

/// The place of a kind of fact in a set of them; the rest is not looked up for a cached allow.
pub(crate) fn bit(kind: Kind) -> u8 {
    match kind {
        Kind::Session => 1,
        Kind::Policy => 2,
        Kind::Attributes => 4,
        Kind::Keys | Kind::NewerKeys => 0,
    }
}

/// Counts one decision: `found` are the facts that were in the table, `oldest` their age.
#[inline]
pub(crate) fn decided(
    meter: Meter<'_>,
    decision: &Decision<'_>,
    (found, oldest): (u8, u64),
    asked: bool,
) {
    let code = usize::from(decision.reason.number()) * OF_CODE;
    meter.add(code + Ending::of(decision) as usize, 1);
    if asked {
        meter.add(code + ASKED, 1);
    }
    if found != 0 {
        // 1 s, 4 s, 16 s and so on.
        let bits = (u64::BITS - (oldest >> 10).leading_zeros()) as usize;
        let class = bits.div_ceil(2).min(AGES - 1);
        meter.add(FOUND + usize::from(found & 7) * AGES + class, 1);
    }
}

/// Counts an allow that this thread had decided before.
#[inline]
pub(crate) fn again(meter: Meter<'_>, code: Code) {
    meter.add(usize::from(code.number()) * OF_CODE, 1);
    meter.add(EVENTS + Event::Again as usize, 1);
}

/// Counts a fact that has to be asked for.
pub(crate) fn missed(meter: Meter<'_>, ask: &Ask) {
    let place = match ask {
        Ask::Session { .. } => 0,
        Ask::Policy { .. } => 1,
        Ask::Attributes { .. } => 2,
        Ask::Keys { .. } => 3,
        Ask::Form { .. } => return,
    };
    meter.add(MISSED + place, 1);
}

/// Facts by their names in the metrics: name, bit among those found, place among those missed.
pub(crate) const FACTS: [(&str, u8, usize); 3] =
    [("session", 1, 0), ("policy", 2, 1), ("attributes", 4, 2)];

/// Counts a line.
pub(crate) fn line(meter: Meter<'_>, code: Code) {
    meter.add(usize::from(code.number()) * OF_CODE + LINES, 1);
}

/// Counts something.
pub(crate) fn event(meter: Meter<'_>, event: Event) {
    meter.add(EVENTS + event as usize, 1);
}

/// Counts how long a request waited.
pub(crate) fn waited(meter: Meter<'_>, ms: u64) {
    time(meter, WAITS, Duration::from_millis(ms));
}

fn time(meter: Meter<'_>, first: usize, took: Duration) {
    let ms = took.as_millis();
    let bucket = TIMES_MS.iter().position(|end| ms <= u128::from(*end));
    meter.add(first + bucket.unwrap_or(TIMES_MS.len()), 1);
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    meter.add(first + HISTOGRAM - 1, micros);
}

/// A distribution of times.
pub(crate) struct Times {
    /// How many in each bucket, not summed up.
    pub(crate) buckets: [u64; TIMES_MS.len() + 1],
    /// All together, in microseconds.
    pub(crate) micros: u64,
}

/// The numbers of an instance, of all workers.
pub(crate) struct Numbers<'m>(pub(crate) Meters<'m>);

impl Numbers<'_> {
    pub(crate) fn decisions(&self, code: Code, ending: Ending) -> u64 {
        self.0
            .sum(usize::from(code.number()) * OF_CODE + ending as usize)
    }

    /// Decisions with this code, for which AM was asked, or which waited for those who asked.
    pub(crate) fn asked(&self, code: Code) -> u64 {
        self.0.sum(usize::from(code.number()) * OF_CODE + ASKED)
    }

    pub(crate) fn lines(&self, code: Code) -> u64 {
        self.0.sum(usize::from(code.number()) * OF_CODE + LINES)
    }

    /// Requests that found all facts of such a set, by age of the oldest.
    pub(crate) fn found(&self, set: u8, age: usize) -> u64 {
        self.0.sum(FOUND + usize::from(set) * AGES + age)
    }

    /// Requests that found this fact.
    pub(crate) fn hits(&self, fact: u8) -> u64 {
        let sets = (1..8u8).filter(|set| set & fact != 0);
        sets.flat_map(|set| (0..AGES).map(move |age| (set, age)))
            .map(|(set, age)| self.found(set, age))
            .sum()
    }

    pub(crate) fn missed(&self, place: usize) -> u64 {
        self.0.sum(MISSED + place)
    }

    pub(crate) fn event(&self, event: Event) -> u64 {
        self.0.sum(EVENTS + event as usize)
    }

    pub(crate) fn waits(&self) -> Times {
        self.times(WAITS)
    }

    pub(crate) fn calls(&self, operation: Operation, result: usize) -> u64 {
        self.0.sum(CALLS + operation as usize * OF_CALL + result)
    }

    pub(crate) fn call_times(&self, operation: Operation) -> Times {
        self.times(CALLS + operation as usize * OF_CALL + 16)
    }

    fn times(&self, first: usize) -> Times {
        Times {
            buckets: std::array::from_fn(|i| self.0.sum(first + i)),
            micros: self.0.sum(first + HISTOGRAM - 1),
        }
    }
}

/// Counts the calls to AM of one client.
#[derive(Clone)]
pub struct CallMeter {
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) worker: WorkerId,
    pub(crate) instance: InstanceId,
}

/// A call under way; one that is dropped before it ended was cancelled.
pub(crate) struct Metered<'c> {
    meter: &'c CallMeter,
    operation: Operation,
    begun: std::time::Instant,
    result: Option<Result<u16, Cause>>,
    _in_flight: Counted<Arc<Mapping>>,
}

impl CallMeter {
    pub(crate) fn begin(&self, path: &str) -> Metered<'_> {
        Metered {
            meter: self,
            operation: Operation::of(path),
            begun: std::time::Instant::now(),
            result: None,
            _in_flight: Counted::new(self.mapping.clone(), self.worker, Gauge::CallsInFlight),
        }
    }
}

impl Metered<'_> {
    pub(crate) fn end(mut self, result: Result<u16, Cause>) {
        self.result = Some(result);
    }
}

impl Drop for Metered<'_> {
    fn drop(&mut self) {
        let CallMeter {
            mapping,
            worker,
            instance,
        } = self.meter;
        let meter = mapping.meter(*instance, *worker);
        let first = CALLS + self.operation as usize * OF_CALL;
        let result = self.result.map_or(RESULTS.len() - 1, result_of);
        meter.add(first + result, 1);
        time(meter, first + 16, self.begun.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_ams_has_its_operation() {
        for (path, operation) in [
            ("json/serverinfo/*", Operation::ServerInfo),
            (
                "json/realms/root/realms/shop/authenticate?authIndexType=module&authIndexValue=Application",
                Operation::AgentLogin,
            ),
            ("sessionservice", Operation::Session),
            (
                "json/realms/root/sessions?_action=getSessionInfo",
                Operation::Session,
            ),
            ("json/sessions?_action=logout", Operation::Logout),
            ("json/sessions?_action=validate", Operation::Validate),
            (
                "json/realms/root/policies?_action=evaluate",
                Operation::Policy,
            ),
            (
                "json/realms/root/users/demo?_fields=cn",
                Operation::Attributes,
            ),
            (
                "json/realms/root/realm-audit/access?_action=create",
                Operation::Audit,
            ),
            ("oauth2/connect/jwk_uri", Operation::Keys),
            ("notifications", Operation::Notifications),
            (
                "json/realms/root/realms/shop/agents/wa1",
                Operation::Profile,
            ),
            ("json/unheard-of", Operation::Other),
        ] {
            assert_eq!(Operation::of(path), operation, "{path}");
        }
    }

    #[test]
    fn operations_and_codes_have_places_of_their_own() {
        for (at, (operation, _)) in Operation::ALL.iter().enumerate() {
            assert_eq!(*operation as usize, at);
        }
        for (at, (ending, _)) in Ending::ALL.iter().enumerate() {
            assert_eq!(*ending as usize, at);
            assert!(at < LINES);
        }
        assert!(
            Code::ALL
                .iter()
                .all(|code| usize::from(code.number()) < CODES)
        );
        assert!(RESULTS.len() <= 16 && TIMES_MS.len() + 1 < HISTOGRAM);
    }

    #[test]
    fn times_fall_into_their_buckets() {
        let mapping = Mapping::create(0).unwrap();
        let worker = mapping.workers().register(1, 1).unwrap();
        let id = mapping.instance([1; 16]).unwrap().id();
        for ms in [0, 5, 6, 10_000, 10_001] {
            waited(mapping.meter(id, worker), ms);
        }
        let times = Numbers(mapping.meters(id)).waits();
        assert_eq!(times.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(times.micros, 20_012_000);
    }
}
