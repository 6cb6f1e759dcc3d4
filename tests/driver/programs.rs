//! Builds every test program of the workspace in one go and runs them.
//!
//! One build, because cargo would choose other features of the dependencies for each selection of
//! packages and compile them again.

use std::{
    io::{BufRead, BufReader, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use portcullis_openam::STATE_VARIABLE;
use portcullis_tests::{imported, modules::root, server::PLACE_VARIABLE};
use serde_json::Value;

use crate::tally::Tally;

/// A compiled test program.
pub(crate) struct Program {
    /// `package/name`, as shown.
    pub(crate) name: String,
    /// It is one of the root package's, hence needs servers.
    pub(crate) acceptance: bool,
    source: PathBuf,
    folder: PathBuf,
    executable: PathBuf,
}

/// How a program is run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Settings<'s> {
    /// Tests that run side by side; `None`: as many as there are cores.
    pub(crate) threads: Option<u8>,
    /// The state file of a running OpenAM.
    pub(crate) openam: Option<&'s Path>,
    /// Which of so many programs that run side by side.
    pub(crate) place: Option<(usize, usize)>,
    /// Sites have the files of a Web Agent.
    pub(crate) imported: bool,
}

/// `cargo` in the root of the tree, without input.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null());
    command
}

/// Shows a command, runs it and shows what it prints.
///
/// # Errors
/// When it does not exit with 0.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    println!("$ {}", shown(command));
    let status = command.status().with_context(|| shown(command))?;
    ensure!(status.success(), "{}: {status}", shown(command));
    Ok(())
}

fn shown(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let mut text = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        text += " ";
        text += &argument.to_string_lossy();
    }
    text
}

/// Compiles all test programs; `programs` are those that compile.
///
/// # Errors
/// When anything does not compile; cargo has said why.
pub(crate) fn build(programs: &mut Vec<Program>) -> anyhow::Result<()> {
    let mut command = cargo(&["test", "--workspace", "--no-run", "--no-fail-fast"]);
    println!("$ {}", shown(&command));
    command.arg("--message-format=json-render-diagnostics");
    let mut child = command.stdout(Stdio::piped()).spawn().context("cargo")?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let message: Value = serde_json::from_str(&line?).unwrap_or_default();
            programs.extend(program(&message));
        }
    }
    programs.sort_by(|a, b| (a.acceptance, &a.name).cmp(&(b.acceptance, &b.name)));
    let status = child.wait()?;
    ensure!(status.success(), "not everything compiles");
    Ok(())
}

/// The test program that one of cargo's messages announces.
fn program(message: &Value) -> Option<Program> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let target = &message["target"];
    let kind = target["kind"][0].as_str()?;
    let folder = PathBuf::from(message["manifest_path"].as_str()?)
        .parent()?
        .to_owned();
    let in_root = folder == root();
    let package = folder
        .file_name()
        .filter(|_| !in_root)
        .map_or("portcullis".into(), |f| f.to_string_lossy());
    Some(Program {
        name: format!("{package}/{}", target["name"].as_str()?),
        acceptance: in_root && kind == "test",
        source: target["src_path"].as_str()?.into(),
        executable: message["executable"].as_str()?.into(),
        folder,
    })
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .stdin(Stdio::null());
        command
    }

    /// Whether it asks for a real OpenAM: starting one for nothing would cost a minute.
    pub(crate) fn wants_openam(&self) -> bool {
        let text = std::fs::read_to_string(&self.source).unwrap_or_default();
        text.contains("OpenAm") || text.contains("real_am")
    }

    /// Whether its file is called `word`: then all of its tests are meant.
    pub(crate) fn is_called(&self, word: &str) -> bool {
        self.name.rsplit('/').next() == Some(word)
    }

    /// How many of its tests have `filter` in their names.
    ///
    /// # Errors
    /// When the program can't be run.
    pub(crate) fn matching(&self, filter: &str) -> anyhow::Result<usize> {
        let output = self
            .command()
            .args(["--list", "--format=terse", filter])
            .output()?;
        let list = String::from_utf8_lossy(&output.stdout);
        Ok(list.lines().filter(|l| l.ends_with(": test")).count())
    }

    /// Runs the tests that match, hands on what they print and counts them.
    ///
    /// # Errors
    /// When any failed.
    pub(crate) fn run(
        &self,
        filter: Option<&str>,
        settings: Settings<'_>,
        (output, tally): (&mut dyn Write, &mut Tally),
    ) -> anyhow::Result<()> {
        let mut command = self.command();
        command.args(filter.filter(|word| !self.is_called(word)));
        if let Some(threads) = settings.threads {
            command.arg(format!("--test-threads={threads}"));
        }
        if let Some(state) = settings.openam {
            command.env(STATE_VARIABLE, state);
        }
        if let Some((place, places)) = settings.place {
            command.env(PLACE_VARIABLE, format!("{place}/{places}"));
        }
        if settings.imported {
            command.env(imported::VARIABLE, "1");
        }
        if std::io::stdout().is_terminal() {
            command.arg("--color=always");
        }
        counted(&mut command, &self.name, (output, tally))
    }
}

/// Runs a command that prints test results; hands on what it prints, errors in their place, and counts.
///
/// # Errors
/// When it does not exit with 0.
pub(crate) fn counted(
    command: &mut Command,
    name: &str,
    (output, tally): (&mut dyn Write, &mut Tally),
) -> anyhow::Result<()> {
    let (printed, into) = std::io::pipe()?;
    command.stdout(into.try_clone()?).stderr(into);
    let child = command.spawn().with_context(|| shown(command));
    // The ends of the pipe that are here would keep it open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child?;
    let mut closed = false;
    {
        let mut printed = BufReader::new(printed);
        let mut line = Vec::new();
        while printed.read_until(b'\n', &mut line)? > 0 {
            output.write_all(&line)?;
            closed |= tally.read(name, &String::from_utf8_lossy(&line));
            line.clear();
        }
    }
    let status = child.wait()?;
    if !closed {
        tally.broke(name, &format!("ended without a result, {status}"));
    }
    if !status.success() || !closed {
        bail!("{name}: {status}");
    }
    Ok(())
}
