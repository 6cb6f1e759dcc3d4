//! Pilots are killed at any instruction; nobody waits for them for ever, and nobody is told of a round
//! that its wish was not part of.

mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_shm::{
    Boarded, Boarding, Key, Mapping, Progress, Wish, WorkerId, clock, process_start_time,
};
use support::{Random, fork, shared_numbers, signal, until, wait};

const WISHES: u64 = 16;
const KILLS: u64 = 150;
/// Short, so that the place of a killed pilot is soon free.
const LEASE: u64 = 20;

fn register(m: &Mapping) -> Option<WorkerId> {
    let pid = std::process::id();
    m.workers().register(pid, process_start_time(pid)?)
}

/// Boards one of four flights and says how it ended, for ever: as a pilot with the set of wishes that it
/// flew, as a passenger by looking for its own in there.
fn travel(m: &Mapping, seed: u64, landed: &AtomicU64, wrong: &AtomicU64) -> ! {
    let Some(me) = register(m) else {
        std::process::exit(1);
    };
    let mut random = Random(seed);
    loop {
        let (flight, n) = (random.next() % 4, random.next() % WISHES);
        let now = clock::boottime_ms();
        let wish = Wish {
            key: Key(u128::from(n)),
            until: now + 1_000,
            bytes: vec![n as u8; (random.next() % 100) as usize],
        };
        let with = |now| Boarding {
            worker: me,
            known: 1,
            now,
            lease: LEASE,
        };
        match m.flights().board(Key(u128::from(flight)), &wish, with(now)) {
            Boarded::Alone => {}
            Boarded::Pilot(flight) => {
                let mut next = Some(flight);
                while let Some(flight) = next {
                    let all = flight.wishes();
                    let whole = |w: &Wish| w.bytes.iter().all(|b| u128::from(*b) == w.key.0);
                    if !all.iter().all(whole) {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                    let set = all.iter().fold(1 << 31, |set, w| set | 1u32 << w.key.0);
                    std::thread::yield_now();
                    next = flight.land(set, with(clock::boottime_ms()));
                }
            }
            Boarded::Passenger(passage) => loop {
                match passage.look(clock::boottime_ms()) {
                    Progress::Flying => std::thread::yield_now(),
                    Progress::Lost => break,
                    Progress::Landed(set) => {
                        landed.fetch_add(1, Ordering::Relaxed);
                        if set & 1 << n == 0 {
                            wrong.fetch_add(1, Ordering::Relaxed);
                        }
                        break;
                    }
                }
            },
        }
    }
}

#[test]
fn killed_pilots_leave_nobody_waiting_and_tell_nothing_wrong() {
    let m = &Mapping::create(0).unwrap();
    let [landed, wrong, ..] = shared_numbers(2) else {
        panic!("no numbers");
    };
    let start = |n: u64| fork(move || travel(m, 0x5eed + n, landed, wrong));
    let mut children: Vec<libc::pid_t> = (0..3).map(start).collect();
    let mut random = Random(7);
    for kill in 0..KILLS {
        let before = landed.load(Ordering::Relaxed);
        until("passengers arrive", || {
            landed.load(Ordering::Relaxed) > before + random.next() % 20
        });
        let victim = (random.next() % children.len() as u64) as usize;
        signal(children[victim], libc::SIGKILL);
        wait(children[victim]);
        children[victim] = start(100 + kill);
    }
    for child in children {
        signal(child, libc::SIGKILL);
        wait(child);
    }
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
    // Whoever comes now finds a place: at once, or when the last lease has ended.
    let me = register(m).unwrap();
    let wish = Wish {
        key: Key(1),
        until: u64::MAX,
        bytes: vec![],
    };
    until("each flight can be begun", || {
        (0..4).all(|flight| {
            let with = Boarding {
                worker: me,
                known: 1,
                now: clock::boottime_ms(),
                lease: 0,
            };
            matches!(
                m.flights().board(Key(flight), &wish, with),
                Boarded::Pilot(_)
            )
        })
    });
}
