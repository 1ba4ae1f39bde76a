//! Messages on the UART, which is the host's at other times.
//!
//! Source: Arm DDI 0183 (PL011).

use core::fmt::{self, Write};

use spin::Mutex;

use super::mmio::devices::SERIAL;

const DATA: usize = 0x000;
const FLAGS: usize = 0x018;
/// The transmit FIFO is full.
const FULL: u32 = 1 << 5;
const CONTROL: usize = 0x030;
/// The UART and its transmitter are on.
const ON: u32 = 1 << 0 | 1 << 8;
/// How often a full FIFO is looked at before the character is dropped.
const LOOKS: u32 = 1 << 20;

static CONSOLE: Mutex<Uart> = Mutex::new(Uart);

struct Uart;

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if (0..LOOKS).any(|_| SERIAL.read32(FLAGS) & FULL == 0) {
                SERIAL.write32(DATA, byte.into());
            }
        }
        Ok(())
    }
}

/// Writes a line.
pub(super) fn line(arguments: fmt::Arguments<'_>) {
    // A CPU that fails while another writes does not wait for ever.
    let held = (0..LOOKS).find_map(|_| CONSOLE.try_lock());
    SERIAL.write32(CONTROL, SERIAL.read32(CONTROL) | ON);
    // The UART takes everything.
    let _ = write!(Uart, "{arguments}\r\n");
    drop(held);
}

/// Writes a line, as `println!`.
macro_rules! report {
    ($($arguments:tt)*) => { $crate::metal::console::line(format_args!($($arguments)*)) };
}
pub(super) use report;
