//! Blocks of level 1, on an RMM with granules of each size: 1 GiB, 64 GiB and 4 TiB. They are
//! populated, mapped, split, folded, shared and dismantled, with the predicted number of calls.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::plan::Limits;
use realm_builder::{
    Active, Content, DismantleProgress, FixedRecords, FoldPolicy, Realm, RealmConfig, Reclaimed,
    Records, Region, ShadowTable,
};
use rmi_abi::rtt::{Level, RttEntryState};
use rmi_abi::{Dialect, GranuleSize, Ipa, IpaRange, Pa, PaRange};
use rmi_conduits::counting::Counting;
use rmi_host::command::SharedAccess;
use rmi_host::{CountingLedger, Host, Platform, Undelegated};
use rmm_model::{Model, Options, TablesPerCall};
use sro::{CallbackMemory, FixedPool, Pool};
use test_support::Scale;

const SIZES: [(GranuleSize, u64); 3] = [
    (GranuleSize::Size4KiB, 1 << 30),
    (GranuleSize::Size16KiB, 64 << 30),
    (GranuleSize::Size64KiB, 4 << 40),
];

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

/// The level of the entry that maps an address.
fn mapped_at<P: Platform, S>(realm: &Realm<'_, P, S>, ipa: u64) -> Level {
    let entry = realm.rmm().commands().rtt_read_entry(realm.rd(), Ipa::new(ipa), Level::L3);
    let entry = entry.unwrap();
    assert_eq!(entry.state, RttEntryState::Data);
    entry.level.unwrap()
}

/// Takes memory away from a Realm, and joins what comes back.
fn reclaim<P: Platform>(
    realm: &Realm<'_, P, Active>,
    pool: &mut FixedPool<64>,
    range: IpaRange,
) -> Undelegated {
    let mut back = Vec::new();
    let mut freeing = CallbackMemory::freeing(pool, |memory| back.push(memory));
    assert_eq!(realm.reclaim(&mut freeing, range).unwrap(), Reclaimed::Whole);
    drop(freeing);
    back.sort_by_key(Undelegated::base);
    let mut whole = Undelegated::empty();
    for part in back {
        whole.append(part).unwrap();
    }
    whole
}

