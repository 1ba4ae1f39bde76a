//! The end of the program.

use core::fmt;
use core::panic::PanicInfo;

use smccc::{Smc, psci};

use crate::metal::{console, cpu};

/// Says why the program cannot go on, and turns the machine off. Whoever runs the program sees no
/// summary, and a line that begins with `failed`.
pub(crate) fn stop(why: fmt::Arguments<'_>) -> ! {
    console::print_at_once(format_args!("failed: {why}\n"));
    off()
}

/// Turns the machine off.
pub(crate) fn off() -> ! {
    if let Err(error) = psci::system_off::<Smc>() {
        console::print_at_once(format_args!("PSCI SYSTEM_OFF: {error}\n"));
    }
    loop {
        cpu::wait_for_interrupt();
    }
}

/// Turns this CPU off, for good.
pub(crate) fn off_cpu() -> ! {
    // It does not return unless it fails, and then the CPU does nothing any more.
    let _ = psci::cpu_off::<Smc>();
    cpu::stop()
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    stop(format_args!("CPU {}: {info}", cpu::index()))
}
