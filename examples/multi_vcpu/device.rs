//! A device of the example: registers, an interrupt, and access to memory that the Realm shares.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use realm_sdk::abi::Ipa;
use realm_sdk::builder::{Active, Realm};
use realm_sdk::host::Platform;
use realm_sdk::rec::mmio::{AccessSize, ExternalAbort, MmioDevice};

use crate::layout::VCPUS;
use crate::output::complain;

// Registers.
/// Reads as 1 when the Realm is to end.
pub(crate) const STOP: u64 = 0x00;
/// The address of a buffer: the device inverts the word there.
pub(crate) const DOORBELL: u64 = 0x08;
/// Reads as 1 while the interrupt is raised; a write lowers it.
pub(crate) const STATUS: u64 = 0x10;
/// Writes report that something went wrong in the Realm.
pub(crate) const FAILURE: u64 = 0x18;
/// A word for each virtual CPU, of which any part can be read and written.
pub(crate) const SCRATCH: u64 = 0x100;

/// The device.
pub(crate) struct Device<'d, P: Platform> {
    realm: &'d Realm<'d, P, Active>,
    /// Tells the level of the interrupt line.
    set_line: &'d (dyn Fn(bool) + Sync),
    stop: AtomicBool,
    is_raised: AtomicBool,
    failures: AtomicU64,
    scratch: [AtomicU64; VCPUS],
}

impl<'d, P: Platform> Device<'d, P> {
    pub(crate) fn new(
        realm: &'d Realm<'d, P, Active>,
        set_line: &'d (dyn Fn(bool) + Sync),
    ) -> Self {
        Self {
            realm,
            set_line,
            stop: AtomicBool::new(false),
            is_raised: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            scratch: Default::default(),
        }
    }

    /// Asks the Realm to end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Raises the interrupt, unless it is.
    pub(crate) fn raise(&self) -> bool {
        let is_new = !self.is_raised.swap(true, Ordering::SeqCst);
        if is_new {
            (self.set_line)(true);
        }
        is_new
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn lower(&self) {
        // The line goes down before the next one who raises it.
        (self.set_line)(false);
        self.is_raised.store(false, Ordering::SeqCst);
    }

    /// Inverts a word of memory that the Realm has shared.
    fn invert(&self, at: Ipa) -> Result<(), ExternalAbort> {
        let mut word = [0; 8];
        let shared = self.realm.read_shared(at, &mut word).and_then(|()| {
            let inverted = word.map(|byte| !byte);
            self.realm.write_shared(at, &inverted)
        });
        shared.map_err(|error| {
            complain!("a buffer is not shared: {error}");
            ExternalAbort
        })
    }

    /// The scratch word of an access, and how far from its low end the access is.
    fn scratch(&self, offset: u64) -> Result<(&AtomicU64, u64), ExternalAbort> {
        let offset = offset.checked_sub(SCRATCH).ok_or(ExternalAbort)?;
        let word = usize::try_from(offset / 8).ok().and_then(|index| self.scratch.get(index));
        Ok((word.ok_or(ExternalAbort)?, 8 * (offset % 8)))
    }
}

impl<P: Platform<Conduit: Sync, Lock: Send + Sync> + Sync> MmioDevice for Device<'_, P> {
    fn read(&self, offset: u64, _: AccessSize) -> Result<u64, ExternalAbort> {
        match offset {
            STOP => Ok(self.stop.load(Ordering::Relaxed).into()),
            STATUS => Ok(self.is_raised.load(Ordering::SeqCst).into()),
            _ => {
                let (word, shift) = self.scratch(offset)?;
                Ok(word.load(Ordering::Relaxed) >> shift)
            }
        }
    }

    fn write(&self, offset: u64, size: AccessSize, value: u64) -> Result<(), ExternalAbort> {
        match offset {
            DOORBELL => self.invert(Ipa::new(value)),
            STATUS => {
                self.lower();
                Ok(())
            }
            FAILURE => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                complain!("the Realm reports failure {value:#x}");
                Ok(())
            }
            _ => {
                let (word, shift) = self.scratch(offset)?;
                let kept = word.load(Ordering::Relaxed) & !(size.mask() << shift);
                word.store(kept | value << shift, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}
