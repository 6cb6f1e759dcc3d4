//! Which questions are being asked, by which worker, and who waits for the answers?
//!
//! In this process by name; between the workers of the host through shared memory, where one of them asks
//! AM for all, and what may be asked together goes together. Must not ask AM (`fetch.rs` does), and must
//! not hand anybody an answer from before something was revoked that they already know of (rule S2).

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis_engine::contract::{Ask, Cause, FactError};
use portcullis_shm::{Boarded, Boarding, Flight, Key, Passage, Progress, Wish, clock};
use tokio::{sync::Notify, time::timeout};

use crate::{
    breaker,
    fetch::{Fact, Fetcher, deliver, name, session_of},
    memo::{Kind, table_key},
    meter::Event,
    ticket::{Answer, Mailbox},
    transaction,
    worker::Job,
};

/// How long a worker that asks is believed without a sign of life, and how often it gives one.
const LEASE_MS: u64 = 1_000;
const RENEW: Duration = Duration::from_millis(250);
/// How often a worker looks how far another one's question has come: at first, then less often. No shared
/// futex and no thread that waits on it: the calls that are waited for take longer than this.
const LOOK: Duration = Duration::from_millis(1);
const LOOK_LATER: Duration = Duration::from_millis(5);
const SOON: u32 = 50;
/// Every so many looks, whether the other process is still there.
const BURY: u32 = 16;

/// Who waits for what in this process.
#[derive(Default)]
pub(crate) struct Flights {
    waiting: RefCell<HashMap<(Kind, u128), Vec<Waiting>>>,
    count: Cell<u64>,
    /// Rings whenever this worker has got an answer.
    landed: Notify,
}

/// Those who wait for one answer, and know of the same revocations.
struct Waiting {
    id: u64,
    known: u64,
    mailboxes: Vec<Arc<Mailbox>>,
}

impl Flights {
    /// Adds somebody who waits; the number of a new question, if it has to be asked.
    fn wait(&self, name: (Kind, u128), known: u64, mailbox: Arc<Mailbox>) -> Option<u64> {
        let mut all = self.waiting.borrow_mut();
        let of_name = all.entry(name).or_default();
        if let Some(waiting) = of_name.iter_mut().find(|waiting| waiting.known == known) {
            waiting.mailboxes.push(mailbox);
            return None;
        }
        let id = self.count.get();
        self.count.set(id.wrapping_add(1));
        of_name.push(Waiting {
            id,
            known,
            mailboxes: vec![mailbox],
        });
        Some(id)
    }

    fn waits(&self, name: (Kind, u128), id: u64) -> bool {
        let all = self.waiting.borrow();
        all.get(&name)
            .is_some_and(|of_name| of_name.iter().any(|waiting| waiting.id == id))
    }

    /// Those to whom an answer may be given that was asked for when so much was known.
    fn take(&self, name: (Kind, u128), known: u64) -> Vec<Arc<Mailbox>> {
        let mut all = self.waiting.borrow_mut();
        let Some(of_name) = all.get_mut(&name) else {
            return Vec::new();
        };
        let (served, left) = std::mem::take(of_name)
            .into_iter()
            .partition(|waiting| waiting.known <= known);
        *of_name = left;
        if of_name.is_empty() {
            all.remove(&name);
        }
        let served: Vec<Waiting> = served;
        served.into_iter().flat_map(|w| w.mailboxes).collect()
    }
}

/// A question that flies for somebody in this process.
struct Question {
    name: (Kind, u128),
    id: u64,
    /// What was known when it was asked.
    known: u64,
    ask: Ask,
    deadline: Instant,
}

/// What a pilot tells the other processes of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The answers are in the table, as far as they may be kept.
    Answered,
    /// It may have been the fault of one of the questions: each asks for itself.
    Apart,
    Failed(FactError),
}

