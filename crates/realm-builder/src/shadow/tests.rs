extern crate std;

use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;
use rmi_abi::Pa;
use rmi_host::{Host, Rmm, Undelegated};
use rmm_model::{Model, Options};

use super::*;
use crate::plan;
use crate::shadow::storage::SharedRecord;

fn ipa(raw: u64) -> Ipa {
    Ipa::new(raw)
}

fn rooms(count: usize) -> Vec<ShadowTable> {
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
    let (mut rooms, mut shared): (_, [SharedRecord; 1]) = (rooms(3), [None]);
    let mut shadow = Shadow::new(geometry, 0, &mut rooms, &mut shared).unwrap();
    let block = take(&rmm, &mut memory, 2 * MIB);
    let pa = block.base();
    let tables = [take(&rmm, &mut memory, 0x1000), take(&rmm, &mut memory, 0x1000)];
    let [l2, l3] = tables;

    // No table, no entry; and no table without its parent.
    let block = shadow.put(ipa(2 * MIB), block, tag::SURE).unwrap_err();
    let l3 = shadow.graft(None, Level::L3, ipa(2 * MIB), l3, true).unwrap_err();
    shadow.graft(None, Level::L2, ipa(0), l2, true).unwrap();
    shadow.put(ipa(2 * MIB), block, tag::SURE).unwrap();
    assert_eq!((shadow.tables(), shadow.bytes()), (1, 2 * MIB));
    assert_eq!(shadow.next_memory(ipa(0), ipa(1 << 30)).unwrap().base, ipa(2 * MIB));

    shadow.graft(None, Level::L3, ipa(2 * MIB), l3, true).unwrap();
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
    let l2 = shadow.prune(None, Level::L2, base).unwrap();
    assert!(shadow.first().is_none());
    for memory in [l2, l3, block] {
        give(&rmm, memory);
    }
    assert_eq!(model.census().undelegated, model.census().total);
}

#[test]
fn rooms_run_out_and_are_used_again() {
    let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07)).unwrap();
    let mut memory = model.take_memory();
    let rmm = session(&model, &mut memory);
    let geometry = Geometry::with_start_level(39, Level::L1).unwrap();
    let (mut rooms, mut shared): (_, [SharedRecord; 1]) = (rooms(2), [None]);
    assert_eq!(Shadow::new(geometry, 0, &mut [], &mut shared).unwrap_err(), 1);
    let mut shadow = Shadow::new(geometry, 0, &mut rooms, &mut shared).unwrap();
    assert_eq!(shadow.reserve(2), Err(1));
    let table = take(&rmm, &mut memory, 0x1000);
    shadow.graft(None, Level::L2, ipa(0), table, true).unwrap();
    let other = take(&rmm, &mut memory, 0x1000);
    let other = shadow.graft(None, Level::L2, ipa(1 << 30), other, true).unwrap_err();
    give(&rmm, shadow.prune(None, Level::L2, ipa(0)).unwrap());
    shadow.graft(None, Level::L2, ipa(1 << 30), other, true).unwrap();
    give(&rmm, shadow.prune(None, Level::L2, ipa(1 << 30)).unwrap());
    // Root tables stay.
    assert!(shadow.prune(None, Level::L1, ipa(0)).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Pages that were put at any IPA are found at that IPA, and nowhere else.
    #[test]
    fn it_remembers_what_is_where(pages in proptest::collection::btree_set(0u64..1 << 12, 1..60)) {
        let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07)).unwrap();
        let mut memory = model.take_memory();
        let rmm = session(&model, &mut memory);
        let geometry = Geometry::new(40).unwrap();
        let (mut rooms, mut shared): (_, [SharedRecord; 1]) = (rooms(24), [None]);
        let mut shadow = Shadow::new(geometry, 0, &mut rooms, &mut shared).unwrap();
        let mut expected: BTreeMap<Ipa, Pa> = BTreeMap::new();
        for page in &pages {
            let at = ipa(page << 12);
            let page = IpaRange::with_size(at, 0x1000).unwrap();
            for (level, base) in plan::tables(geometry, page, Level::L3) {
                if !shadow.has_table(level, base) {
                    let table = take(&rmm, &mut memory, 0x1000);
                    shadow.graft(None, level, base, table, true).unwrap();
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
                Next::Table(_, level, base) => shadow.prune(None, level, base).unwrap(),
            };
            give(&rmm, memory);
        }
        prop_assert_eq!((shadow.tables(), shadow.bytes()), (0, 0));
        prop_assert_eq!(model.census().undelegated, model.census().total);
    }
}
