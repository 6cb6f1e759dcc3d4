//! The loop around the engine: decide, get what is missing, decide again.
//!
//! Runs on the host's own thread. It never waits: where an answer has to come from elsewhere the
//! request becomes a [`Ticket`], and the host calls again when the ticket is ready.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis_engine::{
    config::Snapshot,
    contract::{
        Act, Cause, Decision, FactError, Facts, Fill, MonoMillis, Need, Now, Outcome, Receipt,
        RequestView, SessionKey, Sink, Step, UnixMillis, Why,
    },
    decide, decide_unanswered, decide_without_configuration,
    event::Code,
    monitor_unconfigured,
};
use portcullis_shm::{Key, Spent, Stamp, clock};

use crate::{
    agent::{Agent, Instance},
    audit, fetch,
    front::{self, Heard, Sight},
    kept::{self, Handled},
    lines::Line,
    logs::wall_ms,
    memo::{Memo, View, is_over},
    meter, metrics, opened,
    recording::{self, Asked, How, Notes, Overheard},
    second,
    ticket::{Mailbox, Ticket, Wants},
    trace, transaction,
    worker::{Job, Worker},
};

/// Most rounds of one request (design 1).
const MAX_ROUNDS: u8 = 8;

thread_local! {
    /// The memo of the thread's last request, for its buffers.
    static SPARE: Cell<Option<Box<Memo>>> = const { Cell::new(None) };
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The host's part of an answer: edits as [`Sink`], and the body of our own response.
pub trait Host: Sink {
    /// The body of an answer of our own, after its headers.
    fn body(&mut self, body: &[u8]);
    /// Method and body of the request that takes the place of this one, after its headers.
    fn replay(&mut self, method: &[u8], body: &[u8]);
}

/// What became of a call.
pub enum Progress {
    /// Decided; the host has everything.
    Decided(Verdict),
    /// The request waits.
    Waiting(Box<Ticket>),
}

/// The decision in numbers.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// Status of our own answer; `None` lets the request through.
    pub status: Option<u16>,
    /// Neither let through nor answered: another request takes its place and is decided next.
    pub replay: bool,
    /// Let through by a rule, whoever asks.
    pub exempt: bool,
    /// And nothing but method and URL had a say: the host may keep the page for others.
    pub for_everybody: bool,
    /// The stable code.
    pub code: Code,
    /// The session whose end cuts the connection, where it is to.
    pub session: Option<SessionKey>,
}

/// What the shim says of a request beside the view.
#[derive(Clone, Copy)]
pub struct Call {
    /// A sub-request: only what is known already may be used.
    pub stored_only: bool,
    /// Comes back from `completed`.
    pub tag: usize,
}

/// Decides a request, or suspends it.
pub fn evaluate(
    agent: &Agent,
    index: usize,
    req: &RequestView<'_>,
    call: Call,
    ticket: Option<Box<Ticket>>,
    host: &mut dyn Host,
) -> Option<Progress> {
    let instance = agent.instance(index)?;
    let worker = agent.worker()?;
    let (mut run, memo) = Run::new(instance, worker, ticket);
    if run.resumed.is_none() && !run.records() {
        match front::answer((instance, worker), req, run.now, host) {
            Ok(verdict) => {
                let mapping = worker.mapping();
                let meter = mapping.meter(instance.state(mapping).id(), worker.id());
                meter::again(meter, verdict.code);
                SPARE.set(Some(memo));
                return Some(Progress::Decided(verdict));
            }
            Err(sight) => run.sight = sight,
        }
    }
    Some(run.turn(req, call, host, memo))
}

/// One call of the host about one request.
struct Run<'w> {
    instance: &'w Instance,
    worker: &'w Worker,
    now: Now,
    resumed: Option<Box<Ticket>>,
    rounds: u8,
    /// Where an answer to requests like this may be kept.
    sight: Option<Sight>,
}

impl<'w> Run<'w> {
    fn new(
        instance: &'w Instance,
        worker: &'w Worker,
        ticket: Option<Box<Ticket>>,
    ) -> (Run<'w>, Box<Memo>) {
        let Some(mut ticket) = ticket else {
            let run = Run {
                instance,
                worker,
                now: now(),
                resumed: None,
                rounds: 0,
                sight: None,
            };
            return (run, SPARE.take().unwrap_or_default());
        };
        if let Some(trouble) = ticket.trouble.take() {
            worker.write(instance.index(), Line::log(Code::PostDirectory, trouble));
        }
        if ticket.wants == Wants::Am {
            match ticket.answered() {
                true => ticket.collect(),
                false => ticket.fail_open(FactError::Unavailable(Cause::Timeout)),
            }
        }
        let memo = std::mem::take(&mut ticket.memo);
        let run = Run {
            instance,
            worker,
            now: ticket.now,
            rounds: ticket.rounds,
            resumed: Some(ticket),
            sight: None,
        };
        (run, memo)
    }

