//! A process dies with a mutex held, in the middle of a write.

use std::sync::atomic::Ordering;

use super::{in_child, mapping};
use crate::keyset::KeySet;
use crate::layout::Region;
use crate::lock::{self, Patience};
use crate::{Ended, Key, Mapping, Put, Spent, Stamp};

const KEY: Key = Key(0x0123_4567_89ab_cdef_1122_3344_5566_7788);

fn stamp() -> Stamp {
    Stamp {
        stored_at: 5,
        expires_at: 50,
        epoch: 1,
        revocations: 2,
    }
}

fn stripe_of(region: &Region, key: Key) -> usize {
    region.first_lock + key.place(region.sets) % region.locks
}

/// Dies while holding the stripe of `key`, after setting the sequence number at `seq` odd.
fn die_writing(mapping: &Mapping, lock: usize, words: &[(usize, u64)]) {
    in_child(|| {
        let guard = lock::try_lock(mapping, lock, Patience::None, || ());
        assert!(guard.is_some());
        for (word, value) in words {
            mapping.words(*word, 1)[0].store(*value, Ordering::Relaxed);
        }
        std::mem::forget(guard);
    });
}

#[test]
fn the_next_writer_empties_half_written_slots_and_only_those() {
    let m = mapping();
    let region = &m.layout().sessions[0];
    let value = [7u8; 300];
    // A neighbour in the same stripe, in another set when there are several.
    let neighbour = Key(KEY.0 ^ 0xff);
    assert_eq!(m.sessions().put(KEY, stamp(), &value), Put::Stored);
    assert_eq!(m.sessions().put(neighbour, stamp(), &value), Put::Stored);

    // The first slot of the set is KEY's: odd number, and a word of the value changed.
    let slot = region.first + KEY.place(region.sets) * region.set_words + 8;
    die_writing(&m, stripe_of(region, KEY), &[(slot, 3), (slot + 20, 99)]);

    let mut out = Vec::new();
    assert_eq!(
        m.sessions().get(KEY, 10, &mut out),
        None,
        "half-written is a miss"
    );
    assert!(out.is_empty());
    assert_eq!(m.sessions().get(neighbour, 10, &mut out), Some(stamp()));

    // A third key of the same set makes its writer repair the stripe.
    assert_eq!(
        m.sessions().put(Key(KEY.0 ^ 0xee), stamp(), &value),
        Put::Stored
    );
    assert_eq!(
        m.words(slot, 1)[0].load(Ordering::Relaxed) & 1,
        0,
        "not odd any more"
    );
    assert_eq!(m.sessions().get(neighbour, 10, &mut out), Some(stamp()));
    assert_eq!(m.sessions().put(KEY, stamp(), &value), Put::Stored);
    assert_eq!(m.sessions().get(KEY, 10, &mut out), Some(stamp()));
    assert_eq!(out, value);
}

#[test]
fn a_held_stripe_drops_the_put_and_never_waits() {
    let m = mapping();
    let region = &m.layout().sessions[0];
    let _held = lock::try_lock(&m, stripe_of(region, KEY), Patience::None, || ());
    assert_eq!(m.sessions().put(KEY, stamp(), &[1; 300]), Put::Busy);
    assert!(
        m.sessions().remove(KEY),
        "nothing is there, so no lock is needed"
    );
    let mut out = Vec::new();
    assert_eq!(m.sessions().get(KEY, 10, &mut out), None);
    assert!(!m.sessions().clear());
}

#[test]
fn an_older_record_in_a_busy_class_stops_the_put() {
    let m = mapping();
    assert_eq!(m.sessions().put(KEY, stamp(), &[1; 300]), Put::Stored);
    let held = lock::try_lock(
        &m,
        stripe_of(&m.layout().sessions[0], KEY),
        Patience::None,
        || (),
    );
    assert_eq!(m.sessions().put(KEY, stamp(), &[2; 3000]), Put::Busy);
    assert_eq!(m.sessions().put(KEY, stamp(), &[2; 100_000]), Put::Busy);
    assert!(!m.sessions().remove(KEY));
    drop(held);
    let mut out = Vec::new();
    assert_eq!(m.sessions().get(KEY, 10, &mut out), Some(stamp()));
    assert_eq!(out, [1; 300]);
}

