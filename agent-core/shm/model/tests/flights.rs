//! Flights: one asks, and whoever waits learns how its own round ended or that it is lost.

// What can't be had fails the test that wanted it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use loom::thread;
use portcullis_shm_model::{
    Boarded, Boarding, Contents, Fate, Key, Mapping, Passage, Progress, Wish, WorkerId, check,
    check_endings, ended, ends_after,
};

const FLIGHT: Key = Key(7);
const LEASE: u64 = 1_000;
/// More stores than a boarding does.
const STORES: u32 = 24;

fn mapping() -> Arc<Mapping> {
    Arc::new(Mapping::of(Contents::Flights(1)))
}

fn with(worker: u32, now: u64) -> Boarding {
    Boarding {
        worker: WorkerId(worker),
        known: 1,
        now,
        lease: LEASE,
    }
}

fn wish(n: u32) -> Wish {
    Wish {
        key: Key(u128::from(n)),
        until: 10_000,
        bytes: Vec::new(),
    }
}

/// Asks for `n` on its own account, for others, or waits. A pilot says for whom it asked.
fn travel<'m>(m: &'m Mapping, me: u32, n: u32, asking: &AtomicU32) -> Option<Passage<'m>> {
    match m.flights().board(FLIGHT, &wish(n), with(me, 0)) {
        Boarded::Alone => None,
        Boarded::Passenger(passage) => Some(passage),
        Boarded::Pilot(first) => {
            let mut flight = Some(first);
            while let Some(now) = flight {
                assert_eq!(asking.fetch_add(1, Relaxed), 0, "two ask at once");
                let asked = now.wishes().iter().fold(0, |all, w| all | 1 << w.key.0);
                assert_ne!(asked, 0, "a round for nobody");
                asking.fetch_sub(1, Relaxed);
                flight = now.land(asked, with(me, 0));
            }
            None
        }
    }
}

fn two(mine: u32, theirs: u32) {
    check(move || {
        let m = mapping();
        let asking = Arc::new(AtomicU32::new(0));
        let told = |passage: Option<Passage<'_>>, n: u32| {
            if let Some(Progress::Landed(asked)) = passage.map(|p| p.look(0)) {
                assert_ne!(asked & 1 << n, 0, "told of a round that did not ask for it");
            }
        };
        let other = {
            let (m, asking) = (Arc::clone(&m), Arc::clone(&asking));
            thread::spawn(move || told(travel(&m, 1, theirs, &asking), theirs))
        };
        let passage = travel(&m, 0, mine, &asking);
        other.join().unwrap();
        told(passage, mine);
    });
}

#[test]
fn who_wishes_the_same_is_told_of_a_round_that_asked_for_it() {
    two(1, 1);
}

#[test]
fn who_wishes_something_else_is_told_of_the_round_that_asked_for_that() {
    two(1, 2);
}

#[test]
fn a_pilot_killed_after_any_store_is_replaced() {
    check_endings(STORES, |stores| {
        let m = mapping();
        let victim = {
            let m = Arc::clone(&m);
            thread::spawn(move || {
                ends_after(stores, Fate::Killed);
                let boarded = m.flights().board(FLIGHT, &wish(1), with(1, 0));
                assert!(
                    stores < STORES || ended().is_none(),
                    "more stores than are tried"
                );
                // A process that is gone gives nothing back.
                std::mem::forget(boarded);
            })
        };
        victim.join().unwrap();
        let waits = match m.flights().board(FLIGHT, &wish(1), with(0, 0)) {
            Boarded::Passenger(passage) => Some(passage),
            _ => None,
        };
        if let Some(passage) = waits {
            assert_eq!(passage.look(LEASE), Progress::Lost);
            let Boarded::Pilot(flight) = m.flights().board(FLIGHT, &wish(1), with(0, LEASE)) else {
                panic!("nobody takes its place");
            };
            assert_eq!(flight.wishes(), [wish(1)]);
            assert!(flight.land(9, with(0, LEASE)).is_none());
        }
    });
}

#[test]
fn a_pilot_killed_landing_has_said_all_or_nothing() {
    check_endings(STORES, |stores| {
        let m = mapping();
        let pilot = {
            let m = Arc::clone(&m);
            thread::spawn(move || {
                let Boarded::Pilot(flight) = m.flights().board(FLIGHT, &wish(1), with(1, 0)) else {
                    return;
                };
                ends_after(stores, Fate::Killed);
                std::mem::forget(flight.land(5, with(1, 0)));
            })
        };
        let boarded = [1, 2].map(|n| m.flights().board(FLIGHT, &wish(n), with(0, 0)));
        pilot.join().unwrap();
        for passage in &boarded {
            if let Boarded::Passenger(passage) = passage {
                let seen = passage.look(LEASE);
                assert!(
                    matches!(seen, Progress::Landed(5) | Progress::Lost),
                    "{seen:?}"
                );
            }
        }
        // Whoever was not told asks itself; nothing keeps it from that.
        boarded.into_iter().for_each(std::mem::forget);
        let again = m.flights().board(FLIGHT, &wish(3), with(0, 2 * LEASE));
        assert!(matches!(again, Boarded::Pilot(_)), "{again:?}");
    });
}

#[test]
fn a_pilot_that_lost_its_place_says_nothing() {
    check(|| {
        let m = mapping();
        let Boarded::Pilot(silent) = m.flights().board(FLIGHT, &wish(1), with(1, 0)) else {
            panic!("the first flies");
        };
        let next = {
            let m = Arc::clone(&m);
            thread::spawn(
                move || match m.flights().board(FLIGHT, &wish(1), with(0, LEASE)) {
                    Boarded::Pilot(flight) => flight.land(9, with(0, LEASE)).is_none(),
                    _ => true,
                },
            )
        };
        // The other one may have its place already, and be back from its round.
        assert!(silent.land(5, with(1, LEASE)).is_none());
        assert!(next.join().unwrap());
    });
}
