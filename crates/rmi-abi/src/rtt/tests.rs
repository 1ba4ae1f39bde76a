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
    let gib = 1 << 30;
    assert_eq!(largest_block(Ipa::new(gib), Pa::new(gib), gib), Some(Level::L1));
    assert_eq!(largest_block(Ipa::new(gib), Pa::new(gib), gib - 1), Some(Level::L2));
    assert_eq!(largest_block(Ipa::new(gib), Pa::new(gib + 0x1000), gib), Some(Level::L3));
    assert_eq!(largest_block(Ipa::new(gib), Pa::new(gib), 0xfff), None);
}
