//! An instance: one leader, whose words are whole, and no other's.

// What can't be had fails the test that wanted it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use loom::thread;
use portcullis_shm_model::{
    Contents, Fate, InstanceState, Mapping, WorkerId, blind, check, check_endings, ended,
    ends_after,
};

const ID: [u8; 16] = [1; 16];
const TTL: u64 = 10;
/// More stores than a leader does.
const STORES: u32 = 10;

fn mapping() -> Arc<Mapping> {
    blind();
    Arc::new(Mapping::of(Contents::Instances))
}

fn instance(m: &Mapping) -> InstanceState<'_> {
    m.instance(ID).unwrap()
}

/// What is published, and as which version; zeroes: nothing. All bytes are the same.
fn profile(m: &Mapping) -> (u64, u8) {
    let mut out = Vec::new();
    let Some(version) = instance(m).profile(&mut out) else {
        return (0, 0);
    };
    assert!(out.iter().all(|byte| *byte == out[0]), "torn: {out:?}");
    (version, out[0])
}

#[test]
fn one_of_two_leads() {
    check(|| {
        let m = mapping();
        instance(&m);
        let other = {
            let m = Arc::clone(&m);
            thread::spawn(move || {
                instance(&m)
                    .lease_try(WorkerId(1), 0, TTL)
                    .map(|t| t.number())
            })
        };
        let mine = instance(&m).lease_try(WorkerId(0), 0, TTL);
        let theirs = other.join().unwrap();
        assert!(mine.is_none() || theirs.is_none());
        assert_eq!(
            instance(&m).lease_holder().is_some(),
            mine.is_some() || theirs.is_some()
        );
    });
}

#[test]
fn who_is_no_leader_any_more_writes_nothing() {
    check(|| {
        let m = mapping();
        let old = instance(&m).lease_try(WorkerId(0), 0, TTL).unwrap();
        assert!(instance(&m).publish_profile(old, &[1; 16]));
        let next = {
            let m = Arc::clone(&m);
            thread::spawn(move || {
                let new = instance(&m).lease_try(WorkerId(1), TTL, TTL)?;
                let published = instance(&m).publish_profile(new, &[3; 16]);
                published.then(|| assert_eq!(profile(&m).1, 3))
            })
        };
        let late = instance(&m).publish_profile(old, &[2; 16]);
        match next.join().unwrap() {
            Some(()) => assert_eq!(profile(&m).1, 3),
            None => assert_eq!(profile(&m).1, if late { 2 } else { 1 }),
        }
        if !instance(&m).leads(old) {
            assert!(!instance(&m).publish_profile(old, &[4; 16]));
            assert!(!instance(&m).lease_renew(old, TTL, TTL));
        }
    });
}

#[test]
fn what_is_published_is_read_whole() {
    check(|| {
        let m = mapping();
        let term = instance(&m).lease_try(WorkerId(0), 0, TTL).unwrap();
        assert!(instance(&m).publish_profile(term, &[1; 16]));
        let leader = {
            let m = Arc::clone(&m);
            thread::spawn(move || {
                // The second goes where the first was.
                assert!(instance(&m).publish_profile(term, &[2; 16]));
                assert!(instance(&m).publish_profile(term, &[3; 16]));
            })
        };
        let (version, value) = profile(&m);
        assert_eq!(version, u64::from(value), "of another version");
        leader.join().unwrap();
        assert_eq!(profile(&m).1, 3);
    });
}

#[test]
fn a_leader_killed_after_any_store_leaves_the_old_or_the_new_word() {
    check_endings(STORES, |stores| {
        let m = mapping();
        let term = instance(&m).lease_try(WorkerId(0), 0, TTL).unwrap();
        assert!(instance(&m).publish_profile(term, &[1; 16]));
        let leader = {
            let m = Arc::clone(&m);
            thread::spawn(move || {
                let state = instance(&m);
                ends_after(stores, Fate::Killed);
                let _ = state.publish_profile(term, &[2; 16]);
                assert!(
                    stores < STORES || ended().is_none(),
                    "more stores than are tried"
                );
            })
        };
        assert!(matches!(profile(&m), (1, 1) | (2, 2)));
        leader.join().unwrap();
        assert!(matches!(profile(&m), (1, 1) | (2, 2)));
        let next = instance(&m).lease_try(WorkerId(1), TTL, TTL).unwrap();
        assert!(next.number() > term.number());
        assert!(instance(&m).publish_profile(next, &[3; 16]));
        assert_eq!(profile(&m).1, 3);
    });
}

#[test]
fn a_process_killed_taking_the_lease_keeps_nobody_from_it() {
    check_endings(STORES, |stores| {
        let m = mapping();
        let first = instance(&m).lease_try(WorkerId(0), 0, TTL).unwrap();
        let victim = {
            let m = Arc::clone(&m);
            thread::spawn(move || {
                let state = instance(&m);
                ends_after(stores, Fate::Killed);
                let _ = state.lease_try(WorkerId(1), TTL, TTL);
            })
        };
        let renewed = instance(&m).lease_renew(first, TTL, TTL);
        victim.join().unwrap();
        let now = 2 * TTL;
        let next = instance(&m).lease_try(WorkerId(0), now, TTL).unwrap();
        assert!(next.number() > first.number());
        assert!(
            !instance(&m).leads(first) && instance(&m).leads(next),
            "{renewed}"
        );
    });
}

#[test]
fn a_session_is_withdrawn_by_one() {
    check(|| {
        let m = mapping();
        let term = instance(&m).lease_try(WorkerId(0), 0, TTL).unwrap();
        assert!(instance(&m).publish_agent_session(term, &[1; 16]));
        let generation = instance(&m).agent_session_generation().unwrap();
        let other = {
            let m = Arc::clone(&m);
            thread::spawn(move || instance(&m).invalidate_agent_session(generation))
        };
        let mine = instance(&m).invalidate_agent_session(generation);
        assert!(mine != other.join().unwrap());
        assert!(instance(&m).agent_session_generation().is_none());
    });
}

#[test]
fn every_instance_has_a_place_of_its_own() {
    check(|| {
        let m = mapping();
        let other = {
            let m = Arc::clone(&m);
            thread::spawn(move || {
                let id = m.instance([2; 16]).unwrap().id();
                assert_eq!(m.instance([2; 16]).unwrap().id(), id);
                id
            })
        };
        let mine = instance(&m).id();
        assert_eq!(instance(&m).id(), mine);
        assert_ne!(mine, other.join().unwrap());
    });
}

#[test]
fn a_process_killed_taking_a_place_keeps_nobody_from_another() {
    check_endings(4, |stores| {
        let m = mapping();
        let victim = {
            let m = Arc::clone(&m);
            thread::spawn(move || {
                ends_after(stores, Fate::Killed);
                let _ = m.instance([2; 16]);
            })
        };
        let mine = instance(&m).id();
        victim.join().unwrap();
        assert_eq!(instance(&m).id(), mine);
        assert_ne!(m.instance([2; 16]).unwrap().id(), mine);
    });
}
