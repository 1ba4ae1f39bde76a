//! The lengths of vectors that a vCPU with SVE has.

/// KVM_REG_ARM64_SVE_VLS: a bit for each length, from one quadword (128 bits) on.
///
/// Source: Linux, `arch/arm64/include/uapi/asm/kvm.h`.
pub(crate) const REGISTER: u64 = 0x6060_0000_0015_ffff;
/// Bytes of the register.
pub(crate) const BYTES: usize = 64;

/// Lengths of vectors, in quadwords of 128 bits. A Realm has up to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VectorLengths(pub(crate) [u8; BYTES]);

impl VectorLengths {
    /// The same without those above a number of quadwords.
    pub(crate) fn up_to(mut self, quadwords: u8) -> Self {
        for (byte, first) in self.0.iter_mut().zip((0_usize..).step_by(8)) {
            let kept = usize::from(quadwords).saturating_sub(first).min(8);
            *byte &= u8::MAX.checked_shr(8 - u32::try_from(kept).unwrap_or(8)).unwrap_or(0);
        }
        self
    }

    /// The longest, in quadwords; 0 if there are none.
    pub(crate) fn longest(&self) -> u32 {
        let lengths = self.0.iter().zip((0_u32..).step_by(8));
        let ends = lengths.map(|(byte, first)| match byte.leading_zeros() {
            8 => 0,
            zeros => first + 8 - zeros,
        });
        ends.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_bits() {
        let mut lengths = VectorLengths([0; BYTES]);
        assert_eq!(lengths.longest(), 0);
        lengths.0[0] = 0b1000_1011;
        assert_eq!(lengths.longest(), 8);
        lengths.0[1] = 0b1000_0001;
        lengths.0[63] = 0b1000_0000;
        assert_eq!(lengths.longest(), 512);
        for (quadwords, first, second, longest) in [
            (0, 0, 0, 0),
            (1, 1, 0, 1),
            (2, 0b11, 0, 2),
            (7, 0b1011, 0, 4),
            (8, 0b1000_1011, 0, 8),
            (9, 0b1000_1011, 1, 9),
            (16, 0b1000_1011, 0b1000_0001, 16),
            (255, 0b1000_1011, 0b1000_0001, 16),
        ] {
            let limited = lengths.up_to(quadwords);
            assert_eq!((limited.0[0], limited.0[1], limited.0[63]), (first, second, 0));
            assert_eq!(limited.longest(), longest, "{quadwords}");
        }
    }
}
