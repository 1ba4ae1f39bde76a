//! Registers of devices.
#![expect(unsafe_code, reason = "registers are accessed by address")]

use core::ptr::with_exposed_provenance_mut;

/// Reads a register.
///
/// # Safety
///
/// There is a device at `address` with a register of that size, and reading it has no effect on
/// memory.
unsafe fn read<T: Copy>(address: usize) -> T {
    // SAFETY: the caller promises that the register is there.
    unsafe { with_exposed_provenance_mut::<T>(address).read_volatile() }
}

/// Writes a register.
///
/// # Safety
///
/// As [`read`], for writing.
unsafe fn write<T: Copy>(address: usize, value: T) {
    // SAFETY: the caller promises that the register is there.
    unsafe { with_exposed_provenance_mut::<T>(address).write_volatile(value) }
}

/// A device that does not access memory.
#[derive(Clone, Copy)]
pub(super) struct Device {
    base: usize,
    bytes: usize,
}

impl Device {
    /// The registers of `bytes` bytes at `base`.
    ///
    /// # Safety
    ///
    /// A device is there that does not access memory, and no memory is.
    pub(super) const unsafe fn new(base: usize, bytes: usize) -> Self {
        Self { base, bytes }
    }

    /// The address of a register, if it is the device's.
    fn address(self, offset: usize, size: usize) -> Option<usize> {
        let is_inside = offset.is_multiple_of(size) && offset.checked_add(size)? <= self.bytes;
        self.base.checked_add(offset).filter(|_| is_inside)
    }

    pub(super) fn read8(self, offset: usize) -> u8 {
        // SAFETY: the register is the device's.
        self.address(offset, 1).map_or(0, |at| unsafe { read(at) })
    }

    pub(super) fn read32(self, offset: usize) -> u32 {
        // SAFETY: the register is the device's.
        self.address(offset, 4).map_or(0, |at| unsafe { read(at) })
    }

    pub(super) fn read64(self, offset: usize) -> u64 {
        // SAFETY: the register is the device's.
        self.address(offset, 8).map_or(0, |at| unsafe { read(at) })
    }

    pub(super) fn write16(self, offset: usize, value: u16) {
        if let Some(at) = self.address(offset, 2) {
            // SAFETY: the register is the device's.
            unsafe { write(at, value) }
        }
    }

    pub(super) fn write32(self, offset: usize, value: u32) {
        if let Some(at) = self.address(offset, 4) {
            // SAFETY: the register is the device's.
            unsafe { write(at, value) }
        }
    }
}

/// The devices of the board that the image uses.
pub(super) mod devices {
    use super::Device;
    use crate::metal::board::{FW_CFG, GICD, GICR, GPIO, MOST_CPUS, UART};

    /// Bytes of the registers of a redistributor without virtual LPIs.
    pub(in crate::metal) const REDISTRIBUTOR: usize = 0x2_0000;

    // SAFETY: these are the addresses of the devices of QEMU's machine `virt`. What of them
    // accesses memory (LPI tables, DMA of `fw_cfg`) is not turned on.
    pub(in crate::metal) const DISTRIBUTOR: Device = unsafe { Device::new(GICD, 0x1_0000) };
    // SAFETY: as above; frames that belong to no CPU do not exist, and are not accessed.
    pub(in crate::metal) const REDISTRIBUTORS: Device =
        unsafe { Device::new(GICR, MOST_CPUS * REDISTRIBUTOR) };
    // SAFETY: as above.
    pub(in crate::metal) const SERIAL: Device = unsafe { Device::new(UART, 0x1000) };
    // SAFETY: as above.
    pub(in crate::metal) const CONFIGURATION: Device = unsafe { Device::new(FW_CFG, 0x10) };
    // SAFETY: as above.
    pub(in crate::metal) const LINES: Device = unsafe { Device::new(GPIO, 0x1000) };
}