impl Outcome {
    /// Never 0. `None` for what concerns one process only: another one begins again.
    fn encode(self) -> Option<u32> {
        Some(match self {
            Outcome::Answered => 1,
            Outcome::Apart => 2,
            Outcome::Failed(FactError::Dead) => 3,
            Outcome::Failed(FactError::NotAllowed) => 4,
            Outcome::Failed(FactError::Unavailable(cause)) => match cause {
                Cause::Transport => 16,
                Cause::Timeout => 17,
                Cause::Tls => 18,
                Cause::Protocol => 19,
                Cause::Busy => 20,
                Cause::AgentLogin => 21,
                Cause::Store => 22,
                Cause::Breaker => 23,
                Cause::Files => 24,
                Cause::Status(status) => 0x1_0000 | u32::from(status),
                Cause::Draining => return None,
            },
        })
    }

    /// What makes no sense says nothing: each asks for itself.
    fn decode(code: u32) -> Outcome {
        let cause = match code {
            1 => return Outcome::Answered,
            3 => return Outcome::Failed(FactError::Dead),
            4 => return Outcome::Failed(FactError::NotAllowed),
            16 => Cause::Transport,
            17 => Cause::Timeout,
            18 => Cause::Tls,
            19 => Cause::Protocol,
            20 => Cause::Busy,
            21 => Cause::AgentLogin,
            22 => Cause::Store,
            23 => Cause::Breaker,
            24 => Cause::Files,
            0x1_0000..=0x1_ffff => Cause::Status(code as u16),
            _ => return Outcome::Apart,
        };
        Outcome::Failed(FactError::Unavailable(cause))
    }
}

/// The flight that a question goes with, if with any.
fn flight_of(ask: &Ask) -> Option<Key> {
    match ask {
        Ask::Policy { together, .. } => Some(table_key(Kind::Policy, together.0)),
        // How often that may be asked is looked after elsewhere (`keys.rs`).
        Ask::Keys { newer: true, .. } => None,
        _ => name(ask).map(|(kind, key)| table_key(kind, key)),
    }
}

impl Fetcher {
    /// Takes the questions of a request: each flies once, however many wait for it.
    pub(crate) fn take_asks(self: &Rc<Self>, asks: Vec<Ask>, job: &Job) {
        for ask in asks {
            let Some(name) = name(&ask) else { continue };
            let known = self.known();
            let Some(id) = self.flights.wait(name, known, job.mailbox.clone()) else {
                self.count(Event::Joined);
                continue;
            };
            let question = Question {
                name,
                id,
                known,
                ask,
                deadline: job.deadline,
            };
            let (fetcher, transaction) = (self.clone(), job.transaction.clone());
            tokio::task::spawn_local(transaction::under(transaction, async move {
                fetcher.fly(question).await;
            }));
        }
    }

    async fn fly(self: &Rc<Self>, question: Question) {
        if let Err(error) = self.refuse_while_open() {
            return self.hand_out(question.name, question.known, &Err(error));
        }
        let Some(flight) = flight_of(&question.ask) else {
            return self.alone(&question).await;
        };
        let flights = self.mapping().flights();
        loop {
            let wish = wish(&question);
            match flights.board(flight, &wish, self.boarding(question.known)) {
                Boarded::Pilot(flight) => {
                    self.lead(flight, &question.ask).await;
                    if self.flights.waits(question.name, question.id) {
                        self.alone(&question).await; // not answered along with others
                    }
                    return;
                }
                Boarded::Passenger(passage) => {
                    self.count(Event::Joined);
                    let ride = self
                        .worker
                        .within(question.deadline, self.ride(&passage, &question));
                    match ride.await {
                        Ok(Ride::Answered) => return,
                        Ok(Ride::Lost) => {}
                        Ok(Ride::Landed(outcome)) => return self.arrive(&question, outcome).await,
                        Err(error) => {
                            return self.hand_out(question.name, question.known, &Err(error));
                        }
                    }
                }
                Boarded::Alone => return self.alone(&question).await,
            }
        }
    }

    /// Flies until nobody wishes anything more.
    async fn lead(self: &Rc<Self>, first: Flight<'_>, ask: &Ask) {
        let mut next = Some(first);
        while let Some(flight) = next {
            let outcome = self.round(&flight, ask).await;
            next = match outcome.encode() {
                Some(code) => flight.land(code, self.boarding(self.known())),
                None => None, // dropped: one of those who wait goes on
            };
        }
    }

