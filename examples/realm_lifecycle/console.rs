//! A UART with a data register to write to and a flag register to read, as a PL011 has.

use crate::output::say;

/// Offset of the data register.
pub(crate) const DATA: u64 = 0x00;
/// Offset of the flag register.
pub(crate) const FLAGS: u64 = 0x18;
/// Flag: the transmitter is empty.
pub(crate) const TX_EMPTY: u64 = 1 << 7;
/// Bytes of the register window.
pub(crate) const WINDOW: u64 = 0x1000;

/// The UART: collects text, and prints it line by line.
#[derive(Debug, Default)]
pub(crate) struct Console {
    line: String,
}

impl Console {
    /// Handles a read of a register.
    pub(crate) fn read(&self, offset: u64) -> u64 {
        if offset == FLAGS { TX_EMPTY } else { 0 }
    }

    /// Handles a write to a register.
    pub(crate) fn write(&mut self, offset: u64, value: u64) {
        if offset != DATA {
            return;
        }
        let [byte, ..] = value.to_le_bytes();
        match byte {
            b'\n' => {
                say!("       uart | {}", self.line);
                self.line.clear();
            }
            // Whatever the Realm writes, the host's terminal gets printable characters only.
            b' '..=b'~' => self.line.push(char::from(byte)),
            _ => self.line.push('.'),
        }
    }
}
