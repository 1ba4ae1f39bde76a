//! Memory of the VMM that a guest shares with it.
#![expect(unsafe_code, reason = "writes to memory that a guest may change at the same time")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use thiserror::Error;

use crate::errno::Errno;

/// Memory of this process that is, or becomes, RAM of a guest: the side of a slot that the VMM and
/// the guest share.
///
/// It is an address and a length; it owns nothing. It is read and written only byte by byte with
/// atomic accesses, since the guest, and other threads through copies, may change it at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMemory {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is an address and a length, without thread affinity; accesses through it are atomic
// and of memory that may change at any time, as `HostMemory::new` demands.
unsafe impl Send for HostMemory {}
// SAFETY: as above; `&HostMemory` allows no more than a copy of it.
unsafe impl Sync for HostMemory {}

/// A range leaves the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{bytes:#x} bytes at offset {offset:#x} are outside the memory")]
pub struct OutsideMemory {
    /// First byte of the range.
    pub offset: usize,
    /// Its length.
    pub bytes: usize,
}

impl HostMemory {
    /// `bytes` bytes from `base` on.
    ///
    /// # Safety
    ///
    /// The range is mapped for reading and writing, and stays so while this value, a copy of it, or
    /// a VM that was given it as RAM exists. In that time, no Rust reference to any of it exists,
    /// and other threads of the process access it as this type does, with atomics of a byte. Its
    /// content may change at any time: by the guest, by other copies, and by
    /// [discarding](crate::Kernel::discard), after which it reads as zeros.
    #[must_use]
    pub const unsafe fn new(base: NonNull<u8>, bytes: usize) -> Self {
        Self { base, bytes }
    }

    /// Maps new memory of the process: zeros, in pages that are there once they are used. It stays
    /// mapped until [`HostMemory::unmap`], or the process ends.
    ///
    /// # Errors
    ///
    /// That of `mmap`: `EINVAL` for no bytes, `ENOMEM`.
    pub fn map(bytes: usize) -> Result<Self, Errno> {
        Self::mmap(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1, 0)
    }

    /// Maps a part of a file in memory, for instance of a guest_memfd whose pages are shared. It
    /// stays mapped until [`HostMemory::unmap`], or the process ends, and the file, and the VM of a
    /// guest_memfd, stay as long. A page that is private, or beyond the end of the file, cannot be
    /// accessed: that ends the process with SIGBUS.
    ///
    /// # Errors
    ///
    /// That of `mmap`: `ENODEV` for a guest_memfd that cannot be mapped.
    pub fn map_file(file: BorrowedFd<'_>, offset: u64, bytes: usize) -> Result<Self, Errno> {
        let offset = offset.try_into().map_err(|_| Errno::EINVAL)?;
        Self::mmap(bytes, libc::MAP_SHARED, file.as_raw_fd(), offset)
    }