    fn turn(
        &mut self,
        req: &RequestView<'_>,
        call: Call,
        host: &mut dyn Host,
        memo: Box<Memo>,
    ) -> Progress {
        // The snapshot of the first call holds to the end, whatever is loaded meanwhile.
        let held = self.resumed.as_ref().and_then(|t| t.snapshot.clone());
        let loaded = self.instance.snapshot();
        let snapshot: Option<&Arc<Snapshot>> = held.as_ref().or(loaded.as_ref());
        let Some(snap) = snapshot else {
            return self.without_configuration(req, call, host, memo);
        };
        if held.is_none() && self.resumed.is_some() && forges(req, snap) {
            let verdict = self.give_up(req, &memo, host, Code::NoConfiguration, self.nothing());
            self.recycle(memo);
            return Progress::Decided(verdict);
        }
        let progress = self.rounds(req, call, host, snap, memo);
        match progress {
            Ok((verdict, memo)) => {
                self.recycle(memo);
                Progress::Decided(verdict)
            }
            Err(waiting) => Progress::Waiting(waiting),
        }
    }

    /// Decides until the request is done or has to wait. A suspended memo leaves with its ticket.
    fn rounds(
        &mut self,
        req: &RequestView<'_>,
        call: Call,
        host: &mut dyn Host,
        snap: &Arc<Snapshot>,
        mut memo: Box<Memo>,
    ) -> Result<(Verdict, Box<Memo>), Box<Ticket>> {
        loop {
            let open = {
                let view = self.view(&memo);
                let notes = self.records().then(|| Notes::new(&view, snap));
                let facts: &dyn Facts = match &notes {
                    Some(notes) => notes,
                    None => &view,
                };
                let how = |stored_only| {
                    notes.as_ref().map(|notes| How {
                        snap: Some(&**snap),
                        facts: notes.all(),
                        stored_only,
                    })
                };
                let mut step = decide(req, snap, facts, self.now);
                if let Step::Done(decision) = &mut step
                    && !self.overtaken(decision)
                {
                    let asked = (req, &**snap, call);
                    let verdict = self.done(asked, decision, &view, host, how(false));
                    drop(step);
                    return Ok((verdict, memo));
                }
                match step {
                    Step::Done(_) => None,
                    Step::Need(need) => Some((need, how(true))),
                }
            };
            let Some((need, how)) = open else {
                memo.forget_answers();
                if let Some(ticket) = self.resumed.as_mut() {
                    (ticket.epoch, ticket.last) = (None, None);
                }
                continue;
            };
            self.rounds += 1;
            let repeated = self
                .resumed
                .as_ref()
                .is_some_and(|t| t.last.as_ref() == Some(&need));
            if self.rounds > MAX_ROUNDS || repeated {
                return Ok((self.give_up(req, &memo, host, Code::Internal, how), memo));
            }
            if let Need::Do(act @ Act::SpendState { key, expires }) = &need {
                memo.give_receipt(act.clone(), self.spend(*key, *expires));
                continue;
            }
            if let Need::Do(act @ Act::Count { key }) = &need {
                let counts = self.worker.mapping().counts();
                let counted = counts.count(Key(*key), self.now.mono.0);
                memo.give_receipt(act.clone(), Ok(Receipt::Counted(counted)));
                continue;
            }
            let mut spool = None;
            if !call.stored_only {
                let here = (self.instance, self.worker);
                match kept::handle(&need, snap, &memo, here, self.now.wall.0) {
                    Handled::Not => {}
                    Handled::Receipt => continue,
                    Handled::Spool(begun) => spool = Some(*begun),
                }
            }
            if call.stored_only {
                let verdict = {
                    let view = self.view(&memo);
                    let decision = decide_unanswered(req, snap, &view, self.now, Code::NotStored);
                    self.apply(req, &decision, &view, host, how)
                };
                return Ok((verdict, memo));
            }
            if let Need::Ask(asks) = &need {
                let mapping = self.worker.mapping();
                let meter = mapping.meter(self.instance.state(mapping).id(), self.worker.id());
                asks.iter().for_each(|ask| meter::missed(meter, ask));
            }
            let id = transaction::ids(req, Some(snap), &self.view(&memo));
            let mut ticket = self.suspend(need, call, memo, snap, id);
            ticket.spool = spool;
            return Err(ticket);
        }
    }

