//! Lines that outlive the server: appended by any of its processes, sealed (rule K1), read at a start.
//!
//! It must not know what is in them. What does not open is counted, never passed over.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use arrayvec::ArrayVec;
use portcullis_engine::{
    contract::UnixMillis,
    token::{
        Secret,
        sealed::{KeyRing, Unsealed, sealed_len},
    },
};
use rand_core::TryRngCore;
use rustix::{
    fs::{FlockOperation, OFlags, fcntl_lock},
    io::Errno,
};

/// Longest file. When it is full nothing is added.
const MOST: u64 = 16 << 20;
/// Most bytes of one line before it is sealed: more than any session token of a cookie.
const MOST_PLAIN: usize = 8 << 10;

/// Attempts to take a lock, and the pause between them: a tenth of a second in all.
const LOCK_ATTEMPTS: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// One file of one instance. Opened by the parent; workers write through what they inherit.
pub(crate) struct SealedFile {
    path: PathBuf,
    file: File,
    keys: KeyRing,
    instance: [u8; 16],
}

/// One line that is still good.
pub(crate) struct SealedLine {
    /// As it stands in the file.
    pub(crate) raw: Vec<u8>,
    /// What was sealed.
    pub(crate) plain: Secret,
    /// Until when it is good.
    pub(crate) until: UnixMillis,
}

/// What a file holds.
#[derive(Default)]
pub(crate) struct Contents {
    /// The lines that are good.
    pub(crate) lines: Vec<SealedLine>,
    /// How many do not open.
    pub(crate) unreadable: usize,
    /// Length of the file.
    pub(crate) bytes: usize,
}

impl SealedFile {
    /// Opens the file or makes it, readable by its owner only.
    pub(crate) fn open(path: &Path, keys: KeyRing, instance: [u8; 16]) -> io::Result<SealedFile> {
        Ok(SealedFile {
            path: path.to_owned(),
            file: owned(path, true)?,
            keys,
            instance,
        })
    }

    /// The instance that the lines are sealed for.
    pub(crate) fn instance(&self) -> &[u8; 16] {
        &self.instance
    }

    /// Whether there is nothing in it, or nobody can tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.file.metadata().map_or(true, |m| m.len() == 0)
    }

    /// Appends a line that is good until then.
    ///
    /// # Errors
    /// It could not be written: the file is full, the disk is, or the line is too long.
    pub(crate) fn add(&self, plain: &[u8], until: UnixMillis) -> io::Result<()> {
        if plain.len() > MOST_PLAIN {
            return Err(io::Error::other("the line is too long"));
        }
        let mut nonce = [0; 12];
        rand_core::OsRng
            .try_fill_bytes(&mut nonce)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let mut line = self.keys.seal(&self.instance, "", until, plain, nonce);
        line.push('\n');
        // Not while another process takes lines out. The lock is the process's: it holds between a
        // parent and its workers, and ends with whoever dies.
        let _lock = Lock::of(&self.file)?;
        if self.file.metadata()?.len() + line.len() as u64 > MOST {
            return Err(io::Error::other("the file is full"));
        }
        (&self.file).write_all(line.as_bytes())
    }

    /// The lines that are good at this time.
    ///
    /// # Errors
    /// The file could not be read.
    pub(crate) fn read(&self, wall: UnixMillis) -> io::Result<Contents> {
        let _lock = Lock::of(&self.file)?;
        self.read_locked(wall)
    }

    fn read_locked(&self, wall: UnixMillis) -> io::Result<Contents> {
        let mut text = Vec::new();
        (&self.file).seek(SeekFrom::Start(0))?;
        (&self.file).read_to_end(&mut text)?;
        let mut found = Contents {
            bytes: text.len(),
            ..Contents::default()
        };
        for raw in text.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let mut room: ArrayVec<u8, { sealed_len(MOST_PLAIN) }> = ArrayVec::new();
            match self.keys.open(&self.instance, "", wall, raw, &mut room) {
                Ok((plain, until)) => found.lines.push(SealedLine {
                    raw: raw.to_vec(),
                    plain: Secret::new(plain.to_vec()),
                    until,
                }),
                Err(Unsealed::Expired) => {}
                Err(_) => found.unreadable += 1,
            }
        }
        Ok(found)
    }

    /// Takes out what is over. Only for whoever may open the file by its name, the parent: a process
    /// that dies on the way leaves half a line, and none is lost.
    pub(crate) fn compact(&self, wall: UnixMillis) -> io::Result<()> {
        let _lock = Lock::of(&self.file)?;
        let alive = joined(self.read_locked(wall)?.lines.iter());
        // Closing it ends the lock, too.
        let whole = OpenOptions::new().write(true).open(&self.path)?;
        (&whole).write_all(&alive)?;
        whole.set_len(alive.len() as u64)
    }

    /// Takes lines out, and all that are over or do not open. A process that dies on the way can take
    /// others with it.
    pub(crate) fn forget(&self, done: &[Vec<u8>], wall: UnixMillis) -> io::Result<()> {
        let _lock = Lock::of(&self.file)?;
        let found = self.read_locked(wall)?;
        let left = joined(found.lines.iter().filter(|line| !done.contains(&line.raw)));
        self.file.set_len(0)?;
        (&self.file).write_all(&left)
    }
}

/// Opens a file or makes it, readable by its owner only; to append to, or to write anywhere in it. Never
/// through a link: the parent may do what nobody may who could have put one there (rule W3).
pub(crate) fn owned(path: &Path, append: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(append)
        .write(!append)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

fn joined<'l>(lines: impl Iterator<Item = &'l SealedLine>) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        out.extend_from_slice(&line.raw);
        out.push(b'\n');
    }
    out
}

/// Takes a lock that others hold for a moment only. One of them may have been stopped while it holds it:
/// then this fails, because a host's thread must not wait for that.
pub(crate) fn lock(mut attempt: impl FnMut() -> rustix::io::Result<()>) -> io::Result<()> {
    for _ in 0..LOCK_ATTEMPTS {
        match attempt() {
            Err(Errno::WOULDBLOCK | Errno::ACCESS) => std::thread::sleep(LOCK_PAUSE),
            done => return Ok(done?),
        }
    }
    Err(io::Error::other("another process keeps it locked"))
}

/// A lock of the whole file against other processes.
struct Lock<'f>(&'f File);

impl Lock<'_> {
    fn of(file: &File) -> io::Result<Lock<'_>> {
        lock(|| fcntl_lock(file, FlockOperation::NonBlockingLockExclusive))?;
        Ok(Lock(file))
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // It ends with the process otherwise.
        let _ = fcntl_lock(self.0, FlockOperation::Unlock);
    }
}
