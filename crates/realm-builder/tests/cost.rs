//! The predicted number of calls equals the counted one, for any layout.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "cost/layout.rs"]
mod layout;

use proptest::prelude::*;
use realm_builder::plan::Limits;
use realm_builder::{DismantleProgress, FixedRecords, Realm, RealmConfig, Records};
use rmi_abi::{Dialect, GranuleSize, Ipa, Pa, PaRange};
use rmi_conduits::counting::Counting;
use rmi_host::{Host, Undelegated};
use rmm_model::{GranulesPerCall, Model, Options};
use sro::{CallbackMemory, FixedPool};
use test_support::Scale;

use layout::{GIB, Machine, Mapping, piece};

/// Mostly granules of 4 KiB.
fn scale() -> impl Strategy<Value = Scale> {
    let (middle, large) = (GranuleSize::Size16KiB, GranuleSize::Size64KiB);
    prop_oneof![3 => Just(GranuleSize::Size4KiB), 2 => Just(middle), 1 => Just(large)]
        .prop_map(Scale::new)
}

fn limits() -> impl Strategy<Value = Limits> {
    let granules = prop_oneof![Just(Some(1)), Just(None), (2u64..700).prop_map(Some)];
    (granules, any::<bool>()).prop_map(|(granules_per_call, table_by_table)| Limits {
        granules_per_call,
        table_by_table,
        ..Limits::RANGES
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn mapping_and_dismantling_take_the_predicted_calls(
        pieces in proptest::collection::vec(piece(), 1..10),
        at in layout::page(),
        start in 0u8..2,
        tables_first in proptest::collection::vec((0u64..1 << 20, 2i8..4), 0..4),
        limits in limits(),
        stocked in any::<bool>(),
        dialect in proptest::sample::select(&Options::DIALECTS[..]),
        scale in scale(),
    ) {
        let machine = Machine { options: options(limits, dialect, scale), scale, limits };
        let mapping = Mapping { pieces, at, start, tables_first, stocked, folds: false };
        layout::map_and_dismantle(machine, mapping)?;
    }

    #[test]
    fn populating_takes_the_predicted_calls(
        layout in proptest::collection::vec((piece(), 0u64..5, 0u8..3), 1..6),
        limits in limits(),
        stocked in any::<bool>(),
        dialect in proptest::sample::select(&Options::DIALECTS[..]),
        scale in scale(),
    ) {
        let options = options(limits, dialect, scale);
        layout::populate(Machine { options, scale, limits }, layout, stocked)?;
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
        let rmm = test_support::open_with(platform, granule, &mut pool);
        let mut tables = layout::shadow_tables(scale.shadow_tables(8));
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
