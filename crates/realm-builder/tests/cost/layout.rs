//! Layouts of memory, and the calls that they take, as predicted and as counted.

use proptest::prelude::*;
use realm_builder::plan::Limits;
use realm_builder::{
    Content, DismantleProgress, FixedRecords, FoldPolicy, Realm, RealmConfig, Records, Region,
    ShadowTable,
};
use rmi_abi::rtt::Level;
use rmi_abi::{GranuleSize, Ipa, IpaRange};
use rmi_conduits::counting::Counting;
use rmi_host::{CountingLedger, Host, Undelegated};
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool, Pool};
use test_support::Scale;

const PAGE: u64 = 0x1000;
const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// A piece of memory: its distance from the previous one, its alignment, its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    gap: u64,
    align: u64,
    bytes: u64,
}

pub(crate) fn piece() -> impl Strategy<Value = Piece> {
    let sizes = prop_oneof![
        24 => (1u64..12).prop_map(|pages| pages * PAGE),
        8 => (500u64..1300).prop_map(|pages| pages * PAGE),
        8 => (1u64..6).prop_map(|blocks| blocks * 2 * MIB),
        1 => Just(GIB),
    ];
    let align = prop_oneof![5 => Just(PAGE), 3 => Just(2 * MIB), 1 => Just(GIB)];
    (0u64..3, align, sizes).prop_map(|(gap, align, bytes)| Piece { gap: gap * PAGE, align, bytes })
}

impl Piece {
    fn scaled(self, scale: Scale) -> Self {
        let Self { gap, align, bytes } = self;
        Self { gap: scale.of(gap), align: scale.of(align), bytes: scale.of(bytes) }
    }

    /// The piece, taken from the memory, and the memory before it.
    fn cut(self, memory: &mut Undelegated) -> Option<Undelegated> {
        let _ = memory.take_front(self.gap).map(Undelegated::into_raw);
        let to_align = memory.base().align_up(self.align).unwrap();
        let skip = to_align.checked_offset_from(memory.base()).unwrap();
        let _ = memory.take_front(skip).map(Undelegated::into_raw);
        memory.take_front(self.bytes)
    }
}

/// The number of the first page that is mapped.
pub(crate) fn page() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..1 << 20, (0u64..2048).prop_map(|block| block << 9), Just(1u64 << 18),]
}

/// An RMM, and how much it does in a call.
pub(crate) struct Machine {
    pub(crate) options: Options,
    pub(crate) scale: Scale,
    pub(crate) limits: Limits,
}

/// Memory that is mapped into a Realm.
pub(crate) struct Mapping {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) at: u64,
    /// How many levels the tables of the Realm begin above the last one that they can begin at.
    pub(crate) start: u8,
    /// Pages that have tables before, down to these levels.
    pub(crate) tables_first: Vec<(u64, i8)>,
    /// Whether the pool has delegated granules.
    pub(crate) stocked: bool,
    /// Whether what can be a block becomes one.
    pub(crate) folds: bool,
}

/// A pool with 4096 granules beside its pages.
fn pool(memory: &mut Undelegated, scale: Scale) -> FixedPool<64> {
    let mut pool = FixedPool::new();
    pool.set_granule_size(scale.granule);
    pool.add(memory.take_back(Pool::pages_bytes(scale.granule)).unwrap()).unwrap();
    pool.add(memory.take_back(4096 * scale.page).unwrap()).unwrap();
    pool
}

pub(crate) fn shadow_tables(count: usize) -> Vec<ShadowTable> {
    std::iter::repeat_with(ShadowTable::new).take(count).collect()
}

/// Maps memory and takes the Realm apart.
pub(crate) fn map_and_dismantle(machine: Machine, mapping: Mapping) -> Result<(), TestCaseError> {
    let Machine { options, scale, limits } = machine;
    let Mapping { pieces, at, start, tables_first, stocked, folds } = mapping;
    let model = Model::new(options).unwrap();
    let conduit = Counting::new(&model);
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut pool = pool(&mut memory, scale);
    let platform = Host::new(&conduit, &model).with_ledger(&ledger);
    let rmm = test_support::open_with(platform, scale.granule, &mut pool);
    let (width, first) = match scale.granule {
        GranuleSize::Size4KiB => (43, 1),
        GranuleSize::Size16KiB => (40, 2),
        GranuleSize::Size64KiB => (43, 2),
    };
    let mut config = RealmConfig::new(width);
    config.start_level = Level::new(first - i8::try_from(start).unwrap());
    let mut tables = shadow_tables(2600.max(scale.shadow_tables(700)));
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

    let cut = |piece: Piece| piece.scaled(scale).cut(&mut memory);
    let mut pieces: Vec<_> = pieces.into_iter().filter_map(cut).collect();
    let bytes: u64 = pieces.iter().map(Undelegated::bytes).sum();
    let ranges: Vec<_> = pieces.iter().map(Undelegated::range).collect();
    let cost = realm.map_cost(&mut pool, ipa, &ranges, limits);
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
    let destroyed = realm.destroy(&mut CallbackMemory::freeing(&mut pool, drop)).is_ok();
    prop_assert!(destroyed);
    pool.drain(&rmm, &mut |_| {});
    prop_assert_eq!(ledger.balance().outstanding(), 0);
    Ok(())
}

/// Populates a Realm with pieces, each with a number of triples of pages before it and a kind of
/// content: measured, unmeasured, unspecified, or none and no memory either.
pub(crate) fn populate(
    machine: Machine,
    layout: Vec<(Piece, u64, u8)>,
    stocked: bool,
) -> Result<(), TestCaseError> {
    let Machine { options, scale, limits } = machine;
    let model = Model::new(options).unwrap();
    let conduit = Counting::new(&model);
    let mut memory = model.take_memory();
    let mut pool = pool(&mut memory, scale);
    let rmm = test_support::open_with(Host::new(&conduit, &model), scale.granule, &mut pool);
    let mut tables = shadow_tables(3000.max(scale.shadow_tables(700)));
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
        let piece = piece.scaled(scale);
        ipa = (ipa + gap * 3 * scale.page).next_multiple_of(piece.align);
        let whole = if kind >= 2 { piece.bytes } else { piece.bytes.min(1024 * scale.page) };
        if kind == 3 {
            regions.push(Region::without_memory(Ipa::new(ipa), whole));
            ipa += whole;
            continue;
        }
        let Some(memory) = (Piece { bytes: whole, ..piece }).cut(&mut memory) else {
            continue;
        };
        let bytes = usize::try_from(whole).unwrap();
        let content = match kind {
            0 => Content::Measured(content.get(..bytes).unwrap()),
            1 => Content::Unmeasured(content.get(..bytes).unwrap()),
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
    prop_assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error, None);
    pool.drain(&rmm, &mut |_| {});
    Ok(())
}
