//! Which web servers run with an instance on this machine, and what is in their memory?
//!
//! For tools. The memory belongs to the host's parent, which keeps its file open; whoever may look into that
//! process may look here (rule W3). Nothing is asked of the host, so that it need not answer.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use portcullis_engine::{
    config::{self, Config},
    token::Secret,
};
use portcullis_shm::{InstanceId, InstanceState, MapError, Mapping, clock};
use rustix::process::geteuid;
use serde_json::Value;

use crate::{notifications, published::Published};

/// Name of the mapping's file, as `/proc` shows it.
const MEMFD: &str = "/memfd:portcullis";

/// Why nothing can be said of a host.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// `agent.conf`.
    #[error("{0}: {1}")]
    Conf(PathBuf, String),
    /// No process that this user may look into has the instance in its shared memory.
    #[error(
        "no running web server with this instance was found; run it as root, on the same machine and in the same container"
    )]
    NotRunning,
    /// There is one that cannot be read.
    #[error(
        "no running web server with this instance was found, and the one with process {0} cannot be looked into: {1}; start it anew, or use the agentadmin of its version"
    )]
    Other(u32, MapError),
}

/// A web server that runs with an instance.
pub struct Running {
    mapping: Mapping,
    id: InstanceId,
    parents: Vec<u32>,
    owner: u32,
    config: Config,
}

/// Names and values of a profile.
pub type Profile = Vec<(String, Vec<String>)>;

/// What a mapping is opened for.
#[derive(Clone, Copy)]
enum Use {
    Look,
    Change,
}

impl Running {
    /// Every web server on this machine that has the instance of an `agent.conf` and that the caller may
    /// look into. What comes back only reads.
    ///
    /// # Errors
    /// See [`Unread`]; there is at least one otherwise.
    pub fn all(conf: &Path) -> Result<Vec<Running>, Unread> {
        Running::with(conf, Use::Look)
    }

    /// The same, to change what they know: see [`Running::forget`].
    ///
    /// # Errors
    /// See [`Unread`].
    pub fn all_to_change(conf: &Path) -> Result<Vec<Running>, Unread> {
        Running::with(conf, Use::Change)
    }

    fn with(conf: &Path, usage: Use) -> Result<Vec<Running>, Unread> {
        let config = read(conf)?;
        let identity = config::identity(&config);
        let (mut all, mut other) = (Vec::new(), None);
        // Whoever may change these files, or has to read the key, decides what this agent does anyway.
        let owner = |path: &Path| fs::metadata(path).map(|about| about.uid());
        let mut believed = vec![0, geteuid().as_raw()];
        believed.extend(
            [conf, &conf.with_file_name("agent-key.conf")]
                .map(owner)
                .into_iter()
                .flatten(),
        );
        for found in files(usage, &believed) {
            let attach = match usage {
                Use::Look => Mapping::look,
                Use::Change => Mapping::adopt,
            };
            match found.file.map(|file| attach(file.as_fd())) {
                Ok(Ok(mapping)) => {
                    let id = mapping.find_instance(identity).map(|state| state.id());
                    all.extend(id.map(|id| Running {
                        mapping,
                        id,
                        parents: found.parents,
                        owner: found.owner,
                        config: config.clone(),
                    }));
                }
                Ok(Err(error)) => {
                    other = found.parents.first().map(|pid| Unread::Other(*pid, error));
                }
                // It ended meanwhile.
                Err(_) => {}
            }
        }
        match (all.is_empty(), other) {
            (false, _) => Ok(all),
            (true, Some(other)) => Err(other),
            (true, None) => Err(Unread::NotRunning),
        }
    }

    /// The processes that keep the memory: the parent, or two while a server replaces itself.
    #[must_use]
    pub fn parents(&self) -> &[u32] {
        &self.parents
    }

