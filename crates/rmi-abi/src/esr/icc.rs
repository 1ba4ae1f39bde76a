//! The registers of the GIC's CPU interface, as a Realm encodes them.
//!
//! Source: Arm IHI 0069 (GICv3), "CPU interface registers".

use super::SysReg;

const fn icc(crn: u8, crm: u8, op2: u8) -> SysReg {
    SysReg { op0: 3, op1: 0, crn, crm, op2 }
}

impl SysReg {
    /// `ICC_PMR_EL1`: the priority below which interrupts are signalled.
    pub const ICC_PMR_EL1: Self = icc(4, 6, 0);
    /// `ICC_IAR0_EL1`: acknowledges the pending interrupt of group 0 with the highest priority.
    pub const ICC_IAR0_EL1: Self = icc(12, 8, 0);
    /// `ICC_EOIR0_EL1`: ends an interrupt of group 0.
    pub const ICC_EOIR0_EL1: Self = icc(12, 8, 1);
    /// `ICC_HPPIR0_EL1`: the pending interrupt of group 0 with the highest priority.
    pub const ICC_HPPIR0_EL1: Self = icc(12, 8, 2);
    /// `ICC_BPR0_EL1`: how priorities of group 0 are split for preemption.
    pub const ICC_BPR0_EL1: Self = icc(12, 8, 3);
    /// `ICC_AP0R0_EL1`: active priorities of group 0.
    pub const ICC_AP0R0_EL1: Self = icc(12, 8, 4);
    /// `ICC_AP1R0_EL1`: active priorities of group 1.
    pub const ICC_AP1R0_EL1: Self = icc(12, 9, 0);
    /// `ICC_DIR_EL1`: deactivates an interrupt.
    pub const ICC_DIR_EL1: Self = icc(12, 11, 1);
    /// `ICC_RPR_EL1`: the running priority.
    pub const ICC_RPR_EL1: Self = icc(12, 11, 3);
    /// `ICC_SGI1R_EL1`: sends a group 1 SGI.
    pub const ICC_SGI1R_EL1: Self = icc(12, 11, 5);
    /// `ICC_ASGI1R_EL1`: sends a group 1 SGI to the other security state.
    pub const ICC_ASGI1R_EL1: Self = icc(12, 11, 6);
    /// `ICC_SGI0R_EL1`: sends a group 0 SGI.
    pub const ICC_SGI0R_EL1: Self = icc(12, 11, 7);
    /// `ICC_IAR1_EL1`: acknowledges the pending interrupt of group 1 with the highest priority.
    pub const ICC_IAR1_EL1: Self = icc(12, 12, 0);
    /// `ICC_EOIR1_EL1`: ends an interrupt of group 1.
    pub const ICC_EOIR1_EL1: Self = icc(12, 12, 1);
    /// `ICC_HPPIR1_EL1`: the pending interrupt of group 1 with the highest priority.
    pub const ICC_HPPIR1_EL1: Self = icc(12, 12, 2);
    /// `ICC_BPR1_EL1`: how priorities of group 1 are split for preemption.
    pub const ICC_BPR1_EL1: Self = icc(12, 12, 3);
    /// `ICC_CTLR_EL1`: CBPR, `EOImode`, and what is implemented.
    pub const ICC_CTLR_EL1: Self = icc(12, 12, 4);
    /// `ICC_SRE_EL1`: whether these registers are used at all.
    pub const ICC_SRE_EL1: Self = icc(12, 12, 5);
    /// `ICC_IGRPEN0_EL1`: enables group 0.
    pub const ICC_IGRPEN0_EL1: Self = icc(12, 12, 6);
    /// `ICC_IGRPEN1_EL1`: enables group 1.
    pub const ICC_IGRPEN1_EL1: Self = icc(12, 12, 7);
}
