extern crate std;

use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;
use rmi_abi::Pa;
use rmi_host::{Host, Rmm, Undelegated};
use rmm_model::{Model, Options};

use super::*;
use crate::plan;
use crate::shadow::shape::AnyShape;
use crate::shadow::storage::{FixedRecords, SharedRecord};

fn ipa(raw: u64) -> Ipa {
    Ipa::new(raw)
}

fn records<'s>(
    fixed: &'s mut FixedRecords,
    tables: &'s mut [ShadowTable],
    shared: &'s mut [SharedRecord],
) -> Records<'s> {
    Records::new(fixed, tables, shared)
}

fn shadow_tables(count: usize) -> Vec<ShadowTable> {
    std::iter::repeat_with(ShadowTable::new).take(count).collect()
}

/// A session in which memory is delegated; the shadow takes only tokens of memory that the RMM
/// owns.
fn session<'m>(model: &'m Model, memory: &mut Undelegated) -> Rmm<Host<&'m Model, &'m Model>> {
    rmm_model::open(model.host(), memory).unwrap()
}

fn take<P: rmi_host::Platform>(rmm: &Rmm<P>, memory: &mut Undelegated, bytes: u64) -> InUse {
    rmm.delegate(memory.take_front(bytes).unwrap()).unwrap().into_use()
}

fn give<P: rmi_host::Platform>(rmm: &Rmm<P>, memory: InUse) {
    let _ = rmm.undelegate(memory.into_released()).unwrap();
}

const MIB: u64 = 1 << 20;

#[test]
fn a_block_is_split_and_folded_again() {
    let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07).range_capable()).unwrap();
    let mut memory = model.take_memory();
    let rmm = session(&model, &mut memory);
    let geometry = Geometry::with_start_level(39, Level::L1).unwrap();
    let mut fixed = FixedRecords::new();
    let (mut tables, mut shared): (_, [SharedRecord; 1]) = (shadow_tables(3), [None]);
    let mut shadow =
        Shadow::<AnyShape>::new(geometry, 0, records(&mut fixed, &mut tables, &mut shared))
            .unwrap();
    let block = take(&rmm, &mut memory, 2 * MIB);
    let pa = block.base();
    let tables = [take(&rmm, &mut memory, 0x1000), take(&rmm, &mut memory, 0x1000)];
    let [l2, l3] = tables;

    // No table, no entry; and no table without its parent.
    let block = shadow.put(ipa(2 * MIB), block, tag::SURE).unwrap_err();
    let l3 = shadow.add_table(None, Level::L3, ipa(2 * MIB), l3, true).unwrap_err();
    shadow.add_table(None, Level::L2, ipa(0), l2, true).unwrap();
    shadow.put(ipa(2 * MIB), block, tag::SURE).unwrap();
    assert_eq!((shadow.tables(), shadow.bytes()), (1, 2 * MIB));
    assert_eq!(shadow.next_memory(ipa(0), ipa(1 << 30)).unwrap().base, ipa(2 * MIB));

    shadow.add_table(None, Level::L3, ipa(2 * MIB), l3, true).unwrap();
    assert_eq!(shadow.bytes(), 2 * MIB);
    let at = shadow.walk(ipa(2 * MIB + 0x5000), Level::L3).unwrap();
    assert_eq!((at.level, at.base), (Level::L3, ipa(2 * MIB + 0x5000)));
    assert_eq!(shadow.memory(at).unwrap().base(), pa.checked_add(0x5000).unwrap());

    // One page is missing: it cannot be folded; with the page it can.
    let page = shadow.take(at).unwrap();
    assert_eq!(shadow.foldable(Level::L3, ipa(2 * MIB)), None);
    shadow.put(ipa(2 * MIB + 0x5000), page, tag::SURE).unwrap();
    assert_eq!(shadow.foldable(Level::L3, ipa(2 * MIB)), Some(Foldable::Block));
    let l3 = shadow.fold(Level::L3, ipa(2 * MIB)).unwrap();
    assert_eq!((shadow.tables(), shadow.bytes()), (1, 2 * MIB));

    let Some(Next::Memory(at)) = shadow.first() else { panic!("memory first") };
    assert_eq!((at.level, at.base), (Level::L2, ipa(2 * MIB)));
    let block = shadow.take(at).unwrap();
    assert_eq!(block.range(), PaRange::with_size(pa, 2 * MIB).unwrap());
    let Some(Next::Table(None, Level::L2, base)) = shadow.first() else { panic!("then the table") };
    let l2 = shadow.remove_table(None, Level::L2, base).unwrap();
    assert!(shadow.first().is_none());
    for memory in [l2, l3, block] {
        give(&rmm, memory);
    }
    assert_eq!(model.census().undelegated, model.census().total);
}

