//! One generation of a host's configuration: its instances, made by the parent, used by workers.
//!
//! The parent reads files and opens logs; it never asks AM. A worker inherits the whole by the fork.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use portcullis_engine::{
    config::{
        self, Config, Place, Problem, Properties, Repository, RulesOnly, ScrubNames, Secrets,
        Severity as Grade, Snapshot, Source,
    },
    contract::NodeMark,
    event::{Code, Severity},
};
use portcullis_shm::{InstanceId, InstanceState, Mapping, StatusWord, clock};
use zeroize::Zeroizing;

use crate::{
    client::{ClientIdentity, IdentityError},
    ended::EndedFile,
    known_good::KnownGood,
    logs::{HostLog, Logs, System, wall_ms},
    memory, mode, node, published,
    recording::Elsewhere,
    state_files::StateFiles,
    untold::Untold,
    worker::{StartError, Worker, WorkerOptions},
};

/// Most instances of one generation.
pub const MAX_INSTANCES: usize = portcullis_shm::INSTANCES;
/// Longest configuration file.
pub(crate) const MAX_FILE: u64 = 8 << 20;

/// A generation.
pub struct Agent {
    log: HostLog,
    /// A copy of what `log` gets, where the environment asks for one; opened once the host starts.
    system: Arc<OnceLock<System>>,
    instances: Vec<Instance>,
    built_in: ScrubNames,
    mapping: OnceLock<Arc<Mapping>>,
    /// The process that bound the generation to the mapping: the parent, which keeps its file.
    parent: u32,
    worker: OnceLock<Arc<Worker>>,
}

/// What `agent.conf` and the files beside it say.
pub struct Start {
    /// The lines, for merging with AM's profile.
    pub files: Properties,
    /// Typed; in centralized mode only its bootstrap part holds.
    pub config: Config,
    /// The instance's secrets.
    pub secrets: Secrets,
    /// The certificate that the agent shows to AM.
    pub identity: Option<ClientIdentity>,
    /// Tells this text of `agent.conf` from others.
    pub fingerprint: String,
    /// When the files were read, in milliseconds of [`portcullis_shm::clock`].
    pub(crate) read_at: u64,
}

/// One `agent.conf`.
pub struct Instance {
    index: usize,
    path: PathBuf,
    start: Option<Start>,
    snapshot: ArcSwapOption<Snapshot>,
    /// A number that no other configuration of this process has, changed after each.
    configuration: AtomicU64,
    /// Since when it counts in this process, in milliseconds since 1970.
    configured_at: AtomicU64,
    /// What counts while there is none: the exemptions of the file (rule O4).
    fallback: ArcSwapOption<Snapshot>,
    /// Published version that [`Agent::catch_up`] has looked at; 0: none.
    looked_at: AtomicU64,
    logs: Logs,
    /// What outlives the server.
    files: StateFiles,
    /// What of its configurations is not in `agent.conf`, for those who read recorded requests.
    elsewhere: Elsewhere,
    id: OnceLock<InstanceId>,
    /// Which AM server answers this process; its client knows.
    serving: OnceLock<Arc<AtomicUsize>>,
    /// In the id of every incident.
    node: NodeMark,
}

/// Why an instance could not be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The configuration can't be used; every mistake was logged.
    #[error("the configuration has mistakes")]
    Configuration,
    /// Too many instances.
    #[error("more than {MAX_INSTANCES} instances")]
    Full,
}