    fn mmap(bytes: usize, flags: i32, file: i32, offset: i64) -> Result<Self, Errno> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses the address, so no mapping that there is is changed.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, file, offset) };
        match NonNull::new(base.cast::<u8>()).filter(|_| base != libc::MAP_FAILED) {
            // SAFETY: the mapping is new, and is never removed; nothing else has its address.
            Some(base) => Ok(unsafe { Self::new(base, bytes) }),
            None => Err(Errno::last()),
        }
    }

    /// Removes the mapping of memory that [`HostMemory::map`] or [`HostMemory::map_file`] made.
    ///
    /// # Errors
    ///
    /// That of `munmap`; nothing is unmapped.
    ///
    /// # Safety
    ///
    /// This is all of the memory that was mapped, and not a part. Neither it nor a copy or a part
    /// of it is used again, and no vCPU of a VM that was given it as RAM runs any more: of such a
    /// VM, all descriptors are closed, except perhaps that of a guest_memfd.
    pub unsafe fn unmap(self) -> Result<(), Errno> {
        // SAFETY: as the caller promises, the mapping is this value's and nothing uses it.
        match unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) } {
            0 => Ok(()),
            _ => Err(Errno::last()),
        }
    }

    /// Its first address.
    #[must_use]
    pub const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it begins and ends at multiples of this length, which is not zero.
    #[must_use]
    pub fn is_of_pages(&self, page_bytes: usize) -> bool {
        let is_multiple = |of: usize| of.checked_rem(page_bytes) == Some(0);
        is_multiple(self.base.addr().get()) && is_multiple(self.bytes)
    }

    /// A part of it.
    ///
    /// # Errors
    ///
    /// [`OutsideMemory`].
    pub fn part(&self, offset: usize, bytes: usize) -> Result<Self, OutsideMemory> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.bytes => {
                // SAFETY: `offset` is at most the length of the memory, which is one mapping.
                let base = unsafe { self.base.add(offset) };
                Ok(Self { base, bytes })
            }
            _ => Err(OutsideMemory { offset, bytes }),
        }
    }

    /// Copies `content` to `offset`.
    ///
    /// # Errors
    ///
    /// [`OutsideMemory`]; nothing is written.
    pub fn write(&self, offset: usize, content: &[u8]) -> Result<(), OutsideMemory> {
        let target = self.part(offset, content.len())?;
        for (index, byte) in content.iter().enumerate() {
            // SAFETY: `index` is within the part, which is mapped for writing.
            let target = unsafe { AtomicU8::from_ptr(target.base.add(index).as_ptr()) };
            target.store(*byte, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes zeros to `bytes` bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// [`OutsideMemory`]; nothing is written.
    pub fn clear(&self, offset: usize, bytes: usize) -> Result<(), OutsideMemory> {
        let target = self.part(offset, bytes)?;
        for index in 0..bytes {
            // SAFETY: `index` is within the part, which is mapped for writing.
            let target = unsafe { AtomicU8::from_ptr(target.base.add(index).as_ptr()) };
            target.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Copies from `offset` to `content`.
    ///
    /// # Errors
    ///
    /// [`OutsideMemory`]; nothing is read.
    pub fn read(&self, offset: usize, content: &mut [u8]) -> Result<(), OutsideMemory> {
        let source = self.part(offset, content.len())?;
        for (index, byte) in content.iter_mut().enumerate() {
            // SAFETY: `index` is within the part, which is mapped for reading.
            let source = unsafe { AtomicU8::from_ptr(source.base.add(index).as_ptr()) };
            *byte = source.load(Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn mappings_are_zeros_or_what_is_in_the_file() {
        let memory = HostMemory::map(0x3000).unwrap();
        assert_eq!((memory.bytes(), memory.base().addr().get() % 0x1000), (0x3000, 0));
        let mut read = [9; 4];
        memory.read(0x2ffc, &mut read).unwrap();
        assert_eq!(read, [0; 4]);
        memory.write(0x1000, &[1, 2, 3]).unwrap();
        memory.read(0x0fff, &mut read).unwrap();
        assert_eq!(read, [0, 1, 2, 3]);
        assert_eq!(HostMemory::map(0), Err(Errno::EINVAL));

        let path = std::env::temp_dir().join(format!("kvm-realm-{}", std::process::id()));
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.unwrap();
        std::fs::remove_file(&path).unwrap();
        file.set_len(0x2000).unwrap();
        let whole = HostMemory::map_file(file.as_fd(), 0, 0x2000).unwrap();
        let half = HostMemory::map_file(file.as_fd(), 0x1000, 0x1000).unwrap();
        whole.write(0x1000, &[7, 8, 9, 10]).unwrap();
        half.read(0, &mut read).unwrap();
        assert_eq!(read, [7, 8, 9, 10]);
        assert_eq!(HostMemory::map_file(file.as_fd(), 1, 0x1000), Err(Errno::EINVAL));
        assert_eq!(HostMemory::map_file(file.as_fd(), u64::MAX, 0x1000), Err(Errno::EINVAL));
    }

    #[test]
    fn memory_of_whole_pages_begins_and_ends_with_them() {
        let memory = HostMemory::map(0x4000).unwrap();
        for (offset, bytes, is) in [
            (0, 0x4000, true),
            (0x1000, 0x1000, true),
            (0x1000, 0, true),
            (0x800, 0x1000, false),
            (0x800, 0x800, false),
            (0x1000, 0x1001, false),
            (0, 0xfff, false),
        ] {
            let part = memory.part(offset, bytes).unwrap();
            assert_eq!(part.is_of_pages(0x1000), is, "{offset:#x} {bytes:#x}");
        }
        // Pages of another length; and none, which a host does not have.
        assert!(memory.is_of_pages(0x800) && !memory.is_of_pages(0x8000));
        assert!(!memory.is_of_pages(0));
    }

    #[test]
    fn memory_that_is_unmapped_is_gone() {
        let path = std::env::temp_dir().join(format!("kvm-realm-unmap-{}", std::process::id()));
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.unwrap();
        std::fs::remove_file(&path).unwrap();
        file.set_len(0x2000).unwrap();
        let inode = format!(" {} ", std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap()));
        let is_mapped = || std::fs::read_to_string("/proc/self/maps").unwrap().contains(&inode);
        let memory = HostMemory::map_file(file.as_fd(), 0, 0x2000).unwrap();
        assert!(is_mapped());
        let part = memory.part(1, 4).unwrap();
        // SAFETY: an address that is not of a page is refused, so nothing is unmapped.
        assert_eq!(unsafe { part.unmap() }, Err(Errno::EINVAL));
        assert!(is_mapped());
        // SAFETY: nothing uses it any more.
        assert_eq!(unsafe { memory.unmap() }, Ok(()));
        assert!(!is_mapped());
    }

    #[test]
    fn parts_end_with_the_memory() {
        let mut bytes = [0_u8; 16];
        // SAFETY: the array is not used otherwise until the last use of `memory`.
        let memory = unsafe { HostMemory::new(NonNull::from(&mut bytes).cast(), 16) };
        assert_eq!(memory.part(16, 0).map(|part| part.bytes()), Ok(0));
        assert_eq!(memory.part(4, 12).map(|part| part.bytes()), Ok(12));
        let part = memory.part(4, 8).unwrap();
        assert_eq!(part.base().addr().get(), memory.base().addr().get() + 4);
        for (offset, bytes) in [(0, 17), (16, 1), (17, 0), (usize::MAX, 2)] {
            assert_eq!(memory.part(offset, bytes), Err(OutsideMemory { offset, bytes }));
        }
        part.write(1, &[1, 2, 3]).unwrap();
        part.clear(2, 1).unwrap();
        assert_eq!(part.write(6, &[7; 3]), Err(OutsideMemory { offset: 6, bytes: 3 }));
        assert_eq!(part.clear(8, 1), Err(OutsideMemory { offset: 8, bytes: 1 }));
        let mut read = [9; 4];
        assert_eq!(part.read(5, &mut read), Err(OutsideMemory { offset: 5, bytes: 4 }));
        assert_eq!(read, [9; 4]);
        part.read(0, &mut read).unwrap();
        assert_eq!(read, [0, 1, 0, 3]);
        assert_eq!(bytes, [0, 0, 0, 0, 0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
