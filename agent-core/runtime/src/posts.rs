//! Where does a POST lie while its user logs in? In a file of its own, sealed piece by piece as it comes in.
//!
//! Files and nothing else: all workers of a host share them, they hold what no memory should, and a
//! `kill -9` leaves a whole one or one that nobody reads. Taking one is unlinking it, which one process
//! can do. The directory's lock makes the caps hold for all workers; it is held for one look through
//! the directory. It must not decide who may keep or take anything.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    os::fd::OwnedFd,
    path::Path,
};

use portcullis_engine::{
    config::Config,
    contract::{Receipt, UnixMillis},
    token::pieces::{PieceKey, Pieces, TAG},
};
use rustix::{
    fs::{
        AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, openat, renameat,
        unlinkat,
    },
    process::geteuid,
};
use zeroize::Zeroizing;

use crate::sealed_file::lock;

/// Bytes of a piece before it is sealed.
const PIECE: usize = 65_536;
/// What is still being written ends so; its writer holds a lock on it.
const PART: &str = ".part";

/// How much is kept at once, beside what is being written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) client_count: u64,
    pub(crate) client_bytes: u64,
    pub(crate) total_count: u64,
    pub(crate) total_bytes: u64,
}

impl Caps {
    pub(crate) fn of(config: &Config) -> Caps {
        Caps {
            client_count: config.post_client_count.into(),
            client_bytes: config.post_client_bytes.into(),
            total_count: config.post_total_count.into(),
            total_bytes: config.post_total_bytes.into(),
        }
    }
}

/// One entry: what names it, and what its key depends on.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'k> {
    pub(crate) key: &'k PieceKey,
    pub(crate) instance: &'k [u8; 16],
    pub(crate) name: u128,
}

/// What a file's name says of it, so that the caps need no look into the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    id: u128,
    client: u64,
    expires: u64,
    /// Bytes; of one that is being written, those that it may grow to.
    size: u64,
    part: bool,
}

impl Name {
    fn text(self) -> String {
        let Name {
            id,
            client,
            expires,
            size,
            part,
        } = self;
        let end = if part { PART } else { "" };
        format!("{id:032x}-{client:016x}-{expires:013x}-{size:010x}{end}")
    }

    /// Files of other names are not ours, and stay.
    fn parse(text: &CStr) -> Option<Name> {
        let text = text.to_str().ok()?;
        let (fields, part) = match text.strip_suffix(PART) {
            Some(fields) => (fields, true),
            None => (text, false),
        };
        let mut fields = fields.split('-');
        let mut next = || fields.next();
        let name = Name {
            id: u128::from_str_radix(next()?, 16).ok()?,
            client: u64::from_str_radix(next()?, 16).ok()?,
            expires: u64::from_str_radix(next()?, 16).ok()?,
            size: u64::from_str_radix(next()?, 16).ok()?,
            part,
        };
        (name.text() == text).then_some(name)
    }
}

/// The directory, which nobody but this process's user may change (rule W3).
fn open(path: &Path) -> Result<OwnedFd, String> {
    let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed(&e))?;
    let stat = fstat(&dir).map_err(|e| failed(&e))?;
    if stat.st_uid != geteuid().as_raw() {
        return Err(failed(&format!(
            "belongs to user {} and not to the worker's, {}",
            stat.st_uid,
            geteuid().as_raw()
        )));
    }
    if stat.st_mode & 0o022 != 0 {
        return Err(failed(&"others may write there"));
    }
    Ok(dir)
}

/// Whoever looks through the directory.
#[derive(Clone, Copy, PartialEq)]
enum Looks {
    /// With the directory's lock, without which nobody begins to write.
    Alone,
    /// Beside others: a file without a lock may be one whose writer has only just made it.
    BesideOthers,
}