fn next_configuration() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Agent {
    /// A generation without instances.
    pub fn new(log: HostLog) -> Agent {
        let system: Arc<OnceLock<System>> = Arc::default();
        let copy = system.clone();
        let both: HostLog = Box::new(move |severity, line| {
            log(severity, line);
            if let Some(system) = copy.get() {
                system.line(severity, line);
            }
        });
        Agent {
            log: both,
            system,
            instances: Vec::new(),
            built_in: ScrubNames::built_in(),
            mapping: OnceLock::new(),
            parent: std::process::id(),
            worker: OnceLock::new(),
        }
    }

    /// Reads an `agent.conf`; the same path gives the same index.
    ///
    /// With `keep_broken` a configuration with mistakes still gets an index, and answers 503.
    ///
    /// # Errors
    /// Every mistake is logged with line, property and remedy before this returns.
    pub fn add(&mut self, path: &Path, keep_broken: bool) -> Result<usize, AddError> {
        if let Some(known) = self.instances.iter().find(|i| i.path == path) {
            return Ok(known.index);
        }
        let named = std::env::var("AM_MAX_AGENTS").ok();
        let most =
            config::max_agents(named.as_deref()).map_or(MAX_INSTANCES, |n| n.min(MAX_INSTANCES));
        if self.instances.len() >= most {
            let text = format!(
                "{}: this would be instance {}, and {most} are allowed",
                path.display(),
                most + 1
            );
            self.log_all(Code::TooManyInstances, &text);
            return Err(AddError::Full);
        }
        let (more, problems) = environment();
        if self.instances.is_empty() {
            problems.iter().for_each(|p| self.problem(path, p));
        }
        let (start, problems) = read(path, more);
        for problem in &problems {
            self.problem(path, problem);
        }
        let start = start.filter(|_| problems.iter().all(|p| p.severity < Grade::Error));
        if start.is_none() && !keep_broken {
            return Err(AddError::Configuration);
        }
        let index = self.instances.len();
        let named = start.as_ref().map(|start| &start.config);
        let node = node::mark(named, path);
        self.instances.push(Instance {
            index,
            path: path.to_path_buf(),
            start,
            snapshot: ArcSwapOption::empty(),
            configuration: AtomicU64::new(next_configuration()),
            configured_at: AtomicU64::new(wall_ms()),
            fallback: ArcSwapOption::empty(),
            looked_at: AtomicU64::new(0),
            logs: Logs::default(),
            files: StateFiles::default(),
            elsewhere: Elsewhere::default(),
            id: OnceLock::new(),
            serving: OnceLock::new(),
            node,
        });
        Ok(index)
    }

    fn problem(&self, path: &Path, problem: &Problem) {
        let (code, severity) = match problem.severity {
            Grade::Error => (Code::ConfigProblem, Severity::Error),
            Grade::Warning => (Code::ConfigWarning, Severity::Warning),
        };
        let directory = path.parent().unwrap_or(path).display();
        (self.log)(
            severity,
            &format!("PCL{:04} {directory}: {problem}", code.number()),
        );
    }

    /// Opens logs and binds the generation to the mapping; local configurations are compiled here.
    /// Trouble with one instance makes that instance answer 503, never the parent fail.
    pub fn attach(&mut self, mapping: Arc<Mapping>) {
        self.parent = std::process::id();
        self.open_system_log();
        let (filled, limit) = (mapping.layout().filled_bytes() as u64, memory::limit());
        if let Some(text) = limit.and_then(|limit| over_limit(filled, limit)) {
            self.log_all(Code::MemoryLimit, &text);
        }
        let hash_key = mapping.boot_key();
        for instance in &mut self.instances {
            let Some(start) = &instance.start else {
                continue;
            };
            let (logs, problems) = Logs::open(&start.config);
            instance.logs = logs;
            for problem in problems {
                instance
                    .logs
                    .line(&self.log, None, Code::LogFile, &problem, true);
            }
            if instance.logs.records() {
                let text = "see docs/explain.md";
                instance
                    .logs
                    .line(&self.log, None, Code::Recording, text, true);
            }
            match mapping.instance(config::identity(&start.config)) {
                Ok(state) => {
                    let _ = instance.id.set(state.id());
                }
                Err(full) => {
                    let text = full.to_string();
                    instance
                        .logs
                        .line(&self.log, None, Code::ConfigProblem, &text, true);
                    continue;
                }
            }
            let (files, problems) = StateFiles::open(&instance.path, start, &mapping);
            for (code, text) in problems {
                instance.logs.line(&self.log, None, code, &text, true);
            }
            instance.files = files;
            if let Some((code, text)) = mode::at_start(&start.config, wall_ms()) {
                instance.logs.line(&self.log, None, code, &text, true);
            }
            instance.set_fallback(&start.config, start.fingerprint.clone(), &mapping);
            if start.config.repository == Repository::Local
                && (!start.config.cookie_name.is_empty() || start.config.rules_only.is_some())
                && let Ok(mut snapshot) =
                    Snapshot::build(start.config.clone(), start.secrets.clone(), hash_key)
            {
                snapshot.elsewhere = instance.elsewhere.of(start, None, None);
                snapshot.agent_conf.clone_from(&start.fingerprint);
                instance.snapshot.store(Some(Arc::new(snapshot)));
            }
        }
        let _ = self.mapping.set(mapping);
    }

    fn open_system_log(&self) {
        match System::of_environment() {
            None => {}
            Some(Ok(system)) => {
                let _ = self.system.set(system);
            }
            Some(Err(problem)) => {
                self.log_all(
                    Code::LogFile,
                    &format!("{}: {problem}", Code::LogFile.row().text),
                );
            }
        }
    }

    /// Starts this process's worker; only after the fork.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start_worker(self: &Arc<Self>, options: WorkerOptions) -> Result<(), StartError> {
        self.instances.iter().for_each(|i| self.catch_up(i));
        let worker = Worker::start(self, options)?;
        // What a worker doesn't have, whoever takes it over can't hand on. A host of one process is its
        // own parent and keeps it for the tools.
        if std::process::id() != self.parent
            && let Some(mapping) = self.mapping.get()
        {
            mapping.close_fd();
        }
        let _ = self.worker.set(worker);
        Ok(())
    }

    /// The worker of this process.
    pub fn worker(&self) -> Option<&Worker> {
        self.worker.get().map(|worker| &**worker)
    }

    /// An instance by its index.
    pub fn instance(&self, index: usize) -> Option<&Instance> {
        self.instances.get(index)
    }

    /// How many instances there are.
    pub fn len(&self) -> usize {
        self.instances.len()
    }

    /// True without instances.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }

    pub(crate) fn mapping(&self) -> Option<Arc<Mapping>> {
        self.mapping.get().cloned()
    }

    pub(crate) fn host_log(&self) -> &HostLog {
        &self.log
    }

    pub(crate) fn log_all(&self, code: Code, text: &str) {
        (self.log)(
            code.row().severity,
            &format!("PCL{:04} {text}", code.number()),
        );
    }

    /// Gives an instance without a configuration the one that another process has published already;
    /// otherwise two loads. Who scrubs a request should know all names.
    fn catch_up(&self, instance: &Instance) {
        let Some(mapping) = self.mapping.get().filter(|_| !instance.is_configured()) else {
            return;
        };
        let version = instance.state(mapping).profile_version();
        // One thread compiles it, and one that does not compile is not tried again.
        if instance.looked_at.swap(version, Ordering::AcqRel) != version {
            published::take_over(instance, mapping);
        }
    }

    /// To be called before [`Agent::scrubs`], once a request: the names of a configuration that has
    /// just been published are known from then on.
    pub fn prepare_scrub(&self, instances: &[u32]) {
        let named = instances.iter().filter_map(|i| self.instance(*i as usize));
        named.for_each(|instance| self.catch_up(instance));
    }

    /// Whether a client may not send this header to a server block with these instances (rule U3):
    /// the built-in names always, and what each instance's configuration sets.
    pub fn scrubs(&self, instances: &[u32], name: &[u8]) -> bool {
        self.built_in.matches(name)
            || instances
                .iter()
                .filter_map(|index| self.instance(*index as usize))
                .any(|instance| {
                    instance
                        .snapshot
                        .load()
                        .as_ref()
                        .is_some_and(|s| s.scrub.matches(name))
                })
    }
}