#[test]
fn a_death_in_the_spent_set_leaves_the_key_unspent_and_the_set_usable() {
    let m = mapping();
    let region = &m.layout().spent;
    assert_eq!(m.spent().spend(Key(KEY.0 ^ 1), 1000, 1), Spent::First);
    let set = region.first + KEY.place(region.sets) * region.set_words;
    // Second entry of the set: KEY, but no checksum yet.
    let entry = set + 4 + 4;
    die_writing(
        &m,
        stripe_of(region, KEY),
        &[
            (set, 5),
            (entry, KEY.low()),
            (entry + 1, KEY.high()),
            (entry + 2, 1000),
        ],
    );
    assert_eq!(m.spent().spend(Key(KEY.0 ^ 1), 1000, 1), Spent::Replayed);
    assert_eq!(m.spent().spend(KEY, 1000, 1), Spent::First);
    assert_eq!(m.spent().spend(KEY, 1000, 1), Spent::Replayed);
}

#[test]
fn a_look_mends_a_set_whose_writer_died() {
    let m = mapping();
    let region = &m.layout().ended;
    assert!(m.ended().insert(Key(KEY.0 ^ 1), 1000, 1));
    let set = region.first + KEY.place(region.sets) * region.set_words;
    die_writing(&m, stripe_of(region, KEY), &[(set, 5), (set + 8, 77)]);
    assert_eq!(m.ended().look(KEY, 1), Ended::No);
    assert_eq!(m.ended().look(Key(KEY.0 ^ 1), 1), Ended::Yes);
    assert!(!KeySet::of(&m, region, KEY).is_odd());
}

#[test]
fn a_busy_ended_set_answers_unknown_afterwards() {
    let m = mapping();
    let held = lock::try_lock(&m, stripe_of(&m.layout().ended, KEY), Patience::None, || ());
    assert!(!m.ended().insert(KEY, 1000, 1));
    drop(held);
    assert_eq!(m.ended().look(KEY, 999), Ended::Unknown);
    assert_eq!(m.ended().look(KEY, 1000), Ended::No);
    assert!(m.ended().insert(KEY, 1000, 1));
    assert_eq!(m.ended().look(KEY, 999), Ended::Yes);
    let held = lock::try_lock(&m, stripe_of(&m.layout().spent, KEY), Patience::None, || ());
    assert_eq!(m.spent().spend(KEY, 1000, 1), Spent::Refused);
    drop(held);
    assert_eq!(m.spent().spend(KEY, 1000, 1), Spent::First);
}

#[test]
fn a_leader_that_dies_writing_leaves_the_last_version() {
    let m = mapping();
    let i = m.instance([9; 16]).unwrap();
    let worker = m.workers().register(std::process::id(), 1).unwrap();
    let term = i.lease_try(worker, 1, 10).unwrap();
    assert!(i.publish_profile(term, b"first"));
    die_writing(&m, m.layout().instance_lock, &[]);
    let mut out = Vec::new();
    assert_eq!(i.profile(&mut out), Some(1));
    assert_eq!(out, b"first");
    let term = i.lease_try(worker, 100, 10).unwrap();
    assert!(i.publish_profile(term, b"second"));
    assert_eq!(i.profile(&mut out), Some(2));
}

#[test]
fn while_a_write_is_going_on_there_is_no_proof() {
    let m = mapping();
    let odd = |first: usize| m.words(first, 1)[0].fetch_or(1, Ordering::Relaxed);
    // Whole contents, but a writer is about to change them.
    let region = &m.layout().sessions[0];
    assert_eq!(m.sessions().put(KEY, stamp(), b"v"), Put::Stored);
    odd(region.first + KEY.place(region.sets) * region.set_words + 8);
    assert_eq!(m.sessions().get(KEY, 10, &mut Vec::new()), None);

    let region = &m.layout().ended;
    assert!(m.ended().insert(KEY, 1000, 1));
    let held = lock::try_lock(&m, stripe_of(region, KEY), Patience::None, || ());
    odd(region.first + KEY.place(region.sets) * region.set_words);
    assert_eq!(m.ended().look(Key(KEY.0 ^ 1), 1), Ended::Unknown);
    assert_eq!(m.ended().look(KEY, 1), Ended::Yes);
    drop(held);
}
