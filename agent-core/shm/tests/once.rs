//! What is spent and what has ended, across processes.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_shm::{Ended, Key, Mapping, Spent};
use support::{Random, fork, key, shared_numbers, signal, until, wait};

const EXPIRES: u64 = 1_000_000;

/// Spends a key, again as long as another process is in the way.
fn spend(m: &Mapping, n: u64) -> Spent {
    let mut answer = Spent::Refused;
    until("the stripe is free", || {
        answer = m.spent().spend(key(n), EXPIRES, 1);
        answer != Spent::Refused
    });
    answer
}

#[test]
fn eight_processes_spend_each_key_once() {
    const KEYS: u64 = 8000;
    let m = Mapping::create(16 << 20).unwrap();
    let firsts = shared_numbers(KEYS as usize);
    let go = &shared_numbers(1)[0];
    let spender = |process: u64| {
        go.fetch_add(1, Ordering::SeqCst);
        until("all have started", || go.load(Ordering::SeqCst) == 8);
        // All meet at the same keys, from both ends.
        for step in 0..KEYS {
            let n = if process.is_multiple_of(2) {
                step
            } else {
                KEYS - 1 - step
            };
            if spend(&m, n) == Spent::First {
                firsts[n as usize].fetch_add(1, Ordering::SeqCst);
            }
        }
        0
    };
    let children: Vec<_> = (0..8).map(|process| fork(|| spender(process))).collect();
    for child in children {
        assert_eq!(wait(child), 0);
    }
    assert!(firsts.iter().all(|count| count.load(Ordering::SeqCst) == 1));
    assert!((0..KEYS).all(|n| spend(&m, n) == Spent::Replayed));
}

#[test]
fn killed_spenders_never_make_a_second_first() {
    const KEYS: u64 = 4000;
    let m = Mapping::create(16 << 20).unwrap();
    let firsts = shared_numbers(KEYS as usize);
    let progress = &shared_numbers(1)[0];
    let mut random = Random(1);
    for round in 0..100 {
        let seed = random.next();
        let before = progress.load(Ordering::SeqCst);
        let child = fork(|| {
            let mut random = Random(seed);
            loop {
                let n = random.next() % KEYS;
                if spend(&m, n) == Spent::First {
                    firsts[n as usize].fetch_add(1, Ordering::SeqCst);
                }
                progress.fetch_add(1, Ordering::SeqCst);
            }
        });
        let target = before + random.next() % 500;
        until("the spender works", || {
            progress.load(Ordering::SeqCst) > target
        });
        signal(child, libc::SIGKILL);
        assert_eq!(wait(child), -libc::SIGKILL, "round {round}");
    }
    for n in 0..KEYS {
        let last = u64::from(spend(&m, n) == Spent::First);
        assert!(
            firsts[n as usize].load(Ordering::SeqCst) + last <= 1,
            "key {n}"
        );
        assert_eq!(spend(&m, n), Spent::Replayed);
    }
}

/// The n-th key that the writer of a round puts in.
fn ended_key(round: u64, n: u64) -> Key {
    key(round * 1_000_000 + n)
}

/// What `insert` reported as recorded is there.
fn all_ended(m: &Mapping, round: u64, count: u64) {
    for n in 0..count {
        assert_eq!(
            m.ended().look(ended_key(round, n), 2),
            Ended::Yes,
            "round {round}, key {n}"
        );
    }
}

#[test]
fn killed_writers_never_undo_a_logout() {
    let m = Mapping::create(16 << 20).unwrap();
    let counts = shared_numbers(200);
    let mut random = Random(2);
    for round in 0..200u64 {
        let count: &AtomicU64 = &counts[round as usize];
        let child = fork(|| {
            for n in 0..100 {
                if !m.ended().insert(ended_key(round, n), EXPIRES, 1) {
                    return 1;
                }
                count.store(n + 1, Ordering::SeqCst);
            }
            // All done: wait for the end.
            loop {
                std::thread::park();
            }
        });
        let target = random.next() % 100;
        until("the writer works", || count.load(Ordering::SeqCst) > target);
        signal(child, libc::SIGKILL);
        assert_eq!(wait(child), -libc::SIGKILL);
        // The first look after the kill may meet a half-written set.
        all_ended(&m, round, count.load(Ordering::SeqCst));
    }
    for (round, count) in counts.iter().enumerate() {
        all_ended(&m, round as u64, count.load(Ordering::SeqCst));
    }
    // What nobody put in is proven absent: every set was mended.
    let unknown = (0..5000)
        .filter(|n| m.ended().look(key(u64::MAX - n), 2) != Ended::No)
        .count();
    assert_eq!(unknown, 0);
}

