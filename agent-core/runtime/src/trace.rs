//! Why was this request refused, sent elsewhere or not answered? The last of them, kept in shared memory
//! for `agentadmin trace`, which reads them while the host runs.
//!
//! Like a log line a trace holds no token, cookie or query (rule W2), and a client can push out only what
//! is in its share.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use portcullis_engine::{
    config::{self, Config},
    contract::{Decision, NodeMark, Outcome, RequestView},
    decide::{ClientAddress, client_address, outcome_word},
};
use portcullis_shm::Mapping;
use serde_json::{Value, json};

use crate::{
    agent::Instance,
    audit,
    logs::{format_timestamp, wall_ms},
    memo::View,
    node,
};

/// Name of the mapping's file, as `/proc` shows it.
const MEMFD: &str = "/memfd:portcullis";
/// Longest text of a detail or a URL in a trace.
const MAX_PART: usize = 160;

/// Keeps what became of a request, unless it was let through or answered as wished.
pub(crate) fn keep(
    instance: &Instance,
    req: &RequestView<'_>,
    decision: &Decision<'_>,
    view: &View<'_>,
) {
    let status = match &decision.outcome {
        Outcome::Respond(answer) if answer.status >= 300 => Some(answer.status),
        _ if decision.would.is_some() => None,
        _ => return,
    };
    let snap = instance.snapshot();
    let client = snap.as_ref().map(|snap| client_address(req, &snap.config));
    let share = match (&snap, client) {
        (Some(snap), Some(ClientAddress::Known(address))) => snap.client_key(address),
        _ => 0,
    };
    let cut = |text: String| text.chars().take(MAX_PART).collect::<String>();
    let code = decision.would.as_ref().map_or(decision.reason, |w| w.code);
    let now = wall_ms();
    let rule = decision.rule.zip(snap.as_ref());
    let mut trace = json!({
        "time": format_timestamp(now),
        "incident": decision.incident.to_string(),
        "code": format!("PCL{:04}", code.number()),
        "outcome": outcome_word(status, decision.reason),
        "status": status,
        "method": cut(audit::shown(req.method)),
        "url": cut(audit::origin(req) + &audit::path(req)),
        "client": audit::client(instance, req),
        "configuration": {
            "agent_conf": instance.start().map_or("", |start| &start.fingerprint),
            "profile": view.state.profile_version(),
        },
    });
    if let Some((rule, snap)) = rule {
        trace["rule"] = json!(cut(snap.config.rule_name(rule).to_string()));
    }
    if !decision.detail.is_empty() {
        trace["detail"] = json!(cut(audit::shown(decision.detail.as_bytes())));
    }
    if view.memo.oldest() > 0 {
        trace["age_ms"] = json!(view.memo.oldest());
    }
    let traces = view.mapping.traces();
    let of = view.state.id();
    // What is too long in spite of its parts is so for their escapes: those go.
    if !traces.keep(of, share, now, trace.to_string().as_bytes()) {
        for part in ["detail", "rule", "url"] {
            trace.as_object_mut().map(|all| all.remove(part));
        }
        traces.keep(of, share, now, trace.to_string().as_bytes());
    }
}

/// Why traces can't be read.
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
}

/// The traces of the instance of an `agent.conf`, oldest first, from every host on this machine that has it
/// and that the caller may look into. Nothing is written there.
///
/// # Errors
/// See [`Unread`].
pub fn traces(conf: &Path) -> Result<Vec<Value>, Unread> {
    let typed = typed(conf)?;
    let identity = config::identity(&typed);
    let (mut all, mut found) = (Vec::new(), false);
    for mapping in mappings() {
        let Some(state) = mapping.find_instance(identity) else {
            continue;
        };
        found = true;
        all.extend(mapping.traces().of(state.id()));
    }
    if !found {
        return Err(Unread::NotRunning);
    }
    all.sort_by_key(|(at, _)| *at);
    let read = |(_, text): (u64, Vec<u8>)| serde_json::from_slice(&text).ok();
    Ok(all.into_iter().filter_map(read).collect())
}

/// The mark of incidents of the instance of an `agent.conf` on this machine.
///
/// # Errors
/// See [`Unread`].
pub fn node_mark(conf: &Path) -> Result<NodeMark, Unread> {
    Ok(node::mark(Some(&typed(conf)?), conf))
}

fn typed(conf: &Path) -> Result<Config, Unread> {
    let wrong = |what: String| Unread::Conf(conf.to_path_buf(), what);
    let text = fs::read_to_string(conf).map_err(|e| wrong(e.to_string()))?;
    let source = config::Source::File("agent.conf".into());
    let (typed, problems) = config::read(&config::Properties::parse(&text, source), None);
    let error = |p: &&config::Problem| p.severity == config::Severity::Error;
    match problems.iter().find(error) {
        Some(problem) => Err(wrong(problem.to_string())),
        None => Ok(typed),
    }
}

/// The mappings of the hosts that this user may look into: only their parents keep the file open.
fn mappings() -> Vec<Mapping> {
    let mut seen = HashSet::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let files = processes
        .filter(|process| {
            process
                .file_name()
                .as_encoded_bytes()
                .iter()
                .all(u8::is_ascii_digit)
        })
        .filter_map(|process| fs::read_dir(process.path().join("fd")).ok())
        .flat_map(|fds| fds.flatten().map(|fd| fd.path()));
    let ours = files
        .filter(|path| fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with(MEMFD)));
    let mut open = |path: PathBuf| -> io::Result<Option<Mapping>> {
        let file = File::open(path)?;
        let about = file.metadata()?;
        if !seen.insert((about.dev(), about.ino())) {
            return Ok(None);
        }
        // Of another version of this program: its traces can't be read.
        Ok(Mapping::look(file.as_fd()).ok())
    };
    ours.filter_map(|path| open(path).ok().flatten()).collect()
}
