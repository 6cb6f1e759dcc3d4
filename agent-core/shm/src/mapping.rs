//! Which memory do the processes share, and is it really ours?
//!
//! An anonymous file (memfd) of a fixed size that the parent makes before it forks. This file
//! makes, adopts and gives up the mapping and hands out words of it. It must not interpret them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::layout::{LAYOUT_VERSION, LOCK_WORDS, Layout};
use crate::slot::word_of;
use crate::{Counts, EndedSet, Flights, Full, InstanceId, InstanceState, OnceSet, Table, Workers};

/// The first word of a finished mapping.
const MAGIC: u64 = u64::from_le_bytes(*b"portcull");

// Words of the head page.
const HEAD_MAGIC: usize = 0;
const HEAD_VERSION: usize = 1;
const HEAD_CACHE_BYTES: usize = 2;
const HEAD_FINGERPRINT: usize = 3;
const HEAD_BOOT_KEY: usize = 4; // and 5
const HEAD_WORKERS_HIGH: usize = 8;
/// Version of the program that made it: major, minor and patch, 16 bits each.
const HEAD_PROGRAM: usize = 9;
const HEAD_WORDS: usize = 16;

/// Nobody may change the size (a shorter file would be SIGBUS in every process), or lift the seals.
const SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

/// Why there is no mapping.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The operating system refused.
    #[error("{call} failed: {source}")]
    System {
        /// The call that failed.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// More than [`Layout`] can hold.
    #[error("a cache of {0} bytes is too large")]
    TooLarge(usize),
    /// The file is not a mapping of this program, or its maker had not finished it.
    #[error("the file is not a mapping of this program")]
    Foreign,
    /// Made by another version of this program.
    #[error("the mapping has layout {found}, this program has {ours}")]
    Version {
        /// The mapping's layout version.
        found: u64,
        /// [`LAYOUT_VERSION`].
        ours: u64,
    },
    /// The version is ours, the size or an inner place is not.
    #[error("the mapping has {found} bytes and another division than the expected {expected}")]
    Size {
        /// Bytes of the file.
        found: u64,
        /// Bytes that its own head asks for.
        expected: u64,
    },
    /// The file could be shortened while we use it.
    #[error("the file is not sealed")]
    NotSealed,
}

fn system(call: &'static str) -> MapError {
    MapError::System {
        call,
        source: io::Error::last_os_error(),
    }
}

/// The shared mapping. Cheap to share in an `Arc`; unmapped when dropped.
///
/// A forked child keeps using its parent's value; only the file descriptor should be closed there
/// ([`Mapping::close_fd`]).
pub struct Mapping {
    base: NonNull<u8>,
    layout: Layout,
    /// -1 when closed.
    fd: AtomicI32,
}

// SAFETY: the memory is reached only as atomics and through process-shared mutexes.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapping")
            .field("bytes", &self.layout.total_bytes())
            .finish_non_exhaustive()
    }
}

impl Mapping {
    /// Makes an empty mapping with about `cache_bytes` for session and decision records (see
    /// [`Layout::for_cache_bytes`]). Meant for the parent, before it forks and has threads.
    pub fn create(cache_bytes: usize) -> Result<Mapping, MapError> {
        let layout = Layout::for_cache_bytes(cache_bytes).ok_or(MapError::TooLarge(cache_bytes))?;
        let fd = sealed_memfd(layout.total_bytes())?;
        let mapping = Mapping::map(fd, layout, libc::PROT_READ | libc::PROT_WRITE)?;
        crate::lock::init_all(&mapping)?;
        let head = mapping.head();
        let key = random_key()?;
        let (low, high) = key.split_at(8);
        head[HEAD_BOOT_KEY].store(word_of(low), Ordering::Relaxed);
        head[HEAD_BOOT_KEY + 1].store(word_of(high), Ordering::Relaxed);
        head[HEAD_CACHE_BYTES].store(mapping.layout.cache_bytes as u64, Ordering::Relaxed);
        head[HEAD_FINGERPRINT].store(mapping.layout.fingerprint(), Ordering::Relaxed);
        head[HEAD_PROGRAM].store(program(), Ordering::Relaxed);
        head[HEAD_VERSION].store(LAYOUT_VERSION, Ordering::Relaxed);
        head[HEAD_MAGIC].store(MAGIC, Ordering::Release);
        Ok(mapping)
    }

    /// Attaches to a mapping that another process made; the descriptor is duplicated. For nginx's
    /// new master after an upgrade, and for tools.
    ///
    /// Refuses what is not sealed, not finished, of another layout version, or of another size
    /// than its own head asks for.
    pub fn adopt(fd: BorrowedFd<'_>) -> Result<Mapping, MapError> {
        Mapping::attach(fd, libc::PROT_READ | libc::PROT_WRITE)
    }

    /// Attaches like [`Mapping::adopt`], to read only: for tools that look at a host that runs. Whatever
    /// writes to it (a put, a lock, a registration) ends the calling process.
    pub fn look(fd: BorrowedFd<'_>) -> Result<Mapping, MapError> {
        Mapping::attach(fd, libc::PROT_READ)
    }

