//! Where do key and password come from, and does nobody else see them on the way (rule K3)?
//!
//! Both come from files, or from standard input; a password also from a variable of the environment, which whoever
//! may look into this process and every program that it starts could read. The Web Agent takes both themselves
//! as arguments, which every user of the machine can read. Both ways work, but what is secret is handed on to a
//! new image of this program at once, whose arguments and environment have nothing of it. It must not print
//! either of them, nor an argument that could be one.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use portcullis_engine::{
    config::{self, SecretError},
    token::Secret,
};
use zeroize::Zeroizing;

use crate::secrets;

/// The argument that means standard input.
const STDIN: &str = "-";
/// An argument that begins with this names the variable of the environment that has the password.
const VARIABLE: &str = "env:";
/// Longest argument that is handed on; less than a pipe holds.
const LONGEST: usize = 2048;

const SEEN: &str = "\
warning: key and password stood in the arguments. They are taken out now; until this line other users of this
machine could read them, and the shell's history and audit logs may keep them. Use files instead:
agentadmin --p agent-key.conf PASSWORD-FILE, or - for standard input";

/// Where the argument for a password names a variable of the environment, runs this program again without it, with
/// the password on standard input. Otherwise it does nothing.
///
/// # Errors
/// There is no such variable, or what it holds is no password. It does not return where all is well.
pub(crate) fn out_of_environment(argument: Option<&str>) -> Result<()> {
    let Some((argument, name)) = argument.and_then(|a| Some((a, a.strip_prefix(VARIABLE)?))) else {
        return Ok(());
    };
    ensure!(
        !name.is_empty() && !name.contains(['=', '\0']),
        "{VARIABLE} needs the name of a variable, as in {VARIABLE}AM_AGENT_PASSWORD"
    );
    let found = env::var(name).map(Zeroizing::new);
    // What is no text must not be shown either.
    let Ok(password) = found else {
        bail!("the environment has no variable {name} with a password in it");
    };
    let line = Zeroizing::new(format!("{}\n", one_line(&password)?));
    let (reader, mut writer) = io::pipe().context("a pipe")?;
    writer.write_all(line.as_bytes())?;
    drop(writer);
    let program = env::current_exe().context("where is this program?")?;
    let mut again = without(&program, argument, name, env::args_os());
    Err(again.stdin(reader).exec()).context("cannot run this program again")
}

/// The same call with standard input in place of the variable.
fn without(
    program: &Path,
    argument: &str,
    name: &str,
    all: impl Iterator<Item = OsString>,
) -> Command {
    let same = |given: OsString| match given.to_str() == Some(argument) {
        true => STDIN.into(),
        false => given,
    };
    let mut command = Command::new(program);
    command
        .arg0("agentadmin")
        .args(all.skip(1).map(same))
        .env_remove(name);
    command
}

/// A password that a pipe takes at once, without its line end.
fn one_line(password: &str) -> Result<&str> {
    let password = password.trim_end_matches(['\r', '\n']);
    ensure!(
        password.len() <= LONGEST && !password.contains('\n'),
        "the password is too long, or more than a line"
    );
    Ok(password)
}

/// The encrypted form of a password.
///
/// `key` is a file (`agent-key.conf`, or the bare key), `password` one whose first line it is. `-` is standard
/// input: the password's line, or with `-` for both the key's line and then the password's.
///
/// # Errors
/// What cannot be read or is not usable. With both in the arguments it does not return where all is well.
pub(crate) fn encrypt(key: &str, password: &str) -> Result<String> {
    match (key, password) {
        (STDIN, STDIN) => {
            let key = parse_key(secrets::stdin_line("Key: ")?.trim())?;
            secrets::encrypt(&key, &secrets::read_password(Path::new(STDIN))?)
        }
        (STDIN, _) => {
            bail!("a key from standard input needs the password from there as well: --p - -")
        }
        _ if Path::new(key).exists() => {
            let key = secrets::read_key(Path::new(key))?;
            secrets::encrypt(&key, &secrets::read_password(Path::new(password))?)
        }
        _ => {
            // Not named in the error: what was meant for a key must not reach a log.
            config::parse_key(key).map_err(|error| match error {
                SecretError::BadKey => anyhow::anyhow!(
                    "the first argument is neither a file nor a key: base64 of 32 bytes, as agentadmin --k prints it"
                ),
                error => anyhow::anyhow!("the key {error}"),
            })?;
            hand_on(key, password)
        }
    }
}

fn parse_key(text: &str) -> Result<Secret> {
    config::parse_key(text).map_err(|error| anyhow::anyhow!("the key {error}"))
}

/// Runs this program again, with key and password in a pipe.
fn hand_on(key: &str, password: &str) -> Result<String> {
    let (reader, mut writer) = io::pipe().context("a pipe")?;
    writer.write_all(lines(key, password)?.as_bytes())?;
    drop(writer);
    let mut again = command(&env::current_exe().context("where is this program?")?);
    eprintln!("{SEEN}");
    Err(again.stdin(reader).exec()).context("cannot run this program again")
}

/// What the new image reads; a password that stands elsewhere is read there and not here.
fn lines(key: &str, password: &str) -> Result<Zeroizing<String>> {
    let password = match secrets::stands_elsewhere(password) {
        true => secrets::read_elsewhere(Path::new(password))?,
        false => Zeroizing::new(password.to_owned()),
    };
    let line = one_line(&password)?;
    Ok(Zeroizing::new(format!("{key}\n{line}\n")))
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg0("agentadmin").args(["--p", STDIN, STDIN]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn what_is_handed_on_is_not_in_the_arguments() {
        let command = command(Path::new("/opt/agentadmin"));
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["--p", "-", "-"]);
        let all = lines(KEY, "a-Long-enough-pass-phrase").unwrap();
        assert_eq!(all.as_str(), format!("{KEY}\na-Long-enough-pass-phrase\n"));
        assert!(lines(KEY, "a\nb").is_err() && lines(KEY, &"x".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn what_stood_in_the_environment_is_in_no_environment_any_more() {
        let all = ["agentadmin", "--p", "agent-key.conf", "env:WA1"].map(OsString::from);
        let command = without(
            Path::new("/opt/agentadmin"),
            "env:WA1",
            "WA1",
            all.into_iter(),
        );
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["--p", "agent-key.conf", "-"]);
        let environment: Vec<_> = command.get_envs().collect();
        assert_eq!(environment, [("WA1".as_ref(), None)]);
        for (argument, says) in [
            ("env:", "needs the name"),
            ("env:a=b", "needs the name"),
            ("env:PORTCULLIS_NOBODY_SET_THIS", "has no variable"),
        ] {
            let said = out_of_environment(Some(argument)).unwrap_err().to_string();
            assert!(said.contains(says), "{argument}: {said}");
        }
        assert!(out_of_environment(None).is_ok() && out_of_environment(Some("/etc/pw")).is_ok());
    }

    #[test]
    fn an_error_never_repeats_what_may_be_a_key() {
        for (key, password) in [
            ("AAECAwQFBg", "secret-1"),
            ("AM_AGENT_KEY", "secret-2"),
            ("-", "secret-3"),
        ] {
            let said = format!("{:#}", encrypt(key, password).unwrap_err());
            assert!(
                !said.contains(password) && (key == "-" || !said.contains(key)),
                "{said}"
            );
        }
    }
}