impl Start {
    /// Whether `agent.conf` alone says what holds.
    pub(crate) fn is_local(&self) -> bool {
        self.config.repository == Repository::Local
    }
}

/// Whether a header carries an identity whatever is configured.
pub fn built_in_scrubs(name: &[u8]) -> bool {
    ScrubNames::built_in().matches(name)
}

impl Instance {
    /// Where logouts are written down that AM has to be told.
    pub(crate) fn untold(&self) -> Option<&Untold> {
        self.files.untold.as_ref()
    }

    /// Where what AM says of the configuration is kept.
    pub(crate) fn known_good(&self) -> Option<&KnownGood> {
        self.files.known_good.as_ref()
    }

    /// Where ended client-side sessions are written down.
    pub(crate) fn ended(&self) -> Option<&EndedFile> {
        self.files.ended.as_ref()
    }

    /// Which AM server answers this process, once it asks one.
    pub(crate) fn serving(&self) -> Option<&AtomicUsize> {
        self.serving.get().map(|at| &**at)
    }

    /// Says where to look for it.
    pub(crate) fn served_by(&self, at: Arc<AtomicUsize>) {
        // A second client of one process is none that anybody keeps.
        let _ = self.serving.set(at);
    }

    /// What an incident of here is marked with.
    pub(crate) fn node(&self) -> NodeMark {
        self.node
    }