    /// Asks for what one round wishes, and hands it to those who wait for it in this process.
    async fn round(self: &Rc<Self>, flight: &Flight<'_>, ask: &Ask) -> Outcome {
        let known = flight.known();
        let mut wishes = flight.wishes();
        // Whoever landed a moment ago may have brought it.
        wishes.retain(|wish| match self.stored(ask, named(ask, wish)) {
            Some(answer) => {
                self.hand_out(named(ask, wish), known, &answer);
                false
            }
            None => true,
        });
        if wishes.is_empty() {
            return Outcome::Answered;
        }
        let deadline = self.latest(&wishes);
        let call = self
            .worker
            .within(deadline, self.ask_for(ask, &wishes, deadline));
        let result = reporting(flight, call).await;
        self.heed(ask, &result);
        let outcome = match &result {
            Ok(_) => Outcome::Answered,
            // One of several may be what AM does not understand.
            Err(FactError::Unavailable(Cause::Status(400..=499) | Cause::Protocol))
                if wishes.len() > 1 =>
            {
                Outcome::Apart
            }
            Err(error) => Outcome::Failed(*error),
        };
        match result {
            Ok(answers) => {
                for (name, answer) in answers {
                    self.hand_out(name, known, &answer);
                }
            }
            // Those of this process learn it like the others, when the flight has landed.
            Err(_) if outcome == Outcome::Apart => {}
            Err(error) => {
                for wish in &wishes {
                    self.hand_out(named(ask, wish), known, &Err(error));
                }
            }
        }
        self.flights.landed.notify_waiters();
        outcome
    }

    /// Waits for what another worker asks, or another task of this one.
    async fn ride(&self, passage: &Passage<'_>, question: &Question) -> Result<Ride, FactError> {
        let mut looks: u32 = 0;
        loop {
            if !self.flights.waits(question.name, question.id) {
                return Ok(Ride::Answered);
            }
            match passage.look(clock::boottime_ms()) {
                Progress::Flying => {}
                Progress::Lost => return Ok(Ride::Lost),
                Progress::Landed(code) => return Ok(Ride::Landed(Outcome::decode(code))),
            }
            looks = looks.saturating_add(1);
            if looks.is_multiple_of(BURY) {
                passage.bury();
            }
            let pause = if looks < SOON { LOOK } else { LOOK_LATER };
            let _ = timeout(pause, self.flights.landed.notified()).await;
        }
    }

    /// What became of another worker's round is ours, too.
    async fn arrive(self: &Rc<Self>, question: &Question, outcome: Outcome) {
        let answer = match outcome {
            Outcome::Failed(error) => Some(Err(error)),
            Outcome::Answered => self.stored(&question.ask, question.name),
            Outcome::Apart => None,
        };
        match answer {
            Some(answer) => self.hand_out(question.name, question.known, &answer),
            // What may not be kept for others.
            None => self.alone(question).await,
        }
    }

    /// Asks without telling the other workers.
    async fn alone(self: &Rc<Self>, question: &Question) {
        let (ask, deadline) = (&question.ask, question.deadline);
        let wishes = [wish(question)];
        let result = self
            .worker
            .within(deadline, self.ask_for(ask, &wishes, deadline))
            .await;
        self.heed(ask, &result);
        let answer = result.and_then(|answers| {
            let mut answers = answers.into_iter();
            let own = answers.find(|(name, _)| *name == question.name);
            own.map_or(Err(FactError::Unavailable(Cause::Protocol)), |(_, own)| own)
        });
        self.hand_out(question.name, question.known, &answer);
    }

    /// What a call says of AM, and of the session that it was about.
    fn heed<T>(self: &Rc<Self>, ask: &Ask, result: &Result<T, FactError>) {
        let session = session_of(ask);
        self.learn(session.map_or(breaker::OWN, |session| session.0), result);
        if let (Err(FactError::Dead), Some(session)) = (result, session) {
            self.remember_dead(session);
        }
    }

