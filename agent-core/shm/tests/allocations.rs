//! A hit allocates nothing.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use portcullis_shm::{Ended, Mapping, Put, Stamp};
use support::key;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: passes everything on to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn hits_misses_and_looks_allocate_nothing() {
    let m = Mapping::create(0).unwrap();
    let instance = m.instance([1; 16]).unwrap();
    let stamp = Stamp {
        stored_at: 1,
        expires_at: 2,
        epoch: 3,
        revocations: 4,
    };
    let value = [5u8; 1001];
    assert_eq!(m.sessions().put(key(1), stamp, &value), Put::Stored);
    assert!(m.ended().insert(key(1), 100, 1));
    let mut out = Vec::with_capacity(1001);
    let capacity = out.capacity();

    let before = COUNT.with(Cell::get);
    let hit = m.sessions().get(key(1), 5, &mut out) == Some(stamp) && out == value;
    let miss = m.sessions().get(key(2), 5, &mut out).is_none();
    let yes = m.ended().look(key(1), 5) == Ended::Yes;
    let no = m.ended().look(key(2), 5) == Ended::No;
    let same = m.instance([1; 16]).map(|i| i.epoch()) == Ok(instance.epoch());
    let put = m.sessions().put(key(3), stamp, &value) == Put::Stored;
    let after = COUNT.with(Cell::get);

    assert!(hit && miss && yes && no && same && put);
    assert_eq!(after - before, 0);
    assert_eq!(out.capacity(), capacity);
}
