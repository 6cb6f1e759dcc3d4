//! Somebody writes nonsense into the mapping: answers get worse, never wrong, and nothing panics.

use std::sync::atomic::Ordering;

use super::mapping;
use crate::{Ended, Gauge, Key, Mapping, Spent, Stamp, Term};

/// Xorshift: the same nonsense in every run.
struct Nonsense(u64);

impl Nonsense {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn key(&mut self) -> Key {
        Key(u128::from(self.next()) << 64 | u128::from(self.next()))
    }
}

fn stamp(key: Key) -> Stamp {
    Stamp {
        stored_at: 5,
        expires_at: key.low() | 100,
        epoch: 1,
        revocations: 2,
    }
}

fn value(key: Key) -> Vec<u8> {
    (0..key.low() % 3000)
        .map(|i| (key.high() >> (i % 50)) as u8)
        .collect()
}

/// Changes one word in `one_in` from `first` on, for `count` words.
fn spoil(m: &Mapping, random: &mut Nonsense, first: usize, count: usize, one_in: u64) {
    for word in m.words(first, count) {
        if random.next().is_multiple_of(one_in) {
            let old = word.load(Ordering::Relaxed);
            let new = match random.next() % 4 {
                0 => u64::MAX,
                1 => old ^ (1 << (random.next() % 64)),
                2 => old.wrapping_add(1),
                _ => random.next(),
            };
            word.store(new, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_damaged_table_misses_and_never_lies() {
    let m = mapping();
    let mut random = Nonsense(42);
    let first = m.layout().sessions[0].first;
    let words = m.layout().dead[0].first - first;
    let (mut hits, mut out) = (0, Vec::new());
    for _ in 0..20 {
        let keys: Vec<Key> = (0..200).map(|_| random.key()).collect();
        for key in &keys {
            let _ = m.sessions().put(*key, stamp(*key), &value(*key));
            let _ = m.decisions().put(*key, stamp(*key), &value(*key));
        }
        spoil(&m, &mut random, first, words, 100);
        for key in &keys {
            for table in [m.sessions(), m.decisions()] {
                if let Some(found) = table.get(*key, 10, &mut out) {
                    assert_eq!((found, &out), (stamp(*key), &value(*key)));
                    hits += 1;
                } else {
                    assert!(out.is_empty());
                }
            }
            let _ = m.sessions().remove(*key);
        }
    }
    assert!(hits > 1000, "most small records survive: {hits}");
    assert!(m.sessions().clear() && m.decisions().clear());
}

#[test]
fn a_damaged_set_doubts_and_never_forgets() {
    let m = mapping();
    let mut random = Nonsense(43);
    let keys: Vec<Key> = (0..600).map(|_| random.key()).collect();
    for key in &keys {
        assert!(m.ended().insert(*key, 1000, 1));
        assert_eq!(m.spent().spend(*key, 1000, 1), Spent::First);
    }
    // Only entries that hold something are hit here: no one can notice an entry replaced by
    // zeros, and none of this nonsense makes four zeros.
    for region in [m.layout().spent, m.layout().ended] {
        spoil(
            &m,
            &mut random,
            region.first,
            region.sets * region.set_words,
            50,
        );
    }
    let (mut yes, mut unknown) = (0, 0);
    for key in &keys {
        match m.ended().look(*key, 500) {
            Ended::Yes => yes += 1,
            Ended::Unknown => unknown += 1,
            Ended::No => panic!("an inserted key is forgotten"),
        }
        assert_ne!(m.spent().spend(*key, 1000, 500), Spent::First);
    }
    assert!(yes > 300 && unknown > 5, "{yes} yes, {unknown} unknown");
}

#[test]
fn damaged_instances_and_workers_panic_nowhere() {
    let mut random = Nonsense(44);
    let mut out = Vec::new();
    for _ in 0..200 {
        let m = mapping();
        let i = m.instance([1; 16]).unwrap();
        let worker = m.workers().register(std::process::id(), 1).unwrap();
        let term = i.lease_try(worker, 1, 10).unwrap();
        assert!(i.publish_agent_session(term, b"token") && i.publish_profile(term, &[3; 5000]));
        spoil(&m, &mut random, m.layout().instances, 4000, 10);
        spoil(&m, &mut random, m.layout().workers, 64, 3);
        spoil(&m, &mut random, 6, 10, 2);
        if i.agent_session(&mut out).is_some() {
            assert_eq!(out, b"token");
        }
        if i.profile(&mut out).is_some() {
            assert_eq!(out, [3; 5000]);
        }
        try_everything(&m, term);
    }
}

fn try_everything(m: &Mapping, term: Term) {
    let Ok(i) = m.instance([1; 16]) else { return };
    let counted = m.workers().register(77, 1).map(|id| {
        let counted = crate::Counted::new(m, id, Gauge::Waiting);
        (counted, m.workers().of(id, Gauge::Waiting))
    });
    drop(counted);
    m.workers().reap();
    let _ = (
        m.workers().sum_calls(),
        m.workers().sum_waiting(),
        i.lease_holder(),
    );
    let _ = (
        i.publish_profile(term, b"x"),
        i.lease_renew(term, 1, 1),
        i.bump_epoch(),
    );
    let _ = (
        i.invalidate_agent_session(1),
        i.lease_resign(term),
        i.bump_revocations(),
    );
}
