//! How the host reaches its own physical memory, to fill parameter pages and to read what the RMM wrote.
#![expect(unsafe_code, reason = "reaching physical memory is an unsafe method")]

use core::fmt;

use rmi_abi::Pa;

/// The host's view of its own physical memory.
///
/// The SDK never forms a reference to memory that it shares with the RMM; it copies in and out through this trait.
pub trait HostAccess {
    /// Copies `into.len()` bytes from physical memory at `at`.
    ///
    /// # Errors
    ///
    /// [`AccessFault`] when the host cannot read there; `into` is then unspecified.
    ///
    /// # Safety
    ///
    /// The caller owns all of the memory as host memory, and no reference into it is live.
    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault>;

    /// Copies `from` to physical memory at `at`.
    ///
    /// # Errors
    ///
    /// [`AccessFault`] when the host cannot write there; the memory is then unspecified.
    ///
    /// # Safety
    ///
    /// The caller owns all of the memory as host memory, and no reference into it is live.
    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault>;
}

/// The host has no mapping there, or the granule protection check stopped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessFault {
    /// First address that could not be reached.
    pub at: Pa,
}

impl fmt::Display for AccessFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host memory at {} cannot be reached", self.at)
    }
}

impl core::error::Error for AccessFault {}

impl<A: HostAccess + ?Sized> HostAccess for &A {
    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { (**self).read(at, into) }
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { (**self).write(at, from) }
    }
}
