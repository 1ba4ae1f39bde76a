//! What is not expected: it is reported, and the machine turned off.

use core::fmt::Display;
use core::panic::PanicInfo;

use super::console::report;
use super::{power, registers};

/// Reports why the firmware cannot go on, and turns the machine off.
pub(super) fn stop(why: &dyn Display) -> ! {
    report!("model-el3: failed: {why}");
    power::off()
}

/// The same of an exception.
pub(super) fn unexpected(vector: u64, esr: u64, elr: u64, far: u64, spsr: u64) -> ! {
    let kind = match vector % 4 {
        0 => "synchronous exception",
        1 => "IRQ",
        2 => "FIQ",
        _ => "SError",
    };
    let level = spsr >> 2 & 0b11;
    stop(&format_args!(
        "CPU {:#x}: {kind} from EL{level}, ESR_EL3 {esr:#x}, ELR_EL3 {elr:#x}, FAR_EL3 {far:#x}",
        // Without the table of CPUs, which may be locked.
        registers::mpidr() & 0xff_00ff_ffff
    ))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    report!("model-el3: failed: {info}");
    power::off()
}
