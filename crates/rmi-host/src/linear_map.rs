//! Host memory through a linear map: virtual address = physical address + a constant.
//!
//! ```
//! use rmi_abi::{Pa, PaRange};
//! use rmi_host::HostAccess;
//! use rmi_host::linear_map::LinearMap;
//!
//! // A hypervisor has its memory mapped; here an array takes its place.
//! let mut memory = [0u8; 0x1000];
//! let window = PaRange::with_size(Pa::new(0x8000_0000), 0x1000)?;
//! // SAFETY: the array is the window; it outlives the map, and is only accessed through
//! // it.
//! let map = unsafe { LinearMap::new(window, memory.as_mut_ptr()) };
//!
//! let mut back = [0; 5];
//! // SAFETY: there is no reference into the array.
//! unsafe {
//!     map.write(Pa::new(0x8000_0800), b"hello")?;
//!     map.read(Pa::new(0x8000_0800), &mut back)?;
//!     // It would leave the window.
//!     assert!(map.write(Pa::new(0x8000_0ffe), b"hello").is_err());
//! }
//! assert_eq!(&back, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A conduit and a map make a platform: `Host::new(conduit, map)`. Memory in several windows needs
//! a [`HostAccess`] that selects the map.
#![expect(unsafe_code, reason = "turning addresses into pointers is what this module is for")]

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rmi_abi::{Pa, PaRange};

use crate::access::{AccessFault, HostAccess};
use crate::granules::Machine;

/// A window of physical memory that is mapped at a constant distance from its physical address, as
/// hypervisors map their memory.
///
/// Memory is copied by aligned words of 8 bytes, each accessed once, and by bytes at unaligned
/// ends; no reference to plain memory is formed. So the RMM or a Realm may change the memory
/// meanwhile, and so may other threads through the map: each word that is read is then the old or
/// the new one. (Threads that access parts of the same word at the same time, where one of them
/// writes, need their own synchronization.)
///
/// [The module](self) has an example.
#[derive(Clone, Copy, Debug)]
pub struct LinearMap {
    window: PaRange,
    virtual_base: *mut u8,
}

impl LinearMap {
    /// Makes a map of the window.
    ///
    /// # Safety
    ///
    /// As long as the value (or a copy) is used, all of `window` is mapped, readable and writable
    /// as normal memory, from `virtual_base` on, and pointers made from `virtual_base` may access
    /// all of it. The window is memory of this machine at these physical addresses, or no conduit
    /// reaches an RMM of this machine.
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
        // SAFETY: the offset lies inside the window, all of which this pointer may access, by the
        // promise of the caller of `new`.
        Ok(unsafe { self.virtual_base.add(offset) })
    }
}

// SAFETY: the value is an address range and a pointer that is only used to copy memory that the
// caller of `read` and `write` owns; nothing about it belongs to one thread.
unsafe impl Send for LinearMap {}
// SAFETY: as for `Send`; the value never changes.
unsafe impl Sync for LinearMap {}

/// Size of the words in which memory is copied, in bytes.
const WORD: usize = size_of::<u64>();

/// Bytes before the first whole word, of `len` bytes from `at` on.
fn head(at: *const u8, len: usize) -> usize {
    (at.addr().wrapping_neg() % WORD).min(len)
}

/// Reads a byte once.
///
/// # Safety
///
/// `at` is valid for reads, and every access to it at the same time is atomic, or from outside of
/// this program.
unsafe fn load_byte(at: *mut u8) -> u8 {
    // SAFETY: by the caller's promise; a reference to an atomic asserts nothing about the value,
    // and ends here.
    unsafe { AtomicU8::from_ptr(at) }.load(Ordering::Relaxed)
}

/// Writes a byte once.
///
/// # Safety
///
/// As [`load_byte`], for writes.
unsafe fn store_byte(at: *mut u8, byte: u8) {
    // SAFETY: as in `load_byte`.
    unsafe { AtomicU8::from_ptr(at) }.store(byte, Ordering::Relaxed);
}

/// Reads a word once, in the order of its bytes in memory.
///
/// # Safety
///
/// As [`load_byte`], and `at` is aligned to a word.
unsafe fn load_word(at: *mut u8) -> [u8; WORD] {
    // SAFETY: as in `load_byte`.
    unsafe { AtomicU64::from_ptr(at.cast()) }.load(Ordering::Relaxed).to_ne_bytes()
}

/// Writes a word once.
///
/// # Safety
///
/// As [`load_word`], for writes.
unsafe fn store_word(at: *mut u8, word: [u8; WORD]) {
    // SAFETY: as in `load_byte`.
    unsafe { AtomicU64::from_ptr(at.cast()) }.store(u64::from_ne_bytes(word), Ordering::Relaxed);
}

