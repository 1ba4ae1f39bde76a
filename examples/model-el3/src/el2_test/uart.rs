//! The UART of QEMU's machine `virt`, a PL011 that always takes what is written.
#![expect(unsafe_code, reason = "a register is accessed by address")]

use core::fmt::{self, Write};
use core::ptr::with_exposed_provenance_mut;

/// Its data register.
const DATA: usize = 0x0900_0000;

struct Uart;

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: the machine has the register there, and it does not affect memory.
            unsafe { with_exposed_provenance_mut::<u32>(DATA).write_volatile(byte.into()) };
        }
        Ok(())
    }
}

/// Writes a line.
pub(crate) fn line(arguments: fmt::Arguments<'_>) {
    // The UART takes everything.
    let _ = write!(Uart, "{arguments}\r\n");
}
