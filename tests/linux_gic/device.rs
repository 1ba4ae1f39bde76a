//! A level-triggered device with several lines, on the bus.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use realm_sdk::rec::gic::RealmGic;
use realm_sdk::rec::mmio::{AccessSize, ExternalAbort, MmioDevice};
use realm_sdk::vgic::SpiIntid;

/// The device's first SPI; it has one for each of its lines.
pub(crate) const FIRST_SPI: u32 = 40;
/// The lines of the device.
pub(crate) const LINES: u32 = 6;
/// The bytes of its registers.
pub(crate) const BYTES: u64 = 0x1000;
/// Offset of the register that raises lines.
pub(crate) const RAISE: u64 = 0;
/// Offset of the register that has the lines that are up.
pub(crate) const STATUS: u64 = 4;
/// Offset of the register that lowers lines.
pub(crate) const LOWER: u64 = 8;
/// Offset of the register that starts the threads of the device, and has the number of those that
/// ended.
pub(crate) const THREADS: u64 = 0x10;
/// How often each of these threads raises its line.
const RAISED_BY_THREAD: u32 = 40;

pub(crate) struct Device<'d> {
    gic: RealmGic<'d>,
    /// The lines that are up. Locked while the GIC is told, so that it is told of changes in their
    /// order.
    raised: Mutex<u32>,
    /// Its threads were started.
    is_started: AtomicBool,
    /// How many of them ended.
    ended: AtomicU32,
}

impl<'d> Device<'d> {
    pub(crate) const fn new(gic: RealmGic<'d>) -> Self {
        let (is_started, ended) = (AtomicBool::new(false), AtomicU32::new(0));
        Self { gic, raised: Mutex::new(0), is_started, ended }
    }

    /// The lines that are up.
    pub(crate) fn raised(&self) -> u32 {
        *self.raised.lock().unwrap()
    }

    fn set_lines(&self, lines: u32, is_up: bool) {
        let mut raised = self.raised.lock().unwrap();
        *raised = if is_up { *raised | lines } else { *raised & !lines };
        for line in (0..LINES).filter(|line| lines >> line & 1 == 1) {
            self.gic.set_spi(SpiIntid::new(FIRST_SPI + line).unwrap(), is_up);
        }
    }

    /// A thread of the device: raises a line again and again, each time when the Realm has lowered
    /// it.
    pub(crate) fn run(&self, line: u32, is_over: &dyn Fn() -> bool) {
        let wait = |until: &dyn Fn() -> bool| {
            while !until() && !is_over() {
                thread::sleep(Duration::from_micros(50));
            }
        };
        wait(&|| self.is_started.load(Ordering::SeqCst));
        for _ in 0..RAISED_BY_THREAD {
            self.set_lines(1 << line, true);
            wait(&|| self.raised() >> line & 1 == 0);
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl MmioDevice for Device<'_> {
    fn read(&self, offset: u64, size: AccessSize) -> Result<u64, ExternalAbort> {
        let value = match (offset, size) {
            (STATUS, AccessSize::Word) => self.raised(),
            (THREADS, AccessSize::Word) => self.ended.load(Ordering::SeqCst),
            _ => return Err(ExternalAbort),
        };
        Ok(value.into())
    }

    fn write(&self, offset: u64, size: AccessSize, value: u64) -> Result<(), ExternalAbort> {
        let lines = u32::try_from(value).map_err(|_| ExternalAbort)?;
        match (offset, size) {
            (RAISE, AccessSize::Word) => self.set_lines(lines, true),
            (LOWER, AccessSize::Word) => self.set_lines(lines, false),
            (THREADS, AccessSize::Word) => self.is_started.store(true, Ordering::SeqCst),
            _ => return Err(ExternalAbort),
        }
        Ok(())
    }
}