#[test]
fn shadow_tables_run_out_and_are_used_again() {
    let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07)).unwrap();
    let mut memory = model.take_memory();
    let rmm = session(&model, &mut memory);
    let geometry = Geometry::with_start_level(39, Level::L1).unwrap();
    let mut fixed = FixedRecords::new();
    let (mut tables, mut shared): (_, [SharedRecord; 1]) = (shadow_tables(2), [None]);
    let refused = Shadow::<AnyShape>::new(geometry, 0, records(&mut fixed, &mut [], &mut shared))
        .unwrap_err();
    assert_eq!(refused.error, BuildError::Storage { records: "translation tables", missing: 1 });
    assert_eq!(refused.kept.shared.len(), 1);
    let mut shadow =
        Shadow::<AnyShape>::new(geometry, 0, records(&mut fixed, &mut tables, &mut shared))
            .unwrap();
    assert_eq!(shadow.reserve(2), Err(1));
    let table = take(&rmm, &mut memory, 0x1000);
    shadow.add_table(None, Level::L2, ipa(0), table, true).unwrap();
    let other = take(&rmm, &mut memory, 0x1000);
    let other = shadow.add_table(None, Level::L2, ipa(1 << 30), other, true).unwrap_err();
    give(&rmm, shadow.remove_table(None, Level::L2, ipa(0)).unwrap());
    shadow.add_table(None, Level::L2, ipa(1 << 30), other, true).unwrap();
    give(&rmm, shadow.remove_table(None, Level::L2, ipa(1 << 30)).unwrap());
    // Root tables stay.
    assert!(shadow.remove_table(None, Level::L1, ipa(0)).is_none());
}

/// A shadow of a Realm with 39-bit addresses and one root table for each tree.
fn shadow<'s>(
    aux_trees: u8,
    tables: &'s mut [ShadowTable],
    shared: &'s mut [SharedRecord],
) -> Shadow<'s, AnyShape> {
    let geometry = Geometry::with_start_level(39, Level::L1).unwrap();
    let fixed = std::boxed::Box::leak(std::boxed::Box::new(FixedRecords::new()));
    Shadow::<AnyShape>::new(geometry, aux_trees, records(fixed, tables, shared)).unwrap()
}

#[test]
fn what_is_reserved_is_not_reserved_again() {
    let mut tables = shadow_tables(4);
    let mut shadow = shadow(0, &mut tables, &mut []);
    shadow.reserve(2).unwrap();
    assert_eq!(shadow.reserve(2), Err(1));
    shadow.unreserve(1);
    shadow.reserve(2).unwrap();
    assert_eq!(shadow.reserve(1), Err(1));
}

#[test]
fn a_walk_stays_within_the_tables_of_the_realm() {
    let mut tables = shadow_tables(2);
    let shadow = shadow(0, &mut tables, &mut []);
    assert!(shadow.walk(ipa((1 << 39) - 1), Level::L3).is_some());
    assert_eq!(shadow.walk(ipa(1 << 39), Level::L3), None);
    assert_eq!(shadow.walk(ipa(0), Level::L0), None);
}

