//! The predicted number of calls equals the counted one, for any layout.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use realm_builder::plan::Limits;
use realm_builder::{
    Content, DismantleProgress, FixedRecords, Realm, RealmConfig, Records, Region, ShadowTable,
};
use rmi_abi::desc::BlockSize;
use rmi_abi::rtt::Level;
use rmi_abi::{Dialect, GranuleSize, Ipa, IpaRange, Pa, PaRange};
use rmi_conduits::counting::Counting;
use rmi_host::{CountingLedger, Host, SessionOptions, Undelegated};
use rmm_model::{GranulesPerCall, Model, Options};
use sro::{CallbackMemory, FixedPool, Pool};

const PAGE: u64 = 0x1000;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// An RMM with granules of a size, and the units of a layout on it: pages, blocks, and 512 blocks.
#[derive(Clone, Copy, Debug)]
struct Scale {
    granule: GranuleSize,
    page: u64,
    block: u64,
}

impl Scale {
    fn new(granule: GranuleSize) -> Self {
        let [page, block] = [BlockSize::Page, BlockSize::Level2].map(|size| size.bytes(granule));
        Self { granule, page, block }
    }

    /// The same address, or length, in the RMM's pages and blocks.
    fn of(self, bytes: u64) -> u64 {
        bytes / (2 * MIB) * self.block + bytes % (2 * MIB) / PAGE * self.page
    }

    fn piece(self, piece: Piece) -> Piece {
        let Piece { gap, align, bytes } = piece;
        Piece { gap: self.of(gap), align: self.of(align), bytes: self.of(bytes) }
    }

    /// How many shadow tables a table has.
    fn parts(self) -> usize {
        1 << (self.granule.shift() - GranuleSize::Size4KiB.shift())
    }

    fn session(self) -> SessionOptions {
        let mut options = SessionOptions::default();
        options.granule_size = self.granule;
        options
    }
}

/// Mostly granules of 4 KiB.
fn scale() -> impl Strategy<Value = Scale> {
    let (middle, large) = (GranuleSize::Size16KiB, GranuleSize::Size64KiB);
    prop_oneof![3 => Just(GranuleSize::Size4KiB), 2 => Just(middle), 1 => Just(large)]
        .prop_map(Scale::new)
}

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

fn limits() -> impl Strategy<Value = Limits> {
    let granules = prop_oneof![Just(Some(1)), Just(None), (2u64..700).prop_map(Some)];
    (granules, any::<bool>()).prop_map(|(granules_per_call, table_by_table)| Limits {
        granules_per_call,
        table_by_table,
        entry_by_entry: false,
    })
}

