//! The syndrome of a synchronous exit, decoded by class.

use super::{AbortSeverity, Esr, ExceptionClass, FaultStatus};
use crate::dialect::Dialect;

/// The cause of a `SYNC` exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Syndrome {
    /// A load or store that stage 2 did not allow.
    DataAbort(DataAbort),
    /// An instruction fetch that stage 2 did not allow.
    InstructionAbort(InstructionAbort),
    /// A system register access that the host is to emulate.
    SysReg(SysRegAccess),
    /// A wait; the program counter is already past it.
    Wfx(Wfx),
    /// A system error.
    SError(SErrorSyndrome),
    /// An HVC instruction.
    #[non_exhaustive]
    Hvc {
        /// The immediate.
        imm: u16,
    },
    /// An SMC instruction.
    #[non_exhaustive]
    Smc {
        /// The immediate.
        imm: u16,
    },
    /// A class this crate does not decode.
    #[non_exhaustive]
    Unknown {
        /// The whole syndrome.
        esr: Esr,
    },
}

impl Esr {
    /// Decodes the syndrome by its class. Every value decodes.
    #[must_use]
    pub fn decode(self) -> Syndrome {
        let [low, high, ..] = self.0.to_le_bytes();
        let imm = u16::from_le_bytes([low, high]);
        match self.class() {
            ExceptionClass::DataAbort => Syndrome::DataAbort(DataAbort {
                fault: FaultStatus::decode(self.fault_status()),
                external: self.0 & (1 << 9) != 0,
                severity: self.severity(),
                access: self.is_valid_syndrome().then(|| Access {
                    bytes: self.access_bytes(),
                    write: self.is_write(),
                    register_64: self.is_64_bit_register(),
                }),
            }),
            ExceptionClass::InstructionAbort => Syndrome::InstructionAbort(InstructionAbort {
                fault: FaultStatus::decode(self.fault_status()),
                external: self.0 & (1 << 9) != 0,
                severity: self.severity(),
            }),
            ExceptionClass::SysReg => Syndrome::SysReg(SysRegAccess {
                register: self.system_register(),
                read: self.sysreg_is_read(),
            }),
            ExceptionClass::Wfx => Syndrome::Wfx(self.wfx()),
            ExceptionClass::SError => Syndrome::SError(self.serror()),
            ExceptionClass::Hvc64 => Syndrome::Hvc { imm },
            ExceptionClass::Smc64 => Syndrome::Smc { imm },
            ExceptionClass::Unknown(_) => Syndrome::Unknown { esr: self },
        }
    }

    /// The syndrome as that of a system error, whatever its class: what a `SERROR` exit holds.
    #[must_use]
    pub const fn serror(self) -> SErrorSyndrome {
        let [severity, ..] = ((self.0 >> 10) & 0b111).to_le_bytes();
        SErrorSyndrome {
            implementation_defined: self.0 & (1 << 24) != 0,
            severity,
            external: self.0 & (1 << 9) != 0,
            fault_status: self.fault_status(),
        }
    }

    /// The severity of a synchronous external abort (SET, bits 12:11). For other aborts the bits
    /// have no meaning, see [`FaultStatus::is_external`].
    #[must_use]
    #[doc(alias = "SET")]
    pub fn severity(self) -> AbortSeverity {
        AbortSeverity::from(((self.0 >> 11) & 0b11).to_le_bytes()[0])
    }

    /// The register of a trapped system register access.
    #[must_use]
    pub const fn system_register(self) -> SysReg {
        let (op0, op1, crn, crm, op2) = self.sysreg();
        SysReg { op0, op1, crn, crm, op2 }
    }

    /// Which wait was trapped.
    #[must_use]
    #[doc(alias = "TI")]
    pub const fn wfx(self) -> Wfx {
        match self.wfx_kind() {
            0 => Wfx::Wfi,
            1 => Wfx::Wfe,
            2 => Wfx::Wfit,
            _ => Wfx::Wfet,
        }
    }
}

