//! Gets what requests need from AM, once for all who wait for the same thing, and stores it.
//!
//! Runs on the worker's thread. An answer goes to those who wait first and into shared memory
//! second; it is stored under the counters read before the call (rule S2).

use std::{cell::Cell, rc::Rc, sync::Arc, time::Instant};

use portcullis_engine::{
    am::{AmError, a::policy::Question},
    contract::{Act, Ask, Cause, FactError, Need, NodeMark, Receipt, SessionKey, UnixMillis},
    event::Code,
    record::{Policy, Session},
    token::Secret,
};
use portcullis_shm::{Ended, InstanceState, Key, Mapping, Put, Stamp, Wish, clock};
use tokio::sync::Notify;

use crate::{
    agent::{Agent, Instance},
    am::Am,
    client::{Call, Permit},
    connect::connect,
    evaluate::now,
    flights::Flights,
    leader,
    lines::Line,
    logs::wall_ms,
    memo::{Kind, Memo, View, table_key},
    meter::{self, CallMeter, Event},
    ticket::{Answer, Completions, Mailbox},
    transaction,
    worker::{Job, Worker},
};

/// A record, or why there is none.
pub(crate) type Fact = Result<Vec<u8>, FactError>;
/// A fact by its name.
pub(crate) type Named = ((Kind, u128), Fact);

/// The slot that an ask's answer goes to; a form comes from the host.
pub(crate) fn name(ask: &Ask) -> Option<(Kind, u128)> {
    match ask {
        Ask::Session { key, .. } => Some((Kind::Session, key.0)),
        Ask::Policy { key, .. } => Some((Kind::Policy, key.0)),
        Ask::Attributes { key, .. } => Some((Kind::Attributes, key.0)),
        Ask::Keys { key, newer: false } => Some((Kind::Keys, key.0)),
        Ask::Keys { key, newer: true } => Some((Kind::NewerKeys, key.0)),
        Ask::Form { .. } => None,
    }
}

/// The token that AM is asked about.
fn token_of(ask: &Ask) -> Option<&Secret> {
    match ask {
        Ask::Session { token, .. } | Ask::Attributes { token, .. } | Ask::Policy { token, .. } => {
            Some(token)
        }
        Ask::Keys { .. } | Ask::Form { .. } => None,
    }
}

/// The session that an ask is about: when AM calls its token dead, that is known of all of them.
pub(crate) fn session_of(ask: &Ask) -> Option<SessionKey> {
    match ask {
        Ask::Session { key, .. } => Some(*key),
        Ask::Policy { session, .. } | Ask::Attributes { session, .. } => Some(*session),
        Ask::Keys { .. } | Ask::Form { .. } => None,
    }
}

/// The limit of the body that a need asks for.
pub(crate) fn body_limit(need: &Need) -> Option<u64> {
    match need {
        Need::Ask(asks) => asks.iter().find_map(|ask| match ask {
            Ask::Form { limit } => Some(*limit),
            _ => None,
        }),
        Need::Do(_) => None,
    }
}

/// Answers a job of an instance that has no configuration to ask AM with.
pub(crate) fn refuse(job: Job, completions: &Completions) {
    let error = FactError::Unavailable(Cause::AgentLogin);
    match job.need {
        Need::Ask(asks) => {
            for (kind, key) in asks.iter().filter_map(name) {
                deliver(
                    &job.mailbox,
                    completions,
                    Answer::Fact(kind, key, Err(error)),
                );
            }
        }
        Need::Do(act) => deliver(&job.mailbox, completions, Answer::Receipt(act, Err(error))),
    }
}

/// Wakes a request that waited for a configuration.
pub(crate) fn configuration_arrived(mailbox: Arc<Mailbox>, completions: &Completions) {
    deliver(&mailbox, completions, Answer::Configuration);
}

pub(crate) fn deliver(mailbox: &Arc<Mailbox>, completions: &Completions, answer: Answer) {
    if mailbox.deliver(answer) {
        completions.push(mailbox.clone());
    }
}

/// The worker's side of one instance.
pub(crate) struct Fetcher {
    pub(crate) agent: Arc<Agent>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) index: usize,
    pub(crate) am: Am,
    /// Wakes whoever looks after the instance in this worker.
    pub(crate) kick: Notify,
    /// How the last question to a second policy set failed, if it did.
    pub(crate) second_failed: Cell<Option<FactError>>,
    pub(crate) flights: Flights,
    /// Since when another server than AM's first is asked, or when the first was looked for last.
    pub(crate) left_first: Cell<Option<tokio::time::Instant>>,
}

