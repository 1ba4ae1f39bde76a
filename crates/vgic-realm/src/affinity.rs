//! The affinity of a REC: its address for SGIs and for the routes of SPIs.

use core::fmt;

/// The affinity of a CPU, `Aff3.Aff2.Aff1.Aff0` of its `MPIDR_EL1`.
///
/// Source: Arm IHI 0069, "Affinity routing".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Affinity(u32);

impl Affinity {
    /// The affinity in a register that has `Aff0` to `Aff2` in bits 23:0 and `Aff3` in bits 39:32:
    /// `MPIDR_EL1`, `GICD_IROUTER<n>`, or the first argument of PSCI's `CPU_ON`. Other bits are
    /// ignored.
    #[must_use]
    pub const fn from_mpidr(mpidr: u64) -> Self {
        let [aff0, aff1, aff2, _, aff3, ..] = mpidr.to_le_bytes();
        Self(u32::from_le_bytes([aff0, aff1, aff2, aff3]))
    }

    /// The affinity in the layout of `MPIDR_EL1`, all other bits zero.
    #[must_use]
    pub const fn mpidr(self) -> u64 {
        let [aff0, aff1, aff2, aff3] = self.0.to_le_bytes();
        u64::from_le_bytes([aff0, aff1, aff2, 0, aff3, 0, 0, 0])
    }

    /// The affinity in the layout of `GICR_TYPER` bits 63:32: `Aff3` to `Aff0` from the highest
    /// byte to the lowest.
    #[must_use]
    pub const fn packed(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_packed(packed: u32) -> Self {
        Self(packed)
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [aff0, aff1, aff2, aff3] = self.0.to_le_bytes();
        write!(f, "{aff3}.{aff2}.{aff1}.{aff0}")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn the_layouts_of_the_registers_convert() {
        let affinity = Affinity::from_mpidr(0x0000_0004_8003_0201);
        assert_eq!(affinity.packed(), 0x0403_0201);
        assert_eq!(affinity.mpidr(), 0x0000_0004_0003_0201);
        assert_eq!(affinity.to_string(), "4.3.2.1");
        assert_eq!(Affinity::from_packed(0x0403_0201), affinity);
    }
}
