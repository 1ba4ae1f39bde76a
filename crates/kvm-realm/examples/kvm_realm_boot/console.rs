//! The guest's console: a PL011, whose interrupt is an SPI of KVM's GIC.

use std::os::fd::BorrowedFd;

use kvm_realm::kernel::Kernel;
use realm_sdk::rec::mmio::Pl011Backend;

use crate::input::Space;

/// The other end of the console.
#[derive(Clone, Copy)]
pub(crate) struct Terminal<'t> {
    /// Gets what the guest writes.
    pub(crate) text: &'t (dyn Fn(&str) + Sync),
    /// Where the guest's input comes from: a terminal, a pipe or a file.
    pub(crate) input: Option<BorrowedFd<'t>>,
    /// Whether a person types there: letters that move the cursor are let through, and Ctrl-A is
    /// the prefix of commands.
    pub(crate) is_interactive: bool,
}

/// The host's side of the UART.
pub(crate) struct Console<'c, K> {
    pub(crate) kernel: &'c K,
    pub(crate) vm: BorrowedFd<'c>,
    /// The number of the interrupt, as KVM_IRQ_LINE has it.
    pub(crate) irq: u32,
    pub(crate) terminal: Terminal<'c>,
    /// Where the thread that reads input waits for space in the UART.
    pub(crate) space: &'c Space,
}

impl<K: Kernel + Sync> Pl011Backend for Console<'_, K> {
    fn transmit(&mut self, byte: u8) {
        // Whatever the guest writes, the terminal gets no control sequences.
        let is_letter = match byte {
            b'\n' | b' '..=b'~' => true,
            b'\r' | b'\t' | 8 => self.terminal.is_interactive,
            _ => false,
        };
        if is_letter {
            (self.terminal.text)(char::from(byte).encode_utf8(&mut [0; 4]));
        }
    }

    fn set_interrupt(&mut self, is_asserted: bool) {
        // A level that KVM does not take delays the guest's console, and is no reason to stop it.
        let _ = self.kernel.set_irq_line(self.vm, self.irq, is_asserted);
    }

    fn can_receive(&mut self) {
        self.space.has_come();
    }
}
