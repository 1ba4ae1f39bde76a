//! The predicted number of calls equals the counted one on an RMM of 1.0, for any layout.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use realm_builder::plan::Limits;
use realm_builder::{
    Content, DismantleProgress, FixedRecords, FoldPolicy, Realm, RealmConfig, Records, Region,
    ShadowTable,
};
use rmi_abi::rtt::Level;
use rmi_abi::{Dialect, Ipa, IpaRange, Pa, PaRange};
use rmi_conduits::counting::Counting;
use rmi_host::{CountingLedger, Host, Undelegated};
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool, Pool};

const PAGE: u64 = 0x1000;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A piece of memory: its distance from the previous one, its alignment, its length.
#[derive(Clone, Copy, Debug)]
struct Piece {
    gap: u64,
    align: u64,
    bytes: u64,
}

fn piece() -> impl Strategy<Value = Piece> {
    let sizes = prop_oneof![
        24 => (1u64..12).prop_map(|pages| pages * PAGE),
        8 => (500u64..1300).prop_map(|pages| pages * PAGE),
        8 => (1u64..6).prop_map(|blocks| blocks * 2 * MIB),
        1 => Just(GIB),
    ];
    let align = prop_oneof![5 => Just(PAGE), 3 => Just(2 * MIB), 1 => Just(GIB)];
    (0u64..3, align, sizes).prop_map(|(gap, align, bytes)| Piece { gap: gap * PAGE, align, bytes })
}

/// One entry in each call.
const LIMITS: Limits = Limits::ENTRY_BY_ENTRY;

fn options() -> Options {
    let mut options = Options::new(Dialect::V1_0);
    options.dram = PaRange::with_size(Pa::new(GIB), 8 * GIB).unwrap();
    options
}

