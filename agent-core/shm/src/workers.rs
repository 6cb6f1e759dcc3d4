//! How much is each process of this server doing, and how much all together?
//!
//! One slot for each process, so that what a killed one was doing disappears with it; a common
//! counter would stay too high for ever. Must not trust a slot whose process is gone.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Mapping;
use crate::layout::WORKER_WORDS;

/// Processes that can be counted at the same time.
pub const WORKERS: usize = 1024;

/// Process id in the upper half, lower half of the start time below; 0: free.
const OWNER: usize = 0;
const GAUGES: usize = 1;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Gauge {
    /// Calls to AM that have not ended.
    CallsInFlight = 0,
    /// Threads or requests that wait for an answer.
    Waiting = 1,
}

const GAUGE_COUNT: usize = 2;

/// One registration of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId {
    index: u32,
    owner: u64,
}

impl WorkerId {
    /// The slot, below [`WORKERS`].
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Names the process for good; never 0.
    pub(crate) fn owner(&self) -> u64 {
        self.owner
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        (self.owner >> 32) as u32
    }
}

/// The slots of all processes.
#[derive(Clone, Copy)]
pub struct Workers<'m> {
    pub(crate) mapping: &'m Mapping,
}

impl<'m> Workers<'m> {
    /// Takes a slot for a process: its id and the start time of [`process_start_time`].
    /// `None` when [`WORKERS`] processes live, or `pid` is 0.
    ///
    /// Slots of dead processes that still count something are freed on the way, so that the
    /// successor of a killed worker takes its load out of the sum.
    #[must_use]
    pub fn register(&self, pid: u32, start_time: u64) -> Option<WorkerId> {
        if pid == 0 {
            return None;
        }
        self.reap_if(|slot| gauges(slot).iter().any(|g| g.load(Ordering::Relaxed) != 0));
        self.claim(pid, start_time).or_else(|| {
            self.reap();
            self.claim(pid, start_time)
        })
    }

    /// Gives the slot back, at a normal end.
    pub fn unregister(&self, id: WorkerId) {
        if let Some(slot) = self.slot_of(id) {
            free(slot, id.owner);
        }
    }

    /// Frees the slots of processes that are gone. Reads `/proc` once per slot in use: for the
    /// leader, now and then.
    pub fn reap(&self) {
        self.reap_if(|_| true);
    }

    /// Calls to AM that have not ended, of all processes.
    #[must_use]
    pub fn sum_calls(&self) -> u64 {
        self.sum(Gauge::CallsInFlight)
    }

    /// Threads or requests that wait, of all processes.
    #[must_use]
    pub fn sum_waiting(&self) -> u64 {
        self.sum(Gauge::Waiting)
    }

    /// One process's number; 0 when it is not registered any more.
    #[must_use]
    pub fn of(&self, id: WorkerId, gauge: Gauge) -> u64 {
        let Some(slot) = self.slot_of(id) else {
            return 0;
        };
        gauges(slot)[gauge as usize].load(Ordering::Relaxed)
    }

    /// The process that is registered in this slot.
    #[must_use]
    pub fn pid_at(&self, index: u32) -> Option<u32> {
        let (_, slot) = self.slots(WORKERS).nth(index as usize)?;
        let pid = (slot[OWNER].load(Ordering::Acquire) >> 32) as u32;
        (pid != 0).then_some(pid)
    }

    /// The processes that are registered and live, each as its id. Reads `/proc` once per slot in use.
    #[must_use]
    pub fn alive(&self) -> Vec<u32> {
        let owners = self
            .used()
            .map(|(_, slot)| slot[OWNER].load(Ordering::Acquire));
        let alive = owners.filter(|owner| *owner != 0 && lives(*owner));
        alive.map(|owner| (owner >> 32) as u32).collect()
    }

    /// How many processes are registered, dead ones that nobody noticed included.
    #[must_use]
    pub fn registered(&self) -> usize {
        self.used()
            .filter(|(_, slot)| slot[OWNER].load(Ordering::Relaxed) != 0)
            .count()
    }

    fn sum(&self, gauge: Gauge) -> u64 {
        self.used()
            .filter(|(_, slot)| slot[OWNER].load(Ordering::Acquire) != 0)
            .map(|(_, slot)| gauges(slot)[gauge as usize].load(Ordering::Relaxed))
            .fold(0, u64::saturating_add)
    }

