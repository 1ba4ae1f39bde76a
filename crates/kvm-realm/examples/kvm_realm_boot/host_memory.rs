//! Memory of this process that becomes RAM of the guest.
#![expect(unsafe_code, reason = "maps memory")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use kvm_realm::HostMemory;

/// A mapping. It must be dropped after the VM that uses it is closed, and no part of it is ever a
/// reference.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is accessed through `HostMemory` alone, which says how.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Memory that is shared with a file, or with none. Untouched pages take no space.
    pub(crate) fn new(bytes: usize, file: Option<BorrowedFd<'_>>) -> std::io::Result<Self> {
        let (flags, fd) = match file {
            Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1),
        };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, fd, 0) };
        let failed = base == libc::MAP_FAILED;
        match NonNull::new(base.cast()).filter(|_| !failed) {
            Some(base) => Ok(Self { base, bytes }),
            None => Err(std::io::Error::last_os_error()),
        }
    }

    /// It, as RAM.
    pub(crate) const fn memory(&self) -> HostMemory {
        // SAFETY: the mapping is for reading and writing, there is no reference to it, and the
        // program drops it last.
        unsafe { HostMemory::new(self.base, self.bytes) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this value, and the VM that used it is closed.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
