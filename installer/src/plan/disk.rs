//! What one step does to the disk, how it is taken back, and what remains to be cleaned up. Each can be done
//! again after it was done partly: nobody knows how far a killed run came.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::{Owner, Step, without_ours};

/// A name beside a path, for something that is not to stay. No server includes files that end so.
pub(crate) fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".portcullis-{what}"));
    PathBuf::from(name)
}

/// The disk. In tests it can fail, or die, at its n-th operation.
#[derive(Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) fault: Option<super::tests::Fault>,
}

impl Disk {
    /// Called before each change.
    fn next(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(fault) = &self.fault {
            return fault.next();
        }
        Ok(())
    }

    pub(super) fn apply(&self, step: &Step) -> io::Result<()> {
        match step {
            Step::Folder { path, mode, owner } => {
                self.next()?;
                DirBuilder::new().mode(0o700).create(path)?;
                self.belong(path, *mode, *owner)
            }
            Step::File {
                path,
                mode,
                owner,
                content,
            } => {
                let new = beside(path, "new");
                self.fill(&new, content)?;
                self.belong(&new, *mode, *owner)?;
                if fs::symlink_metadata(path).is_ok() {
                    self.remove(&new)?;
                    return Err(ErrorKind::AlreadyExists.into());
                }
                self.rename(&new, path)
            }
            Step::Link { path, target } => {
                self.next()?;
                symlink(target, path)
            }
            Step::Replace {
                path,
                copy,
                before,
                now,
                ..
            } => {
                let there = fs::metadata(path)?;
                let owner = Some((there.uid(), there.gid()));
                let mode = there.mode() & 0o7777;
                // With its name the copy is whole.
                for (to, text) in [(copy, before), (path, now)] {
                    let new = beside(to, "new");
                    self.fill(&new, text.as_bytes())?;
                    self.belong(&new, mode, owner)?;
                    self.rename(&new, to)?;
                }
                Ok(())
            }
            Step::Away { path, owned } => self.rename(path, owned),
            Step::Rights { path, now, .. } => self.belong(path, now.mode, Some(now.owner)),
        }
    }

    pub(super) fn undo(&self, step: &Step) -> io::Result<()> {
        match step {
            Step::Folder { path, .. } => {
                self.next()?;
                let removed = match fs::remove_dir(path) {
                    // The server was started meanwhile and has written logs, which nobody will look for.
                    Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => fs::remove_dir_all(path),
                    other => other,
                };
                absent_is_fine(removed)
            }
            Step::File { path, .. } => {
                self.remove(&beside(path, "new"))?;
                self.remove(path)
            }
            Step::Link { path, target } => match fs::read_link(path) {
                Ok(leads) if leads == *target => self.remove(path),
                _ => Ok(()),
            },
            Step::Replace {
                path,
                copy,
                before,
                now,
                ..
            } => {
                self.remove(&beside(path, "new"))?;
                self.remove(&beside(copy, "new"))?;
                if fs::symlink_metadata(copy).is_err() {
                    return Ok(());
                }
                let text = fs::read_to_string(path)?;
                if text == *now || text == *before {
                    return self.rename(copy, path);
                }
                let Some(theirs) = without_ours(&text, now, before) else {
                    return Err(io::Error::other(format!(
                        "was changed since; as it was before it is in {}: move that one back",
                        copy.display()
                    )));
                };
                self.again(path, &theirs)?;
                self.remove(copy)
            }
            Step::Away { path, owned } => {
                let (there, kept) = (fs::symlink_metadata(path), fs::symlink_metadata(owned));
                match there.is_err() && kept.is_ok() {
                    true => self.rename(owned, path),
                    false => Ok(()),
                }
            }
            Step::Rights { path, before, .. } => match fs::symlink_metadata(path) {
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
                _ => self.belong(path, before.mode, Some(before.owner)),
            },
        }
    }

    /// What is left to do when all steps are done.
    pub(super) fn clean(&self, step: &Step) -> io::Result<()> {
        match step {
            Step::Replace {
                copy, keep: false, ..
            } => self.remove(copy),
            Step::Away { owned, .. } => match fs::symlink_metadata(owned) {
                Ok(there) if there.is_dir() => {
                    self.next()?;
                    absent_is_fine(fs::remove_dir_all(owned))
                }
                _ => self.remove(owned),
            },
            _ => Ok(()),
        }
    }

    /// Writes a file of ours as a whole, for its owner only.
    pub(super) fn put(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let new = beside(path, "new");
        self.fill(&new, content)?;
        self.rename(&new, path)
    }

    /// Removes a file or link, if it is there.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.next()?;
        absent_is_fine(fs::remove_file(path))
    }

    /// Another content, same owner and mode.
    fn again(&self, path: &Path, text: &str) -> io::Result<()> {
        let there = fs::metadata(path)?;
        let new = beside(path, "new");
        self.fill(&new, text.as_bytes())?;
        self.belong(
            &new,
            there.mode() & 0o7777,
            Some((there.uid(), there.gid())),
        )?;
        self.rename(&new, path)
    }

    fn fill(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.remove(path)?;
        self.next()?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        self.next()?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn belong(&self, path: &Path, mode: u32, owner: Option<Owner>) -> io::Result<()> {
        let file = itself(path)?;
        self.next()?;
        if let Some((user, group)) = owner {
            let there = file.metadata()?;
            if (there.uid(), there.gid()) != (user, group) {
                fchown(&file, Some(user), Some(group))?;
            }
        }
        self.next()?;
        file.set_permissions(Permissions::from_mode(mode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.next()?;
        fs::rename(from, to)
    }
}

/// The file or folder of this very name. Whoever owns the folder around it may put something else there at any
/// moment, and what that leads to is not to be given away (rule W3).
fn itself(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let there = file.metadata()?;
    match there.is_dir() || (there.is_file() && there.nlink() == 1) {
        true => Ok(file),
        false => Err(io::Error::other("another name leads to it")),
    }
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
