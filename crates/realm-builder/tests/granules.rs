//! A whole Realm on an RMM with granules of each size: its tables, blocks and measurement are those
//! of the size, and everything is returned.
#![cfg(all(feature = "alloc", feature = "rim"))]
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::{
    Active, BuildError, Content, FixedRecords, FoldPolicy, Realm, RealmConfig, RecStart, Records,
    Region, RegionProblem, Rim, Served, ShadowTable, plan,
};
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::Level;
use rmi_abi::{Dialect, GranuleSize, Ipa, IpaRange, Pa, PaRange};
use rmi_host::command::SharedAccess;
use rmi_host::{AnyDialect, CountingLedger, Host, ServedDialect, Undelegated};
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool};
use test_support::Scale;

const SIZES: [GranuleSize; 3] =
    [GranuleSize::Size4KiB, GranuleSize::Size16KiB, GranuleSize::Size64KiB];
const RAM: u64 = 4 << 30;

fn options(dialect: Dialect) -> Options {
    let mut options = Options::new(dialect).with_all_granules();
    options.dram = PaRange::with_size(Pa::new(4 << 30), 8 << 30).unwrap();
    options
}

/// Storage for `tables` tables of granules of a size.
fn shadow_tables(granule: GranuleSize, tables: usize) -> Vec<ShadowTable> {
    let parts = Scale::new(granule).shadow_tables(tables);
    std::iter::repeat_with(ShadowTable::new).take(parts).collect()
}

