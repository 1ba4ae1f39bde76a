//! Memory that is shared with the host.
#![expect(unsafe_code, reason = "accesses through a raw pointer")]

use core::fmt;

/// A piece of memory that the host reads and writes at any time.
///
/// No reference leads into it: content is copied in and out, byte by byte or as an aligned word, by
/// volatile accesses. What is read twice may differ; read once, and check what was read. Accesses
/// have no order with those of other CPUs unless a barrier or a call makes one.
///
/// ```
/// use rsi::SharedMemory;
///
/// let mut page = [0u64; 512];
/// // SAFETY: nothing else uses the page meanwhile.
/// let shared = unsafe { SharedMemory::new(page.as_mut_ptr().cast(), 4096) };
/// shared.write(8, b"to the host")?;
/// let mut read = [0; 4];
/// shared.read(15, &mut read)?;
/// assert_eq!(&read, b"host");
/// assert_eq!(shared.read_u64(4096), Err(rsi::OutOfRange));
/// # Ok::<(), rsi::OutOfRange>(())
/// ```
#[derive(Debug)]
pub struct SharedMemory {
    base: *mut u8,
    bytes: usize,
}

/// An access that is not within the memory, or a word that is not aligned. Nothing was accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange;

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the access is not within the shared memory, or not aligned")
    }
}

impl core::error::Error for OutOfRange {}

// SAFETY: all accesses are volatile, of memory that the host changes at any time anyway; which of
// two writes comes last is not specified, as with those of the host.
unsafe impl Send for SharedMemory {}
// SAFETY: the same.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Memory that is mapped from `base` on.
    ///
    /// # Safety
    ///
    /// As long as this value is used, the bytes are mapped, readable and writable, and no reference
    /// of the program leads there.
    #[must_use]
    pub const unsafe fn new(base: *mut u8, bytes: usize) -> Self {
        Self { base, bytes }
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies bytes out of it.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`]
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfRange> {
        self.check(offset, into.len())?;
        for (at, byte) in (offset..).zip(into) {
            // SAFETY: `at` is within the memory.
            *byte = unsafe { self.base.wrapping_add(at).read_volatile() };
        }
        Ok(())
    }

    /// Copies bytes into it.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`]
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), OutOfRange> {
        self.check(offset, bytes.len())?;
        for (at, byte) in (offset..).zip(bytes) {
            // SAFETY: `at` is within the memory.
            unsafe { self.base.wrapping_add(at).write_volatile(*byte) };
        }
        Ok(())
    }

    /// Reads a word of 64 bits by one access.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`]
    pub fn read_u64(&self, offset: usize) -> Result<u64, OutOfRange> {
        let word = self.word(offset)?;
        // SAFETY: the word is aligned and within the memory.
        Ok(unsafe { word.read_volatile() })
    }

    /// Writes a word of 64 bits by one access.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`]
    pub fn write_u64(&self, offset: usize, value: u64) -> Result<(), OutOfRange> {
        let word = self.word(offset)?;
        // SAFETY: the word is aligned and within the memory.
        unsafe { word.write_volatile(value) };
        Ok(())
    }

    fn check(&self, offset: usize, bytes: usize) -> Result<(), OutOfRange> {
        let end = offset.checked_add(bytes).ok_or(OutOfRange)?;
        if end <= self.bytes { Ok(()) } else { Err(OutOfRange) }
    }

    fn word(&self, offset: usize) -> Result<*mut u64, OutOfRange> {
        self.check(offset, size_of::<u64>())?;
        let word = self.base.wrapping_add(offset).cast::<u64>();
        if word.is_aligned() { Ok(word) } else { Err(OutOfRange) }
    }
}
