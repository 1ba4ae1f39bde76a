//! Geometry of Realm translation tables (RTTs): levels, block sizes, start levels, walk arithmetic.
//!
//! Pure functions of the IPA width and the granule size of the RMM, which is the size of its
//! translation tables. Source: DEN0137 1.0-rel0 and 2.0-bet3, "RTT"; start levels as TF-RMM applies
//! the VMSAv8-64 rules.

mod level;
mod shape;

use core::fmt;

pub use level::Level;
pub use shape::TableShape;

use num_enum::{FromPrimitive, IntoPrimitive};

use crate::address::{GranuleSize, Ipa, IpaRange, Pa};
use crate::dialect::Dialect;

/// Entries in one translation table of 4 KiB; see [`Geometry::entries_per_table`].
pub const ENTRIES_PER_TABLE: u64 = 512;

/// The IPA space of a Realm and the tables that translate it.
///
/// A table is one granule of the RMM:
///
/// | Granule | Entries | Level 3 | Level 2 | Level 1 | Level 0 | Level -1 |
/// |---|---|---|---|---|---|---|
/// | 4 KiB | 512 | 4 KiB | 2 MiB | 1 GiB | 512 GiB | 256 TiB |
/// | 16 KiB | 2048 | 16 KiB | 32 MiB | 64 GiB | 128 TiB | - |
/// | 64 KiB | 8192 | 64 KiB | 512 MiB | 4 TiB | - | - |
///
/// ```
/// use rmi_abi::GranuleSize;
/// use rmi_abi::rtt::{Geometry, Level};
///
/// let geometry = Geometry::with_granule(GranuleSize::Size64KiB, 40)?;
/// assert_eq!((geometry.start_level(), geometry.root_tables()), (Level::L2, 1));
/// assert_eq!(geometry.entry_bytes(Level::L2), 512 << 20);
/// # Ok::<(), rmi_abi::rtt::GeometryError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    ipa_width: u8,
    start_level: Level,
    root_tables: u8,
    granule: GranuleSize,
}

/// Why an IPA width and a start level are not compatible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GeometryError {
    /// The width is below 32 or above 52 bits.
    #[non_exhaustive]
    Width {
        /// The width in bits.
        ipa_width: u8,
    },
    /// Not even 16 concatenated tables of this level cover the width, or one entry already does.
    #[non_exhaustive]
    StartLevel {
        /// The width in bits.
        ipa_width: u8,
        /// The start level.
        start_level: Level,
    },
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Width { ipa_width } => {
                write!(f, "an IPA width of {ipa_width} bits is not within 32 to 52")
            }
            Self::StartLevel { ipa_width, start_level } => {
                write!(f, "an IPA width of {ipa_width} bits cannot start at level {start_level}")
            }
        }
    }
}

impl core::error::Error for GeometryError {}

impl Geometry {
    /// Narrowest IPA space an RMM accepts, in bits.
    pub const MIN_IPA_WIDTH: u8 = 32;
    /// Widest IPA space, in bits; above 48 needs LPA2.
    pub const MAX_IPA_WIDTH: u8 = 52;

    /// The geometry with the deepest walk, hence the fewest root tables: one where possible. Tables
    /// have 4 KiB.
    ///
    /// Start level 0 needs 44 physical address bits; see [`Geometry::with_start_level`] otherwise.
    ///
    /// # Errors
    ///
    /// [`GeometryError::Width`] when the width is not within 32 to 52 bits.
    pub const fn new(ipa_width: u8) -> Result<Self, GeometryError> {
        Self::with_granule(GranuleSize::Size4KiB, ipa_width)
    }

    /// As [`Geometry::new`], for tables of one granule of this size.
    ///
    /// # Errors
    ///
    /// [`GeometryError::Width`] when the width is not within 32 to 52 bits.
    pub const fn with_granule(granule: GranuleSize, ipa_width: u8) -> Result<Self, GeometryError> {
        let start_level = match (granule, ipa_width) {
            (GranuleSize::Size4KiB, 32..=39) => Level::L1,
            (GranuleSize::Size4KiB, 40..=48) => Level::L0,
            (GranuleSize::Size4KiB, 49..=52) => Level::MINUS_1,
            (GranuleSize::Size16KiB, 32..=36) => Level::L2,
            // Two tables for 48 bits: level 0 needs LPA2.
            (GranuleSize::Size16KiB, 37..=48) => Level::L1,
            (GranuleSize::Size16KiB, 49..=52) => Level::L0,
            (GranuleSize::Size64KiB, 32..=42) => Level::L2,
            (GranuleSize::Size64KiB, 43..=52) => Level::L1,
            _ => return Err(GeometryError::Width { ipa_width }),
        };
        Self::with_granule_from(granule, ipa_width, start_level)
    }

    /// The geometry with this start level and the concatenated root tables that it needs (1 to 16).
    /// Tables have 4 KiB.
    ///
    /// # Errors
    ///
    /// [`GeometryError::Width`] or [`GeometryError::StartLevel`].
    pub const fn with_start_level(
        ipa_width: u8,
        start_level: Level,
    ) -> Result<Self, GeometryError> {
        Self::with_granule_from(GranuleSize::Size4KiB, ipa_width, start_level)
    }

