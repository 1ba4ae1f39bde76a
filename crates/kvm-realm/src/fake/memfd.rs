//! Files without names, as descriptors of the fake kernel.
#![expect(unsafe_code, reason = "the standard library has no memfd")]

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::Errno;

/// What the paths of mapped files begin with.
pub(super) const PATH: &str = "/memfd:fake-kvm";

/// A file of `bytes` zeros in memory. It can be mapped, and holes can be punched into it.
///
/// # Errors
///
/// That of the system.
pub(super) fn create(bytes: u64) -> Result<File, Errno> {
    // SAFETY: the name is a string that ends with NUL; the call has no other effect on memory.
    let fd = unsafe { libc::memfd_create(c"fake-kvm".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: the descriptor is new and has no other owner.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.set_len(bytes).map_err(Errno::of)?;
    Ok(file)
}
