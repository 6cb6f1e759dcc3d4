//! How is a log file written by many processes, and how does it stay small? One write a line, appended;
//! the process whose line makes the file too long, or is the first of another day, renames it, and everybody
//! opens the path again.
//!
//! The same holds when somebody else renamed it (logrotate). It must not interpret lines, and it never
//! fails for want of room: the host goes on.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::{
    fs::{FlockOperation, flock},
    time::{ClockId, clock_gettime},
};

use crate::logs::timestamp;

/// How long a renamed file may go unnoticed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long a file that can't be renamed is left alone.
const TRY_AGAIN: Duration = Duration::from_secs(600);
/// Digits of the time in a rotated file's name: to the millisecond, in UTC.
const STAMP: usize = 17;

/// When a file is rotated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rotation {
    /// Size that is too long; 0: never.
    pub(crate) bytes: u64,
    /// Files to keep, the current one among them; 0: all.
    pub(crate) keep: u32,
    /// A file holds lines of one such stretch of time only, in seconds; they are counted from 1970 (UTC), so
    /// that all processes mean the same ones, also after a restart. 0: of any time.
    pub(crate) stretch: u64,
}

/// One file that lines are appended to.
pub(crate) struct LogFile {
    path: PathBuf,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    looked: Instant,
    /// No attempt to rotate before this.
    rests: Option<Instant>,
}

impl LogFile {
    /// Opens or makes the file, readable by its owner only.
    pub(crate) fn open(path: &str) -> io::Result<LogFile> {
        let path = PathBuf::from(path);
        let file = append(&path)?;
        Ok(LogFile {
            path,
            open: Mutex::new(Open {
                file,
                looked: Instant::now(),
                rests: None,
            }),
        })
    }

    /// Appends one line in one write, so that lines of several processes don't mix.
    ///
    /// # Errors
    /// The file is too long and can't be rotated; the line is written all the same.
    pub(crate) fn line(&self, text: &str, rotation: Rotation) -> io::Result<()> {
        let mut open = self.open.lock();
        if open.looked.elapsed() > LOOK_AGAIN {
            open.looked = Instant::now();
            self.follow(&mut open);
        }
        let resting = open.rests.is_some_and(|until| Instant::now() < until);
        let rotates = |due: bool| due && !resting;
        // Before the line, which makes the file one of today.
        let old = match rotates(rotation.stretch > 0 && is_of_before(&open.file, rotation.stretch))
        {
            true => self.rotate(&mut open, rotation.keep),
            false => Ok(()),
        };
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(b'\n');
        // A full disk must not stop the host; the next line may succeed.
        let _ = open.file.write_all(&bytes);
        old?;
        let long = rotation.bytes > 0 && open.file.metadata()?.len() >= rotation.bytes;
        match rotates(long) {
            true => self.rotate(&mut open, rotation.keep),
            false => Ok(()),
        }
    }

    /// Opens the path again when it is another file by now.
    fn follow(&self, open: &mut Open) {
        if self.moved(&open.file)
            && let Ok(file) = append(&self.path)
        {
            open.file = file;
        }
    }

    fn moved(&self, file: &File) -> bool {
        match (fs::metadata(&self.path), file.metadata()) {
            (Ok(there), Ok(ours)) => (there.dev(), there.ino()) != (ours.dev(), ours.ino()),
            _ => true,
        }
    }

    /// Renames the file, unless another process does or did. One that can't be renamed rests for a while.
    fn rotate(&self, open: &mut Open, keep: u32) -> io::Result<()> {
        let rotated = self.rename(open, keep);
        open.rests = rotated.is_err().then(|| Instant::now() + TRY_AGAIN);
        rotated.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", self.path.display())))
    }

    /// The lock goes with whoever holds it.
    fn rename(&self, open: &mut Open, keep: u32) -> io::Result<()> {
        if flock(&open.file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        if !self.moved(&open.file) {
            fs::rename(&self.path, rotated_name(&self.path))?;
            self.prune(keep);
        }
        open.file = append(&self.path)?;
        Ok(())
    }

    /// Removes the oldest rotated files; one that stays in spite of that is tried again next time.
    fn prune(&self, keep: u32) {
        let Some(rotated) = keep.checked_sub(1) else {
            return;
        };
        let mut files = rotated_files(&self.path);
        files.sort_unstable();
        let surplus = files.len().saturating_sub(rotated as usize);
        for file in &files[..surplus] {
            let _ = fs::remove_file(file);
        }
    }
}

/// Whether the last line of a file was written in a stretch of time before this one. The clock is the one that
/// files are stamped with: a finer one would call a line of just now one of before.
fn is_of_before(file: &File, stretch: u64) -> bool {
    let now = clock_gettime(ClockId::RealtimeCoarse)
        .tv_sec
        .cast_unsigned();
    file.metadata().is_ok_and(|about| {
        let written = about.mtime().cast_unsigned();
        about.len() > 0 && written / stretch < now / stretch
    })
}

/// `debug.log-20260820091200015`.
fn rotated_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push("-");
    name.push(timestamp().replace(|c: char| !c.is_ascii_digit(), ""));
    PathBuf::from(name)
}