#[test]
fn memory_is_put_into_a_void_entry_that_begins_at_its_address() {
    let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07).range_capable()).unwrap();
    let mut memory = model.take_memory();
    let rmm = session(&model, &mut memory);
    let mut tables = shadow_tables(2);
    let mut shadow = shadow(0, &mut tables, &mut []);
    // Before the table: a block is aligned.
    let [first, second] = [(); 2].map(|()| take(&rmm, &mut memory, 2 * MIB));
    let table = take(&rmm, &mut memory, 0x1000);
    assert_eq!(shadow.table_granule(None, Level::L2, ipa(0)), None);
    let granule = table.range();
    shadow.add_table(None, Level::L2, ipa(0), table, false).unwrap();
    assert_eq!(shadow.table_granule(None, Level::L2, ipa(0)), Some(granule));
    shadow.put(ipa(2 * MIB), first, tag::SURE).unwrap();
    let second = shadow.put(ipa(2 * MIB), second, tag::SURE).unwrap_err();
    let second = shadow.put(ipa(4 * MIB + 0x1000), second, tag::SURE).unwrap_err();
    assert_eq!((shadow.bytes(), shadow.next_memory(ipa(4 * MIB), ipa(1 << 30))), (2 * MIB, None));

    // Memory that begins at the end of a range is not in it.
    assert_eq!(shadow.next_memory(ipa(0), ipa(2 * MIB)), None);
    assert_eq!(shadow.next_memory(ipa(2 * MIB), ipa(2 * MIB)), None);

    // A table is as sure as the RMM's last answer about it.
    assert!(!shadow.table_is_sure(None, Level::L2, ipa(0)));
    shadow.trust_table(None, Level::L2, ipa(0));
    assert!(shadow.table_is_sure(None, Level::L2, ipa(0)));
    shadow.doubt_table(None, Level::L2, ipa(0));
    assert!(!shadow.table_is_sure(None, Level::L2, ipa(0)));

    let text = std::format!("{shadow:?}");
    assert!(text.contains("tables: 1") && text.contains("bytes: 2097152"), "{text}");
    let text = std::format!("{:?}", shadow.slot(1).unwrap());
    assert!(text.contains("Level(2)") && text.contains("live: 1"), "{text}");

    let at = shadow.next_memory(ipa(0), ipa(1 << 30)).unwrap();
    for memory in [shadow.take(at).unwrap(), second] {
        give(&rmm, memory);
    }
    give(&rmm, shadow.remove_table(None, Level::L2, ipa(0)).unwrap());
    assert_eq!(model.census().undelegated, model.census().total);
}

#[test]
fn a_block_stays_where_it_is_without_a_shadow_table_to_split_it() {
    let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07).range_capable()).unwrap();
    let mut memory = model.take_memory();
    let rmm = session(&model, &mut memory);
    let geometry = Geometry::with_start_level(32, Level::L2).unwrap();
    let block = take(&rmm, &mut memory, 2 * MIB);
    let granule = take(&rmm, &mut memory, 0x1000);
    let pa = block.range();
    let mut fixed = FixedRecords::new();
    let mut tables = shadow_tables(usize::from(geometry.root_tables()));
    let mut shadow =
        Shadow::<AnyShape>::new(geometry, 0, records(&mut fixed, &mut tables, &mut [])).unwrap();
    shadow.put(ipa(0), block, tag::SURE).unwrap();
    let granule = shadow.add_table(None, Level::L3, ipa(0), granule, true).unwrap_err();
    let at = shadow.next_memory(ipa(0), ipa(1 << 30)).unwrap();
    assert_eq!((shadow.memory(at), shadow.tables()), (Some(pa), 0));
    give(&rmm, granule);
    // A root table has no granule of its own; what is in it is given up with the shadow.
    drop(shadow);
    let [root, ..] = &tables[..] else { unreachable!() };
    assert_eq!((root.live, root.entries[0].range()), (0, None));
}

#[cfg(feature = "alloc")]
#[test]
fn storage_on_the_heap_is_empty_when_it_is_taken_out() {
    let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07).range_capable()).unwrap();
    let mut memory = model.take_memory();
    let rmm = session(&model, &mut memory);
    let block = take(&rmm, &mut memory, 2 * MIB);
    let geometry = Geometry::with_start_level(32, Level::L2).unwrap();
    let mut shadow = Shadow::<AnyShape>::new(geometry, 0, Records::growing()).unwrap();
    shadow.put(ipa(0), block, tag::SURE).unwrap();
    let mut tables = TableSlots::new(shadow.take_records().tables);
    let tables = tables.growing().unwrap();
    assert_eq!((tables.len(), tables.get(0).unwrap().live), (4, 0));
}

