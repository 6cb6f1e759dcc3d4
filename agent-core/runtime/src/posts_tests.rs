use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use portcullis_engine::token::Secret;

use super::*;

const NOW: u64 = 1_800_000_000_000;
const UNTIL: UnixMillis = UnixMillis(NOW + 600_000);
const INSTANCE: [u8; 16] = [7; 16];
const WIDE: Caps = Caps {
    client_count: 100,
    client_bytes: 1 << 30,
    total_count: 100,
    total_bytes: 1 << 30,
};

fn key(root: &[u8]) -> PieceKey {
    PieceKey::derive(&Secret::new(root.to_vec()))
}

fn entry(key: &PieceKey, name: u128) -> Entry<'_> {
    Entry {
        key,
        instance: &INSTANCE,
        name,
    }
}

fn store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    dir
}

fn begin(dir: &Path, name: u128, client: u64, limit: u64, caps: Caps) -> Result<Spool, Receipt> {
    let key = key(b"root");
    Spool::begin(
        dir,
        entry(&key, name),
        (client, UNTIL),
        b"head",
        limit,
        caps,
        NOW,
    )
    .unwrap()
}

fn keep(dir: &Path, name: u128, body: &[u8]) -> Receipt {
    let mut spool = begin(dir, name, 1, body.len() as u64, WIDE).ok().unwrap();
    // In pieces of no particular size, as a client sends them.
    assert!(body.chunks(10_007).all(|part| spool.write(part)));
    spool.finish(true).unwrap()
}

fn taken(dir: &Path, name: u128) -> Option<Vec<u8>> {
    let taken = take(dir, entry(&key(b"root"), name), NOW).unwrap()?;
    assert_eq!(taken.head, b"head");
    Some(taken.body.to_vec())
}

fn files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    names
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 / 3) as u8).collect()
}

#[test]
fn what_was_kept_comes_back_once_byte_for_byte() {
    let dir = store();
    for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 1 << 20] {
        assert_eq!(
            keep(dir.path(), length as u128, &body(length)),
            Receipt::Done
        );
    }
    for length in [1 << 20, 0, 1, PIECE, PIECE - 1, PIECE + 1, 3 * PIECE] {
        assert!(taken(dir.path(), length as u128).is_some_and(|b| b == body(length)));
        assert!(taken(dir.path(), length as u128).is_none());
    }
    assert!(files(dir.path()).is_empty());
}

