//! A program that is killed before any one of the system calls with which it changes files.
//!
//! `strace` counts the calls of a run to its end, and in further runs sends the signal when one of them begins: the
//! kernel then does not carry it out. The program is the one that ships, and knows nothing of it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::process::Signal;

/// A system call of a run: its name, and which one of those of this name it is.
pub type Call = (String, u32);

/// Runs a program to its end; the calls that change files, in their order.
///
/// # Panics
/// When it does not end well, or strace is not there.
pub fn calls(command: &Command, scratch: &Path) -> Vec<Call> {
    let log = scratch.join("strace.log");
    let output = traced(command, &log, &["-e", "trace=%file,%desc"]);
    assert!(output.status.success(), "{command:?}: {output:?}");
    let text = fs::read_to_string(&log).expect("strace's log");
    let mut counts = BTreeMap::new();
    let mut all = Vec::new();
    for line in text.lines() {
        let Some((name, arguments)) = line.split_once('(') else {
            continue;
        };
        let count: &mut u32 = counts.entry(name.to_owned()).or_default();
        *count += 1;
        if changes(name, arguments) {
            all.push((name.to_owned(), *count));
        }
    }
    all
}

/// Runs it until this call begins.
///
/// # Panics
/// When it does not die of that.
pub fn kill_at(command: &Command, (name, count): &Call, scratch: &Path) {
    let log = scratch.join("strace.log");
    let inject = format!("inject={name}:signal=SIGKILL:when={count}");
    let trace = format!("trace={name}");
    let output = traced(command, &log, &["-e", &trace, "-e", &inject]);
    // strace ends as the program that it looks at has ended.
    let killed = output.status.signal() == Some(Signal::KILL.as_raw());
    assert!(killed, "{name} {count}: {output:?}");
}

fn traced(command: &Command, log: &Path, options: &[&str]) -> Output {
    let mut strace = Command::new("strace");
    strace.arg("-o").arg(log).args(options);
    strace.arg("--").arg(command.get_program());
    strace.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    let output = strace.stdin(answer(log)).output();
    output.expect("strace, of Debian's package strace")
}

/// Whoever is asked says yes.
fn answer(beside: &Path) -> Stdio {
    let file = beside.with_extension("answer");
    fs::write(&file, "yes\n").expect("answer");
    fs::File::open(file).expect("answer").into()
}

/// Whether a call leaves something else on the disk.
fn changes(name: &str, arguments: &str) -> bool {
    const CHANGE: [&str; 9] = [
        "rename", "unlink", "mkdir", "rmdir", "chmod", "chown", "link", "truncate", "mknod",
    ];
    match name {
        "readlink" | "readlinkat" => false,
        "open" | "openat" => arguments.contains("O_CREAT") || arguments.contains("O_TRUNC"),
        // What it says on the screen is no change.
        "write" | "pwrite64" | "writev" => {
            let file = arguments.split(',').next().unwrap_or_default();
            !["1", "2"].contains(&file)
        }
        _ => CHANGE.iter().any(|part| name.contains(part)),
    }
}