    /// Its place in the generation.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What the files say; `None` when they can't be used.
    pub fn start(&self) -> Option<&Start> {
        self.start.as_ref().filter(|_| self.id.get().is_some())
    }

    /// True when no configuration can ever come.
    pub(crate) fn is_broken(&self) -> bool {
        self.start().is_none()
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.load_full()
    }

    /// The configuration of fallback mode.
    pub(crate) fn fallback(&self) -> Option<Arc<Snapshot>> {
        self.fallback.load_full()
    }

    /// Keeps the exemptions of a text of `agent.conf`, which has this name, for as long as nothing else is
    /// known.
    pub(crate) fn set_fallback(&self, config: &Config, agent_conf: String, mapping: &Mapping) {
        let Some(start) = &self.start else { return };
        if !config.fallback_mode || start.is_local() {
            return;
        }
        let config = Config {
            rules_only: Some(RulesOnly::Fallback),
            ..config.clone()
        };
        let built = Snapshot::build(config, start.secrets.clone(), mapping.boot_key());
        if let Ok(mut snapshot) = built {
            snapshot.elsewhere = self.elsewhere.of_fallback(start);
            snapshot.agent_conf = agent_conf;
            self.fallback.store(Some(Arc::new(snapshot)));
            self.configured();
        }
    }

    /// Its `agent.conf`.
    pub(crate) fn conf(&self) -> &Path {
        &self.path
    }

    fn is_configured(&self) -> bool {
        self.snapshot.load().is_some()
    }

    /// Sets the configuration where there is none; the worker's own thread may have a newer one.
    pub(crate) fn set_first_snapshot(&self, snapshot: Snapshot) {
        let none: Option<Arc<Snapshot>> = None;
        self.snapshot
            .compare_and_swap(&none, Some(Arc::new(snapshot)));
        self.configured();
    }

    pub(crate) fn set_snapshot(&self, snapshot: Snapshot) {
        self.snapshot.store(Some(Arc::new(snapshot)));
        self.configured();
    }

    fn configured(&self) {
        let number = next_configuration();
        self.configuration.store(number, Ordering::Release);
        self.configured_at.store(wall_ms(), Ordering::Relaxed);
    }

    /// Tells this configuration from every other that the process has had. Read before the configuration
    /// itself, it never names a newer one than was used.
    pub(crate) fn configuration(&self) -> u64 {
        self.configuration.load(Ordering::Acquire)
    }

    /// Since when it counts in this process, in milliseconds since 1970.
    pub(crate) fn configured_at(&self) -> u64 {
        self.configured_at.load(Ordering::Relaxed)
    }

    /// From now on there is none.
    pub(crate) fn withdraw_snapshot(&self) {
        self.snapshot.store(None);
        self.configured();
    }

    pub(crate) fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Where kept POSTs lie: `agent.conf` is in `config` of the instance.
    pub(crate) fn posts(&self, config: &Config) -> PathBuf {
        let instance = self.path.parent().and_then(Path::parent);
        match &config.post_dir {
            Some(path) => PathBuf::from(path),
            None => instance.unwrap_or(Path::new("/")).join("pdp-cache"),
        }
    }

    pub(crate) fn elsewhere(&self) -> &Elsewhere {
        &self.elsewhere
    }

    /// The instance's state in the mapping. An instance without a place looks at the first one; it
    /// never has a snapshot, so nothing is decided with it.
    pub(crate) fn state<'m>(&self, mapping: &'m Mapping) -> InstanceState<'m> {
        match self.id.get() {
            Some(id) => mapping.instance_at(*id),
            None => mapping.instance_at(InstanceId::FIRST),
        }
    }

    /// Why there is no configuration.
    pub(crate) fn trouble(&self, mapping: &Mapping) -> Code {
        if self.is_broken() {
            return Code::NoConfiguration;
        }
        let last = self.state(mapping).status(StatusWord::LastError);
        match last {
            n if n == u64::from(Code::AgentLoginRefused.number()) => Code::UnavailableAgentLogin,
            n if n == u64::from(Code::AgentLoginFailed.number()) => Code::UnavailableTransport,
            _ => Code::NoConfiguration,
        }
    }
}

