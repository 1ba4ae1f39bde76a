//! A recording in memory.

use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;

use rmi_abi::{Dialect, Pa};
use rmi_host::conduit::Registers;

use crate::recording::{CallLine, DialectLine, Direction, PageLine};

/// A recording that was parsed: the calls that returned, by number. [`crate::recording`] describes
/// its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    pub(super) dialect: Dialect,
    pub(super) calls: Vec<RecordedCall>,
}

impl Transcript {
    /// The dialect; the last, if the recording changed it.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The calls.
    #[must_use]
    pub fn calls(&self) -> &[RecordedCall] {
        &self.calls
    }
}

impl fmt::Display for Transcript {
    /// Writes the text, in order and without comments.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", DialectLine { first: true, dialect: self.dialect })?;
        for call in &self.calls {
            let RecordedCall { number, registers, answer, reads, writes } = call;
            for page in reads {
                writeln!(f, "{}", page.line(Direction::In, *number))?;
            }
            writeln!(f, "{}", CallLine { number: *number, call: registers, answer })?;
            for page in writes {
                writeln!(f, "{}", page.line(Direction::Out, *number))?;
            }
        }
        Ok(())
    }
}

/// One call of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedCall {
    pub(super) number: u64,
    pub(super) registers: Registers,
    pub(super) answer: Registers,
    pub(super) reads: Vec<PageImage>,
    pub(super) writes: Vec<PageImage>,
}

impl RecordedCall {
    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// X0 to X7 of the call.
    #[must_use]
    pub const fn registers(&self) -> &Registers {
        &self.registers
    }

    /// X0 to X7 of the answer.
    #[must_use]
    pub const fn answer(&self) -> &Registers {
        &self.answer
    }

    /// Host memory that the RMM read.
    #[must_use]
    pub fn reads(&self) -> &[PageImage] {
        &self.reads
    }

    /// Host memory after the call, where the RMM may have written it.
    #[must_use]
    pub fn writes(&self) -> &[PageImage] {
        &self.writes
    }
}

/// Host memory inside one granule, as it was during a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageImage {
    pub(super) at: Pa,
    /// Number of 64-bit words, at most 512.
    pub(super) len: usize,
    /// The words that are not 0, by number; `None` for one that was omitted on purpose.
    pub(super) words: Vec<(usize, Option<u64>)>,
}

impl PageImage {
    /// Its first address.
    #[must_use]
    pub const fn at(&self) -> Pa {
        self.at
    }

    /// Its length in bytes, a multiple of 8.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.len * 8
    }

    /// All its 64-bit words, little-endian, with their addresses; `None` for one that was omitted
    /// on purpose.
    pub fn words(&self) -> impl Iterator<Item = (Pa, Option<u64>)> {
        let mut told = self.words.iter().copied().peekable();
        (0..self.len).filter_map(move |index| {
            let word =
                told.next_if(|(number, _)| *number == index).map_or(Some(0), |(_, word)| word);
            // The parser has checked that all of it lies below the end of the address space.
            Some((self.at.checked_add(index as u64 * 8)?, word))
        })
    }

    fn line(&self, direction: Direction, number: u64) -> impl fmt::Display {
        PageLine {
            direction,
            number,
            at: self.at,
            bytes: self.bytes() as u64,
            words: Cell::new(Some(self.words.iter().copied())),
        }
    }
}