#[test]
fn pages_from_an_unaligned_address_are_not_a_block() {
    let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07).range_capable()).unwrap();
    let mut memory = model.take_memory();
    let rmm = session(&model, &mut memory);
    let mut tables = shadow_tables(3);
    let mut shadow = shadow(0, &mut tables, &mut []);
    let mut pages = take(&rmm, &mut memory, 513 * 0x1000);
    give(&rmm, pages.take_front(0x1000).unwrap());
    for level in [Level::L2, Level::L3] {
        let table = take(&rmm, &mut memory, 0x1000);
        shadow.add_table(None, level, ipa(0), table, true).unwrap();
    }
    for page in 0..512 {
        shadow.put(ipa(page << 12), pages.take_front(0x1000).unwrap(), tag::SURE).unwrap();
    }
    assert_eq!(shadow.foldable(Level::L3, ipa(0)), None);
    while let Some(at) = shadow.next_memory(ipa(0), ipa(2 * MIB)) {
        give(&rmm, shadow.take(at).unwrap());
    }
    for level in [Level::L3, Level::L2] {
        give(&rmm, shadow.remove_table(None, level, ipa(0)).unwrap());
    }
    assert_eq!(model.census().undelegated, model.census().total);
}

#[test]
fn an_entry_is_free_when_it_maps_nothing_and_its_ripas_is_known() {
    let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07)).unwrap();
    let mut memory = model.take_memory();
    let rmm = session(&model, &mut memory);
    let mut tables = shadow_tables(3);
    let mut shadow = shadow(0, &mut tables, &mut []);
    for level in [Level::L2, Level::L3] {
        let table = take(&rmm, &mut memory, 0x1000);
        shadow.add_table(None, level, ipa(2 * MIB), table, true).unwrap();
    }
    let page = |n: u64| ipa(2 * MIB + n * 0x1000);
    let pages = |first, top| IpaRange::new(page(first), page(top)).unwrap();
    let flag = |shadow: &mut Shadow<'_, AnyShape>, n: u64| {
        let at = shadow.walk(page(n), Level::L3).unwrap();
        shadow.flag_unmapped(at, true);
    };
    shadow.put(page(2), take(&rmm, &mut memory, 0x1000), tag::SURE).unwrap();
    flag(&mut shadow, 4);
    flag(&mut shadow, 5);
    for (from, top, expected) in [
        (0, 9, Some((0, 2))),
        (1, 2, Some((1, 2))),
        (2, 9, Some((3, 4))),
        (4, 9, Some((6, 9))),
        (2, 3, None),
        (4, 6, None),
        (7, 7, None),
    ] {
        let expected = expected.map(|(first, top)| pages(first, top));
        assert_eq!(shadow.next_free(page(from), page(top)), expected, "{from}, {top}");
    }

    // The flags of whole entries are cleared, up to a table or the end.
    let flags = |shadow: &Shadow<'_, AnyShape>| {
        let is_flagged = |n: &u64| {
            let at = shadow.walk(page(*n), Level::L3).unwrap();
            shadow.may_be_destroyed(at)
        };
        (0..512).filter(is_flagged).collect::<Vec<_>>()
    };
    assert_eq!(flags(&shadow), [4, 5]);
    assert_eq!(shadow.trust_ripas(page(0), page(4)), page(4));
    assert_eq!(flags(&shadow), [4, 5]);
    let middle = page(4).checked_add(0x800).unwrap();
    assert_eq!(shadow.trust_ripas(middle, page(9)), page(5));
    assert_eq!(
        shadow.trust_ripas(page(5), page(5).checked_add(0x800).unwrap()),
        page(5).checked_add(0x800).unwrap()
    );
    assert_eq!(flags(&shadow), [4, 5]);
    assert_eq!(shadow.trust_ripas(page(4), page(5)), page(5));
    assert_eq!(flags(&shadow), [5]);
    assert_eq!(shadow.trust_ripas(page(0), ipa(1 << 30)), ipa(4 * MIB));
    assert_eq!(flags(&shadow), []);
    // A flagged entry without memory, and one that a table follows.
    let at = shadow.walk(ipa(0), Level::L3).unwrap();
    shadow.flag_unmapped(at, true);
    assert_eq!(shadow.trust_ripas(ipa(0), ipa(1 << 30)), ipa(2 * MIB));
    assert!(!shadow.may_be_destroyed(at));
    assert_eq!(shadow.trust_ripas(ipa(1 << 39), ipa(1 << 40)), ipa(1 << 40));

    give(&rmm, shadow.take(shadow.walk(page(2), Level::L3).unwrap()).unwrap());
    for level in [Level::L3, Level::L2] {
        give(&rmm, shadow.remove_table(None, level, ipa(2 * MIB)).unwrap());
    }
    assert_eq!(model.census().undelegated, model.census().total);
}