/// The pieces, taken from the memory, and the memory between them.
fn cut(memory: &mut Undelegated, pieces: &[Piece]) -> Vec<Undelegated> {
    let mut cut = Vec::new();
    for piece in pieces {
        let _ = memory.take_front(piece.gap).map(Undelegated::into_raw);
        let to_align = memory.base().align_up(piece.align).unwrap();
        let skip = to_align.checked_offset_from(memory.base()).unwrap();
        let _ = memory.take_front(skip).map(Undelegated::into_raw);
        cut.extend(memory.take_front(piece.bytes));
    }
    cut
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn mapping_and_dismantling_take_the_predicted_calls(
        pieces in proptest::collection::vec(piece(), 1..10),
        at in prop_oneof![
            0u64..1 << 20,
            (0u64..2048).prop_map(|block| block << 9),
            Just(1u64 << 18),
        ],
        start in 0u8..2,
        tables_first in proptest::collection::vec((0u64..1 << 20, 2i8..4), 0..4),
        stocked in any::<bool>(),
        folds in any::<bool>(),
    ) {
        let model = Model::new(options()).unwrap();
        let conduit = Counting::new(&model);
        let ledger = CountingLedger::new();
        let mut memory = model.take_memory();
        let pages = memory.take_back(Pool::PAGES).unwrap();
        let mut pool = FixedPool::<64>::new();
        pool.add(pages).unwrap();
        let stock = memory.take_back(16 * MIB).unwrap();
        pool.add(stock).unwrap();
        let platform = Host::new(&conduit, &model).with_ledger(&ledger);
        let rmm = test_support::open(platform, &mut pool);
        let mut config = RealmConfig::new(43);
        config.start_level = Level::new(1 - i8::try_from(start).unwrap());
        let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(2600).collect();
        let mut fixed = FixedRecords::new();
        let records = Records::new(&mut fixed, &mut tables, &mut []);
        let realm = Realm::create(&rmm, &config, records, &mut pool).unwrap();
        let realm = realm.activate().unwrap();
        for (page, level) in tables_first {
            let page = IpaRange::with_size(Ipa::new(page << 12), PAGE).unwrap();
            realm.make_tables(&mut pool, page, Level::new(level).unwrap()).unwrap();
        }
        if !stocked {
            pool.undelegate(&rmm);
        }
        let failed = conduit.total().failed;
        let ipa = Ipa::new(at << 12);

        let mut pieces = cut(&mut memory, &pieces);
        let bytes: u64 = pieces.iter().map(Undelegated::bytes).sum();
        let ranges: Vec<_> = pieces.iter().map(Undelegated::range).collect();
        let cost = realm.map_cost(&mut pool, ipa, &ranges, LIMITS);
        let before = conduit.total().issued;
        realm.map_scattered(&mut pool, ipa, &mut pieces).unwrap();
        prop_assert_eq!(conduit.total().issued - before, cost.calls(), "{:?}", cost);
        prop_assert_eq!(realm.memory_bytes(), bytes);

        prop_assert_eq!(conduit.total().failed, failed);
        if folds {
            let whole = IpaRange::new(Ipa::new(0), realm.geometry().unprotected_base()).unwrap();
            realm.fold(&mut pool, whole, FoldPolicy::Blocks).unwrap();
        }
        let failed = conduit.total().failed;
        let cost = realm.dismantle_cost(LIMITS);
        let mut realm = realm.terminate().unwrap();
        let before = conduit.total().issued;
        let mut returned = 0;
        while realm
            .dismantle(
                &mut CallbackMemory::freeing(&mut pool, |memory| returned += memory.bytes()),
                1000,
            )
            .unwrap()
            == DismantleProgress::More
        {}
        prop_assert_eq!(conduit.total().issued - before, cost.calls(), "{:?}", cost);
        prop_assert_eq!(returned, bytes);
        prop_assert_eq!(conduit.total().failed, failed);
        prop_assert!(realm.is_dismantled());
        let destroyed =
            realm.destroy(&mut CallbackMemory::freeing(&mut pool, drop)).is_ok();
        prop_assert!(destroyed);
        pool.drain(&rmm, &mut |_| {});
        prop_assert_eq!(ledger.balance().outstanding(), 0);
    }

    #[test]
    fn populating_takes_the_predicted_calls(
        layout in proptest::collection::vec((piece(), 0u64..5, 0u8..4), 1..6),
        stocked in any::<bool>(),
    ) {
        let model = Model::new(options()).unwrap();
        let conduit = Counting::new(&model);
        let mut memory = model.take_memory();
        let pages = memory.take_back(Pool::PAGES).unwrap();
        let mut pool = FixedPool::<64>::new();
        pool.add(pages).unwrap();
        pool.add(memory.take_back(16 * MIB).unwrap()).unwrap();
        let platform = Host::new(&conduit, &model);
        let rmm = test_support::open(platform, &mut pool);
        let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(3000).collect();
        let mut fixed = FixedRecords::new();
        let records = Records::new(&mut fixed, &mut tables, &mut []);
        let mut realm = Realm::create(&rmm, &RealmConfig::new(39), records, &mut pool).unwrap();
        if !stocked {
            pool.undelegate(&rmm);
        }
        let content = vec![0; 6 << 20];
        let mut ipa = GIB;
        let mut regions = Vec::new();
        for (piece, gap, kind) in layout {
            ipa = (ipa + gap * 3 * PAGE).next_multiple_of(piece.align);
            let whole = if kind >= 2 { piece.bytes } else { piece.bytes.min(4 * MIB) };
            if kind == 3 {
                regions.push(Region::without_memory(Ipa::new(ipa), whole));
                ipa += whole;
                continue;
            }
            let Some(memory) = cut(&mut memory, &[Piece { bytes: whole, ..piece }]).pop() else {
                continue;
            };
            let bytes = usize::try_from(whole).unwrap();
            let content = match kind {
                0 => Content::Measured(&content[..bytes]),
                1 => Content::Unmeasured(&content[..bytes]),
                _ => Content::Unspecified,
            };
            regions.push(Region::new(Ipa::new(ipa), memory, content));
            ipa += whole;
        }
        let cost = realm.populate_cost(&mut pool, &mut regions, LIMITS);
        let (before, failed) = (conduit.total().issued, conduit.total().failed);
        realm.populate(&mut pool, &mut regions).unwrap();
        prop_assert_eq!(conduit.total().issued - before, cost.calls(), "{:?}", cost);
        prop_assert_eq!(conduit.total().failed, failed);
        prop_assert_eq!(
            realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error,
            None
        );
        pool.drain(&rmm, &mut |_| {});
    }
}