/// What is there, after what is past its time or belongs to nobody any more was removed.
fn look(dir: &OwnedFd, looks: Looks, now: u64) -> io::Result<Vec<Name>> {
    let mut there = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let Some(name) = Name::parse(entry.file_name()) else {
            continue;
        };
        let may_be_orphan = name.part && looks == Looks::Alone;
        if name.expires < now || (may_be_orphan && is_orphan(dir, entry.file_name())) {
            // Somebody else may have been faster.
            let _ = unlinkat(dir, entry.file_name(), AtFlags::empty());
            continue;
        }
        there.push(name);
    }
    Ok(there)
}

/// Whether its writer is gone: the lock goes with whoever holds it.
fn is_orphan(dir: &OwnedFd, name: &CStr) -> bool {
    match openat(
        dir,
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(_) => false,
    }
}

/// Removes what is past its time or was left by a process that is gone.
pub(crate) fn sweep(path: &Path, now: u64) -> Result<(), String> {
    let dir = open(path)?;
    alone(&dir, || look(&dir, Looks::Alone, now))
        .map(drop)
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// Does something with the directory's lock.
fn alone<T>(dir: &OwnedFd, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    lock(|| flock(dir, FlockOperation::NonBlockingLockExclusive))?;
    let done = work()?;
    // Where the work fails, closing the directory ends it.
    flock(dir, FlockOperation::Unlock)?;
    Ok(done)
}

/// A body that is being written. Dropped before its end, it leaves nothing.
pub(crate) struct Spool {
    dir: OwnedFd,
    file: BufWriter<File>,
    name: Name,
    pieces: Pieces,
    piece: Zeroizing<Vec<u8>>,
    size: u64,
    limit: u64,
    trouble: Option<io::Error>,
    kept: bool,
}

impl Spool {
    /// Makes room for a body of at most `limit` bytes. `Ok(Err(_))`: the caps leave none.
    ///
    /// # Errors
    /// The directory cannot be used, in words for the log.
    pub(crate) fn begin(
        path: &Path,
        entry: Entry<'_>,
        (client, expires): (u64, UnixMillis),
        head: &[u8],
        limit: u64,
        caps: Caps,
        now: u64,
    ) -> Result<Result<Spool, Receipt>, String> {
        let dir = open(path)?;
        let failed = |e: io::Error| format!("{}: {e}", path.display());
        let name = Name {
            id: entry.key.file_name(entry.name),
            client,
            expires: expires.0,
            size: limit,
            part: true,
        };
        let Some(file) = admitted(&dir, name, caps, now).map_err(failed)? else {
            return Ok(Err(Receipt::Full));
        };
        let mut spool = Spool {
            dir,
            file: BufWriter::new(file),
            name,
            pieces: entry.key.pieces(entry.name, entry.instance, expires),
            piece: Zeroizing::new(Vec::with_capacity(head.len().max(4096) + TAG)),
            size: 0,
            limit,
            trouble: None,
            kept: false,
        };
        spool.piece.extend_from_slice(head);
        spool.put(false).map_err(failed)?;
        Ok(Ok(spool))
    }

    /// Adds to the body. `false`: no more is wanted.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> bool {
        self.size += bytes.len() as u64;
        while self.size <= self.limit && self.trouble.is_none() && !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE {
                self.trouble = self.put(false).err();
            }
        }
        self.size <= self.limit && self.trouble.is_none()
    }

    /// Seals and writes what has come together.
    fn put(&mut self, last: bool) -> io::Result<()> {
        if !self.pieces.seal(&mut self.piece, last) {
            return Err(io::Error::other("a piece cannot be sealed"));
        }
        let length = self.piece.len() as u32; // at most PIECE and a tag, or a head
        self.file.write_all(&length.to_be_bytes())?;
        self.file.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }

    /// Ends the body; only now it is in the store. One that did not come to its end is not.
    ///
    /// # Errors
    /// It could not be written, in words for the log.
    pub(crate) fn finish(mut self, complete: bool) -> Result<Receipt, String> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble.to_string());
        }
        if !complete || self.size > self.limit {
            return Ok(Receipt::TooLarge);
        }
        let whole = Name {
            size: self.size,
            part: false,
            ..self.name
        };
        self.put(true)
            .and_then(|()| self.file.flush())
            .and_then(|()| {
                Ok(renameat(
                    &self.dir,
                    self.name.text(),
                    &self.dir,
                    whole.text(),
                )?)
            })
            .map_err(|e| e.to_string())?;
        self.kept = true;
        Ok(Receipt::Done)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if !self.kept {
            let _ = unlinkat(&self.dir, self.name.text(), AtFlags::empty());
        }
    }
}