// Another agent (the RMM, or the Realm through it) may change a shared page at any time. So each
// byte is accessed once, as part of an atomic access, which the compiler must neither repeat nor
// invent: by aligned words, and by bytes where the memory does not begin or end with a whole word.
//
// SAFETY: the caller of `new` promised that the window is memory of this machine, and nothing
// outside it is accessed.
unsafe impl HostAccess for LinearMap {
    fn machine(&self) -> Machine {
        Machine::REAL
    }

    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        let mut from = self.locate(at, into.len())?;
        let (head, rest) = into.split_at_mut(head(from, into.len()));
        let (words, tail) = rest.as_chunks_mut();
        // SAFETY: `locate` has checked that all bytes lie in the window; the caller owns them and
        // no reference to them is live. After the head `from` is aligned, and it advances by words
        // up to the tail.
        unsafe {
            for byte in head {
                *byte = load_byte(from);
                from = from.add(1);
            }
            for word in words {
                *word = load_word(from);
                from = from.add(WORD);
            }
            for byte in tail {
                *byte = load_byte(from);
                from = from.add(1);
            }
        }
        Ok(())
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        let mut to = self.locate(at, from.len())?;
        let (head, rest) = from.split_at(head(to, from.len()));
        let (words, tail) = rest.as_chunks();
        // SAFETY: as in `read`.
        unsafe {
            for byte in head {
                store_byte(to, *byte);
                to = to.add(1);
            }
            for word in words {
                store_word(to, *word);
                to = to.add(WORD);
            }
            for byte in tail {
                store_byte(to, *byte);
                to = to.add(1);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const GRANULE: usize = 0x1000;

    fn window() -> PaRange {
        PaRange::with_size(Pa::new(0x8000_0000), GRANULE as u64).unwrap()
    }

    #[test]
    fn copies_stay_inside_the_window() {
        let mut memory = [0u8; 0x1000];
        // SAFETY: the array stands in for the window and outlives the map.
        let map = unsafe { LinearMap::new(window(), memory.as_mut_ptr()) };
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

    /// For any alignment of memory and copy to each other, exactly the requested bytes are copied.
    #[test]
    fn any_alignment_and_length() {
        const BYTES: usize = 48;
        let pattern: Vec<u8> = (1..).take(BYTES).collect();
        for skew in 0..WORD {
            for offset in 0..WORD {
                for len in 0..=2 * WORD + 3 {
                    let mut memory = [0u64; GRANULE / WORD + 1];
                    let base = memory.as_mut_ptr().cast::<u8>().wrapping_add(skew);
                    // SAFETY: from the skew on there is a whole granule in the array.
                    let map = unsafe { LinearMap::new(window(), base) };
                    let at = Pa::new(0x8000_0000 + offset as u64);
                    let mut all = [0xff; BYTES];
                    let mut back = [0xff; BYTES];
                    // SAFETY: the test owns the array and has no other reference to it.
                    unsafe {
                        map.write(at, &pattern[..len]).unwrap();
                        map.read(Pa::new(0x8000_0000), &mut all).unwrap();
                        map.read(at, &mut back[..len]).unwrap();
                    }
                    assert_eq!(back[..len], pattern[..len], "{skew} {offset} {len}");
                    let mut expected = [0; BYTES];
                    expected[offset..offset + len].copy_from_slice(&pattern[..len]);
                    assert_eq!(all, expected, "{skew} {offset} {len}");
                }
            }
        }
    }

    /// Memory that another agent changes meanwhile is read by words, each of which was written as a
    /// whole.
    #[test]
    fn changes_by_others_are_no_race() {
        const WORDS: usize = 16;
        let mut memory = [0u64; GRANULE / WORD];
        // SAFETY: the array stands in for the window and outlives the map.
        let map = unsafe { LinearMap::new(window(), memory.as_mut_ptr().cast()) };
        let base = Pa::new(0x8000_0000);
        let rounds = if cfg!(miri) { 8 } else { 1000 };
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for round in 0..rounds {
                    // SAFETY: there is no reference to the array, and it is only accessed through
                    // the map.
                    unsafe { map.write(base, &[u8::try_from(round % 251).unwrap(); WORDS * WORD]) }
                        .unwrap();
                }
            });
            for _ in 0..rounds {
                let mut copy = [0; WORDS * WORD];
                // SAFETY: as above.
                unsafe { map.read(base, &mut copy) }.unwrap();
                for word in copy.as_chunks::<WORD>().0 {
                    assert_eq!(*word, [word[0]; WORD]);
                }
            }
        });
    }
}
