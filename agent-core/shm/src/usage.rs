//! How full are the tables?
//!
//! Looked at in a sample of sets, because a table may be a gigabyte, and because memory that nobody has
//! touched would begin to cost. Takes no lock: the figures are those of about now.

use crate::{Table, atomic::Ordering, layout::Region};

/// Sets of each class that are looked at.
const SAMPLE: usize = 32;

/// How full one size class is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Longest record of the class, in bytes.
    pub capacity: usize,
    /// Records that it has room for.
    pub slots: usize,
    /// Records in it, expired ones included; as the sample says.
    pub used: usize,
    /// Records that had to go for others before they had expired, since the mapping was made.
    pub pushed_out: u64,
}

impl Table<'_> {
    /// How full each size class is, the smallest records first.
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        self.classes.iter().map(|class| self.of(class)).collect()
    }

    fn of(&self, region: &Region) -> Usage {
        let looked = region.sets.min(SAMPLE);
        // Evenly over the class: keys are digests, so that any sets will do.
        let sets = (0..looked).map(|n| n * region.sets / looked.max(1));
        let used: usize = sets
            .map(|set| {
                let first = region.first + set * region.set_words;
                let tags = self.mapping.words(first, region.ways);
                tags.iter()
                    .filter(|tag| tag.load(Ordering::Relaxed) != 0)
                    .count()
            })
            .sum();
        Usage {
            capacity: region.capacity,
            slots: region.sets * region.ways,
            used: used * region.sets / looked.max(1),
            pushed_out: self.mapping.words(region.pushed_out, 1)[0].load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Key, Mapping, Put, Stamp};

    #[test]
    fn a_sample_says_about_how_full_a_table_is() {
        let mapping = Mapping::create(0).unwrap();
        let table = mapping.decisions();
        assert!(
            table
                .usage()
                .iter()
                .all(|class| class.used == 0 && class.slots > 0)
        );
        let stamp = Stamp {
            stored_at: 1,
            expires_at: 2,
            epoch: 0,
            revocations: 0,
        };
        let slots = table.usage()[0].slots as u128;
        for n in 1..=slots / 2 {
            let key = Key(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
            assert_eq!(table.put(key, stamp, b"small"), Put::Stored);
        }
        let small = table.usage()[0];
        assert!(
            (small.slots / 4..=small.slots * 3 / 4).contains(&small.used),
            "{small:?}"
        );
        assert_eq!(table.usage()[1].used, 0);
    }

    #[test]
    fn records_that_had_to_go_are_counted_in_their_class() {
        let mapping = Mapping::create(0).unwrap();
        let table = mapping.decisions();
        let stamp = |stored_at, expires_at| Stamp {
            stored_at,
            expires_at,
            epoch: 0,
            revocations: 0,
        };
        // All of one set: the place follows from the high half of the key.
        let key = |n: u128| Key(7 << 100 | n);
        let pushed_out = || -> Vec<u64> { table.usage().iter().map(|c| c.pushed_out).collect() };
        let put = |n, stored_at, expires_at| {
            let put = table.put(key(n), stamp(stored_at, expires_at), b"small");
            assert_eq!(put, Put::Stored);
        };
        (1..=8).for_each(|n| put(n, 1, 100));
        put(3, 2, 100);
        assert_eq!(pushed_out(), [0; 5], "there was room, and its own place");
        put(9, 50, 200);
        assert_eq!(pushed_out(), [1, 0, 0, 0, 0]);
        put(10, 100, 200);
        assert_eq!(pushed_out(), [1, 0, 0, 0, 0], "what had expired is no loss");
        let other = mapping.sessions().usage();
        assert!(other.iter().all(|class| class.pushed_out == 0));
    }
}
