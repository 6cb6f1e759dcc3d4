//! `openam`: a real OpenAM on loopback, by hand or for a whole run of the tests.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use portcullis_openam::{OpenAm, Options, Version, seed};
use tokio::signal::unix::{SignalKind, signal};

/// Starts a real OpenAM on loopback: fetched with Maven, configured, without root.
///
/// The host name am.test.example.org needs no DNS entry; clients resolve it themselves.
#[derive(Parser)]
#[command(name = "openam", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

const EXAMPLES: &str = "\
Examples:
  openam up                                 start, configure, run until Ctrl-C
  openam up --release 14.8.4 --demo         the older line, with a user, an agent and a policy
  openam up --state target/openam.json      for several test programs:
  PORTCULLIS_OPENAM=target/openam.json cargo test
  curl --resolve am.test.example.org:PORT:127.0.0.1 http://am.test.example.org:PORT/openam/json/serverinfo/*

Files are kept in $PORTCULLIS_CACHE/openam, else $XDG_CACHE_HOME/portcullis/openam, else
~/.cache/portcullis/openam. Exit code 3: the machine lacks Java, Maven or the downloads.";

#[derive(Subcommand)]
enum Action {
    /// Start a server and keep it until this program is told to end (Ctrl-C, SIGTERM).
    Up {
        /// Which release.
        #[arg(long, value_enum, default_value = "16.0.5")]
        release: Version,
        /// Directory of the instance, emptied first [default: a free one in the cache].
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Write URL, port and administrator as JSON to this file when ready.
        #[arg(long)]
        state: Option<PathBuf>,
        /// Also create user demo1/changeit8, agent wa1/s3cretagent and a policy.
        #[arg(long)]
        demo: bool,
        /// End when standard input closes, too: follows a parent that may be killed.
        #[arg(long)]
        follow_stdin: bool,
    },
}

fn main() -> std::process::ExitCode {
    let Action::Up {
        release,
        dir,
        state,
        demo,
        follow_stdin,
    } = Arguments::parse().command;
    let outcome = up(
        &Options {
            version: release,
            dir,
        },
        state,
        demo,
        follow_stdin,
    );
    let Err(error) = outcome else {
        return std::process::ExitCode::SUCCESS;
    };
    eprintln!("openam: {error:#}");
    match error.downcast_ref() {
        Some(portcullis_openam::Unavailable::Missing(_)) => 3.into(),
        _ => std::process::ExitCode::FAILURE,
    }
}

fn up(
    options: &Options,
    state: Option<PathBuf>,
    demo: bool,
    follow_stdin: bool,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (told, tell) = tokio::sync::oneshot::channel();
    let options = options.clone();
    // A thread of its own: the start blocks for most of a minute and a signal must not wait for it.
    let starter = std::thread::spawn(move || {
        let _ = told.send(ready(&options, state.as_deref(), demo));
    });
    let outcome = runtime.block_on(async {
        let ending = ending(follow_stdin);
        tokio::pin!(ending);
        tokio::select! {
            ended = &mut ending => ended.map(|()| None),
            ready = tell => match ready.context("the start broke off")? {
                Ok(am) => (&mut ending).await.map(|()| Some(am)),
                Err(error) => Err(error),
            },
        }
    });
    match outcome {
        Ok(Some(am)) => am.stop(),
        // Told to end while starting: without its Java the start fails at once.
        Ok(None) => {
            portcullis_openam::end_all();
            let _ = starter.join();
        }
        Err(error) => return Err(error),
    }
    // Standard input may still be waited for by a thread that nothing can wake.
    runtime.shutdown_background();
    Ok(())
}

/// Starts and seeds; the state file is written last, because others wait for it.
fn ready(options: &Options, state: Option<&Path>, demo: bool) -> anyhow::Result<OpenAm> {
    let am = OpenAm::start(options)?;
    if demo {
        seed::demo(&seed::Am::at(am.url())?).context("the demo objects")?;
    }
    if let Some(path) = state {
        am.write_state(path)
            .with_context(|| format!("{}", path.display()))?;
    }
    println!("{}", am.url());
    Ok(am)
}

/// Returns when this program should end.
async fn ending(follow_stdin: bool) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let closed = async {
        if !follow_stdin {
            std::future::pending::<()>().await;
        }
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = closed => {}
    }
    Ok(())
}
