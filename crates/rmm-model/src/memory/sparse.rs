//! Memory stored only where something was written.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Pa, PaRange};

use super::{GRANULE, Memory};
use crate::per_granule::PerGranule;

/// One range of memory that is stored on the heap, zeroed at first. A granule that was not written
/// since it was last filled takes one byte, and 2 MiB that were filled as a whole take 16.
pub struct SparseMemory {
    dram: PaRange,
    granules: usize,
    fill: PerGranule<u8>,
    pub(super) written: BTreeMap<usize, Box<[u8; GRANULE]>>,
}

impl SparseMemory {
    /// Zeroed memory.
    #[must_use]
    pub fn new(dram: PaRange) -> Self {
        let granules = usize::try_from(dram.bytes() / MIN_GRANULE).unwrap_or(0);
        Self { dram, granules, fill: PerGranule::new(granules, 0), written: BTreeMap::new() }
    }

    /// Number of the granule that holds `at`, counted from the base of DRAM; `None` outside.
    fn number(&self, at: u64) -> Option<usize> {
        let offset = at.checked_sub(self.dram.base().raw())?;
        let number = usize::try_from(offset / MIN_GRANULE).ok()?;
        (number < self.granules).then_some(number)
    }

    /// Makes every byte of whole granules equal to `byte`.
    fn refill(&mut self, granules: Range<usize>, byte: u8) {
        let written = self.written.range(granules.clone()).map(|(number, _)| *number);
        for number in written.collect::<Vec<_>>() {
            self.written.remove(&number);
        }
        self.fill.set(granules, byte, |_, _| ());
    }
}

impl Memory for SparseMemory {
    fn contains(&self, range: PaRange) -> bool {
        self.dram.base() <= range.base() && range.top() <= self.dram.top()
    }

    fn fill(&mut self, at: Pa, bytes: u64, byte: u8) {
        let base = at.raw().max(self.dram.base().raw());
        let top = at.raw().saturating_add(bytes).min(self.dram.top().raw());
        let content = [byte; GRANULE];
        let mut at = base;
        while at < top {
            let whole = (top - at) / MIN_GRANULE;
            let length = if offset_in_granule(at) == 0 && whole != 0 {
                if let Some(first) = self.number(at) {
                    self.refill(first..first + usize::try_from(whole).unwrap_or(0), byte);
                }
                whole * MIN_GRANULE
            } else {
                let length = (top - at).min(MIN_GRANULE - at % MIN_GRANULE);
                let part = content.get(..usize::try_from(length).unwrap_or(0));
                self.write(Pa::new(at), part.unwrap_or(&[]));
                length
            };
            at += length;
        }
    }

    fn read(&self, at: Pa, into: &mut [u8]) {
        let mut at = at.raw();
        let mut rest = into;
        while !rest.is_empty() {
            let offset = offset_in_granule(at);
            let (part, tail) = rest.split_at_mut(rest.len().min(GRANULE - offset));
            let number = self.number(at);
            let bytes = number
                .and_then(|number| self.written.get(&number))
                .and_then(|granule| granule.get(offset..offset + part.len()));
            match bytes {
                Some(bytes) => part.copy_from_slice(bytes),
                None => {
                    part.fill(number.and_then(|n| self.fill.get(n)).unwrap_or(0));
                }
            }
            at = at.wrapping_add(part.len() as u64);
            rest = tail;
        }
    }

    fn write(&mut self, at: Pa, from: &[u8]) {
        let mut at = at.raw();
        let mut rest = from;
        while !rest.is_empty() {
            let offset = offset_in_granule(at);
            let (part, tail) = rest.split_at(rest.len().min(GRANULE - offset));
            if let Some(number) = self.number(at) {
                let fill = self.fill.get(number).unwrap_or(0);
                let granule =
                    self.written.entry(number).or_insert_with(|| Box::new([fill; GRANULE]));
                if let Some(bytes) = granule.get_mut(offset..offset + part.len()) {
                    bytes.copy_from_slice(part);
                }
            }
            at = at.wrapping_add(part.len() as u64);
            rest = tail;
        }
    }
}

impl fmt::Debug for SparseMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SparseMemory").field("dram", &self.dram).finish_non_exhaustive()
    }
}

/// Offset of an address in its granule.
fn offset_in_granule(at: u64) -> usize {
    // Twelve bits fit every `usize`.
    usize::try_from(at % MIN_GRANULE).unwrap_or(0)
}
