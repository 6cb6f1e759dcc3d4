//! `agentadmin flush`: makes a web server that runs ask AM again.
//!
//! It moves the counters in shared memory that any process of the host may move, and takes one record out of a
//! cache. What has ended stays ended (rule S1), and nothing is let through that AM is not asked about.

use std::{
    io::{self, Read},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use clap::{ArgGroup, Args};
use portcullis_engine::token::Secret;
use portcullis_runtime::Running;
use zeroize::Zeroizing;

use crate::instance::Instance;

/// Longest token, bytes.
const MAX_TOKEN: u64 = 64 << 10;

const EXAMPLES: &str = "\
Examples:
  agentadmin flush --all agent_1
  agentadmin flush --session agent_1 < token

With --session the token of the session, the value of AM's own cookie, comes from standard input: what stands on
a command line every user of the machine can read.

It needs root, or the user that started the web server. Nobody is logged out. While AM is away, those who were
forgotten can't be let in, not in grace either.

Exit code: 0 when every web server with the instance was told, 1 otherwise.";

/// Make a running web server forget cached sessions and decisions, so that AM is asked again
#[derive(Args)]
#[command(after_help = EXAMPLES)]
#[command(group(ArgGroup::new("what").required(true)))]
pub(crate) struct Options {
    /// Forget everything that AM said
    #[arg(long, group = "what")]
    all: bool,

    /// Forget what AM said about one session, whose token is read from standard input
    #[arg(long, group = "what")]
    session: bool,

    /// The instance: its name or its agent.conf; without it the only one there is
    #[arg(value_name = "AGENT")]
    agent: Option<PathBuf>,
}

/// Tells the web servers.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let instance = Instance::find(options.agent.as_deref())?;
    let token = match options.session {
        true => Some(token(io::stdin().lock())?),
        false => None,
    };
    let hosts = Running::all_to_change(&instance.conf)?;
    for host in &hosts {
        host.forget(token.as_ref());
        let pids: Vec<String> = host.parents().iter().map(u32::to_string).collect();
        let what = match token {
            Some(_) => "what was known of this session",
            None => "all sessions and decisions",
        };
        println!(
            "{}: forgot {what} in the web server with process {}",
            instance.called(),
            pids.join(", ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// A token without the white space around it.
fn token(input: impl Read) -> Result<Secret> {
    let mut text = Zeroizing::new(Vec::new());
    input
        .take(MAX_TOKEN + 1)
        .read_to_end(&mut text)
        .context("standard input")?;
    ensure!(
        text.len() as u64 <= MAX_TOKEN,
        "the token is longer than {MAX_TOKEN} bytes"
    );
    let token = text.trim_ascii();
    ensure!(
        !token.is_empty(),
        "standard input has no token: agentadmin flush --session < FILE"
    );
    Ok(Secret::new(token.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_without_its_line_end() {
        assert_eq!(token(&b" AQIC.*x*\n"[..]).unwrap().expose(), b"AQIC.*x*");
        assert!(token(&b" \n"[..]).is_err());
        assert!(token(&vec![b'x'; MAX_TOKEN as usize + 1][..]).is_err());
    }
}
