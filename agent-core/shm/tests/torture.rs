//! Writers are killed in the middle of puts; readers must never see half a record.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use portcullis_shm::{Mapping, Put, Stamp};
use support::{Random, fork, key, shared_numbers, signal, until, wait};

const KEYS: u64 = 600;
const KILLS: u64 = 300;

/// A record in which everything follows from the key's number and the version.
fn record(n: u64, version: u64) -> (Stamp, Vec<u8>) {
    let mut random = Random(n << 32 ^ version);
    let length = match random.next() % 10 {
        0 => random.next() % 20_000,
        1..=3 => random.next() % 3000,
        _ => random.next() % 600,
    };
    let value = (0..length.div_ceil(8)).flat_map(|_| random.next().to_le_bytes());
    let value = value.take(length as usize).collect();
    let stamp = Stamp {
        stored_at: version,
        expires_at: random.next() >> 1,
        epoch: random.next(),
        revocations: random.next(),
    };
    (stamp, value)
}

fn write_for_ever(m: &Mapping, seed: u64, puts: &AtomicU64) -> ! {
    let mut random = Random(seed);
    loop {
        let (n, version) = (random.next() % KEYS, random.next() % 50);
        let (stamp, value) = record(n, version);
        let _ = m.sessions().put(key(n), stamp, &value);
        puts.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads until told to stop; how many hits, all of them whole.
fn read(m: &Mapping, seed: u64, stop: &AtomicBool) -> u64 {
    let (mut random, mut out, mut hits) = (Random(seed), Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let n = random.next() % KEYS;
        if let Some(stamp) = m.sessions().get(key(n), 100, &mut out) {
            let (expected, value) = record(n, stamp.stored_at);
            assert!(stamp == expected && out == value, "torn: key {n}");
            hits += 1;
        }
    }
    hits
}

#[test]
fn killed_writers_leave_no_torn_record_and_no_lock() {
    // Small, so that writers also evict each other's records.
    let m = &Mapping::create(0).unwrap();
    let puts = &shared_numbers(1)[0];
    let stop = &AtomicBool::new(false);
    let hits = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|s| scope.spawn(move || read(m, s, stop)))
            .collect();
        let mut random = Random(99);
        for _ in 0..KILLS {
            let seed = random.next();
            let target = puts.load(Ordering::Relaxed) + random.next() % 100;
            let writer = fork(|| write_for_ever(m, seed, puts));
            until("the writer works", || puts.load(Ordering::Relaxed) > target);
            signal(writer, libc::SIGKILL);
            assert_eq!(wait(writer), -libc::SIGKILL);
        }
        stop.store(true, Ordering::Relaxed);
        // A torn record ended the reader with a panic.
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum::<u64>()
    });
    println!(
        "{KILLS} kills, {} puts, {hits} whole reads",
        puts.load(Ordering::Relaxed)
    );
    assert!(hits > 0);
    // No lock stayed behind: every key can be stored and found.
    let mut out = Vec::new();
    for n in 0..KEYS {
        let (stamp, value) = record(n, 51);
        assert_eq!(m.sessions().put(key(n), stamp, &value), Put::Stored);
        assert_eq!(m.sessions().get(key(n), 100, &mut out), Some(stamp));
        assert_eq!(out, value);
    }
}
