//! Memory of this process that becomes RAM of the guest.
#![expect(unsafe_code, reason = "unmaps memory")]

use std::os::fd::BorrowedFd;

use kvm_realm::HostMemory;

/// A mapping. It must be dropped after the VM that uses it is closed, and no part of it is ever a
/// reference.
#[derive(Debug)]
pub(crate) struct Mapping(HostMemory);

impl Mapping {
    /// Memory that is shared with a file, or with none. Untouched pages take no space.
    pub(crate) fn new(bytes: usize, file: Option<BorrowedFd<'_>>) -> std::io::Result<Self> {
        let mapped = match file {
            Some(file) => HostMemory::map_file(file, 0, bytes),
            None => HostMemory::map(bytes),
        };
        Ok(Self(mapped?))
    }

    /// It, as RAM.
    pub(crate) const fn memory(&self) -> HostMemory {
        self.0
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this value, and the VM that used it is closed.
        let unmapped = unsafe { self.0.unmap() };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
