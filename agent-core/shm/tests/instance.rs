//! State of an instance: counters, lease, and what a leader publishes.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::atomic::Ordering;

use portcullis_shm::{
    AGENT_SESSION_BYTES, INSTANCES, InstanceState, Mapping, PROFILE_BYTES, SPARE_COUNTERS,
    StatusWord, Term, WorkerId,
};
use support::{Random, fork, shared_numbers, signal, until, wait};

fn setup(m: &Mapping) -> (InstanceState<'_>, WorkerId) {
    (
        m.instance([1; 16]).unwrap(),
        m.workers().register(std::process::id(), 1).unwrap(),
    )
}

#[test]
fn one_identity_is_one_place_until_all_are_taken() {
    let m = Mapping::create(0).unwrap();
    let identity = |n: usize| [n as u8; 16];
    for n in 0..INSTANCES {
        let i = m.instance(identity(n)).unwrap();
        assert_eq!(i.bump_epoch(), 1, "a place of its own");
        assert_eq!(m.instance_at(i.id()).epoch(), 1);
    }
    assert!(m.instance(identity(INSTANCES)).is_err());
    assert!((0..INSTANCES).all(|n| m.instance(identity(n)).unwrap().epoch() == 1));
}

#[test]
fn processes_that_start_together_agree_on_the_places() {
    let m = Mapping::create(0).unwrap();
    let go = &shared_numbers(1)[0];
    let children: Vec<_> = (0..6u8)
        .map(|process| {
            fork(|| {
                go.fetch_add(1, Ordering::SeqCst);
                until("all have started", || go.load(Ordering::SeqCst) == 6);
                for step in 0..INSTANCES as u8 {
                    let n = step.wrapping_mul(process * 2 + 1) % INSTANCES as u8;
                    m.instance([n + 1; 16]).unwrap().bump_revocations();
                }
                0
            })
        })
        .collect();
    assert!(children.into_iter().all(|child| wait(child) == 0));
    assert!((0..INSTANCES as u8).all(|n| m.instance([n + 1; 16]).unwrap().revocations() == 6));
    assert!(m.instance([200; 16]).is_err());
}

#[test]
fn a_lease_has_one_holder_and_ends() {
    let m = Mapping::create(0).unwrap();
    let (i, a) = setup(&m);
    let b = m.workers().register(std::process::id(), 2).unwrap();
    assert_eq!(i.lease_holder(), None);
    let first = i.lease_try(a, 1000, 1500).unwrap();
    assert!(i.leads(first));
    assert_eq!(i.lease_holder().unwrap().worker, a.index());
    assert_eq!(i.lease_holder().unwrap().deadline, 2500);
    assert_eq!(i.lease_try(b, 2499, 1500), None);
    assert!(i.lease_renew(first, 2000, 1500));
    assert_eq!(i.lease_try(b, 3499, 1500), None);
    let second = i.lease_try(b, 3500, 1500).unwrap();
    assert!(second.number() > first.number());
    assert!(!i.lease_renew(first, 3500, 1500) && !i.leads(first));
    assert!(!i.lease_resign(first));
    assert_eq!(i.lease_holder().unwrap().worker, b.index());
    assert!(i.lease_resign(second));
    assert_eq!(i.lease_holder(), None);
    assert!(!i.publish_profile(second, b"late"), "resigned");
    assert!(i.lease_try(a, 3501, 1500).is_some(), "free at once");
}

/// Everything that needs a term.
fn writes(i: &InstanceState<'_>, term: Term) -> [bool; 4] {
    [
        i.publish_agent_session(term, b"token"),
        i.publish_profile(term, b"profile"),
        i.set_status(term, StatusWord::LastContactAt, 7),
        i.lease_renew(term, 10_000, 10),
    ]
}

#[test]
fn a_stopped_leader_that_wakes_up_writes_nothing() {
    let m = Mapping::create(0).unwrap();
    let (i, worker) = setup(&m);
    let steps = shared_numbers(2);
    let child = fork(|| {
        let own = m.workers().register(std::process::id(), 3).unwrap();
        let term = i.lease_try(own, 1000, 1500).unwrap();
        assert_eq!(writes(&i, term), [true; 4]);
        steps[0].store(1, Ordering::SeqCst);
        until("the successor leads", || {
            steps[1].load(Ordering::SeqCst) == 1
        });
        assert_eq!(writes(&i, term), [false; 4]);
        assert!(!i.lease_resign(term));
        0
    });
    until("the child leads", || steps[0].load(Ordering::SeqCst) == 1);
    signal(child, libc::SIGSTOP);
    let mut status = 0;
    // SAFETY: waits until our child has stopped.
    let stopped = unsafe { libc::waitpid(child, &mut status, libc::WUNTRACED) };
    assert_eq!(stopped, child);
    assert!(libc::WIFSTOPPED(status));
    let term = i.lease_try(worker, 20_000, 1500).unwrap();
    assert!(i.publish_profile(term, b"of the successor"));
    steps[1].store(1, Ordering::SeqCst);
    signal(child, libc::SIGCONT);
    assert_eq!(wait(child), 0);
    let mut out = Vec::new();
    assert_eq!(i.profile(&mut out), Some(2));
    assert_eq!(out, b"of the successor");
    assert!(i.leads(term));
}

