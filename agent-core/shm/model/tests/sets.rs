//! The ended and the spent set: nothing is forgotten, nothing happens twice.

// What can't be had fails the test that wanted it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use loom::thread;
use portcullis_shm_model::{
    Contents, Ended, Fate, Key, Mapping, Spent, check, check_endings, ended, ends_after,
};

const A: Key = Key(0x0123_4567_89ab_cdef_1122_3344_5566_7788);
const B: Key = Key(0x0123_4567_89ab_cdef_1122_3344_5566_7799);
const C: Key = Key(0x0123_4567_89ab_cdef_1122_3344_5566_77aa);
const NOW: u64 = 200_000;
const LATER: u64 = 300_000;
/// So long ago that its place is free.
const LONG_AGO: u64 = 2;
/// More stores than a writer does.
const STORES: u32 = 10;

fn mapping(places: usize) -> Arc<Mapping> {
    Arc::new(Mapping::of(Contents::Sets(places)))
}

/// Ends a key; whoever was told that it is recorded finds it.
fn end(m: &Mapping, key: Key) {
    match m.ended().insert(key, LATER, NOW) {
        true => assert_eq!(m.ended().look(key, NOW), Ended::Yes),
        false => assert_ne!(m.ended().look(key, NOW), Ended::No),
    }
}

#[test]
fn what_ended_is_never_said_to_live() {
    check(|| {
        // One finds no room.
        let m = mapping(1);
        let other = {
            let m = Arc::clone(&m);
            thread::spawn(move || end(&m, B))
        };
        end(&m, A);
        other.join().unwrap();
        for key in [A, B] {
            assert_ne!(m.ended().look(key, NOW), Ended::No);
        }
    });
}

#[test]
fn what_ended_before_is_seen_while_others_end() {
    check(|| {
        let m = mapping(2);
        assert!(m.ended().insert(A, LATER, NOW));
        let other = {
            let m = Arc::clone(&m);
            thread::spawn(move || end(&m, B))
        };
        assert_eq!(m.ended().look(A, NOW), Ended::Yes);
        assert_ne!(m.ended().look(C, NOW), Ended::Yes);
        other.join().unwrap();
        assert_eq!(m.ended().look(A, NOW), Ended::Yes);
        assert_eq!(m.ended().look(B, NOW), Ended::Yes);
    });
}

#[test]
fn an_old_place_is_used_again_and_nobody_takes_one_for_the_other() {
    check(|| {
        let m = mapping(1);
        assert!(m.ended().insert(A, LONG_AGO, 1));
        let other = {
            let m = Arc::clone(&m);
            thread::spawn(move || end(&m, B))
        };
        assert_ne!(m.ended().look(C, NOW), Ended::Yes);
        assert_ne!(m.ended().look(A, NOW), Ended::Yes);
        other.join().unwrap();
        assert_eq!(m.ended().look(B, NOW), Ended::Yes);
    });
}

/// A process ends one key and does not survive it; nobody is forgotten for that.
fn a_death(stores: u32, fate: Fate) {
    let m = mapping(2);
    assert!(m.ended().insert(A, LATER, NOW));
    let victim = {
        let m = Arc::clone(&m);
        thread::spawn(move || {
            ends_after(stores, fate);
            let told = m.ended().insert(B, LATER, NOW) && ended().is_none();
            assert!(told || stores < STORES, "more stores than are tried");
            told
        })
    };
    assert_eq!(m.ended().look(A, NOW), Ended::Yes);
    if victim.join().unwrap() {
        assert_eq!(m.ended().look(B, NOW), Ended::Yes);
    }
    end(&m, C);
    assert_eq!(m.ended().look(A, NOW), Ended::Yes);
    assert_ne!(m.ended().look(C, NOW), Ended::No);
}

#[test]
fn a_writer_killed_after_any_store_makes_nobody_forgotten() {
    check_endings(STORES, |stores| a_death(stores, Fate::Killed));
}

#[test]
fn a_writer_stopped_after_any_store_makes_nobody_forgotten() {
    check_endings(STORES, |stores| a_death(stores, Fate::Stopped));
}

#[test]
fn of_all_who_spend_a_key_one_is_the_first() {
    check(|| {
        let m = mapping(1);
        let other = {
            let m = Arc::clone(&m);
            thread::spawn(move || m.spent().spend(A, LATER, NOW))
        };
        let all = [m.spent().spend(A, LATER, NOW), other.join().unwrap()];
        let first = all.iter().filter(|s| **s == Spent::First).count();
        let last = m.spent().spend(A, LATER, NOW);
        assert!(first <= 1, "{all:?}");
        assert!(first == 0 || last == Spent::Replayed, "{all:?} {last:?}");
    });
}

#[test]
fn who_dies_spending_gives_nobody_a_second_turn() {
    for fate in [Fate::Killed, Fate::Stopped] {
        check_endings(STORES, move |stores| {
            let m = mapping(1);
            let victim = {
                let m = Arc::clone(&m);
                thread::spawn(move || {
                    ends_after(stores, fate);
                    m.spent().spend(A, LATER, NOW) == Spent::First && ended().is_none()
                })
            };
            let mine = [(); 2].map(|()| m.spent().spend(A, LATER, NOW));
            let told = victim.join().unwrap();
            let last = m.spent().spend(A, LATER, NOW);
            let first = mine.iter().chain([&last]).filter(|s| **s == Spent::First);
            assert!(
                first.count() + usize::from(told) <= 1,
                "{mine:?} {told} {last:?}"
            );
        });
    }
}
