//! Host memory through a linear map: virtual address = physical address + a constant.
//!
//! ```
//! use rmi_abi::{Pa, PaRange};
//! use rmi_host::HostAccess;
//! use rmi_host::linear_map::LinearMap;
//!
//! // A hypervisor has its memory mapped; here an array stands in for it.
//! let mut memory = [0u8; 0x1000];
//! let window = PaRange::with_size(Pa::new(0x8000_0000), 0x1000)?;
//! // SAFETY: the array is the window; it outlives the map, and is only reached through it.
//! let map = unsafe { LinearMap::new(window, memory.as_mut_ptr()) };
//!
//! let mut back = [0; 5];
//! // SAFETY: nobody refers into the array.
//! unsafe {
//!     map.write(Pa::new(0x8000_0800), b"hello")?;
//!     map.read(Pa::new(0x8000_0800), &mut back)?;
//!     assert!(map.write(Pa::new(0x8000_0ffe), b"hello").is_err()); // would leave the window
//! }
//! assert_eq!(&back, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With a conduit it is a platform: `Host::new(conduit, map)`. Memory in several windows needs a [`HostAccess`] that picks the map.
#![expect(unsafe_code, reason = "turning addresses into pointers is what this module is for")]

use rmi_abi::{Pa, PaRange};

use crate::access::{AccessFault, HostAccess};
use crate::granules::Machine;

/// A window of physical memory that is mapped at a constant distance from its physical address, as hypervisors map their memory.
///
/// [The module](self) has an example.
#[derive(Clone, Copy, Debug)]
pub struct LinearMap {
    window: PaRange,
    virtual_base: *mut u8,
}

impl LinearMap {
    /// Describes the window.
    ///
    /// # Safety
    ///
    /// As long as the value (or a copy) is used, all of `window` is mapped, readable and writable as normal memory, from `virtual_base` on, and pointers
    /// made from `virtual_base` may access all of it. The window is memory of this machine at these physical addresses, or no conduit reaches an RMM of this machine.
    #[must_use]
    pub const unsafe fn new(window: PaRange, virtual_base: *mut u8) -> Self {
        Self { window, virtual_base }
    }

    fn locate(&self, at: Pa, len: usize) -> Result<*mut u8, AccessFault> {
        let fault = AccessFault { at };
        let end = u64::try_from(len).ok().and_then(|len| at.checked_add(len)).ok_or(fault)?;
        if end > self.window.top() {
            return Err(fault);
        }
        let offset = at.checked_offset_from(self.window.base()).ok_or(fault)?;
        let offset = usize::try_from(offset).map_err(|_| fault)?;
        // SAFETY: the offset lies inside the window, all of which `new` was promised to be reachable from this pointer.
        Ok(unsafe { self.virtual_base.add(offset) })
    }
}

// SAFETY: the value is an address range and a pointer that is only used to copy memory that the caller of `read` and `write` owns; nothing about it belongs to
// one thread.
unsafe impl Send for LinearMap {}
// SAFETY: as for `Send`; the value never changes.
unsafe impl Sync for LinearMap {}

// SAFETY: `new` was promised that the window is memory of this machine, and nothing is reached outside it.
//
// Byte-wise volatile copies: another agent (the RMM, or the Realm through it) may write a shared page at any time, so the compiler must neither invent nor
// repeat accesses. Pages are copied a few times per exit at most.
unsafe impl HostAccess for LinearMap {
    fn machine(&self) -> Machine {
        Machine::REAL
    }

    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        let mut from = self.locate(at, into.len())?;
        for byte in into {
            // SAFETY: `locate` has checked that all bytes lie in the window; the caller owns them and no reference to them is live.
            unsafe {
                *byte = from.read_volatile();
                from = from.add(1);
            }
        }
        Ok(())
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        let mut to = self.locate(at, from.len())?;
        for byte in from {
            // SAFETY: as in `read`.
            unsafe {
                to.write_volatile(*byte);
                to = to.add(1);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stay_inside_the_window() {
        let mut memory = [0u8; 0x1000];
        let window = PaRange::with_size(Pa::new(0x8000_0000), 0x1000).unwrap();
        // SAFETY: the array stands in for the window and outlives the map.
        let map = unsafe { LinearMap::new(window, memory.as_mut_ptr()) };
        let mut back = [0; 3];
        // SAFETY: the test owns the array and holds no reference while it is accessed.
        unsafe {
            map.write(Pa::new(0x8000_0ffd), &[1, 2, 3]).unwrap();
            map.read(Pa::new(0x8000_0ffd), &mut back).unwrap();
            assert!(map.read(Pa::new(0x8000_0ffe), &mut back).is_err());
            assert!(map.read(Pa::new(0x7fff_ffff), &mut back).is_err());
            assert!(map.read(Pa::new(u64::MAX), &mut back).is_err());
        }
        assert_eq!(back, [1, 2, 3]);
    }
}
