//! A worker process's one thread: where everything that waits is done.
//!
//! Started after the fork. It takes jobs from requests, keeps the lease, and writes log lines. It
//! ends without being waited for: the host's stop must not take longer because of us.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use portcullis_engine::{
    contract::{Cause, FactError, Need, SessionKey},
    event::Code,
};
use portcullis_shm::{Counted, Gauge, InstanceId, Mapping, Term, WorkerId, process_start_time};
use tokio::sync::mpsc;

use crate::{
    agent::Agent,
    cut::{self, Watch, Watches},
    fetch::Fetcher,
    front, leader,
    lines::{Line, Lines},
    logs::wall_ms,
    meter::{self, Event},
    mode, posts, second,
    ticket::{Completions, Mailbox, Waits},
    transaction::Ids,
    unsent, untold,
};

/// How long requests may still wait for AM in a worker that is to end (they began to wait before).
const LAST_WAIT: Duration = Duration::from_secs(1);
/// How often kept POSTs are looked through.
const CLEAN: Duration = Duration::from_secs(20);
/// How often a call under way looks whether its worker is to end: that is said by a store only.
const LOOK: Duration = Duration::from_millis(250);

/// One need of one request, for the worker's thread.
pub(crate) struct Job {
    pub(crate) instance: usize,
    pub(crate) need: Need,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) deadline: Instant,
    /// The ids under which AM is asked.
    pub(crate) transaction: Ids,
}

enum Message {
    Job(Job),
    Configuration {
        instance: usize,
        mailbox: Arc<Mailbox>,
        deadline: Instant,
    },
    /// A second opinion, after the response.
    Second(usize, second::Question),
    Stop,
}

/// The handle that requests use.
pub struct Worker {
    mapping: Arc<Mapping>,
    id: WorkerId,
    jobs: mpsc::UnboundedSender<Message>,
    lines: Lines,
    /// Where each instance's numbers are.
    places: Vec<InstanceId>,
    /// By instance, too.
    unsent: Vec<unsent::Queue>,
    completions: Arc<Completions>,
    waits: Arc<Waits>,
    watches: Arc<Watches>,
    draining: AtomicBool,
    /// Answers that each thread keeps in front of the engine.
    pub(crate) answers_of_a_thread: usize,
    /// Room for questions to which nobody waits for the answer.
    pub(crate) second: second::Room,
    /// The terms this worker holds, by instance: given back at once when it stops.
    pub(crate) terms: Mutex<Vec<(usize, Term)>>,
}

/// How a host's process works.
pub struct WorkerOptions {
    /// An eventfd of the host that is written when a ticket can go on; without one the host waits on
    /// tickets.
    pub wake: Option<OwnedFd>,
    /// Request threads of this process; 0 where requests are suspended.
    pub threads: u32,
}

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The generation was not bound to a mapping.
    #[error("the agent is not attached to a mapping")]
    NotAttached,
    /// The shared table has no place for another process.
    #[error("too many processes")]
    TooManyProcesses,
    /// The operating system refused.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

impl Worker {
    /// Starts the thread of this process.
    pub(crate) fn start(
        agent: &Arc<Agent>,
        options: WorkerOptions,
    ) -> Result<Arc<Worker>, StartError> {
        let mapping = agent.mapping().ok_or(StartError::NotAttached)?;
        let pid = std::process::id();
        let started = process_start_time(pid).unwrap_or(0);
        let id = mapping
            .workers()
            .register(pid, started)
            .ok_or(StartError::TooManyProcesses)?;
        let places = (0..agent.len()).filter_map(|index| agent.instance(index));
        let places = places.map(|i| i.state(&mapping).id()).collect();
        let (jobs, inbox) = mpsc::unbounded_channel();
        let worker = Arc::new(Worker {
            mapping,
            id,
            jobs,
            lines: Lines::new(),
            places,
            unsent: (0..agent.len()).map(|_| unsent::Queue::default()).collect(),
            completions: Arc::new(Completions::new(options.wake)),
            waits: Arc::new(Waits::new(options.threads)),
            answers_of_a_thread: front::of_a_thread(options.threads),
            watches: Arc::default(),
            draining: AtomicBool::new(false),
            second: second::Room::default(),
            terms: Mutex::new(Vec::new()),
        });
        let (agent, of_thread) = (agent.clone(), worker.clone());
        std::thread::Builder::new()
            .name("portcullis".into())
            .spawn(move || run(&agent, of_thread, inbox))?;
        Ok(worker)
    }

