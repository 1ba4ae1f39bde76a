//! The registers of the generic timer that EL1 has.
//!
//! Source: Arm DDI 0487, "The Generic Timer in AArch64 state".

use super::SysReg;

/// A register of the generic timer: all are `S3_3_C14_C<crm>_<op2>`.
const fn timer(crm: u8, op2: u8) -> SysReg {
    SysReg { op0: 3, op1: 3, crn: 14, crm, op2 }
}

impl SysReg {
    /// The frequency of the counter, in Hz.
    pub const CNTFRQ_EL0: Self = timer(0, 0);
    /// The physical counter, in ticks.
    pub const CNTPCT_EL0: Self = timer(0, 1);
    /// The virtual counter, in ticks.
    pub const CNTVCT_EL0: Self = timer(0, 2);
    /// The ticks until the physical timer expires, 32 bits and signed.
    pub const CNTP_TVAL_EL0: Self = timer(2, 0);
    /// Control of the physical timer: ENABLE, IMASK, ISTATUS.
    pub const CNTP_CTL_EL0: Self = timer(2, 1);
    /// When the physical timer expires, in ticks.
    pub const CNTP_CVAL_EL0: Self = timer(2, 2);
    /// The ticks until the virtual timer expires, 32 bits and signed.
    pub const CNTV_TVAL_EL0: Self = timer(3, 0);
    /// Control of the virtual timer: ENABLE, IMASK, ISTATUS.
    pub const CNTV_CTL_EL0: Self = timer(3, 1);
    /// When the virtual timer expires, in ticks.
    pub const CNTV_CVAL_EL0: Self = timer(3, 2);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `op0<<14 | op1<<11 | CRn<<7 | CRm<<3 | op2`, as in the register index of Linux and RSI.
    #[test]
    fn encodings_are_those_of_the_architecture() {
        for (register, encoding) in [
            (SysReg::CNTFRQ_EL0, 0xdf00),
            (SysReg::CNTPCT_EL0, 0xdf01),
            (SysReg::CNTVCT_EL0, 0xdf02),
            (SysReg::CNTP_TVAL_EL0, 0xdf10),
            (SysReg::CNTP_CTL_EL0, 0xdf11),
            (SysReg::CNTP_CVAL_EL0, 0xdf12),
            (SysReg::CNTV_TVAL_EL0, 0xdf18),
            (SysReg::CNTV_CTL_EL0, 0xdf19),
            (SysReg::CNTV_CVAL_EL0, 0xdf1a),
        ] {
            let SysReg { op0, op1, crn, crm, op2 } = register;
            let encoded = u32::from(op0) << 14
                | u32::from(op1) << 11
                | u32::from(crn) << 7
                | u32::from(crm) << 3
                | u32::from(op2);
            assert_eq!(encoded, encoding);
        }
    }
}