impl Fetcher {
    /// `None` for an instance whose `agent.conf` can't be used, or whose client can't be made.
    pub(crate) fn new(agent: Arc<Agent>, worker: Arc<Worker>, index: usize) -> Option<Fetcher> {
        let start = agent.instance(index)?.start()?;
        if start.config.rules_only.is_some() {
            return None; // autonomous: AM is never asked
        }
        let am = match connect(start) {
            Ok(am) => am,
            Err(error) => {
                let text = error.to_string();
                worker.write(index, Line::log(Code::ConfigProblem, text));
                return None;
            }
        };
        if let Some(instance) = agent.instance(index) {
            instance.served_by(am.position());
            am.metered(CallMeter {
                mapping: worker.shared(),
                worker: worker.id(),
                instance: instance.state(worker.mapping()).id(),
            });
        }
        if let Some(snapshot) = agent.instance(index).and_then(Instance::snapshot) {
            am.balance(snapshot.config.add_amlbcookie);
        }
        Some(Fetcher {
            agent,
            worker,
            index,
            am,
            kick: Notify::new(),
            second_failed: Cell::default(),
            flights: Flights::default(),
            left_first: Cell::default(),
        })
    }

    pub(crate) fn instance(&self) -> &Instance {
        // INVARIANT: `new` found it, and instances are never taken away.
        #[allow(clippy::expect_used)]
        self.agent.instance(self.index).expect("instance")
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        self.worker.mapping()
    }

    /// Counts something.
    pub(crate) fn count(&self, event: Event) {
        let meter = self.mapping().meter(self.state().id(), self.worker.id());
        meter::event(meter, event);
    }

