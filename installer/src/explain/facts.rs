//! What is known about a made-up request: the engine's questions are answered from the line.
//!
//! It must not guess: where a memo in full lacks an answer, the engine's need stays open.

use std::cell::{Cell, RefCell};

use anyhow::{Result, anyhow};
use portcullis_engine::{
    config::Snapshot,
    contract::{
        Act, Age, AttributesKey, Cause, FactError, Facts, Known, MonoMillis, Now, PolicyKey,
        Receipt, SessionKey, UnixMillis,
    },
    record::{Attributes, NewPolicy, NewSession, Policy, Session, SessionKind},
};

use super::question::{
    self, Am, Fact, Failure, Given, PolicyGiven, Question, SessionGiven, Values,
};

/// When every made-up request arrives, so that each run prints the same: 1 January 2026, 0:00 UTC.
pub(super) const NOW: Now = Now {
    wall: UnixMillis(1_767_225_600_000),
    mono: MonoMillis(86_400_000),
};
/// When a given session ends that does not say so: after all that anybody asks about.
const LATER: u64 = u64::MAX / 2;
/// State, nonce and incident id derive from it. Nothing that is sealed here opens anywhere else.
const SEED: [u8; 32] = *b"portcullis explain: no secret...";

/// The bytes of an answer, or why there is none.
type Held = std::result::Result<Vec<u8>, Failed>;

/// Why there is no answer, and what there was before.
struct Failed {
    error: FactError,
    known: Option<(Vec<u8>, Age)>,
}

impl From<FactError> for Failed {
    fn from(error: FactError) -> Failed {
        Failed { error, known: None }
    }
}

/// Answers of one kind, in the order in which the engine asks; each key keeps the one it got.
struct Queue {
    /// `None`: it is not known.
    answers: Vec<Option<Held>>,
    keys: RefCell<Vec<u128>>,
    /// The last answer holds for every further key.
    repeats: bool,
}

impl Queue {
    fn of(answers: Vec<Option<Held>>) -> Queue {
        Queue {
            answers,
            keys: RefCell::default(),
            repeats: false,
        }
    }

    fn always(answer: Held) -> Queue {
        Queue {
            repeats: true,
            ..Queue::of(vec![Some(answer)])
        }
    }

    fn answer(&self, key: u128) -> Option<&Held> {
        let mut keys = self.keys.borrow_mut();
        let at = keys.iter().position(|k| *k == key).unwrap_or_else(|| {
            keys.push(key);
            keys.len() - 1
        });
        let last = self.answers.len().checked_sub(1)?;
        self.answers
            .get(if self.repeats { at.min(last) } else { at })?
            .as_ref()
    }

    fn known<'q, T>(&'q self, key: u128, decode: fn(&'q [u8]) -> Option<T>) -> Known<T> {
        match self.answer(key) {
            None => Known::Missing,
            Some(Ok(bytes)) => match decode(bytes) {
                Some(value) => Known::Fresh(value),
                None => Known::Failed(FactError::Unavailable(Cause::Protocol), None),
            },
            Some(Err(Failed { error, known })) => {
                let known = known.as_ref();
                let known = known.and_then(|(bytes, age)| Some((decode(bytes)?, *age)));
                Known::Failed(*error, known)
            }
        }
    }
}

/// The facts of one line.
pub(super) struct Told {
    session: Queue,
    policy: Queue,
    attributes: Queue,
    form: Option<Held>,
    /// `None`: it was not carried out.
    receipts: Vec<Option<std::result::Result<Receipt, FactError>>>,
    /// Whatever is counted happens for the first time in its minute.
    counts_once: bool,
    /// What a counter says.
    counted: u32,
    /// AM is known to be away.
    away: bool,
    /// Which of AM's servers answers.
    serving: usize,
    acts: RefCell<Vec<Act>>,
    asked: RefCell<Vec<&'static str>>,
    /// A session token is sent with the request.
    pub(super) token_sent: Cell<bool>,
}

impl Told {
    /// What the line says.
    ///
    /// # Errors
    /// A value is longer than a record holds.
    pub(super) fn of(question: &Question, snap: &Snapshot) -> Result<Told> {
        let body = question.body.clone().into_bytes();
        match &question.given {
            Given::Short {
                session,
                policy,
                am,
            } => Told::short(session.as_ref(), policy.as_ref(), *am, body, snap),
            Given::Memo(facts) => Told::memo(facts, body),
        }
    }

