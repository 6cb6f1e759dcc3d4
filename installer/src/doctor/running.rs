//! Does a web server run with this instance, and with the module that is installed?

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use portcullis_runtime::{Running, Unread, examine};
use serde_json::Value;

use super::{
    check::{Finding, every},
    patient::Patient,
};
use crate::{home::Home, server::Kind};

/// A table is too small where more than one in so many places had to be given up too early.
const CROWDED: u64 = 10;
/// How long a worker may take to end.
const STOP: Duration = Duration::from_secs(5);

/// A module that a process has loaded.
#[derive(Debug, PartialEq, Eq)]
struct Loaded {
    path: PathBuf,
    inode: u64,
    deleted: bool,
}

/// Whether the module of the running server is the file that is installed.
pub(crate) fn version(patient: &mut Patient) -> Finding {
    let entry = patient.wish.instance.entry.as_ref();
    let installed = installed(entry.map(|entry| entry.kind));
    let (mut current, mut old) = (Vec::new(), Vec::new());
    // A server with the module of another installation is no concern of this one.
    let ours = processes()
        .into_iter()
        .filter(|(_, loaded)| installed.contains(&loaded.path));
    for (pid, loaded) in ours {
        match is_current(&loaded) {
            true => current.push(pid),
            false => old.push(format!("process {pid}: {}", loaded.path.display())),
        }
    }
    match (old.first().cloned(), current.len()) {
        (Some(first), _) => Finding::not_ok(
            format!("a web server runs with a module that has been replaced since: {first}"),
            "stop and start the web server: a reload keeps the old module",
        )
        .all(old),
        (None, 0) => {
            Finding::not_needed("no web server with the agent runs that this user may look into")
        }
        (None, count) => Finding::ok(format!(
            "{count} processes run with the module that is installed"
        )),
    }
}

/// The modules of this installation, as a process has them: links are followed.
fn installed(kind: Option<Kind>) -> Vec<PathBuf> {
    let Ok(home) = Home::find() else {
        return Vec::new();
    };
    let kinds = kind.map_or(vec![Kind::Httpd, Kind::Nginx], |kind| vec![kind]);
    let files = kinds.into_iter().map(|kind| home.module_file(kind));
    files
        .map(|file| fs::canonicalize(&file).unwrap_or(file))
        .collect()
}

fn is_current(loaded: &Loaded) -> bool {
    let there = fs::metadata(&loaded.path).map(|about| about.ino());
    !loaded.deleted && there.is_ok_and(|inode| inode == loaded.inode)
}

/// The processes that have a module of ours, with it.
fn processes() -> Vec<(u32, Loaded)> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let with_maps = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        // Those of others cannot be read, and some end meanwhile.
        let maps = fs::read_to_string(entry.path().join("maps")).ok()?;
        Some((pid, module(&maps)?))
    };
    all.filter_map(with_maps).collect()
}

/// The module in what proc_pid_maps(5) says.
fn module(maps: &str) -> Option<Loaded> {
    let names = [Kind::Httpd, Kind::Nginx].map(Kind::module);
    maps.lines().find_map(|line| {
        let mut rest = line;
        let mut fields = [""; 5];
        for field in &mut fields {
            let (word, after) = rest.split_once(' ')?;
            (*field, rest) = (word, after.trim_start());
        }
        let path = rest.strip_suffix(" (deleted)");
        let (path, deleted) = (path.unwrap_or(rest), path.is_some());
        let path = Path::new(path);
        let ours = path
            .file_name()?
            .to_str()
            .is_some_and(|name| names.contains(&name));
        ours.then(|| Loaded {
            path: path.to_owned(),
            inode: fields[4].parse().unwrap_or(0),
            deleted,
        })
    })
}

/// Whether the memory of the hosts that run can be read, and whether it is large enough.
pub(crate) fn shared_memory(patient: &mut Patient) -> Finding {
    match Running::all(patient.conf()) {
        Ok(hosts) => every(hosts.iter().map(|host| room(&host.status())).collect()),
        Err(error @ Unread::Other(..)) => Finding::not_ok(
            error.to_string(),
            "stop and start the web server, or use the agentadmin of its version",
        ),
        Err(Unread::NotRunning) => {
            Finding::not_needed("no web server runs with the instance that this user may look into")
        }
        Err(error @ Unread::Conf(..)) => Finding::skipped(error.to_string()),
    }
}

