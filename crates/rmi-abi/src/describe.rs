//! Layouts, enumerations and bit fields as data: the names, numbers and positions of every dialect.
//!
//! The typed modules define what a word means; these tables contain names and positions. The tracer
//! prints with them, the `abi_json` example exports them, and the tests compare both with the typed
//! modules and the oracles.

mod bits;
mod enums;
mod structs;

pub use bits::REGISTERS;
pub use enums::ENUMERATIONS;
pub use structs::STRUCTURES;

use crate::dialect::{Dialect, DialectSet};

/// The layout of a structure in memory.
///
/// `S` is the set in which it exists: dialects for the RMI, versions for the RSI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Structure<S: 'static = DialectSet> {
    /// Name of the type in the specification, for example `RmiRecExit`.
    pub name: &'static str,
    /// Size in bytes.
    pub size: usize,
    /// Alignment in memory that RMM and host share, in bytes. The struct itself may have less: it
    /// is copied there, and a stack frame that is aligned to a page wastes most of a page.
    pub align: usize,
    /// The dialects that have this layout.
    pub dialects: S,
    /// The dialects for which it is known from one weak source only.
    pub unsure: S,
    /// Its fields, by offset; a field that dialects name differently has one row for each name.
    pub fields: &'static [Field<S>],
}

/// One field of a [`Structure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field<S: 'static = DialectSet> {
    /// Name of the field in the specification.
    pub name: &'static str,
    /// Offset in bytes.
    pub offset: usize,
    /// Width in bytes; all elements of an array together.
    pub width: usize,
    /// The dialects that have it.
    pub dialects: S,
}

/// An enumeration: names for numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Enumeration {
    /// Name of the type in the specification, for example `RmiRipas`.
    pub name: &'static str,
    /// Its values, in all dialects.
    pub values: &'static [Value],
}

/// One value of an [`Enumeration`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Value {
    /// Name of the value, as the sources of these dialects spell it.
    pub name: &'static str,
    /// The number.
    pub number: i64,
    /// The dialects that have it.
    pub dialects: DialectSet,
}

/// A word of bit fields: a flag word, a feature register, a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Register {
    /// Name of the type in the specification, for example `RmiDataFlags`.
    pub name: &'static str,
    /// Its fields, in all dialects.
    pub fields: &'static [Bits],
}

/// One field of a [`Register`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bits {
    /// Name of the field in the specification.
    pub name: &'static str,
    /// Position of its least significant bit.
    pub lsb: u8,
    /// Position of its most significant bit.
    pub msb: u8,
    /// The dialects that have it there.
    pub dialects: DialectSet,
    /// The enumeration that the field's value belongs to, if it is not a number or a flag.
    pub kind: Option<&'static str>,
}

impl Structure {
    /// The fields that `dialect` has.
    pub fn fields(&self, dialect: Dialect) -> impl Iterator<Item = &'static Field> + use<> {
        self.fields.iter().filter(move |field| field.dialects.contains(dialect))
    }
}

impl Enumeration {
    /// The enumeration with that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        ENUMERATIONS.iter().find(|enumeration| enumeration.name == name)
    }

    /// The values that `dialect` has.
    pub fn values(&self, dialect: Dialect) -> impl Iterator<Item = &'static Value> + use<> {
        self.values.iter().filter(move |value| value.dialects.contains(dialect))
    }

    /// The name of a number in `dialect`.
    #[must_use]
    pub fn name_of(&self, number: i64, dialect: Dialect) -> Option<&'static str> {
        self.values(dialect).find(|value| value.number == number).map(|value| value.name)
    }
}

impl Register {
    /// The register with that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        REGISTERS.iter().find(|register| register.name == name)
    }

    /// The fields that `dialect` has.
    pub fn fields(&self, dialect: Dialect) -> impl Iterator<Item = &'static Bits> + use<> {
        self.fields.iter().filter(move |field| field.dialects.contains(dialect))
    }

    /// The bits that `dialect` defines.
    #[must_use]
    pub fn known(&self, dialect: Dialect) -> u64 {
        self.fields(dialect).fold(0, |mask, field| mask | field.mask())
    }
}

impl Bits {
    /// Number of bits.
    #[must_use]
    pub const fn width(&self) -> u8 {
        self.msb - self.lsb + 1
    }

    /// The field's bits, set in place.
    #[must_use]
    pub const fn mask(&self) -> u64 {
        (u64::MAX >> (64 - self.width() as u32)) << self.lsb
    }

    /// The field's value in `word`.
    #[must_use]
    pub const fn get(&self, word: u64) -> u64 {
        (word & self.mask()) >> self.lsb
    }
}
