//! Any sequence of changes to a Realm's memory: the RMM maps what a simple map of pages says,
//! refuses nothing, and in the end all memory is back.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod change;
mod fixture;
mod half;
#[path = "../both/rmms.rs"]
mod rmms;
mod scale;

use std::num::NonZeroU32;

use proptest::prelude::*;
use realm_builder::{
    FixedRecords, NotTerminated, Realm, RealmConfig, Records, ShadowTable, SharedRecord,
};
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Dialect, GranuleSize, PaRange};
use rmi_conduits::counting::Counting;
use rmi_host::granules::{AnyGranules, HostOwned};
use rmi_host::{CountingLedger, Host, HostAccess, Platform, Simulated, Undelegated, leaked};
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool, GranuleSet};

use change::{Change, change};
use fixture::Fixture;
use half::Half;
use rmms::Both;
use scale::Scale;

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;
const GIB: u64 = 1 << 30;
/// The part of each half of the IPA space that is used.
const AREA: u64 = 3 * GIB;

type Heap = GranuleSet<HostOwned, Vec<AnyGranules>>;

/// Which RMM, and which Realm.
#[derive(Clone, Copy, Debug)]
struct Setting {
    dialect: Dialect,
    granule: GranuleSize,
    width: u8,
    activated: bool,
    /// Whether the model is busy at every fifth call, and yields at every third.
    interrupted: bool,
}

fn setting_of(kinds: &'static [(GranuleSize, u8)]) -> impl Strategy<Value = Setting> {
    let dialect = prop::sample::select(&Options::DIALECTS[..]);
    (dialect, prop::sample::select(kinds), any::<bool>(), any::<bool>()).prop_map(
        |(dialect, (granule, width), activated, interrupted)| Setting {
            dialect,
            granule,
            width,
            activated,
            interrupted,
        },
    )
}

fn setting() -> impl Strategy<Value = Setting> {
    setting_of(&[(GranuleSize::Size4KiB, 36), (GranuleSize::Size4KiB, 40)])
}

/// RMMs with larger granules; the walk begins at level 2 or 1.
fn setting_of_larger_granules() -> impl Strategy<Value = Setting> {
    setting_of(&[
        (GranuleSize::Size16KiB, 36),
        (GranuleSize::Size16KiB, 40),
        (GranuleSize::Size64KiB, 42),
        (GranuleSize::Size64KiB, 46),
    ])
}

/// Runs the changes on the model.
fn run_on_model(setting: Setting, mut options: Options, changes: &[Change]) {
    if setting.interrupted {
        options.busy_every = NonZeroU32::new(5);
        options.yield_every = NonZeroU32::new(3);
    }
    let model = Model::new(options).unwrap();
    run_on(setting, &model, model.take_memory(), changes);
    let census = model.census();
    assert_eq!(census.undelegated, census.total);
}

/// Runs the changes on the RMM behind `rmm`, with this memory.
fn run_on(
    setting: Setting,
    rmm: &(impl Simulated + HostAccess),
    mut memory: Undelegated,
    changes: &[Change],
) {
    let (dialect, leaked_before) = (setting.dialect, leaked());
    let (conduit, ledger) = (Counting::new(rmm), CountingLedger::new());
    let whole = memory.range();
    let mut pool = FixedPool::<64>::new();
    pool.add(memory.take_front(256 * setting.granule.bytes()).unwrap()).unwrap();
    let mut heap = Heap::new((0..4096).map(|_| AnyGranules::empty()).collect());
    heap.insert(memory).unwrap();
    let platform = Host::new(&conduit, rmm).with_ledger(&ledger);
    let rmm = test_support::open_with(platform, setting.granule, &mut pool);
    let parts = test_support::Scale::new(setting.granule).shadow_tables(128);
    let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(parts).collect();
    let mut shared: Vec<SharedRecord> = std::iter::repeat_with(|| None).take(128).collect();
    let mut fixed = FixedRecords::new();
    let records = Records::new(&mut fixed, &mut tables, &mut shared);
    let failed_before = conduit.total().failed;
    let realm = Realm::create(&rmm, &RealmConfig::new(setting.width), records, &mut pool).unwrap();
    let left = if setting.activated {
        let realm = realm.activate().unwrap();
        change_all(&realm, &mut pool, &mut heap, changes);
        realm
            .tear_down(
                &mut CallbackMemory::freeing(&mut pool, |memory| heap.insert(memory).unwrap()),
                [],
            )
            .error
    } else {
        change_all(&realm, &mut pool, &mut heap, changes);
        realm
            .tear_down(
                &mut CallbackMemory::freeing(&mut pool, |memory| heap.insert(memory).unwrap()),
                [],
            )
            .error
    };
    assert_eq!(left, None);
    assert_eq!(conduit.total().failed, failed_before, "{}", conduit.report(dialect));
    pool.drain(&rmm, &mut |memory| heap.insert(memory).unwrap());
    assert_eq!(heap.iter().collect::<Vec<_>>(), [whole]);
    let balance = ledger.balance();
    assert_eq!((balance.outstanding(), balance.quarantined, balance.untracked), (0, 0, 0));
    assert_eq!(leaked(), leaked_before);
}

fn change_all<P: Platform, S: NotTerminated>(
    realm: &Realm<'_, P, S>,
    pool: &mut FixedPool<64>,
    heap: &mut Heap,
    changes: &[Change],
) {
    let unprotected = realm.geometry().unprotected_base().raw();
    let (memory, shared) = (Half::default(), Half::default());
    let scale = Scale::new(realm.geometry());
    let mut fixture = Fixture { realm, pool, heap, unprotected, memory, shared, scale };
    for (number, change) in changes.iter().enumerate() {
        fixture.change(&change.scaled(scale));
        assert_eq!(realm.memory_bytes(), fixture.memory.bytes(), "{change:x?}");
        assert_eq!(realm.shared_bytes(), fixture.shared.bytes(), "{change:x?}");
        if number % 8 == 7 {
            fixture.compare();
        }
    }
    fixture.compare();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_of_changes_by_ranges(
        setting in setting(),
        changes in prop::collection::vec(change(), 1..48),
    ) {
        let mut options = Options::new(setting.dialect).range_capable();
        options.dram = PaRange::with_size(options.dram.base(), 4 * GIB).unwrap();
        run_on_model(setting, options, &changes);
    }

    #[test]
    fn any_sequence_of_changes_one_by_one(
        setting in setting(),
        changes in prop::collection::vec(change(), 1..32),
    ) {
        // Too little for blocks of 1 GiB, which would take a million calls.
        let mut options = Options::new(setting.dialect);
        options.dram = PaRange::with_size(options.dram.base(), 24 << 20).unwrap();
        run_on_model(setting, options, &changes);
    }

    #[test]
    fn any_sequence_of_changes_on_another_rmm(
        setting in setting(),
        changes in prop::collection::vec(change(), 1..32),
    ) {
        let both = Both::new();
        run_on(
            Setting { dialect: both.dialect(), ..setting },
            &both,
            both.take_memory(24 << 20),
            &changes,
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_of_changes_with_larger_granules(
        setting in setting_of_larger_granules(),
        by_ranges: bool,
        changes in prop::collection::vec(change(), 1..32),
    ) {
        let mut options = Options::new(setting.dialect).with_all_granules();
        if by_ranges {
            options = options.range_capable();
        }
        let block = Geometry::with_granule(setting.granule, 48).unwrap().entry_bytes(Level::L2);
        options.dram = PaRange::with_size(options.dram.base(), 12 * block).unwrap();
        run_on_model(setting, options, &changes);
    }
}
