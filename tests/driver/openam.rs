//! The real OpenAM that the tests of one run share: started early, needed late, always ended.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use portcullis_openam::STATE_VARIABLE;
use portcullis_tests::modules::target;

/// Longest start: downloads on a slow line included.
const PATIENCE: Duration = Duration::from_secs(900);
/// Longest stop.
const STOP: Duration = Duration::from_secs(60);
/// Exit code of `openam` when the machine lacks Java, Maven or the downloads.
const MISSING: i32 = 3;

/// A server that is starting or running. It ends when this is dropped, and also when this process
/// dies, because it follows its standard input.
pub(crate) struct Shared {
    child: Child,
    state: PathBuf,
}

/// How the start ended.
pub(crate) enum Ready {
    /// The tests find it by this state file.
    Yes(PathBuf),
    /// The machine lacks something; `openam` has said what.
    Missing,
}

/// The server that the caller's environment names, if any.
pub(crate) fn given() -> bool {
    std::env::var_os(STATE_VARIABLE).is_some_and(|v| !v.is_empty())
}

impl Shared {
    /// Begins the start.
    ///
    /// # Errors
    /// When the program is not there.
    pub(crate) fn begin() -> anyhow::Result<Shared> {
        let state = target().join("openam.json");
        // One from an earlier run names a server that is gone.
        let _ = fs::remove_file(&state);
        let program = target().join("debug/openam");
        let child = Command::new(&program)
            .args(["up", "--follow-stdin", "--state"])
            .arg(&state)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        Ok(Shared { child, state })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ended, or did not come up in time.
    pub(crate) fn wait(&mut self) -> anyhow::Result<Ready> {
        let limit = Instant::now() + PATIENCE;
        while !self.state.exists() {
            match self.child.try_wait()? {
                Some(status) if status.code() == Some(MISSING) => return Ok(Ready::Missing),
                Some(status) => bail!("openam ended: {status}"),
                None if Instant::now() > limit => bail!("OpenAM did not come up in time"),
                None => std::thread::park_timeout(Duration::from_millis(100)),
            }
        }
        Ok(Ready::Yes(self.state.clone()))
    }

    fn ended(&mut self, limit: Instant) -> Option<ExitStatus> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < limit => {
                    std::thread::park_timeout(Duration::from_millis(50));
                }
                _ => return None,
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if self.ended(Instant::now() + STOP).is_none() {
            eprintln!("OpenAM did not stop in time; it is killed");
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        remove(&self.state);
    }
}

fn remove(state: &Path) {
    let _ = fs::remove_file(state);
}
