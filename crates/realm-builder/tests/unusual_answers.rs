//! Answers that no host expects: teardown ends, and no memory that a Realm may access is the
//! host's.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unsafe_code, reason = "a test calls the model behind the back of the session")]

use std::cell::Cell;

use realm_builder::{Active, Realm, RealmConfig, RealmStorage};
use rmi_abi::result::OpMemReq;
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, GranuleSize, Ipa, IpaRange, ResultWord, Status};
use rmi_conduits::counting::Counting;
use rmi_host::command::SharedAccess;
use rmi_host::{
    Conduit, CountingLedger, FixedQuarantine, Host, Platform, Registers, Rmm, Undelegated,
};
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool};
use test_support::{Altered, take_aligned};

const D: Dialect = Dialect::V1_0;
const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;

/// A Realm of 40 bits whose tables begin at level 1.
fn active<'r, P: Platform>(
    rmm: &'r Rmm<P>,
    storage: &'r mut RealmStorage<32, 8>,
    pool: &mut FixedPool<64>,
) -> Realm<'r, P, Active> {
    let mut config = RealmConfig::new(40);
    config.start_level = Some(Level::L1);
    Realm::create(rmm, &config, storage, pool).unwrap().activate().unwrap()
}

/// DATA_DESTROY is always answered with this status.
fn tear_down(status: Status) -> u64 {
    let model = test_support::model(D);
    let calls = Cell::new(0);
    let conduit = Altered {
        model: &model,
        instead: |call: &Registers| {
            if call[0] != u64::from(Command::DataDestroy.fid(D).unwrap().0) {
                return None;
            }
            calls.set(calls.get() + 1);
            assert!(calls.get() < 100_000, "teardown does not end");
            Some([ResultWord::from_status(status).0, 0, 0, 0, 0, 0, 0, 0])
        },
    };
    let ledger = CountingLedger::new();
    let quarantine = FixedQuarantine::<64>::new();
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<64>(&mut memory, 64 * PAGE);
    let platform = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<32, 8>::new();
    let realm = active(&rmm, &mut storage, &mut pool);
    let block = take_aligned(&mut memory, BLOCK, BLOCK);
    realm.map(&mut pool, Ipa::new(0), block).unwrap();
    let mut host = CallbackMemory::freeing(&mut pool, |memory| {
        let _ = memory.into_raw();
    });
    let torn = realm.tear_down(&mut host, []);
    assert!(torn.error.is_some());
    calls.get()
}

#[test]
fn other_statuses_end() {
    assert!(tear_down(Status::ErrorInput) < 1000);
}

#[test]
fn error_tracking_ends() {
    assert!(tear_down(Status::ErrorTracking) < 1000);
}

/// What a range command began is ended with a status that says why.
fn share_ended_by(status: Status) -> (u64, u32) {
    let d = Dialect::V2_0Bet3;
    let model = test_support::model(d);
    let (mapped, unmapped) = (Cell::new(false), Cell::new(0));
    let conduit = Altered {
        model: &model,
        instead: |call: &Registers| {
            let is = |command: Command| call[0] == u64::from(command.fid(d).unwrap().0);
            if is(Command::RttUnprotMap) {
                // SAFETY: the model has its own memory.
                let reply = unsafe { model.call(*call) };
                assert_eq!(reply[0], 0);
                mapped.set(true);
                return Some([
                    ResultWord::incomplete(OpMemReq::None, false).0,
                    7,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                ]);
            }
            if is(Command::RttUnprotUnmap) {
                unmapped.set(unmapped.get() + 1);
            }
            if is(Command::OpContinue) && mapped.get() {
                return Some([ResultWord::from_status(status).0, 0, 0, 0, 0, 0, 0, 0]);
            }
            None
        },
    };
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<64>(&mut memory, 64 * PAGE);
    let rmm = test_support::open(Host::new(&conduit, &model), &mut pool);
    let mut storage = RealmStorage::<32, 8>::new();
    let realm = active(&rmm, &mut storage, &mut pool);
    let shared = memory.take_front(PAGE).unwrap();
    let failed =
        realm.share(&mut pool, Ipa::new(1 << 39), shared, SharedAccess::MEMORY).unwrap_err();
    let bytes = failed.host.bytes();
    let _ = failed.host.into_raw();
    assert!(mapped.get());
    (bytes, unmapped.get())
}

#[test]
fn memory_that_a_realm_may_access_is_not_the_hosts() {
    for status in [Status::ErrorInput, Status::ErrorTracking] {
        let (host, unmapped) = share_ended_by(status);
        assert!(host == 0 || unmapped > 0, "{status:?}: {host:#x} bytes are mapped and the host's");
    }
}

#[test]
fn a_part_of_a_larger_granule_is_no_progress() {
    let d = Dialect::V2_0Bet3;
    let granule = GranuleSize::Size64KiB;
    let model = Model::new(Options::new(d).with_all_granules()).unwrap();
    let lies = Cell::new(true);
    let conduit = Altered {
        model: &model,
        instead: |call: &Registers| {
            let is_unmap = call[0] == u64::from(Command::RttUnprotUnmap.fid(d).unwrap().0);
            // It has unmapped 4 KiB of the 64 KiB, it says.
            (is_unmap && lies.take()).then_some([0, call[2] + PAGE, 0, 0, 0, 0, 0, 0])
        },
    };
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<64>::new();
    pool.add(memory.take_back(64 * granule.bytes()).unwrap()).unwrap();
    let rmm = test_support::open_with(Host::new(&conduit, &model), granule, &mut pool);
    let mut storage = RealmStorage::<64, 8>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let realm = realm.activate().unwrap();
    let shared = memory.take_front(granule.bytes()).unwrap();
    let at = Ipa::new(1 << 39);
    realm.share(&mut pool, at, shared, SharedAccess::MEMORY).unwrap();
    let range = IpaRange::with_size(at, granule.bytes()).unwrap();
    let mut back = Vec::new();
    let result = {
        let free = |memory: Undelegated| back.push(memory.into_raw());
        realm.unshare(&mut CallbackMemory::freeing(&mut pool, free), range)
    };
    assert!(result.is_err(), "{result:?}");
    assert!(back.iter().all(|range| range.is_aligned(granule.bytes())), "{back:x?}");
}

/// TF-RMM v0.8.0 invalidates 2 MiB of the TLB when it destroys a table of the unprotected half,
/// from the start of what the table covers, whatever its level is: translations by blocks in a
/// table of level 2 stay valid.
#[test]
fn no_table_is_destroyed_with_blocks_in_it() {
    let model = test_support::model(D);
    let conduit = Counting::new(&model);
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<64>(&mut memory, 64 * PAGE);
    let rmm = test_support::open(Host::new(&conduit, &model), &mut pool);
    let mut storage = RealmStorage::<32, 8>::new();
    let realm = active(&rmm, &mut storage, &mut pool);
    let blocks = take_aligned(&mut memory, 2 * BLOCK, BLOCK);
    realm.share(&mut pool, Ipa::new((1 << 39) + BLOCK), blocks, SharedAccess::MEMORY).unwrap();
    assert_eq!(conduit.counts(Command::RttMapUnprotected, D).issued, 2);
    let free = |memory: Undelegated| {
        let _ = memory.into_raw();
    };
    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, free), []).error, None);
    assert_eq!(conduit.counts(Command::RttUnmapUnprotected, D).issued, 2);
}
