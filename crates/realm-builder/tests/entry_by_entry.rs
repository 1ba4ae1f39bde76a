//! The memory of Realms on an RMM of 1.0: pages, blocks that exist only by folding, and tables that
//! are destroyed together with what they share.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::plan::Limits;
use realm_builder::{
    Active, BuildError, Content, FoldPolicy, Realm, RealmConfig, RealmStorage, Reclaimed, Region,
    Rim,
};
use rmi_abi::rtt::{Level, RttEntryState};
use rmi_abi::{Command, Dialect, Ipa, IpaRange, Status};
use rmi_conduits::counting::Counting;
use rmi_host::command::SharedAccess;
use rmi_host::{CountingLedger, Error, Host, Undelegated};
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool, HostMemory, Pool};

const D: Dialect = Dialect::V1_0;
const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;
const SHARED: u64 = 1 << 39;

type Platform<'p> = Host<&'p Counting<&'p Model>, &'p Model, &'p CountingLedger>;

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

/// An active Realm and what a test needs.
struct Fixture<'p> {
    realm: Option<Realm<'p, Platform<'p>, Active>>,
    pool: FixedPool<64>,
    memory: Undelegated,
    conduit: &'p Counting<&'p Model>,
    freed: u64,
}

impl<'p> Fixture<'p> {
    fn issued(&self, command: Command) -> u64 {
        self.conduit.counts(command, D).issued
    }

    fn realm(&self) -> &Realm<'p, Platform<'p>, Active> {
        self.realm.as_ref().unwrap()
    }

    /// Memory that is aligned to `align`, and `offset` bytes more.
    fn take(&mut self, bytes: u64, align: u64, offset: u64) -> Undelegated {
        let skip = self.memory.base().align_up(align).unwrap();
        let skip = skip.checked_offset_from(self.memory.base()).unwrap() + offset;
        let _ = self.memory.take_front(skip).map(Undelegated::into_raw);
        self.memory.take_front(bytes).unwrap()
    }

    fn share(&mut self, ipa: u64, memory: Undelegated) {
        let realm = self.realm.as_ref().unwrap();
        realm.share(&mut self.pool, Ipa::new(ipa), memory, SharedAccess::MEMORY).unwrap();
    }

    fn map(&mut self, ipa: u64, memory: Undelegated) {
        self.realm.as_ref().unwrap().map(&mut self.pool, Ipa::new(ipa), memory).unwrap();
    }

    fn fold(&mut self, range: IpaRange) -> u64 {
        let realm = self.realm.as_ref().unwrap();
        realm.fold(&mut self.pool, range, FoldPolicy::Blocks).unwrap().blocks
    }

    fn reclaim(&mut self, range: IpaRange) {
        let realm = self.realm.as_ref().unwrap();
        let freed = &mut self.freed;
        let mut memory = CallbackMemory::freeing(&mut self.pool, |memory| *freed += memory.bytes());
        assert_eq!(realm.reclaim(&mut memory, range).unwrap(), Reclaimed::Whole);
    }

    fn tear_down(&mut self) {
        let (realm, freed) = (self.realm.take().unwrap(), &mut self.freed);
        let mut memory = CallbackMemory::freeing(&mut self.pool, |memory| *freed += memory.bytes());
        assert_eq!(realm.tear_down(&mut memory, []).error, None);
    }
}

/// No call may fail.
fn with(test: impl FnOnce(&mut Fixture<'_>)) {
    let model = test_support::model(D);
    let conduit = Counting::new(&model);
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<64>::new();
    pool.add(memory.take_back(Pool::PAGES + 64 * PAGE).unwrap()).unwrap();
    let rmm = test_support::open(Host::new(&conduit, &model).with_ledger(&ledger), &mut pool);
    let mut storage = RealmStorage::<32, 8>::new();
    let mut config = RealmConfig::new(40);
    config.start_level = Some(Level::L1);
    let realm = Realm::create(&rmm, &config, &mut storage, &mut pool).unwrap();
    let realm = Some(realm.activate().unwrap());
    let failed = conduit.total().failed;
    let mut fixture = Fixture { realm, pool, memory, conduit: &conduit, freed: 0 };
    test(&mut fixture);
    if fixture.realm.is_some() {
        fixture.tear_down();
    }
    let Fixture { mut pool, .. } = fixture;
    assert_eq!(conduit.total().failed, failed);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0, "{}", ledger.balance());
}

