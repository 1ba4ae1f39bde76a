//! Exception syndromes as a host sees them in a `SYNC` exit.
//!
//! The RMM hides most of `ESR_EL2` from the host; [`Esr::visible`] defines which bits remain. In
//! particular, the register of an access (SRT) and whether a load sign-extends (SSE) are hidden:
//! the host passes the value without extension, see [`Access`], and the RMM extends it.
//!
//! | Class | What the host sees |
//! |---|---|
//! | data abort, emulatable | ISV, SAS, SF, SET, `FnV`, EA, `WnR`, DFSC; the value of a store in `gprs[0]` |
//! | data abort, other | IL, SET, `FnV`, EA, DFSC |
//! | instruction abort | SET, `FnV`, EA, IFSC |
//! | system register | the register and the direction; the value of a write in `gprs[0]` |
//! | `WFx` | TI, of which TF-RMM shows bit 0 only; a deadline in `gprs[0]`, see [`Wfx::deadline`] |
//! | system error (a `SERROR` exit) | IDS, AET, EA, DFSC |
//! | HVC, SMC | nothing: neither leaves the RMM as a synchronous exit; decoded for completeness |
//!
//! Source: DEN0137 1.0-rel0 and 2.0-bet3, "REC exit"; Arm ARM, `ESR_EL2`.

mod fault;
mod icc;
mod syndrome;
mod timer;

use num_enum::{FromPrimitive, IntoPrimitive};

pub use fault::{AbortSeverity, FaultStatus};
pub use syndrome::{
    Access, DataAbort, InstructionAbort, SErrorSyndrome, Syndrome, SysReg, SysRegAccess, Wfx,
};

use crate::address::{GranuleSize, Ipa};

/// The exception class, bits 31:26.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[non_exhaustive]
pub enum ExceptionClass {
    /// Trapped WFI, WFE, WFIT or WFET.
    Wfx = 0x01,
    /// HVC instruction, AArch64.
    Hvc64 = 0x16,
    /// SMC instruction, AArch64.
    Smc64 = 0x17,
    /// Trapped system register access.
    SysReg = 0x18,
    /// Instruction abort from a lower exception level.
    InstructionAbort = 0x20,
    /// Data abort from a lower exception level.
    DataAbort = 0x24,
    /// System error. Do not rely on it: TF-RMM 0.6 clears the class in a `SERROR` exit, see
    /// [`Esr::serror`].
    SError = 0x2f,
    /// A class this crate does not decode.
    #[num_enum(catch_all)]
    Unknown(u8),
}

/// `ESR_EL2` as the RMM passes it to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Esr(pub u64);

impl Esr {
    /// The exception class, bits 31:26.
    #[must_use]
    pub fn class(self) -> ExceptionClass {
        ExceptionClass::from(((self.0 >> 26) & 0x3f).to_le_bytes()[0])
    }

    /// Why an abort was taken: bits 5:0, decoded.
    #[must_use]
    pub const fn fault(self) -> FaultStatus {
        FaultStatus::decode(self.fault_status())
    }

    /// The fault status code of an abort, bits 5:0.
    #[must_use]
    pub const fn fault_status(self) -> u8 {
        (self.0 & 0x3f).to_le_bytes()[0]
    }

    /// Whether a data abort describes its access (ISV, bit 24).
    #[must_use]
    pub const fn is_valid_syndrome(self) -> bool {
        self.0 & (1 << 24) != 0
    }

    /// Size of the access of a data abort in bytes (SAS, bits 23:22): 1, 2, 4 or 8. Meaningful only
    /// with a valid syndrome.
    #[must_use]
    pub const fn access_bytes(self) -> u8 {
        1 << ((self.0 >> 22) & 0b11)
    }

    /// Whether the register of the access is 64 bits wide (SF, bit 15). Meaningful only with a
    /// valid syndrome.
    #[must_use]
    pub const fn is_64_bit_register(self) -> bool {
        self.0 & (1 << 15) != 0
    }

    /// Whether a data abort was caused by a write (WnR, bit 6).
    #[must_use]
    pub const fn is_write(self) -> bool {
        self.0 & (1 << 6) != 0
    }

    /// The trap identifier of a WFx (TI, bits 1:0): 0 WFI, 1 WFE, 2 WFIT, 3 WFET.
    #[must_use]
    pub const fn wfx_kind(self) -> u8 {
        (self.0 & 0b11).to_le_bytes()[0]
    }