/// A data abort as reported to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DataAbort {
    /// Why it was taken.
    pub fault: FaultStatus,
    /// Whether an external abort has an implementation defined type (EA).
    pub external: bool,
    /// The severity of an external abort (SET), see [`Esr::severity`].
    pub severity: AbortSeverity,
    /// The access, when it can be emulated.
    ///
    /// It can be emulated when the IPA is unprotected and the instruction is a plain load or store
    /// of one register.
    pub access: Option<Access>,
}

/// A system error as reported to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SErrorSyndrome {
    /// Whether the rest of the syndrome is implementation defined (IDS).
    pub implementation_defined: bool,
    /// The severity (AET): 0 uncontainable, 1 unrecoverable, 2 restartable, 3 recoverable, 6
    /// corrected.
    pub severity: u8,
    /// Whether it has an implementation defined type (EA).
    pub external: bool,
    /// The fault status code (DFSC): 0 uncategorized, 0x11 asynchronous error.
    pub fault_status: u8,
}

/// An instruction abort as reported to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InstructionAbort {
    /// Why it was taken.
    pub fault: FaultStatus,
    /// Whether an external abort has an implementation defined type (EA).
    pub external: bool,
    /// The severity of an external abort (SET), see [`Esr::severity`].
    pub severity: AbortSeverity,
}

/// An access that a host may emulate.
///
/// The host never learns the register, nor whether a load sign-extends. It passes a load's value in
/// `gprs[0]`, not extended: the RMM masks it to [`Access::bytes`], extends it as the instruction
/// specifies, and discards it when the register is XZR. A store's value is in `gprs[0]`, masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// Size in bytes: 1, 2, 4 or 8 (SAS).
    pub bytes: u8,
    /// Whether it is a store (`WnR`).
    pub write: bool,
    /// Whether the register is 64 bits wide (SF). The RMM truncates the value to this width after
    /// extending it.
    pub register_64: bool,
}

impl Access {
    /// The bits of a value that an access of this size transfers; more than eight bytes count as
    /// eight.
    #[must_use]
    pub const fn mask(self) -> u64 {
        match self.bytes {
            0 => 0,
            bytes @ 1..=7 => (1 << (bytes as u32 * 8)) - 1,
            _ => u64::MAX,
        }
    }

    /// A value as it is passed in `gprs[0]`: masked to the size, not extended.
    #[must_use]
    pub const fn value(self, value: u64) -> u64 {
        value & self.mask()
    }

    /// The register value that the RMM computes from a load's value and the instruction's sign
    /// extension (SSE), which is hidden from the host.
    ///
    /// For a model of an RMM; a host must not do this.
    #[must_use]
    pub const fn extended(self, value: u64, sign_extend: bool) -> u64 {
        let value = self.value(value);
        let extended = match self.bytes {
            1..=7 if sign_extend => {
                let unused = 64 - self.bytes as u32 * 8;
                ((value << unused).cast_signed() >> unused).cast_unsigned()
            }
            _ => value,
        };
        if self.register_64 { extended } else { extended & 0xffff_ffff }
    }
}

/// A system register access as reported to the host. The program counter is already past it.
///
/// The value of a write is in `gprs[0]`; that of a read is expected in `gprs[0]` at the next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SysRegAccess {
    /// The register.
    pub register: SysReg,
    /// Whether it is read.
    pub read: bool,
}

/// A system register, by its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SysReg {
    /// Op0, two bits.
    pub op0: u8,
    /// Op1, three bits.
    pub op1: u8,
    /// CRn, four bits.
    pub crn: u8,
    /// CRm, four bits.
    pub crm: u8,
    /// Op2, three bits.
    pub op2: u8,
}

/// A trapped wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wfx {
    /// For an interrupt.
    Wfi,
    /// For an event.
    Wfe,
    /// For an interrupt, at most until a deadline. TF-RMM reports it as [`Wfx::Wfi`].
    Wfit,
    /// For an event, at most until a deadline. TF-RMM reports it as [`Wfx::Wfe`].
    Wfet,
}

impl Wfx {
    /// Whether it is for an event (WFE, WFET), and not for an interrupt.
    #[must_use]
    pub const fn is_for_event(self) -> bool {
        matches!(self, Self::Wfe | Self::Wfet)
    }

