//! Which entry is meant?
//!
//! A number of 128 bits that the caller makes. Must not know what it was made of.

/// Names an entry: a keyed 128-bit digest that the caller makes.
///
/// The digest must be uniform and keyed with [`Mapping::boot_key`] (or a secret), because its bits
/// choose the place: whoever can choose keys could fill one place on purpose. The caller mixes the
/// instance's identity and the kind of record into it; nothing here keeps instances apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub u128);

impl Key {
    /// The low half, which recognises an entry.
    #[inline]
    pub(crate) fn low(self) -> u64 {
        self.0 as u64
    }

    /// The high half, which also chooses the set.
    #[inline]
    pub(crate) fn high(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// Spreads the high half evenly over `sets` places, without a division.
    #[inline]
    pub(crate) fn place(self, sets: usize) -> usize {
        ((u128::from(self.high()) * sets as u128) >> 64) as usize
    }
}
