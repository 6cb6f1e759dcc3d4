//! `agentadmin man` and `agentadmin completion`: the manual and the completion of shells, from the definition of the
//! command line.
//!
//! For packages, which install what comes out. It must not describe anything itself: what `--help` says is what
//! they say.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_mangen::Man;

use crate::cli::Arguments;

/// The section of the manual for what an administrator runs.
const SECTION: &str = "8";
const NAME: &str = "agentadmin";

const MAN_EXAMPLES: &str = "\
Examples:
  agentadmin man /usr/local/share/man/man8
  agentadmin man . && man -l agentadmin-doctor.8

Writes agentadmin.8 and a page agentadmin-COMMAND.8 for each command; what is there is replaced.

Exit code: 0 when all pages are written, 1 otherwise.";

const COMPLETION_EXAMPLES: &str = "\
Examples:
  agentadmin completion bash > /etc/bash_completion.d/agentadmin
  agentadmin completion zsh > /usr/local/share/zsh/site-functions/_agentadmin
  agentadmin completion fish > /etc/fish/completions/agentadmin.fish";

/// Write the manual pages of this program into a folder
#[derive(Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct ManOptions {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Print the completion of this program's command line for a shell
#[derive(Args)]
#[command(after_help = COMPLETION_EXAMPLES)]
pub(crate) struct CompletionOptions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Writes the pages.
pub(crate) fn man(options: &ManOptions) -> Result<ExitCode> {
    for (name, page) in pages()? {
        let path = options.folder.join(name);
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", Path::display(&path));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the completion.
pub(crate) fn completion(options: &CompletionOptions) -> Result<ExitCode> {
    io::stdout()
        .lock()
        .write_all(&completion_of(options.shell))?;
    Ok(ExitCode::SUCCESS)
}

/// The program and its commands, each with the name of its page.
fn commands() -> Vec<(String, Command)> {
    let mut program = Arguments::command();
    program.build();
    let mut all: Vec<(String, Command)> = program
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| (format!("{NAME}-{}", command.get_name()), command.clone()))
        .collect();
    all.insert(0, (NAME.to_owned(), program));
    all
}

/// Every page with the name of its file.
fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let page = |(name, command): (String, Command)| {
        let mut text = Vec::new();
        let man = Man::new(command)
            .title(name.clone())
            .section(SECTION)
            .manual("Portcullis Web Agent")
            .source(format!("Portcullis {}", env!("CARGO_PKG_VERSION")));
        man.render(&mut text)?;
        Ok((format!("{name}.{SECTION}"), ragged(&text)))
    };
    commands().into_iter().map(page).collect()
}

/// The same page with a ragged right margin and without hyphens: what is to be typed must stay as it is.
fn ragged(page: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(page);
    let lines = text.lines().map(|line| match line.starts_with(".TH ") {
        true => format!("{line}\n.ad l\n.nh\n"),
        false => format!("{line}\n"),
    });
    lines.collect::<String>().into_bytes()
}

fn completion_of(shell: Shell) -> Vec<u8> {
    use clap_complete::{Shell as Of, generate};
    let of = match shell {
        Shell::Bash => Of::Bash,
        Shell::Zsh => Of::Zsh,
        Shell::Fish => Of::Fish,
    };
    let mut text = Vec::new();
    generate(of, &mut Arguments::command(), NAME, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use std::process::{Command as Program, Stdio};

    use super::*;

    /// The long options of a command, and the names of its commands.
    fn words(command: &Command) -> Vec<String> {
        let options = command.get_arguments().filter(|a| !a.is_hide_set());
        let options = options.filter_map(|a| a.get_long().map(str::to_owned));
        let commands = command.get_subcommands().filter(|c| !c.is_hide_set());
        options
            .chain(commands.map(|c| c.get_name().to_owned()))
            .collect()
    }

    #[test]
    fn every_option_and_command_is_in_its_page() {
        let pages = pages().unwrap();
        let commands = commands();
        assert_eq!(pages.len(), commands.len());
        assert!(pages.iter().any(|(name, _)| name == "agentadmin-drill.8"));
        for ((name, page), (_, command)) in pages.iter().zip(&commands) {
            // A dash is escaped there, so that it can be copied.
            let text = String::from_utf8(page.clone()).unwrap().replace("\\-", "-");
            for word in words(command) {
                assert!(text.contains(&word), "{word} is not in {name}");
            }
            let example = text.contains("Examples:");
            assert!(example, "{name} has no examples");
        }
    }

    #[test]
    fn every_option_and_command_can_be_completed() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = String::from_utf8(completion_of(shell)).unwrap();
            for (name, command) in commands() {
                for word in words(&command) {
                    assert!(text.contains(&word), "{word} of {name} for {shell:?}");
                }
            }
        }
    }

    /// Runs a program with this on standard input; what it says on both channels. `None`: it is not installed.
    fn run(program: &str, arguments: &[&str], input: &[u8]) -> Option<(bool, String)> {
        let mut command = Program::new(program);
        command.args(arguments).stdin(Stdio::piped());
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.ok()?;
        let mut pipe = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || pipe.write_all(&input));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join();
        let said = [output.stdout, output.stderr].concat();
        Some((
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        ))
    }

    #[test]
    fn a_formatter_warns_of_nothing_and_bash_takes_its_completion() {
        for (name, page) in pages().unwrap() {
            let checked = run(
                "groff",
                &["-man", "-ww", "-z", "-Tutf8", "-K", "utf8"],
                &page,
            );
            if let Some((good, said)) = checked {
                assert!(good && said.is_empty(), "{name}: {said}");
            }
        }
        let (good, said) = run("bash", &["-n"], &completion_of(Shell::Bash)).expect("bash");
        assert!(good && said.is_empty(), "{said}");
    }
}
