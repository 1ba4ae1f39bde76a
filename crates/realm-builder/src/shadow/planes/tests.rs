extern crate std;

use std::vec::Vec;

use rmi_abi::rtt::Geometry;
use rmi_host::Platform;
use rmm_model::{Model, Options};

use super::*;
use crate::shadow::shape::AnyShape;
use crate::shadow::storage::{FixedRecords, Records, ShadowTable};
use crate::shadow::{ENTRIES, NO_TABLE, tag};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// Where the unprotected half begins.
const SHARED: u64 = 1 << 38;

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

fn at(level: Level, base: u64) -> At {
    At { table: 0, index: 0, level, shift: (level.entry_shift() & 63) as u8, base: Ipa::new(base) }
}

fn tree(number: u8) -> AuxTree {
    AuxTree::new(number).unwrap()
}

fn shadow_tables(count: usize) -> Vec<ShadowTable> {
    std::iter::repeat_with(ShadowTable::new).take(count).collect()
}

/// A shadow with one root table for each tree, the entries of which are of 1 GiB.
fn shadow(aux_trees: u8, tables: &mut [ShadowTable]) -> Shadow<'_, AnyShape> {
    let geometry = Geometry::with_start_level(39, Level::L1).unwrap();
    let fixed = std::boxed::Box::leak(std::boxed::Box::new(FixedRecords::new()));
    Shadow::<AnyShape>::new(geometry, aux_trees, Records::new(fixed, tables, &mut [])).unwrap()
}

#[test]
fn a_number_is_that_of_a_table_or_says_what_an_entry_shows() {
    for (number, expected) in [
        (0, false),
        (1, true),
        (UNSURE - 1, true),
        (UNSURE, false),
        (SHOWN, false),
        (NO_TABLE, false),
    ] {
        assert_eq!(is_table(number), expected, "{number:#x}");
    }
    assert_ne!(SHOWN, UNSURE);
}

#[test]
fn a_row_takes_the_entry_that_follows() {
    for sure in [true, false] {
        let row = Row::of(at(Level::L3, 0x1000), sure);
        assert_eq!(row, Row { range: range(0x1000, 0x1000), level: Level::L3, shift: 12, sure });
        assert_eq!(row.entries(), 1);
        let longer = row.with(at(Level::L3, 0x2000)).unwrap();
        assert_eq!(longer, Row { range: range(0x1000, 0x2000), level: Level::L3, shift: 12, sure });
        assert_eq!((longer.entries(), longer.first()), (2, row));
        assert_eq!(longer.with(at(Level::L3, 0x3000)).unwrap().entries(), 3);
        assert_eq!(row.with(at(Level::L3, 0x3000)), None);
        assert_eq!(row.with(at(Level::L3, 0)), None);
        assert_eq!(row.with(at(Level::L2, 0x2000)), None);
        assert_eq!((longer.count(0x1000), longer.count(0x2000), longer.count(2 * MIB)), (2, 2, 1));
    }
}

#[test]
fn a_row_is_split_at_any_address() {
    let row = Row { range: range(2 * MIB, 6 * MIB), level: Level::L2, shift: 21, sure: true };
    let split = |reached: u64| row.split(Ipa::new(reached));
    for (reached, whole, part) in [
        (0, 0, None),
        (2 * MIB, 0, None),
        (3 * MIB, 0, Some(2 * MIB)),
        (4 * MIB, 2 * MIB, None),
        (5 * MIB, 2 * MIB, Some(4 * MIB)),
        (8 * MIB, 6 * MIB, None),
        (9 * MIB, 6 * MIB, None),
    ] {
        let end = Ipa::new(2 * MIB + whole);
        let part = part.map_or(IpaRange::empty(end), |base| range(base, 2 * MIB));
        assert_eq!(split(reached), (range(2 * MIB, whole), part), "{reached:#x}");
    }
}