/// With storage that is lent, or on the heap, where it grows with the Realm.
fn whole_realm<D: ServedDialect>(dialect: Dialect, granule: GranuleSize, grows: bool) {
    let model = Model::new(options(dialect)).unwrap();
    let mut all = model.take_memory();
    let ledger = CountingLedger::new();
    let mut pool = FixedPool::<32>::new();
    let bytes = granule.bytes();
    pool.add(all.take_front(512 * bytes).unwrap()).unwrap();
    let host = Host::new(&model, &model).with_ledger(&ledger).with_dialect::<D>();
    let rmm = test_support::open_with(host, granule, &mut pool);
    assert_eq!(rmm.granule_size(), granule);
    // The pages through which the host and the RMM communicate are granules.
    for page in [pool.pages().list.range(), pool.pages().page.range()] {
        assert!(page.bytes() == bytes && page.is_aligned(bytes));
    }

    let mut tables = shadow_tables(granule, 8);
    let (mut fixed, mut shared) = (FixedRecords::new(), [const { None }; 8]);
    let records = match grows {
        true => Records::growing(),
        false => Records::new(&mut fixed, &mut tables, &mut shared),
    };
    let config = RealmConfig::new(40);
    let params = config.validate_for(granule, rmm.features(), dialect).unwrap();
    let geometry = params.geometry;
    let mut realm = Realm::create(&rmm, &config, records, &mut pool).unwrap();
    assert_eq!(realm.geometry(), geometry);

    // Content that fills one granule and begins a second one; a block behind it.
    let content: Vec<u8> = (0..bytes + 0x123).map(|n| (n % 251) as u8).collect();
    let block = geometry.entry_bytes(Level::L2);
    let mut take = |bytes, alignment| test_support::take_aligned(&mut all, bytes, alignment);
    let mut regions = [
        Region::new(Ipa::new(RAM + block), take(block, block), Content::Unspecified),
        Region::new(Ipa::new(RAM), take(2 * bytes, bytes), Content::Measured(&content)),
        Region::new(
            Ipa::new(RAM + 2 * bytes),
            take(2 * bytes, bytes),
            Content::Unmeasured(&content),
        ),
    ];
    let mut rim = Rim::new(&params, dialect, &mut |_| {}).unwrap();
    rim.add_regions(&mut regions, geometry, &mut |_| {}).unwrap();
    realm.populate(&mut pool, &mut regions).unwrap();
    let start = RecStart { runnable: true, pc: Ipa::new(RAM), gprs: [0; 8] };
    let rec = realm.create_rec(&mut pool, &start).unwrap();
    let mpidr = Mpidr::from_index(0);
    let boot = RecParams { runnable: true, mpidr, pc: RAM, gprs: [0; 8] };
    rim.add_rec(&boot, &mut |_| {}).unwrap();
    assert_eq!(model.measurement(realm.rd().pa(), 0), Some(rim.value()));
    // A verifier that knows only what was measured computes the same.
    assert_eq!(rec.donated_bytes(), 16 * bytes);

    let rmm_entry = |ipa| rmm.commands().rtt_read_entry(realm.rd(), Ipa::new(ipa), Level::L3);
    assert_eq!(rmm_entry(RAM).unwrap().level, Some(Level::L3));
    assert_eq!(rmm_entry(RAM + block).unwrap().level, Some(Level::L2));
    assert_eq!(realm.memory_bytes(), block + 4 * bytes);
    let whole = IpaRange::with_size(Ipa::new(RAM + block), block).unwrap();
    assert_eq!(realm.memory_at(Ipa::new(RAM + block + bytes)), Some(whole));

    let realm = realm.activate().unwrap();
    let rmm_entry = |ipa| rmm.commands().rtt_read_entry(realm.rd(), Ipa::new(ipa), Level::L3);
    // What is no whole granule is refused before any call.
    if granule != GranuleSize::Size4KiB {
        let calls = model.calls();
        let part = IpaRange::with_size(Ipa::new(RAM), 0x1000).unwrap();
        let error = realm.reclaim(&mut pool, part).unwrap_err().error;
        assert!(is_unaligned(&error), "{error}");
        let memory = take(0x1000, 0x1000);
        let failed = realm.map(&mut pool, Ipa::new(RAM - block), memory).unwrap_err();
        assert!(is_unaligned(&failed.error), "{}", failed.error);
        pool_put(failed.kept);
        assert_eq!(model.calls(), calls);
    }
    // A page out of the middle of the block: it is split, and folded again later.
    let page = IpaRange::with_size(Ipa::new(RAM + block + 3 * bytes), bytes).unwrap();
    let mut back = Vec::new();
    let mut freeing = CallbackMemory::freeing(&mut pool, |memory| back.push(memory));
    let _ = realm.reclaim(&mut freeing, page).unwrap();
    drop(freeing);
    assert_eq!(back.iter().map(Undelegated::bytes).sum::<u64>(), bytes);
    assert_eq!(rmm_entry(RAM + block).unwrap().level, Some(Level::L3));
    realm.map(&mut pool, page.base(), back.pop().unwrap()).unwrap();
    // The RIPAS of the page that was taken away differs from that of the others.
    let folded = realm.fold(&mut pool, whole, FoldPolicy::Blocks).unwrap();
    assert_eq!((folded.blocks, folded.kept), (0, 1));
    let next = IpaRange::with_size(Ipa::new(RAM + 2 * block), block).unwrap();
    realm.make_tables(&mut pool, next, Level::L3).unwrap();
    realm.map(&mut pool, next.base(), take(block, block)).unwrap();
    let folded = realm.fold(&mut pool, next, FoldPolicy::Blocks).unwrap();
    assert_eq!((folded.blocks, folded.kept), (1, 0));
    assert_eq!(rmm_entry(RAM + 2 * block).unwrap().level, Some(Level::L2));

    // Shared by pages and a block.
    let alias = geometry.unprotected_alias(Ipa::new(RAM)).unwrap();
    let memory = take(block + bytes, block);
    realm.share(&mut pool, alias, memory, SharedAccess::MEMORY).unwrap();
    assert_eq!(rmm_entry(alias.raw()).unwrap().level, Some(Level::L2));
    assert_eq!(rmm_entry(alias.raw() + block).unwrap().level, Some(Level::L3));

    let tables = plan::shadow_tables(geometry, core::iter::empty());
    assert_eq!(tables, usize::from(geometry.root_tables()) << (granule.shift() - 12));
    let mut freed = 0;
    let mut freeing = CallbackMemory::freeing(&mut pool, |memory| freed += pool_put(memory));
    let ended = realm.tear_down(&mut freeing, [rec]);
    drop(freeing);
    assert_eq!(ended.error, None);
    assert_eq!(freed, 3 * block + 5 * bytes);
    pool.undelegate(&rmm);
    let closed = rmm.close(&mut pool).unwrap();
    assert!(closed.kept.is_empty());
    let census = model.census();
    assert_eq!(census.undelegated, census.total);
    pool.drain_host(&mut |memory| {
        pool_put(memory);
    });
}

fn is_unaligned(error: &BuildError) -> bool {
    matches!(error, BuildError::Region { problem: RegionProblem::Unaligned, .. })
}

/// Returns the length of memory that is not used any more.
fn pool_put(memory: Undelegated) -> u64 {
    let bytes = memory.bytes();
    let _ = memory.into_raw();
    bytes
}

#[test]
fn a_whole_realm_of_each_granule_size() {
    for dialect in Options::DIALECTS {
        for granule in SIZES {
            whole_realm::<AnyDialect>(dialect, granule, false);
            whole_realm::<AnyDialect>(dialect, granule, true);
        }
    }
}

/// A platform for granules of `4 << (2 * N)` KiB only, without what such a Realm does not use.
enum Only<const N: usize> {}

impl<const N: usize> ServedDialect for Only<N> {
    const DIALECT: Option<Dialect> = None;
    const AUX_TREES: bool = false;
    const GRANULE_SIZE: Option<GranuleSize> = Some(match N {
        0 => GranuleSize::Size4KiB,
        1 => GranuleSize::Size16KiB,
        _ => GranuleSize::Size64KiB,
    });
    const COARSE_TRACKING: bool = false;
}

