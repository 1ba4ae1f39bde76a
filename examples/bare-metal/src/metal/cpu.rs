//! The CPU that runs this code: its number, its interrupts, its timer.
#![expect(unsafe_code, reason = "instructions and registers that no function of a crate has")]

use core::arch::{asm, global_asm};

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{
    CNTFRQ_EL0, CNTHP_CTL_EL2, CNTPCT_EL0, MPIDR_EL1, Readable, TPIDR_EL2, Writeable,
};

/// `Aff3`, `Aff2`, `Aff1` and `Aff0` of `MPIDR_EL1`.
const AFFINITY: u64 = 0xff_00ff_ffff;

/// What PSCI and the device tree call this CPU.
pub(crate) fn affinity() -> u64 {
    MPIDR_EL1.get() & AFFINITY
}

/// The number of this CPU in this program: that which [`set_index`] has set.
pub(crate) fn index() -> u16 {
    u16::try_from(TPIDR_EL2.get()).unwrap_or(u16::MAX)
}

/// Sets the number of this CPU, once, before anything asks for it.
pub(crate) fn set_index(index: u16) {
    TPIDR_EL2.set(index.into());
}

/// Returns when all stores before it are visible to all CPUs, and to the walker of this one.
pub(crate) fn synchronize() {
    barrier::dsb(barrier::ISH);
    barrier::isb(barrier::SY);
}

/// The count of the physical timer.
pub(crate) fn ticks() -> u64 {
    // Not earlier than the instructions before.
    barrier::isb(barrier::SY);
    CNTPCT_EL0.get()
}

/// Ticks in a second.
pub(crate) fn frequency() -> u64 {
    CNTFRQ_EL0.get()
}

/// Has the EL2 physical timer signal its interrupt when the count reaches `deadline`; `None` turns
/// it off.
pub(crate) fn set_timer(deadline: Option<u64>) {
    let Some(deadline) = deadline else {
        CNTHP_CTL_EL2.set(0);
        barrier::isb(barrier::SY);
        return;
    };
    // SAFETY: the register belongs to this program, and its handler expects the interrupt.
    unsafe { asm!("msr cnthp_cval_el2, {}", in(reg) deadline, options(nostack)) };
    CNTHP_CTL_EL2.set(1);
    barrier::isb(barrier::SY);
}

/// Sleeps until an interrupt is pending, and leaves it pending: interrupts are masked. It may
/// return for no reason.
pub(crate) fn wait_for_interrupt() {
    // SAFETY: the instruction changes nothing but time. Memory counts as changed, as other CPUs
    // write to it meanwhile.
    unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
}

/// Takes the interrupts that are pending, by the vectors, and masks interrupts again. They are
/// masked everywhere else.
pub(crate) fn take_interrupts() {
    // SAFETY: a handler runs here at most, as a function that was called would: it keeps all
    // registers that a function keeps. The vectors of `aarch64-rt` do not save those of floating
    // point, so all that a function may change counts as changed.
    unsafe { asm!("msr daifclr, #2", "isb", "msr daifset, #2", "isb", clobber_abi("C")) };
}

/// Unmasks SErrors, which nothing recovers from: they are reported as soon as they are there.
pub(crate) fn report_errors() {
    // SAFETY: the handler does not return.
    unsafe { asm!("msr daifclr, #4", "isb", options(nostack)) };
}

/// Reads a word of memory that may not be there or may not be the host's; `None` when the CPU
/// reports a fault.
///
/// The address is a multiple of four, and reading there has no effect on a device.
pub(crate) fn probe(address: usize) -> Option<u32> {
    unsafe extern "C" {
        fn probe_word(address: usize) -> u64;
    }
    // SAFETY: the function is below. It loads memory that may change at any time, assumes nothing
    // about its value, and returns after a fault as well.
    u32::try_from(unsafe { probe_word(address) }).ok()
}

// Loads the word at X0; X0 is all ones after a fault. The handler of synchronous exceptions
// continues at `probe_fault` when the fault is that of the instruction at `probe_load`.
global_asm!(
    ".section .text.probe, \"ax\"",
    ".global probe_word",
    "probe_word:",
    "mov x1, x0",
    ".global probe_load",
    "probe_load:",
    "ldr w0, [x1]",
    "ret",
    ".global probe_fault",
    "probe_fault:",
    "mov x0, #-1",
    "ret",
);

/// Where execution goes on after a fault of the instruction at `at`, if it was that of [`probe`].
pub(crate) fn after_fault(at: usize) -> Option<usize> {
    unsafe extern "C" {
        static probe_load: u8;
        static probe_fault: u8;
    }
    (at == (&raw const probe_load).addr()).then_some((&raw const probe_fault).addr())
}

/// Stops this CPU for good.
pub(crate) fn stop() -> ! {
    loop {
        wait_for_interrupt();
    }
}
