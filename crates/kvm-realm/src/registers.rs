//! Registers of a vCPU, by their numbers for KVM_SET_ONE_REG and KVM_GET_ONE_REG.
//!
//! Source: Linux, `Documentation/virt/kvm/api.rst`, "KVM_SET_ONE_REG";
//! `arch/arm64/include/uapi/asm/kvm.h`.

/// Core registers of 64 bits, which have the offset in `struct kvm_regs` in words of 32 bits.
const CORE: u64 = 0x6030_0000_0010_0000;
/// KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM64_SYSREG.
const SYSREG: u64 = 0x6030_0000_0013_0000;

/// A register of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Register(u64);

impl Register {
    /// The program counter.
    pub const PC: Self = Self(CORE + 2 * 32);
    /// ID_AA64DFR0_EL1, which says how many breakpoints (bits 15 to 12), watchpoints (bits 23 to
    /// 20) and breakpoints with contexts (bits 31 to 28) a vCPU has, each less one. A VMM lowers
    /// them before the Realm is created, and before it [predicts](crate::launch::predict) the
    /// measurement.
    pub const DEBUG_FEATURES: Self = Self::system(3, 0, 0, 5, 0);
    /// MPIDR_EL1.
    pub const MPIDR: Self = Self::system(3, 0, 0, 0, 5);

    /// X0 to X30; `None` for another number.
    ///
    /// A Realm's vCPUs start with X0 to X7. Kernels from v5 to v10 refuse the others.
    #[must_use]
    pub const fn x(number: u8) -> Option<Self> {
        if number > 30 { None } else { Some(Self(CORE + 2 * number as u64)) }
    }

    /// A system register, by the fields of the instruction that accesses it. What is above a
    /// field's width is left out.
    #[must_use]
    pub const fn system(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Self {
        let (op0, op1) = ((op0 as u64 & 3) << 14, (op1 as u64 & 7) << 11);
        let (crn, crm) = ((crn as u64 & 15) << 7, (crm as u64 & 15) << 3);
        Self(SYSREG | op0 | op1 | crn | crm | (op2 as u64 & 7))
    }

    /// Its number.
    #[must_use]
    pub const fn id(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_linux() {
        assert_eq!(Register::PC.id(), 0x6030_0000_0010_0040);
        assert_eq!(Register::MPIDR.id(), 0x6030_0000_0013_c005);
        assert_eq!(Register::DEBUG_FEATURES.id(), 0x6030_0000_0013_c028);
        assert_eq!(Register::x(0).map(Register::id), Some(0x6030_0000_0010_0000));
        assert_eq!(Register::x(30).map(Register::id), Some(0x6030_0000_0010_003c));
        assert_eq!(Register::x(31), None);
        // PMCR_EL0.
        assert_eq!(Register::system(3, 3, 9, 12, 0).id(), 0x6030_0000_0013_dce0);
        // What is above the fields is left out.
        assert_eq!(Register::system(4, 8, 16, 16, 8).id(), 0x6030_0000_0013_0000);
        assert_eq!(Register::system(0xff, 0xff, 0xff, 0xff, 0xff).id(), 0x6030_0000_0013_ffff);
    }
}