#[test]
fn a_whole_realm_where_the_granule_size_is_a_constant() {
    for dialect in Options::DIALECTS {
        for grows in [false, true] {
            let [small, middle, large] = SIZES;
            whole_realm::<Only<0>>(dialect, small, grows);
            whole_realm::<Only<1>>(dialect, middle, grows);
            whole_realm::<Only<2>>(dialect, large, grows);
        }
    }
}

/// An active Realm, on an RMM with granules of 16 or 64 KiB, whose memory is `memory`.
fn with_realm(
    granule: GranuleSize,
    test: impl FnOnce(&Realm<'_, Host<&Model, &Model>, Active>, &mut Undelegated),
) {
    let model = Model::new(options(Dialect::V2_0Bet3)).unwrap();
    let mut all = model.take_memory();
    let mut pool = FixedPool::<32>::new();
    pool.add(all.take_front(64 * granule.bytes()).unwrap()).unwrap();
    let rmm = test_support::open_with(Host::new(&model, &model), granule, &mut pool);
    let mut tables = shadow_tables(granule, 8);
    let (mut fixed, mut shared) = (FixedRecords::new(), [const { None }; 8]);
    let records = Records::new(&mut fixed, &mut tables, &mut shared);
    let realm = Realm::create(&rmm, &RealmConfig::new(40), records, &mut pool).unwrap();
    for half in [0, 1 << 39] {
        let first = IpaRange::with_size(Ipa::new(half), granule.bytes()).unwrap();
        realm.make_tables(&mut pool, first, Level::L3).unwrap();
    }
    let realm = realm.activate().unwrap();
    test(&realm, &mut all);
    assert_eq!(realm.tear_down(&mut pool, []).error, None);
}

/// What an embedder's allocator returns that is not whole granules is returned to it.
#[test]
fn a_conversion_shares_whole_granules_only() {
    for granule in [GranuleSize::Size16KiB, GranuleSize::Size64KiB] {
        let bytes = granule.bytes();
        let range = IpaRange::with_size(Ipa::new(0), 4 * bytes).unwrap();
        for (skipped, length) in [(0, 0x1000), (0, bytes + 0x1000), (0x1000, bytes)] {
            with_realm(granule, |realm, memory| {
                let mut pool = FixedPool::<8>::new();
                pool.set_granule_size(granule);
                pool.add(test_support::take_aligned(memory, 2 * bytes, bytes)).unwrap();
                let mut piece = test_support::take_aligned(memory, skipped + length, bytes);
                pool_put(piece.take_front(skipped).unwrap_or_default());
                let (mut given, mut back) = (Some(piece), 0);
                let mut host = CallbackMemory::new(
                    &mut pool,
                    |_| given.take(),
                    |memory| {
                        back += pool_put(memory);
                        Ok(())
                    },
                );
                let stopped = realm.convert_to_shared(&mut host, range, SharedAccess::MEMORY);
                let stopped = stopped.unwrap_err();
                assert!(is_unaligned(&stopped.error), "{stopped}");
                assert_eq!((stopped.reached, realm.shared_bytes()), (range.base(), 0));
                assert_eq!(back, length);
                pool.drain_host(&mut |memory| {
                    pool_put(memory);
                });
            });
        }
    }
}

/// A pool that no session was opened with is asked for granules of the session's size.
#[test]
fn a_pool_of_another_thread_gives_whole_granules() {
    for granule in [GranuleSize::Size16KiB, GranuleSize::Size64KiB] {
        let bytes = granule.bytes();
        let range = IpaRange::with_size(Ipa::new(0), bytes).unwrap();
        with_realm(granule, |realm, memory| {
            let mut pool = FixedPool::<8>::new();
            // Two pages for itself, and one that is no granule.
            pool.add(test_support::take_aligned(memory, 0x3000, bytes)).unwrap();
            assert_eq!(pool.bytes().0, 0x1000);
            let none = realm.serve_fault(&mut pool, Ipa::new(0), range).unwrap_err();
            let is_lack =
                |problem| matches!(problem, RegionProblem::NoMemory { ipa, .. } if ipa.raw() == 0);
            assert!(
                matches!(none, BuildError::Region { problem, .. } if is_lack(problem)),
                "{none}"
            );

            let mut pool = FixedPool::<8>::new();
            pool.add(test_support::take_aligned(memory, 0x3000, bytes)).unwrap();
            let none = realm.convert_to_shared(&mut pool, range, SharedAccess::MEMORY).unwrap();
            assert_eq!((none.bytes, none.without_memory), (0, bytes));
            assert_eq!(pool.bytes().0, 0x1000);

            // Its own pages are granules from now on, and those that it had are free.
            pool.add(test_support::take_aligned(memory, 3 * bytes, bytes)).unwrap();
            let served = realm.serve_fault(&mut pool, Ipa::new(0), range).unwrap();
            assert_eq!(served, Served::Mapped(range));
            assert_eq!(pool.bytes().0, 0x3000);
        });
    }
}
