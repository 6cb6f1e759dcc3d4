use super::*;
use crate::layout::FLIGHT_WAYS;

const LEASE: u64 = 1_000;
const ME: u64 = 1;

fn mapping() -> Mapping {
    Mapping::create(0).unwrap()
}

/// Two processes of different numbers; the first is this one.
fn workers(m: &Mapping) -> [WorkerId; 2] {
    let pid = std::process::id();
    let started = crate::process_start_time(pid).unwrap();
    [(pid, started), (pid, started + 1)].map(|(pid, at)| m.workers().register(pid, at).unwrap())
}

fn wish(key: u128, bytes: &[u8]) -> Wish {
    Wish {
        key: Key(key),
        until: 10_000,
        bytes: bytes.to_vec(),
    }
}

fn with(worker: WorkerId, known: u64, now: u64) -> Boarding {
    Boarding {
        worker,
        known,
        now,
        lease: LEASE,
    }
}

fn pilot(boarded: Boarded<'_>) -> Flight<'_> {
    match boarded {
        Boarded::Pilot(flight) => flight,
        other => panic!("{other:?}"),
    }
}

fn passenger(boarded: Boarded<'_>) -> Passage<'_> {
    match boarded {
        Boarded::Passenger(passage) => passage,
        other => panic!("{other:?}"),
    }
}

fn keys(flight: &Flight<'_>) -> Vec<u128> {
    flight.wishes().iter().map(|wish| wish.key.0).collect()
}

#[test]
fn who_asks_the_same_goes_along_and_others_with_the_next_round() {
    let m = mapping();
    let [a, b] = workers(&m);
    let first = pilot(m.flights().board(Key(7), &wish(1, b"one"), with(a, ME, 0)));
    assert_eq!(first.wishes(), [wish(1, b"one")]);
    let same = passenger(m.flights().board(Key(7), &wish(1, b"one"), with(b, ME, 0)));
    let other = passenger(
        m.flights()
            .board(Key(7), &wish(2, b"twotwotwo"), with(b, ME, 0)),
    );
    let third = passenger(m.flights().board(Key(7), &wish(3, b""), with(b, ME, 0)));
    let again = passenger(
        m.flights()
            .board(Key(7), &wish(2, b"twotwotwo"), with(b, ME, 0)),
    );
    assert_eq!(
        (same.look(1), other.look(1)),
        (Progress::Flying, Progress::Flying)
    );
    let second = first.land(5, with(a, ME, 2)).unwrap();
    assert_eq!(
        (same.look(3), other.look(3)),
        (Progress::Landed(5), Progress::Flying)
    );
    assert_eq!(second.wishes(), [wish(2, b"twotwotwo"), wish(3, b"")]);
    assert!(second.land(6, with(a, ME, 4)).is_none());
    for passage in [&other, &third, &again] {
        assert_eq!(passage.look(5), Progress::Landed(6));
    }
    assert_eq!(same.look(5), Progress::Landed(5));
    let later = pilot(m.flights().board(Key(7), &wish(1, b"one"), with(b, ME, 6)));
    assert_eq!(keys(&later), [1]);
}

#[test]
fn nobody_joins_a_round_that_began_before_what_it_knows() {
    let m = mapping();
    let [a, b] = workers(&m);
    let first = pilot(m.flights().board(Key(7), &wish(1, b""), with(a, ME, 0)));
    let newer = passenger(m.flights().board(Key(7), &wish(1, b""), with(b, ME + 1, 0)));
    let second = first.land(5, with(a, ME + 1, 1)).unwrap();
    assert_eq!(newer.look(1), Progress::Flying);
    let too = passenger(m.flights().board(Key(7), &wish(1, b""), with(b, ME + 1, 1)));
    assert!(second.land(6, with(a, ME + 1, 2)).is_none());
    assert_eq!(
        (newer.look(2), too.look(2)),
        (Progress::Landed(6), Progress::Landed(6))
    );
}

#[test]
fn a_pilot_that_is_silent_or_gives_up_is_replaced_with_all_wishes() {
    let m = mapping();
    let [a, b] = workers(&m);
    let silent = pilot(m.flights().board(Key(7), &wish(1, b"x"), with(a, ME, 0)));
    let waits = passenger(m.flights().board(Key(7), &wish(2, b"y"), with(b, ME, 0)));
    silent.renew(500, LEASE);
    assert_eq!(
        (waits.look(1_499), waits.look(1_500)),
        (Progress::Flying, Progress::Lost)
    );
    let next = pilot(
        m.flights()
            .board(Key(7), &wish(2, b"y"), with(b, ME, 1_500)),
    );
    assert_eq!(keys(&next), [1, 2]);
    let joins = passenger(
        m.flights()
            .board(Key(7), &wish(1, b"x"), with(a, ME, 1_500)),
    );
    assert!(
        silent.land(9, with(a, ME, 1_501)).is_none(),
        "it is not its flight any more"
    );
    assert_eq!(joins.look(1_501), Progress::Flying);
    drop(next);
    assert_eq!(joins.look(1_501), Progress::Lost);
    let last = pilot(
        m.flights()
            .board(Key(7), &wish(1, b"x"), with(a, ME, 1_502)),
    );
    assert!(last.land(4, with(a, ME, 1_503)).is_none());
}

#[test]
fn a_pilot_without_a_process_is_buried() {
    let m = mapping();
    let [a, gone] = workers(&m);
    let flight = pilot(m.flights().board(Key(7), &wish(1, b""), with(gone, ME, 0)));
    let waits = passenger(m.flights().board(Key(7), &wish(1, b""), with(a, ME, 0)));
    waits.bury();
    assert_eq!(waits.look(0), Progress::Lost);
    assert!(flight.land(9, with(gone, ME, 0)).is_none());
    let flight = pilot(m.flights().board(Key(7), &wish(1, b""), with(a, ME, 0)));
    let waits = passenger(m.flights().board(Key(7), &wish(1, b""), with(a, ME, 0)));
    waits.bury();
    assert_eq!(waits.look(0), Progress::Flying);
    assert!(flight.land(9, with(a, ME, 0)).is_none());
}

#[test]
fn a_full_place_sends_everybody_alone() {
    let m = mapping();
    let [a, b] = workers(&m);
    let first = pilot(m.flights().board(Key(7), &wish(1, b""), with(a, ME, 0)));
    let big = [b'x'; 3_000];
    let boarded = [2, 3].map(|n| m.flights().board(Key(7), &wish(n, &big), with(b, ME, 0)));
    assert!(boarded.iter().all(|b| matches!(b, Boarded::Passenger(_))));
    let alone = m.flights().board(Key(7), &wish(4, &big), with(b, ME, 0));
    assert!(matches!(alone, Boarded::Alone));
    let second = first.land(1, with(a, ME, 0)).unwrap();
    assert_eq!(keys(&second), [2, 3]);
    assert!(second.land(1, with(a, ME, 0)).is_none());
    // As many flights as one set has places; these keys share it.
    let all: Vec<_> = (0..=FLIGHT_WAYS as u128)
        .map(|n| m.flights().board(Key(n), &wish(1, b""), with(a, ME, 0)))
        .collect();
    let (last, flying) = all.split_last().unwrap();
    assert!(flying.iter().all(|b| matches!(b, Boarded::Pilot(_))));
    assert!(matches!(last, Boarded::Alone));
}

#[test]
fn a_place_that_others_took_is_lost_to_its_passengers() {
    let m = mapping();
    let [a, b] = workers(&m);
    let silent = pilot(m.flights().board(Key(0), &wish(1, b""), with(a, ME, 0)));
    let waits = [1, 2].map(|n| passenger(m.flights().board(Key(0), &wish(n, b""), with(b, ME, 0))));
    for n in 1..=FLIGHT_WAYS as u128 {
        let flight = pilot(m.flights().board(Key(n), &wish(1, b""), with(b, ME, 5_000)));
        assert!(flight.land(3, with(b, ME, 5_000)).is_none());
    }
    assert!(silent.land(9, with(a, ME, 5_001)).is_none());
    for passage in waits {
        assert_eq!(passage.look(5_001), Progress::Lost);
    }
}

#[test]
fn what_makes_no_sense_is_no_wish() {
    let m = mapping();
    let [a, _] = workers(&m);
    let flight = pilot(m.flights().board(Key(7), &wish(1, b"x"), with(a, ME, 0)));
    flight.slot.set(USED, u64::MAX);
    assert!(flight.wishes().is_empty());
    flight.slot.set(USED, (WISH_HEAD + 1) as u64);
    flight.slot.set(HEAD + 4, u64::MAX);
    assert!(flight.wishes().is_empty());
    assert!(flight.land(9, with(a, ME, 0)).is_none());
}