    /// Carries a decision out. By reference: it is large, and each move of it costs a cached allow.
    fn done<'d>(
        &self,
        (req, snap, call): (&'d RequestView<'d>, &'d Snapshot, Call),
        decision: &mut Decision<'d>,
        view: &'d View<'_>,
        host: &mut dyn Host,
        how: Option<How<'_>>,
    ) -> Verdict {
        if self.ended_meanwhile(decision, view) {
            *decision = decide_unanswered(req, snap, view, self.now, Code::SessionEndedMeanwhile);
        }
        if matches!(decision.reason, Code::LoginStepUp | Code::LoginDone) {
            self.learn_of_login(decision.basis.session);
        }
        if let Some((cookie, opened)) = decision.basis.opened {
            opened::put(cookie, opened);
        }
        let verdict = match self.sight.filter(|s| s.again && self.rounds == 0) {
            None => self.apply(req, decision, view, host, how),
            Some(sight) => self.remember(sight, req, decision, view, host),
        };
        let (instance, worker) = (self.instance, self.worker);
        second::after(instance, worker, req, decision, view, !call.stored_only);
        verdict
    }

    /// Hands the decision over and keeps the answer, for the case that the same is asked again.
    #[inline(never)]
    fn remember(
        &self,
        sight: Sight,
        req: &RequestView<'_>,
        decision: &Decision<'_>,
        view: &View<'_>,
        host: &mut dyn Host,
    ) -> Verdict {
        let Some(held) = front::holds(decision, view) else {
            return self.apply(req, decision, view, host, None);
        };
        let mut heard = Heard::new(host, req);
        let verdict = self.apply(req, decision, view, &mut heard, None);
        front::keep(sight, req, held, heard, verdict);
        verdict
    }

    fn view<'m>(&'m self, memo: &'m Memo) -> View<'m> {
        let mapping = self.worker.mapping();
        View {
            memo,
            mapping,
            state: self.instance.state(mapping),
            now: self.now,
            serving: self.instance.serving(),
            node: self.instance.node(),
        }
    }

    /// A login may have changed what is known of a session: it is asked for again (rule S6).
    #[cold]
    #[inline(never)]
    fn learn_of_login(&self, session: Option<SessionKey>) {
        let Some(SessionKey(key)) = session else {
            return;
        };
        let (sessions, now) = (self.worker.mapping().sessions(), self.now.mono.0);
        let mut record = Vec::new();
        match sessions.get(Key(key), now, &mut record) {
            // Not what this request has just learnt. When it was seen alive still counts (rule S3).
            Some(stamp) if stamp.stored_at < now => {
                // Without an interval: not even grace lets it count (rule O2).
                let expires_at = stamp.expires_at.min(stamp.stored_at);
                // Somebody else is writing it: then it is as new.
                let _ = sessions.put(
                    Key(key),
                    Stamp {
                        expires_at,
                        ..stamp
                    },
                    &record,
                );
                self.instance
                    .state(self.worker.mapping())
                    .bump_revocations();
            }
            _ => {}
        }
    }

    /// Rule S2: whether what a suspended request is to be let through with was asked for before a change
    /// of policy. It begins again then, once: changes that never end must not keep it for ever.
    fn overtaken(&self, decision: &Decision<'_>) -> bool {
        let asked = self.resumed.as_ref().and_then(|ticket| ticket.epoch);
        let moved = |asked| self.instance.state(self.worker.mapping()).epoch() != asked;
        asked.is_some_and(moved) && matches!(decision.outcome, Outcome::Allow(_))
    }

    /// Rules S1 and S2: a session that ended while this request waited is not let in on what was learnt
    /// before.
    fn ended_meanwhile(&self, decision: &Decision<'_>, view: &View<'_>) -> bool {
        self.resumed.is_some()
            && matches!(decision.outcome, Outcome::Allow(_))
            && decision
                .basis
                .session
                .is_some_and(|key| is_over(view.mapping, key))
    }