#[test]
fn what_is_shared_goes_with_its_tables() {
    with(|fixture| {
        // Pages of two tables and a half, which are one piece.
        let bytes = 2 * BLOCK + BLOCK / 2;
        let memory = fixture.take(bytes, BLOCK, PAGE);
        fixture.share(SHARED + BLOCK / 2, memory);
        assert_eq!(fixture.issued(Command::RttMapUnprotected), bytes / PAGE);
        let tables = fixture.issued(Command::RttCreate);
        assert_eq!(tables, 1 + 3);
        fixture.tear_down();
        assert_eq!(fixture.issued(Command::RttUnmapUnprotected), 0);
        assert_eq!(fixture.issued(Command::RttDestroy), tables);
        assert_eq!(fixture.freed, bytes);
    });
}

#[test]
fn what_shares_a_table_is_unmapped_before() {
    with(|fixture| {
        // Two pieces in one table, and one alone in another; then a block beside a table of pages.
        for (ipa, pages) in [(SHARED, 2), (SHARED + 8 * PAGE, 3), (SHARED + BLOCK, 4)] {
            let memory = fixture.take(pages * PAGE, PAGE, PAGE);
            fixture.share(ipa, memory);
        }
        let block = fixture.take(BLOCK, BLOCK, 0);
        fixture.share(SHARED + 4 * BLOCK, block);
        // The table above the block has others below it.
        fixture.tear_down();
        // The block, and one of the two pieces that have a table in common.
        assert_eq!(fixture.issued(Command::RttUnmapUnprotected), 1 + 3);
        assert_eq!(fixture.issued(Command::RttDestroy), 3);
        assert_eq!(fixture.freed, BLOCK + 9 * PAGE);
    });
}

#[test]
fn a_root_entry_is_unmapped_by_a_call() {
    with(|fixture| {
        let memory = fixture.take(BLOCK, BLOCK, 0);
        fixture.share(SHARED, memory);
        let tables = fixture.issued(Command::RttCreate);
        assert_eq!((tables, fixture.issued(Command::RttMapUnprotected)), (1, 1));
        fixture.tear_down();
        assert_eq!(fixture.issued(Command::RttUnmapUnprotected), 1);
        assert_eq!((fixture.issued(Command::RttDestroy), fixture.freed), (1, BLOCK));
    });
}

#[test]
fn unsharing_names_the_level_of_the_entry() {
    with(|fixture| {
        // A block, and pages that are aligned as a block is, because a table was there.
        let block = fixture.take(BLOCK, BLOCK, 0);
        fixture.share(SHARED, block);
        let tables = range(SHARED + BLOCK, PAGE);
        let realm = fixture.realm.as_ref().unwrap();
        realm.make_tables(&mut fixture.pool, tables, Level::L3).unwrap();
        let pages = fixture.take(BLOCK, BLOCK, 0);
        fixture.share(SHARED + BLOCK, pages);
        assert_eq!(fixture.issued(Command::RttMapUnprotected), 1 + 512);
        let freed = &mut fixture.freed;
        let mut memory =
            CallbackMemory::freeing(&mut fixture.pool, |memory| *freed += memory.bytes());
        let realm = fixture.realm.as_ref().unwrap();
        realm.unshare(&mut memory, range(SHARED, 2 * BLOCK)).unwrap();
        drop(memory);
        assert_eq!(fixture.issued(Command::RttUnmapUnprotected), 1 + 512);
        assert_eq!(fixture.freed, 2 * BLOCK);
    });
}

#[test]
fn a_block_is_split_before_it_is_unmapped() {
    with(|fixture| {
        let memory = fixture.take(2 * BLOCK, BLOCK, 0);
        fixture.map(0, memory);
        assert_eq!(fixture.issued(Command::DataCreateUnknown), 1024);
        assert_eq!(fixture.fold(range(0, 2 * BLOCK)), 2);
        let realm = fixture.realm();
        let entry = realm.rmm().commands().rtt_read_entry(realm.rd(), Ipa::new(0), Level::L3);
        let entry = entry.unwrap();
        assert_eq!((entry.level, entry.state), (Some(Level::L2), RttEntryState::Data));

        // A part of one, and the whole of the other.
        let made = fixture.issued(Command::RttCreate);
        fixture.reclaim(range(PAGE, 2 * PAGE));
        assert_eq!(fixture.issued(Command::RttCreate), made + 1);
        fixture.reclaim(range(BLOCK, BLOCK));
        assert_eq!(fixture.issued(Command::RttCreate), made + 2);
        assert_eq!(fixture.issued(Command::DataDestroy), 2 + 512);
        assert_eq!(fixture.freed, BLOCK + 2 * PAGE);
    });
}