    /// The shared mapping.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The same, for what outlives a borrow of the worker.
    pub(crate) fn shared(&self) -> Arc<Mapping> {
        self.mapping.clone()
    }

    pub(crate) fn id(&self) -> WorkerId {
        self.id
    }

    pub(crate) fn waits(&self) -> Arc<Waits> {
        self.waits.clone()
    }

    pub(crate) fn watches(&self) -> Arc<Watches> {
        self.watches.clone()
    }

    /// The end of this session cuts a request that was let in with it, until the watch is dropped. The
    /// socket is the one to its client and stays open until then.
    pub fn watch(
        &self,
        instance: usize,
        session: SessionKey,
        socket: BorrowedFd<'static>,
    ) -> Watch {
        self.watches.watch(instance, session, socket)
    }

    /// Counts a request as waiting for as long as it is kept.
    pub(crate) fn counts_waiting(&self) -> Counted<Arc<Mapping>> {
        Counted::new(self.shared(), self.id, Gauge::Waiting)
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Takes no new duties and cuts waits. One atomic store: safe in a signal handler.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Gives leases back and ends the thread without waiting for it.
    pub fn stop(&self, agent: &Agent) {
        self.drain();
        for (index, term) in self.terms.lock().drain(..) {
            if let Some(instance) = agent.instance(index) {
                instance.state(&self.mapping).lease_resign(term);
            }
        }
        self.mapping.workers().unregister(self.id);
        let _ = self.jobs.send(Message::Stop);
        for (index, queue) in self.unsent.iter().enumerate() {
            let (count, rest) = queue.rest();
            if count > 0 {
                self.write(index, Line::log(Code::AuditKeptHere, count.to_string()));
            }
            rest.into_iter()
                .for_each(|event| self.keep_audit_here(index, event));
        }
        // The process may be gone before the thread gets to them.
        self.lines.flush_last(agent);
    }

    /// The tag of the next suspended request that can go on.
    pub fn completed(&self) -> Option<usize> {
        self.completions.pop()
    }

    pub(crate) fn completions(&self) -> &Completions {
        &self.completions
    }

    /// Bounds a call by the request's deadline, and by one second once this worker is to end.
    pub(crate) async fn within<T>(
        &self,
        deadline: Instant,
        call: impl Future<Output = Result<T, FactError>>,
    ) -> Result<T, FactError> {
        let mut call = pin!(call);
        let (mut end, mut cause) = (deadline, Cause::Timeout);
        loop {
            let now = Instant::now();
            if cause == Cause::Timeout && self.draining() && now + LAST_WAIT < end {
                (end, cause) = (now + LAST_WAIT, Cause::Draining);
            }
            if now >= end {
                return Err(FactError::Unavailable(cause));
            }
            let slice = end.min(now + LOOK);
            if let Ok(answer) = tokio::time::timeout_at(slice.into(), call.as_mut()).await {
                return answer;
            }
        }
    }

    pub(crate) fn submit(&self, job: Job) {
        // A stopped thread answers nothing; the ticket's deadline does.
        let _ = self.jobs.send(Message::Job(job));
    }

    pub(crate) fn submit_second(&self, instance: usize, question: second::Question) {
        let _ = self.jobs.send(Message::Second(instance, question));
    }

    /// Whether this worker leads an instance.
    pub(crate) fn leads(&self, instance: usize) -> bool {
        self.terms
            .lock()
            .iter()
            .any(|(index, _)| *index == instance)
    }

    pub(crate) fn await_configuration(
        &self,
        instance: usize,
        mailbox: Arc<Mailbox>,
        deadline: Instant,
    ) {
        let _ = self.jobs.send(Message::Configuration {
            instance,
            mailbox,
            deadline,
        });
    }

    /// Audit events that AM has to be given.
    pub(crate) fn unsent(&self, instance: usize) -> Option<&unsent::Queue> {
        self.unsent.get(instance)
    }

    /// Writes an audit event that AM was to be given into the local file.
    pub(crate) fn keep_audit_here(&self, instance: usize, event: String) {
        if let Some(place) = self.places.get(instance) {
            meter::event(self.mapping.meter(*place, self.id), Event::AuditKeptHere);
        }
        self.write(instance, Line::Audit(event));
    }

    /// Queues a line for the logs.
    pub(crate) fn write(&self, instance: usize, line: Line) {
        let meter = self.places.get(instance);
        let meter = meter.map(|place| self.mapping.meter(*place, self.id));
        if let (Some(meter), Line::Log { code, .. }) = (meter, &line) {
            meter::line(meter, *code);
        }
        if let (false, Some(meter)) = (self.lines.push(instance, line), meter) {
            meter::event(meter, Event::LinesLost);
        }
    }
}

/// The thread.
fn run(agent: &Arc<Agent>, worker: Arc<Worker>, inbox: mpsc::UnboundedReceiver<Message>) {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(2) // name resolution only
        .build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            agent.log_all(Code::Internal, &format!("no runtime: {error}"));
            return;
        }
    };
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let (of_lines, writer) = (worker.clone(), agent.clone());
        tokio::task::spawn_local(async move { of_lines.lines.write(&writer).await });
        serve(agent, worker, inbox).await;
    });
    drop(tasks);
    // Dropping it would wait for a name resolution that hangs.
    runtime.shutdown_background();
}

