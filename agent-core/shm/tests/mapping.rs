//! Making, adopting and refusing mappings.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};

use portcullis_shm::{LAYOUT_VERSION, MapError, Mapping, Put, Stamp};
use support::{fork, key, wait};

const STAMP: Stamp = Stamp {
    stored_at: 1,
    expires_at: 2,
    epoch: 3,
    revocations: 4,
};

/// The mapping's file through the descriptor that a process keeps.
fn open(pid: u32, m: &Mapping) -> File {
    let path = format!("/proc/{pid}/fd/{}", m.fd().unwrap());
    File::options().read(true).write(true).open(path).unwrap()
}

/// A memfd with this content; a copy of a mapping's file, say.
fn memfd(content: &[u8], seals: i32) -> File {
    // SAFETY: the name is a C string.
    let fd = unsafe {
        libc::memfd_create(
            c"test".as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        )
    };
    assert!(fd >= 0);
    // SAFETY: a new descriptor that nobody else owns.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(content).unwrap();
    // SAFETY: a plain call on our descriptor.
    assert_eq!(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) }, 0);
    file
}

const ALL_SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

/// The first page of a mapping's file.
fn first_page(m: &Mapping) -> Vec<u8> {
    let mut file = open(std::process::id(), m);
    let mut page = vec![0; 4096];
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_exact(&mut page).unwrap();
    page
}

#[test]
fn a_forked_child_adopts_through_proc() {
    let m = Mapping::create(0).unwrap();
    assert_eq!(
        m.sessions().put(key(1), STAMP, b"from the parent"),
        Put::Stored
    );
    let parent = std::process::id();
    let child = fork(|| {
        let adopted = Mapping::adopt(open(parent, &m).as_fd()).unwrap();
        let mut out = Vec::new();
        assert_eq!(adopted.sessions().get(key(1), 5, &mut out), Some(STAMP));
        assert_eq!(out, b"from the parent");
        assert_eq!(adopted.boot_key(), m.boot_key());
        assert_eq!(
            adopted.sessions().put(key(2), STAMP, b"from the child"),
            Put::Stored
        );
        assert_eq!(adopted.instance([4; 16]).unwrap().bump_epoch(), 1);
        0
    });
    assert_eq!(wait(child), 0);
    let mut out = Vec::new();
    assert_eq!(m.sessions().get(key(2), 5, &mut out), Some(STAMP));
    assert_eq!(m.instance([4; 16]).unwrap().epoch(), 1);
}

#[test]
fn the_inherited_mapping_outlives_the_descriptor() {
    let m = Mapping::create(0).unwrap();
    let child = fork(|| {
        m.close_fd();
        m.close_fd();
        assert_eq!(m.fd(), None);
        assert_eq!(m.sessions().put(key(1), STAMP, b"v"), Put::Stored);
        0
    });
    assert_eq!(wait(child), 0);
    assert!(m.fd().is_some());
    assert!(m.sessions().get(key(1), 5, &mut Vec::new()).is_some());
}

#[test]
fn the_file_is_private_sealed_and_closed_on_exec() {
    let m = Mapping::create(0).unwrap();
    // SAFETY: `m` keeps the descriptor open.
    let fd = unsafe { BorrowedFd::borrow_raw(m.fd().unwrap()) };
    let file = File::from(fd.try_clone_to_owned().unwrap());
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert!(file.set_len(0).is_err() && file.set_len(1 << 40).is_err());
    // SAFETY: plain calls on an open descriptor.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
    assert_ne!(flags & libc::FD_CLOEXEC, 0);
    // SAFETY: as above.
    let unseal = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_WRITE) };
    assert_eq!(unseal, -1);
}

#[test]
fn core_dumps_leave_the_mapping_out() {
    let m = Mapping::create(0).unwrap();
    // SAFETY: `m` keeps the descriptor open.
    let fd = unsafe { BorrowedFd::borrow_raw(m.fd().unwrap()) };
    let file = File::from(fd.try_clone_to_owned().unwrap());
    // Other tests of this process make mappings, too, and may be about to say it of theirs.
    let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap()).to_string();
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    // Each entry begins with a line that names the file and ends with its flags.
    let mut ours = false;
    let mut seen = 0;
    for line in maps.lines() {
        if line.contains("memfd:portcullis") && line.split_whitespace().any(|word| word == inode) {
            ours = true;
        }
        if let (true, Some(flags)) = (ours, line.strip_prefix("VmFlags:")) {
            assert!(flags.split_whitespace().any(|flag| flag == "dd"), "{flags}");
            ours = false;
            seen += 1;
        }
    }
    assert!(seen >= 1);
}

#[test]
fn each_mapping_has_its_own_key() {
    let (a, b) = (Mapping::create(0).unwrap(), Mapping::create(0).unwrap());
    assert_ne!(a.boot_key(), b.boot_key());
    assert_ne!(a.boot_key(), [0; 16]);
}

#[test]
fn what_is_not_ours_is_refused() {
    let m = Mapping::create(0).unwrap();
    let page = first_page(&m);
    let adopt = |content: &[u8], seals| Mapping::adopt(memfd(content, seals).as_fd());

    let plain = File::open("/proc/self/exe").unwrap();
    assert!(matches!(
        Mapping::adopt(plain.as_fd()),
        Err(MapError::NotSealed)
    ));
    assert!(matches!(
        adopt(&page, libc::F_SEAL_GROW),
        Err(MapError::NotSealed)
    ));
    assert!(matches!(
        adopt(&[0; 4096], ALL_SEALS),
        Err(MapError::Foreign)
    ));
    assert!(matches!(
        adopt(b"portcull", ALL_SEALS),
        Err(MapError::Foreign)
    ));
    assert!(matches!(adopt(b"", ALL_SEALS), Err(MapError::Foreign)));
}

#[test]
fn another_layout_or_size_is_refused() {
    let m = Mapping::create(0).unwrap();
    let page = first_page(&m);
    let expected = m.layout().total_bytes() as u64;

    let mut newer = page.clone();
    newer[8] += 1;
    let refused = Mapping::adopt(memfd(&newer, ALL_SEALS).as_fd());
    let ours = LAYOUT_VERSION;
    assert!(
        matches!(refused, Err(MapError::Version { found, ours: o }) if found == ours + 1 && o == ours)
    );

    let refused = Mapping::adopt(memfd(&page, ALL_SEALS).as_fd());
    assert!(matches!(refused, Err(MapError::Size { found: 4096, expected: e }) if e == expected));

    // The right size with another fingerprint: same version, another division.
    let mut other = page;
    other[24] ^= 1;
    let file = memfd(&other, 0);
    file.set_len(expected).unwrap();
    // SAFETY: a plain call on our descriptor.
    let sealed = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, ALL_SEALS) };
    assert_eq!(sealed, 0);
    let refused = Mapping::adopt(file.as_fd());
    assert!(matches!(refused, Err(MapError::Size { found, .. }) if found == expected));
}

#[test]
fn absurd_sizes_are_refused() {
    assert!(matches!(
        Mapping::create(usize::MAX),
        Err(MapError::TooLarge(usize::MAX))
    ));
}
