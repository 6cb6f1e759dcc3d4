//! How is the machine changed wholly or not at all?
//!
//! A plan is a list of steps. Before the first is done a journal of all of them is written; after the last one
//! it is marked as done. Whoever finds a journal, because a run was killed, takes the steps back, or, where it is
//! marked, removes what only was kept for taking back. One run of agentadmin at a time changes something.
//! Must not know what the files mean, except for the marks around lines of ours in a server's configuration.

mod disk;
mod lock;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use disk::Disk;
pub(crate) use disk::beside;
use lock::Lock;

use crate::server;

/// What is to be done, mode 0600 in the folder of the instances; there only while something is done.
const JOURNAL: &str = ".journal";

/// User and group, as numbers.
pub(crate) type Owner = (u32, u32);

/// One change. What stands only in memory is not needed for taking it back: no secret gets into the journal.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Step {
    /// A new folder.
    Folder {
        path: PathBuf,
        mode: u32,
        owner: Option<Owner>,
    },
    /// A new file.
    File {
        path: PathBuf,
        mode: u32,
        owner: Option<Owner>,
        #[serde(skip)]
        content: Zeroizing<Vec<u8>>,
    },
    /// A new symbolic link.
    Link { path: PathBuf, target: PathBuf },
    /// Another content of a file, with the same owner and mode. The old one is kept as `copy`, and goes at the end
    /// unless it is to be kept.
    Replace {
        path: PathBuf,
        copy: PathBuf,
        keep: bool,
        before: String,
        now: String,
    },
    /// A file, link or folder that goes, with everything in it.
    Away { path: PathBuf, owned: PathBuf },
    /// Another mode and owner of a file or folder that stays.
    Rights {
        path: PathBuf,
        before: Rights,
        now: Rights,
    },
}

/// Who may do what with a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rights {
    pub(crate) mode: u32,
    pub(crate) owner: Owner,
}

impl Rights {
    /// As they are.
    pub(crate) fn of(there: &fs::Metadata) -> Rights {
        Rights {
            mode: there.mode() & 0o7777,
            owner: (there.uid(), there.gid()),
        }
    }
}

/// Steps that belong together.
pub(crate) struct Plan {
    /// What they are for, in words: "installing agent_1".
    pub(crate) what: String,
    pub(crate) steps: Vec<Step>,
}

#[derive(Serialize, Deserialize)]
struct Journal {
    what: String,
    done: bool,
    steps: Vec<Step>,
}

/// The right to change something; at most one process has it.
pub(crate) struct Work {
    folder: PathBuf,
    /// Folders that were made for the journal's sake.
    made: Vec<PathBuf>,
    disk: Disk,
    _lock: Lock,
}

impl Step {
    /// A new folder.
    pub(crate) fn folder(path: &Path, mode: u32, owner: Option<Owner>) -> Step {
        let path = path.to_path_buf();
        Step::Folder { path, mode, owner }
    }

    /// A new file.
    pub(crate) fn file(path: &Path, mode: u32, owner: Option<Owner>, content: &str) -> Step {
        Step::File {
            path: path.to_path_buf(),
            mode,
            owner,
            content: Zeroizing::new(content.as_bytes().to_vec()),
        }
    }

    /// Another content of a file that nobody wants back later.
    pub(crate) fn replace(path: &Path, before: &str, now: &str) -> Step {
        Step::Replace {
            path: path.to_path_buf(),
            copy: beside(path, "before"),
            keep: false,
            before: before.to_owned(),
            now: now.to_owned(),
        }
    }

    /// What is there goes.
    pub(crate) fn away(path: &Path) -> Step {
        Step::Away {
            path: path.to_path_buf(),
            owned: beside(path, "gone"),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Step::Folder { path, .. }
            | Step::File { path, .. }
            | Step::Link { path, .. }
            | Step::Replace { path, .. }
            | Step::Away { path, .. }
            | Step::Rights { path, .. } => path,
        }
    }
}

impl Work {
    /// Waits for others, and takes up what a killed run has left.
    ///
    /// # Errors
    /// Another run goes on for a minute, or what was left cannot be taken back.
    pub(crate) fn begin(folder: &Path) -> Result<Work> {
        Work::with(folder, Disk::default())
    }