    /// AM knows the given session and no other, and has an answer about every URL: the given one, or
    /// that no policy is about it. With AM down, what is given is what was known before: its interval
    /// has just passed, and it cannot be had anew.
    fn short(
        session: Option<&SessionGiven>,
        policy: Option<&PolicyGiven>,
        am: Am,
        body: Vec<u8>,
        snap: &Snapshot,
    ) -> Result<Told> {
        let sessions = session.map(session_record).transpose()?;
        let policies = match policy {
            Some(policy) => Some(policy_record(policy)?),
            None if am == Am::Up => Some(policy_record(&PolicyGiven::silent())?),
            None => None,
        };
        let attributes = session
            .map(|s| attributes_record(&s.attributes))
            .transpose()?;
        let config = &snap.config;
        let queue = |bytes: Option<Vec<u8>>, minutes: u32| match am {
            Am::Up => Queue::always(bytes.ok_or(FactError::Dead.into())),
            Am::Down => Queue::always(Err(Failed {
                error: FactError::Unavailable(Cause::Transport),
                known: bytes.map(|bytes| {
                    let total = u64::from(minutes) * 60_000 + 1;
                    (bytes, Age { total, over: 1 })
                }),
            })),
        };
        // A state is spent here; a session is ended here and at AM.
        let receipt = Some(Ok(Receipt::Done));
        Ok(Told {
            session: queue(sessions, config.sso_cache_interval),
            policy: queue(policies, config.policy_cache_interval),
            attributes: queue(attributes, config.sso_cache_interval),
            form: Some(Ok(body)),
            receipts: vec![receipt; 2],
            counts_once: true,
            counted: 0,
            away: am == Am::Down,
            serving: 0,
            acts: RefCell::default(),
            asked: RefCell::default(),
            token_sent: Cell::new(session.is_some()),
        })
    }

    /// The facts of a memo and no others.
    fn memo(facts: &[Fact], body: Vec<u8>) -> Result<Told> {
        let (mut sessions, mut policies, mut attributes) = (vec![], vec![], vec![]);
        let (mut form, mut receipts) = (None, vec![]);
        let (mut away, mut serving, mut counted) = (false, 0, 0);
        for fact in facts {
            match fact {
                Fact::Session(known) => sessions.push(held(known, session_record)?),
                Fact::Policy(known) => policies.push(held(known, policy_record)?),
                Fact::Attributes(known) => attributes.push(held(known, attributes_record)?),
                Fact::Form(known) => form = held(known, |text| Ok(text.clone().into_bytes()))?,
                Fact::Receipt(known) => receipts.push(match known {
                    question::Known::Fresh(receipt) => Some(Ok(match receipt {
                        question::Receipt::Done => Receipt::Done,
                        question::Receipt::Replayed => Receipt::Replayed,
                        question::Receipt::Gone => Receipt::Gone,
                        question::Receipt::TooLarge => Receipt::TooLarge,
                        question::Receipt::Full => Receipt::Full,
                        question::Receipt::Counted(n) => Receipt::Counted(*n),
                    })),
                    question::Known::Failed(failure) => Some(Err(failure.error())),
                    question::Known::Outlived(old) => Some(Err(old.failed.error())),
                    question::Known::Unknown => None,
                }),
                Fact::Counted(n) => counted = *n,
                Fact::Am(am) => away = *am == Am::Down,
                Fact::AmServing(at) => serving = *at,
            }
        }
        if form.is_none() && !body.is_empty() {
            form = Some(Ok(body));
        }
        Ok(Told {
            token_sent: Cell::new(!sessions.is_empty()),
            session: Queue::of(sessions),
            policy: Queue::of(policies),
            attributes: Queue::of(attributes),
            form,
            receipts,
            counts_once: false,
            counted,
            away,
            serving,
            acts: RefCell::default(),
            asked: RefCell::default(),
        })
    }

    /// What the engine looked up, in order.
    pub(super) fn asked(&self) -> Vec<&'static str> {
        self.asked.borrow().clone()
    }

    fn looked_up<T>(&self, what: &'static str, known: Known<T>) -> Known<T> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&what) {
            asked.push(what);
        }
        known
    }
}

impl Facts for Told {
    fn session(&self, of: SessionKey) -> Known<Session<'_>> {
        self.looked_up("session", self.session.known(of.0, Session::decode))
    }

    fn policy(&self, of: PolicyKey) -> Known<Policy<'_>> {
        self.looked_up("policy", self.policy.known(of.0, Policy::decode))
    }

    fn attributes(&self, of: AttributesKey) -> Known<Attributes<'_>> {
        self.looked_up(
            "attributes",
            self.attributes.known(of.0, Attributes::decode),
        )
    }

    fn form(&self) -> Known<&[u8]> {
        let known = match &self.form {
            None => Known::Missing,
            Some(Ok(bytes)) => Known::Fresh(&bytes[..]),
            Some(Err(failed)) => Known::Failed(failed.error, None),
        };
        self.looked_up("form", known)
    }

    fn receipt(&self, of: &Act) -> Known<Receipt> {
        if let (Act::Count { .. }, true) = (of, self.counts_once) {
            return Known::Fresh(Receipt::Counted(1));
        }
        let mut acts = self.acts.borrow_mut();
        let at = acts.iter().position(|act| act == of).unwrap_or_else(|| {
            acts.push(of.clone());
            acts.len() - 1
        });
        let known = match self.receipts.get(at) {
            None | Some(None) => Known::Missing,
            Some(Some(Ok(receipt))) => Known::Fresh(*receipt),
            Some(Some(Err(error))) => Known::Failed(*error, None),
        };
        let what = match of {
            Act::SpendState { .. } => "state spent",
            Act::EndSession { .. } => "session ended",
            Act::StorePost { .. } => "POST kept",
            Act::TakePost { .. } => "POST taken",
            Act::Count { .. } => "counted",
        };
        self.looked_up(what, known)
    }

    fn counted(&self, _: u128) -> u32 {
        self.counted
    }

    fn am_is_away(&self) -> bool {
        self.away
    }

    fn am_serving(&self) -> usize {
        self.serving
    }

    fn seed(&self) -> &[u8; 32] {
        &SEED
    }
}

