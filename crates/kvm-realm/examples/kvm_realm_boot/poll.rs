//! Waiting for one of two descriptors.
#![expect(unsafe_code, reason = "poll")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Waits until one of them can be read, or has ended; says which.
pub(crate) fn wait(fds: [BorrowedFd<'_>; 2]) -> io::Result<[bool; 2]> {
    let mut polled =
        fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // SAFETY: the array has two elements, and the kernel writes to them alone.
    let found = unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) };
    if found < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted {
            Ok([false; 2])
        } else {
            Err(error)
        };
    }
    Ok(polled.map(|fd| fd.revents != 0))
}
