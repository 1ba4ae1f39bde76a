//! Making KVM_RUN of another thread return.
#![expect(unsafe_code, reason = "accesses a second mapping of the run page")]

use std::fmt;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::errno::Errno;
use crate::host_memory::HostMemory;
use crate::uapi::run;

/// Bytes that are mapped. The kernel maps whole pages, of whichever size.
const BYTES: usize = 0x1000;

/// `immediate_exit` of a vCPU, from any thread.
///
/// While it is set, KVM_RUN returns `EINTR` without entering the guest, after it has completed the
/// last exit. A thread that is in KVM_RUN already does not look: it needs a signal as well, after
/// [`Kick::set`], and with a handler that need not do anything. In this order no kick is lost: the
/// thread either sees the flag, or gets the signal while it is in KVM_RUN.
///
/// It has a mapping of the vCPU, which keeps the VM and all memory of the Realm until it is
/// dropped.
pub struct Kick {
    page: NonNull<u8>,
}

// SAFETY: the mapping belongs to this value, and is accessed by one atomic byte.
unsafe impl Send for Kick {}
// SAFETY: as above.
unsafe impl Sync for Kick {}

impl Kick {
    /// Of a vCPU, whose descriptor this is: another file may have no such page, so that accesses
    /// end the process with SIGBUS. As long as the value exists, the kernel keeps the vCPU, its VM
    /// and the memory of the Realm.
    ///
    /// # Errors
    ///
    /// That of `mmap`.
    pub fn new(vcpu: BorrowedFd<'_>) -> Result<Self, Errno> {
        Ok(Self { page: HostMemory::map_file(vcpu, 0, BYTES)?.base() })
    }

    fn flag(&self) -> &AtomicU8 {
        // SAFETY: the byte is within the mapping, which exists as long as `self`. The kernel and
        // other mappings of the page access it as a byte, at any time, which an atomic allows.
        unsafe { AtomicU8::from_ptr(self.page.as_ptr().add(run::IMMEDIATE_EXIT)) }
    }

    /// Makes KVM_RUN return, until [`Kick::clear`]. A signal to the thread that runs the vCPU comes
    /// afterwards.
    pub fn set(&self) {
        self.flag().store(1, Ordering::SeqCst);
    }

    /// Lets the vCPU run again.
    pub fn clear(&self) {
        self.flag().store(0, Ordering::SeqCst);
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.flag().load(Ordering::SeqCst) != 0
    }
}

impl Drop for Kick {
    fn drop(&mut self) {
        // SAFETY: the mapping belongs to this value, and nothing refers to it any more.
        unsafe { libc::munmap(self.page.as_ptr().cast(), BYTES) };
    }
}

impl fmt::Debug for Kick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kick").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, read_to_string, remove_file};
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::calls::Calls;
    use crate::error::Operation;
    use crate::generation::Generation;
    use crate::recorder::{Recorder, fd};
    use crate::vcpu::RealmVcpu;

    #[test]
    fn a_page_that_cannot_be_mapped_says_nothing_about_the_realm() {
        let kernel = Recorder::default();
        let calls = Calls::new(&kernel, Generation::V14);
        // The vCPU of these tests has no page.
        let vcpu = RealmVcpu::create(calls, fd().as_fd(), None, 0).unwrap();
        let error = vcpu.kick().unwrap_err();
        assert_eq!((error.operation, error.errno), (Operation::MapRunPage, Errno::EACCES));
        assert_eq!((error.meaning(), error.is_final()), ("no descriptor of a vCPU", false));
    }

    #[test]
    fn a_kick_is_a_byte_of_the_run_page_and_its_mapping_goes_with_it() {
        let path = std::env::temp_dir().join(format!("kick-{}", std::process::id()));
        let page = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        remove_file(&path).unwrap();
        page.set_len(0x1000).unwrap();
        let inode = format!(" {} ", page.metadata().unwrap().ino());
        let is_mapped = || read_to_string("/proc/self/maps").unwrap().contains(&inode);
        let kick = Kick::new(page.as_fd()).unwrap();
        assert!(is_mapped() && !kick.is_set());
        assert_eq!(format!("{kick:?}"), "Kick { is_set: false, .. }");
        let mut bytes = [0; 3];
        let mut read = || {
            std::os::unix::fs::FileExt::read_exact_at(&page, &mut bytes, 0).unwrap();
            bytes
        };
        kick.set();
        assert_eq!((read(), kick.is_set()), ([0, 1, 0], true));
        kick.clear();
        assert_eq!((read(), kick.is_set()), ([0; 3], false));
        drop(kick);
        assert!(!is_mapped());
    }
}
