//! What the kernel says of a server's processes: threads, mappings, open files, owner.

use std::{collections::BTreeSet, fs, path::PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::{server::alive, site::Site, wait_until};

/// Name of the shared mapping's file, as `/proc` shows it.
const MEMFD: &str = "/memfd:portcullis";

/// Names of a process's threads.
pub fn threads(pid: u32) -> Vec<String> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect()
}

/// Workers of the server that have the agent's thread.
pub fn agent_workers(site: &Site) -> BTreeSet<u32> {
    let has_thread = |pid: &u32| threads(*pid).iter().any(|name| name == "portcullis");
    site.server
        .workers()
        .into_iter()
        .filter(has_thread)
        .collect()
}

/// Waits until every one of `old` is gone and others work. httpd may need fewer than before.
///
/// # Panics
/// When they do not come in time.
pub fn wait_for_successors(site: &Site, old: &BTreeSet<u32>) {
    wait_until("new workers", || {
        let now = agent_workers(site);
        !now.is_empty() && now.is_disjoint(old) && !old.iter().any(|pid| alive(*pid))
    });
}

/// The lines of a process's memory map that show the shared mapping.
pub fn mappings(pid: u32) -> Vec<String> {
    let map = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let ours = map.lines().filter(|line| line.contains(MEMFD));
    ours.map(str::to_owned).collect()
}

/// Device and inode in a line of a memory map.
pub fn file_of(line: &str) -> String {
    let fields: Vec<&str> = line.split_whitespace().collect();
    fields[3..5].join(" ")
}

/// How many of a process's file descriptors are the shared mapping.
pub fn mapping_fds(pid: u32) -> usize {
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return 0;
    };
    let ours = |target: &PathBuf| target.to_string_lossy().starts_with(MEMFD);
    fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .filter(ours)
        .count()
}

/// Memory of a process that nobody else shares, KiB; 0 where it is gone.
pub fn memory(pid: u32) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let own = text.lines().filter(|line| line.starts_with("Private_"));
    let sizes = own.filter_map(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    sizes.sum()
}

/// Connections of all processes of the machine to a port of `127.0.0.1`.
pub fn connections_to(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let there = format!("0100007F:{port:04X}");
    let lines = table.lines().map(|line| line.split_whitespace());
    let open = lines.filter(|fields| {
        let mut fields = fields.clone().skip(2);
        fields.next() == Some(&there) && fields.next() == Some("01")
    });
    open.count()
}

/// How many files and sockets a process has open; none where it is gone.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Whether the process is closed to others of its user: the kernel gives its `/proc` files to root.
pub fn is_closed(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}/environ"))
        .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

/// Processes of the whole machine that have this file mapped.
pub fn users_of(file: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("/proc");
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| mappings(*pid).iter().any(|line| file_of(line) == file))
        .collect()
}

/// Files of the agent in `/dev/shm`, where it should have none.
pub fn shm_files() -> Vec<String> {
    let Ok(all) = fs::read_dir("/dev/shm") else {
        return Vec::new();
    };
    all.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.to_ascii_lowercase().contains("portcullis"))
        .collect()
}

/// Ends a process that may be gone by now.
pub fn kill_if_there(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Sends a signal by its name, without `SIG`.
///
/// # Panics
/// When there is no such process or signal.
pub fn signal(pid: u32, name: &str) {
    let signal = match name {
        "TERM" => Signal::TERM,
        "KILL" => Signal::KILL,
        "HUP" => Signal::HUP,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "WINCH" => Signal::WINCH,
        "QUIT" => Signal::QUIT,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        other => panic!("no signal {other}"),
    };
    let sent = Pid::from_raw(pid.cast_signed()).map(|pid| kill_process(pid, signal));
    assert!(sent.is_some_and(|s| s.is_ok()), "{name} to {pid}: {sent:?}");
}