#[test]
fn what_trees_show_is_counted() {
    let mut tables = shadow_tables(3);
    let mut shadow = shadow(2, &mut tables);
    assert!(shadow.aux_trees().eq([tree(1), tree(2)]));
    assert_eq!((shadow.shows_anything(), shadow.refers()), (false, false));
    // Twice the same, in both trees and both halves.
    for number in [1, 2] {
        for shows in [Shows::Memory, Shows::Memory, Shows::Perhaps] {
            shadow.note(tree(number), range(GIB, GIB), shows);
            assert_eq!((shadow.shows_anything(), shadow.refers()), (true, number == 2));
        }
        for shows in [Shows::Perhaps, Shows::Memory, Shows::Memory] {
            shadow.note(tree(number), range(SHARED, GIB), shows);
            assert_eq!((shadow.shows_anything(), shadow.refers()), (true, true));
        }
    }
    shadow.note(tree(1), range(GIB, GIB), Shows::Nothing);
    shadow.note(tree(2), range(SHARED, GIB), Shows::Nothing);
    assert_eq!((shadow.shows_anything(), shadow.refers()), (true, true));
    shadow.note(tree(1), range(SHARED, GIB), Shows::Nothing);
    assert_eq!((shadow.shows_anything(), shadow.refers()), (true, false));
    shadow.note(tree(2), range(GIB, GIB), Shows::Nothing);
    assert_eq!((shadow.shows_anything(), shadow.refers()), (false, false));
    assert!(shadow.first().is_none());
}

#[test]
fn entries_that_a_range_cuts_are_not_noted() {
    let mut tables = shadow_tables(2);
    let mut shadow = shadow(1, &mut tables);
    shadow.note(tree(1), range(GIB / 2, 2 * GIB), Shows::Memory);
    let row = shadow.shown_row(tree(1), Ipa::new(0), Ipa::new(4 * GIB), 9).unwrap();
    assert_eq!(row.range, range(GIB, GIB));

    // It stops at the end of the range, and when the budget is spent.
    let mut from = Ipa::new(0);
    let whole = range(0, 2 * GIB);
    shadow.note_some(tree(1), &mut from, whole, Shows::Memory, &mut Budget::new());
    assert_eq!(from, whole.top());
    let mut budget = Budget::new();
    shadow.note_some(tree(1), &mut from, whole, Shows::Memory, &mut budget);
    assert_eq!(from, whole.top());
    budget.spend(ENTRIES as u64 - 1);
    from = Ipa::new(0);
    shadow.note_some(tree(1), &mut from, whole, Shows::Memory, &mut budget);
    assert_eq!(from, Ipa::new(GIB));
}

#[test]
fn the_row_of_what_is_shown_ends_at_a_gap_and_at_a_doubt() {
    let mut tables = shadow_tables(2);
    let mut shadow = shadow(1, &mut tables);
    let row = |shadow: &Shadow<'_, AnyShape>, from: u64, top: u64, most| {
        shadow.shown_row(tree(1), Ipa::new(from * GIB), Ipa::new(top * GIB), most)
    };
    assert_eq!(row(&shadow, 0, 512, 9), None);
    shadow.note(tree(1), range(2 * GIB, 3 * GIB), Shows::Memory);
    shadow.note(tree(1), range(5 * GIB, GIB), Shows::Perhaps);
    shadow.note(tree(1), range(7 * GIB, 2 * GIB), Shows::Memory);
    for ((from, top, most), expected) in [
        ((0, 512, 9), Some((2, 3, true))),
        ((0, 512, 3), Some((2, 3, true))),
        ((0, 512, 2), Some((2, 2, true))),
        ((0, 512, 1), Some((2, 1, true))),
        ((0, 4, 9), Some((2, 2, true))),
        ((0, 2, 9), None),
        ((2, 2, 9), None),
        ((4, 512, 9), Some((4, 1, true))),
        ((5, 512, 9), Some((5, 1, false))),
        ((6, 512, 9), Some((7, 2, true))),
        ((9, 512, 9), None),
    ] {
        let expected = expected.map(|(base, entries, sure)| Row {
            range: range(base * GIB, entries * GIB),
            level: Level::L1,
            shift: 30,
            sure,
        });
        assert_eq!(row(&shadow, from, top, most), expected, "{from}, {top}, {most}");
    }
}

#[test]
fn a_row_goes_on_with_the_next_budget() {
    let mut tables = shadow_tables(2);
    let mut shadow = shadow(1, &mut tables);
    shadow.note(tree(1), range(0, 3 * GIB), Shows::Memory);
    let (mut from, mut row) = (Ipa::new(0), None);
    let mut some = |row: &mut Option<Row>, budget: u64| {
        let mut left = Budget::new();
        left.spend(ENTRIES as u64 - budget);
        let ended = shadow.shown_some(tree(1), &mut from, Ipa::new(8 * GIB), 9, row, &mut left);
        (ended, row.map_or(0, |row| row.entries()))
    };
    assert_eq!(some(&mut row, 0), (false, 0));
    assert_eq!(some(&mut row, 2), (false, 2));
    assert_eq!(some(&mut row, 2), (true, 3));
    let top = Ipa::new(8 * GIB);
    let mut from = top;
    assert!(shadow.shown_some(tree(1), &mut from, top, 9, &mut None, &mut Budget::new()));
    assert_eq!(from, top);
}

