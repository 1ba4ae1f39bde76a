//! Teardown on an RMM of 1.0, where blocks exist by folding and have to be split before they are
//! unmapped, with a pool that has no granule for that.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::{FoldPolicy, Realm, RealmConfig, RealmStorage, Terminated};
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, Ipa, IpaRange};
use rmi_conduits::counting::Counting;
use rmi_host::{Balance, CountingLedger, Error, FixedQuarantine, Host, Platform, Rmm, Undelegated};
use rmm_model::Model;
use sro::{CallbackMemory, FixedPool};
use test_support::take_aligned;

const D: Dialect = Dialect::V1_0;
const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;

/// The number of a terminated Realm's blocks of 2 MiB.
const BLOCKS: u64 = 3;

/// What `act` does to a Realm of blocks whose pool has given all that it had away; returns the
/// balance at the end.
fn with_folded(
    act: impl FnOnce(Realm<'_, TestPlatform<'_>, Terminated>, &mut FixedPool<64>, Undelegated),
) -> (Balance, u64) {
    let model = test_support::model(D);
    let conduit = Counting::new(&model);
    let ledger = CountingLedger::new();
    let quarantine = FixedQuarantine::<64>::new();
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<64>(&mut memory, 64 * PAGE);
    let platform = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<32, 8>::new();
    let mut config = RealmConfig::new(40);
    config.start_level = Some(Level::L1);
    let realm = Realm::create(&rmm, &config, &mut storage, &mut pool).unwrap();
    let realm = realm.activate().unwrap();
    let block = take_aligned(&mut memory, BLOCKS * BLOCK, BLOCK);
    realm.map(&mut pool, Ipa::new(0), block).unwrap();
    let all = IpaRange::with_size(Ipa::new(0), BLOCKS * BLOCK).unwrap();
    let folded = realm.fold(&mut pool, all, FoldPolicy::Blocks).unwrap();
    assert_eq!(folded.blocks, BLOCKS);
    let realm = realm.terminate().unwrap();
    let spare = memory.take_front(PAGE).unwrap();
    empty(&mut pool, &rmm);
    act(realm, &mut pool, spare);
    pool.drain(&rmm, &mut |_| ());
    (ledger.balance(), conduit.counts(Command::DataDestroy, D).issued)
}

type TestPlatform<'p> =
    Host<&'p Counting<&'p Model>, &'p Model, &'p CountingLedger, &'p FixedQuarantine<64>>;

/// Takes everything out of a pool but its pages.
fn empty<P: Platform>(pool: &mut FixedPool<64>, rmm: &Rmm<P>) {
    pool.undelegate(rmm);
    while let Some(memory) = pool.take_host(PAGE, PAGE) {
        let _ = memory.into_raw();
    }
    assert_eq!(pool.bytes(), (0, 0));
}

#[test]
fn dismantling_stops_without_a_granule_and_goes_on_with_one() {
    let (balance, calls) = with_folded(|mut realm, pool, spare| {
        let mut freed = 0;
        for calls in [1, 100] {
            let mut memory = CallbackMemory::freeing(pool, |_| unreachable!());
            let error = realm.dismantle(&mut memory, calls).unwrap_err();
            let Error::NeedMemory { bytes, .. } = error else { panic!("{error}") };
            assert_eq!((bytes, error.command()), (PAGE, Some(Command::RttCreate)));
            assert!(error.is_clean());
            assert_eq!(realm.memory_bytes(), BLOCKS * BLOCK);
        }
        let failed =
            realm.destroy(&mut CallbackMemory::freeing(pool, |_| unreachable!())).unwrap_err();
        assert!(matches!(failed.error, Error::NeedMemory { .. }), "{}", failed.error);
        // One is enough for all blocks, and is in the pool at the end.
        pool.add(spare).unwrap();
        let mut memory = CallbackMemory::freeing(pool, |memory| freed += memory.bytes());
        assert!(failed.kept.destroy(&mut memory).is_ok());
        drop(memory);
        assert_eq!(freed, BLOCKS * BLOCK);
    });
    assert_eq!((balance.outstanding(), balance.quarantined, balance.leaked), (0, 0, 0));
    assert_eq!(calls, BLOCKS * BLOCK / PAGE);
}

#[test]
fn teardown_asks_the_host_for_the_granule() {
    let (balance, calls) = with_folded(|realm, pool, spare| {
        let (mut freed, mut spare, mut asked) = (0, Some(spare), Vec::new());
        let mut memory = CallbackMemory::new(
            pool,
            |page: IpaRange| {
                asked.push(page);
                spare.take()
            },
            |memory| {
                freed += memory.bytes();
                Ok(())
            },
        );
        assert_eq!(realm.destroy_or_quarantine(&mut memory).error, None);
        assert_eq!(freed, BLOCKS * BLOCK);
        // Once, for the first page of the first block.
        assert_eq!(asked, [IpaRange::with_size(Ipa::new(0), PAGE).unwrap()]);
    });
    assert_eq!((balance.outstanding(), balance.quarantined, balance.leaked), (0, 0, 0));
    assert_eq!(calls, BLOCKS * BLOCK / PAGE);
}

#[test]
fn teardown_without_a_granule_quarantines_the_blocks() {
    for gives_nothing in [true, false] {
        let (balance, calls) = with_folded(|realm, pool, _| {
            let mut freed = 0;
            let give = |_: IpaRange| if gives_nothing { None } else { Some(Undelegated::empty()) };
            let mut memory = CallbackMemory::new(pool, give, |memory: Undelegated| {
                freed += memory.bytes();
                Ok(())
            });
            let torn = realm.destroy_or_quarantine(&mut memory);
            assert!(matches!(torn.error, Some(Error::NeedMemory { .. })), "{:?}", torn.error);
            // Nothing of a block that the Realm may access is the host's.
            assert_eq!(freed, 0);
        });
        assert_eq!((balance.outstanding(), balance.leaked), (0, 0), "{balance}");
        assert!(balance.quarantined >= BLOCKS * BLOCK / PAGE, "{balance}");
        assert_eq!(calls, 0);
    }
}
