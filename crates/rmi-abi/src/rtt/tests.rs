//! Start levels, halves and sizes of the tables.

use super::*;

#[test]
fn each_root_entry_is_in_one_half() {
    let mut count = 0;
    for level in -1..=2 {
        for width in 32..=52 {
            let level = Level::new(level).unwrap();
            if let Ok(geometry) = Geometry::with_start_level(width, level) {
                assert!(geometry.unprotected_base().is_aligned(level.entry_bytes()));
                count += 1;
            }
        }
    }
    // 4 at level -1, 13 at level 0, 12 at level 1 and 3 at level 2.
    assert_eq!(count, 32);
}

#[test]
fn start_levels_match_the_reference_table() {
    // rmi-v1 section 6: start level, width, root tables.
    for (level, width, tables) in [
        (2, 32, Some(4)),
        (2, 33, Some(8)),
        (2, 34, Some(16)),
        (2, 35, None),
        (1, 32, Some(1)),
        (1, 39, Some(1)),
        (1, 40, Some(2)),
        (1, 43, Some(16)),
        (1, 44, None),
        (0, 39, None),
        (0, 40, Some(1)),
        (0, 48, Some(1)),
        (0, 49, Some(2)),
        (0, 52, Some(16)),
        (-1, 48, None),
        (-1, 49, Some(1)),
        (-1, 52, Some(1)),
        (3, 32, None),
    ] {
        let level = Level::new(level).unwrap();
        let got = Geometry::with_start_level(width, level).ok().map(|g| g.root_tables());
        assert_eq!(got, tables, "level {level}, width {width}");
    }
}

#[test]
fn a_walk_visits_each_level_once() {
    let geometry = Geometry::with_start_level(40, Level::L1).unwrap();
    let ipa = Ipa::new((513 << 30) | (3 << 21) | (7 << 12));
    let mut walk = geometry.walk(ipa, Level::L3);
    assert_eq!(walk.next(), Some((Level::L1, 513)));
    assert_eq!(walk.next(), Some((Level::L2, 3)));
    assert_eq!(walk.next(), Some((Level::L3, 7)));
    assert_eq!(walk.next(), None);
    assert_eq!(geometry.walk(ipa, Level::L0).next(), None);
    assert_eq!(geometry.root_bytes(), 0x2000);
    assert!(geometry.table_levels().eq([Level::L2, Level::L3]));
    assert_eq!(Level::of_block(Level::L2.block_size().unwrap()), Level::L2);
}

#[test]
fn levels_outside_the_range_do_not_exist() {
    assert_eq!(Level::new(4), None);
    assert_eq!(Level::new(-2), None);
    assert_eq!(Level::from_register(u64::MAX), Some(Level::MINUS_1));
    assert_eq!(Level::from_register(1 << 32), None);
    assert_eq!(Level::L2.entry_bytes(), 0x20_0000);
    assert_eq!(Level::MINUS_1.entry_shift(), 48);
}

#[test]
fn blocks_are_as_large_as_alignment_and_length_allow() {
    let sizes = [
        (GranuleSize::Size4KiB, [12, 21, 30]),
        (GranuleSize::Size16KiB, [14, 25, 36]),
        (GranuleSize::Size64KiB, [16, 29, 42]),
    ];
    for (granule, [page, block, large]) in sizes {
        let geometry = Geometry::with_granule(granule, 48).unwrap();
        let bytes = 1 << large;
        let largest = |pa, bytes| geometry.largest_block(Ipa::new(1 << large), Pa::new(pa), bytes);
        assert_eq!(largest(bytes, bytes), Some(Level::L1));
        assert_eq!(largest(bytes, bytes - 1), Some(Level::L2));
        assert_eq!(largest(bytes + (1 << block), bytes), Some(Level::L2));
        assert_eq!(largest(bytes + (1 << page), bytes), Some(Level::L3));
        assert_eq!(largest(bytes, (1 << page) - 1), None);
        assert_eq!(largest(bytes + (1 << page) / 2, bytes), None);
    }
}