#[test]
fn a_row_of_what_is_hidden_ends_at_what_is_shown() {
    let mut tables = shadow_tables(2);
    let mut shadow = shadow(1, &mut tables);
    shadow.note(tree(1), range(2 * GIB, GIB), Shows::Memory);
    shadow.note(tree(1), range(GIB, GIB), Shows::Perhaps);
    let entry = |n: u64| at(Level::L1, n * GIB);
    let extend = |row: &mut Option<Row>, n, most| {
        let ended = shadow.extend_hidden(tree(1), entry(n), most, row).is_break();
        (ended, row.map(|row| row.range))
    };
    let mut row = None;
    assert_eq!(extend(&mut row, 2, 9), (false, None));
    assert_eq!(extend(&mut row, 512, 9), (true, None));
    assert_eq!(extend(&mut row, 0, 2), (false, Some(range(0, GIB))));
    assert_eq!(extend(&mut row, 3, 2), (true, Some(range(0, GIB))));
    let mut alone = None;
    assert_eq!(extend(&mut alone, 0, 1), (true, Some(range(0, GIB))));
    // What may be shown is not certainly shown.
    assert_eq!(extend(&mut row, 1, 2), (true, Some(range(0, 2 * GIB))));
    assert_eq!(extend(&mut row, 2, 9), (true, Some(range(0, 2 * GIB))));
}

#[test]
fn the_first_reference_is_that_with_the_lowest_address() {
    let mut tables = shadow_tables(3);
    let mut shadow = shadow(2, &mut tables);
    let half = range(SHARED, SHARED);
    assert_eq!(shadow.reference(half), None);
    shadow.note(tree(1), range(SHARED + 3 * GIB, GIB), Shows::Memory);
    shadow.note(tree(2), range(SHARED + GIB, 2 * GIB), Shows::Memory);
    let (by, row) = shadow.reference(half).unwrap();
    assert_eq!((by, row.range), (tree(2), range(SHARED + GIB, GIB)));
    let (by, row) = shadow.reference(range(SHARED + 3 * GIB, GIB)).unwrap();
    assert_eq!((by, row.range), (tree(1), range(SHARED + 3 * GIB, GIB)));
    assert_eq!(shadow.reference(range(SHARED, GIB)), None);
}

/// Delegated granules.
fn take<P: Platform>(
    rmm: &rmi_host::Rmm<P>,
    memory: &mut rmi_host::Undelegated,
    bytes: u64,
) -> InUse {
    rmm.delegate(memory.take_front(bytes).unwrap()).unwrap().into_use()
}

#[test]
fn only_what_the_primary_tree_maps_is_doubted() {
    let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07).range_capable()).unwrap();
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(model.host(), &mut memory).unwrap();
    let mut granule = |bytes| take(&rmm, &mut memory, bytes);
    // Before the tables: a block is aligned.
    let block = granule(2 * MIB);
    let mut tables = shadow_tables(4);
    let mut shadow = shadow(1, &mut tables);
    shadow.add_table(None, Level::L2, Ipa::new(0), granule(0x1000), true).unwrap();
    let doubted = |shadow: &mut Shadow<'_, AnyShape>| {
        shadow.doubt(tree(1), range(0, GIB));
        shadow.shown_row(tree(1), Ipa::new(0), Ipa::new(GIB), 9).map(|row| (row.range, row.sure))
    };
    // No memory; then none of the size of the auxiliary tree's entry.
    assert_eq!(doubted(&mut shadow), None);
    shadow.put(Ipa::new(4 * MIB), block, tag::SURE).unwrap();
    assert_eq!(doubted(&mut shadow), None);
    shadow.add_table(Some(tree(1)), Level::L2, Ipa::new(0), granule(0x1000), true).unwrap();
    assert_eq!(doubted(&mut shadow), Some((range(4 * MIB, 2 * MIB), false)));
    shadow.note(tree(1), range(4 * MIB, 2 * MIB), Shows::Nothing);
    let at = shadow.next_memory(Ipa::new(0), Ipa::new(GIB)).unwrap();
    shadow.doubt_entry(tree(1), at);
    assert!(shadow.shows_anything());
    shadow.note(tree(1), range(4 * MIB, 2 * MIB), Shows::Nothing);

    // The tables: empty, and what they own comes back.
    let taken = shadow.take(at).unwrap();
    let tables =
        [Some(tree(1)), None].map(|tree| shadow.remove_table(tree, Level::L2, Ipa::new(0)));
    for granule in tables.into_iter().flatten().chain([taken]) {
        let _ = rmm.undelegate(granule.into_released()).unwrap();
    }
    assert_eq!(model.census().undelegated, model.census().total);
}

