//! What does whoever examines an installation need of the module's own code?
//!
//! Reads files and makes clients as a worker does. Must not have an answer of its own: what is found with it
//! holds for the running module only because it is the same code.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use portcullis_engine::config::Problem;
use portcullis_shm::Mapping;

use crate::{
    WorkerOptions,
    agent::{self, Agent, Start},
    am::Am,
    client::{ClientError, Witness},
    connect, memory,
};

/// Reads `agent.conf`, the two files beside it and the environment, as the parent of the workers does; with
/// every mistake. `None`: no instance could be started with them.
pub fn read(conf: &Path) -> (Option<Start>, Vec<Problem>) {
    let (more, mut problems) = agent::environment();
    let (start, found) = agent::read(conf, more);
    problems.extend(found);
    (start, problems)
}

pub use crate::known_good::{AtStart, at_start};

/// What of an instance's way to AM is another for a look at it.
#[derive(Clone, Debug, Default)]
pub struct Instead {
    /// One of its servers only.
    pub url: Option<String>,
    /// Another name for the header of tokens.
    pub cookie_name: Option<String>,
    /// The other dialect.
    pub dialect: Option<portcullis_engine::config::Dialect>,
}

/// The client that a worker of this instance makes, but without a file for the secrets of connections.
///
/// # Errors
/// As for a worker.
pub fn am(start: &Start, instead: Instead, witness: Arc<Witness>) -> Result<Am, ClientError> {
    let mut site = connect::site(start);
    if let Some(url) = instead.url {
        site.urls = vec![url];
    }
    site.cookie_name = instead.cookie_name.unwrap_or(site.cookie_name);
    site.dialect = instead.dialect.unwrap_or(site.dialect);
    let mut settings = connect::settings(start);
    settings.key_log = None;
    settings.witness = Some(witness);
    let am = Am::new(&site, &settings)?;
    am.balance(start.config.add_amlbcookie);
    Ok(am)
}

/// The lowest limit of memory of the control groups that this process is in, bytes.
pub fn memory_limit() -> Option<u64> {
    // Where there is none, the first version of control groups says the largest number of pages.
    memory::limit().filter(|bytes| *bytes < 1 << 60)
}

/// Bytes that the tables of a host may fill with this setting of `AM_MAX_SESSION_CACHE_SIZE`, 0 for the
/// default; `None` where the kernel does not give them.
pub fn shared_memory(cache_bytes: u64) -> Option<u64> {
    let bytes = match cache_bytes {
        0 => portcullis_shm::DEFAULT_CACHE_BYTES,
        bytes => usize::try_from(bytes).ok()?,
    };
    let mapping = Mapping::create(bytes).ok()?;
    u64::try_from(mapping.layout().filled_bytes()).ok()
}

/// What became of a worker that was started to see whether one can be.
pub struct Run {
    /// Whether the instance had its configuration in time.
    pub configured: bool,
    /// How long the end took.
    pub stopped: Duration,
    /// What the web server's error log would have got.
    pub lines: Vec<String>,
}

/// How often [`worker`] looks whether the configuration has come.
const LOOK: Duration = Duration::from_millis(20);

/// Makes a generation with this one instance, starts a worker in this process, waits so long for its
/// configuration, and ends it. Logs and state files of the instance are opened as by a web server: none may run
/// with it.
///
/// # Errors
/// The files cannot be used, or the system gives no memory or thread; in words for an operator.
pub fn worker(conf: &Path, wait: Duration) -> Result<Run, String> {
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = lines.clone();
    let mut agent = Agent::new(Box::new(move |_, line| {
        let mut lines = log.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line.to_owned());
    }));
    let index = agent.add(conf, false).map_err(|e| e.to_string())?;
    let mapping =
        Mapping::create(portcullis_shm::DEFAULT_CACHE_BYTES).map_err(|e| e.to_string())?;
    agent.attach(Arc::new(mapping));
    let agent = Arc::new(agent);
    let options = WorkerOptions {
        wake: None,
        threads: 1,
    };
    agent.start_worker(options).map_err(|e| e.to_string())?;
    let begun = Instant::now();
    let has = || {
        agent
            .instance(index)
            .is_some_and(|i| i.snapshot().is_some())
    };
    while !has() && begun.elapsed() < wait {
        std::thread::sleep(LOOK);
    }
    let (configured, ending) = (has(), Instant::now());
    if let Some(worker) = agent.worker() {
        worker.stop(&agent);
    }
    let stopped = ending.elapsed();
    let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Run {
        configured,
        stopped,
        lines: lines.clone(),
    })
}
