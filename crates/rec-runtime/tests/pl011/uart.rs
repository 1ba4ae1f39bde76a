//! A UART whose backend records what it is told.

use std::sync::{Arc, Mutex};

use rec_runtime::mmio::{AccessSize, MmioDevice, Pl011, Pl011Backend};

pub(crate) const DR: u64 = 0x000;
pub(crate) const RSR: u64 = 0x004;
pub(crate) const FR: u64 = 0x018;
pub(crate) const ILPR: u64 = 0x020;
pub(crate) const IBRD: u64 = 0x024;
pub(crate) const FBRD: u64 = 0x028;
pub(crate) const LCR_H: u64 = 0x02c;
pub(crate) const CR: u64 = 0x030;
pub(crate) const IFLS: u64 = 0x034;
pub(crate) const IMSC: u64 = 0x038;
pub(crate) const RIS: u64 = 0x03c;
pub(crate) const MIS: u64 = 0x040;
pub(crate) const ICR: u64 = 0x044;
pub(crate) const DMACR: u64 = 0x048;

pub(crate) const RX: u64 = 1 << 4;
pub(crate) const TX: u64 = 1 << 5;
pub(crate) const RT: u64 = 1 << 6;

/// UARTEN, TXE and RXE.
pub(crate) const ENABLED: u64 = 0x301;
/// FEN, and 8 bits per word.
pub(crate) const FIFOS: u64 = 0x70;

/// What a backend was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) bytes: Vec<u8>,
    pub(crate) levels: Vec<bool>,
    pub(crate) can_receive: u32,
}

#[derive(Clone, Default)]
pub(crate) struct Backend(Arc<Mutex<Told>>);

impl Pl011Backend for Backend {
    fn transmit(&mut self, byte: u8) {
        self.0.lock().unwrap().bytes.push(byte);
    }

    fn set_interrupt(&mut self, level: bool) {
        self.0.lock().unwrap().levels.push(level);
    }

    fn can_receive(&mut self) {
        self.0.lock().unwrap().can_receive += 1;
    }
}

pub(crate) struct Uart {
    pub(crate) device: Pl011<Backend>,
    backend: Backend,
}

impl Uart {
    pub(crate) fn new() -> Self {
        let backend = Backend::default();
        Self { device: Pl011::new(backend.clone()), backend }
    }

    /// One that is enabled, with FIFOs or without.
    pub(crate) fn enabled(line_control: u64) -> Self {
        let uart = Self::new();
        uart.write(LCR_H, line_control);
        uart.write(CR, ENABLED);
        uart
    }

    pub(crate) fn read(&self, offset: u64) -> u64 {
        self.device.read(offset, AccessSize::Word).unwrap()
    }

    pub(crate) fn write(&self, offset: u64, value: u64) {
        self.device.write(offset, AccessSize::Word, value).unwrap();
    }

    /// What the backend was told since the last call.
    pub(crate) fn told(&self) -> Told {
        std::mem::take(&mut *self.backend.0.lock().unwrap())
    }
}
