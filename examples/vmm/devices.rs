//! The devices of the Realm: a console, and a disk that reads sectors into shared memory.

use std::sync::atomic::{AtomicBool, Ordering};

use realm_sdk::abi::Ipa;
use realm_sdk::builder::{Active, BuildError, Realm};
use realm_sdk::host::Platform;
use realm_sdk::rec::gic::RealmGic;
use realm_sdk::rec::mmio::{AccessSize, ExternalAbort, MmioDevice, Pl011Backend};
use realm_sdk::vgic::SpiIntid;

use crate::output::say;

/// Where the registers of the devices are, from the start of the unprotected half.
pub(crate) const DISTRIBUTOR: u64 = 0x0800_0000;
pub(crate) const REDISTRIBUTORS: u64 = 0x080a_0000;
pub(crate) const UART: u64 = 0x0900_0000;
pub(crate) const DISK: u64 = 0x0a00_0000;

/// The disk's register that starts a request, which is the address of the buffer.
pub(crate) const DOORBELL: u64 = 0;
/// The disk's register that acknowledges its interrupt.
pub(crate) const ACKNOWLEDGE: u64 = 8;
/// Where in the buffer the content of a sector is written; its number is at the start.
pub(crate) const CONTENT: u64 = 8;
/// The interrupts of the UART and of the disk.
pub(crate) const UART_SPI: SpiIntid = spi(33);
pub(crate) const DISK_SPI: SpiIntid = spi(34);

const fn spi(number: u32) -> SpiIntid {
    match SpiIntid::new(number) {
        Some(spi) => spi,
        None => unreachable!(),
    }
}

/// Letters of a line.
const LINE: usize = 200;

/// The host's side of the UART: each line is printed as a whole.
pub(crate) struct Console<'d> {
    pub(crate) line: String,
    pub(crate) gic: RealmGic<'d>,
}

impl Pl011Backend for Console<'_> {
    fn transmit(&mut self, letter: u8) {
        match letter {
            b'\n' => say!("uart | {}", std::mem::take(&mut self.line)),
            // Whatever the Realm writes, the terminal gets printable letters only, and no line is
            // longer than this.
            _ if self.line.len() >= LINE => {}
            b' '..=b'~' => self.line.push(char::from(letter)),
            _ => self.line.push('.'),
        }
    }

    fn set_interrupt(&mut self, level: bool) {
        self.gic.set_spi(UART_SPI, level);
    }
}

/// A disk that reads the sector whose number the Realm has written to a buffer.
pub(crate) struct Disk<'d, P: Platform> {
    pub(crate) realm: &'d Realm<'d, P, Active>,
    pub(crate) gic: RealmGic<'d>,
    pub(crate) is_done: AtomicBool,
}

impl<P: Platform> Disk<'_, P> {
    /// Reads a sector. What the Realm says is a buffer may be anything.
    fn read_sector(&self, buffer: u64) -> Result<(), BuildError> {
        let mut sector = [0; 8];
        self.realm.read_shared(Ipa::new(buffer), &mut sector)?;
        let content = format!("sector {}\n", u64::from_le_bytes(sector) % 1000);
        self.realm.write_shared(Ipa::new(buffer.wrapping_add(CONTENT)), content.as_bytes())
    }

    fn set_done(&self, is_done: bool) {
        self.is_done.store(is_done, Ordering::SeqCst);
        self.gic.set_spi(DISK_SPI, is_done);
    }
}

impl<P: Platform<Conduit: Sync, Lock: Send + Sync> + Sync> MmioDevice for Disk<'_, P> {
    fn read(&self, offset: u64, _: AccessSize) -> Result<u64, ExternalAbort> {
        match offset {
            ACKNOWLEDGE => Ok(self.is_done.load(Ordering::SeqCst).into()),
            _ => Err(ExternalAbort),
        }
    }

    fn write(&self, offset: u64, _: AccessSize, value: u64) -> Result<(), ExternalAbort> {
        match offset {
            DOORBELL => {
                self.read_sector(value).map_err(|_| ExternalAbort)?;
                self.set_done(true);
            }
            ACKNOWLEDGE => self.set_done(false),
            _ => return Err(ExternalAbort),
        }
        Ok(())
    }
}
