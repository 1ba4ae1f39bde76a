//! The instructions of a CPU that programs use: waits, the CPU interface of the GIC, the timers.
#![expect(unsafe_code, reason = "system registers")]

use core::arch::asm;

use realm_guest::vcpu::Timer;

/// Waits until all accesses before are complete, for whoever looks at memory.
pub(super) fn barrier() {
    // SAFETY: it has no effect on the program. Without `nomem`, accesses are not moved across.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}

/// WFI: interrupts stay masked, and a pending one ends the wait.
pub(super) fn wait_for_interrupt() {
    // SAFETY: it ends by itself, or with an interrupt.
    unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
}

/// WFE.
pub(super) fn wait_for_event() {
    // SAFETY: the same.
    unsafe { asm!("dsb sy", "wfe", options(nostack, preserves_flags)) };
}

/// All priorities but the lowest, and group 1.
pub(super) fn enable_interrupts() {
    // SAFETY: interrupts stay masked in PSTATE; the registers concern nothing else.
    unsafe {
        asm!(
            "mrs {0}, ICC_SRE_EL1",
            "orr {0}, {0}, #1",
            "msr ICC_SRE_EL1, {0}",
            "isb",
            "mov {0}, #0xf0",
            "msr ICC_PMR_EL1, {0}",
            "mov {0}, #1",
            "msr ICC_IGRPEN1_EL1, {0}",
            "isb",
            out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Acknowledges the most urgent interrupt of group 1.
pub(super) fn acknowledge() -> Option<u32> {
    let intid: u64;
    // SAFETY: the read changes the state of the interrupt only.
    unsafe {
        asm!("mrs {}, ICC_IAR1_EL1", "dsb sy", out(reg) intid, options(nostack, preserves_flags));
    }
    // 1020 to 1023 are no interrupts.
    u32::try_from(intid & 0xff_ffff).ok().filter(|intid| !(1020..=1023).contains(intid))
}

/// Ends an interrupt.
pub(super) fn end_of_interrupt(intid: u32) {
    // SAFETY: the write changes the state of the interrupt only.
    unsafe {
        asm!(
            "dsb sy",
            "msr ICC_EOIR1_EL1, {}",
            "isb",
            in(reg) u64::from(intid),
            options(nostack, preserves_flags),
        );
    }
}

/// Sends an SGI of group 1.
pub(super) fn send_sgi(value: u64) {
    // SAFETY: the target has interrupts masked, as all CPUs of the payload.
    unsafe {
        asm!(
            "dsb sy",
            "msr ICC_SGI1R_EL1, {}",
            "isb",
            in(reg) value,
            options(nostack, preserves_flags),
        );
    }
}

/// The virtual counter.
pub(super) fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: the read has no effect.
    unsafe {
        asm!("isb", "mrs {}, CNTVCT_EL0", out(reg) ticks, options(nostack, preserves_flags));
    }
    ticks
}

/// Sets a timer and turns it on; with no value it is turned off.
pub(super) fn set_timer(timer: Timer, cval: Option<u64>) {
    let (control, cval) = (u64::from(cval.is_some()), cval.unwrap_or(0));
    // SAFETY: the timers belong to the program; their interrupts are masked.
    unsafe {
        match timer {
            Timer::Virtual => asm!(
                "msr CNTV_CVAL_EL0, {}",
                "msr CNTV_CTL_EL0, {}",
                "isb",
                in(reg) cval,
                in(reg) control,
                options(nostack, preserves_flags),
            ),
            Timer::Physical => asm!(
                "msr CNTP_CVAL_EL0, {}",
                "msr CNTP_CTL_EL0, {}",
                "isb",
                in(reg) cval,
                in(reg) control,
                options(nostack, preserves_flags),
            ),
        }
    }
}

/// The index of this CPU, which is kept in `TPIDR_EL1`.
pub(super) fn index() -> u64 {
    let index: u64;
    // SAFETY: the read has no effect.
    unsafe { asm!("mrs {}, TPIDR_EL1", out(reg) index, options(nostack, preserves_flags)) };
    index
}
