//! Reading events back.

use core::str::FromStr;

use rmi_abi::address::RangeError;
use rmi_abi::rec::Mpidr;
use rmi_abi::rtt::Level;
use rmi_abi::{GranuleSize, Ipa, IpaRange};
use thiserror::Error;

use super::digest::{Digest, DigestError};
use super::{MeasurementEvent, UNMEASURED};

/// The error for a line of a log that is not an event, with its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("byte {at} of a measurement event: {kind}")]
#[non_exhaustive]
pub struct ParseEventError {
    /// Offset in the line, in bytes, of what is wrong.
    pub at: usize,
    /// What is wrong with it.
    #[source]
    pub kind: ParseEventErrorKind,
}

/// What is wrong with the line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseEventErrorKind {
    /// It does not begin with `create`, `data`, `ripas` or `rec`.
    #[error("not `create`, `data`, `ripas` or `rec`")]
    Keyword,
    /// This field does not follow, after one space.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// No dialect has this name.
    #[error("unknown dialect")]
    Dialect,
    /// Not the size of granules of more than 4 KiB; 4 KiB are not written.
    #[error("not a granule size, 0x4000 or 0x10000")]
    Granule,
    /// Not a digest.
    #[error("{0}")]
    Digest(#[source] DigestError),
    /// Not a number of 64 bits: `0x` and lower case hexadecimal digits, without leading zeros.
    #[error("not a hexadecimal number of 64 bits")]
    Number,
    /// The two addresses do not make a range.
    #[error("{0}")]
    Range(#[source] RangeError),
    /// Not a level, -1 to 3.
    #[error("not a level, -1 to 3")]
    Level,
    /// Reserved bits of the MPIDR are set.
    #[error("reserved bits of an MPIDR are set")]
    Mpidr,
    /// Something follows the last field.
    #[error("something follows the last field")]
    Trailing,
}

/// A value of a field, and where it begins.
#[derive(Clone, Copy)]
struct Value<'t> {
    text: &'t str,
    at: usize,
}

impl Value<'_> {
    const fn refuse(self, kind: ParseEventErrorKind) -> ParseEventError {
        ParseEventError { at: self.at, kind }
    }

    fn number(self) -> Result<u64, ParseEventError> {
        let refuse = self.refuse(ParseEventErrorKind::Number);
        let digits = self.text.strip_prefix("0x").ok_or(refuse)?;
        let is_canonical = digits == "0" || !digits.starts_with('0');
        let is_digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        // `from_str_radix` alone takes signs and upper case.
        if !is_canonical || !digits.bytes().all(is_digit) {
            return Err(refuse);
        }
        u64::from_str_radix(digits, 16).map_err(|_| refuse)
    }

    fn digest(self) -> Result<Digest, ParseEventError> {
        self.text.parse().map_err(|error| self.refuse(ParseEventErrorKind::Digest(error)))
    }

    fn level(self) -> Result<Level, ParseEventError> {
        match self.text {
            "-1" => Ok(Level::MINUS_1),
            "0" => Ok(Level::L0),
            "1" => Ok(Level::L1),
            "2" => Ok(Level::L2),
            "3" => Ok(Level::L3),
            _ => Err(self.refuse(ParseEventErrorKind::Level)),
        }
    }
}

/// The fields of a line, from left to right.
struct Fields<'t> {
    line: &'t str,
    at: usize,
}

impl<'t> Fields<'t> {
    fn rest(&self) -> &'t str {
        self.line.get(self.at..).unwrap_or_default()
    }

    /// Everything up to the next space.
    fn word(&mut self) -> Value<'t> {
        let rest = self.rest();
        let text = rest.split(' ').next().unwrap_or(rest);
        let value = Value { text, at: self.at };
        self.at += text.len();
        value
    }

    /// The value of the field that comes next, if it has this name.
    fn optional(&mut self, name: &str) -> Option<Value<'t>> {
        let value = self.rest().strip_prefix(' ')?.strip_prefix(name)?.strip_prefix('=')?;
        self.at = self.line.len() - value.len();
        Some(self.word())
    }

    /// The value of the field that has to come next.
    fn field(&mut self, name: &'static str) -> Result<Value<'t>, ParseEventError> {
        let at = self.at;
        let missing = ParseEventError { at, kind: ParseEventErrorKind::Missing(name) };
        self.optional(name).ok_or(missing)
    }
}

impl FromStr for MeasurementEvent {
    type Err = ParseEventError;

    /// Reads one line, without its end, as [`Display`](core::fmt::Display) writes it: an event has
    /// one text only. Any text gives an event or an error.
    fn from_str(line: &str) -> Result<Self, ParseEventError> {
        let mut fields = Fields { line, at: 0 };
        let keyword = fields.word();
        let event = match keyword.text {
            "create" => {
                let dialect = fields.field("dialect")?;
                let refuse = |_| dialect.refuse(ParseEventErrorKind::Dialect);
                let dialect = dialect.text.parse().map_err(refuse)?;
                let granule = match fields.optional("granule") {
                    None => GranuleSize::Size4KiB,
                    Some(Value { text: "0x4000", .. }) => GranuleSize::Size16KiB,
                    Some(Value { text: "0x10000", .. }) => GranuleSize::Size64KiB,
                    Some(other) => return Err(other.refuse(ParseEventErrorKind::Granule)),
                };
                Self::Create { dialect, granule, rim: fields.field("rim")?.digest()? }
            }
            "data" => {
                let ipa = Ipa::new(fields.field("ipa")?.number()?);
                let content = match fields.field("content")? {
                    Value { text: UNMEASURED, .. } => None,
                    content => Some(content.digest()?),
                };
                Self::Data { ipa, content }
            }
            "ripas" => {
                let base = fields.field("base")?;
                let top = fields.field("top")?.number()?;
                let range = IpaRange::new(Ipa::new(base.number()?), Ipa::new(top));
                let range =
                    range.map_err(|error| base.refuse(ParseEventErrorKind::Range(error)))?;
                Self::Ripas { range, level: fields.field("level")?.level()? }
            }
            "rec" => {
                let mpidr = fields.field("mpidr")?;
                let refuse = mpidr.refuse(ParseEventErrorKind::Mpidr);
                let mpidr = Mpidr::from_raw(mpidr.number()?).ok_or(refuse)?;
                Self::Rec { mpidr, content: fields.field("content")?.digest()? }
            }
            _ => return Err(keyword.refuse(ParseEventErrorKind::Keyword)),
        };
        if !fields.rest().is_empty() {
            return Err(ParseEventError { at: fields.at, kind: ParseEventErrorKind::Trailing });
        }
        Ok(event)
    }
}
