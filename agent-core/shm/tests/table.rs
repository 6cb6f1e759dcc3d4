//! A table in one process.

mod support;

use portcullis_shm::{Key, LARGEST_VALUE, Mapping, Put, Stamp};
use support::key;

fn stamp(expires_at: u64) -> Stamp {
    Stamp {
        stored_at: 1,
        expires_at,
        epoch: 3,
        revocations: 4,
    }
}

#[test]
fn every_length_comes_back_as_it_was() {
    let m = Mapping::create(16 << 20).unwrap();
    let mut out = vec![9; 10];
    for length in (0..200).chain([512, 513, 2047, 2048, 2049, 8192, 8193, LARGEST_VALUE]) {
        let value: Vec<u8> = (0..length).map(|i| (i * 7 + length) as u8).collect();
        let k = key(length as u64);
        assert_eq!(m.sessions().put(k, stamp(100), &value), Put::Stored);
        assert_eq!(
            m.sessions().get(k, 5, &mut out),
            Some(stamp(100)),
            "{length}"
        );
        assert_eq!(out, value);
        assert_eq!(m.decisions().get(k, 5, &mut out), None, "tables are apart");
        assert!(out.is_empty(), "a miss empties the buffer");
    }
}

#[test]
fn the_newest_record_replaces_the_older_one_in_any_class() {
    let m = Mapping::create(0).unwrap();
    let mut out = Vec::new();
    for length in [0, 5000, 100, 60_000, 1, 700, 128] {
        let value = vec![length as u8; length];
        assert_eq!(m.sessions().put(key(1), stamp(100), &value), Put::Stored);
        assert!(m.sessions().get(key(1), 5, &mut out).is_some());
        assert_eq!(out, value);
    }
    assert!(m.sessions().remove(key(1)));
    assert_eq!(m.sessions().get(key(1), 5, &mut out), None);
    assert!(m.sessions().remove(key(1)), "gone is gone");
}

#[test]
fn too_large_takes_the_older_record_away() {
    let m = Mapping::create(0).unwrap();
    let mut out = Vec::new();
    assert_eq!(m.sessions().put(key(1), stamp(100), b"old"), Put::Stored);
    let huge = vec![0; LARGEST_VALUE + 1];
    assert_eq!(m.sessions().put(key(1), stamp(100), &huge), Put::TooLarge);
    assert_eq!(m.sessions().get(key(1), 5, &mut out), None);
    assert_eq!(m.dead().put(key(2), stamp(100), &[0; 129]), Put::TooLarge);
    assert_eq!(m.dead().put(key(2), stamp(100), b""), Put::Stored);
    assert_eq!(m.dead().get(key(2), 5, &mut out), Some(stamp(100)));
}

#[test]
fn expired_records_are_returned_and_records_of_the_future_are_not() {
    let m = Mapping::create(0).unwrap();
    let mut out = Vec::new();
    assert_eq!(m.sessions().put(key(1), stamp(100), b"v"), Put::Stored);
    assert_eq!(
        m.sessions().get(key(1), 1_000_000, &mut out),
        Some(stamp(100))
    );
    let future = Stamp {
        stored_at: 10_000_000,
        ..stamp(u64::MAX)
    };
    assert_eq!(m.sessions().put(key(2), future, b"v"), Put::Stored);
    assert_eq!(m.sessions().get(key(2), 5, &mut out), None);
}

#[test]
fn a_full_set_gives_up_what_expires_first() {
    let m = Mapping::create(0).unwrap();
    let mut out = Vec::new();
    // Keys with one high half share their set in each class.
    let same_set = |n: u64| Key(7 << 64 | u128::from(n));
    for n in 1..=8 {
        assert_eq!(
            m.sessions().put(same_set(n), stamp(1000 - n), b"v"),
            Put::Stored
        );
    }
    assert_eq!(
        m.sessions().put(same_set(9), stamp(5000), b"v"),
        Put::Stored
    );
    for n in 1..=9 {
        let there = m.sessions().get(same_set(n), 5, &mut out).is_some();
        assert_eq!(there, n != 8, "key {n}");
    }
}

#[test]
fn keys_that_share_a_half_are_different() {
    let m = Mapping::create(0).unwrap();
    let mut out = Vec::new();
    let k = key(5);
    assert_eq!(m.sessions().put(k, stamp(100), b"v"), Put::Stored);
    for other in [
        Key(k.0 ^ 1),
        Key(k.0 ^ 1 << 64),
        Key(k.0 ^ 1 << 127),
        Key(0),
    ] {
        assert_eq!(m.sessions().get(other, 5, &mut out), None);
    }
}

