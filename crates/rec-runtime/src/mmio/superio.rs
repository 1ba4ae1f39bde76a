//! Devices of the crate `vm-superio`, behind a mutex.
//!
//! Their errors are not the Realm's, and the embedder has them already: its writer or trigger
//! returned them, and `SerialEvents::tx_lost_byte` says which byte was lost. So they abort nothing.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vm_superio::Trigger;
use vm_superio::i8042::I8042Device;
use vm_superio::rtc_pl031::{Rtc, RtcEvents};
use vm_superio::serial::{Serial, SerialEvents};

use super::device::{AccessSize, ExternalAbort, MmioDevice};

/// Locks a device. It has no invariants that a panic in the embedder's code could break.
fn lock<D>(device: &Mutex<D>) -> MutexGuard<'_, D> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A register of one byte; wider accesses abort.
fn byte_register(offset: u64, size: AccessSize, registers: u8) -> Result<u8, ExternalAbort> {
    match u8::try_from(offset) {
        Ok(offset) if size == AccessSize::Byte && offset < registers => Ok(offset),
        _ => Err(ExternalAbort),
    }
}

/// A 16550A: eight registers of a byte each, without space between them. Wider accesses abort.
impl<T, EV, W> MmioDevice for Mutex<Serial<T, EV, W>>
where
    T: Trigger + Send,
    EV: SerialEvents + Send,
    W: Write + Send,
{
    fn read(&self, offset: u64, size: AccessSize) -> Result<u64, ExternalAbort> {
        let offset = byte_register(offset, size, 8)?;
        Ok(lock(self).read(offset).into())
    }

    fn write(&self, offset: u64, size: AccessSize, value: u64) -> Result<(), ExternalAbort> {
        let offset = byte_register(offset, size, 8)?;
        let [value, ..] = value.to_le_bytes();
        // The byte is lost, or the interrupt: see above.
        let _ = lock(self).write(offset, value);
        Ok(())
    }
}

/// An i8042 that resets the machine: the data register at 0, the command register at 4, a byte
/// each. Other accesses abort.
impl<T: Trigger + Send> MmioDevice for Mutex<I8042Device<T>> {
    fn read(&self, offset: u64, size: AccessSize) -> Result<u64, ExternalAbort> {
        let offset = byte_register(offset, size, 5)?;
        Ok(lock(self).read(offset).into())
    }

    fn write(&self, offset: u64, size: AccessSize, value: u64) -> Result<(), ExternalAbort> {
        let offset = byte_register(offset, size, 5)?;
        let [value, ..] = value.to_le_bytes();
        let _ = lock(self).write(offset, value);
        Ok(())
    }
}

/// A PL031: registers of 32 bits in 4 KiB. A read of fewer bytes gets the low ones, a write of
/// fewer is zero-extended; 8 bytes, and addresses between registers, abort.
impl<EV: RtcEvents + Send> MmioDevice for Mutex<Rtc<EV>> {
    fn read(&self, offset: u64, size: AccessSize) -> Result<u64, ExternalAbort> {
        let offset = word_register(offset, size)?;
        let mut value = [0; 4];
        lock(self).read(offset, &mut value);
        Ok(u64::from(u32::from_le_bytes(value)) & size.mask())
    }

    fn write(&self, offset: u64, size: AccessSize, value: u64) -> Result<(), ExternalAbort> {
        let offset = word_register(offset, size)?;
        let [a, b, c, d, ..] = (value & size.mask()).to_le_bytes();
        lock(self).write(offset, &[a, b, c, d]);
        Ok(())
    }
}

/// A register of 32 bits.
fn word_register(offset: u64, size: AccessSize) -> Result<u16, ExternalAbort> {
    match u16::try_from(offset) {
        Ok(offset @ ..0x1000) if offset.is_multiple_of(4) && size <= AccessSize::Word => Ok(offset),
        _ => Err(ExternalAbort),
    }
}
