//! What an RMM shows the host of an exception.
//!
//! Source: DEN0137 2.0, "REC exit"; the masks are TF-RMM's.

use rmi_abi::esr::{Esr, ExceptionClass};
use rmi_abi::rtt::Level;
use rmi_abi::{Dialect, Ipa};

use crate::unsupported::{tells_deadline, tells_what_cannot_be_emulated};

/// EC, bits 31:26.
const CLASS: u64 = 0x3f << 26;
/// IL.
pub(crate) const LENGTH: u64 = 1 << 25;
/// IL, CV and COND (always) of an instruction that is trapped.
pub(crate) const ALWAYS: u64 = LENGTH | 1 << 24 | 0xe << 20;
/// ISV; for an SError the same bit is IDS.
const VALID: u64 = 1 << 24;
/// SAS, bits 23:22.
const SIZE: u64 = 0b11 << 22;
/// SF.
const WIDE: u64 = 1 << 15;
/// SET, bits 12:11; for an SError AET is bits 12:10.
const SET: u64 = 0b11 << 11;
/// FnV.
const NO_FAR: u64 = 1 << 10;
/// EA.
const EXTERNAL: u64 = 1 << 9;
/// WnR.
const WRITE: u64 = 1 << 6;
/// The fault status code, bits 5:0.
const STATUS: u64 = 0x3f;
/// TI, bits 1:0: bit 0 is for an event, bit 1 with a deadline.
const TRAPPED: u64 = 0b11;
/// RV: the deadline of a wait is in a register.
const DEADLINE: u64 = 1 << 2;
/// Rt of a system register access, bits 9:5.
const SYSREG_RT: u64 = 0x1f << 5;

/// A data abort without details.
const OPAQUE_ABORT: u64 = CLASS | SET | NO_FAR | EXTERNAL | STATUS;

/// The syndrome of an exception class alone.
pub(crate) fn class(class: ExceptionClass) -> u64 {
    u64::from(u8::from(class)) << 26
}

/// The fault status code of a translation fault, or of a permission fault, at a level.
pub(crate) fn fault_status(level: Level, permission: bool) -> u64 {
    match (u64::try_from(level.number()), permission) {
        (Ok(level), false) => 0x04 + level,
        (Ok(level), true) => 0x0c + level,
        // Level -1 has separate codes.
        (Err(_), _) => 0x2b,
    }
}

/// The syndrome of a data access as the hardware would report it: `bytes` is 1, 2, 4 or 8.
pub(crate) fn data_access(bytes: u8, write: bool, status: u64) -> Esr {
    let size = u64::from(bytes.trailing_zeros()) << 22;
    let wide = if bytes == 8 { WIDE } else { 0 };
    let write = if write { WRITE } else { 0 };
    Esr(class(ExceptionClass::DataAbort) | LENGTH | VALID | size | wide | write | status)
}

/// What the host sees of a data abort at an unprotected IPA.
pub(crate) fn unprotected_abort(esr: Esr, dialect: Dialect) -> u64 {
    if esr.is_valid_syndrome() || tells_what_cannot_be_emulated(dialect) {
        esr.0 & (OPAQUE_ABORT | VALID | SIZE | WIDE | WRITE)
    } else {
        esr.0 & (OPAQUE_ABORT | LENGTH)
    }
}

/// What the host sees of an instruction abort, and of an external abort of either class.
pub(crate) fn opaque_abort(esr: Esr) -> u64 {
    esr.0 & OPAQUE_ABORT
}

/// What the host sees of a WFx. As TF-RMM, a wait with a deadline looks like one without, unless
/// the dialect reports deadlines.
pub(crate) fn wfx(esr: Esr, dialect: Dialect) -> u64 {
    let kind = esr.0 & (CLASS | TRAPPED);
    match (esr.wfx().has_deadline(), tells_deadline(dialect)) {
        (false, _) => kind,
        (true, true) => kind | DEADLINE,
        (true, false) => kind & !0b10,
    }
}

