//! What has a leader published of an instance's configuration, and what becomes of it in this process?
//!
//! What AM says and a changed `agent.conf` go through shared memory together, so that all workers have the
//! same. A configuration counts as a whole or not at all, and nothing here asks AM or reads a file.

use std::{borrow::Cow, cell::RefCell};

use portcullis_engine::{
    config::{self, Change, Config, Problem, Properties, Repository, Severity as Grade, Snapshot},
    event::Code,
};
use portcullis_shm::{InstanceState, Mapping, Term};
use serde::{Deserialize, Serialize};

use crate::{
    agent::{Instance, Start},
    fetch::Fetcher,
    leader::Duty,
    lines::Line,
};

/// Most changes that are named one by one.
const NAMED: usize = 30;

/// What a leader publishes.
#[derive(Clone, Default, Serialize, Deserialize, PartialEq)]
pub(crate) struct Published {
    /// Name of AM's session cookie, where `agent.conf` leaves it to AM.
    pub(crate) cookie_name: Option<String>,
    /// The profile; absent in local mode.
    pub(crate) profile: Option<Vec<(String, Vec<String>)>>,
    /// When AM gave it, in milliseconds since 1970, where that was before the start (rule O3).
    #[serde(default)]
    pub(crate) given_at: Option<u64>,
    /// The text of `agent.conf`, where it has changed since the server read it.
    #[serde(default)]
    pub(crate) conf: Option<Conf>,
}

/// A text of `agent.conf`.
#[derive(Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Conf {
    /// Without lines of secrets.
    pub(crate) text: String,
    /// Of the whole.
    pub(crate) fingerprint: String,
    /// When it was read, in milliseconds of the clock of [`Start::read_at`].
    pub(crate) read_at: u64,
}

/// A snapshot or why there is none, and what is doubtful besides.
pub(crate) type Compiled = (Result<Snapshot, Vec<Problem>>, Vec<Problem>);

/// What this process took over last, to say what changes.
pub(crate) type Last = RefCell<Option<Published>>;

impl Published {
    /// What is published now.
    pub(crate) fn current(state: &InstanceState<'_>) -> Option<Published> {
        let mut bytes = Vec::new();
        state.profile(&mut bytes)?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Whether everything is there that has to come from AM.
    fn is_complete(&self, config: &Config) -> bool {
        let profile = self.profile.is_some() || config.repository == Repository::Local;
        profile && (self.cookie_name.is_some() || !config.cookie_name.is_empty())
    }

    /// The text of `agent.conf`, if it is newer than the one that this generation of the server was started
    /// with. An older one is of an earlier generation.
    pub(crate) fn newer_conf(&self, start: &Start) -> Option<&Conf> {
        self.conf
            .as_ref()
            .filter(|conf| conf.read_at > start.read_at)
    }

    /// Bytes that it takes in shared memory.
    pub(crate) fn len(&self) -> usize {
        serde_json::to_vec(self).map_or(usize::MAX, |bytes| bytes.len())
    }

    /// Gives all workers this configuration. Decisions were made with the old one.
    #[must_use]
    pub(crate) fn publish(&self, state: &InstanceState<'_>, term: Term) -> bool {
        let Ok(bytes) = serde_json::to_vec(self) else {
            return false;
        };
        let done = state.publish_profile(term, &bytes);
        if done {
            state.bump_epoch();
        }
        done
    }

    /// The lines of the files; an earlier generation of the server, which ends, does not take what it would
    /// have to be started for.
    fn files<'s>(&self, start: &'s Start) -> Cow<'s, Properties> {
        if let Some(conf) = self.newer_conf(start) {
            let files = config::with_text(&start.files, &conf.text);
            if take_restart(start, &files).is_empty() {
                return Cow::Owned(files);
            }
        }
        Cow::Borrowed(&start.files)
    }

    fn properties(&self) -> Option<Properties> {
        self.profile.as_deref().map(Properties::from_profile)
    }

    /// Compiled, with everything that is doubtful in it; `None` where something of AM is missing.
    pub(crate) fn compile(&self, instance: &Instance, mapping: &Mapping) -> Option<Compiled> {
        let start = instance.start()?;
        if !self.is_complete(&start.config) {
            return None;
        }
        let files = self.files(start);
        let (mut typed, problems) = config::read(&files, self.properties().as_ref());
        let cookie_name = self.cookie_name.clone();
        if let Some(name) = cookie_name
            .as_ref()
            .filter(|_| start.config.cookie_name.is_empty())
        {
            typed.cookie_name.clone_from(name);
        }
        let usable = problems.iter().all(|p| p.severity < Grade::Error);
        let mut built = match usable {
            true => Snapshot::build(typed, start.secrets.clone(), mapping.boot_key()),
            false => Err(Vec::new()),
        };
        if let Ok(snapshot) = &mut built {
            snapshot.agent_conf = match (&files, self.newer_conf(start)) {
                (Cow::Owned(_), Some(conf)) => conf.fingerprint.clone(),
                _ => start.fingerprint.clone(),
            };
            if instance.logs().records() {
                let profile = self.profile.clone();
                snapshot.elsewhere = instance.elsewhere().of(start, profile, cookie_name);
            }
        }
        Some((built, problems))
    }

    /// What counts otherwise than before.
    fn changes(&self, before: &Published, start: &Start) -> Vec<Change> {
        let (old, new) = (before.files(start), self.files(start));
        let (was, is) = (before.properties(), self.properties());
        config::changes((&old, was.as_ref()), (&new, is.as_ref()))
    }
}