    fn claim(&self, pid: u32, start_time: u64) -> Option<WorkerId> {
        let owner = owner_word(pid, start_time);
        for (index, slot) in self.slots(WORKERS) {
            let taken = slot[OWNER].compare_exchange(0, owner, Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                // What the last owner left.
                gauges(slot)
                    .iter()
                    .for_each(|gauge| gauge.store(0, Ordering::Relaxed));
                self.mapping
                    .workers_high()
                    .fetch_max(u64::from(index) + 1, Ordering::AcqRel);
                return Some(WorkerId { index, owner });
            }
        }
        None
    }

    fn reap_if(&self, wanted: impl Fn(&[AtomicU64]) -> bool) {
        for (_, slot) in self.used() {
            let owner = slot[OWNER].load(Ordering::Acquire);
            if owner != 0 && wanted(slot) && !lives(owner) {
                free(slot, owner);
            }
        }
    }

    fn slot_of(&self, id: WorkerId) -> Option<&'m [AtomicU64]> {
        let (_, slot) = self.slots(WORKERS).nth(id.index as usize)?;
        (slot[OWNER].load(Ordering::Acquire) == id.owner).then_some(slot)
    }

    /// The slots that were ever in use.
    fn used(&self) -> impl Iterator<Item = (u32, &'m [AtomicU64])> + use<'m> {
        let high = self.mapping.workers_high().load(Ordering::Acquire);
        self.slots(usize::try_from(high).unwrap_or(WORKERS))
    }

    fn slots(&self, count: usize) -> impl Iterator<Item = (u32, &'m [AtomicU64])> + use<'m> {
        let words = self
            .mapping
            .words(self.mapping.layout().workers, WORKERS * WORKER_WORDS);
        (0u32..).zip(words.chunks_exact(WORKER_WORDS).take(count.min(WORKERS)))
    }
}

/// Counts one for as long as it lives; gone with the process if that is killed.
///
/// `M` is a reference to the mapping or an `Arc` of it, so that it can move into a task.
#[derive(Debug)]
#[must_use]
pub struct Counted<M: Deref<Target = Mapping>> {
    mapping: M,
    id: WorkerId,
    gauge: Gauge,
}

impl<M: Deref<Target = Mapping>> Counted<M> {
    /// Adds one to a gauge of the caller's own process.
    pub fn new(mapping: M, id: WorkerId, gauge: Gauge) -> Counted<M> {
        if let Some(slot) = mapping.workers().slot_of(id) {
            gauges(slot)[gauge as usize].fetch_add(1, Ordering::AcqRel);
        }
        Counted { mapping, id, gauge }
    }
}

impl<M: Deref<Target = Mapping>> Drop for Counted<M> {
    fn drop(&mut self) {
        if let Some(slot) = self.mapping.workers().slot_of(self.id) {
            let gauge = &gauges(slot)[self.gauge as usize];
            // Never below zero, whatever happened to the slot.
            let _ = gauge.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| n.checked_sub(1));
        }
    }
}

fn gauges(slot: &[AtomicU64]) -> &[AtomicU64] {
    &slot[GAUGES..GAUGES + GAUGE_COUNT]
}

fn owner_word(pid: u32, start_time: u64) -> u64 {
    u64::from(pid) << 32 | (start_time & u64::from(u32::MAX))
}

/// Leaves the counts alone: a free slot's do not count, and the next owner starts at zero. Zeroing
/// them here could hit that owner's, were two processes to free one slot.
fn free(slot: &[AtomicU64], owner: u64) {
    let _ = slot[OWNER].compare_exchange(owner, 0, Ordering::AcqRel, Ordering::Relaxed);
}

/// Whether the process that registered is still there. In doubt it is: a web server may run
/// where `/proc` is missing.
pub(crate) fn lives(owner: u64) -> bool {
    let pid = (owner >> 32) as u32;
    let Ok(signed) = libc::pid_t::try_from(pid) else {
        return false;
    };
    // SAFETY: signal 0 only asks whether the process exists.
    let exists = unsafe { libc::kill(signed, 0) } == 0
        || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH);
    if !exists {
        return false;
    }
    match read_stat(pid) {
        Some((state, start)) => !matches!(state, b'Z' | b'X') && owner_word(pid, start) == owner,
        None => true,
    }
}

/// When a process started, in clock ticks since boot: with the process id it names a process
/// for good. `None` when there is no such process, or no `/proc`.
#[must_use]
pub fn process_start_time(pid: u32) -> Option<u64> {
    read_stat(pid).map(|(_, start)| start)
}

/// State and start time (fields 3 and 22 of `/proc/PID/stat`, proc(5)).
fn read_stat(pid: u32) -> Option<(u8, u64)> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in field 2 may contain anything, so count from the last parenthesis.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}