fn options(limits: Limits, dialect: Dialect, scale: Scale) -> Options {
    let mut options = Options::new(dialect).with_all_granules();
    let gibs = if scale.granule == GranuleSize::Size64KiB { 24 } else { 8 };
    options.dram = PaRange::with_size(Pa::new(GIB), gibs * GIB).unwrap();
    if !limits.table_by_table {
        options = options.range_capable();
    }
    options.granules_per_call = match limits.granules_per_call {
        None => GranulesPerCall::All,
        Some(limit) => GranulesPerCall::AtMost(u32::try_from(limit).unwrap().try_into().unwrap()),
    };
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
    #![proptest_config(ProptestConfig::with_cases(24))]
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
        limits in limits(),
        stocked in any::<bool>(),
        dialect in proptest::sample::select(&Options::DIALECTS[..]),
        scale in scale(),
    ) {
        let model = Model::new(options(limits, dialect, scale)).unwrap();
        let conduit = Counting::new(&model);
        let ledger = CountingLedger::new();
        let mut memory = model.take_memory();
        let pages = memory.take_back(Pool::pages_bytes(scale.granule)).unwrap();
        let mut pool = FixedPool::<64>::new();
        pool.set_granule_size(scale.granule);
        pool.add(pages).unwrap();
        let stock = memory.take_back(4096 * scale.page).unwrap();
        pool.add(stock).unwrap();
        let platform = Host::new(&conduit, &model).with_ledger(&ledger);
        let rmm = sro::open(platform, scale.session(), &mut pool).unwrap();
        let (width, first) = match scale.granule {
            GranuleSize::Size4KiB => (43, 1),
            GranuleSize::Size16KiB => (40, 2),
            GranuleSize::Size64KiB => (43, 2),
        };
        let mut config = RealmConfig::new(width);
        config.start_level = Level::new(first - i8::try_from(start).unwrap());
        let tables = 2600.max(700 * scale.parts());
        let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(tables).collect();
        let mut fixed = FixedRecords::new();
        let records = Records::new(&mut fixed, &mut tables, &mut []);
        let realm = Realm::create(&rmm, &config, records, &mut pool).unwrap();
        let realm = realm.activate().unwrap();
        for (page, level) in tables_first {
            let at = Ipa::new(scale.of(page << 12));
            let page = IpaRange::with_size(at, scale.page).unwrap();
            realm.make_tables(&mut pool, page, Level::new(level).unwrap()).unwrap();
        }
        if !stocked {
            pool.undelegate(&rmm);
        }
        let failed = conduit.total().failed;
        let ipa = Ipa::new(scale.of(at << 12));
        let pieces: Vec<_> = pieces.into_iter().map(|piece| scale.piece(piece)).collect();

        let mut pieces = cut(&mut memory, &pieces);
        let bytes: u64 = pieces.iter().map(Undelegated::bytes).sum();
        let ranges: Vec<_> = pieces.iter().map(Undelegated::range).collect();
        let cost = realm.map_cost(&mut pool, ipa, &ranges, limits);
        let before = conduit.total().issued;
        realm.map_scattered(&mut pool, ipa, &mut pieces).unwrap();
        prop_assert_eq!(conduit.total().issued - before, cost.calls(), "{:?}", cost);
        prop_assert_eq!(realm.memory_bytes(), bytes);

        let cost = realm.dismantle_cost(limits);
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
        layout in proptest::collection::vec((piece(), 0u64..5, 0u8..3), 1..6),
        limits in limits(),
        stocked in any::<bool>(),
        scale in scale(),
    ) {
        let model = Model::new(options(limits, Dialect::TfRmm2026_07, scale)).unwrap();
        let conduit = Counting::new(&model);
        let mut memory = model.take_memory();
        let pages = memory.take_back(Pool::pages_bytes(scale.granule)).unwrap();
        let mut pool = FixedPool::<64>::new();
        pool.set_granule_size(scale.granule);
        pool.add(pages).unwrap();
        pool.add(memory.take_back(4096 * scale.page).unwrap()).unwrap();
        let platform = Host::new(&conduit, &model);
        let rmm = sro::open(platform, scale.session(), &mut pool).unwrap();
        let tables = 3000.max(700 * scale.parts());
        let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(tables).collect();
        let mut fixed = FixedRecords::new();
        let records = Records::new(&mut fixed, &mut tables, &mut []);
        let width = if scale.granule == GranuleSize::Size64KiB { 42 } else { 39 };
        let mut realm = Realm::create(&rmm, &RealmConfig::new(width), records, &mut pool).unwrap();
        if !stocked {
            pool.undelegate(&rmm);
        }
        let content = vec![0; 1536 * usize::try_from(scale.page).unwrap()];
        let mut ipa = scale.of(GIB);
        let mut regions = Vec::new();
        for (piece, gap, kind) in layout {
            let piece = scale.piece(piece);
            ipa = (ipa + gap * 3 * scale.page).next_multiple_of(piece.align);
            let whole =
                if kind == 2 { piece.bytes } else { piece.bytes.min(1024 * scale.page) };
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
        let cost = realm.populate_cost(&mut pool, &mut regions, limits);
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

/// A list is as long as a granule: one page more than it holds takes another call.
#[test]
fn a_list_of_larger_granules_is_longer() {
    for granule in [GranuleSize::Size4KiB, GranuleSize::Size16KiB, GranuleSize::Size64KiB] {
        let scale = Scale::new(granule);
        let entries = scale.page / 8;
        let model = Model::new(options(Limits::RANGES, Dialect::V2_0Bet3, scale)).unwrap();
        let conduit = Counting::new(&model);
        let mut memory = model.take_memory();
        let mut pool = FixedPool::<64>::new();
        pool.add(memory.take_back(64 * scale.page).unwrap()).unwrap();
        let platform = Host::new(&conduit, &model);
        let rmm = sro::open(platform, scale.session(), &mut pool).unwrap();
        let mut tables: Vec<_> =
            std::iter::repeat_with(ShadowTable::new).take(8 * scale.parts()).collect();
        let mut fixed = FixedRecords::new();
        let records = Records::new(&mut fixed, &mut tables, &mut []);
        let realm = Realm::create(&rmm, &RealmConfig::new(40), records, &mut pool).unwrap();
        let realm = realm.activate().unwrap();
        for (count, calls) in [(entries, 1), (entries + 1, 2)] {
            let ipa = Ipa::new(calls * (4 << 30));
            let mut pieces: Vec<_> =
                (0..count).map(|_| memory.take_front(scale.page).unwrap()).collect();
            // No piece follows the one before it.
            pieces.reverse();
            let ranges: Vec<_> = pieces.iter().map(Undelegated::range).collect();
            let cost = realm.map_cost(&mut pool, ipa, &ranges, Limits::RANGES);
            assert_eq!(cost.map, calls, "{granule:?} {count}");
            let before = conduit.total().issued;
            realm.map_scattered(&mut pool, ipa, &mut pieces).unwrap();
            assert_eq!(conduit.total().issued - before, cost.calls(), "{cost:?}");
        }
        let cost = realm.dismantle_cost(Limits::RANGES);
        assert_eq!(cost.unmap, 3, "{granule:?}");
        let mut realm = realm.terminate().unwrap();
        let before = conduit.total().issued;
        let mut freeing = CallbackMemory::freeing(&mut pool, |memory| {
            let _ = memory.into_raw();
        });
        while realm.dismantle(&mut freeing, 100_000).unwrap() == DismantleProgress::More {}
        drop(freeing);
        assert_eq!(conduit.total().issued - before, cost.calls(), "{cost:?}");
        assert_eq!(conduit.total().failed, 0);
        assert_eq!(realm.tear_down(&mut pool, []).error, None);
        pool.drain(&rmm, &mut |memory| {
            let _ = memory.into_raw();
        });
    }
}