/// What the environment of the web server says: it counts after `agent.conf`.
pub(crate) fn environment() -> (Properties, Vec<Problem>) {
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    config::environment(
        Place::Server,
        variables.iter().map(|(n, v)| (n.as_str(), v.as_str())),
    )
}

/// Reads `agent.conf` and the two files beside it, and takes what is said elsewhere.
pub(crate) fn read(path: &Path, more: Properties) -> (Option<Start>, Vec<Problem>) {
    let read_at = clock::boottime_ms();
    let mut files = Properties::default();
    let mut problems = Vec::new();
    let mut fingerprint = String::new();
    let beside = |name: &str| path.with_file_name(name);
    let all = [
        (path.to_path_buf(), false),
        (beside("agent-key.conf"), true),
        (beside("agent-password.conf"), true),
    ];
    for (file, secret) in all {
        match text(&file, secret) {
            Ok(text) => {
                if !secret {
                    fingerprint = config::fingerprint(text.as_bytes());
                }
                files.append(Properties::parse(&text, source(&file)));
            }
            Err(what) => problems.push(Problem {
                severity: Grade::Error,
                line: None,
                source: source(&file),
                property: String::new(),
                what,
                remedy: "install the instance again with agentadmin, or correct the file".into(),
            }),
        }
    }
    if !problems.is_empty() && files.lines().is_empty() {
        return (None, problems);
    }
    files.append(more);
    let unread = !problems.is_empty();
    let (config, found) = config::read(&files, None);
    problems.extend(found);
    // What can't be compiled has to fail here, where the operator sees it; with a profile in AM, hosts
    // and patterns come with it.
    if config.repository == Repository::Local {
        problems.extend(config::mistakes(&config, &files, &problems));
    }
    if unread {
        return (None, problems);
    }
    match Secrets::read(&files) {
        Ok(secrets) => {
            let identity = match identity(&config, &secrets) {
                Ok(identity) => identity,
                Err(problem) => {
                    problems.push(problem);
                    return (None, problems);
                }
            };
            let start = Start {
                files,
                config,
                secrets,
                identity,
                fingerprint,
                read_at,
            };
            (Some(start), problems)
        }
        Err(more) => {
            problems.extend(more);
            (None, problems)
        }
    }
}

/// The agent's certificate and key, where the configuration names them.
fn identity(config: &Config, secrets: &Secrets) -> Result<Option<ClientIdentity>, Problem> {
    let (Some(certificate), Some(key)) = (&config.cert_file, &config.cert_key) else {
        return Ok(None);
    };
    let password = secrets.cert_key_password.as_ref();
    match ClientIdentity::read(Path::new(certificate), Path::new(key), password) {
        Ok(identity) => Ok(Some(identity)),
        Err(error) => {
            let (name, remedy) = match &error {
                IdentityError::Certificate(_) => ("file", "name a PEM file with the certificate"),
                IdentityError::Key(_) => ("key", "name a PEM file with its key, mode 0600"),
                IdentityError::Password(_) => (
                    "key.password",
                    "encrypt the pass phrase with agentadmin --p",
                ),
            };
            Err(Problem {
                severity: Grade::Error,
                line: None,
                source: Source::File("agent.conf".into()),
                property: format!("com.forgerock.agents.config.cert.{name}"),
                what: error.to_string(),
                remedy: remedy.into(),
            })
        }
    }
}

fn source(file: &Path) -> Source {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Source::File(name.into_owned())
}

/// The text of a file. Secret files that others may read are refused (rule K3).
fn text(path: &Path, secret: bool) -> Result<Zeroizing<String>, String> {
    let meta = fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?;
    if meta.len() > MAX_FILE {
        return Err(format!("is larger than {MAX_FILE} bytes"));
    }
    if secret && meta.mode() & 0o077 != 0 {
        return Err(format!(
            "can be read by others (mode {:o}); it must be 0600",
            meta.mode() & 0o777
        ));
    }
    fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|e| format!("cannot be read: {e}"))
}
/// What to say when the tables may fill more than there is.
fn over_limit(filled: u64, limit: u64) -> Option<String> {
    const MIB: u64 = 1 << 20;
    (filled > limit).then(|| {
        format!(
            "the tables may fill {} MiB, and the control group has {} MiB",
            filled / MIB,
            limit / MIB
        )
    })
}