    /// As [`Geometry::with_start_level`], for tables of one granule of this size.
    ///
    /// # Errors
    ///
    /// [`GeometryError::Width`] or [`GeometryError::StartLevel`].
    pub const fn with_granule_from(
        granule: GranuleSize,
        ipa_width: u8,
        start_level: Level,
    ) -> Result<Self, GeometryError> {
        if ipa_width < Self::MIN_IPA_WIDTH || ipa_width > Self::MAX_IPA_WIDTH {
            return Err(GeometryError::Width { ipa_width });
        }
        let may_start = match (granule, start_level.number()) {
            // It needs LPA2, which is for more than 48 bits; at level -1 an entry has as many.
            (GranuleSize::Size16KiB, 0) => ipa_width > 48,
            // No walk starts at 3.
            (_, level) => level < 3,
        };
        match TableShape::new(granule).root_tables(ipa_width, start_level) {
            Some(root_tables) if may_start => {
                Ok(Self { ipa_width, start_level, root_tables, granule })
            }
            _ => Err(GeometryError::StartLevel { ipa_width, start_level }),
        }
    }

    /// The same geometry, whose granule size is a constant for the compiler where it is known.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub const fn with_known_granule(self, known: Option<GranuleSize>) -> Self {
        match known {
            Some(granule) => Self { granule, ..self },
            None => self,
        }
    }

    /// Granule size of the RMM: the size of a page, and of a table.
    #[must_use]
    pub const fn granule(&self) -> GranuleSize {
        self.granule
    }

    /// Entries of one table: 512, 2048 or 8192.
    #[must_use]
    pub const fn entries_per_table(&self) -> u64 {
        TableShape::new(self.granule).entries()
    }

    /// Binary logarithm of the bytes that one entry of a level covers; at most 63.
    #[must_use]
    pub const fn entry_shift(&self, level: Level) -> u32 {
        let bits = TableShape::new(self.granule).shift_of(level);
        // Only a level that does not exist has more.
        if bits > 63 { 63 } else { bits }
    }

    /// Bytes that one entry of a level covers.
    #[must_use]
    pub const fn entry_bytes(&self, level: Level) -> u64 {
        1 << self.entry_shift(level)
    }

    /// Bytes that one whole table of a level covers; at most 2 to the power of 63.
    #[must_use]
    pub const fn table_bytes(&self, level: Level) -> u64 {
        let bits = self.entry_shift(level) + TableShape::new(self.granule).index_bits();
        1 << if bits > 63 { 63 } else { bits }
    }

    /// The smallest level at which one block may map `ipa` to `pa`, where `bytes` are contiguous.
    ///
    /// This is the level of the largest block, from 1 to 3, for which both addresses are aligned
    /// and enough bytes remain; `None` when not even a page fits.
    #[must_use]
    pub fn largest_block(&self, ipa: Ipa, pa: Pa, bytes: u64) -> Option<Level> {
        [Level::L1, Level::L2, Level::L3].into_iter().find(|level| {
            let size = self.entry_bytes(*level);
            ipa.is_aligned(size) && pa.is_aligned(size) && bytes >= size
        })
    }

    /// Width of the IPA space in bits.
    #[must_use]
    #[doc(alias = "s2sz")]
    pub const fn ipa_width(&self) -> u8 {
        self.ipa_width
    }

    /// Level of the root tables.
    #[must_use]
    #[doc(alias = "rtt_level_start")]
    pub const fn start_level(&self) -> Level {
        self.start_level
    }

    /// Number of root tables: 1, 2, 4, 8 or 16 granules, contiguous, aligned to their total size.
    #[must_use]
    #[doc(alias = "rtt_num_start")]
    pub const fn root_tables(&self) -> u8 {
        self.root_tables
    }

    /// First IPA that does not exist: 2 to the power of the width.
    #[must_use]
    pub const fn end(&self) -> Ipa {
        Ipa::new(1 << self.ipa_width)
    }

    /// First IPA of the unprotected half; everything below is protected.
    #[must_use]
    pub const fn unprotected_base(&self) -> Ipa {
        Ipa::new(1 << (self.ipa_width - 1))
    }

    /// Whether an IPA lies in the protected half.
    #[must_use]
    pub const fn is_protected(&self, ipa: Ipa) -> bool {
        ipa.raw() < self.unprotected_base().raw()
    }

    /// Whether an IPA lies in the unprotected half (and exists).
    #[must_use]
    pub const fn is_unprotected(&self, ipa: Ipa) -> bool {
        !self.is_protected(ipa) && ipa.raw() < self.end().raw()
    }

    /// The unprotected IPA that aliases a protected one: the same address with the top bit set.
    #[must_use]
    pub const fn unprotected_alias(&self, ipa: Ipa) -> Option<Ipa> {
        if self.is_protected(ipa) {
            Some(Ipa::new(ipa.raw() | self.unprotected_base().raw()))
        } else {
            None
        }
    }

    /// Whether a whole range lies in the protected half.
    #[must_use]
    pub fn range_is_protected(&self, range: &IpaRange) -> bool {
        range.top() <= self.unprotected_base()
    }

    /// Whether a whole range lies in the unprotected half.
    #[must_use]
    pub fn range_is_unprotected(&self, range: &IpaRange) -> bool {
        range.base() >= self.unprotected_base() && range.top() <= self.end()
    }

    /// Index of the entry that covers `ipa` in the table of `level`; at the start level it counts
    /// through all root tables.
    #[must_use]
    pub const fn entry_index(&self, ipa: Ipa, level: Level) -> u64 {
        let index = ipa.raw() >> self.entry_shift(level);
        if level.number() == self.start_level.number() {
            index
        } else {
            index & (self.entries_per_table() - 1)
        }
    }

    /// The tables on a walk to `level`, from the root: each level, with the index of the entry.
    pub fn walk(&self, ipa: Ipa, level: Level) -> impl Iterator<Item = (Level, u64)> + use<> {
        let geometry = *self;
        let mut next = Some(self.start_level).filter(|start| *start <= level);
        core::iter::from_fn(move || {
            let here = next?;
            next = here.child().filter(|child| *child <= level);
            Some((here, geometry.entry_index(ipa, here)))
        })
    }

    /// Alignment and size in bytes of the contiguous root tables.
    #[must_use]
    #[doc(alias = "rtt_base")]
    pub const fn root_bytes(&self) -> u64 {
        self.root_tables as u64 * self.granule.bytes()
    }

    /// Levels at which tables may be created: below the root tables, down to the pages.
    pub fn table_levels(&self) -> impl Iterator<Item = Level> + use<> {
        core::iter::successors(self.start_level.child(), |level| level.child())
    }

    /// Base of the range that the table of `level` containing `ipa` covers.
    #[must_use]
    pub const fn table_base(&self, ipa: Ipa, level: Level) -> Ipa {
        if level.number() <= self.start_level.number() {
            Ipa::new(0)
        } else {
            ipa.align_down(self.table_bytes(level))
        }
    }
}

