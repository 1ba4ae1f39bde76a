//! The host's side of the guest's UART.

use alloc::string::String;
use core::fmt;

use realm_sdk::rec::gic::RealmGic;
use realm_sdk::rec::mmio::Pl011Backend;
use realm_sdk::vgic::SpiIntid;

use super::layout::UART_INTID;
use crate::machine::Machine;

/// Letters of a line; what comes after them is left out.
const LINE: usize = 240;

/// Prints each line of the guest as a whole, with the Realm's number in front.
pub(crate) struct Console<'c, M> {
    machine: &'c M,
    gic: RealmGic<'c>,
    realm: usize,
    line: String,
}

impl<'c, M: Machine> Console<'c, M> {
    pub(crate) const fn new(machine: &'c M, gic: RealmGic<'c>, realm: usize) -> Self {
        Self { machine, gic, realm, line: String::new() }
    }
}

impl<M: Machine> Pl011Backend for Console<'_, M> {
    fn transmit(&mut self, letter: u8) {
        match letter {
            b'\n' => {
                self.machine.print(format_args!("linux {} | {}", self.realm, self.line));
                self.line.clear();
            }
            // Whatever the Realm writes, the host's console gets printable letters only.
            b' '..=b'~' if self.line.len() < LINE => self.line.push(char::from(letter)),
            _ => {}
        }
    }

    fn set_interrupt(&mut self, level: bool) {
        if let Some(spi) = SpiIntid::new(UART_INTID) {
            self.gic.set_spi(spi, level);
        }
    }
}

impl<M> fmt::Debug for Console<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("realm", &self.realm).finish_non_exhaustive()
    }
}
