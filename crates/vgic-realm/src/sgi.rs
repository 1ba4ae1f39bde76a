//! Software generated interrupts: the registers by which a virtual CPU sends them.

/// Which of the registers that send SGIs was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SgiRegister {
    /// `ICC_SGI0R_EL1`: sends SGIs that are configured as group 0 at their target.
    #[doc(alias = "ICC_SGI0R_EL1")]
    Group0,
    /// `ICC_SGI1R_EL1`: sends SGIs of either group.
    #[doc(alias = "ICC_SGI1R_EL1")]
    Group1,
    /// `ICC_ASGI1R_EL1`: as [`SgiRegister::Group0`], because there is no other security state whose
    /// group 1 it could mean.
    #[doc(alias = "ICC_ASGI1R_EL1")]
    AliasedGroup1,
}

impl SgiRegister {
    /// Whether an SGI that the target has in group 1 is sent; one in group 0 always is.
    #[must_use]
    pub const fn sends_group_1(self) -> bool {
        matches!(self, Self::Group1)
    }
}

/// The value that was written to a register that sends an SGI: which one, and to whom.
///
/// Source: Arm IHI 0069, `ICC_SGI1R_EL1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[doc(alias = "ICC_SGI1R_EL1")]
pub struct SgiRequest(u64);

impl SgiRequest {
    /// The value that was written.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The value that was written.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// `INTID` (bits 27:24): the interrupt, 0 to 15.
    #[must_use]
    pub const fn intid(self) -> u32 {
        (self.0 >> 24 & 0xf) as u32
    }

    /// `IRM` (bit 40): whether it goes to all CPUs but the sender; then nothing else selects them.
    #[must_use]
    pub const fn is_to_all_others(self) -> bool {
        self.0 & 1 << 40 != 0
    }

    /// Whether a CPU with this affinity is in the list of targets: aff3 to aff1 are equal, aff0 is
    /// in the 16 values of the range selector (`RS`, bits 47:44), and the bit of the rest is set.
    ///
    /// The affinity is aff3 in bits 31:24, aff2 in 23:16, aff1 in 15:8, aff0 in 7:0, as in bits
    /// 63:32 of `GICR_TYPER`.
    #[must_use]
    pub const fn lists(self, affinity: u32) -> bool {
        let [_, _, aff1, _, aff2, range, aff3, _] = self.0.to_le_bytes();
        let [own_aff0, own_aff1, own_aff2, own_aff3] = affinity.to_le_bytes();
        own_aff3 == aff3
            && own_aff2 == aff2
            && own_aff1 == aff1
            && own_aff0 >> 4 == range >> 4
            && self.0 & 1 << (own_aff0 & 0xf) != 0
    }
}

impl core::fmt::Debug for SgiRequest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SgiRequest({:#018x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn the_list_of_targets_selects_by_affinity() {
        // aff3 4, range 2, aff2 3, SGI 9, aff1 2, targets 0 and 15 of the range.
        let request = SgiRequest::from_raw(0x0004_2003_0902_8001);
        assert_eq!((request.intid(), request.is_to_all_others()), (9, false));
        let all = 0_u32..256;
        let listed: Vec<u32> = all.filter(|aff0| request.lists(0x0403_0200 | aff0)).collect();
        assert_eq!(listed, [0x20, 0x2f]);
        for other in [0x0503_0220, 0x0402_0220, 0x0403_0320, 0x0003_0220, 0x0403_0020] {
            assert!(!request.lists(other), "{other:#x}");
        }
        assert_eq!(request.raw(), 0x0004_2003_0902_8001);
        assert_eq!(format!("{request:?}"), "SgiRequest(0x0004200309028001)");
    }

    #[test]
    fn every_field_has_its_bits() {
        let of = SgiRequest::from_raw;
        assert_eq!((of(0xf << 24).intid(), of(!(0xf << 24)).intid()), (15, 0));
        assert!(of(1 << 40).is_to_all_others() && !of(!(1 << 40)).is_to_all_others());
        assert!(of(1).lists(0) && !of(1).lists(1) && of(2).lists(1));
        assert!(of(0xf << 44 | 0x8000).lists(0xff) && !of(0xf << 44 | 0x8000).lists(0x0f));
        // Bits that are reserved select nothing.
        assert!(of(0xff << 56 | 0xe << 40 | 0xf << 28 | 1).lists(0));
    }

    #[test]
    fn one_register_sends_group_1() {
        let sends = [SgiRegister::Group0, SgiRegister::Group1, SgiRegister::AliasedGroup1]
            .map(SgiRegister::sends_group_1);
        assert_eq!(sends, [false, true, false]);
    }
}
