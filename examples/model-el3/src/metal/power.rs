//! The power of the machine: two lines of a PL061.
//!
//! Source: Arm DDI 0190 (PL061).

use core::sync::atomic::Ordering;

use super::board::{GPIO_OFF, GPIO_RESET};
use super::mmio::devices::LINES;
use super::{registers, start};

/// `GPIODIR`: the lines that are outputs.
const DIRECTION: usize = 0x400;

/// Sets a line, which the machine notices when it goes high.
fn raise(line: u8) {
    let bit = 1_u32 << line;
    // `GPIODATA`: address bits 9:2 choose the lines.
    let data = usize::from(line != 0) * 4 + 4;
    LINES.write32(data, 0);
    LINES.write32(DIRECTION, LINES.read32(DIRECTION) | bit);
    LINES.write32(data, bit);
}

/// Turns the machine off.
pub(super) fn off() -> ! {
    raise(GPIO_OFF);
    stand_still()
}

/// Resets the machine.
pub(super) fn reset() -> ! {
    // The other CPUs wait again, until the first one has copied the image.
    start::OPEN.store(0, Ordering::SeqCst);
    raise(GPIO_RESET);
    stand_still()
}

fn stand_still() -> ! {
    loop {
        registers::wait_for_event();
    }
}
