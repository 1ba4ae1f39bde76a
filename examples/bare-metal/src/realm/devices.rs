//! The devices of a Realm.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use realm_guest::layout::device;
use realm_sdk::rec::gic::RealmGic;
use realm_sdk::rec::mmio::{AccessSize, ExternalAbort, MmioDevice, Pl011Backend};
use realm_sdk::vgic::SpiIntid;
use spin::Mutex;

use super::Record;

/// Most letters that are kept of what a Realm prints.
const MOST_LETTERS: usize = 1000;

/// The host's side of the UART.
pub(super) struct Console<'r> {
    pub(super) gic: RealmGic<'r>,
    pub(super) spi: SpiIntid,
    pub(super) record: &'r Mutex<Record>,
}

impl Pl011Backend for Console<'_> {
    fn transmit(&mut self, letter: u8) {
        let mut record = self.record.lock();
        if record.printed.len() < MOST_LETTERS {
            let is_plain = letter == b'\n' || (b' '..=b'~').contains(&letter);
            record.printed.push(if is_plain { char::from(letter) } else { '.' });
        }
    }

    fn set_interrupt(&mut self, level: bool) {
        self.gic.set_spi(self.spi, level);
    }
}

/// The device of [`realm_guest::layout::device`].
pub(super) struct Device<'r> {
    gic: RealmGic<'r>,
    spi: SpiIntid,
    is_raised: AtomicBool,
    scratch: [AtomicU64; device::SCRATCH_WORDS],
}

impl<'r> Device<'r> {
    pub(super) fn new(gic: RealmGic<'r>, spi: SpiIntid) -> Self {
        Self { gic, spi, is_raised: AtomicBool::new(false), scratch: Default::default() }
    }

    /// The word of an access to the scratch registers, and how far from its low end the access is.
    fn scratch(&self, offset: u64) -> Result<(&AtomicU64, u64), ExternalAbort> {
        let offset = offset.checked_sub(device::SCRATCH).ok_or(ExternalAbort)?;
        let word = usize::try_from(offset / 8).ok().and_then(|index| self.scratch.get(index));
        Ok((word.ok_or(ExternalAbort)?, 8 * (offset % 8)))
    }

    fn set_line(&self, level: bool) {
        self.is_raised.store(level, Ordering::SeqCst);
        self.gic.set_spi(self.spi, level);
    }
}

impl MmioDevice for Device<'_> {
    fn read(&self, offset: u64, _: AccessSize) -> Result<u64, ExternalAbort> {
        if offset == device::RAISE {
            return Ok(self.is_raised.load(Ordering::SeqCst).into());
        }
        let (word, shift) = self.scratch(offset)?;
        Ok(word.load(Ordering::Relaxed) >> shift)
    }

    fn write(&self, offset: u64, size: AccessSize, value: u64) -> Result<(), ExternalAbort> {
        match offset {
            device::RAISE => self.set_line(true),
            device::LOWER => self.set_line(false),
            _ => {
                let (word, shift) = self.scratch(offset)?;
                let kept = word.load(Ordering::Relaxed) & !(size.mask() << shift);
                word.store(kept | value << shift, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}
