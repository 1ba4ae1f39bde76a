//! Host memory, stored only where something was written.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use rmi_abi::Pa;

/// Size of a piece, in bytes.
const PIECE: usize = 0x1000;

/// Memory that reads as zero until it is written.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pieces: BTreeMap<u64, Box<[u8; PIECE]>>,
}

/// Number of the piece that contains an address, and the offset in it.
fn place(at: u64) -> (u64, usize) {
    let size = PIECE as u64;
    // The offset is below 4096.
    (at / size, usize::try_from(at % size).unwrap_or(0))
}

impl Memory {
    /// Copies memory out; addresses wrap around.
    pub(super) fn read(&self, at: Pa, into: &mut [u8]) {
        let (mut at, mut rest) = (at.raw(), into);
        while !rest.is_empty() {
            let (number, offset) = place(at);
            let (part, tail) = rest.split_at_mut(rest.len().min(PIECE - offset));
            let piece = self.pieces.get(&number);
            match piece.and_then(|piece| piece.get(offset..offset + part.len())) {
                Some(bytes) => part.copy_from_slice(bytes),
                None => part.fill(0),
            }
            at = at.wrapping_add(part.len() as u64);
            rest = tail;
        }
    }

    /// Copies memory in; addresses wrap around.
    pub(super) fn write(&mut self, at: Pa, from: &[u8]) {
        let (mut at, mut rest) = (at.raw(), from);
        while !rest.is_empty() {
            let (number, offset) = place(at);
            let (part, tail) = rest.split_at(rest.len().min(PIECE - offset));
            let piece = self.pieces.entry(number).or_insert_with(|| Box::new([0; PIECE]));
            if let Some(bytes) = piece.get_mut(offset..offset + part.len()) {
                bytes.copy_from_slice(part);
            }
            at = at.wrapping_add(part.len() as u64);
            rest = tail;
        }
    }

    /// The little-endian word at an address.
    pub(super) fn word(&self, at: Pa) -> u64 {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes);
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_across_pieces_and_around_the_end() {
        let mut memory = Memory::default();
        for base in [0x1ffe, u64::MAX - 1] {
            memory.write(Pa::new(base), &[1, 2, 3, 4]);
            let mut back = [9; 6];
            memory.read(Pa::new(base - 1), &mut back);
            assert_eq!(back, [0, 1, 2, 3, 4, 0]);
            assert_eq!(memory.word(Pa::new(base)), 0x0403_0201);
        }
    }
}
