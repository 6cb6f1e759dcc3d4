//! Which of many sets of addresses is the first that has this address? As cheap for ten thousand as
//! for ten: above the sets stands a tree of what each two have together.

use alloc::{vec, vec::Vec};
use core::net::IpAddr;

use super::AddressSet;

/// An immutable, ordered list of sets.
pub struct AddressIndex {
    /// The sets themselves, then what two of the level before have together, up to a single one.
    levels: Vec<Vec<AddressSet>>,
}

impl AddressIndex {
    /// Takes the sets in file order.
    pub fn build(sets: Vec<AddressSet>) -> AddressIndex {
        let mut levels = vec![sets];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let pairs = level.chunks(2).map(|pair| {
                let mut both = AddressSet::default();
                pair.iter().for_each(|set| both.extend(set));
                both
            });
            let above = pairs.collect();
            levels.push(above);
        }
        AddressIndex { levels }
    }

    /// A set by its number.
    pub fn set(&self, at: u32) -> Option<&AddressSet> {
        self.levels.first()?.get(at as usize)
    }

    /// The first set that has the address and that `accept` takes as well.
    pub fn find(&self, address: IpAddr, mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        self.below(self.levels.len() - 1, 0, address, &mut accept)
    }

    /// No deeper than the logarithm of the number of sets.
    fn below(
        &self,
        level: usize,
        at: usize,
        address: IpAddr,
        accept: &mut impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let set = self.levels.get(level)?.get(at)?;
        if !set.contains(address) {
            return None;
        }
        let Some(level) = level.checked_sub(1) else {
            return accept(at as u32).then_some(at as u32);
        };
        let first = self.below(level, 2 * at, address, accept);
        first.or_else(|| self.below(level, 2 * at + 1, address, accept))
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_linear_scan(
            sets in prop::collection::vec("(10\\.0\\.0\\.[0-9]{1,1}|10\\.0\\.0\\.[0-9]/3[0-2]|10\\.0\\.\\*|::[0-9]|10\\.0\\.0\\.2-10\\.0\\.0\\.[5-9])", 0..20),
            last in 0u8..12, v6 in any::<bool>(), skipped in 0u32..4,
        ) {
            let sets: Vec<AddressSet> = sets.iter().map(|text| AddressSet::new([text.as_str()]).unwrap()).collect();
            let address: IpAddr = if v6 { format!("::{last}") } else { format!("10.0.0.{last}") }.parse().unwrap();
            let taken = |id: u32| id % 4 != skipped;
            let linear = (0u32..).zip(&sets).find(|(id, set)| taken(*id) && set.contains(address));
            let expected = linear.map(|(id, _)| id);
            prop_assert_eq!(AddressIndex::build(sets).find(address, taken), expected);
        }
    }
}
