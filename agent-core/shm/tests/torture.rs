//! Writers are killed in the middle of writes; readers must never see half a record, and what was said to
//! have ended stays ended.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use portcullis_shm::{Ended, Key, Mapping, Put, Stamp};
use support::{Random, die_in, fork, key, shared_numbers, wait};

const KEYS: u64 = 2_000;
/// Kills that hit a writer in the middle of a write; others are not counted.
const KILLS: u64 = 2_000;
/// Writers at most, were most of them killed between two writes.
const WRITERS: u64 = 4 * KILLS;
/// What one writer ends, at most, so that all of it has room.
const ENDS: u64 = 2;
const EXPIRES: u64 = 1_000_000;

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

/// What one writer shows of itself.
#[derive(Clone, Copy)]
struct Writer {
    number: u64,
    /// 1 during a write.
    writes: &'static AtomicU64,
    /// How many of its keys it was told to have ended.
    ended: &'static AtomicU64,
}

impl Writer {
    fn of(number: u64, shown: &'static [AtomicU64]) -> Writer {
        let at = number as usize * 2;
        Writer {
            number,
            writes: &shown[at],
            ended: &shown[at + 1],
        }
    }

    fn key(self, n: u64) -> Key {
        key(1 << 60 | self.number << 8 | n)
    }

    fn write_for_ever(self, m: &Mapping) -> ! {
        let mut random = Random(self.number);
        loop {
            let (n, version) = (random.next() % KEYS, random.next() % 50);
            let (stamp, value) = record(n, version);
            let ended = self.ended.load(Ordering::SeqCst);
            let ends = ended < ENDS && random.next().is_multiple_of(2);
            self.writes.store(1, Ordering::SeqCst);
            if !ends {
                let _ = m.sessions().put(key(n), stamp, &value);
            } else if m.ended().insert(self.key(ended), EXPIRES, 1) {
                self.ended.store(ended + 1, Ordering::SeqCst);
            }
            self.writes.store(0, Ordering::SeqCst);
        }
    }

    /// Everything that it was told is still so.
    fn assert_ended(self, m: &Mapping) {
        for n in 0..self.ended.load(Ordering::SeqCst) {
            let seen = m.ended().look(self.key(n), 2);
            assert_eq!(
                seen,
                Ended::Yes,
                "writer {}, key {n}: forgotten",
                self.number
            );
        }
    }
}

/// Reads until told to stop; how many hits, all of them whole.
fn read(m: &Mapping, shown: &'static [AtomicU64], stop: &AtomicBool) -> u64 {
    let (mut random, mut out, mut hits) = (Random(7), Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let n = random.next() % KEYS;
        if let Some(stamp) = m.sessions().get(key(n), 100, &mut out) {
            let (expected, value) = record(n, stamp.stored_at);
            assert!(stamp == expected && out == value, "torn: key {n}");
            hits += 1;
        }
        Writer::of(random.next() % WRITERS, shown).assert_ended(m);
    }
    hits
}

/// Starts two writers at a time and has each killed at a moment of chance. How many there were, and how
/// many were killed in the middle of a write.
fn kill(m: &Mapping, shown: &'static [AtomicU64]) -> (u64, u64) {
    let (mut random, mut begun, mut killed) = (Random(99), 0, 0);
    while killed < KILLS {
        assert!(
            begun + 2 <= WRITERS,
            "{killed} of {begun} in the middle of a write"
        );
        let pair = [begun, begun + 1].map(|number| {
            let writer = Writer::of(number, shown);
            let after = random.next() % 200_000;
            let child = fork(|| {
                die_in(after);
                writer.write_for_ever(m)
            });
            (writer, child)
        });
        for (writer, child) in pair {
            assert_eq!(wait(child), -libc::SIGKILL);
            killed += writer.writes.load(Ordering::SeqCst);
            writer.assert_ended(m);
        }
        begun += 2;
    }
    (begun, killed)
}

#[test]
fn killed_writers_leave_no_torn_record_no_lock_and_forget_no_end() {
    // Small, so that writers also evict each other's records.
    let m = &Mapping::create(4 << 20).unwrap();
    let shown = shared_numbers(2 * WRITERS as usize);
    let stop = &AtomicBool::new(false);
    let (begun, killed, hits) = std::thread::scope(|scope| {
        let reader = scope.spawn(move || read(m, shown, stop));
        let (begun, killed) = kill(m, shown);
        stop.store(true, Ordering::Relaxed);
        // A torn record ended the reader with a panic.
        (begun, killed, reader.join().unwrap())
    });
    let writers = (0..begun).map(|number| Writer::of(number, shown));
    let ended: u64 = writers
        .clone()
        .map(|w| w.ended.load(Ordering::SeqCst))
        .sum();
    println!("{begun} writers, {killed} killed in a write, {hits} whole reads, {ended} ended");
    assert!(hits > 0 && ended > 0);
    writers.for_each(|writer| writer.assert_ended(m));
    // No lock stayed behind: every key can be stored and found.
    let mut out = Vec::new();
    for n in 0..KEYS {
        let (stamp, value) = record(n, 51);
        assert_eq!(m.sessions().put(key(n), stamp, &value), Put::Stored);
        assert_eq!(m.sessions().get(key(n), 100, &mut out), Some(stamp));
        assert_eq!(out, value);
    }
}