    /// Whether a trapped system register access is a read (bit 0).
    #[must_use]
    pub const fn sysreg_is_read(self) -> bool {
        self.0 & 1 != 0
    }

    /// The register of a trapped system register access: Op0, Op1, CRn, CRm, Op2.
    #[must_use]
    pub const fn sysreg(self) -> (u8, u8, u8, u8, u8) {
        const fn bits(word: u64, lsb: u32, width: u32) -> u8 {
            ((word >> lsb) & ((1 << width) - 1)).to_le_bytes()[0]
        }
        (
            bits(self.0, 20, 2),
            bits(self.0, 14, 3),
            bits(self.0, 10, 4),
            bits(self.0, 1, 4),
            bits(self.0, 17, 3),
        )
    }

    /// Instruction length: set for a 32-bit instruction (IL, bit 25).
    #[must_use]
    #[doc(alias = "IL")]
    pub const fn is_32_bit_instruction(self) -> bool {
        self.0 & (1 << 25) != 0
    }

    /// The syndrome of the class, bits 24:0.
    #[must_use]
    #[doc(alias = "ISS")]
    pub const fn iss(self) -> u32 {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        u32::from_le_bytes([a, b, c, d]) & 0x1ff_ffff
    }

    /// The bits of such a syndrome that an RMM reports to the host; a host that masks with them
    /// gets the same value from an RMM that reports more.
    ///
    /// An RMM may hide more: IL of a data abort is reported only for unprotected IPAs, and not by
    /// TF-RMM 0.6.
    #[must_use]
    pub fn visible(self) -> Self {
        const EC: u64 = 0x3f << 26;
        const IL: u64 = 1 << 25;
        // SET, FnV, EA and the fault status.
        const ABORT: u64 = 0x3 << 11 | 1 << 10 | 1 << 9 | 0x3f;
        // ISV, SAS, SF, WnR.
        const ACCESS: u64 = 1 << 24 | 0x3 << 22 | 1 << 15 | 1 << 6;
        // Op0, Op2, Op1, CRn, CRm, direction; not Rt.
        const SYSREG: u64 = 0x3 << 20 | 0x7 << 17 | 0x7 << 14 | 0xf << 10 | 0xf << 1 | 1;
        // IDS, AET, EA and the fault status.
        const SERROR: u64 = 1 << 24 | 0x7 << 10 | 1 << 9 | 0x3f;
        let mask = match self.class() {
            ExceptionClass::DataAbort if self.is_valid_syndrome() => EC | ABORT | ACCESS,
            ExceptionClass::DataAbort => EC | IL | ABORT,
            ExceptionClass::InstructionAbort => EC | ABORT,
            ExceptionClass::SysReg => EC | IL | SYSREG,
            ExceptionClass::Wfx => EC | 0b11,
            ExceptionClass::Hvc64 | ExceptionClass::Smc64 => EC | IL | 0xffff,
            ExceptionClass::SError => EC | SERROR,
            ExceptionClass::Unknown(_) => EC,
        };
        Self(self.0 & mask)
    }
}

/// The page of a fault: `HPFAR_EL2.FIPA` (bits 43:4) holds IPA bits 51:12. Bit 63 and the low four
/// bits are masked.
#[must_use]
pub const fn fault_page(hpfar: u64) -> Ipa {
    Ipa::new(((hpfar >> 4) & ((1 << 40) - 1)) << 12)
}

/// The address of a fault on an RMM with granules of 4 KiB: its page plus the low twelve bits of
/// `FAR_EL2`, which are the only bits of it that the RMM reports.
#[must_use]
pub const fn fault_address(hpfar: u64, far: u64) -> Ipa {
    fault_address_in(GranuleSize::Size4KiB, hpfar, far)
}

/// The address of a fault on an RMM with granules of this size, the bits of which are all that it
/// reports of `FAR_EL2`; in `HPFAR_EL2` they are zero.
///
/// Source: DEN0137 2.0-bet0, "REC exit due to Data Abort".
#[must_use]
pub const fn fault_address_in(granule: GranuleSize, hpfar: u64, far: u64) -> Ipa {
    Ipa::new(fault_page(hpfar).raw() | (far & (granule.bytes() - 1)))
}
