//! Starting a CPU at EL2.
#![expect(unsafe_code, reason = "the exception level changes")]

use core::arch::asm;

use model_el3::psci::Start;

use super::start::stack_top;

/// `SPSR_EL3`: EL2 with its own stack pointer, all exceptions masked.
const EL2H_MASKED: u64 = 0x3c9;

/// Starts the host on this CPU. Nothing that is on the stack of the CPU is used again: the next
/// exception begins at its top.
pub(super) fn enter(start: Start, number: usize) -> ! {
    // SAFETY: the host runs at a lower level, with registers that say nothing of this program, and
    // cannot reach its memory. No value on the stack is borrowed by another CPU.
    unsafe {
        asm!(
            "msr elr_el3, {entry}",
            "msr spsr_el3, {spsr}",
            "mov sp, {stack}",
            "mov x1, xzr",
            "mov x2, xzr",
            "mov x3, xzr",
            "eret",
            entry = in(reg) start.entry,
            spsr = in(reg) EL2H_MASKED,
            stack = in(reg) stack_top(number),
            in("x0") start.context,
            options(noreturn),
        )
    }
}
