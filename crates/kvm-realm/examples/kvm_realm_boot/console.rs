//! The guest's console: a PL011, whose interrupt is an SPI of KVM's GIC.

use std::os::fd::BorrowedFd;

use kvm_realm::kernel::Kernel;
use realm_sdk::rec::mmio::Pl011Backend;

/// The host's side of the UART.
pub(crate) struct Console<'c, K> {
    pub(crate) kernel: &'c K,
    pub(crate) vm: BorrowedFd<'c>,
    /// The number of the interrupt, as KVM_IRQ_LINE has it.
    pub(crate) irq: u32,
    pub(crate) text: &'c (dyn Fn(&str) + Sync),
}

impl<K: Kernel + Sync> Pl011Backend for Console<'_, K> {
    fn transmit(&mut self, byte: u8) {
        // Whatever the guest writes, the terminal gets printable letters only.
        match byte {
            b'\n' | b' '..=b'~' => (self.text)(char::from(byte).encode_utf8(&mut [0; 4])),
            _ => {}
        }
    }

    fn set_interrupt(&mut self, is_asserted: bool) {
        // A level that KVM does not take delays the guest's output, and is no reason to stop it.
        let _ = self.kernel.set_irq_line(self.vm, self.irq, is_asserted);
    }
}
