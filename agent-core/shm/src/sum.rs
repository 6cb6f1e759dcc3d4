//! Is this what was written?
//!
//! A checksum over 64-bit words, against halves of two writes and against stray writes of a
//! crashing process. It must not be used against somebody who wants to deceive it.

/// Two running sums (Fletcher's scheme): one addition each per word, no multiplication in the
/// chain, so that checking a record costs about as much as copying it.
pub(crate) struct Sum {
    plain: u64,
    weighted: u64,
}

impl Sum {
    /// Starts at numbers other than zero, so that zeroed memory never has a valid sum.
    #[inline]
    pub(crate) fn new() -> Self {
        Sum {
            plain: 0x9e37_79b9_7f4a_7c15,
            weighted: 0xc2b2_ae3d_27d4_eb4f,
        }
    }

    #[inline]
    pub(crate) fn add(&mut self, word: u64) {
        self.plain = self.plain.wrapping_add(word);
        self.weighted = self.weighted.wrapping_add(self.plain);
    }

    /// All 64 bits depend on all words.
    #[inline]
    pub(crate) fn finish(&self) -> u64 {
        let mut x = self.plain ^ self.weighted.rotate_left(32);
        x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        x ^ (x >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::Sum;

    fn of(words: &[u64]) -> u64 {
        let mut sum = Sum::new();
        words.iter().for_each(|w| sum.add(*w));
        sum.finish()
    }

    #[test]
    fn sees_changes_order_and_length() {
        assert_ne!(of(&[1, 2, 3]), of(&[1, 3, 2]));
        assert_ne!(of(&[1, 2, 3]), of(&[1, 2, 4]));
        assert_ne!(of(&[0, 0]), of(&[0]));
        assert_ne!(of(&[0]), 0);
    }
}
