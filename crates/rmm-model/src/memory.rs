//! The bytes of DRAM, behind a trait.

mod physical;
mod sparse;
#[cfg(test)]
mod tests;

use rmi_abi::{Pa, PaRange};

pub use physical::{MemoryAccess, PhysicalMemory};
pub use sparse::SparseMemory;

/// Bytes of a granule, as a length.
pub(crate) const GRANULE: usize = 0x1000;

/// The value of memory right after it was delegated: code that still depends on the old content is
/// noticed.
pub(crate) const POISON: u8 = 0xd5;

/// The memory of the machine, as the RMM and the programs of Realms reach it, by physical address.
///
/// Any address and length may be passed: what an implementation does not have reads as zero, and
/// ignores writes. The model calls one method at a time, with its lock held.
pub trait Memory: Send {
    /// Whether all of `range` is there.
    fn contains(&self, range: PaRange) -> bool;
    /// Copies memory out.
    fn read(&self, at: Pa, into: &mut [u8]);
    /// Copies `from` in.
    fn write(&mut self, at: Pa, from: &[u8]);
    /// Makes `bytes` bytes equal to `byte`.
    fn fill(&mut self, at: Pa, bytes: u64, byte: u8);
}
