//! The predicted number of calls equals the counted one, on both RMMs, and no call fails.

use realm_builder::plan::{Cost, Limits};
use realm_builder::{Content, FixedRecords, Realm, RealmConfig, Records, Region, ShadowTable};
use rmi_abi::Ipa;
use rmi_conduits::counting::Counting;
use rmi_host::{Host, Undelegated};
use sro::{CallbackMemory, FixedPool, Pool};

use crate::rmms::{Both, D};
use crate::{MIB, PAGE};

const RAM: u64 = 0x8000_0000;

#[test]
fn what_is_predicted_is_counted() {
    let both = Both::new();
    if both.dialect() != D {
        return;
    }
    let conduit = Counting::new(&both);
    let mut memory = both.take_memory(64 * MIB);
    let mut pool = FixedPool::<64>::new();
    pool.add(memory.take_back(Pool::PAGES).unwrap()).unwrap();
    // One run, so that it takes as few calls as possible.
    pool.add(memory.take_back(256 * PAGE).unwrap()).unwrap();
    let platform = Host::new(&conduit, &both);
    let rmm = test_support::open(platform, &mut pool);
    let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(64).collect();
    let mut fixed = FixedRecords::new();
    let records = Records::new(&mut fixed, &mut tables, &mut []);
    let mut realm = Realm::create(&rmm, &RealmConfig::new(40), records, &mut pool).unwrap();
    let counted = |expected: Cost, did: &mut dyn FnMut()| {
        let before = conduit.total();
        did();
        let after = conduit.total();
        assert_eq!(after.failed, before.failed, "{}", conduit.report(D));
        assert_eq!(after.issued - before.issued, expected.calls(), "{expected:?}");
    };
    let limits = Limits::ONE_BY_ONE;

    // Blocks, measured content, and pages that extend across tables.
    let content = vec![0x5a; 3 << 20];
    let blocks = memory.take_front(8 * MIB).unwrap();
    let measured = memory.take_front(3 * MIB).unwrap();
    let skewed = memory.take_front(2 * MIB + 3 * PAGE).unwrap();
    let mut regions = [
        Region::new(Ipa::new(RAM), blocks, Content::Unspecified),
        Region::new(Ipa::new(RAM + 8 * MIB), measured, Content::Measured(&content)),
        Region::new(Ipa::new(RAM + 12 * MIB - PAGE), skewed, Content::Unspecified),
        // RAM without memory, between pages at its ends.
        Region::without_memory(Ipa::new(RAM + 16 * MIB - PAGE), 40 * MIB + 3 * PAGE),
    ];
    let cost = realm.populate_cost(&mut pool, &mut regions, limits);
    counted(cost, &mut || realm.populate(&mut pool, &mut regions).unwrap());
    let realm = realm.activate().unwrap();

    // Scattered pages, by lists.
    let mut pages: Vec<Undelegated> = (0..700)
        .map(|_| {
            let page = memory.take_front(PAGE).unwrap();
            let _ = memory.take_front(PAGE).unwrap().into_raw();
            page
        })
        .collect();
    let ranges: Vec<_> = pages.iter().map(Undelegated::range).collect();
    let at = Ipa::new(RAM + 32 * MIB);
    let cost = realm.map_cost(&mut pool, at, &ranges, limits);
    counted(cost, &mut || realm.map_scattered(&mut pool, at, &mut pages).unwrap());

    let cost = realm.dismantle_cost(limits);
    let bytes = realm.memory_bytes();
    let mut realm = realm.terminate().unwrap();
    let mut returned = 0;
    counted(cost, &mut || {
        let give_back = &mut |memory: Undelegated| returned += memory.bytes();
        while realm
            .dismantle(&mut CallbackMemory::freeing(&mut pool, &mut *give_back), 100)
            .unwrap()
            == realm_builder::DismantleProgress::More
        {}
    });
    assert_eq!(returned, bytes);
    assert!(realm.destroy(&mut CallbackMemory::freeing(&mut pool, drop)).is_ok());
    pool.drain(&rmm, &mut |_| {});
}
