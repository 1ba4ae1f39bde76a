//! Reading the text of a recording.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::str::FromStr;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Dialect, Pa};
use rmi_host::conduit::Registers;

use super::transcript::{PageImage, RecordedCall, Transcript};
use crate::recording::FORMAT;

/// What is wrong with the text of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TranscriptErrorKind {
    /// The text does not begin with `rmi-recording 1`.
    #[error("not a recording of version 1")]
    Header,
    /// No dialect has this name.
    #[error("unknown dialect")]
    Dialect,
    /// No line begins with this word.
    #[error("unknown keyword")]
    Keyword,
    /// The number of the call is not a number.
    #[error("not the number of a call")]
    Number,
    /// There was a call with this number before.
    #[error("an earlier call has this number")]
    Repeated,
    /// The registers are not one to eight hexadecimal numbers on both sides of a `=`.
    #[error("not the registers of a call and its answer")]
    Registers,
    /// The memory is not up to 512 words within one granule.
    #[error("not memory of whole words within a granule")]
    Region,
    /// The words are not ascending offsets and hexadecimal numbers, all within the memory.
    #[error("not the words of that memory")]
    Words,
}

/// Why a text is not that of a recording, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of a recording: {kind}")]
#[non_exhaustive]
pub struct TranscriptError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub kind: TranscriptErrorKind,
}

/// The lines of a call so far.
#[derive(Default)]
struct Pieces {
    call: Option<(Registers, Registers)>,
    reads: Vec<PageImage>,
    writes: Vec<PageImage>,
}

/// Reads the text of a recording, as [`crate::recording`] describes it. Any text gives a transcript
/// or an error, in time and memory proportional to its length.
///
/// Memory of calls that did not return is omitted.
///
/// ```
/// use rmi_conduits::replay::{TranscriptErrorKind, parse};
///
/// let transcript =
///     parse("rmi-recording 1 2.0-bet3\ncall 0 c4000150 20000 = 0 20000 20000\n")?;
/// assert_eq!(transcript.calls().len(), 1);
///
/// let error = parse("rmi-recording 1 2.0-bet3\ncall 0 c4000150 20000\n").unwrap_err();
/// assert_eq!((error.line, error.kind), (2, TranscriptErrorKind::Registers));
/// # Ok::<(), rmi_conduits::replay::TranscriptError>(())
/// ```
///
/// # Errors
///
/// [`TranscriptError`] for the first line that is wrong.
pub fn parse(text: &str) -> Result<Transcript, TranscriptError> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let Some((line, first)) = lines.next() else {
        return Err(TranscriptError { line: 1, kind: TranscriptErrorKind::Header });
    };
    let name = first.strip_prefix(FORMAT).and_then(|rest| rest.strip_prefix(' '));
    let name = name.ok_or(TranscriptError { line, kind: TranscriptErrorKind::Header })?;
    let mut dialect = dialect(name).map_err(|kind| TranscriptError { line, kind })?;
    let mut pieces = BTreeMap::new();
    for (line, text) in lines {
        parse_line(text, &mut dialect, &mut pieces)
            .map_err(|kind| TranscriptError { line, kind })?;
    }
    let calls = pieces.into_iter().filter_map(|(number, pieces)| {
        let Pieces { call, reads, writes } = pieces;
        let (registers, answer) = call?;
        Some(RecordedCall { number, registers, answer, reads, writes })
    });
    Ok(Transcript { dialect, calls: calls.collect() })
}

impl FromStr for Transcript {
    type Err = TranscriptError;

    fn from_str(text: &str) -> Result<Self, TranscriptError> {
        parse(text)
    }
}

fn parse_line(
    text: &str,
    spoken: &mut Dialect,
    pieces: &mut BTreeMap<u64, Pieces>,
) -> Result<(), TranscriptErrorKind> {
    let (keyword, rest) = text.split_once(' ').ok_or(TranscriptErrorKind::Keyword)?;
    if keyword == "dialect" {
        *spoken = dialect(rest)?;
        return Ok(());
    }
    if !matches!(keyword, "call" | "in" | "out") {
        return Err(TranscriptErrorKind::Keyword);
    }
    let (number, rest) = rest.split_once(' ').ok_or(TranscriptErrorKind::Number)?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| plain).ok_or(TranscriptErrorKind::Number)?;
    let pieces: &mut Pieces = pieces.entry(number).or_default();
    match keyword {
        "in" => pieces.reads.push(page(rest)?),
        "out" => pieces.writes.push(page(rest)?),
        _ => {
            let (call, answer) = rest.split_once(" = ").ok_or(TranscriptErrorKind::Registers)?;
            if pieces.call.is_some() {
                return Err(TranscriptErrorKind::Repeated);
            }
            pieces.call = Some((registers(call)?, registers(answer)?));
        }
    }
    Ok(())
}

fn dialect(name: &str) -> Result<Dialect, TranscriptErrorKind> {
    name.parse().map_err(|_| TranscriptErrorKind::Dialect)
}

/// A hexadecimal number, without a sign.
fn hex(word: &str) -> Option<u64> {
    let plain = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(word, 16).ok().filter(|_| plain)
}

fn registers(text: &str) -> Result<Registers, TranscriptErrorKind> {
    let mut registers = [0; 8];
    let mut slots = registers.iter_mut();
    for word in text.split(' ') {
        let (Some(slot), Some(value)) = (slots.next(), hex(word)) else {
            return Err(TranscriptErrorKind::Registers);
        };
        *slot = value;
    }
    Ok(registers)
}

fn page(text: &str) -> Result<PageImage, TranscriptErrorKind> {
    let mut parts = text.split(' ');
    let at = parts.next().and_then(hex).ok_or(TranscriptErrorKind::Region)?;
    let bytes = parts.next().and_then(hex).ok_or(TranscriptErrorKind::Region)?;
    let fits = bytes.is_multiple_of(8)
        && bytes.checked_add(at % MIN_GRANULE).is_some_and(|end| end <= MIN_GRANULE);
    let len = usize::try_from(bytes / 8).ok().filter(|_| fits);
    let len = len.ok_or(TranscriptErrorKind::Region)?;
    let mut words = Vec::new();
    let mut next = 0;
    for part in parts {
        next = chunk(part, next, len, &mut words).ok_or(TranscriptErrorKind::Words)?;
    }
    Ok(PageImage { at: Pa::new(at), len, words })
}

/// Reads an offset and its words, none of them before word `first` nor at or after word `len`.
/// Returns the number of the word after them.
fn chunk(
    text: &str,
    first: usize,
    len: usize,
    words: &mut Vec<(usize, Option<u64>)>,
) -> Option<usize> {
    let (offset, list) = text.split_once(':')?;
    let offset = hex(offset).filter(|offset| offset.is_multiple_of(8))?;
    let mut index = usize::try_from(offset / 8).ok().filter(|index| *index >= first)?;
    for word in list.split(',') {
        let word = if word == "*" { None } else { Some(hex(word)?) };
        if index >= len {
            return None;
        }
        if word != Some(0) {
            words.push((index, word));
        }
        index += 1;
    }
    Some(index)
}