fn with_blocks(dialect: Dialect, granule: GranuleSize, block: u64, limits: Limits) {
    let scale = Scale::new(granule);
    let (page, middle) = (scale.page, scale.block);
    let mut options = Options::new(dialect).with_all_granules().range_capable();
    if limits.table_by_table {
        options.tables_per_call = TablesPerCall::One;
    }
    options.dram = PaRange::with_size(Pa::new(block), 2 * block + 1024 * page).unwrap();
    let model = Model::new(options).unwrap();
    let conduit = Counting::new(&model);
    let ledger = CountingLedger::new();
    let mut all = model.take_memory();
    let (first, second) = (all.take_front(block).unwrap(), all.take_front(block).unwrap());
    let mut pool = FixedPool::<64>::new();
    pool.set_granule_size(granule);
    pool.add(all.take_front(Pool::pages_bytes(granule)).unwrap()).unwrap();
    pool.add(all).unwrap();
    let host = Host::new(&conduit, &model).with_ledger(&ledger);
    let rmm = test_support::open_with(host, granule, &mut pool);
    let parts = scale.shadow_tables(16);
    let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(parts).collect();
    let (mut fixed, mut shared) = (FixedRecords::new(), [const { None }; 4]);
    let records = Records::new(&mut fixed, &mut tables, &mut shared);
    let mut realm = Realm::create(&rmm, &RealmConfig::new(48), records, &mut pool).unwrap();
    assert_eq!(realm.geometry().entry_bytes(Level::L1), block);
    pool.undelegate(&rmm);
    let issued = || conduit.total().issued;
    let failed = conduit.total().failed;

    let mut regions = [Region::new(Ipa::new(block), first, Content::Unspecified)];
    let cost = realm.populate_cost(&mut pool, &mut regions, limits);
    let before = issued();
    realm.populate(&mut pool, &mut regions).unwrap();
    assert_eq!(issued() - before, cost.calls(), "{cost:?}");
    assert_eq!(mapped_at(&realm, block), Level::L1);
    let realm = realm.activate().unwrap();

    // One page out of the middle: tables of both levels below are made.
    let map = |pool: &mut FixedPool<64>, at: u64, memory: Undelegated| {
        let cost = realm.map_cost(pool, Ipa::new(at), &[memory.range()], limits);
        let before = issued();
        realm.map(pool, Ipa::new(at), memory).unwrap();
        assert_eq!(issued() - before, cost.calls(), "{cost:?}");
        cost.calls()
    };
    pool.undelegate(&rmm);
    map(&mut pool, 2 * block, second);
    assert_eq!(mapped_at(&realm, 2 * block), Level::L1);
    let whole = range(2 * block, block);
    assert_eq!(realm.memory_at(Ipa::new(3 * block - page)), Some(whole));
    let hole = range(2 * block + block / 2 + page, page);
    let taken = reclaim(&realm, &mut pool, hole);
    assert_eq!(taken.bytes(), page);
    assert_eq!(mapped_at(&realm, 2 * block), Level::L2);
    assert_eq!(mapped_at(&realm, hole.top().raw()), Level::L3);
    assert_eq!(realm.memory_at(hole.base()), None);
    pool.undelegate(&rmm);
    assert_eq!(map(&mut pool, hole.base().raw(), taken), 2);
    let second = reclaim(&realm, &mut pool, whole);
    assert_eq!(second.bytes(), block);

    // By blocks of level 2, and pages where one of these would be; folded to one of level 1.
    let folded = range(3 * block, block);
    realm.make_tables(&mut pool, range(3 * block, page), Level::L3).unwrap();
    pool.undelegate(&rmm);
    map(&mut pool, 3 * block, second);
    assert_eq!(mapped_at(&realm, 3 * block), Level::L3);
    assert_eq!(mapped_at(&realm, 3 * block + middle), Level::L2);
    let done = realm.fold(&mut pool, folded, FoldPolicy::Blocks).unwrap();
    assert_eq!((done.blocks, done.kept), (2, 0));
    assert_eq!(mapped_at(&realm, 3 * block), Level::L1);

    // Shared as one block, and given back.
    let second = reclaim(&realm, &mut pool, folded);
    let alias = realm.geometry().unprotected_alias(Ipa::new(block)).unwrap();
    realm.share(&mut pool, alias, second, SharedAccess::MEMORY).unwrap();
    assert_eq!(mapped_at(&realm, alias.raw()), Level::L1);
    let mut back = 0;
    let mut freeing = CallbackMemory::freeing(&mut pool, |memory| back += memory.bytes());
    realm.unshare(&mut freeing, range(alias.raw(), block)).unwrap();
    drop(freeing);
    assert_eq!(back, block);

    let cost = realm.dismantle_cost(limits);
    let mut realm = realm.terminate().unwrap();
    let (before, mut back) = (issued(), 0);
    let mut freeing = CallbackMemory::freeing(&mut pool, |memory| back += memory.bytes());
    while realm.dismantle(&mut freeing, 1000).unwrap() == DismantleProgress::More {}
    drop(freeing);
    assert_eq!((issued() - before, back), (cost.calls(), block), "{cost:?}");
    assert_eq!(conduit.total().failed, failed);
    assert_eq!(realm.tear_down(&mut pool, []).error, None);
    pool.undelegate(&rmm);
    assert_eq!(ledger.balance().outstanding(), 0);
    let census = model.census();
    assert_eq!(census.undelegated, census.total);
    pool.drain(&rmm, &mut drop);
}

#[test]
fn blocks_of_level_1_take_the_predicted_calls() {
    let table_by_table = Limits { table_by_table: true, ..Limits::RANGES };
    let mut limits = [Limits::RANGES, table_by_table].into_iter().cycle();
    for (granule, block) in SIZES {
        for dialect in Options::DIALECTS {
            with_blocks(dialect, granule, block, limits.next().unwrap());
        }
        limits.next();
    }
}
