//! The lines of a recording, printed. Used by the recorder, and to print a transcript again.

use core::cell::Cell;
use core::fmt::{self, Display, Formatter};

use rmi_abi::{Dialect, Pa};
use rmi_host::conduit::Registers;

/// Name and version of the format, the first two words of a recording.
pub(crate) const FORMAT: &str = "rmi-recording 1";

/// The first line, or one that changes the dialect.
pub(crate) struct DialectLine {
    pub(crate) first: bool,
    pub(crate) dialect: Dialect,
}

impl Display for DialectLine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.first { FORMAT } else { "dialect" }, self.dialect)
    }
}

/// A call with its answer.
pub(crate) struct CallLine<'a> {
    pub(crate) number: u64,
    pub(crate) call: &'a Registers,
    pub(crate) answer: &'a Registers,
}

impl Display for CallLine<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.number)?;
        registers(f, self.call)?;
        f.write_str(" =")?;
        registers(f, self.answer)
    }
}

/// X0, and the others up to the last that is not 0.
fn registers(f: &mut Formatter<'_>, registers: &Registers) -> fmt::Result {
    let used = registers.iter().rposition(|value| *value != 0).unwrap_or(0);
    registers.iter().take(used + 1).try_for_each(|value| write!(f, " {value:x}"))
}

/// The direction in which memory was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the RMM.
    In,
    /// From the RMM.
    Out,
}

impl Direction {
    pub(crate) const fn keyword(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// Memory that a call read or wrote. `words` yields each word that is not 0, by number and
/// ascending; `None` stands for one that is omitted. It is used once.
pub(crate) struct PageLine<W> {
    pub(crate) direction: Direction,
    pub(crate) number: u64,
    pub(crate) at: Pa,
    pub(crate) bytes: u64,
    pub(crate) words: Cell<Option<W>>,
}

impl<W: Iterator<Item = (usize, Option<u64>)>> Display for PageLine<W> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (keyword, at) = (self.direction.keyword(), self.at.raw());
        write!(f, "{keyword} {} {at:x} {:x}", self.number, self.bytes)?;
        let mut next = None;
        for (index, word) in self.words.take().into_iter().flatten() {
            match next {
                Some(next) if next == index => f.write_str(",")?,
                _ => write!(f, " {:x}:", index * 8)?,
            }
            match word {
                Some(word) => write!(f, "{word:x}")?,
                None => f.write_str("*")?,
            }
            next = Some(index + 1);
        }
        Ok(())
    }
}