#[test]
fn pages_in_another_order_are_not_a_block() {
    let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07).range_capable()).unwrap();
    let mut memory = model.take_memory();
    let rmm = session(&model, &mut memory);
    let mut tables = shadow_tables(3);
    let mut shadow = shadow(0, &mut tables, &mut []);
    let block = take(&rmm, &mut memory, 2 * MIB);
    for level in [Level::L2, Level::L3] {
        let table = take(&rmm, &mut memory, 0x1000);
        shadow.add_table(None, level, ipa(0), table, true).unwrap();
        if level == Level::L2 {
            let foldable = shadow.foldable(Level::L2, ipa(0));
            assert_eq!(foldable, Some(Foldable::Void));
        }
    }
    let mut block = block;
    for page in 0..512 {
        shadow.put(ipa(page << 12), block.take_front(0x1000).unwrap(), tag::SURE).unwrap();
    }
    assert_eq!(shadow.foldable(Level::L3, ipa(0)), Some(Foldable::Block));
    let pages = [5, 6].map(|page| {
        let at = shadow.walk(ipa(page << 12), Level::L3).unwrap();
        shadow.take(at).unwrap()
    });
    let [five, six] = pages;
    shadow.put(ipa(6 << 12), five, tag::SURE).unwrap();
    shadow.put(ipa(5 << 12), six, tag::SURE).unwrap();
    assert_eq!(shadow.foldable(Level::L3, ipa(0)), None);
    while let Some(at) = shadow.next_memory(ipa(0), ipa(2 * MIB)) {
        give(&rmm, shadow.take(at).unwrap());
    }
    assert_eq!(shadow.foldable(Level::L3, ipa(0)), Some(Foldable::Void));
    give(&rmm, shadow.remove_table(None, Level::L3, ipa(0)).unwrap());
    give(&rmm, shadow.remove_table(None, Level::L2, ipa(0)).unwrap());
    assert_eq!(model.census().undelegated, model.census().total);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Pages that were put at any IPA are found at that IPA, and nowhere else.
    #[test]
    fn it_records_the_owner_of_each_range(
        pages in proptest::collection::btree_set(0u64..1 << 12, 1..60),
    ) {
        let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07)).unwrap();
        let mut memory = model.take_memory();
        let rmm = session(&model, &mut memory);
        let geometry = Geometry::new(40).unwrap();
        let mut fixed = FixedRecords::new();
        let (mut tables, mut shared): (_, [SharedRecord; 1]) = (shadow_tables(24), [None]);
        let storage = records(&mut fixed, &mut tables, &mut shared);
        let mut shadow = Shadow::<AnyShape>::new(geometry, 0, storage).unwrap();
        let mut expected: BTreeMap<Ipa, Pa> = BTreeMap::new();
        for page in &pages {
            let at = ipa(page << 12);
            let page = IpaRange::with_size(at, 0x1000).unwrap();
            for (level, base) in plan::tables(geometry, page, Level::L3) {
                if !shadow.has_table(level, base) {
                    let table = take(&rmm, &mut memory, 0x1000);
                    shadow.add_table(None, level, base, table, true).unwrap();
                }
            }
            let page = take(&rmm, &mut memory, 0x1000);
            expected.insert(at, page.base());
            shadow.put(at, page, tag::SURE).unwrap();
        }
        let mut found = BTreeMap::new();
        let mut from = ipa(0);
        while let Some(at) = shadow.next_memory(from, ipa(1 << 39)) {
            found.insert(at.base, shadow.memory(at).unwrap().base());
            from = at.top();
        }
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(shadow.bytes(), 0x1000 * pages.len() as u64);
        while let Some(next) = shadow.first() {
            let memory = match next {
                Next::Memory(at) => shadow.take(at).unwrap(),
                Next::Shown(..) => panic!("there are no auxiliary trees"),
                Next::Table(_, level, base) => shadow.remove_table(None, level, base).unwrap(),
            };
            give(&rmm, memory);
        }
        prop_assert_eq!((shadow.tables(), shadow.bytes()), (0, 0));
        prop_assert_eq!(model.census().undelegated, model.census().total);
    }
}