/// A file of this name, if the caps leave room for it.
fn admitted(dir: &OwnedFd, name: Name, caps: Caps, now: u64) -> io::Result<Option<File>> {
    alone(dir, || {
        let there = look(dir, Looks::Alone, now)?;
        if !fits(&there, name, caps) {
            return Ok(None);
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(dir, name.text(), flags, Mode::RUSR | Mode::WUSR)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Some(File::from(file)))
    })
}

/// Whether one more has room beside what is there.
fn fits(there: &[Name], name: Name, caps: Caps) -> bool {
    let sum = |of: &dyn Fn(&&Name) -> bool| {
        let counted = there.iter().filter(of);
        counted.fold((1, name.size), |(n, bytes), name| {
            (n + 1, bytes + name.size)
        })
    };
    let (count, bytes) = sum(&|_| true);
    let (of_client, bytes_of_client) = sum(&|other| other.client == name.client);
    count <= caps.total_count
        && bytes <= caps.total_bytes
        && of_client <= caps.client_count
        && bytes_of_client <= caps.client_bytes
}

/// A body that was taken out, and what was kept beside it.
pub(crate) struct Taken {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// Takes an entry out of the store. `None`: there is none, or somebody else has it.
///
/// # Errors
/// It is there and cannot be read, in words for the log.
pub(crate) fn take(path: &Path, entry: Entry<'_>, now: u64) -> Result<Option<Taken>, String> {
    let dir = open(path)?;
    let failed = |e: io::Error| format!("{}: {e}", path.display());
    let id = entry.key.file_name(entry.name);
    let found = look(&dir, Looks::BesideOthers, now).map_err(failed)?;
    let Some(name) = found.into_iter().find(|name| name.id == id && !name.part) else {
        return Ok(None);
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(file) = openat(&dir, name.text(), flags, Mode::empty()) else {
        return Ok(None); // somebody has been faster, or put a link there
    };
    let stat = fstat(&file).map_err(|e| failed(e.into()))?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !regular || stat.st_uid != geteuid().as_raw() || stat.st_nlink != 1 {
        return Err(failed(io::Error::other("a file in it is not ours")));
    }
    // Whoever unlinks it has it.
    if unlinkat(&dir, name.text(), AtFlags::empty()).is_err() {
        return Ok(None);
    }
    let pieces = entry
        .key
        .pieces(entry.name, entry.instance, UnixMillis(name.expires));
    read(File::from(file), stat.st_size as u64, pieces, name.size)
        .map(Some)
        .map_err(failed)
}

fn read(file: File, mut left: u64, mut pieces: Pieces, size: u64) -> io::Result<Taken> {
    let broken = || io::Error::other("a file in it was changed");
    let mut file = BufReader::new(file);
    let mut next = |left: &mut u64| {
        let mut length = [0; 4];
        file.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > PIECE + TAG {
            return Err(broken());
        }
        let mut piece = Zeroizing::new(vec![0; length]);
        file.read_exact(&mut piece)?;
        *left = left.checked_sub(4 + length as u64).ok_or_else(broken)?;
        match pieces.open(&mut piece, *left == 0) {
            true => Ok(piece),
            false => Err(broken()),
        }
    };
    let head = next(&mut left)?.to_vec();
    let mut body = Zeroizing::new(Vec::with_capacity(
        usize::try_from(size).unwrap_or(0).min(1 << 28),
    ));
    loop {
        body.extend_from_slice(&next(&mut left)?);
        if left == 0 {
            return Ok(Taken { head, body });
        }
    }
}

#[cfg(test)]
#[path = "posts_tests.rs"]
mod tests;