    fn attach(fd: BorrowedFd<'_>, protection: libc::c_int) -> Result<Mapping, MapError> {
        // SAFETY: F_GET_SEALS takes no argument and the descriptor is borrowed.
        let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
        if seals < 0 || seals & SEALS != SEALS {
            return Err(MapError::NotSealed);
        }
        let fd = fd.try_clone_to_owned().map_err(|source| MapError::System {
            call: "fcntl(F_DUPFD_CLOEXEC)",
            source,
        })?;
        let found = file_size(&fd)?;
        let head = read_head(&fd)?;
        if head[HEAD_MAGIC] != MAGIC {
            return Err(MapError::Foreign);
        }
        if head[HEAD_VERSION] != LAYOUT_VERSION {
            return Err(MapError::Version {
                found: head[HEAD_VERSION],
                ours: LAYOUT_VERSION,
            });
        }
        let layout = usize::try_from(head[HEAD_CACHE_BYTES])
            .ok()
            .and_then(Layout::for_cache_bytes)
            .ok_or(MapError::Foreign)?;
        let expected = layout.total_bytes() as u64;
        if found != expected || head[HEAD_FINGERPRINT] != layout.fingerprint() {
            return Err(MapError::Size { found, expected });
        }
        Mapping::map(fd, layout, protection)
    }

    fn map(fd: OwnedFd, layout: Layout, protection: libc::c_int) -> Result<Mapping, MapError> {
        let bytes = layout.total_bytes();
        // SAFETY: a new mapping at an address of the kernel's choice; the file has `bytes` bytes
        // and cannot shrink (callers checked or set the seal).
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(|| system("mmap"))?;
        if base.as_ptr().cast() == libc::MAP_FAILED {
            return Err(system("mmap"));
        }
        // From here on, dropping `mapping` unmaps.
        let mapping = Mapping {
            base,
            layout,
            fd: AtomicI32::new(fd.into_raw_fd()),
        };
        // A core dump would contain every user's session (rule W3).
        // SAFETY: exactly the range that was mapped above.
        if unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_DONTDUMP) } != 0 {
            return Err(system("madvise(MADV_DONTDUMP)"));
        }
        Ok(mapping)
    }

    /// The descriptor, while this process keeps it.
    #[must_use]
    pub fn fd(&self) -> Option<RawFd> {
        let fd = self.fd.load(Ordering::Acquire);
        (fd >= 0).then_some(fd)
    }

    /// Closes the descriptor and keeps the mapping. Workers do this: whoever takes over a worker
    /// must not be able to hand the file on. A second call does nothing.
    pub fn close_fd(&self) {
        let fd = self.fd.swap(-1, Ordering::AcqRel);
        if fd >= 0 {
            // SAFETY: the swap made us the only owner of this descriptor.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }

    /// Random bytes drawn when the mapping was made: the key for digests that name entries.
    #[must_use]
    pub fn boot_key(&self) -> [u8; 16] {
        let head = self.head();
        let low = u128::from(head[HEAD_BOOT_KEY].load(Ordering::Relaxed));
        let high = u128::from(head[HEAD_BOOT_KEY + 1].load(Ordering::Relaxed));
        (low | high << 64).to_le_bytes()
    }

    /// Version of the program that made the mapping: major, minor, patch.
    #[must_use]
    pub fn program(&self) -> [u16; 3] {
        let word = self.head()[HEAD_PROGRAM].load(Ordering::Relaxed);
        [32, 16, 0].map(|shift| (word >> shift) as u16)
    }

    /// The state of the instance with this identity (a digest), taking a free place at the first
    /// call; lock-free, from any process. Places are never given back: an identity changes only
    /// when AM's address, the realm or the profile name do.
    pub fn instance(&self, identity: [u8; 16]) -> Result<InstanceState<'_>, Full> {
        InstanceState::find_or_claim(self, identity)
    }

    /// The state of the instance with this identity, if any process has taken a place for it.
    #[must_use]
    pub fn find_instance(&self, identity: [u8; 16]) -> Option<InstanceState<'_>> {
        InstanceState::find(self, identity)
    }

    /// The instance that [`InstanceState::id`] named, without a search.
    #[must_use]
    pub fn instance_at(&self, id: InstanceId) -> InstanceState<'_> {
        InstanceState::at(self, id)
    }

    /// Records of live sessions.
    #[must_use]
    pub fn sessions(&self) -> Table<'_> {
        Table {
            mapping: self,
            classes: &self.layout.sessions,
        }
    }

    /// Records of policy decisions.
    #[must_use]
    pub fn decisions(&self) -> Table<'_> {
        Table {
            mapping: self,
            classes: &self.layout.decisions,
        }
    }

    /// Tokens that AM called dead, apart from the sessions so that made-up tokens can't push
    /// those out. Values of up to 128 bytes, usually none.
    #[must_use]
    pub fn dead(&self) -> Table<'_> {
        Table {
            mapping: self,
            classes: &self.layout.dead,
        }
    }

    /// What may happen only once (rule L2).
    #[must_use]
    pub fn spent(&self) -> OnceSet<'_> {
        OnceSet { mapping: self }
    }

    /// Tokens that were logged out (rule S1).
    #[must_use]
    pub fn ended(&self) -> EndedSet<'_> {
        EndedSet { mapping: self }
    }

    /// How often something was done lately.
    #[must_use]
    pub fn counts(&self) -> Counts<'_> {
        Counts { mapping: self }
    }

    /// Who asks for what now.
    #[must_use]
    pub fn flights(&self) -> Flights<'_> {
        Flights { mapping: self }
    }

    /// The load of each process.
    #[must_use]
    pub fn workers(&self) -> Workers<'_> {
        Workers { mapping: self }
    }

    /// Where everything is.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// `count` words from `first` on; empty when that is not inside the mapping, which no place
    /// of [`Layout`] is.
    #[inline]
    pub(crate) fn words(&self, first: usize, count: usize) -> &[AtomicU64] {
        if first.saturating_add(count) > self.layout.total_words {
            return &[];
        }
        // SAFETY: inside the mapping (checked above), which lives as long as `self`, is page
        // aligned and initialised (zeroed by the kernel); atomics may be changed by others.
        unsafe {
            std::slice::from_raw_parts(self.base.as_ptr().cast::<AtomicU64>().add(first), count)
        }
    }

    /// One word of the head that other files own: how many worker slots were ever used.
    pub(crate) fn workers_high(&self) -> &AtomicU64 {
        &self.head()[HEAD_WORKERS_HIGH]
    }

    /// The memory of mutex `index`.
    pub(crate) fn lock_at(&self, index: usize) -> Option<*mut libc::pthread_mutex_t> {
        (index < self.layout.locks).then(|| {
            let word = self.layout.first_lock_word + index * LOCK_WORDS;
            // SAFETY: inside the mapping: `Layout` made room for `locks` mutexes there.
            unsafe { self.base.as_ptr().cast::<u64>().add(word).cast() }
        })
    }

    fn head(&self) -> &[AtomicU64] {
        self.words(0, HEAD_WORDS)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.close_fd();
        // SAFETY: exactly the range that was mapped; everything handed out borrows `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.layout.total_bytes()) };
    }
}

