//! Keys and passwords as an operator handles them with `agentadmin`: nobody else sees them (rule K3), and a new
//! key ends nobody's session (rule K1).

// What can't be had fails the test that wanted it.
#![allow(clippy::expect_used, clippy::panic)]

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use portcullis_tests::{
    both_servers, modules,
    processes::{agent_workers, wait_for_successors},
    pty::{INTERRUPT, Terminal},
    second::{self, words},
    site::{Site, site},
    wait_until,
};

/// As `agentadmin --k` prints it.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PASSWORD: &str = "-a Passw0rd+with/all=of:it";

fn agentadmin(arguments: &[&str]) -> Command {
    modules::built();
    let mut command = Command::new(modules::agentadmin());
    command
        .env("PORTCULLIS_MODULES", modules::directory())
        .args(arguments);
    command
}

fn private(path: &Path, text: &str) -> String {
    fs::write(path, text).expect("file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("mode");
    path.display().to_string()
}

/// What it prints when it is given this on standard input.
fn told(arguments: &[&str], input: &str) -> String {
    let mut command = agentadmin(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("agentadmin");
    let mut pipe = child.stdin.take().expect("pipe");
    pipe.write_all(input.as_bytes()).expect("input");
    drop(pipe);
    words(&child.wait_with_output().expect("agentadmin"))
}

#[test]
fn a_password_comes_from_a_file_or_from_standard_input() {
    let folder = tempfile::tempdir().expect("folder");
    let key = private(&folder.path().join("agent-key.conf"), &format!("{KEY}\n"));
    let file = private(
        &folder.path().join("password"),
        &format!("{PASSWORD}\nrest\n"),
    );
    let encrypted = "Encrypted password value: ";
    for (arguments, input) in [
        ([key.as_str(), file.as_str()], String::new()),
        ([key.as_str(), "-"], format!("{PASSWORD}\n")),
        (["-", "-"], format!("{KEY}\r\n{PASSWORD}")),
    ] {
        let said = told(&["--p", arguments[0], arguments[1]], &input);
        assert!(said.starts_with(encrypted), "{said}");
        assert!(!said.contains("warning"), "{said}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("mode");
    let said = told(&["--p", &key, &file], "");
    assert!(said.contains("can be read by others (mode 644)"), "{said}");
}

#[test]
fn a_password_that_is_typed_is_not_shown() {
    let folder = tempfile::tempdir().expect("folder");
    let key = private(&folder.path().join("agent-key.conf"), &format!("{KEY}\n"));
    for (typed, ends) in [
        (format!("{PASSWORD}\n"), true),
        (format!("half{INTERRUPT}"), false),
    ] {
        let mut terminal = Terminal::run(&agentadmin(&["--p", &key, "-"]));
        terminal.wait_for("Password: ");
        assert!(!terminal.shows_what_is_typed());
        terminal.types(&typed);
        terminal.wait_for(if ends {
            "Encrypted password value: "
        } else {
            "left"
        });
        assert!(terminal.shows_what_is_typed());
        let (status, shown) = terminal.end();
        assert_eq!(status.success(), ends, "{shown}");
        assert!(
            !shown.contains(PASSWORD) && !shown.contains("half"),
            "{shown}"
        );
    }
}

#[test]
fn a_password_comes_from_the_environment_or_a_credential() {
    let folder = tempfile::tempdir().expect("folder");
    let key = private(&folder.path().join("agent-key.conf"), &format!("{KEY}\n"));
    private(&folder.path().join("wa1"), &format!("{PASSWORD}\n"));
    let with = |arguments: &[&str]| {
        let mut command = agentadmin(arguments);
        command
            .env("AM_AGENT_PASSWORD", PASSWORD)
            .env("CREDENTIALS_DIRECTORY", folder.path());
        command
    };
    for (key, place) in [
        (&*key, "env:AM_AGENT_PASSWORD"),
        (&*key, "credential:wa1"),
        (KEY, "credential:wa1"),
    ] {
        let said = words(&with(&["--p", key, place]).output().expect("agentadmin"));
        assert!(
            said.contains("Encrypted password value: ") && !said.contains(PASSWORD),
            "{said}"
        );
    }
    for (arguments, says) in [
        (
            ["--p", "-", "env:AM_AGENT_PASSWORD"],
            "needs the password from there",
        ),
        (["--p", &key, "env:AM_NOT_SET"], "no variable AM_NOT_SET"),
        (["--p", &key, "credential:../wa1"], "without a folder"),
        (["--p", &key, "credential:other"], "cannot read"),
    ] {
        let said = words(&with(&arguments).output().expect("agentadmin"));
        assert!(said.contains(says) && !said.contains(PASSWORD), "{said}");
    }
    // What it runs as then shows nothing, neither in its arguments nor in its environment.
    let (mut child, mut output) = held(with(&["--p", &key, "env:AM_AGENT_PASSWORD"]));
    let of = |what: &str| fs::read(format!("/proc/{}/{what}", child.id())).unwrap_or_default();
    let wanted = format!("agentadmin\0--p\0{key}\0-\0");
    wait_until("the variable to be taken out", || {
        of("cmdline") == wanted.as_bytes()
    });
    let environment = String::from_utf8_lossy(&of("environ")).into_owned();
    assert!(
        environment.contains("CREDENTIALS_DIRECTORY"),
        "{environment}"
    );
    assert!(!environment.contains(PASSWORD), "{environment}");
    let mut said = String::new();
    output.read_to_string(&mut said).expect("output");
    assert!(
        child.wait().expect("agentadmin").success() && said.contains("Encrypted"),
        "{said}"
    );
}

/// A program whose output nobody reads yet, so that it stays; and what it has printed later.
fn held(mut command: Command) -> (Child, std::io::PipeReader) {
    let (reader, mut writer) = std::io::pipe().expect("pipe");
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).expect("flags");
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::empty()).expect("flags");
    command.stdout(writer).stderr(Stdio::piped());
    (command.spawn().expect("agentadmin"), reader)
}

#[test]
fn a_password_in_the_arguments_is_gone_from_them_at_once_and_warned_of() {
    let (mut child, mut output) = held(agentadmin(&["--p", KEY, PASSWORD]));
    let arguments = format!("/proc/{}/cmdline", child.id());
    // It waits for its output to be read, with what everybody can see of it.
    wait_until("the arguments to be taken out", || {
        fs::read(&arguments).is_ok_and(|seen| seen == b"agentadmin\0--p\0-\0-\0")
    });
    let (mut said, mut warned) = (String::new(), String::new());
    output.read_to_string(&mut said).expect("output");
    let mut errors = child.stderr.take().expect("pipe");
    errors.read_to_string(&mut warned).expect("errors");
    assert!(child.wait().expect("agentadmin").success(), "{warned}");
    assert!(said.contains("Encrypted password value: "), "{said}");
    assert!(
        warned.contains("warning: key and password stood in the arguments"),
        "{warned}"
    );
    assert!(
        !warned.contains(PASSWORD) && !warned.contains(KEY),
        "{warned}"
    );
}

#[test]
fn the_version_names_revision_abi_and_the_modules_beside_it() {
    let said = words(&agentadmin(&["--v"]).output().expect("agentadmin"));
    let version = env!("CARGO_PKG_VERSION");
    for wanted in [
        &format!("Portcullis Web Agent {version}\n"),
        "Revision: ",
        "Build date: ",
        "ABI: ",
        &format!("httpd:       {version}, "),
        &format!("nginx:       {version}, "),
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

/// Rotates the key and reloads the server with the new one.
fn rotate(site: &Site, hours: &str) -> String {
    let arguments = ["--k", "--rotate", "agent_1", "--old-key-hours", hours];
    let output = second::agentadmin(site, &arguments).output();
    let output = output.expect("agentadmin");
    let said = words(&output);
    assert!(output.status.success(), "{said}");
    let workers = agent_workers(site);
    site.server.reload();
    wait_for_successors(site, &workers);
    said
}

both_servers! {
    fn a_new_key_ends_nobodys_session(kind: Kind) {
        // What is written down of a request does not say which key its cookie was sealed with.
        let site = site(kind).unrecorded().start();
        let mut visitor = site.visitor();
        assert_eq!(visitor.log_in("/docs/a.html").status, 200);
        let mut on_the_way = site.visitor();
        let form = on_the_way.get("/docs/a.html");
        let form = on_the_way.form(&form);
        let said = rotate(&site, "24");
        assert!(said.starts_with("Performing key rotation for instance: agent_1\n"), "{said}");
        assert!(said.contains("Key rotation was successful for instance: agent_1\n"), "{said}");
        // The agent's own password still opens: the server could not have been reloaded otherwise.
        assert_eq!(visitor.get("/docs/a.html").status, 200);
        assert_eq!(on_the_way.post(&form).status, 302);
        assert_eq!(on_the_way.get("/docs/a.html").status, 200);
        assert_eq!(visitor.get("/docs/a.html").status, 200);
        // A key that others may know counts no more: who has a cookie of it logs in again.
        rotate(&site, "0");
        assert_eq!(visitor.get("/docs/a.html").status, 302);
        assert_eq!(on_the_way.get("/docs/a.html").status, 302);
        let mut other = site.visitor();
        assert_eq!(other.log_in("/docs/a.html").status, 200);
        let config = site.instance.join("config");
        for name in ["agent-key.conf", "agent-password.conf"] {
            let meta = fs::metadata(config.join(name)).expect("file");
            assert_eq!(meta.permissions().mode() & 0o777, 0o600);
            assert!(!config.join(format!("{name}.bak")).exists());
        }
        site.stop();
    }
}