#[test]
fn nothing_in_a_file_is_readable_and_only_its_owner_may_try() {
    let dir = store();
    keep(dir.path(), 1, &[b'p'; 5000]);
    let path = dir.path().join(&files(dir.path())[0]);
    let bytes = fs::read(&path).unwrap();
    assert!(!bytes.windows(8).any(|w| w == b"pppppppp") && !bytes.windows(4).any(|w| w == b"head"));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn another_key_or_a_changed_file_opens_nothing() {
    let dir = store();
    keep(dir.path(), 1, &body(100_000));
    let other = key(b"other");
    assert!(take(dir.path(), entry(&other, 1), NOW).unwrap().is_none());
    let path = dir.path().join(&files(dir.path())[0]);
    let good = fs::read(&path).unwrap();
    let mut changed = good.clone();
    changed[50] ^= 1;
    let longer = [&good[..], b"x"].concat();
    let without_last = good[..24 + 4 + PIECE + TAG].to_vec();
    for bad in [changed, longer, without_last, good[..10].to_vec(), vec![]] {
        fs::write(&path, bad).unwrap();
        assert!(take(dir.path(), entry(&key(b"root"), 1), NOW).is_err());
        assert!(!path.exists());
    }
}

#[test]
fn a_longer_life_than_was_sealed_opens_nothing() {
    let dir = store();
    keep(dir.path(), 1, b"x");
    let old = files(dir.path()).remove(0);
    let name = Name::parse(&std::ffi::CString::new(old.clone()).unwrap()).unwrap();
    let longer = Name {
        expires: name.expires + 1,
        ..name
    };
    fs::rename(dir.path().join(old), dir.path().join(longer.text())).unwrap();
    assert!(take(dir.path(), entry(&key(b"root"), 1), NOW).is_err());
}

#[test]
fn a_post_is_forgotten_when_its_time_has_passed() {
    let dir = store();
    keep(dir.path(), 1, b"x");
    sweep(dir.path(), UNTIL.0).unwrap();
    assert_eq!(files(dir.path()).len(), 1);
    let late = take(dir.path(), entry(&key(b"root"), 1), UNTIL.0 + 1);
    assert!(late.unwrap().is_none() && files(dir.path()).is_empty());
    keep(dir.path(), 2, b"x");
    sweep(dir.path(), UNTIL.0 + 1).unwrap();
    assert!(files(dir.path()).is_empty());
}

#[test]
fn a_body_that_grows_too_long_or_breaks_off_leaves_nothing() {
    let dir = store();
    let mut spool = begin(dir.path(), 1, 1, 10, WIDE).ok().unwrap();
    assert!(spool.write(b"12345") && spool.write(b"67890") && !spool.write(b"1"));
    assert_eq!(spool.finish(true).unwrap(), Receipt::TooLarge);
    let mut spool = begin(dir.path(), 2, 1, 10, WIDE).ok().unwrap();
    assert!(spool.write(b"12345"));
    assert_eq!(spool.finish(false).unwrap(), Receipt::TooLarge);
    let mut spool = begin(dir.path(), 3, 1, 10, WIDE).ok().unwrap();
    assert!(spool.write(b"12345") && files(dir.path()).len() == 1);
    drop(spool);
    assert!(files(dir.path()).is_empty());
}

#[test]
fn what_a_killed_process_was_writing_is_removed_and_nobody_takes_it() {
    let dir = store();
    let mut alive = begin(dir.path(), 1, 1, 10, WIDE).ok().unwrap();
    assert!(alive.write(b"12345"));
    let mut killed = begin(dir.path(), 2, 1, 10, WIDE).ok().unwrap();
    assert!(killed.write(b"12345"));
    // The kernel closes its files; nothing of the process runs any more.
    let Spool { file, .. } = &mut killed;
    let other = fs::File::open("/dev/null").unwrap();
    drop(std::mem::replace(file, BufWriter::new(other)));
    killed.kept = true;
    assert!(taken(dir.path(), 2).is_none());
    sweep(dir.path(), NOW).unwrap();
    assert_eq!(files(dir.path()).len(), 1);
    assert_eq!(alive.finish(true).unwrap(), Receipt::Done);
    assert!(taken(dir.path(), 1).is_some());
}

#[test]
fn caps_hold_for_one_client_and_for_all() {
    let full = |caps: Caps, client: u64, limit: u64| {
        let dir = store();
        keep(dir.path(), 1, &[0; 100]);
        // One that is being written counts with what it may grow to.
        let writing = begin(dir.path(), 2, 1, 100, WIDE).ok().unwrap();
        let found = begin(dir.path(), 3, client, limit, caps).err();
        drop(writing);
        found == Some(Receipt::Full)
    };
    let by_client = |count, bytes| Caps {
        client_count: count,
        client_bytes: bytes,
        ..WIDE
    };
    let by_all = |count, bytes| Caps {
        total_count: count,
        total_bytes: bytes,
        ..WIDE
    };
    assert!(!full(by_client(3, 300), 1, 100));
    assert!(full(by_client(2, 300), 1, 100));
    assert!(full(by_client(3, 300), 1, 101));
    assert!(!full(by_client(1, 101), 2, 101));
    assert!(!full(by_all(3, 300), 2, 100));
    assert!(full(by_all(2, 300), 2, 100));
    assert!(full(by_all(3, 300), 2, 101));
}

#[test]
fn a_directory_of_others_is_not_used() {
    let dir = store();
    let link = dir.path().join("link");
    let real = dir.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    let problem = |path: &Path| sweep(path, NOW).unwrap_err();
    assert!(problem(&link).contains("link: "));
    assert!(problem(&dir.path().join("none")).contains("none: "));
    for mode in [0o720, 0o702, 0o777] {
        fs::set_permissions(&real, fs::Permissions::from_mode(mode)).unwrap();
        assert!(problem(&real).contains("others may write"), "{mode:o}");
    }
    fs::set_permissions(&real, fs::Permissions::from_mode(0o750)).unwrap();
    sweep(&real, NOW).unwrap();
}

#[test]
fn a_link_in_the_directory_is_neither_followed_nor_written_through() {
    let dir = store();
    keep(dir.path(), 1, b"x");
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("file");
    let name = dir.path().join(&files(dir.path())[0]);
    fs::rename(&name, &file).unwrap();
    symlink(&file, &name).unwrap();
    assert!(taken(dir.path(), 1).is_none() && file.exists());
    fs::remove_file(&name).unwrap();
    fs::hard_link(&file, &name).unwrap();
    assert!(take(dir.path(), entry(&key(b"root"), 1), NOW).is_err() && file.exists());
    // Where a link stands under the name that would be written.
    let id = key(b"root").file_name(9);
    let part = Name {
        id,
        client: 1,
        expires: UNTIL.0,
        size: 5,
        part: true,
    };
    symlink(&file, dir.path().join(part.text())).unwrap();
    let before = fs::read(&file).unwrap();
    let key = key(b"root");
    let begun = Spool::begin(dir.path(), entry(&key, 9), (1, UNTIL), b"", 5, WIDE, NOW);
    assert!(begun.is_err());
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn files_of_others_stay() {
    let dir = store();
    for name in ["README", "0-0-0-0", "ffff-1-1-1.part"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    sweep(dir.path(), u64::MAX).unwrap();
    assert_eq!(files(dir.path()).len(), 3);
}

#[test]
fn whoever_was_stopped_with_the_lock_holds_nobody_up() {
    let dir = store();
    let stopped = super::open(dir.path()).unwrap();
    rustix::fs::flock(&stopped, FlockOperation::LockExclusive).unwrap();
    let key = key(b"root");
    let begin = || Spool::begin(dir.path(), entry(&key, 1), (1, UNTIL), b"", 5, WIDE, NOW);
    assert!(begin().is_err_and(|why| why.contains("keeps it locked")));
    drop(stopped);
    assert!(begin().is_ok_and(|begun| begun.is_ok()));
}

#[test]
fn a_file_that_its_writer_has_only_just_made_is_left_alone() {
    let dir = store();
    // Between making it and locking it; whoever does has the directory's lock.
    let writer = super::open(dir.path()).unwrap();
    rustix::fs::flock(&writer, FlockOperation::LockExclusive).unwrap();
    let name = Name {
        id: 1,
        client: 1,
        expires: UNTIL.0,
        size: 5,
        part: true,
    };
    fs::write(dir.path().join(name.text()), "").unwrap();
    assert!(sweep(dir.path(), NOW).is_err_and(|why| why.contains("keeps it locked")));
    assert!(taken(dir.path(), 2).is_none());
    assert_eq!(files(dir.path()), [name.text()]);
    // Nobody writes it now.
    drop(writer);
    sweep(dir.path(), NOW).unwrap();
    assert!(files(dir.path()).is_empty());
}
