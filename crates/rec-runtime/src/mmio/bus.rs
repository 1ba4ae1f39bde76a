//! Finds the device at an address.

use core::fmt;

use rmi_abi::rtt::Geometry;
use rmi_abi::{Ipa, IpaRange};

use super::device::{AccessSize, ExternalAbort, MmioDevice};
use crate::answer::Answer;
use crate::exit::{MmioLoad, MmioStore};

/// The devices of a Realm by their addresses.
///
/// It has space for `DEVICES` ranges and needs no heap. Devices are added before the virtual CPUs
/// run; then all threads share the bus, which has no lock.
///
/// | Access | What happens |
/// |---|---|
/// | in the range of a device, at a multiple of its size | the device serves it, or aborts it ([`ExternalAbort`]) |
/// | not at a multiple of its size, also if that is across two devices | abort; no device sees it |
/// | where there is no device | abort |
///
/// An abort is a synchronous external abort that the Realm takes. Ranges consist of whole pages, so
/// an access at a multiple of its size is never partly in one.
pub struct MmioBus<'d, const DEVICES: usize> {
    geometry: Geometry,
    slots: [Option<Slot<'d>>; DEVICES],
}

#[derive(Clone, Copy)]
struct Slot<'d> {
    range: IpaRange,
    device: &'d dyn MmioDevice,
}

/// Why a device cannot be on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MmioBusError {
    /// The range is empty.
    #[error("the range of the device is empty")]
    Empty,
    /// The range is not within the unprotected half of the Realm's IPA space, where alone the RMM
    /// lets the host emulate accesses.
    #[error("the range {range} of the device is not within the unprotected half")]
    #[non_exhaustive]
    NotUnprotected {
        /// The range.
        range: IpaRange,
    },
    /// Another device is there.
    #[error("the range {range} of the device overlaps that of another, {other}")]
    #[non_exhaustive]
    Overlap {
        /// The range.
        range: IpaRange,
        /// The range of the device that is there.
        other: IpaRange,
    },
    /// The bus has no space for another range.
    #[error("the bus has space for {devices} devices only")]
    #[non_exhaustive]
    Full {
        /// How many ranges it has space for.
        devices: usize,
    },
}

impl<'d, const DEVICES: usize> MmioBus<'d, DEVICES> {
    /// A bus without devices, for Realms with this geometry.
    #[must_use]
    pub const fn new(geometry: Geometry) -> Self {
        Self { geometry, slots: [None; DEVICES] }
    }

    /// Adds a device at a range of IPAs. A device may have several ranges; offsets count from the
    /// start of the range that is accessed. Where the range goes on after the registers, the device
    /// decides.
    ///
    /// # Errors
    ///
    /// [`MmioBusError`]; the bus is unchanged.
    pub fn add(&mut self, range: IpaRange, device: &'d dyn MmioDevice) -> Result<(), MmioBusError> {
        if range.is_empty() {
            return Err(MmioBusError::Empty);
        }
        if !self.geometry.range_is_unprotected(&range) {
            return Err(MmioBusError::NotUnprotected { range });
        }
        if let Some(other) = self.ranges().find(|other| other.overlaps(&range)) {
            return Err(MmioBusError::Overlap { range, other });
        }
        let Some(free) = self.slots.iter_mut().find(|slot| slot.is_none()) else {
            return Err(MmioBusError::Full { devices: DEVICES });
        };
        *free = Some(Slot { range, device });
        Ok(())
    }

    /// The ranges of the devices, in the order in which they were added.
    pub fn ranges(&self) -> impl Iterator<Item = IpaRange> + '_ {
        self.slots.iter().flatten().map(|slot| slot.range)
    }

    /// Serves a load, and answers it.
    pub fn load(&self, load: MmioLoad) -> Answer {
        match self.read(load.ipa(), load.bytes()) {
            Ok(value) => load.complete(value),
            Err(ExternalAbort) => load.abort(),
        }
    }

    /// Serves a store, and answers it.
    pub fn store(&self, store: MmioStore) -> Answer {
        match self.write(store.ipa(), store.bytes(), store.value()) {
            Ok(()) => store.complete(),
            Err(ExternalAbort) => store.abort(),
        }
    }

    /// Reads `bytes` bytes at an address, as a load does. The bytes beyond them are zero.
    ///
    /// # Errors
    ///
    /// [`ExternalAbort`] where no device serves it.
    pub fn read(&self, ipa: Ipa, bytes: u8) -> Result<u64, ExternalAbort> {
        let (device, offset, size) = self.find(ipa, bytes)?;
        Ok(device.read(offset, size)? & size.mask())
    }

    /// Writes the low `bytes` bytes of a value to an address, as a store does.
    ///
    /// # Errors
    ///
    /// [`ExternalAbort`] where no device serves it.
    pub fn write(&self, ipa: Ipa, bytes: u8, value: u64) -> Result<(), ExternalAbort> {
        let (device, offset, size) = self.find(ipa, bytes)?;
        device.write(offset, size, value & size.mask())
    }

    /// The device that serves an access, and the offset there.
    fn find(
        &self,
        ipa: Ipa,
        bytes: u8,
    ) -> Result<(&'d dyn MmioDevice, u64, AccessSize), ExternalAbort> {
        let size = AccessSize::from_bytes(bytes).ok_or(ExternalAbort)?;
        if !ipa.is_aligned(bytes.into()) {
            return Err(ExternalAbort);
        }
        let slots = &mut self.slots.iter().flatten();
        let slot = slots.find(|slot| slot.range.contains(ipa)).ok_or(ExternalAbort)?;
        let offset = ipa.checked_offset_from(slot.range.base()).ok_or(ExternalAbort)?;
        Ok((slot.device, offset, size))
    }
}

/// Answers accesses to devices: an [`MmioBus`], or the bus of a VMM.
///
/// Several virtual CPUs may use it at the same time.
pub trait MmioDispatch: Sync {
    /// Serves a load, and answers it.
    fn load(&self, load: MmioLoad) -> Answer;

    /// Serves a store, and answers it.
    fn store(&self, store: MmioStore) -> Answer;
}

impl<const DEVICES: usize> MmioDispatch for MmioBus<'_, DEVICES> {
    fn load(&self, load: MmioLoad) -> Answer {
        self.load(load)
    }

    fn store(&self, store: MmioStore) -> Answer {
        self.store(store)
    }
}

impl<const DEVICES: usize> fmt::Debug for MmioBus<'_, DEVICES> {
    /// Prints the ranges only: devices need no `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ranges()).finish()
    }
}
