//! Records: whole or not there, whoever writes, evicts or dies meanwhile.

// What can't be had fails the test that wanted it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use loom::thread;
use portcullis_shm_model::{
    Contents, Fate, Key, Mapping, Put, Stamp, blind, check, check_endings, ended, ends_after,
};

const A: Key = Key(0x0123_4567_89ab_cdef_1122_3344_5566_7788);
const B: Key = Key(0x0123_4567_89ab_cdef_1122_3344_5566_7799);
const NOW: u64 = 100;
/// More stores than a writer does.
const STORES: u32 = 24;

/// A mapping whose checksums hide nothing.
fn mapping(ways: usize) -> Arc<Mapping> {
    blind();
    Arc::new(Mapping::of(Contents::Sessions(ways)))
}

/// Everything in a record is this number.
fn put(m: &Mapping, key: Key, n: u8, length: usize) -> Put {
    let word = u64::from(n);
    let stamp = Stamp {
        stored_at: word,
        expires_at: word,
        epoch: word,
        revocations: word,
    };
    m.sessions().put(key, stamp, &vec![n; length])
}

/// The number of the record that is found; 0: none.
fn get(m: &Mapping, key: Key) -> u8 {
    let mut out = Vec::new();
    let Some(stamp) = m.sessions().get(key, NOW, &mut out) else {
        return 0;
    };
    let word = stamp.stored_at;
    let all = [stamp.expires_at, stamp.epoch, stamp.revocations];
    assert!(all.iter().all(|n| *n == word), "torn: {stamp:?} {out:?}");
    assert!(
        !out.is_empty() && out.iter().all(|n| u64::from(*n) == word),
        "torn: {stamp:?} {out:?}"
    );
    word as u8
}

#[test]
fn a_record_that_is_replaced_is_read_whole() {
    check(|| {
        let m = mapping(1);
        assert_eq!(put(&m, A, 1, 8), Put::Stored);
        let writer = {
            let m = Arc::clone(&m);
            thread::spawn(move || assert_eq!(put(&m, A, 2, 8), Put::Stored))
        };
        assert!(get(&m, A) <= 2);
        writer.join().unwrap();
        assert_eq!(get(&m, A), 2);
    });
}

#[test]
fn a_record_that_makes_room_for_another_is_not_taken_for_it() {
    check(|| {
        let m = mapping(1);
        assert_eq!(put(&m, A, 1, 8), Put::Stored);
        let writer = {
            let m = Arc::clone(&m);
            thread::spawn(move || assert_eq!(put(&m, B, 2, 8), Put::Stored))
        };
        assert!(matches!(get(&m, A), 0 | 1));
        assert!(matches!(get(&m, B), 0 | 2));
        writer.join().unwrap();
        assert_eq!((get(&m, A), get(&m, B)), (0, 2));
    });
}

#[test]
fn a_record_that_moves_to_another_class_is_found_there_and_nowhere_else() {
    check(|| {
        let m = mapping(1);
        assert_eq!(put(&m, A, 1, 8), Put::Stored);
        let writer = {
            let m = Arc::clone(&m);
            thread::spawn(move || put(&m, A, 2, 16))
        };
        let mine = put(&m, A, 3, 8);
        let theirs = writer.join().unwrap();
        assert!(mine == Put::Stored || theirs == Put::Stored || get(&m, A) <= 1);
        assert!(m.sessions().remove(A));
        assert_eq!(get(&m, A), 0);
    });
}

#[test]
fn what_was_removed_is_gone() {
    check(|| {
        let m = mapping(1);
        assert_eq!(put(&m, A, 1, 8), Put::Stored);
        let remover = {
            let m = Arc::clone(&m);
            thread::spawn(move || {
                assert!(m.sessions().remove(A));
                assert_eq!(get(&m, A), 0);
            })
        };
        assert!(get(&m, A) <= 1);
        remover.join().unwrap();
        assert_eq!(get(&m, A), 0);
    });
}

#[test]
fn a_writer_killed_after_any_store_leaves_no_half_record_and_no_lock() {
    check_endings(STORES, |stores| {
        let m = mapping(1);
        assert_eq!(put(&m, A, 1, 8), Put::Stored);
        let writer = {
            let m = Arc::clone(&m);
            thread::spawn(move || {
                ends_after(stores, Fate::Killed);
                let _ = put(&m, A, 2, 8);
                if stores == STORES {
                    assert!(ended().is_none(), "a put has more stores than are tried");
                }
            })
        };
        assert!(get(&m, A) <= 2);
        writer.join().unwrap();
        assert!(get(&m, A) <= 2);
        assert_eq!(put(&m, B, 3, 8), Put::Stored);
        assert_eq!((get(&m, A), get(&m, B)), (0, 3));
        assert_eq!(put(&m, A, 4, 8), Put::Stored);
        assert_eq!(get(&m, A), 4);
    });
}

#[test]
fn a_writer_stopped_after_any_store_keeps_its_place_and_nothing_else() {
    check_endings(STORES, |stores| {
        let m = mapping(2);
        assert_eq!(put(&m, B, 1, 8), Put::Stored);
        let writer = {
            let m = Arc::clone(&m);
            thread::spawn(move || {
                ends_after(stores, Fate::Stopped);
                let _ = put(&m, A, 2, 8);
                ended().is_some()
            })
        };
        let stopped = writer.join().unwrap();
        assert!(matches!(get(&m, A), 0 | 2));
        assert_eq!(get(&m, B), 1);
        let answer = if stopped && stores > 0 {
            Put::Busy
        } else {
            Put::Stored
        };
        assert_eq!(put(&m, A, 3, 8), answer);
    });
}
