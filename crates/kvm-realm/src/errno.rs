//! Error numbers of Linux.

use std::{fmt, io};

/// An error number of Linux, as a system call reports it.
///
/// The numbers are those that arm64 and x86-64 share.
///
/// Source: Linux, `include/uapi/asm-generic/errno-base.h` and `errno.h`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

/// Defines the numbers that have names.
macro_rules! names {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Self = Self($number);)*

            /// Every number with a name.
            pub const NAMED: &[Self] = &[$(Self::$name),*];

            /// Its name, `EINVAL`; `None` for a number that KVM does not report for a Realm.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

names! {
    EPERM = 1, "Operation not permitted.";
    ENOENT = 2, "No such file, or no such feature.";
    EINTR = 4, "Interrupted by a signal.";
    EIO = 5, "Input/output error; KVM reports it for a VM that is dead.";
    ENXIO = 6, "No such device or address; KVM reports it for what the RMM refuses.";
    E2BIG = 7, "Too big; of the GIC, an address beyond the end.";
    ENOEXEC = 8, "Exec format error; of a vCPU, it is not initialised.";
    EBADF = 9, "Not an open file descriptor.";
    EAGAIN = 11, "Try again.";
    ENOMEM = 12, "Out of memory.";
    EACCES = 13, "Permission denied.";
    EFAULT = 14, "Bad address; of KVM_RUN, a memory fault.";
    EBUSY = 16, "Busy.";
    EEXIST = 17, "Exists.";
    ENODEV = 19, "No such device.";
    EINVAL = 22, "Invalid argument.";
    ENOTTY = 25, "No such ioctl.";
    ENOSPC = 28, "No space left.";
    ENOSYS = 38, "No such system call.";
    EOPNOTSUPP = 95, "Not supported.";
    EHWPOISON = 133, "A page of memory is broken; KVM_RUN reports it for one of a guest_memfd.";
}

impl Errno {
    /// The error with this number.
    #[must_use]
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The error of an operation of the standard library. One without a number, which no system
    /// call has failed with, is `EIO`.
    #[expect(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
    pub(crate) fn of(error: io::Error) -> Self {
        error.raw_os_error().map_or(Self::EIO, Self)
    }

    /// The error of the system call that this thread has made last.
    pub(crate) fn last() -> Self {
        Self::of(io::Error::last_os_error())
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_c_library() {
        for (errno, number) in [
            (Errno::EPERM, libc::EPERM),
            (Errno::ENOENT, libc::ENOENT),
            (Errno::EINTR, libc::EINTR),
            (Errno::EIO, libc::EIO),
            (Errno::ENXIO, libc::ENXIO),
            (Errno::E2BIG, libc::E2BIG),
            (Errno::ENOEXEC, libc::ENOEXEC),
            (Errno::EBADF, libc::EBADF),
            (Errno::EAGAIN, libc::EAGAIN),
            (Errno::ENOMEM, libc::ENOMEM),
            (Errno::EACCES, libc::EACCES),
            (Errno::EFAULT, libc::EFAULT),
            (Errno::EBUSY, libc::EBUSY),
            (Errno::EEXIST, libc::EEXIST),
            (Errno::ENODEV, libc::ENODEV),
            (Errno::EINVAL, libc::EINVAL),
            (Errno::ENOTTY, libc::ENOTTY),
            (Errno::ENOSPC, libc::ENOSPC),
            (Errno::ENOSYS, libc::ENOSYS),
            (Errno::EOPNOTSUPP, libc::EOPNOTSUPP),
            (Errno::EHWPOISON, libc::EHWPOISON),
        ] {
            assert_eq!((errno.number(), Errno::new(number)), (number, errno));
            assert!(Errno::NAMED.contains(&errno), "{errno}");
            assert_eq!(std::io::Error::from(errno).raw_os_error(), Some(number));
        }
        assert_eq!(Errno::NAMED.len(), 21);
    }

    #[test]
    fn a_number_without_a_name_is_printed_as_one() {
        assert_eq!(Errno::EINVAL.to_string(), "EINVAL");
        assert_eq!(format!("{:?}", Errno::new(71)), "errno 71");
        assert_eq!(Errno::new(71).name(), None);
    }
}
