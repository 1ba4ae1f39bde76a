//! Whether a CPU has the registers of the virtual CPU interface.

use core::fmt;

/// `CurrentEL.EL`.
const EL_SHIFT: u32 = 2;
const EL2: u8 = 2;
const EL3: u8 = 3;
/// `ID_AA64PFR0_EL1.GIC`.
const GIC_SHIFT: u32 = 24;
/// `ICC_SRE_EL2.SRE`.
const SRE: u64 = 1;

/// Why the registers of the virtual CPU interface cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HardwareError {
    /// The program is a host that does not run at EL2.
    NotAtEl2 {
        /// The exception level at which it runs.
        exception_level: u8,
    },
    /// The program is a monitor that does not run at EL3.
    NotAtEl3 {
        /// The exception level at which it runs.
        exception_level: u8,
    },
    /// The CPU has no GIC system registers.
    NoSystemRegisters,
    /// `ICC_SRE_EL2.SRE` is 0: the host has not enabled the GIC system registers on this CPU.
    SystemRegistersDisabled,
}

impl HardwareError {
    /// Decides by the registers of a CPU whether a host can use `ICH_*_EL2`: `current_el` is
    /// `CurrentEL`, `pfr0` is `ID_AA64PFR0_EL1`, and `read_sre` reads `ICC_SRE_EL2`. It is called
    /// only where that register exists: at EL2, on a CPU with GIC system registers.
    ///
    /// # Errors
    ///
    /// The first reason why not, in the order of the variants.
    ///
    /// Source: Arm DDI 0487, `CurrentEL`, `ID_AA64PFR0_EL1`; Arm IHI 0069, `ICC_SRE_EL2`.
    pub fn check(
        current_el: u64,
        pfr0: u64,
        read_sre: impl FnOnce() -> u64,
    ) -> Result<(), HardwareError> {
        match level(current_el) {
            EL2 => Self::check_registers(pfr0, read_sre),
            exception_level => Err(Self::NotAtEl2 { exception_level }),
        }
    }

    /// The same for a monitor, at EL3.
    ///
    /// # Errors
    ///
    /// The first reason why not, in the order of the variants.
    pub fn check_monitor(
        current_el: u64,
        pfr0: u64,
        read_sre: impl FnOnce() -> u64,
    ) -> Result<(), HardwareError> {
        match level(current_el) {
            EL3 => Self::check_registers(pfr0, read_sre),
            exception_level => Err(Self::NotAtEl3 { exception_level }),
        }
    }

    fn check_registers(pfr0: u64, read_sre: impl FnOnce() -> u64) -> Result<(), HardwareError> {
        if pfr0 >> GIC_SHIFT & 0xf == 0 {
            Err(Self::NoSystemRegisters)
        } else if read_sre() & SRE == 0 {
            Err(Self::SystemRegistersDisabled)
        } else {
            Ok(())
        }
    }
}

/// The exception level.
const fn level(current_el: u64) -> u8 {
    let [level, ..] = (current_el >> EL_SHIFT & 0b11).to_le_bytes();
    level
}

impl fmt::Display for HardwareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAtEl2 { exception_level } => write!(
                f,
                "CurrentEL is EL{exception_level}: a host uses the virtual CPU interface at EL2"
            ),
            Self::NotAtEl3 { exception_level } => write!(
                f,
                "CurrentEL is EL{exception_level}: a monitor uses the virtual CPU interface at EL3"
            ),
            Self::NoSystemRegisters => {
                f.write_str("ID_AA64PFR0_EL1.GIC is 0: the CPU has no GIC system registers")
            }
            Self::SystemRegistersDisabled => {
                f.write_str("ICC_SRE_EL2.SRE is 0: GIC system registers are not enabled")
            }
        }
    }
}

impl core::error::Error for HardwareError {}
