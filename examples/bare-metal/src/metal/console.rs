//! The console: the PL011 that the device tree names, as firmware has set it up.
#![expect(unsafe_code, reason = "registers at an address of the device tree")]

use core::fmt::{self, Write};
use core::ptr::NonNull;

use arm_gic::UniqueMmioPointer;
use arm_pl011_uart::{PL011Registers, Uart};
use spin::mutex::SpinMutex;

static CONSOLE: SpinMutex<Option<Console>> = SpinMutex::new(None);

struct Console(Uart<'static>);

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.write_byte(b'\r');
            }
            self.write_byte(byte);
        }
        Ok(())
    }
}

impl Console {
    fn write_byte(&mut self, byte: u8) {
        while self.0.is_tx_fifo_full() {
            core::hint::spin_loop();
        }
        self.0.write_word(byte);
    }
}

/// Takes the UART at this address.
///
/// # Safety
///
/// There is a PL011 at the address, mapped as a device, and nothing else uses it.
pub(crate) unsafe fn set(address: usize) {
    let registers = core::ptr::with_exposed_provenance_mut::<PL011Registers>(address);
    let Some(registers) = NonNull::new(registers) else { return };
    // SAFETY: by the caller's promise.
    let registers = unsafe { UniqueMmioPointer::new(registers) };
    *CONSOLE.lock() = Some(Console(Uart::new(registers)));
}

/// Prints, as a whole; nothing before the console is known.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    if let Some(console) = &mut *CONSOLE.lock() {
        // Writing to the console does not fail.
        let _ = console.write_fmt(text);
    }
}

/// Prints although another CPU, or the interrupted code, may be printing: soon it will not matter.
pub(crate) fn print_at_once(text: fmt::Arguments<'_>) {
    const ATTEMPTS: u32 = 10_000_000;
    for _ in 0..ATTEMPTS {
        if let Some(mut console) = CONSOLE.try_lock() {
            if let Some(console) = &mut *console {
                let _ = console.write_fmt(text);
            }
            return;
        }
        core::hint::spin_loop();
    }
    // SAFETY: the holder is this CPU, in code that is not returned to, or it waits for something
    // that does not come; at worst two texts are mixed.
    unsafe { CONSOLE.force_unlock() };
    print(text);
}
