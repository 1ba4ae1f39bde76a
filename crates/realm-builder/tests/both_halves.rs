//! Work on one half of a Realm's memory in the middle of work on the other.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::{Realm, RealmConfig, RealmStorage};
use rmi_abi::{Dialect, Ipa, IpaRange};
use rmi_host::command::SharedAccess;
use rmi_host::{CountingLedger, Host};
use sro::CallbackMemory;

const PAGE: u64 = 0x1000;

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

/// Serving a fault asks the host for memory, and the host takes it out of what is shared. There are
/// only as many records for shared memory as that alone needs.
#[test]
fn a_fault_is_served_with_what_was_shared() {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let [mut pool, mut other] = [(); 2].map(|()| test_support::pool::<16>(&mut memory, 16 * PAGE));
    let platform = Host::new(&model, &model).with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<16, 3>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let shared = Ipa::new(1 << 39);
    let pages = memory.take_front(8 * PAGE).unwrap();
    realm.share(&mut pool, shared, pages, SharedAccess::MEMORY).unwrap();

    let supply = |void: IpaRange| {
        let mut back = None;
        let out = range(shared.raw() + 3 * PAGE, void.bytes());
        realm
            .unshare(&mut CallbackMemory::freeing(&mut other, |memory| back = Some(memory)), out)
            .unwrap();
        back
    };
    let window = range(0x8000, PAGE);
    realm
        .serve_fault(
            &mut CallbackMemory::new(&mut pool, supply, |_| Ok(())),
            Ipa::new(0x8123),
            window,
        )
        .unwrap();
    assert_eq!((realm.memory_bytes(), realm.shared_bytes()), (PAGE, 7 * PAGE));
    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error, None);
    for mut pool in [pool, other] {
        pool.drain(&rmm, &mut |_| {});
    }
    assert_eq!(ledger.balance().outstanding(), 0);
}
