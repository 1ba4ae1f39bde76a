//! Random numbers that are the same in each run.

/// A generator: xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    /// Another sequence for each seed and each user of it.
    pub(crate) fn new(seed: u64, user: u64) -> Self {
        let mixed = seed.wrapping_add(user.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self(mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 32).checked_rem(limit).unwrap_or(0)
    }

    /// An index below `limit`.
    pub(crate) fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap_or(0)
    }
}