/// See [`HEAD_PROGRAM`].
fn program() -> u64 {
    let parts = [
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    ];
    let numbers = parts.map(|part| part.parse::<u16>().map_or(0, u64::from));
    numbers.into_iter().fold(0, |word, n| word << 16 | n)
}

fn random_key() -> Result<[u8; 16], MapError> {
    let mut key = [0u8; 16];
    // SAFETY: `key` is writable for its whole length. 16 bytes are never given in part.
    let got = unsafe { libc::getrandom(key.as_mut_ptr().cast(), key.len(), 0) };
    if got == 16 {
        Ok(key)
    } else {
        Err(system("getrandom"))
    }
}

fn sealed_memfd(bytes: usize) -> Result<OwnedFd, MapError> {
    let name = c"portcullis".as_ptr();
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // Some systems insist on files that can't be executed; kernels before 6.3 don't know the flag.
    // SAFETY: `name` is a C string.
    let mut fd = unsafe { libc::memfd_create(name, flags | libc::MFD_NOEXEC_SEAL) };
    if fd < 0 {
        // SAFETY: as above.
        fd = unsafe { libc::memfd_create(name, flags) };
    }
    if fd < 0 {
        return Err(system("memfd_create"));
    }
    // SAFETY: a new descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let length = libc::off_t::try_from(bytes).map_err(|_| MapError::TooLarge(bytes))?;
    // SAFETY: plain calls on a descriptor that we own.
    if unsafe { libc::fchmod(fd.as_raw_fd(), 0o600) } != 0 {
        return Err(system("fchmod"));
    }
    // SAFETY: as above.
    if unsafe { libc::ftruncate(fd.as_raw_fd(), length) } != 0 {
        return Err(system("ftruncate"));
    }
    // SAFETY: as above.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, SEALS) } != 0 {
        return Err(system("fcntl(F_ADD_SEALS)"));
    }
    Ok(fd)
}

fn file_size(fd: &OwnedFd) -> Result<u64, MapError> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `stat` has room for the answer.
    if unsafe { libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) } != 0 {
        return Err(system("fstat"));
    }
    // SAFETY: fstat filled it in, and all zeros would be valid as well.
    let size = unsafe { stat.assume_init() }.st_size;
    Ok(u64::try_from(size).unwrap_or(0))
}

/// The head, read like a file: what is not ours is never mapped.
fn read_head(fd: &OwnedFd) -> Result<[u64; HEAD_WORDS], MapError> {
    let mut bytes = [0u8; HEAD_WORDS * 8];
    // SAFETY: `bytes` is writable for its whole length.
    let got = unsafe { libc::pread(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got < 0 {
        return Err(system("pread"));
    }
    if usize::try_from(got) != Ok(bytes.len()) {
        return Err(MapError::Foreign);
    }
    let mut head = [0u64; HEAD_WORDS];
    for (word, chunk) in head.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(chunk.try_into().unwrap_or_default());
    }
    Ok(head)
}