#[test]
fn competing_processes_never_lead_together() {
    let m = Mapping::create(0).unwrap();
    let (i, _) = setup(&m);
    let numbers = shared_numbers(2);
    let (inside, turns) = (&numbers[0], &numbers[1]);
    let children: Vec<_> = (0..4u64)
        .map(|n| {
            fork(|| {
                let own = m.workers().register(std::process::id(), n).unwrap();
                while turns.load(Ordering::SeqCst) < 2000 {
                    let Some(term) = i.lease_try(own, 1, 1_000_000) else {
                        continue;
                    };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    turns.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                    until("resigned", || i.lease_resign(term));
                }
                0
            })
        })
        .collect();
    assert!(children.into_iter().all(|child| wait(child) == 0));
}

#[test]
fn the_agent_session_has_generations() {
    let m = Mapping::create(0).unwrap();
    let (i, worker) = setup(&m);
    let mut out = vec![1];
    assert_eq!(i.agent_session(&mut out), None);
    assert!(out.is_empty());
    assert!(!i.invalidate_agent_session(0), "nothing to withdraw");
    let term = i.lease_try(worker, 1, 10).unwrap();
    assert!(i.publish_agent_session(term, b"first"));
    let first = i.agent_session(&mut out).unwrap();
    assert_eq!(out, b"first");
    assert!(i.publish_agent_session(term, &[7; AGENT_SESSION_BYTES]));
    assert!(
        !i.invalidate_agent_session(first),
        "an old one is not current"
    );
    let second = i.agent_session(&mut out).unwrap();
    assert!(second > first);
    assert_eq!(out, [7; AGENT_SESSION_BYTES]);
    assert_eq!(i.agent_session_generation(), Some(second));
    assert!(i.invalidate_agent_session(second));
    assert!(
        !i.invalidate_agent_session(second),
        "only one caller withdraws it"
    );
    assert_eq!(i.agent_session(&mut out), None);
    assert_eq!(i.agent_session_generation(), None);
    assert!(!i.publish_agent_session(term, &[7; AGENT_SESSION_BYTES + 1]));
    assert!(i.publish_agent_session(term, b"third"));
    assert!(i.agent_session(&mut out).unwrap() > second);
}

#[test]
fn profiles_of_all_lengths_come_back() {
    let m = Mapping::create(0).unwrap();
    let (i, worker) = setup(&m);
    let term = i.lease_try(worker, 1, 10).unwrap();
    let mut out = Vec::new();
    assert_eq!((i.profile(&mut out), i.profile_version()), (None, 0));
    for (n, length) in [0, 1, 7, 8, 9, 5000, PROFILE_BYTES].into_iter().enumerate() {
        let profile: Vec<u8> = (0..length).map(|b| (b + n) as u8).collect();
        assert!(i.publish_profile(term, &profile));
        assert_eq!(i.profile(&mut out), Some(n as u64 + 1));
        assert_eq!(i.profile_version(), n as u64 + 1);
        assert_eq!(out, profile);
    }
    assert!(!i.publish_profile(term, &vec![0; PROFILE_BYTES + 1]));
    assert_eq!(i.profile(&mut out), Some(7), "too long changes nothing");
}

/// A profile in which every byte follows from the first eight.
fn profile(seed: u64) -> Vec<u8> {
    let length = 8 + (seed % 30_000) as usize;
    let mut bytes = seed.to_le_bytes().to_vec();
    bytes.resize(length, seed as u8);
    bytes
}

#[test]
fn readers_see_whole_profiles_while_leaders_are_killed() {
    let m = Mapping::create(0).unwrap();
    let (i, _) = setup(&m);
    let mut random = Random(3);
    let (mut reads, mut last, mut out) = (0u64, 0, Vec::new());
    for round in 0..60u64 {
        let seed = random.next();
        let before = i.profile_version();
        let child = fork(|| {
            let own = m.workers().register(std::process::id(), round).unwrap();
            let mut term = None;
            until("the lease is ours", || {
                term = i.lease_try(own, 1000 * (round + 1), 1000);
                term.is_some()
            });
            let mut random = Random(seed);
            loop {
                let _ = i.publish_profile(term.unwrap(), &profile(random.next()));
            }
        });
        let target = before + random.next() % 40;
        until("the leader publishes", || {
            if let Some(version) = i.profile(&mut out) {
                let seed = u64::from_le_bytes(out[..8].try_into().unwrap());
                assert_eq!(out, profile(seed));
                assert!(version >= last);
                last = version;
                reads += 1;
            }
            i.profile_version() > target
        });
        signal(child, libc::SIGKILL);
        assert_eq!(wait(child), -libc::SIGKILL);
    }
    assert!(reads > 60);
    assert!(
        i.profile(&mut out).is_some(),
        "the last whole one is still there"
    );
}

#[test]
fn status_and_spare_numbers_are_shared() {
    let m = Mapping::create(0).unwrap();
    let (i, worker) = setup(&m);
    let term = i.lease_try(worker, 1, 10).unwrap();
    assert!(i.set_status(term, StatusWord::LastError, 17));
    let child = fork(|| {
        assert_eq!(i.status(StatusWord::LastError), 17);
        assert_eq!(i.status(StatusWord::LastErrorAt), 0);
        i.spare(SPARE_COUNTERS - 1)
            .unwrap()
            .fetch_add(5, Ordering::SeqCst);
        0
    });
    assert_eq!(wait(child), 0);
    assert_eq!(
        i.spare(SPARE_COUNTERS - 1).unwrap().load(Ordering::SeqCst),
        5
    );
    assert!(i.spare(SPARE_COUNTERS).is_none());
}