#[test]
fn teardown_splits_blocks_with_the_granules_that_folding_freed() {
    with(|fixture| {
        let memory = fixture.take(3 * BLOCK, BLOCK, 0);
        fixture.map(0, memory);
        assert_eq!(fixture.fold(range(0, 3 * BLOCK)), 3);
        let delegated = fixture.issued(Command::GranuleDelegate);
        let cost = fixture.realm().dismantle_cost(Limits::ENTRY_BY_ENTRY);
        assert_eq!((cost.create, cost.destroy, cost.unmap), (3, 1 + 3, 3 * 512));
        let made = fixture.issued(Command::RttCreate);
        fixture.tear_down();
        assert_eq!(fixture.issued(Command::RttCreate), made + 3);
        assert_eq!(fixture.issued(Command::RttDestroy), 1 + 3);
        assert_eq!(fixture.issued(Command::DataDestroy), 3 * 512);
        assert_eq!(fixture.issued(Command::GranuleDelegate), delegated);
        assert_eq!(fixture.freed, 3 * BLOCK);
    });
}

/// With two granules, of which one is for the table at the alias, one block could be split.
#[test]
fn a_conversion_obtains_the_tables_of_all_blocks_first() {
    with(|fixture| {
        // Apart in physical memory, so that they are unmapped one after the other.
        for ipa in [0, BLOCK] {
            let block = fixture.take(BLOCK, BLOCK, 0);
            fixture.map(ipa, block);
            let _ = fixture.take(PAGE, PAGE, 0).into_raw();
        }
        let both = range(0, 2 * BLOCK);
        assert_eq!(fixture.fold(both), 2);
        let rmm = fixture.realm().rmm();
        fixture.pool.undelegate(rmm);
        let rest = fixture.pool.bytes().0 - 2 * PAGE;
        let mut elsewhere = fixture.pool.take_host(rest, PAGE);
        let realm = fixture.realm.take().unwrap();
        let mut freed = 0;
        let mut host = CallbackMemory::freeing(&mut fixture.pool, |it| freed += it.bytes());
        let stopped = realm.convert_to_shared(&mut host, both, SharedAccess::MEMORY).unwrap_err();
        assert!(matches!(stopped.error, BuildError::Call(Error::NeedMemory { .. })), "{stopped}");
        assert_eq!((stopped.reached, realm.memory_bytes()), (Ipa::new(0), 2 * BLOCK));
        assert_eq!(realm.shared_bytes(), 0);

        host.pool().add(elsewhere.take().unwrap()).unwrap();
        let converted = realm.convert_to_shared(&mut host, both, SharedAccess::MEMORY).unwrap();
        assert_eq!((converted.bytes, realm.shared_bytes()), (2 * BLOCK, 2 * BLOCK));
        drop(host);
        assert_eq!(freed, 0);
        fixture.realm = Some(realm);
    });
}

/// Without a granule for the table of the first block, teardown stops before anything changes.
#[test]
fn teardown_goes_on_when_it_has_a_granule() {
    with(|fixture| {
        let block = fixture.take(BLOCK, BLOCK, 0);
        fixture.map(0, block);
        assert_eq!(fixture.fold(range(0, BLOCK)), 1);
        let rmm = fixture.realm().rmm();
        let mut elsewhere = Vec::new();
        let mut empty = FixedPool::<64>::new();
        empty.add(fixture.memory.take_front(Pool::PAGES).unwrap()).unwrap();
        core::mem::replace(&mut fixture.pool, empty).drain(rmm, &mut |it| elsewhere.push(it));
        let mut realm = fixture.realm.take().unwrap().terminate().unwrap();
        let stopped = realm.dismantle(&mut fixture.pool, u32::MAX).unwrap_err();
        assert!(matches!(stopped, Error::NeedMemory { bytes: PAGE, .. }), "{stopped:?}");
        assert_eq!(realm.memory_bytes(), BLOCK);

        let mut granules = elsewhere.pop().unwrap();
        fixture.pool.add(granules.take_front(PAGE).unwrap()).unwrap();
        let freed = &mut fixture.freed;
        let mut memory =
            CallbackMemory::freeing(&mut fixture.pool, |memory| *freed += memory.bytes());
        assert!(realm.destroy(&mut memory).is_ok());
        drop(memory);
        assert_eq!(fixture.freed, BLOCK);
    });
}