/// The state of a translation table entry, as `RMI_RTT_READ_ENTRY` reports it.
///
/// Source: DEN0137 2.0-bet3, `RmiRttEntryState`. Sources disagree on 4 and 5, which stay numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiRttEntryState")]
#[non_exhaustive]
pub enum RttEntryState {
    /// Nothing is mapped.
    #[doc(alias = "RMI_UNASSIGNED")]
    #[doc(alias = "VOID")]
    #[doc(alias = "UNASSIGNED")]
    Void = 0,
    /// Memory is mapped.
    #[doc(alias = "RMI_ASSIGNED")]
    #[doc(alias = "DATA")]
    #[doc(alias = "ASSIGNED")]
    Data = 1,
    /// A table of the next level.
    #[doc(alias = "RMI_TABLE")]
    Table = 2,
    /// Device memory is mapped.
    #[doc(alias = "ASSIGNED_DEV")]
    #[doc(alias = "NARCH_DEV")]
    NarchDev = 3,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

impl RttEntryState {
    /// Whether an auxiliary tree's entry was lost: code 4 in 2.0-bet0, 5 in TF-RMM (July 2026).
    #[must_use]
    #[doc(alias = "AUX_DESTROYED")]
    pub const fn is_aux_destroyed(self, dialect: Dialect) -> bool {
        matches!(
            (self, dialect),
            (Self::Unknown(4), Dialect::V2_0Bet0) | (Self::Unknown(5), Dialect::TfRmm2026_07)
        )
    }

    /// Whether an architected device is mapped: 5 in 2.0-bet0, without a code in other dialects.
    #[must_use]
    #[doc(alias = "ARCH_DEV")]
    pub const fn is_arch_dev(self, dialect: Dialect) -> bool {
        matches!((self, dialect), (Self::Unknown(5), Dialect::V2_0Bet0))
    }
}

/// The Realm IPA state (RIPAS).
///
/// Source: DEN0137 2.0-bet3, `RmiRipas`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiRipas")]
#[non_exhaustive]
#[doc(alias = "RsiRipas")]
pub enum Ripas {
    /// Not used by the Realm; an access causes an abort that the Realm takes.
    #[doc(alias = "RMI_EMPTY")]
    #[doc(alias = "RSI_EMPTY")]
    Empty = 0,
    /// Private memory of the Realm.
    #[doc(alias = "RMI_RAM")]
    #[doc(alias = "RSI_RAM")]
    Ram = 1,
    /// Memory that the host has removed.
    #[doc(alias = "RMI_DESTROYED")]
    #[doc(alias = "RSI_DESTROYED")]
    Destroyed = 2,
    /// Memory of an assigned device.
    #[doc(alias = "RMI_DEV")]
    #[doc(alias = "RSI_DEV")]
    Dev = 3,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

#[cfg(test)]
mod tests;
