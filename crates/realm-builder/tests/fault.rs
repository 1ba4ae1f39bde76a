//! Faults, served with more and with less memory than was asked for.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::{BuildError, Realm, RealmConfig, RealmStorage, RegionProblem, Served};
use rmi_abi::{Dialect, Ipa, IpaRange};
use rmi_host::{CountingLedger, Undelegated};
use sro::CallbackMemory;

const RAM: u64 = 0x4000_0000;
const MIB: u64 = 1 << 20;
const PAGE: u64 = 0x1000;

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

#[test]
fn a_fault_is_served_however_little_there_is() {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let mut memory = model.take_memory();
    let ledger = CountingLedger::new();
    let mut pool = test_support::pool::<16>(&mut memory, 64 << 12);
    let platform = model.host().with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<16, 0>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let realm = realm.activate().unwrap();
    let window = range(RAM, 8 * MIB);
    let fault = Ipa::new(RAM + 0x5123);
    let mut returned = Vec::new();

    // No memory at all.
    let served = realm.serve_fault(&mut CallbackMemory::freeing(&mut pool, drop), fault, window);
    let Err(BuildError::Region { problem: RegionProblem::NoMemory { ipa, .. }, .. }) = served
    else {
        panic!("{served:?}");
    };
    assert_eq!(ipa, Ipa::new(RAM + 0x5000));

    // Three pages, which do not reach from the start of the hole to the address: they are mapped at
    // the address.
    let mut left = 3;
    let pages = |_: IpaRange| {
        left -= 1;
        (left >= 0).then(|| memory.take_front(PAGE).unwrap())
    };
    let served = realm
        .serve_fault(&mut CallbackMemory::new(&mut pool, pages, |_| Ok(())), fault, window)
        .unwrap();
    assert_eq!(served, Served::Mapped(range(RAM + 0x5000, 3 * PAGE)));
    assert_eq!(realm.memory_bytes(), 3 * PAGE);

    // The address is mapped now; no memory is asked for.
    let served = realm.serve_fault(
        &mut CallbackMemory::new(&mut pool, |_| unreachable!(), |_| Ok(())),
        fault,
        window,
    );
    assert_eq!(served.unwrap(), Served::Present);

    // Enough memory: the rest of the 2 MiB is mapped, on both sides, and no more.
    let plenty = |void: IpaRange| memory.take_front(void.bytes());
    let next = Ipa::new(RAM + 0x9000);
    realm
        .serve_fault(&mut CallbackMemory::new(&mut pool, plenty, |_| Ok(())), next, window)
        .unwrap();
    assert_eq!(realm.memory_bytes(), 2 * MIB);

    // What exceeds the request is given back.
    let much = |_: IpaRange| memory.take_front(4 * MIB);
    let keep = &mut |host: Undelegated| returned.push(host);
    let far = Ipa::new(RAM + 2 * MIB + 0x1f_f000);
    realm
        .serve_fault(
            &mut CallbackMemory::new(&mut pool, much, |host| {
                keep(host);
                Ok(())
            }),
            far,
            window,
        )
        .unwrap();
    assert_eq!(realm.memory_bytes(), 4 * MIB);
    assert_eq!(returned.iter().map(Undelegated::bytes).sum::<u64>(), 2 * MIB);

    // Outside the window there is no fault to serve.
    let outside = Ipa::new(RAM + 8 * MIB);
    let served = realm.serve_fault(&mut CallbackMemory::freeing(&mut pool, drop), outside, window);
    let problem =
        matches!(served, Err(BuildError::Region { problem: RegionProblem::Elsewhere { .. }, .. }));
    assert!(problem, "{served:?}");

    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error, None);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
}
