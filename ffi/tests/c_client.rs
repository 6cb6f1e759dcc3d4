//! A C program drives a whole evaluation through the header and both libraries, under memcheck.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::{
    env,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use support::InstanceDir;

/// Nothing listens on port 1, and nobody but root could.
const NO_AM: &str = "http://127.0.0.1:1/openam";

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A library of this build: beside the test, or built now.
fn library(name: &str) -> PathBuf {
    let mut exe = env::current_exe().unwrap();
    exe.pop();
    if exe.join(name).is_file() {
        return exe.join(name);
    }
    let profile = exe.parent().unwrap();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "-p", "portcullis-ffi"]);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    done(cargo.current_dir(here()));
    profile.join(name)
}

fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

fn done(command: &mut Command) {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn compile(program: &Path, libraries: &[&str]) {
    done(
        Command::new("cc")
            .args(["-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror"])
            .arg("-I")
            .arg(here().join("../include"))
            .arg("-o")
            .arg(program)
            .arg(here().join("tests/client.c"))
            .args(libraries),
    );
}

/// The program's arguments.
fn arguments(instance: &InstanceDir) -> [String; 2] {
    let conf = instance.agent_conf();
    [
        conf.to_str().unwrap().to_string(),
        instance.session_cookie("AQIC5wM2LY4Sfcw-not-a-session"),
    ]
}

#[test]
fn a_c_program_decides_through_the_shared_library() {
    let instance = InstanceDir::new(NO_AM);
    let build = tempfile::tempdir().unwrap();
    // The loader looks for the SONAME, as it will where the library is installed.
    let shared = library("libportcullis.so");
    symlink(shared, build.path().join("libportcullis.so.1")).unwrap();
    let program = build.path().join("client");
    let folder = build.path().display();
    compile(
        &program,
        &[
            &format!("-L{folder}"),
            "-l:libportcullis.so.1",
            &format!("-Wl,-rpath,{folder}"),
        ],
    );
    if valgrind() {
        let mut memcheck = Command::new("valgrind");
        // Leaks don't count: a worker's thread is not waited for when its process ends.
        memcheck
            .args(["--quiet", "--error-exitcode=99", "--leak-check=no"])
            .args(["--fair-sched=try", "--num-callers=30"])
            .arg(&program);
        done(memcheck.args(arguments(&instance)));
    } else {
        done(Command::new(&program).args(arguments(&instance)));
    }
}

/// Whether memcheck is there; continuous integration has to have it.
fn valgrind() -> bool {
    let there = Command::new("valgrind").arg("--version").output().is_ok();
    assert!(
        there || env::var_os("CI").is_none(),
        "valgrind is missing, and CI is set"
    );
    if !there {
        eprintln!("valgrind is missing: the C program runs without memcheck");
    }
    there
}

#[test]
fn a_c_program_decides_through_the_static_library() {
    let instance = InstanceDir::new(NO_AM);
    let build = tempfile::tempdir().unwrap();
    let program = build.path().join("client");
    compile(
        &program,
        &[
            library("libportcullis.a").to_str().unwrap(),
            "-Wl,--gc-sections",
            "-lgcc_s",
            "-lpthread",
            "-ldl",
            "-lm",
        ],
    );
    done(Command::new(&program).args(arguments(&instance)));
}