/// RN (bits 9:5) of a WFx: the register with the deadline.
pub(crate) fn wait_register(esr: Esr) -> u8 {
    ((esr.0 & SYSREG_RT) >> 5).to_le_bytes()[0]
}

/// What the host sees of a system error. As TF-RMM v0.8.0, the class is missing in 1.0.
pub(crate) fn system_error(esr: u64, dialect: Dialect) -> u64 {
    let class = if dialect.is_2_0() { CLASS } else { 0 };
    esr & (class | VALID | SET | NO_FAR | EXTERNAL | STATUS)
}

/// What the host sees of a system register access: not which general purpose register it uses, but
/// as TF-RMM v0.8.0 that, too, in 1.0.
pub(crate) fn sysreg(esr: Esr, dialect: Dialect) -> u64 {
    if dialect.is_2_0() { esr.0 & !SYSREG_RT } else { esr.0 }
}

/// Rt of a system register access.
pub(crate) fn sysreg_rt(esr: Esr) -> u64 {
    (esr.0 & SYSREG_RT) >> 5
}

/// SRT (bits 20:16) of a data access.
pub(crate) fn access_register(esr: Esr) -> u8 {
    ((esr.0 >> 16) & 0x1f).to_le_bytes()[0]
}

/// SSE (bit 21) of a data access: a load sign-extends.
pub(crate) fn is_sign_extended(esr: Esr) -> bool {
    esr.0 & (1 << 21) != 0
}

/// `HPFAR_EL2` for a structure of a call that is not mapped. As TF-RMM, with bits 11:8 of the IPA
/// in the bits below FIPA.
pub(crate) fn hpfar_of_structure(ipa: Ipa) -> u64 {
    ipa.raw() >> 8
}

/// `HPFAR_EL2` for a fault at `ipa`.
pub(crate) fn hpfar(ipa: Ipa) -> u64 {
    ipa.raw() >> 12 << 4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from TF-RMM 9a7f8ef4.
    #[test]
    fn masks_are_those_of_tf_rmm() {
        let dialect = Dialect::TfRmm2026_07;
        assert_eq!(opaque_abort(Esr(0x93c5_0047)), 0x9000_0007);
        assert_eq!(unprotected_abort(Esr(0x93c5_0047), dialect), 0x91c0_0047);
        assert_eq!(unprotected_abort(Esr(0x93a7_0007), dialect), 0x9180_0007);
        assert_eq!(unprotected_abort(Esr(0x9200_0047), dialect), 0x9200_0007);
        assert_eq!(opaque_abort(Esr(0x8200_0007)), 0x8000_0007);
        assert_eq!(system_error(0xbe00_0811, dialect), 0xbc00_0811);
        assert_eq!(sysreg(Esr(0x6232_c1a0), dialect), 0x6232_c000);
    }

    /// The masks of TF-RMM v0.8.0, `ESR_EMULATED_ABORT_MASK` and others.
    #[test]
    fn masks_of_1_0_are_those_of_tf_rmm_080() {
        let dialect = Dialect::V1_0;
        assert_eq!(unprotected_abort(Esr(0x93c5_0047), dialect), 0x91c0_0047);
        assert_eq!(unprotected_abort(Esr(0x92c5_8047), dialect), 0x90c0_8047);
        assert_eq!(system_error(0xbe00_0811, dialect), 0x811);
        assert_eq!(sysreg(Esr(0x6232_c1a0), dialect), 0x6232_c1a0);
        assert_eq!(wfx(Esr(0x07e0_0043), dialect), 0x0400_0001);
    }

    #[test]
    fn an_access_describes_itself() {
        let esr = data_access(4, true, fault_status(Level::L2, false));
        assert_eq!(esr.class(), ExceptionClass::DataAbort);
        assert_eq!((esr.access_bytes(), esr.is_write(), esr.fault_status()), (4, true, 6));
        assert!(!esr.is_64_bit_register() && data_access(8, false, 7).is_64_bit_register());
    }
}
