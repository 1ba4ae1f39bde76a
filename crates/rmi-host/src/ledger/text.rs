//! The text of a map.

use core::fmt;
use core::str::FromStr;

use rmi_abi::{Command, Pa, PaRange, Status};

use super::{Holding, Ownership, QuarantineReason};

const HEADER: &str = "rmi-ownership 1";

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delegated => f.write_str("delegated"),
            Self::Donated { command } => write!(f, "donated {command}"),
            Self::Leaked => f.write_str("leaked"),
            Self::Untracked => f.write_str("untracked"),
            Self::Exposed => f.write_str("exposed"),
            Self::Quarantined { reason } => {
                f.write_str("quarantined ")?;
                match reason {
                    QuarantineReason::UndelegateRefused { status } => {
                        write!(f, "undelegate-refused {}", u8::from(*status))
                    }
                    QuarantineReason::Unclear { command } => write!(f, "unclear {command}"),
                    QuarantineReason::NotReclaimed { command } => {
                        write!(f, "not-reclaimed {command}")
                    }
                    QuarantineReason::PoolFull => f.write_str("pool-full"),
                    QuarantineReason::NotDestroyed { command } => {
                        write!(f, "not-destroyed {command}")
                    }
                }
            }
        }
    }
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        let mut count = 0u64;
        for (range, holding) in self.ranges() {
            writeln!(f, "{} {} {holding}", range.base(), range.top())?;
            count += 1;
        }
        writeln!(f, "end {count}")
    }
}

/// What is wrong with the text of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwnershipErrorKind {
    /// The first line is not `rmi-ownership 1`.
    Header,
    /// The line is neither a range nor the end.
    Line,
    /// The addresses are not a non-empty range aligned to granules.
    Range,
    /// There is no such holding.
    Holding,
    /// The range overlaps one before it.
    Overlap,
    /// The text ends without its `end` line, or that line has another number of ranges: something
    /// is missing.
    Truncated,
    /// There is text after the `end` line.
    Trailing,
}

/// Why a text is not that of a map, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnershipError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub kind: OwnershipErrorKind,
}

impl fmt::Display for OwnershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {} of an ownership map: {}",
            self.line,
            match self.kind {
                OwnershipErrorKind::Header => "not a map of version 1",
                OwnershipErrorKind::Line => "neither a range nor the end",
                OwnershipErrorKind::Range => "not a range of whole granules",
                OwnershipErrorKind::Holding => "unknown holding",
                OwnershipErrorKind::Overlap => "the range overlaps another",
                OwnershipErrorKind::Truncated => "lines are missing",
                OwnershipErrorKind::Trailing => "text after the end",
            }
        )
    }
}

impl core::error::Error for OwnershipError {}

impl FromStr for Ownership {
    type Err = OwnershipError;

    /// Reads the text of a map. The records then begin with these ranges as delegated and donated.
    fn from_str(text: &str) -> Result<Self, OwnershipError> {
        let mut last = 1;
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        match lines.next() {
            Some((_, HEADER)) => {}
            _ => return Err(OwnershipError { line: 1, kind: OwnershipErrorKind::Header }),
        }
        let (mut map, mut count, mut end) = (Self::new(), 0u64, Pa::new(0));
        for (number, line) in &mut lines {
            last = number;
            let error = |kind| OwnershipError { line: number, kind };
            if let Some(expected) = line.strip_prefix("end ") {
                if expected.parse() != Ok(count) {
                    return Err(error(OwnershipErrorKind::Truncated));
                }
                if let Some((line, _)) = lines.next() {
                    return Err(OwnershipError { line, kind: OwnershipErrorKind::Trailing });
                }
                return Ok(map);
            }
            let (range, holding) = parse_line(line).map_err(error)?;
            // Sorted, so an overlap is with the line before.
            if range.base() < end {
                return Err(error(OwnershipErrorKind::Overlap));
            }
            end = range.top();
            count += 1;
            map.begin_with(range, holding);
        }
        Err(OwnershipError { line: last + 1, kind: OwnershipErrorKind::Truncated })
    }
}

fn parse_line(line: &str) -> Result<(PaRange, Holding), OwnershipErrorKind> {
    let mut words = line.splitn(3, ' ');
    let (Some(base), Some(top), Some(holding)) = (words.next(), words.next(), words.next()) else {
        return Err(OwnershipErrorKind::Line);
    };
    let (Some(base), Some(top)) = (address(base), address(top)) else {
        return Err(OwnershipErrorKind::Line);
    };
    let range = PaRange::new(base, top).ok().filter(|range| !range.is_empty());
    let range = range.ok_or(OwnershipErrorKind::Range)?;
    Ok((range, parse_holding(holding).ok_or(OwnershipErrorKind::Holding)?))
}

fn address(word: &str) -> Option<Pa> {
    let digits = word.strip_prefix("0x")?;
    // `from_str_radix` accepts a sign.
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| plain).map(Pa::new)
}

fn command(name: &str) -> Option<Command> {
    Command::ALL.iter().copied().find(|command| command.name() == name)
}

fn parse_holding(text: &str) -> Option<Holding> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match (word, rest) {
        ("delegated", "") => Some(Holding::Delegated),
        ("leaked", "") => Some(Holding::Leaked),
        ("untracked", "") => Some(Holding::Untracked),
        ("exposed", "") => Some(Holding::Exposed),
        ("donated", name) => Some(Holding::Donated { command: command(name)? }),
        ("quarantined", reason) => Some(Holding::Quarantined { reason: parse_reason(reason)? }),
        _ => None,
    }
}

fn parse_reason(text: &str) -> Option<QuarantineReason> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match (word, rest) {
        ("undelegate-refused", status) => {
            let status = status.parse::<u8>().ok()?;
            QuarantineReason::UndelegateRefused { status: Status::from(status) }
        }
        ("unclear", name) => QuarantineReason::Unclear { command: command(name)? },
        ("not-reclaimed", name) => QuarantineReason::NotReclaimed { command: command(name)? },
        ("not-destroyed", name) => QuarantineReason::NotDestroyed { command: command(name)? },
        ("pool-full", "") => QuarantineReason::PoolFull,
        _ => return None,
    })
}