    /// Makes the host ask AM again about everything, or about one session: what was learnt before now does
    /// not count any more, nor do answers that are under way, nor grace. What has ended stays ended. For
    /// those of [`Running::all_to_change`]; any other ends the process.
    pub fn forget(&self, token: Option<&Secret>) {
        let (state, now) = (self.state(), clock::boottime_ms());
        let Some(token) = token else {
            return notifications::stale(&state, now);
        };
        let key = config::session_key(&self.config, &self.mapping.boot_key(), token.expose());
        state.bump_revocations();
        notifications::forget(&self.mapping, &state, key.0, now);
    }

    /// The user that made the memory.
    pub(crate) fn owner(&self) -> u32 {
        self.owner
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn state(&self) -> InstanceState<'_> {
        self.mapping.instance_at(self.id)
    }

    /// What AM gave of the configuration, as far as a leader has published it: the profile, and the name of
    /// AM's session cookie.
    #[must_use]
    pub fn published(&self) -> Option<(Option<Profile>, Option<String>)> {
        let published = Published::current(&self.state())?;
        Some((published.profile, published.cookie_name))
    }

    fn traces(&self) -> Vec<(u64, Vec<u8>)> {
        self.mapping.traces().of(self.id)
    }
}

/// The traces of the instance of an `agent.conf`, oldest first, from every host on this machine that has it
/// and that the caller may look into. Nothing is written there.
///
/// # Errors
/// See [`Unread`].
pub fn traces(conf: &Path) -> Result<Vec<Value>, Unread> {
    let mut all: Vec<_> = Running::all(conf)?
        .iter()
        .flat_map(Running::traces)
        .collect();
    all.sort_by_key(|(at, _)| *at);
    let read = |(_, text): (u64, Vec<u8>)| serde_json::from_slice(&text).ok();
    Ok(all.into_iter().filter_map(read).collect())
}

/// What an `agent.conf` says; an instance is called after it in shared memory.
pub(crate) fn read(conf: &Path) -> Result<Config, Unread> {
    let wrong = |what: String| Unread::Conf(conf.to_path_buf(), what);
    let text = fs::read_to_string(conf).map_err(|e| wrong(e.to_string()))?;
    let source = config::Source::File("agent.conf".into());
    let (typed, problems) = config::read(&config::Properties::parse(&text, source), None);
    match problems
        .iter()
        .find(|p| p.severity == config::Severity::Error)
    {
        Some(problem) => Err(wrong(problem.to_string())),
        None => Ok(typed),
    }
}

/// A mapping's file, and who has it open.
struct Found {
    file: io::Result<File>,
    parents: Vec<u32>,
    /// The user that made it.
    owner: u32,
}

/// The mappings of the hosts that this user may look into. Only those that a believed user has made: anybody
/// else could show invented ones to root (rule W3).
fn files(usage: Use, believed: &[u32]) -> Vec<Found> {
    let mut found: HashMap<(u64, u64), Found> = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|p| p.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
        for path in open.flatten().flatten().map(|fd| fd.path()) {
            let is_ours = |to: PathBuf| to.to_string_lossy().starts_with(MEMFD);
            if !fs::read_link(&path).is_ok_and(is_ours) {
                continue;
            }
            let Ok(about) = fs::metadata(&path) else {
                continue;
            };
            if !believed.contains(&about.uid()) {
                continue;
            }
            let one = found.entry((about.dev(), about.ino())).or_insert(Found {
                file: File::options()
                    .read(true)
                    .write(matches!(usage, Use::Change))
                    .open(&path),
                parents: Vec::new(),
                owner: about.uid(),
            });
            if !one.parents.contains(&pid) {
                one.parents.push(pid);
            }
        }
    }
    let mut all: Vec<Found> = found.into_values().collect();
    all.iter_mut().for_each(|one| one.parents.sort_unstable());
    all.sort_by(|one, other| one.parents.cmp(&other.parents));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_user_who_is_not_believed_is_passed_over() {
        let mapping = Mapping::create(1 << 20).unwrap();
        let me = geteuid().as_raw();
        let mine = |believed: &[u32]| {
            let here = std::process::id();
            let found = files(Use::Look, believed);
            found.iter().any(|found| found.parents.contains(&here))
        };
        assert!(mine(&[me]));
        assert!(!mine(&[me.wrapping_add(1)]));
        drop(mapping);
    }
}
