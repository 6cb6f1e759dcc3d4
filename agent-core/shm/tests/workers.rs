//! Counting what all processes do.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use portcullis_shm::{Counted, Gauge, Mapping, WORKERS, WorkerId, process_start_time};
use support::{fork, shared_numbers, signal, until, wait};

fn register_me(m: &Mapping) -> WorkerId {
    let pid = std::process::id();
    m.workers()
        .register(pid, process_start_time(pid).unwrap())
        .unwrap()
}

#[test]
fn guards_count_up_and_down() {
    let m = Arc::new(Mapping::create(0).unwrap());
    let id = register_me(&m);
    assert_eq!(id.pid(), std::process::id());
    let one = Counted::new(&*m, id, Gauge::CallsInFlight);
    let two = Counted::new(Arc::clone(&m), id, Gauge::CallsInFlight);
    let waiting = Counted::new(&*m, id, Gauge::Waiting);
    assert_eq!((m.workers().sum_calls(), m.workers().sum_waiting()), (2, 1));
    assert_eq!(m.workers().of(id, Gauge::CallsInFlight), 2);
    drop((one, waiting));
    assert_eq!((m.workers().sum_calls(), m.workers().sum_waiting()), (1, 0));
    m.workers().unregister(id);
    assert_eq!(m.workers().sum_calls(), 0);
    let next = register_me(&m);
    assert_eq!(
        m.workers().of(next, Gauge::CallsInFlight),
        0,
        "a slot begins at zero"
    );
    drop(two);
    assert_eq!(
        m.workers().of(next, Gauge::CallsInFlight),
        0,
        "and does not go below"
    );
}

#[test]
fn a_killed_process_takes_its_load_with_it() {
    let m = Mapping::create(0).unwrap();
    let me = register_me(&m);
    let _mine = Counted::new(&m, me, Gauge::CallsInFlight);
    let ready = &shared_numbers(1)[0];
    let busy = || {
        let id = register_me(&m);
        let _calls = [0; 3].map(|_| Counted::new(&m, id, Gauge::CallsInFlight));
        let _waiting = Counted::new(&m, id, Gauge::Waiting);
        ready.fetch_add(1, Ordering::SeqCst);
        loop {
            std::thread::park();
        }
    };
    let killed = fork(busy);
    let alive = fork(busy);
    until("both are busy", || ready.load(Ordering::SeqCst) == 2);
    assert_eq!((m.workers().sum_calls(), m.workers().sum_waiting()), (7, 2));
    m.workers().reap();
    assert_eq!(m.workers().sum_calls(), 7, "all live");

    signal(killed, libc::SIGKILL);
    // Not waited for yet: a zombie is dead as well.
    until("the load is gone", || {
        m.workers().reap();
        m.workers().sum_calls() == 4
    });
    assert_eq!(m.workers().sum_waiting(), 1);
    assert_eq!(wait(killed), -libc::SIGKILL);

    // Without anybody reaping, the successor's registration does it.
    signal(alive, libc::SIGKILL);
    assert_eq!(wait(alive), -libc::SIGKILL);
    let successor = register_me(&m);
    assert_eq!(m.workers().sum_calls(), 1);
    m.workers().unregister(successor);
    assert_eq!(m.workers().registered(), 1);
}

#[test]
fn a_reused_process_id_is_another_process() {
    let m = Mapping::create(0).unwrap();
    let pid = std::process::id();
    let old = m
        .workers()
        .register(pid, process_start_time(pid).unwrap() + 1)
        .unwrap();
    let _left = Counted::new(&m, old, Gauge::Waiting);
    let new = register_me(&m);
    assert_eq!(m.workers().sum_waiting(), 0);
    assert_eq!(m.workers().registered(), 1);
    assert_ne!(old, new);
    m.workers().unregister(old);
    assert_eq!(m.workers().registered(), 1, "the old name frees nothing");
}

#[test]
fn dead_slots_are_used_again_when_all_are_taken() {
    let m = Mapping::create(0).unwrap();
    // No process has this id: the kernel's limit is 2^22.
    for n in 0..WORKERS as u64 {
        assert!(m.workers().register(5_000_000, n).is_some());
    }
    assert_eq!(m.workers().registered(), WORKERS);
    let id = register_me(&m);
    assert_eq!(m.workers().registered(), 1);
    let _one = Counted::new(&m, id, Gauge::Waiting);
    assert_eq!(m.workers().sum_waiting(), 1);
}

#[test]
fn live_processes_keep_all_slots() {
    let m = Mapping::create(0).unwrap();
    let pid = std::process::id();
    let start = process_start_time(pid).unwrap();
    for _ in 0..WORKERS {
        assert!(m.workers().register(pid, start).is_some());
    }
    assert_eq!(m.workers().register(pid, start), None);
    assert_eq!(m.workers().register(0, start), None);
    assert_eq!(process_start_time(5_000_000), None);
}
