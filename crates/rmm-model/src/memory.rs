//! The bytes of DRAM, stored only where something was written.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Pa, PaRange};

/// Bytes of a granule, as a length.
pub(crate) const GRANULE: usize = 0x1000;

/// The value of memory right after it was delegated: code that still depends on the old content is
/// noticed.
pub(crate) const POISON: u8 = 0xd5;

/// DRAM. A granule that was not written since it was last filled costs one byte.
pub(crate) struct Memory {
    dram: PaRange,
    fill: Vec<u8>,
    written: BTreeMap<usize, Box<[u8; GRANULE]>>,
}

impl Memory {
    /// Zeroed DRAM.
    pub(crate) fn new(dram: PaRange) -> Self {
        let granules = usize::try_from(dram.bytes() / MIN_GRANULE).unwrap_or(0);
        Self { dram, fill: vec![0; granules], written: BTreeMap::new() }
    }

    /// Number of the granule that holds `at`, counted from the base of DRAM; `None` outside.
    fn number(&self, at: u64) -> Option<usize> {
        let offset = at.checked_sub(self.dram.base().raw())?;
        let number = usize::try_from(offset / MIN_GRANULE).ok()?;
        (number < self.fill.len()).then_some(number)
    }

    /// Makes every byte of the granule at `granule` equal to `byte`.
    pub(crate) fn refill(&mut self, granule: Pa, byte: u8) {
        if let Some(number) = self.number(granule.raw()) {
            self.written.remove(&number);
            if let Some(fill) = self.fill.get_mut(number) {
                *fill = byte;
            }
        }
    }

    /// Makes every byte of a range equal to `byte`. What lies outside DRAM is dropped.
    pub(crate) fn fill(&mut self, at: Pa, bytes: u64, byte: u8) {
        let base = at.raw().max(self.dram.base().raw());
        let top = at.raw().saturating_add(bytes).min(self.dram.top().raw());
        let content = [byte; GRANULE];
        let mut at = base;
        while at < top {
            let left = usize::try_from(top - at).unwrap_or(GRANULE);
            let length = left.min(GRANULE - offset_in_granule(at));
            if length == GRANULE {
                self.refill(Pa::new(at), byte);
            } else {
                self.write(Pa::new(at), content.get(..length).unwrap_or(&[]));
            }
            at += length as u64;
        }
    }

    /// Copies memory out. What lies outside DRAM reads as zero.
    pub(crate) fn read(&self, at: Pa, into: &mut [u8]) {
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
                    part.fill(number.and_then(|n| self.fill.get(n)).copied().unwrap_or(0));
                }
            }
            at = at.wrapping_add(part.len() as u64);
            rest = tail;
        }
    }

    /// Copies `from` in. What lies outside DRAM is dropped.
    pub(crate) fn write(&mut self, at: Pa, from: &[u8]) {
        let mut at = at.raw();
        let mut rest = from;
        while !rest.is_empty() {
            let offset = offset_in_granule(at);
            let (part, tail) = rest.split_at(rest.len().min(GRANULE - offset));
            if let Some(number) = self.number(at) {
                let fill = self.fill.get(number).copied().unwrap_or(0);
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

/// Offset of an address in its granule.
fn offset_in_granule(at: u64) -> usize {
    // Twelve bits fit every `usize`.
    usize::try_from(at % MIN_GRANULE).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_across_granules_and_refilling_forgets_them() {
        let dram = PaRange::with_size(Pa::new(0x8000_0000), 0x4000).unwrap();
        let mut memory = Memory::new(dram);
        memory.write(Pa::new(0x8000_0ffe), &[1, 2, 3, 4]);
        let mut back = [0; 6];
        memory.read(Pa::new(0x8000_0ffd), &mut back);
        assert_eq!(back, [0, 1, 2, 3, 4, 0]);
        memory.refill(Pa::new(0x8000_1000), POISON);
        memory.read(Pa::new(0x8000_0ffd), &mut back);
        assert_eq!(back, [0, 1, 2, POISON, POISON, POISON]);
    }

    #[test]
    fn filling_stops_at_both_ends() {
        let dram = PaRange::with_size(Pa::new(0x8000_0000), 0x4000).unwrap();
        let mut memory = Memory::new(dram);
        memory.fill(Pa::new(0x8000_0fff), 0x2002, 7);
        let mut back = [9; 0x2004];
        memory.read(Pa::new(0x8000_0ffe), &mut back);
        assert_eq!((back[0], back[0x2003]), (0, 0));
        assert!(back[1..0x2003].iter().all(|byte| *byte == 7));
        assert_eq!(memory.written.len(), 2, "whole granules cost nothing");
        memory.fill(Pa::new(0), u64::MAX, 1);
        memory.read(Pa::new(0x8000_3fff), &mut back[..2]);
        assert_eq!(back[..2], [1, 0]);
    }

    #[test]
    fn outside_dram_reads_are_zero_and_writes_are_dropped() {
        let dram = PaRange::with_size(Pa::new(0x8000_0000), 0x1000).unwrap();
        let mut memory = Memory::new(dram);
        memory.write(Pa::new(0x8000_0fff), &[7, 7]);
        memory.write(Pa::new(u64::MAX), &[7, 7]);
        let mut back = [9; 2];
        memory.read(Pa::new(0x8000_0fff), &mut back);
        assert_eq!(back, [7, 0]);
    }
}