    /// Rule L2: never `Done` twice for one state, in whichever worker.
    fn spend(&self, key: u128, expires: UnixMillis) -> Result<Receipt, FactError> {
        let life = expires.0.saturating_sub(self.now.wall.0);
        let until = self.now.mono.0.saturating_add(life);
        match self
            .worker
            .mapping()
            .spent()
            .spend(Key(key), until, self.now.mono.0)
        {
            Spent::First => Ok(Receipt::Done),
            Spent::Replayed => Ok(Receipt::Replayed),
            Spent::Refused => Err(FactError::Unavailable(Cause::Store)),
        }
    }

    fn suspend(
        &mut self,
        need: Need,
        call: Call,
        memo: Box<Memo>,
        snapshot: &Arc<Snapshot>,
        transaction: transaction::Ids,
    ) -> Box<Ticket> {
        let mut ticket = self.resumed.take().unwrap_or_else(|| {
            let budget = snapshot.config.am_deadline;
            let budget = if self.worker.draining() {
                budget.min(1000)
            } else {
                budget
            };
            Box::new(Ticket {
                memo: Box::default(),
                snapshot: None,
                now: self.now,
                mailbox: Mailbox::new(call.tag),
                wants: Wants::Am,
                rounds: 0,
                last: None,
                deadline: Instant::now() + Duration::from_millis(u64::from(budget)),
                epoch: Some(self.instance.state(self.worker.mapping()).epoch()),
                waits: self.worker.waits(),
                spool: None,
                trouble: None,
                _counted: Some(self.worker.counts_waiting()),
            })
        });
        ticket.snapshot = Some(snapshot.clone());
        ticket.memo = memo;
        ticket.rounds = self.rounds;
        ticket.last = Some(need.clone());
        ticket.wants = match (&need, fetch::body_limit(&need)) {
            (Need::Do(Act::StorePost { .. }), _) => Wants::Spool,
            (_, Some(limit)) => Wants::Body(limit),
            (_, None) => Wants::Am,
        };
        if ticket.wants == Wants::Am {
            let count = match &need {
                Need::Ask(asks) => asks.len(),
                Need::Do(_) => 1,
            };
            ticket.mailbox.expect(count);
            let mailbox = ticket.mailbox.clone();
            let job = Job {
                instance: self.instance.index(),
                need,
                mailbox,
                deadline: ticket.deadline,
                transaction,
            };
            self.worker.submit(job);
        }
        ticket
    }

    /// No configuration yet: wait for it once, then say that there is none.
    fn without_configuration(
        &mut self,
        req: &RequestView<'_>,
        call: Call,
        host: &mut dyn Host,
        memo: Box<Memo>,
    ) -> Progress {
        if let Some(start) = self.instance.start() {
            let code = self.instance.trouble(self.worker.mapping());
            let view = self.view(&memo);
            let own = (&start.config, &start.secrets);
            if let Some(decision) = monitor_unconfigured(req, own, &view, code) {
                let verdict = self.apply(req, &decision, &view, host, self.nothing());
                self.recycle(memo);
                return Progress::Decided(verdict);
            }
        }
        if self.resumed.is_some() || call.stored_only || self.instance.is_broken() {
            if let Some(fallback) = self.instance.fallback().filter(|f| !forges(req, f)) {
                self.sight = None; // for this one configuration only
                return match self.rounds(req, call, host, &fallback, memo) {
                    Ok((verdict, memo)) => {
                        self.recycle(memo);
                        Progress::Decided(verdict)
                    }
                    Err(waiting) => Progress::Waiting(waiting),
                };
            }
            let code = self.instance.trouble(self.worker.mapping());
            let verdict = self.give_up(req, &memo, host, code, self.nothing());
            self.recycle(memo);
            return Progress::Decided(verdict);
        }
        let deadline = Instant::now() + Duration::from_millis(4000);
        let mailbox = Mailbox::new(call.tag);
        mailbox.expect(1);
        self.worker
            .await_configuration(self.instance.index(), mailbox.clone(), deadline);
        Progress::Waiting(Box::new(Ticket {
            memo,
            snapshot: None,
            now: self.now,
            mailbox,
            wants: Wants::Am,
            rounds: 1,
            last: None,
            deadline,
            epoch: None, // nothing is asked of AM
            waits: self.worker.waits(),
            spool: None,
            trouble: None,
            _counted: Some(self.worker.counts_waiting()),
        }))
    }

    fn give_up(
        &self,
        req: &RequestView<'_>,
        memo: &Memo,
        host: &mut dyn Host,
        code: Code,
        how: Option<How<'_>>,
    ) -> Verdict {
        let view = self.view(memo);
        let decision = decide_without_configuration(&view, code);
        self.apply(req, &decision, &view, host, how)
    }