fn rotated_files(path: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let ours = |entry: &fs::DirEntry| {
        let (other, name) = (entry.file_name(), name.as_encoded_bytes());
        let rest = other.as_encoded_bytes().strip_prefix(name);
        rest.and_then(|r| r.strip_prefix(b"-"))
            .is_some_and(|stamp| stamp.len() == STAMP && stamp.iter().all(u8::is_ascii_digit))
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(ours).map(|entry| entry.path()).collect()
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Rotation = Rotation {
        bytes: 0,
        keep: 0,
        stretch: 0,
    };
    /// So long that none begins while a test runs.
    const STRETCH: u64 = 366 * 86_400;
    const YEARLY: Rotation = Rotation {
        stretch: STRETCH,
        ..NEVER
    };

    fn contents(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_renamed_file_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("debug.log");
        let log = LogFile::open(path.to_str().unwrap()).unwrap();
        log.line("one", NEVER).unwrap();
        fs::rename(&path, dir.path().join("debug.log.1")).unwrap();
        log.open.lock().looked = Instant::now() - LOOK_AGAIN - LOOK_AGAIN;
        log.line("two", NEVER).unwrap();
        assert_eq!(contents(&path), "two\n");
    }

    #[test]
    fn a_long_file_is_rotated_once_whoever_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let at = |bytes| Rotation { bytes, ..NEVER };
        let logs = [(); 2].map(|()| LogFile::open(path.to_str().unwrap()).unwrap());
        logs[0].line("first", at(100)).unwrap();
        logs[0].line("second", at(10)).unwrap();
        // The other process still has the renamed file, notices, and does not rename the new one.
        logs[1].line("third", at(10)).unwrap();
        logs[1].line("4", at(10)).unwrap();
        let rotated = rotated_files(&path);
        assert_eq!(rotated.len(), 1, "{rotated:?}");
        assert_eq!(contents(&rotated[0]), "first\nsecond\nthird\n");
        assert_eq!(contents(&path), "4\n");
    }

    #[test]
    fn only_so_many_are_kept_and_nothing_else_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("debug.log");
        let old = [
            "20260101000000000",
            "20260101000000001",
            "20260102000000000",
        ];
        for stamp in old {
            fs::write(dir.path().join(format!("debug.log-{stamp}")), stamp).unwrap();
        }
        for other in [
            "debug.log-mine",
            "debug.log.1",
            "other.log-20260101000000000",
        ] {
            fs::write(dir.path().join(other), "x").unwrap();
        }
        let log = LogFile::open(path.to_str().unwrap()).unwrap();
        log.line(
            "now",
            Rotation {
                bytes: 1,
                keep: 3,
                ..NEVER
            },
        )
        .unwrap();
        let mut kept = rotated_files(&path);
        kept.sort_unstable();
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert_eq!(contents(&kept[0]), old[2]);
        assert_eq!(contents(&kept[1]), "now\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3 + 2 + 1);
    }

    #[test]
    fn a_file_that_cannot_be_rotated_is_reported_now_and_then_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone/debug.log");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let log = LogFile::open(path.to_str().unwrap()).unwrap();
        fs::rename(path.parent().unwrap(), dir.path().join("moved")).unwrap();
        let rotation = Rotation { bytes: 1, ..NEVER };
        assert!(log.line("one", rotation).is_err());
        assert!(log.line("two", rotation).is_ok());
        assert_eq!(contents(&dir.path().join("moved/debug.log")), "one\ntwo\n");
    }

    /// As if its last line had been written so long ago.
    fn age(path: &Path, seconds: u64) {
        let file = OpenOptions::new().append(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(seconds))
            .unwrap();
    }

    #[test]
    fn a_file_of_before_is_renamed_before_the_next_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let log = LogFile::open(path.to_str().unwrap()).unwrap();
        log.line("old", YEARLY).unwrap();
        age(&path, STRETCH);
        log.line("kept", NEVER).unwrap();
        age(&path, STRETCH);
        log.line("new", YEARLY).unwrap();
        log.line("newer", YEARLY).unwrap();
        assert_eq!(contents(&path), "new\nnewer\n");
        let rotated = rotated_files(&path);
        assert_eq!(rotated.len(), 1, "{rotated:?}");
        assert_eq!(contents(&rotated[0]), "old\nkept\n");
        // One without a line is as good as a new one.
        fs::write(&path, "").unwrap();
        age(&path, STRETCH);
        log.line("first", YEARLY).unwrap();
        assert_eq!(rotated_files(&path).len(), 1);
    }

    #[test]
    fn of_many_writers_one_renames_an_old_file_and_no_line_is_lost() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("audit.log");
            let open = || LogFile::open(path.to_str().unwrap()).unwrap();
            let writers: Vec<LogFile> = (0..8).map(|_| open()).collect();
            writers[0].line("old", YEARLY).unwrap();
            age(&path, 2 * STRETCH);
            let start = std::sync::Barrier::new(writers.len());
            std::thread::scope(|scope| {
                for log in &writers {
                    scope.spawn(|| {
                        start.wait();
                        (0..10).for_each(|_| log.line("new", YEARLY).unwrap());
                    });
                }
            });
            let rotated = rotated_files(&path);
            assert_eq!(rotated.len(), 1, "{rotated:?}");
            let (old, new) = (contents(&rotated[0]), contents(&path));
            assert!(old.starts_with("old\n"), "{old}");
            assert_eq!((old + &new).matches("new").count(), 80);
        }
    }
}