    fn with(folder: &Path, disk: Disk) -> Result<Work> {
        let mut made: Vec<PathBuf> = Vec::new();
        let missing: Vec<&Path> = folder.ancestors().take_while(|f| !f.exists()).collect();
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => made.push(path.to_path_buf()),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).with_context(|| format!("cannot make {}", path.display())),
            }
        }
        let lock = Lock::take(folder)?;
        let work = Work {
            folder: folder.to_path_buf(),
            made,
            disk,
            _lock: lock,
        };
        work.repair()?;
        Ok(work)
    }

    fn journal(&self) -> PathBuf {
        self.folder.join(JOURNAL)
    }

    /// Does all steps or none.
    ///
    /// # Errors
    /// A step failed. The others are taken back; what could not be is said, and left to the next run.
    pub(crate) fn carry_out(&self, plan: Plan) -> Result<()> {
        possible(&plan.steps)?;
        let mut journal = Journal {
            what: plan.what,
            done: false,
            steps: plan.steps,
        };
        self.write(&journal)?;
        for (at, step) in journal.steps.iter().enumerate() {
            if let Err(error) = self.disk.apply(step) {
                // What somebody else has made in this moment is not ours to remove.
                let theirs = error.kind() == io::ErrorKind::AlreadyExists;
                let begun = &journal.steps[..if theirs { at } else { at + 1 }];
                let undone = self.undo(begun);
                let failed = format!("{}: {error}", step.path().display());
                return match undone {
                    Ok(()) => Err(anyhow::anyhow!("{failed}; everything else was put back")),
                    Err(why) => Err(anyhow::anyhow!(
                        "{failed}. Not everything could be put back ({why:#}); the next run of agentadmin tries again"
                    )),
                };
            }
        }
        journal.done = true;
        if let Err(error) = self.write(&journal) {
            self.undo(&journal.steps).with_context(|| {
                format!("{error:#}; the next run of agentadmin tries again to put everything back")
            })?;
            return Err(error.context("everything was put back"));
        }
        self.clean(&journal.steps)
    }

    fn write(&self, journal: &Journal) -> Result<()> {
        let text = serde_json::to_vec(journal).context("a name that is not UTF-8")?;
        let path = self.journal();
        let written = self.disk.put(&path, &text);
        if written.is_err() {
            let _ = self.disk.remove(&beside(&path, "new"));
        }
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    /// What was kept for taking back goes, then the journal.
    fn clean(&self, steps: &[Step]) -> Result<()> {
        for step in steps {
            let cleaned = self.disk.clean(step);
            cleaned.with_context(|| format!("{}", step.path().display()))?;
        }
        let removed = self.disk.remove(&self.journal());
        removed.with_context(|| format!("{}", self.journal().display()))
    }

    /// The last step first. One that cannot be taken back does not keep the others from it.
    fn undo(&self, steps: &[Step]) -> Result<()> {
        let mut failed = Vec::new();
        for step in steps.iter().rev() {
            if let Err(error) = self.disk.undo(step) {
                failed.push(format!("{}: {error}", step.path().display()));
            }
        }
        if !failed.is_empty() {
            bail!("{}", failed.join("; "));
        }
        let removed = self.disk.remove(&self.journal());
        removed.with_context(|| format!("{}", self.journal().display()))
    }

    fn repair(&self) -> Result<()> {
        let path = self.journal();
        // A run was killed before it had begun, or when it was about to say that it is done: either way what is
        // under the name itself counts.
        let new = beside(&path, "new");
        let removed = self.disk.remove(&new);
        removed.with_context(|| format!("{}", new.display()))?;
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        let journal: Journal = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a journal of this version", path.display()))?;
        let what = &journal.what;
        if journal.done {
            eprintln!(
                "agentadmin: {what} was interrupted when all was done but the cleaning up; done now"
            );
            return self.clean(&journal.steps);
        }
        self.undo(&journal.steps).with_context(|| {
            format!("{what} was interrupted and cannot be taken back; mend this and run agentadmin again")
        })?;
        eprintln!("agentadmin: {what} was interrupted; what it had changed is taken back");
        Ok(())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Only what is empty, and was not there before.
        for folder in self.made.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Takes up what a killed run has left, if anything; for commands that change nothing themselves.
///
/// # Errors
/// As [`Work::begin`].
pub(crate) fn repair(folder: &Path) -> Result<()> {
    let journal = folder.join(JOURNAL);
    if journal.exists() || beside(&journal, "new").exists() {
        Work::begin(folder)?;
    }
    Ok(())
}

/// What can be known before anything is done.
fn possible(steps: &[Step]) -> Result<()> {
    for step in steps {
        let there = fs::symlink_metadata(step.path());
        match step {
            Step::Folder { path, .. } | Step::File { path, .. } | Step::Link { path, .. } => {
                if there.is_ok() {
                    bail!("{} is there already", path.display());
                }
            }
            Step::Replace {
                path, copy, before, ..
            } => {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                if text != *before {
                    bail!(
                        "{} was changed meanwhile; run agentadmin again",
                        path.display()
                    );
                }
                if fs::symlink_metadata(copy).is_ok() {
                    bail!("{} is in the way", copy.display());
                }
            }
            Step::Away { path, owned } => {
                there.with_context(|| format!("{}", path.display()))?;
                if fs::symlink_metadata(owned).is_ok() {
                    bail!("{} is in the way", owned.display());
                }
            }
            Step::Rights { path, before, .. } => {
                let there = there.with_context(|| format!("{}", path.display()))?;
                if there.is_symlink() || Rights::of(&there) != *before {
                    bail!(
                        "{} was changed meanwhile; run agentadmin again",
                        path.display()
                    );
                }
            }
        }
    }
    Ok(())
}

/// The text that taking back leaves when somebody has changed the file since: theirs, without our lines. `None`
/// when our lines are not all that was put in.
fn without_ours(text: &str, now: &str, before: &str) -> Option<String> {
    let without = server::without_marked(now, None);
    let only_ours = without.trim_end() == before.trim_end() && now != before;
    only_ours.then(|| server::without_marked(text, None))
}