    /// Whether the wait has a deadline (WFIT, WFET).
    #[must_use]
    pub const fn has_deadline(self) -> bool {
        matches!(self, Self::Wfit | Self::Wfet)
    }

    /// The deadline: a value of the virtual counter, in ticks. `x0` is `gprs[0]` of the exit, in
    /// the dialects that report it; `None` when there is no deadline or the dialect does not report
    /// it.
    #[must_use]
    pub const fn deadline(self, x0: u64, dialect: Dialect) -> Option<u64> {
        if self.has_deadline() && dialect.tells_wait_deadline() { Some(x0) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtt::Level;

    #[test]
    fn an_emulatable_store_of_two_bytes() {
        // EC 0x24, ISV, SAS 1, SF, WnR, translation fault level 3.
        let esr = Esr(0x24 << 26 | 1 << 24 | 1 << 22 | 1 << 15 | 1 << 6 | 0x07);
        let access = Access { bytes: 2, write: true, register_64: true };
        assert_eq!(
            esr.decode(),
            Syndrome::DataAbort(DataAbort {
                fault: FaultStatus::Translation(Level::L3),
                external: false,
                severity: AbortSeverity::Recoverable,
                access: Some(access),
            })
        );
        assert_eq!(access.value(0x1234_5678), 0x5678);
        assert_eq!(esr.visible(), esr);
    }

    #[test]
    fn loads_are_extended_by_the_rmm_alone() {
        let byte = Access { bytes: 1, write: false, register_64: true };
        assert_eq!(byte.value(0xff80), 0x80);
        assert_eq!(byte.extended(0x80, false), 0x80);
        assert_eq!(byte.extended(0x80, true), 0xffff_ffff_ffff_ff80);
        let narrow = Access { register_64: false, ..byte };
        assert_eq!(narrow.extended(0x80, true), 0xffff_ff80);
        let whole = Access { bytes: 8, ..byte };
        assert_eq!(whole.extended(u64::MAX, true), u64::MAX);
    }

    #[test]
    fn what_is_hidden_from_the_host_is_masked() {
        // All syndrome bits of a data abort with a valid syndrome: SRT, SSE, AR, VNCR, CM and S1PTW
        // are removed.
        let all = Esr(0x24 << 26 | 0x1ff_ffff).visible();
        assert_eq!(all.0 & (0x1f << 16 | 1 << 21 | 1 << 14 | 1 << 13 | 1 << 8 | 1 << 7), 0);
        // A write to ICC_SGI1R_EL1 from X5: the register number is removed.
        let sgi = Esr(0x18 << 26 | 3 << 20 | 5 << 17 | 12 << 10 | 5 << 5 | 11 << 1);
        let Syndrome::SysReg(access) = sgi.visible().decode() else { panic!("{sgi:?}") };
        assert_eq!(access, SysRegAccess { register: SysReg::ICC_SGI1R_EL1, read: false });
        assert_eq!(sgi.visible().0 & (0x1f << 5), 0);
    }

    #[test]
    fn waits_and_calls() {
        assert_eq!(Esr(1 << 26 | 0b10).decode(), Syndrome::Wfx(Wfx::Wfit));
        assert_eq!(Esr(0x16 << 26 | 0x42).decode(), Syndrome::Hvc { imm: 0x42 });
        assert_eq!(Esr(0x17 << 26 | 0x43).decode(), Syndrome::Smc { imm: 0x43 });
        let serror = Esr(0x2f << 26 | 0b011 << 10 | 0x11 | 1 << 16).visible();
        assert_eq!(serror.0 & 1 << 16, 0);
        let Syndrome::SError(error) = serror.decode() else { panic!("{serror:?}") };
        assert_eq!((error.severity, error.fault_status), (3, 0x11));
        // Without the class, as some RMMs pass it.
        assert_eq!(Esr(serror.0 & 0x1ff_ffff).serror(), error);
        assert_eq!(Esr(0x3c << 26).decode(), Syndrome::Unknown { esr: Esr(0x3c << 26) });
    }
}
