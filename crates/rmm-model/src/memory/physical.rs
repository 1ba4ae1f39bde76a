//! Memory of the machine that the program runs on.
#![expect(unsafe_code, reason = "memory is accessed by address")]

use core::ptr;

use rmi_abi::{Pa, PaRange};

use super::Memory;

#[cfg(test)]
mod tests;

/// Bytes of a word of [`MemoryAccess::Volatile`].
const WORD: usize = size_of::<u64>();

/// How memory is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryAccess {
    /// As the compiler and its library choose: for memory that nobody else accesses meanwhile.
    Plain,
    /// Each aligned word of 8 bytes, and each byte before and after them, once and in ascending
    /// order, aligned: for memory that the host writes meanwhile, or that is mapped as device
    /// memory, as all is while the MMU is off.
    Volatile,
}

/// One range of physical memory, at addresses of the program: for an RMM that runs on the machine
/// itself.
///
/// Memory has the content that it had when this was made. Nothing is allocated, and caches are not
/// maintained.
#[derive(Debug)]
pub struct PhysicalMemory {
    range: PaRange,
    base: *mut u8,
    access: MemoryAccess,
}

// SAFETY: the pointer is to memory that `new` is promised, for any thread.
unsafe impl Send for PhysicalMemory {}

impl PhysicalMemory {
    /// The memory at `range`, whose first byte the program has at `base`; contiguous from there on.
    ///
    /// # Safety
    ///
    /// As long as the value exists, all bytes from `base` on, as many as `range` has, must be valid
    /// for reads and writes from any thread of the program, and the program must have no reference
    /// to them. With [`MemoryAccess::Plain`], nothing else may write to bytes that the model
    /// accesses, nor read what it writes, at the same time. That concerns other CPUs, other
    /// exception levels and devices: a host that gives the RMM memory must not use it until the
    /// call has returned.
    #[must_use]
    pub const unsafe fn new(range: PaRange, base: *mut u8, access: MemoryAccess) -> Self {
        Self { range, base, access }
    }

    /// The memory at `range`, where the program has each byte at its physical address.
    ///
    /// # Safety
    ///
    /// As [`PhysicalMemory::new`].
    #[must_use]
    pub unsafe fn identity(range: PaRange, access: MemoryAccess) -> Self {
        // An address that the program cannot express is none that it has mapped.
        let address = usize::try_from(range.base().raw()).unwrap_or(0);
        // SAFETY: the caller promises it of these addresses.
        unsafe { Self::new(range, ptr::with_exposed_provenance_mut(address), access) }
    }

    /// The part of `[at, at + bytes)` that is in this memory; empty if none is.
    fn part(&self, at: Pa, bytes: u64) -> Part {
        let (base, end) = (self.range.base().raw(), self.range.top().raw());
        let first = at.raw().max(base);
        let top = at.raw().saturating_add(bytes).min(end);
        let size = |bytes: u64| usize::try_from(bytes).ok();
        let found = top
            .checked_sub(first)
            .filter(|length| *length != 0)
            .and_then(|length| Some((size(first - base)?, size(first - at.raw())?, size(length)?)));
        let (offset, before, length) = found.unwrap_or((0, 0, 0));
        // SAFETY: all bytes of the range are at `base`, and the offset is less than their number,
        // or 0.
        Part { pointer: unsafe { self.base.add(offset) }, before, length }
    }
}

/// The part of an access that is in memory.
struct Part {
    pointer: *mut u8,
    /// Bytes of the access before it.
    before: usize,
    length: usize,
}

impl Memory for PhysicalMemory {
    fn contains(&self, range: PaRange) -> bool {
        self.range.base() <= range.base() && range.top() <= self.range.top()
    }

    fn read(&self, at: Pa, into: &mut [u8]) {
        let part = self.part(at, into.len() as u64);
        let (before, rest) = into.split_at_mut(part.before.min(into.len()));
        let (found, after) = rest.split_at_mut(part.length.min(rest.len()));
        before.fill(0);
        after.fill(0);
        match self.access {
            // SAFETY: the part is memory as `new` is promised, and not longer than `found`; no
            // reference is to it, so `found` is elsewhere.
            MemoryAccess::Plain => unsafe {
                ptr::copy_nonoverlapping(part.pointer, found.as_mut_ptr(), found.len());
            },
            // SAFETY: the same.
            MemoryAccess::Volatile => unsafe { read_words(part.pointer, found) },
        }
    }

    fn write(&mut self, at: Pa, from: &[u8]) {
        let part = self.part(at, from.len() as u64);
        let (_, rest) = from.split_at(part.before.min(from.len()));
        let (found, _) = rest.split_at(part.length.min(rest.len()));
        match self.access {
            // SAFETY: as in `read`.
            MemoryAccess::Plain => unsafe {
                ptr::copy_nonoverlapping(found.as_ptr(), part.pointer, found.len());
            },
            // SAFETY: the same.
            MemoryAccess::Volatile => unsafe { write_words(part.pointer, found) },
        }
    }

    fn fill(&mut self, at: Pa, bytes: u64, byte: u8) {
        let part = self.part(at, bytes);
        if self.access == MemoryAccess::Plain {
            // SAFETY: the part is memory as `new` is promised.
            unsafe { ptr::write_bytes(part.pointer, byte, part.length) };
            return;
        }
        let block = [byte; 8 * WORD];
        let mut done = 0;
        while done < part.length {
            let (bytes, _) = block.split_at(block.len().min(part.length - done));
            // SAFETY: the same; the block ends with the part at the latest.
            unsafe { write_words(part.pointer.add(done), bytes) };
            done += bytes.len();
        }
    }
}

/// Bytes from an address to the next aligned word.
fn to_word(address: usize) -> usize {
    address.wrapping_neg() % WORD
}

/// Reads by aligned words, and by bytes before and after them.
///
/// # Safety
///
/// As many bytes as `into` has must be valid for reads at `from`.
unsafe fn read_words(from: *const u8, into: &mut [u8]) {
    let (head, rest) = into.split_at_mut(to_word(from.addr()).min(into.len()));
    let (words, tail) = rest.as_chunks_mut::<WORD>();
    let mut from = from;
    // SAFETY: `from` advances by what was read, which is as long as `into` in the end; before the
    // words it is aligned.
    unsafe {
        for byte in head {
            *byte = from.read_volatile();
            from = from.add(1);
        }
        for word in words {
            *word = from.cast::<u64>().read_volatile().to_ne_bytes();
            from = from.add(WORD);
        }
        for byte in tail {
            *byte = from.read_volatile();
            from = from.add(1);
        }
    }
}

/// Writes by aligned words, and by bytes before and after them.
///
/// # Safety
///
/// As many bytes as `from` has must be valid for writes at `to`.
unsafe fn write_words(to: *mut u8, from: &[u8]) {
    let (head, rest) = from.split_at(to_word(to.addr()).min(from.len()));
    let (words, tail) = rest.as_chunks::<WORD>();
    let mut to = to;
    // SAFETY: as in `read_words`.
    unsafe {
        for byte in head {
            to.write_volatile(*byte);
            to = to.add(1);
        }
        for word in words {
            to.cast::<u64>().write_volatile(u64::from_ne_bytes(*word));
            to = to.add(WORD);
        }
        for byte in tail {
            to.write_volatile(*byte);
            to = to.add(1);
        }
    }
}