#[test]
fn the_key_zero_is_a_key() {
    let m = Mapping::create(0).unwrap();
    let mut out = Vec::new();
    assert_eq!(m.sessions().get(Key(0), 5, &mut out), None);
    assert_eq!(m.sessions().put(Key(0), stamp(100), b"zero"), Put::Stored);
    assert_eq!(m.sessions().get(Key(0), 5, &mut out), Some(stamp(100)));
    assert_eq!(m.sessions().get(Key(1), 5, &mut out), None);
}

#[test]
fn clear_removes_everything() {
    let m = Mapping::create(0).unwrap();
    let mut out = Vec::new();
    for n in 0..500 {
        assert_eq!(
            m.sessions()
                .put(key(n), stamp(100), &vec![1; n as usize * 9]),
            Put::Stored
        );
    }
    assert_eq!(m.decisions().put(key(1), stamp(100), b"stays"), Put::Stored);
    assert!(m.sessions().clear());
    assert!((0..500).all(|n| m.sessions().get(key(n), 5, &mut out).is_none()));
    assert!(m.decisions().get(key(1), 5, &mut out).is_some());
}

#[test]
fn a_normal_load_fits() {
    let m = Mapping::create(16 << 20).unwrap();
    let mut out = Vec::new();
    for n in 0..2000 {
        assert_eq!(
            m.sessions().put(key(n), stamp(100 + n), &[1; 400]),
            Put::Stored
        );
        assert_eq!(
            m.decisions().put(key(n), stamp(100 + n), &[1; 300]),
            Put::Stored
        );
    }
    let lost = (0..2000)
        .filter(|n| {
            m.sessions().get(key(*n), 5, &mut out).is_none()
                || m.decisions().get(key(*n), 5, &mut out).is_none()
        })
        .count();
    assert!(lost < 100, "{lost} of 2000 lost in overfull sets");
}

#[test]
fn one_owner_of_a_hundred_thousand_records_pushes_nobody_out() {
    let m = Mapping::create(16 << 20).unwrap();
    let table = m.decisions();
    let mut out = Vec::new();
    let lengths = [100, 400];
    let mut found = |keys: std::ops::Range<u64>| {
        let there = |n: &u64| table.get(key(*n), 5, &mut out).is_some();
        keys.filter(there).count()
    };
    for n in 0..2_000 {
        let value = vec![1; lengths[n as usize % 2]];
        assert_eq!(
            table.put_of(1 + n, key(n), stamp(1_000), &value),
            Put::Stored
        );
    }
    let before = found(0..2_000);
    // Later than all of them: those that expire first would go.
    for n in 0..100_000 {
        let value = vec![2; lengths[n as usize % 2]];
        let one = key(1_000_000 + n);
        assert_eq!(
            table.put_of(9_999, one, stamp(10_000 + n), &value),
            Put::Stored
        );
    }
    let after = found(0..2_000);
    let its = found(1_000_000..1_100_000);
    println!("{before} of 2000 before, {after} after, and {its} of 100000");
    assert!(
        before > 1_990 && after * 100 > before * 97,
        "{before} before, {after} after"
    );
    assert!(its > 2_000, "{its}: a page of many parts is known");
    // The last ones are there: it pushed out its own older ones.
    assert!(found(1_099_000..1_100_000) > 900);
}

#[test]
fn an_owner_that_is_bounded_replaces_its_own_records() {
    let m = Mapping::create(0).unwrap();
    let mut out = Vec::new();
    let same_set = |n: u64| Key(7 << 64 | u128::from(n));
    for n in 1..=5 {
        let put = m.sessions().put_of(3, same_set(n), stamp(1_000 + n), b"v");
        assert_eq!(put, Put::Stored);
    }
    let there: Vec<u64> = (1..=5)
        .filter(|n| m.sessions().get(same_set(*n), 5, &mut out).is_some())
        .collect();
    assert_eq!(
        there,
        [2, 3, 4, 5],
        "the oldest of its own, although four slots are free"
    );
    let put = m.sessions().put_of(3, same_set(5), stamp(9_000), b"w");
    assert_eq!(put, Put::Stored, "in its own place");
    assert!(m.sessions().get(same_set(2), 5, &mut out).is_some());
}