    /// The instance's state in the mapping.
    pub(crate) fn state(&self) -> InstanceState<'_> {
        self.instance().state(self.mapping())
    }

    /// Takes what a request needs.
    pub(crate) fn take(self: Rc<Self>, mut job: Job) {
        match std::mem::replace(&mut job.need, Need::Ask(Vec::new())) {
            Need::Ask(asks) => self.take_asks(asks, &job),
            Need::Do(act) => {
                tokio::task::spawn_local(transaction::under(job.transaction, async move {
                    let receipt = self.act(&act, job.deadline).await;
                    deliver(
                        &job.mailbox,
                        self.worker.completions(),
                        Answer::Receipt(act, receipt),
                    );
                }));
            }
        }
    }

    /// Asks AM; of decisions for all that is wished, of the rest for what the question names.
    pub(crate) async fn ask_for(
        &self,
        ask: &Ask,
        wishes: &[Wish],
        deadline: Instant,
    ) -> Result<Vec<Named>, FactError> {
        self.refuse_while_open()?;
        // Rule S5: asked about nobody, AM would answer for the agent.
        if token_of(ask).is_some_and(|token| token.expose().is_empty()) {
            return Err(FactError::Unavailable(Cause::Protocol));
        }
        let one = |record| {
            name(ask)
                .map(|name| (name, Ok(record)))
                .into_iter()
                .collect()
        };
        match ask {
            Ask::Session { key, token } => self.session(*key, token, deadline).await.map(one),
            Ask::Policy { session, .. } => {
                let call = call(self.permit(*session), deadline);
                let wished = |wish: &Wish| {
                    let resource = String::from_utf8(wish.bytes.clone()).ok()?;
                    Some((wish.key.0, resource))
                };
                let wished: Vec<(u128, String)> = wishes.iter().filter_map(wished).collect();
                self.policies(ask, &wished, call, deadline).await
            }
            Ask::Attributes {
                key,
                session,
                token,
                names,
            } => {
                let before = self.counters();
                let record = self.attributes(*session, token, names, deadline).await?;
                let minutes = self.minutes(|c| c.sso_cache_interval);
                self.store(Kind::Attributes, key.0, *session, &record, minutes, before);
                Ok(one(record))
            }
            Ask::Keys { key, newer } => self.keys(key.0, *newer, deadline).await.map(one),
            Ask::Form { .. } => Err(FactError::Unavailable(Cause::Protocol)),
        }
    }

    /// What a second policy set says. Nobody waits for it, so half of the calls have to do, and its
    /// failures say nothing of AM to others.
    pub(crate) async fn second_opinion(
        &self,
        ask: &Ask,
        deadline: Instant,
    ) -> Result<Vec<u8>, FactError> {
        self.refuse_while_open()?;
        let Ask::Policy { key, resource, .. } = ask else {
            return Err(FactError::Unavailable(Cause::Protocol));
        };
        let own = [(key.0, resource.clone())];
        let call = call(Permit::Other, deadline);
        let answers = self.policies(ask, &own, call, deadline).await?;
        let mut answers = answers.into_iter().map(|(_, answer)| answer);
        answers
            .next()
            .unwrap_or(Err(FactError::Unavailable(Cause::Protocol)))
    }

    /// Asks for the decisions that are wished, in one call, and keeps them.
    async fn policies(
        &self,
        ask: &Ask,
        wished: &[(u128, String)],
        call: Call,
        deadline: Instant,
    ) -> Result<Vec<Named>, FactError> {
        let resources: Vec<String> = wished
            .iter()
            .map(|(_, resource)| resource.clone())
            .collect();
        let Ask::Policy { session, .. } = ask else {
            return Err(FactError::Unavailable(Cause::Protocol));
        };
        let (session, before) = (*session, self.counters());
        let answers = self.evaluate(ask, &resources, call, deadline).await?;
        let of = |resource: &String| {
            let found = answers.iter().find(|(answered, _)| answered == resource);
            found.map(|(_, record)| record.clone())
        };
        let named = wished.iter().map(|(key, resource)| {
            let record = of(resource).ok_or(FactError::Unavailable(Cause::Protocol));
            if let Ok(record) = &record {
                self.store_policy(*key, session, record, before);
            }
            ((Kind::Policy, *key), record)
        });
        Ok(named.collect())
    }

    async fn evaluate(
        &self,
        ask: &Ask,
        resources: &[String],
        call: Call,
        deadline: Instant,
    ) -> Result<Vec<(String, Vec<u8>)>, FactError> {
        let Ask::Policy {
            token,
            realm,
            application,
            environment,
            ..
        } = ask
        else {
            return Err(FactError::Unavailable(Cause::Protocol));
        };
        // Rule S5, as in `ask_for`.
        if token.expose().is_empty() {
            return Err(FactError::Unavailable(Cause::Protocol));
        }
        let question = Question {
            token,
            resources,
            application,
            realm,
            environment,
        };
        self.with_agent(deadline, async |agent| {
            self.am.evaluate(&agent, &question, call).await
        })
        .await
    }

    async fn attributes(
        &self,
        key: SessionKey,
        token: &Secret,
        names: &[String],
        deadline: Instant,
    ) -> Result<Vec<u8>, FactError> {
        let mut record = Vec::new();
        let now = clock::boottime_ms();
        if self
            .mapping()
            .sessions()
            .get(Key(key.0), now, &mut record)
            .is_none()
        {
            record = self.session(key, token, deadline).await?;
        }
        let session = Session::decode(&record).ok_or(FactError::Unavailable(Cause::Protocol))?;
        let call = call(Permit::KnownSession, deadline);
        self.am
            .attributes(token, &session, names, call)
            .await
            .map_err(AmError::fact)
    }

    async fn session(
        &self,
        key: SessionKey,
        token: &Secret,
        deadline: Instant,
    ) -> Result<Vec<u8>, FactError> {
        let (before, now) = (self.counters(), clock::boottime_ms());
        let call = call(self.permit(key), deadline);
        let answer = self
            .with_agent(deadline, async |agent| {
                // The user is active: they asked for something (rule S4).
                self.am
                    .session(&agent, token, true, UnixMillis(wall_ms()), call)
                    .await
            })
            .await;
        let record = answer?;
        let session = Session::decode(&record).ok_or(FactError::Unavailable(Cause::Protocol))?;
        // Rule S1: looked at after the answer, because AM calls a client-side token valid even
        // after its logout.
        match self.ended(key, token, session.client_side) {
            Ended::Yes => return Err(FactError::Dead),
            Ended::Unknown if session.client_side => {
                return Err(FactError::Unavailable(Cause::Store));
            }
            Ended::Unknown | Ended::No => {}
        }
        // AM may have said meanwhile that it is over.
        if self
            .mapping()
            .dead()
            .get(Key(key.0), now, &mut Vec::new())
            .is_some_and(|said| said.stored_at >= now)
        {
            return Err(FactError::Dead);
        }
        self.store_session(key.0, &record, &session, before);
        Ok(record)
    }

    /// What is known of a question's answer now, in all workers.
    pub(crate) fn stored(&self, ask: &Ask, of: (Kind, u128)) -> Option<Fact> {
        let memo = Memo::default();
        let mapping = self.mapping();
        let view = View {
            memo: &memo,
            mapping,
            state: self.state(),
            now: now(),
            serving: None,
            node: NodeMark::NONE,
        };
        view.stored(session_of(ask), of)
    }

    /// Sessions known to be valid may use all of the calls, others half (design 4).
    fn permit(&self, key: SessionKey) -> Permit {
        let mut record = Vec::new();
        let now = clock::boottime_ms();
        match self.mapping().sessions().get(Key(key.0), now, &mut record) {
            Some(stamp) if stamp.expires_at > now => Permit::KnownSession,
            _ => Permit::Other,
        }
    }

    pub(crate) fn counters(&self) -> (u64, u64) {
        let state = self.state();
        (state.epoch(), state.revocations())
    }

    fn minutes(&self, of: impl Fn(&portcullis_engine::config::Config) -> u32) -> u64 {
        self.instance()
            .snapshot()
            .map_or(0, |s| u64::from(of(&s.config)) * 60_000)
    }

    fn store_session(&self, key: u128, record: &[u8], session: &Session<'_>, before: (u64, u64)) {
        let wall = wall_ms();
        // Rule S4: asked again before half of the idle limit has passed, so that AM hears of the
        // user's activity.
        let idle = session.idle_end.saturating_sub(wall) / 2;
        let total = session.max_end.saturating_sub(wall);
        let life = self.minutes(|c| c.sso_cache_interval).min(idle).min(total);
        let known = self.known_since(key);
        let unchanged = known.as_ref().filter(|(_, known)| {
            Session::decode(known).is_some_and(|known| known.is_like(session))
        });
        let since = unchanged.map_or_else(clock::boottime_ms, |(since, _)| *since);
        let own = SessionKey(key);
        self.store(Kind::Session, key, own, record, life, (since, before.1));
        if known.is_some() && unchanged.is_none() {
            // Whoever has an answer at hand that rests on the former state looks again.
            self.state().bump_revocations();
        }
    }

    /// What is known of a session, and since when it has been that (rule S6): its record carries it in place
    /// of a policy epoch, which no session depends on.
    fn known_since(&self, key: u128) -> Option<(u64, Vec<u8>)> {
        let mut record = Vec::new();
        let now = clock::boottime_ms();
        let stamp = self.mapping().sessions().get(Key(key), now, &mut record)?;
        Some((stamp.epoch, record))
    }

    fn store_policy(&self, key: u128, of: SessionKey, record: &[u8], before: (u64, u64)) {
        let Some(policy) = Policy::decode(record) else {
            return;
        };
        // Rule S6: an answer with advices says what this session lacks; it may have it next time.
        if policy.has_advices() {
            return;
        }
        let skew = self
            .instance()
            .snapshot()
            .map_or(0, |s| i64::from(s.config.policy_clock_skew) * 1000);
        let am_now = wall_ms().saturating_add_signed(-skew);
        let left = policy.ttl.saturating_sub(am_now);
        let life = self.minutes(|c| c.policy_cache_interval).min(left);
        self.store(Kind::Policy, key, of, record, life, before);
    }

    /// Of one session's records only so many are kept in each place, so that whoever asks for many pages
    /// pushes nobody else's out.
    fn store(
        &self,
        kind: Kind,
        key: u128,
        SessionKey(of): SessionKey,
        record: &[u8],
        life: u64,
        before: (u64, u64),
    ) {
        let (epoch, revocations) = before;
        // Rule S2: learnt before a revocation: good for those who waited, not for later.
        if life == 0 || self.counters().1 != revocations {
            return;
        }
        let now = clock::boottime_ms();
        let stamp = Stamp {
            stored_at: now,
            expires_at: now + life,
            epoch,
            revocations,
        };
        let table = match kind {
            Kind::Session => self.mapping().sessions(),
            Kind::Policy | Kind::Attributes | Kind::Keys | Kind::NewerKeys => {
                self.mapping().decisions()
            }
        };
        // A busy or full place costs one more question to AM.
        let put = table.put_of(of as u64, table_key(kind, key), stamp, record);
        self.count(match put {
            Put::Stored => Event::Stored,
            Put::TooLarge | Put::Busy => Event::NotStored,
        });
    }

    /// Runs a call with the agent's session; a dead one is renewed once, by whoever leads.
    pub(crate) async fn with_agent<T>(
        &self,
        deadline: Instant,
        call: impl AsyncFn(Secret) -> Result<T, AmError>,
    ) -> Result<T, FactError> {
        for attempt in 0..2 {
            let (agent, generation) = leader::agent_session(self, deadline).await?;
            match call(agent).await {
                Err(AmError::AgentDead) if attempt == 0 => {
                    self.state().invalidate_agent_session(generation);
                }
                other => return other.map_err(AmError::fact),
            }
        }
        Err(FactError::Unavailable(Cause::AgentLogin))
    }

    async fn act(self: &Rc<Self>, act: &Act, deadline: Instant) -> Result<Receipt, FactError> {
        match act {
            Act::EndSession {
                key,
                token,
                expires,
            } => self.end_session(*key, token, *expires, deadline).await,
            // Done on the host's thread, where they need no waiting.
            Act::SpendState { .. } | Act::Count { .. } => Err(FactError::Unavailable(Cause::Store)),
            Act::StorePost { .. } | Act::TakePost { .. } => {
                Err(FactError::Unavailable(Cause::Files))
            }
        }
    }
}

pub(crate) fn call(permit: Permit, deadline: Instant) -> Call {
    Call {
        permit,
        until: deadline.into(),
    }
}