    /// Whether requests are written down.
    fn records(&self) -> bool {
        self.instance.logs().records()
    }

    /// What is written down of a decision that nothing was known for.
    fn nothing<'s>(&self) -> Option<How<'s>> {
        self.records().then(|| How {
            snap: None,
            facts: Vec::new(),
            stored_only: false,
        })
    }

    /// Hands the decision to the host, then the line and the audit event to whoever reads them.
    fn apply(
        &self,
        req: &RequestView<'_>,
        decision: &Decision<'_>,
        view: &View<'_>,
        host: &mut dyn Host,
        how: Option<How<'_>>,
    ) -> Verdict {
        let exempt = match &decision.outcome {
            Outcome::Allow(grant) => matches!(grant.why(), Why::NotEnforced(_)),
            Outcome::Respond(_) | Outcome::Replay => false,
        };
        let (instance, worker) = (self.instance, self.worker);
        let body = || metrics::body(decision.fill, instance, worker);
        let status = match how {
            None => hand_over(req, decision, view.memo, host, &body),
            Some(how) => {
                let mut host = Overheard::new(host);
                let status = hand_over(req, decision, view.memo, &mut host, &body);
                let answer = (status, how);
                let (facts, now) = (view, self.now);
                let asked = Asked { req, facts, now };
                recording::write(instance, worker, &asked, decision, answer, host);
                status
            }
        };
        let found = (view.memo.found(), view.memo.oldest());
        let meter = view.mapping.meter(view.state.id(), worker.id());
        meter::decided(meter, decision, found, self.rounds > 0);
        if self.resumed.is_some() {
            let now = clock::boottime_ms();
            meter::waited(meter, now.saturating_sub(self.now.mono.0));
        }
        audit::record(instance, worker, req, decision, view);
        trace::keep(instance, req, decision, view);
        Verdict {
            status,
            replay: matches!(decision.outcome, Outcome::Replay),
            exempt,
            for_everybody: decision.for_everybody,
            code: decision.reason,
            session: watched(decision).filter(|_| !exempt),
        }
    }

    fn recycle(&mut self, mut memo: Box<Memo>) {
        memo.clear();
        SPARE.set(Some(memo));
    }
}

/// Tells the host what was decided; the status of an answer of our own.
fn hand_over(
    req: &RequestView<'_>,
    decision: &Decision<'_>,
    memo: &Memo,
    host: &mut dyn Host,
    numbers: &dyn Fn() -> Vec<u8>,
) -> Option<u16> {
    match &decision.outcome {
        Outcome::Allow(_) => {
            let mut scratch = SCRATCH.take();
            decision.edits.walk(req, &mut scratch, host);
            SCRATCH.set(scratch);
            None
        }
        Outcome::Respond(response) => {
            for (name, value) in &response.headers {
                host.response_header(name.as_bytes(), value);
            }
            match decision.fill {
                Fill::Nothing => host.body(&response.body),
                Fill::Metrics | Fill::Monitor | Fill::Health => host.body(&numbers()),
            }
            Some(response.status)
        }
        Outcome::Replay => {
            for (name, value) in &decision.edits.response {
                host.response_header(name.as_bytes(), value);
            }
            // Without it there is no receipt that leads here; the host has nothing to put in place then.
            let post = memo.post()?;
            for (name, value) in &post.headers {
                match value {
                    Some(value) => host.request_header(name.as_bytes(), value),
                    None => host.remove_request_header(name.as_bytes()),
                }
            }
            host.replay(b"POST", &post.body);
            None
        }
    }
}

/// The session without which the request would not have been let in, where its end is to cut the
/// connection.
fn watched(decision: &Decision<'_>) -> Option<SessionKey> {
    if !decision.edits.cookies?.config.cut_connections {
        return None;
    }
    // What is only reported is let in anyhow.
    let let_in = matches!(decision.outcome, Outcome::Allow(_)) && decision.would.is_none();
    decision.basis.session.filter(|_| let_in)
}

/// Whether a name came past the scrub because the request was there before the configuration. The
/// host's own expressions may have seen it by now: such a request has to come again.
fn forges(req: &RequestView<'_>, snap: &Snapshot) -> bool {
    req.headers.iter().any(|h| snap.scrub.matches(h.name))
}

/// The time now.
pub(crate) fn now() -> Now {
    Now {
        wall: UnixMillis(wall_ms()),
        mono: MonoMillis(clock::boottime_ms()),
    }
}