#[test]
fn start_levels_of_larger_granules() {
    let (middle, large) = (GranuleSize::Size16KiB, GranuleSize::Size64KiB);
    for (granule, level, width, tables) in [
        (middle, 2, 32, Some(1)),
        (middle, 2, 36, Some(1)),
        (middle, 2, 37, Some(2)),
        (middle, 2, 40, Some(16)),
        (middle, 2, 41, None),
        (middle, 1, 36, None),
        (middle, 1, 37, Some(1)),
        (middle, 1, 47, Some(1)),
        (middle, 1, 48, Some(2)),
        (middle, 1, 51, Some(16)),
        (middle, 1, 52, None),
        (middle, 0, 48, None),
        (middle, 0, 49, Some(1)),
        (middle, 0, 52, Some(1)),
        (middle, -1, 52, None),
        (middle, 3, 32, None),
        (large, 2, 32, Some(1)),
        (large, 2, 42, Some(1)),
        (large, 2, 43, Some(2)),
        (large, 2, 46, Some(16)),
        (large, 2, 47, None),
        (large, 1, 42, None),
        (large, 1, 43, Some(1)),
        (large, 1, 52, Some(1)),
        (large, 0, 52, None),
        (large, -1, 52, None),
        (large, 3, 32, None),
        (large, 1, 53, None),
        (large, 2, 31, None),
    ] {
        let level = Level::new(level).unwrap();
        let got = Geometry::with_granule_from(granule, width, level).ok();
        assert_eq!(got.map(|g| g.root_tables()), tables, "{granule:?} {level} {width}");
        assert_eq!(got.map(|g| g.granule()), tables.map(|_| granule));
    }
    for (granule, widths, level) in [
        (middle, 32..=36, Level::L2),
        (middle, 37..=48, Level::L1),
        (middle, 49..=52, Level::L0),
        (large, 32..=42, Level::L2),
        (large, 43..=52, Level::L1),
    ] {
        for width in widths {
            let geometry = Geometry::with_granule(granule, width).unwrap();
            assert_eq!(geometry.start_level(), level, "{width}");
            let two = granule == middle && width == 48;
            assert_eq!(geometry.root_tables(), if two { 2 } else { 1 }, "{width}");
            assert_eq!(geometry.root_bytes(), granule.bytes() << u32::from(two));
            assert!(geometry.unprotected_base().is_aligned(geometry.entry_bytes(level)));
        }
        for width in [31, 53] {
            assert!(Geometry::with_granule(granule, width).is_err());
        }
    }
}

#[test]
fn entries_and_tables_have_the_sizes_of_the_granule() {
    for (granule, entries, bytes) in [
        (GranuleSize::Size4KiB, 512, [12, 21, 30, 39, 48]),
        (GranuleSize::Size16KiB, 2048, [14, 25, 36, 47, 58]),
        // No tables have a level of 2 to the power of 68.
        (GranuleSize::Size64KiB, 8192, [16, 29, 42, 55, 63]),
    ] {
        let geometry = Geometry::with_granule(granule, 48).unwrap();
        assert_eq!(geometry.entries_per_table(), entries);
        let mut level = Level::L3;
        for (n, shift) in bytes.into_iter().enumerate() {
            assert_eq!(geometry.entry_shift(level), shift);
            assert_eq!(geometry.entry_bytes(level), 1 << shift);
            let table = bytes.get(n + 1).copied().unwrap_or(63.min(shift + entries.ilog2()));
            assert_eq!(geometry.table_bytes(level), 1 << table, "{granule:?} {level}");
            level = level.parent().unwrap_or(level);
        }
        if granule == GranuleSize::Size4KiB {
            for level in [Level::MINUS_1, Level::L0, Level::L1, Level::L2, Level::L3] {
                assert_eq!(geometry.entry_bytes(level), level.entry_bytes());
                assert_eq!(geometry.table_bytes(level), level.table_bytes());
            }
        }
    }
    let geometry = Geometry::with_granule(GranuleSize::Size16KiB, 48).unwrap();
    let ipa = Ipa::new((2049 << 36) | (2047 << 25) | (5 << 14));
    let walk = geometry.walk(ipa, Level::L3);
    assert!(walk.eq([(Level::L1, 2049), (Level::L2, 2047), (Level::L3, 5)]));
    assert_eq!(geometry.table_base(ipa, Level::L3).raw(), (2049 << 36) | (2047 << 25));
    assert_eq!(geometry.table_base(ipa, Level::L2).raw(), 2049 << 36);
    assert_eq!(geometry.table_base(ipa, Level::L1).raw(), 0);
}
