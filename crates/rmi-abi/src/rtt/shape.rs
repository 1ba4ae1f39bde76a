//! Table geometry for every granule size.

use super::Level;
use crate::address::{GranuleSize, Ipa};

/// The shape of translation tables made of granules of one size.
///
/// The tables of a Realm, which have the granule size of its RMM, are a
/// [`Geometry`](super::Geometry); the same rules give the block sizes of address range descriptors.
/// Source: Arm ARM, VMSAv8-64 translation tables.
///
/// | Granule | Entries | Level 3 | Level 2 | Level 1 | Level 0 | Level -1 |
/// |---|---|---|---|---|---|---|
/// | 4 KiB | 512 | 4 KiB | 2 MiB | 1 GiB | 512 GiB | 256 TiB |
/// | 16 KiB | 2048 | 16 KiB | 32 MiB | 64 GiB | 128 TiB | - |
/// | 64 KiB | 8192 | 64 KiB | 512 MiB | 4 TiB | - | - |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableShape {
    granule: GranuleSize,
}

impl TableShape {
    /// Largest number of concatenated root tables.
    pub const MAX_ROOT_TABLES: u8 = 16;

    /// The shape of tables with this granule size.
    #[must_use]
    pub const fn new(granule: GranuleSize) -> Self {
        Self { granule }
    }

    /// Bits of an address that one level resolves: 9, 11 or 13.
    #[must_use]
    pub const fn index_bits(self) -> u32 {
        self.granule.shift() - 3
    }

    /// Entries of one table.
    #[must_use]
    pub const fn entries(self) -> u64 {
        1 << self.index_bits()
    }

    /// The level nearest to the root that exists with this granule size: -1, 0 or 1.
    #[must_use]
    pub const fn first_level(self) -> Level {
        match self.granule {
            GranuleSize::Size4KiB => Level::MINUS_1,
            GranuleSize::Size16KiB => Level::L0,
            GranuleSize::Size64KiB => Level::L1,
        }
    }

    /// Binary logarithm of the bytes that one entry of `level` covers; `None` for a level that does
    /// not exist with this granule size.
    #[must_use]
    pub const fn entry_shift(self, level: Level) -> Option<u32> {
        if level.number() < self.first_level().number() {
            return None;
        }
        Some(self.shift_of(level))
    }

    /// The same as if every level existed.
    pub(super) const fn shift_of(self, level: Level) -> u32 {
        let levels_up = (3 - level.number()).cast_unsigned() as u32;
        self.granule.shift() + self.index_bits() * levels_up
    }

    /// Bytes that one entry of `level` covers.
    #[must_use]
    pub const fn entry_bytes(self, level: Level) -> Option<u64> {
        match self.entry_shift(level) {
            Some(shift) => Some(1 << shift),
            None => None,
        }
    }

    /// Index of the entry that covers `ipa` in its table of `level`, which is not a start level.
    #[must_use]
    pub const fn entry_index(self, ipa: Ipa, level: Level) -> Option<u64> {
        match self.entry_shift(level) {
            Some(shift) => Some((ipa.raw() >> shift) & (self.entries() - 1)),
            None => None,
        }
    }

    /// Index of the entry that covers `ipa` in the root tables, which start at `level`; it counts
    /// through all of them.
    #[must_use]
    pub const fn root_index(self, ipa: Ipa, level: Level) -> Option<u64> {
        match self.entry_shift(level) {
            Some(shift) => Some(ipa.raw() >> shift),
            None => None,
        }
    }

    /// Number of root tables that an IPA space of `width` bits needs when the walk starts at
    /// `level`: 1, 2, 4, 8 or 16.
    ///
    /// `None` when no number of them is possible: the level does not exist, one of its entries
    /// already covers the space, or more than 16 would be needed; tables above level 0 cannot be
    /// concatenated.
    #[must_use]
    pub const fn root_tables(self, width: u8, level: Level) -> Option<u8> {
        let Some(shift) = self.entry_shift(level) else { return None };
        let width = width as u32;
        if width > 52 || width <= shift {
            return None;
        }
        let extra = width.saturating_sub(shift + self.index_bits());
        let most = if level.number() < 0 { 0 } else { 4 };
        if extra > most { None } else { Some(1 << extra) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desc::BlockSize;
    use crate::rtt::Geometry;

    const LEVELS: [Level; 5] = [Level::MINUS_1, Level::L0, Level::L1, Level::L2, Level::L3];

    #[test]
    fn four_kib_tables_are_those_of_geometry() {
        let shape = TableShape::new(GranuleSize::Size4KiB);
        assert_eq!(shape.entries(), crate::rtt::ENTRIES_PER_TABLE);
        for level in LEVELS {
            assert_eq!(shape.entry_bytes(level), Some(level.entry_bytes()));
            for width in 32..=52 {
                let geometry = Geometry::with_start_level(width, level).ok();
                let tables = geometry.map(|geometry| geometry.root_tables());
                assert_eq!(shape.root_tables(width, level), tables, "{level} {width}");
                if let Some(geometry) = geometry {
                    let ipa = Ipa::new(geometry.end().raw() - 1);
                    assert_eq!(
                        shape.root_index(ipa, level),
                        Some(geometry.entry_index(ipa, level))
                    );
                }
            }
        }
    }

    #[test]
    fn blocks_of_descriptors_are_what_entries_cover() {
        let blocks = [Level::L3, Level::L2, Level::L1, Level::L0].into_iter().zip(BlockSize::ALL);
        for granule in [GranuleSize::Size4KiB, GranuleSize::Size16KiB, GranuleSize::Size64KiB] {
            for (level, block) in blocks.clone() {
                if let Some(bytes) = TableShape::new(granule).entry_bytes(level) {
                    assert_eq!(bytes, block.bytes(granule));
                }
            }
        }
    }

    #[test]
    fn larger_granules_have_fewer_levels() {
        let large = TableShape::new(GranuleSize::Size64KiB);
        assert_eq!(large.entry_bytes(Level::L0), None);
        assert_eq!(large.entry_bytes(Level::L1), Some(4 << 40));
        assert_eq!(large.root_tables(52, Level::L1), Some(1));
        assert_eq!(large.root_tables(48, Level::L2), None);
        assert_eq!(large.root_tables(46, Level::L2), Some(16));
        let middle = TableShape::new(GranuleSize::Size16KiB);
        assert_eq!(middle.entry_bytes(Level::L0), Some(128 << 40));
        assert_eq!(middle.root_tables(48, Level::L1), Some(2));
        assert_eq!(middle.root_tables(52, Level::L0), Some(1));
        assert_eq!(middle.entry_index(Ipa::new(0x200_0000), Level::L2), Some(1));
    }
}