impl PolicyGiven {
    /// What AM says where no policy is about a URL.
    fn silent() -> PolicyGiven {
        PolicyGiven {
            ttl: None,
            actions: Default::default(),
            advices: Values::new(),
            attributes: Values::new(),
        }
    }
}

impl Failure {
    fn error(self) -> FactError {
        FactError::Unavailable(match self {
            Failure::Dead => return FactError::Dead,
            Failure::NotAllowed => return FactError::NotAllowed,
            Failure::Transport => Cause::Transport,
            Failure::Timeout => Cause::Timeout,
            Failure::Tls => Cause::Tls,
            Failure::Status(status) => Cause::Status(status),
            Failure::Protocol => Cause::Protocol,
            Failure::Busy => Cause::Busy,
            Failure::AgentLogin => Cause::AgentLogin,
            Failure::Draining => Cause::Draining,
            Failure::Store => Cause::Store,
            Failure::Breaker => Cause::Breaker,
            Failure::Files => Cause::Files,
        })
    }
}

fn held<T>(known: &question::Known<T>, record: fn(&T) -> Result<Vec<u8>>) -> Result<Option<Held>> {
    Ok(match known {
        question::Known::Fresh(value) => Some(Ok(record(value)?)),
        question::Known::Failed(failure) => Some(Err(failure.error().into())),
        question::Known::Outlived(old) => Some(Err(Failed {
            error: old.failed.error(),
            known: Some((
                record(&old.value)?,
                Age {
                    total: old.age,
                    over: old.over,
                },
            )),
        })),
        question::Known::Unknown => None,
    })
}

fn too_long(what: &str) -> anyhow::Error {
    anyhow!("{what}: a text in it is too long")
}

/// The session as AM would show it: `UserToken` and the universal id beside what is given.
fn session_record(given: &SessionGiven) -> Result<Vec<u8>> {
    let made_up = format!("id={},ou=user", given.user);
    let universal_id = given.universal_id.as_deref().unwrap_or(&made_up);
    let mut properties = Vec::new();
    // A recorded session has all of its own.
    if given.universal_id.is_none() {
        properties.push(("UserToken", given.user.as_str()));
        properties.push(("sun.am.UniversalIdentifier", universal_id));
    }
    // A property of a session has one value; AM joins several with a bar.
    let joined: Vec<(&str, String)> = given
        .attributes
        .iter()
        .map(|(name, values)| (name.as_str(), values.join("|")))
        .collect();
    properties.retain(|(name, _)| !given.attributes.contains_key(*name));
    properties.extend(joined.iter().map(|(name, value)| (*name, value.as_str())));
    let ends = given.ends.unwrap_or(LATER);
    NewSession {
        kind: match given.application {
            true => SessionKind::Application,
            false => SessionKind::User,
        },
        client_side: given.client_side,
        max_end: ends,
        idle_end: given.idle_ends.unwrap_or(ends),
        realm: &given.realm,
        universal_id,
        properties: &properties,
    }
    .encode()
    .ok_or_else(|| too_long("session"))
}

fn policy_record(given: &PolicyGiven) -> Result<Vec<u8>> {
    let actions: Vec<(&str, bool)> = given
        .actions
        .iter()
        .map(|(n, a)| (n.as_str(), *a))
        .collect();
    let (attributes, advices) = (texts(&given.attributes), texts(&given.advices));
    NewPolicy {
        ttl: given.ttl.unwrap_or(u64::MAX),
        actions: &actions,
        attributes: &slices(&attributes),
        advices: &slices(&advices),
    }
    .encode()
    .ok_or_else(|| too_long("policy"))
}

fn attributes_record(given: &Values) -> Result<Vec<u8>> {
    let values = texts(given);
    Attributes::encode(&slices(&values)).ok_or_else(|| too_long("attributes"))
}

fn texts(values: &Values) -> Vec<(&str, Vec<&str>)> {
    let pairs = values.iter();
    pairs
        .map(|(name, all)| (name.as_str(), all.iter().map(String::as_str).collect()))
        .collect()
}

fn slices<'v>(values: &'v [(&'v str, Vec<&'v str>)]) -> Vec<(&'v str, &'v [&'v str])> {
    values.iter().map(|(n, v)| (*n, v.as_slice())).collect()
}
