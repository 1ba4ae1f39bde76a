//! The registers of the CPU interface whose accesses trap to the host.

use lock_api::RawMutex;

use crate::gic::Gic;
use crate::kicks::Kicks;
use crate::sgi::{SgiRegister, SgiRequest};

/// A register of the CPU interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Sgi(SgiRegister),
    /// `ICC_DIR_EL1`
    Deactivate,
    /// `ICC_SRE_EL1`
    SystemRegisters,
    Other,
}

impl Register {
    const fn decode(register: (u8, u8, u8, u8, u8)) -> Option<Self> {
        match register {
            (3, 0, 12, 11, 7) => Some(Self::Sgi(SgiRegister::Group0)),
            (3, 0, 12, 11, 5) => Some(Self::Sgi(SgiRegister::Group1)),
            (3, 0, 12, 11, 6) => Some(Self::Sgi(SgiRegister::AliasedGroup1)),
            (3, 0, 12, 11, 1) => Some(Self::Deactivate),
            (3, 0, 12, 12, 5) => Some(Self::SystemRegisters),
            (3, 0, 4, 6, 0) | (3, 0, 12, 8..=15, _) => Some(Self::Other),
            _ => None,
        }
    }
}

/// `ICC_SRE_EL1`: SRE, DFB and DIB, all read-only: system registers are used, and nothing bypasses
/// them.
const SRE: u64 = 0b111;

/// # Trapped system registers
///
/// An RMM passes on accesses of a Realm to `ICC_*_EL1` that trap: those that send SGIs,
/// `ICC_DIR_EL1` while [`Gic::load`] has it trapped, and whatever else the RMM traps. Registers are
/// given by Op0, Op1, CRn, CRm and Op2, as in the syndrome.
///
/// Source: TF-RMM of July 2026, `runtime/core/sysregs.c`; Arm IHI 0069.
impl<L: RawMutex> Gic<'_, L> {
    /// A REC read a system register: the value for it, or `None` if the register is not one of the
    /// GIC's CPU interface.
    ///
    /// `ICC_SRE_EL1` is 7; others read as zero, as no other read traps. Takes no lock.
    #[must_use]
    #[doc(alias = "ICC_SRE_EL1")]
    pub const fn read_sysreg(&self, register: (u8, u8, u8, u8, u8)) -> Option<u64> {
        match Register::decode(register) {
            Some(Register::SystemRegisters) => Some(SRE),
            Some(_) => Some(0),
            None => None,
        }
    }

    /// A REC wrote a system register; `None` if the register is not one of the GIC's CPU interface.
    ///
    /// `ICC_SGI0R_EL1`, `ICC_SGI1R_EL1` and `ICC_ASGI1R_EL1` send SGIs ([`Gic::send_sgi`]),
    /// `ICC_DIR_EL1` deactivates an interrupt ([`Gic::deactivate`]); other writes have no effect.
    /// Takes the locks that these take.
    #[must_use = "the RECs in it do not see the change until they are kicked"]
    #[doc(alias = "ICC_SGI1R_EL1")]
    #[doc(alias = "ICC_DIR_EL1")]
    pub fn write_sysreg(
        &self,
        rec: usize,
        register: (u8, u8, u8, u8, u8),
        value: u64,
    ) -> Option<Kicks> {
        Some(match Register::decode(register)? {
            Register::Sgi(register) => self.send_sgi(rec, register, SgiRequest::from_raw(value)),
            Register::Deactivate => self.deactivate(rec, (value & 0xff_ffff) as u32),
            Register::SystemRegisters | Register::Other => Kicks::NONE,
        })
    }
}