#[test]
fn a_table_of_an_auxiliary_tree_is_folded_when_it_shows_all_or_nothing() {
    let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07).range_capable()).unwrap();
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(model.host(), &mut memory).unwrap();
    let mut tables = shadow_tables(3);
    let mut shadow = shadow(1, &mut tables);
    let (level, base) = (Level::L2, Ipa::new(0));
    assert_eq!(shadow.aux_foldable(tree(1), Level::L1, base), None);
    let mut fold = |shadow: &mut Shadow<'_, AnyShape>, noted: &[(IpaRange, Shows)]| {
        let table = take(&rmm, &mut memory, 0x1000);
        shadow.add_table(Some(tree(1)), level, base, table, true).unwrap();
        for (range, shows) in noted {
            shadow.note(tree(1), *range, *shows);
        }
        let foldable = shadow.aux_foldable(tree(1), level, base);
        let granule = shadow.aux_fold(tree(1), level, base);
        assert_eq!(granule.is_some(), foldable.is_some());
        if granule.is_none() {
            shadow.note(tree(1), range(0, GIB), Shows::Nothing);
        }
        let granule = granule.or_else(|| shadow.remove_table(Some(tree(1)), level, base)).unwrap();
        let _ = rmm.undelegate(granule.into_released()).unwrap();
        let shown = shadow.shown_row(tree(1), base, Ipa::new(GIB), 1);
        shadow.note(tree(1), range(0, GIB), Shows::Nothing);
        (foldable, shown.map(|row| (row.level, row.sure)))
    };
    let (all, one) = (range(0, GIB), range(2 * MIB, 2 * MIB));
    let full = Some((Level::L1, true));
    assert_eq!(fold(&mut shadow, &[]), (Some(Foldable::Void), None));
    assert_eq!(fold(&mut shadow, &[(all, Shows::Memory)]), (Some(Foldable::Block), full));
    for shows in [Shows::Nothing, Shows::Perhaps] {
        assert_eq!(fold(&mut shadow, &[(all, Shows::Memory), (one, shows)]), (None, None));
    }
    assert_eq!(shadow.tables(), 0);
    assert_eq!(model.census().undelegated, model.census().total);
}

#[test]
fn lost_tables_are_those_that_cover_the_range() {
    let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07)).unwrap();
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(model.host(), &mut memory).unwrap();
    let mut tables = shadow_tables(8);
    let mut shadow = shadow(0, &mut tables);
    let mut granules = Vec::new();
    for (level, base) in [
        (Level::L2, SHARED),
        (Level::L3, SHARED),
        (Level::L3, SHARED + 2 * MIB),
        (Level::L2, SHARED + GIB),
        (Level::L3, SHARED + 2 * GIB - 2 * MIB),
        (Level::L2, SHARED + 2 * GIB),
    ] {
        let table = take(&rmm, &mut memory, 0x1000);
        granules.push(table.range());
        shadow.add_table(None, level, Ipa::new(base), table, true).unwrap();
    }
    let lose = |shadow: &mut Shadow<'_, AnyShape>, range| {
        let mut lost = Vec::new();
        shadow.lose_tables(range, &mut |table| {
            lost.push(table.range());
            let _ = rmm.undelegate(table.into_released()).unwrap();
        });
        lost
    };
    assert_eq!(lose(&mut shadow, IpaRange::empty(Ipa::new(SHARED))), []);
    // Deepest first.
    let expected = [granules[1], granules[2], granules[4], granules[0], granules[3]];
    assert_eq!(lose(&mut shadow, range(SHARED, 2 * GIB)), expected);
    assert_eq!(shadow.tables(), 1);
    assert_eq!(lose(&mut shadow, range(SHARED, SHARED)), [granules[5]]);
    assert_eq!(model.census().undelegated, model.census().total);
}