/// The measurement of RAM does not depend on where its memory is.
#[test]
fn scattered_memory_is_measured_as_ram_without_memory_is() {
    let measured = |pieces: &[(u64, u64)]| {
        let model = test_support::model(D);
        let mut memory = model.take_memory();
        let mut pool = test_support::pool::<64>(&mut memory, 64 * PAGE);
        let rmm = test_support::open(model.host(), &mut pool);
        let config = RealmConfig::new(40);
        let mut storage = RealmStorage::<32, 0>::new();
        let mut realm = Realm::create(&rmm, &config, &mut storage, &mut pool).unwrap();
        let mut at = BLOCK;
        let mut regions = Vec::new();
        for (bytes, gap) in pieces.iter().copied() {
            let ipa = Ipa::new(at);
            at += bytes;
            if gap == u64::MAX {
                regions.push(Region::without_memory(ipa, bytes));
                continue;
            }
            let _ = memory.take_front(gap).map(Undelegated::into_raw);
            let part = memory.take_front(bytes).unwrap();
            regions.push(Region::new(ipa, part, Content::Unspecified));
        }
        realm.populate(&mut pool, &mut regions).unwrap();
        let value = model.measurement(realm.rd().pa(), 0).unwrap();
        assert_eq!(realm.tear_down(&mut pool, []).error, None);
        pool.drain(&rmm, &mut |_| {});
        let params = config.validate(rmm.features(), D).unwrap();
        let mut rim = Rim::new(&params, D, &mut |_| {}).unwrap();
        let mut whole = [Region::without_memory(Ipa::new(BLOCK), at - BLOCK)];
        rim.add_regions(&mut whole, params.geometry, &mut |_| {}).unwrap();
        assert_eq!(value, rim.value(), "{pieces:?}");
    };
    measured(&[(3 * BLOCK, PAGE)]);
    measured(&[(BLOCK, 0), (2 * BLOCK, PAGE)]);
    measured(&[(PAGE, PAGE), (BLOCK - PAGE, u64::MAX), (BLOCK / 2, 3 * PAGE), (3 * BLOCK / 2, 0)]);
    measured(&[(BLOCK + 5 * PAGE, u64::MAX), (BLOCK - 5 * PAGE, 2 * PAGE), (BLOCK, u64::MAX)]);
}

/// Whether a PMU may have no counters depends on the CPU, which no feature tells: the RMM refuses
/// it (as TF-RMM v0.8.0 without `FEAT_HPMN0`), and all memory comes back. More counters than there
/// are, are refused before any call.
#[test]
fn a_pmu_without_counters_is_refused_by_the_rmm() {
    for (counters, status) in [(0, Some(Status::ErrorInput)), (1, None), (4, None), (5, None)] {
        let mut options = Options::new(D);
        // A PMU, with four counters.
        options.features[0] |= 1 << 26 | 4 << 27;
        let model = Model::new(options).unwrap();
        let ledger = CountingLedger::new();
        let mut memory = model.take_memory();
        let mut pool = test_support::pool::<64>(&mut memory, 64 * PAGE);
        let rmm = test_support::open(model.host().with_ledger(&ledger), &mut pool);
        let mut storage = RealmStorage::<32, 8>::new();
        let mut config = RealmConfig::new(40);
        config.pmu_num_ctrs = Some(counters);
        let calls = model.calls();
        match Realm::create(&rmm, &config, &mut storage, &mut pool) {
            Ok(realm) => {
                assert!((1..=4).contains(&counters));
                assert_eq!(realm.terminate().unwrap().tear_down(&mut pool, []).error, None);
            }
            Err(failed) if counters > 4 => {
                assert!(matches!(failed.error, BuildError::Config(_)), "{}", failed.error);
                assert_eq!(model.calls(), calls);
            }
            Err(failed) => {
                let BuildError::Call(error) = failed.error else { panic!("{}", failed.error) };
                assert_eq!((error.status(), counters), (status, 0));
                assert!(error.is_clean());
            }
        }
        pool.drain(&rmm, &mut |_| {});
        assert_eq!(ledger.balance().outstanding(), 0);
    }
}
