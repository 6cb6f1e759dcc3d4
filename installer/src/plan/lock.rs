//! Who may change something now? A lock on the folder itself, which the kernel takes away from a dead process:
//! no file is left over, and none is in the way.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// How long another run is waited for. A run takes a second; with a question to AM, some more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Held until dropped.
pub(super) struct Lock {
    _folder: File,
}

impl Lock {
    pub(super) fn take(folder: &Path) -> Result<Lock> {
        let shown = folder.display();
        let limit = Instant::now() + PATIENCE;
        let mut said = false;
        loop {
            let file = File::open(folder).with_context(|| format!("{shown}"))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Whoever had it before may have removed the folder.
                Ok(()) => match fs::metadata(folder) {
                    Ok(now) if now.ino() == file.metadata()?.ino() => {
                        return Ok(Lock { _folder: file });
                    }
                    Ok(_) => {}
                    Err(_) => fs::create_dir_all(folder).with_context(|| format!("{shown}"))?,
                },
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    if Instant::now() > limit {
                        bail!("another agentadmin is at work in {shown} and does not end");
                    }
                    if !said {
                        eprintln!("agentadmin: waiting for another agentadmin in {shown}");
                        said = true;
                    }
                    sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(error).with_context(|| format!("cannot lock {shown}")),
            }
        }
    }
}
