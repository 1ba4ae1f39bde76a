//! Levels of translation tables.

use core::fmt;

use crate::desc::BlockSize;

/// A translation table level, from -1 (only with LPA2, only as the start level) to 3 (pages).
///
/// What an entry covers depends on the granule size: the methods here are for 4 KiB, those of
/// [`Geometry`](super::Geometry) for any size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub(super) i8);

impl Level {
    /// Level -1: 256 TiB per entry with 4 KiB granules.
    pub const MINUS_1: Self = Self(-1);
    /// Level 0: 512 GiB per entry with 4 KiB granules.
    pub const L0: Self = Self(0);
    /// Level 1: 1 GiB per entry with 4 KiB granules.
    pub const L1: Self = Self(1);
    /// Level 2: 2 MiB per entry with 4 KiB granules.
    pub const L2: Self = Self(2);
    /// Level 3: a granule per entry, a page.
    pub const L3: Self = Self(3);

    /// The level with that number, -1 to 3.
    #[must_use]
    pub const fn new(number: i8) -> Option<Self> {
        if number >= -1 && number <= 3 { Some(Self(number)) } else { None }
    }

    /// The level of a 64-bit signed register value, -1 to 3.
    #[must_use]
    pub fn from_register(value: u64) -> Option<Self> {
        i8::try_from(value.cast_signed()).ok().and_then(Self::new)
    }

    /// The number, -1 to 3.
    #[must_use]
    pub const fn number(self) -> i8 {
        self.0
    }

    /// The number as a 64-bit signed register value.
    #[must_use]
    pub fn to_register(self) -> u64 {
        i64::from(self.0).cast_unsigned()
    }

    /// Binary logarithm of the bytes that one entry covers with 4 KiB granules: 12 at level 3, 9
    /// more per level up.
    #[must_use]
    pub const fn entry_shift(self) -> u32 {
        12 + 9 * (3 - self.0).cast_unsigned() as u32
    }

    /// Bytes that one entry of this level covers with 4 KiB granules.
    #[must_use]
    pub const fn entry_bytes(self) -> u64 {
        1 << self.entry_shift()
    }

    /// Bytes that one whole table of this level (512 entries) covers with 4 KiB granules.
    #[must_use]
    pub const fn table_bytes(self) -> u64 {
        1 << (self.entry_shift() + 9)
    }

    /// The next level towards the pages; `None` below level 3.
    #[must_use]
    pub const fn child(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }

    /// The next level towards the root; `None` above level -1.
    #[must_use]
    pub const fn parent(self) -> Option<Self> {
        Self::new(self.0 - 1)
    }

    /// Whether this level may have mappings: 1, 2 and 3.
    #[must_use]
    pub const fn may_map(self) -> bool {
        self.0 >= 1
    }
}

impl Level {
    /// The level whose entries cover as much as a block of this size, with the same granule size.
    #[must_use]
    pub const fn of_block(size: BlockSize) -> Self {
        match size {
            BlockSize::Page => Self::L3,
            BlockSize::Level2 => Self::L2,
            BlockSize::Level1 => Self::L1,
            BlockSize::Level0 => Self::L0,
        }
    }

    /// The block size of a mapping at this level; `None` at level -1.
    #[must_use]
    pub const fn block_size(self) -> Option<BlockSize> {
        match self.0 {
            3 => Some(BlockSize::Page),
            2 => Some(BlockSize::Level2),
            1 => Some(BlockSize::Level1),
            0 => Some(BlockSize::Level0),
            _ => None,
        }
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Level({})", self.0)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