/// Keys with one high half share a set.
fn same_set(n: u64) -> Key {
    Key(9 << 64 | u128::from(n))
}

#[test]
fn a_full_spent_set_refuses_and_forgets_nothing() {
    let m = Mapping::create(0).unwrap();
    for n in 1..=31 {
        assert_eq!(m.spent().spend(same_set(n), 1000, 1), Spent::First);
    }
    assert_eq!(m.spent().spend(same_set(32), 1000, 1), Spent::Refused);
    for n in 1..=31 {
        assert_eq!(m.spent().spend(same_set(n), 1000, 1), Spent::Replayed);
    }
    // Just after their end they stay, for requests that began before; later they give way.
    assert_eq!(m.spent().spend(same_set(33), 2000, 1001), Spent::Refused);
    assert_eq!(m.spent().spend(same_set(1), 2000, 1001), Spent::Replayed);
    assert_eq!(
        m.spent().spend(same_set(33), 900_000, 500_000),
        Spent::First
    );
}

#[test]
fn an_expired_key_cannot_be_spent() {
    let m = Mapping::create(0).unwrap();
    assert_eq!(m.spent().spend(key(1), 1000, 1000), Spent::Refused);
    assert_eq!(m.spent().spend(key(1), 1000, 999), Spent::First);
}

#[test]
fn a_full_ended_set_says_unknown_until_the_lost_one_expires() {
    let m = Mapping::create(0).unwrap();
    for n in 1..=31 {
        assert!(m.ended().insert(same_set(n), 1000, 1));
    }
    assert_eq!(
        m.ended().look(same_set(50), 1),
        Ended::No,
        "full, but nothing was lost"
    );
    assert!(!m.ended().insert(same_set(32), 5000, 1));
    assert_eq!(m.ended().look(same_set(32), 4999), Ended::Unknown);
    assert_eq!(m.ended().look(same_set(50), 4999), Ended::Unknown);
    assert_eq!(
        m.ended().look(same_set(7), 999),
        Ended::Yes,
        "those that are there still count"
    );
    assert_eq!(m.ended().look(same_set(32), 5000), Ended::No);
    assert_eq!(
        m.ended().look(key(4), 1),
        Ended::No,
        "other sets are not in doubt"
    );
    // Its own entry is over, but a longer one of the same key was lost.
    assert!(!m.ended().insert(same_set(7), 6000, 500));
    assert_eq!(m.ended().look(same_set(7), 5500), Ended::Unknown);
}

#[test]
fn strangers_fill_half_of_an_ended_set_and_leave_no_doubt() {
    let m = Mapping::create(0).unwrap();
    let strangers = |from: u64, now: u64| {
        let all = from..from + 100;
        all.filter(|n| m.ended().insert_of_stranger(same_set(*n), now + 1000, now))
            .count()
    };
    assert_eq!(strangers(100, 1), 15);
    assert_eq!(m.ended().look(same_set(100), 1000), Ended::Yes);
    assert_eq!(
        m.ended().look(same_set(199), 1),
        Ended::No,
        "refused, and not in doubt"
    );
    assert!(
        m.ended().insert_of_stranger(same_set(100), 900, 1),
        "there already"
    );
    // The rest is for sessions that somebody knows, one of a stranger's among them.
    for n in 0..16 {
        assert!(m.ended().insert(same_set(n), 1_000_001, 1), "{n}");
    }
    assert!(!m.ended().insert(same_set(16), 1_000_001, 1));
    // Nobody's place goes early.
    assert_eq!(strangers(200, 1002 + 119_998), 0);
    assert_eq!(strangers(200, 1002 + 120_001), 15);
    assert_eq!(m.ended().look(same_set(3), 1_000_000), Ended::Yes);
}

#[test]
fn a_later_end_extends_and_an_earlier_one_changes_nothing() {
    let m = Mapping::create(0).unwrap();
    assert!(m.ended().insert(key(1), 1000, 1));
    assert!(m.ended().insert(key(1), 500, 1));
    assert_eq!(m.ended().look(key(1), 999), Ended::Yes);
    assert!(m.ended().insert(key(1), 2000, 1));
    assert_eq!(m.ended().look(key(1), 1999), Ended::Yes);
    assert_eq!(m.ended().look(key(1), 2000), Ended::No);
    assert!(
        m.ended().insert(key(2), 10, 20),
        "already over: nothing to keep"
    );
}
