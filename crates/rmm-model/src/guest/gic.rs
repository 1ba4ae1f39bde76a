//! Actions of a program on its CPU interface of the GIC.

use super::{Action, SysReg};

/// The general purpose register that these actions read into.
const X0: u8 = 0;

impl Action {
    /// Sets the priority mask (`ICC_PMR_EL1`): interrupts of smaller priorities are signalled. It
    /// is 0 at first, which masks all.
    #[must_use]
    pub const fn set_priority_mask(mask: u8) -> Self {
        Self::SysRegWrite { register: SysReg::ICC_PMR_EL1, value: mask as u64 }
    }

    /// Enables or disables interrupts of group 1 (`ICC_IGRPEN1_EL1`). They are disabled at first.
    #[must_use]
    pub const fn enable_group_1(enabled: bool) -> Self {
        Self::SysRegWrite { register: SysReg::ICC_IGRPEN1_EL1, value: enabled as u64 }
    }

    /// Acknowledges the most urgent interrupt of group 1 (`ICC_IAR1_EL1`): its number is the
    /// outcome and in X0, or 1023.
    #[must_use]
    pub const fn acknowledge() -> Self {
        Self::SysRegRead { register: SysReg::ICC_IAR1_EL1, into: X0 }
    }

    /// Ends an interrupt of group 1 (`ICC_EOIR1_EL1`).
    #[must_use]
    pub const fn end_of_interrupt(intid: u32) -> Self {
        Self::SysRegWrite { register: SysReg::ICC_EOIR1_EL1, value: intid as u64 }
    }

    /// Reads a register of the CPU interface; its value is the outcome and in X0.
    #[must_use]
    pub const fn read_register(register: SysReg) -> Self {
        Self::SysRegRead { register, into: X0 }
    }
}