/// What `status` says of a host, judged.
fn room(status: &Value) -> Finding {
    const MIB: u64 = 1 << 20;
    let host = &status["host"];
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mut finding = Finding::ok(format!(
        "process {}: {} MiB, layout {}, made by user {}",
        number(&host["parents"][0]),
        number(&host["shared_memory_bytes"]) / MIB,
        host["layout"],
        host["owner"],
    ));
    for name in ["sessions", "decisions"] {
        let table = &status["cache"][name];
        let (used, slots) = (number(&table["used"]), number(&table["slots"]));
        let out = number(&table["pushed_out"]);
        let free = slots.saturating_sub(used);
        let line = format!(
            "{name}: about {used} of {slots} places used, {free} free; {out} had to go before they expired"
        );
        finding = match out > slots / CROWDED {
            false => finding.and(line),
            true => Finding::not_ok(
                line,
                "a larger AM_MAX_SESSION_CACHE_SIZE in the environment of the web server; docs/sizing.md",
            )
            .all(finding.evidence),
        };
    }
    finding
}

/// Whether a worker starts with these files, gets its configuration and ends; only where it was wished for.
pub(crate) fn worker(patient: &mut Patient) -> Finding {
    if !patient.wish.worker {
        return Finding::not_needed("only with --Vi, or doctor --worker");
    }
    if portcullis_runtime::traces(patient.conf()).is_ok() {
        return Finding::skipped("a web server runs with this instance: stop it first");
    }
    let wait = patient.wish.patience * 4;
    match examine::worker(patient.conf(), wait) {
        Err(why) => Finding::not_ok(
            format!("a worker could not be started: {why}"),
            "what is named; the files of the instance and the limits of this process",
        ),
        Ok(run) if !run.configured => Finding::not_ok(
            format!(
                "a worker started, but had no configuration after {} s",
                wait.as_secs()
            ),
            "the lines of the worker, above; AM's own log",
        )
        .all(run.lines),
        Ok(run) if run.stopped > STOP => Finding::not_ok(
            format!("a worker took {} ms to end", run.stopped.as_millis()),
            "whatever keeps this machine busy",
        ),
        Ok(run) => Finding::ok("a worker started, had its configuration, and ended").all(run.lines),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check::Verdict, *};

    #[test]
    fn a_table_that_gives_places_up_too_early_is_too_small() {
        let status = |out: u64| {
            serde_json::json!({
                "host": { "parents": [7], "shared_memory_bytes": 5 << 20, "layout": 9, "owner": 0 },
                "cache": {
                    "sessions": { "used": 90, "slots": 100, "pushed_out": out },
                    "decisions": { "used": 1, "slots": 100, "pushed_out": 0 },
                },
            })
        };
        let well = room(&status(10));
        assert_eq!(well.verdict, Verdict::Ok);
        assert_eq!(
            well.evidence[0],
            "process 7: 5 MiB, layout 9, made by user 0"
        );
        assert!(well.evidence[1].contains("about 90 of 100 places used, 10 free"));
        let crowded = room(&status(11));
        assert_eq!(crowded.verdict, Verdict::NotOk);
        assert!(crowded.evidence[0].starts_with("sessions: ") && crowded.evidence.len() == 3);
        assert!(
            crowded
                .remedy
                .unwrap()
                .contains("AM_MAX_SESSION_CACHE_SIZE")
        );
    }

    #[test]
    fn a_module_that_was_replaced_is_seen() {
        let maps = "\
7f0-7f1 r-xp 00000000 08:01 11 /usr/lib/libc.so.6
7f2-7f3 rw-p 00000000 00:00 0 
7f4-7f5 r-xp 00000000 08:01 4242 /opt/my agent/lib/mod_portcullis.so";
        let loaded = module(maps).unwrap();
        assert_eq!(
            loaded.path,
            Path::new("/opt/my agent/lib/mod_portcullis.so")
        );
        assert!(loaded.inode == 4242 && !loaded.deleted && !is_current(&loaded));
        let gone = module(&format!("{maps} (deleted)")).unwrap();
        assert!(gone.deleted && gone.path == loaded.path);
        assert_eq!(
            module("7f0-7f1 r-xp 00000000 08:01 11 /usr/lib/libc.so.6"),
            None
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ngx_http_portcullis_module.so");
        fs::write(&path, "x").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let line = format!("7f4-7f5 r-xp 00000000 08:01 {inode} {}", path.display());
        assert!(is_current(&module(&line).unwrap()));
    }
}
