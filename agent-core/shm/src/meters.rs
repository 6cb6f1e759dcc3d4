//! How often has something happened since the server was started, in all its processes together?
//!
//! Numbers of each instance that only grow, in several stripes, so that workers seldom write to one
//! cache line. A worker adds to the stripe that its place names; a reader adds the stripes up. Nothing
//! is taken back: what a killed worker counted stays counted, and its successor goes on from there.
//! Must not know what is counted.

use crate::atomic::{AtomicU64, Ordering};
use crate::{InstanceId, Mapping, WorkerId};

/// Numbers of one instance; a place is below this.
pub const METERS: usize = 9 << 10;
/// Stripes of one instance.
const STRIPES: usize = 8;
/// Words of one instance.
pub(crate) const METER_WORDS: usize = METERS * STRIPES;

/// The numbers of one instance.
#[derive(Clone, Copy)]
pub struct Meters<'m> {
    words: &'m [AtomicU64],
}

/// The stripe of one worker.
#[derive(Clone, Copy)]
pub struct Meter<'m> {
    words: &'m [AtomicU64],
}

impl Mapping {
    /// What this worker counts into. One relaxed addition, no lock, no system call.
    #[inline]
    #[must_use]
    pub fn meter(&self, of: InstanceId, worker: WorkerId) -> Meter<'_> {
        let stripe = worker.index() as usize % STRIPES;
        Meter {
            words: self.meter_words(of, stripe * METERS, METERS),
        }
    }

    /// What all workers have counted.
    #[must_use]
    pub fn meters(&self, of: InstanceId) -> Meters<'_> {
        Meters {
            words: self.meter_words(of, 0, METER_WORDS),
        }
    }

    #[inline]
    fn meter_words(&self, of: InstanceId, first: usize, count: usize) -> &[AtomicU64] {
        let of_instance = self.layout().meters + of.index() * METER_WORDS;
        self.words(of_instance + first, count)
    }
}

impl Meter<'_> {
    /// Adds to a number. A place that is none counts nothing.
    #[inline]
    pub fn add(&self, place: usize, count: u64) {
        if let Some(word) = self.words.get(place) {
            word.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Meters<'_> {
    /// A number, of all workers that ever were; 0 for a place that is none.
    #[must_use]
    pub fn sum(&self, place: usize) -> u64 {
        let stripes = self.words.chunks_exact(METERS);
        let words = stripes.filter_map(|stripe| stripe.get(place));
        words.fold(0, |sum, word| {
            sum.wrapping_add(word.load(Ordering::Relaxed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;

    #[test]
    fn all_workers_count_together_and_instances_apart() {
        let mapping = Mapping::create(0).unwrap();
        let id = |n| mapping.instance([n; 16]).unwrap().id();
        let (one, two) = (id(1), id(2));
        let workers: Vec<WorkerId> = (1..=20)
            .map(|pid| mapping.workers().register(pid, 7).unwrap())
            .collect();
        std::thread::scope(|scope| {
            for worker in &workers {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        mapping.meter(one, *worker).add(3, 1);
                    }
                });
            }
        });
        let sum = |of, place| mapping.meters(of).sum(place);
        mapping.meter(two, workers[0]).add(METERS - 1, 5);
        assert_eq!((sum(one, 3), sum(two, 3)), (20_000, 0));
        assert_eq!(sum(two, METERS - 1), 5);
        mapping.meter(one, workers[0]).add(METERS, 1);
        assert_eq!((sum(one, METERS), sum(one, METERS - 1)), (0, 0));
    }

    #[test]
    fn what_a_worker_counted_stays_when_it_is_gone() {
        let mapping = Mapping::create(0).unwrap();
        let id = mapping.instance([1; 16]).unwrap().id();
        let worker = mapping.workers().register(1, 7).unwrap();
        mapping.meter(id, worker).add(0, 2);
        mapping.workers().unregister(worker);
        let next = mapping.workers().register(2, 7).unwrap();
        mapping.meter(id, next).add(0, 1);
        assert_eq!(mapping.meters(id).sum(0), 3);
    }

    #[test]
    fn its_memory_is_its_own() {
        let layout = Layout::for_cache_bytes(0).unwrap();
        assert!(layout.meters >= layout.counts + crate::counts::COUNT_WORDS);
        assert!(layout.meters + crate::INSTANCES * METER_WORDS <= layout.instances);
    }
}