/// The properties that these lines change, and that the parent of the workers has to read.
pub(crate) fn take_restart(start: &Start, files: &Properties) -> Vec<&'static str> {
    let all = config::changes((&start.files, None), (files, None));
    let restart = all.iter().filter(|change| change.takes_restart());
    restart.map(Change::name).collect()
}

/// Gives an instance without a configuration what a leader has published already.
pub(crate) fn take_over(instance: &Instance, mapping: &Mapping) {
    if let Some(published) = Published::current(&instance.state(mapping))
        && let Some((Ok(snapshot), _)) = published.compile(instance, mapping)
    {
        instance.set_first_snapshot(snapshot);
    }
}

/// Applies what was published, if it is new; what has mistakes is refused and the old one stays.
pub(crate) fn apply(fetcher: &Fetcher, duty: &Duty) {
    let (state, instance) = (fetcher.state(), fetcher.instance());
    let version = state.profile_version();
    if version == duty.applied.get() {
        return;
    }
    let (Some(published), Some(start)) = (Published::current(&state), instance.start()) else {
        return;
    };
    duty.applied.set(version);
    let until = instance.known_good().zip(published.given_at);
    duty.kept_until
        .set(until.map(|(file, given_at)| file.until(given_at)));
    if let Some(conf) = published.newer_conf(start) {
        let config = config::read(&published.files(start), None).0;
        instance.logs().set_level(config.debug_level);
        instance.set_fallback(&config, conf.fingerprint.clone(), fetcher.mapping());
    }
    let Some((built, problems)) = published.compile(instance, fetcher.mapping()) else {
        // What AM said before was withdrawn, or it has said nothing yet.
        instance.withdraw_snapshot();
        duty.last.take();
        return;
    };
    let leads = duty.term().is_some();
    match built {
        Ok(snapshot) => {
            fetcher.am.balance(snapshot.config.add_amlbcookie);
            instance.set_snapshot(snapshot);
            // Every worker applies it; one tells.
            if leads {
                tell_problems(fetcher, problems);
                // Of a local configuration the parent has told already what is in it.
                let first = || start.is_local().then(Published::default);
                if let Some(before) = duty.last.take().or_else(first) {
                    tell_changes(fetcher, &published.changes(&before, start));
                }
                tell(fetcher, Code::ConfigApplied, format!("version {version}"));
            }
            duty.last.replace(Some(published));
        }
        Err(more) => {
            tell_problems(fetcher, problems.into_iter().chain(more));
            tell(fetcher, Code::ConfigKept, format!("version {version}"));
        }
    }
}

pub(crate) fn tell(fetcher: &Fetcher, code: Code, text: String) {
    fetcher.worker.write(fetcher.index, Line::log(code, text));
}

pub(crate) fn tell_problems(fetcher: &Fetcher, problems: impl IntoIterator<Item = Problem>) {
    for problem in problems {
        let code = match problem.severity {
            Grade::Error => Code::ConfigProblem,
            Grade::Warning => Code::ConfigWarning,
        };
        tell(fetcher, code, problem.to_string());
    }
}

fn tell_changes(fetcher: &Fetcher, changes: &[Change]) {
    for change in changes.iter().take(NAMED) {
        tell(fetcher, Code::ConfigChanged, change.to_string());
    }
    if let Some(more) = changes.len().checked_sub(NAMED).filter(|n| *n > 0) {
        tell(fetcher, Code::ConfigChanged, format!("and {more} more"));
    }
}
