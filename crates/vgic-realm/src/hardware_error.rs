//! Whether a CPU has the registers of the virtual CPU interface.

use core::fmt;

/// `CurrentEL.EL`, and the lowest level that has the registers.
const EL_SHIFT: u32 = 2;
const EL2: u8 = 2;
/// `ID_AA64PFR0_EL1.GIC`.
const GIC_SHIFT: u32 = 24;
/// `ICC_SRE_EL2.SRE`.
const SRE: u64 = 1;

/// Why the registers of the virtual CPU interface cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HardwareError {
    /// The program runs below EL2.
    NotAtEl2 {
        /// The exception level at which it runs.
        exception_level: u8,
    },
    /// The CPU has no GIC system registers.
    NoSystemRegisters,
    /// `ICC_SRE_EL2.SRE` is 0: the host has not enabled the GIC system registers on this CPU.
    SystemRegistersDisabled,
}

impl HardwareError {
    /// Decides by the registers of a CPU whether `ICH_*_EL2` can be used: `current_el` is
    /// `CurrentEL`, `pfr0` is `ID_AA64PFR0_EL1`, and `read_sre` reads `ICC_SRE_EL2`. It is called
    /// only where that register exists: at EL2 or EL3, on a CPU with GIC system registers.
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
        let [exception_level, ..] = (current_el >> EL_SHIFT & 0b11).to_le_bytes();
        if exception_level < EL2 {
            Err(Self::NotAtEl2 { exception_level })
        } else if pfr0 >> GIC_SHIFT & 0xf == 0 {
            Err(Self::NoSystemRegisters)
        } else if read_sre() & SRE == 0 {
            Err(Self::SystemRegistersDisabled)
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for HardwareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAtEl2 { exception_level } => write!(
                f,
                "CurrentEL is EL{exception_level}: the registers of the virtual CPU interface \
                 exist at EL2"
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