    /// Hands an answer to all who wait for it in this process and know of nothing that came after it.
    fn hand_out(&self, name: (Kind, u128), known: u64, answer: &Fact) {
        for mailbox in self.flights.take(name, known) {
            let answer = Answer::Fact(name.0, name.1, answer.clone());
            deliver(&mailbox, self.worker.completions(), answer);
        }
    }

    /// A number that grows with each revocation and each change of policy.
    fn known(&self) -> u64 {
        let (epoch, revocations) = self.counters();
        epoch.wrapping_add(revocations)
    }

    fn boarding(&self, known: u64) -> Boarding {
        Boarding {
            worker: self.worker.id(),
            known,
            now: clock::boottime_ms(),
            lease: LEASE_MS,
        }
    }

    /// Until when anybody waits for one of these, at most as long as a request waits.
    fn latest(&self, wishes: &[Wish]) -> Instant {
        let now = clock::boottime_ms();
        let last = wishes.iter().map(|wish| wish.until).max().unwrap_or(now);
        let most = self
            .instance()
            .snapshot()
            .map_or(4_000, |snapshot| u64::from(snapshot.config.am_deadline));
        Instant::now() + Duration::from_millis(last.saturating_sub(now).min(most))
    }
}

/// How a ride ended.
enum Ride {
    /// Another task of this process has handed the answer out.
    Answered,
    Landed(Outcome),
    Lost,
}

/// What others have to know of a question to ask it along with theirs.
fn wish(question: &Question) -> Wish {
    let left = question.deadline.saturating_duration_since(Instant::now());
    let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let (kind, key) = question.name;
    Wish {
        key: table_key(kind, key),
        until: clock::boottime_ms().saturating_add(left),
        bytes: match &question.ask {
            Ask::Policy { resource, .. } => resource.as_bytes().to_vec(),
            _ => Vec::new(),
        },
    }
}

/// The name of a wish. Only decisions are gathered; other flights have one name.
fn named(ask: &Ask, wish: &Wish) -> (Kind, u128) {
    match name(ask) {
        Some((Kind::Policy, _)) | None => (Kind::Policy, wish.key.0),
        Some(name) => name,
    }
}

/// Waits for a call and lets the others see meanwhile that somebody is at it.
async fn reporting<T>(flight: &Flight<'_>, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    loop {
        match timeout(RENEW, call.as_mut()).await {
            Ok(result) => return result,
            Err(_) => flight.renew(clock::boottime_ms(), LEASE_MS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_comes_back_as_it_was() {
        let causes = [
            Cause::Transport,
            Cause::Timeout,
            Cause::Tls,
            Cause::Status(502),
            Cause::Status(0),
            Cause::Protocol,
            Cause::Busy,
            Cause::AgentLogin,
            Cause::Store,
            Cause::Breaker,
            Cause::Files,
        ];
        let failed = causes.map(FactError::Unavailable).into_iter();
        let failed = failed.chain([FactError::Dead, FactError::NotAllowed]);
        let all = failed.map(Outcome::Failed);
        for outcome in all.chain([Outcome::Answered, Outcome::Apart]) {
            assert_eq!(outcome.encode().map(Outcome::decode), Some(outcome));
        }
        let draining = Outcome::Failed(FactError::Unavailable(Cause::Draining));
        assert_eq!(draining.encode(), None);
        assert_eq!(Outcome::decode(0), Outcome::Apart);
    }

    #[test]
    fn nobody_gets_an_answer_that_is_older_than_what_they_know() {
        let flights = Flights::default();
        let name = (Kind::Session, 7);
        let mailbox = || Mailbox::new(0);
        let first = flights.wait(name, 1, mailbox());
        assert!(first.is_some() && flights.wait(name, 1, mailbox()).is_none());
        let newer = flights.wait(name, 2, mailbox()).unwrap();
        assert_eq!(flights.take(name, 1).len(), 2);
        assert!(flights.waits(name, newer));
        assert_eq!(flights.take(name, 1).len(), 0);
        assert_eq!(flights.take(name, 3).len(), 1);
        assert!(!flights.waits(name, newer) && flights.waiting.borrow().is_empty());
    }
}