/// Removes kept POSTs that are past their time: each worker when it begins, then the one that leads.
/// Trouble is said when a POST meets it.
async fn clean_posts(agent: Arc<Agent>, worker: Arc<Worker>, index: usize) {
    let Some(instance) = agent.instance(index) else {
        return;
    };
    let mut begun = false;
    loop {
        if let Some(snap) = instance.snapshot().filter(|s| s.config.post_preserve)
            && (!begun || worker.leads(index))
        {
            begun = true;
            let _ = posts::sweep(&instance.posts(&snap.config), wall_ms());
        }
        tokio::time::sleep(CLEAN).await;
    }
}

async fn serve(
    agent: &Arc<Agent>,
    worker: Arc<Worker>,
    mut inbox: mpsc::UnboundedReceiver<Message>,
) {
    let fetchers: Vec<Option<Rc<Fetcher>>> = (0..agent.len())
        .map(|index| Fetcher::new(agent.clone(), worker.clone(), index).map(Rc::new))
        .collect();
    for index in 0..agent.len() {
        tokio::task::spawn_local(mode::end_of_reporting(agent.clone(), worker.clone(), index));
        tokio::task::spawn_local(clean_posts(agent.clone(), worker.clone(), index));
    }
    tokio::task::spawn_local(cut::look(worker.clone()));
    for fetcher in fetchers.iter().flatten() {
        tokio::task::spawn_local(leader::follow(fetcher.clone()));
        tokio::task::spawn_local(untold::tell(fetcher.clone()));
        tokio::task::spawn_local(unsent::give(fetcher.clone()));
    }
    while let Some(message) = inbox.recv().await {
        match message {
            Message::Job(job) => match fetchers.get(job.instance).and_then(Option::as_ref) {
                Some(fetcher) => fetcher.clone().take(job),
                None => crate::fetch::refuse(job, worker.completions()),
            },
            Message::Configuration {
                instance,
                mailbox,
                deadline,
            } => {
                let Some(Some(fetcher)) = fetchers.get(instance) else {
                    crate::fetch::configuration_arrived(mailbox, worker.completions());
                    continue;
                };
                tokio::task::spawn_local(leader::await_configuration(
                    fetcher.clone(),
                    mailbox,
                    deadline,
                ));
            }
            Message::Second(index, question) => match fetchers.get(index) {
                Some(Some(fetcher)) => {
                    let fetcher = fetcher.clone();
                    tokio::task::spawn_local(async move { second::ask(&fetcher, question).await });
                }
                _ => drop(worker.second.leave()),
            },
            Message::Stop => return,
        }
    }
}
