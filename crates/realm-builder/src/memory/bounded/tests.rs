extern crate std;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::vec::Vec;

use lock_api::{GuardNoSend, RawMutex};
use rmi_abi::{Dialect, PaRange};
use rmi_host::command::SharedAccess;
use rmi_host::{CountingLedger, SessionOptions, Undelegated};
use rmm_model::{Model, Options};
use sro::{CallbackMemory, FixedPool, Pool, open};

use super::*;
use crate::memory::realm_core::ENTRIES_PER_HOLD;
use crate::plan::Limits;
use crate::shadow::budget::looks;
use crate::shadow::shape::AnyShape;
use crate::{
    Content, FixedRecords, FoldPolicy, PlaneTables, Realm, RealmConfig, Reclaimed, Records, Region,
    ShadowTable, SharedRecord,
};

const PAGE: u64 = 0x1000;
const MIB: u64 = 1 << 20;
const RAM: u64 = 0x4000_0000;
/// Pages of the Realm, none of which can be part of a block.
const BYTES: u64 = 24 * MIB;

std::thread_local! {
    static MOST: Cell<u64> = const { Cell::new(0) };
    static HOLDS: Cell<u64> = const { Cell::new(0) };
}

/// A lock that records how many entries its holders visit.
struct Counting {
    held: AtomicBool,
}

// SAFETY: whoever changes `held` from false to true holds the lock exclusively.
#[expect(unsafe_code, reason = "a lock for tests")]
unsafe impl RawMutex for Counting {
    const INIT: Self = Self { held: AtomicBool::new(false) };
    type GuardMarker = GuardNoSend;

    fn lock(&self) {
        assert!(self.try_lock(), "one thread alone finds it free");
    }

    fn try_lock(&self) -> bool {
        looks::take();
        !self.held.swap(true, Ordering::Acquire)
    }

    unsafe fn unlock(&self) {
        MOST.set(MOST.get().max(looks::take()));
        HOLDS.set(HOLDS.get() + 1);
        self.held.store(false, Ordering::Release);
    }
}

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

/// The most entries visited while the lock was held once, since the last call, and how often it was
/// taken.
fn most() -> (u64, u64) {
    (MOST.take(), HOLDS.take())
}

/// Checks a step of the test: it took the lock, and never visited more entries than allowed while
/// holding it.
fn check(step: &str) {
    let (most, holds) = most();
    assert!(holds > 0, "{step}: the lock was not taken");
    assert!(most <= ENTRIES_PER_HOLD, "{step}: {most} entries in one hold");
}

fn run(mut options: Options) {
    options.features[3] = 3 | 1 << 4 | 1 << 6;
    options.dram = PaRange::with_size(options.dram.base(), 64 * MIB).unwrap();
    let model = Model::new(options).unwrap();
    let mut memory = model.take_memory();
    let pages = memory.take_front(Pool::PAGES).unwrap();
    let mut pool = FixedPool::<16>::new();
    pool.add(pages).unwrap();
    pool.add(memory.take_front(256 * PAGE).unwrap()).unwrap();
    let ledger = CountingLedger::new();
    let host = model.host().with_ledger(&ledger).with_lock::<Counting>();
    let rmm = open(host, SessionOptions::default(), &mut pool).unwrap();

    let mut config = RealmConfig::new(40);
    config.start_level = Some(Level::L1);
    config.num_aux_planes = 1;
    config.plane_tables = Some(PlaneTables::PerPlane);
    let mut tables: Vec<ShadowTable> = std::iter::repeat_with(ShadowTable::new).take(256).collect();
    let mut shared: Vec<SharedRecord> = std::iter::repeat_with(|| None).take(2048).collect();
    let mut fixed = FixedRecords::new();
    let records = Records::new(&mut fixed, &mut tables, &mut shared);
    let mut realm = Realm::create(&rmm, &config, records, &mut pool).unwrap();
    let mut returned: Vec<Undelegated> = Vec::new();

    // The addresses differ in alignment: no part of it is a block.
    let base = memory.base().align_up(2 * MIB).unwrap().checked_add(PAGE).unwrap();
    let before = base.checked_offset_from(memory.base()).unwrap();
    let _rest = memory.take_front(before).unwrap();
    let ram = memory.take_front(BYTES).unwrap();
    let blocks = {
        let to_block = 2 * MIB - memory.base().raw() % (2 * MIB);
        let _rest = memory.take_front(to_block).unwrap();
        memory.take_front(4 * MIB).unwrap()
    };
    most();

    // Empty tables.
    realm.make_tables(&mut pool, range(RAM + 64 * MIB, 64 * MIB), Level::L3).unwrap();
    check("make_tables");
    let mut regions = [Region::new(Ipa::new(RAM), ram, Content::Unspecified)];
    realm.populate(&mut pool, &mut regions).unwrap();
    check("populate");
    assert_eq!(mapped_entries(&realm), BYTES / PAGE);
    assert!(realm.core.next_memory(Ipa::new(RAM + 64 * MIB), Ipa::new(RAM + 128 * MIB)).is_none());
    check("looking at nothing");

    let mut blocks = Some(blocks);
    realm.map(&mut pool, Ipa::new(RAM + 32 * MIB), blocks.take().unwrap()).unwrap();
    check("map");
    let refused =
        realm.map(&mut pool, Ipa::new(RAM + BYTES - PAGE), memory.take_front(PAGE).unwrap());
    returned.push(refused.unwrap_err().kept);
    check("map where memory is");

    let tree = AuxTree::new(1).unwrap();
    realm.map_plane(&mut pool, tree, range(RAM, 64 * MIB)).unwrap();
    check("map_plane");
    let limits = [Limits::ONE_BY_ONE, Limits::RANGES].map(|limits| realm.dismantle_cost(limits));
    assert!(limits[0].calls() > limits[1].calls());
    check("dismantle_cost");
    realm.unmap_plane(tree, range(RAM + 2 * MIB, 6 * MIB)).unwrap();
    check("unmap_plane");

    // A block that is split and folded again.
    realm.make_tables(&mut pool, range(RAM + 32 * MIB, 2 * MIB), Level::L3).unwrap();
    check("splitting a block");
    let folded = realm.fold(&mut pool, range(RAM, 128 * MIB), FoldPolicy::BlocksAndVoid).unwrap();
    assert!(folded.blocks > 0 && folded.void > 0, "{folded:?}");
    check("fold");

    let alias = realm.geometry().unprotected_alias(Ipa::new(RAM)).unwrap();
    for n in 0..1200 {
        let ipa = alias.checked_add(n * 2 * PAGE).unwrap();
        let page = memory.take_front(PAGE).unwrap();
        realm.share(&mut pool, ipa, page, SharedAccess::MEMORY).unwrap();
    }
    assert_eq!(realm.shared_bytes(), 1200 * PAGE);
    check("share");
    realm
        .unshare(
            &mut CallbackMemory::freeing(&mut pool, |back| returned.push(back)),
            range(alias.raw(), 1000 * PAGE),
        )
        .unwrap();
    check("unshare");

    let back = realm
        .reclaim(
            &mut CallbackMemory::freeing(&mut pool, |back| returned.push(back)),
            range(RAM, 10 * MIB),
        )
        .unwrap();
    assert_eq!(back, Reclaimed::Whole);
    check("reclaim");
    let machine = model.options().dram;
    realm
        .evacuate(&mut CallbackMemory::freeing(&mut pool, |back| returned.push(back)), machine)
        .unwrap();
    assert_eq!((realm.memory_bytes(), realm.shared_bytes()), (0, 0));
    check("evacuate");
    assert_eq!(
        realm
            .tear_down(&mut CallbackMemory::freeing(&mut pool, |back| returned.push(back)), [])
            .error,
        None
    );
    let (most, _) = most();
    assert!(most <= ENTRIES_PER_HOLD, "tear_down: {most} entries in one hold");
    pool.drain(&rmm, &mut |back| returned.push(back));
    assert_eq!(ledger.balance().outstanding(), 0);
}

/// All entries that map memory, visited one by one.
fn mapped_entries<P: Platform, S>(realm: &Realm<'_, P, S>) -> u64 {
    let mut entries = 0;
    realm.core.each_memory(Ipa::new(0), realm.geometry().unprotected_base(), |_, _| {
        entries += 1;
        ControlFlow::<()>::Continue(())
    });
    entries
}

#[test]
fn sound_8_the_lock_is_held_for_few_entries_one_by_one() {
    run(Options::new(Dialect::TfRmm2026_07));
}

#[test]
fn sound_8_the_lock_is_held_for_few_entries_by_ranges() {
    run(Options::new(Dialect::V2_0Bet3).range_capable());
}

#[test]
fn sound_8_a_hold_is_counted() {
    // The count for work that is not done in pieces, with which the check would fail.
    let geometry = rmi_abi::rtt::Geometry::with_start_level(40, Level::L1).unwrap();
    let mut tables: Vec<ShadowTable> = std::iter::repeat_with(ShadowTable::new).take(4).collect();
    let mut fixed = FixedRecords::new();
    let lock = lock_api::Mutex::<Counting, _>::new(
        Shadow::<AnyShape>::new(geometry, 0, Records::new(&mut fixed, &mut tables, &mut []))
            .unwrap(),
    );
    most();
    {
        let shadow = lock.lock();
        for page in 0..2 * ENTRIES_PER_HOLD {
            let _ = shadow.walk(Ipa::new(page * PAGE), Level::L3);
        }
    }
    assert_eq!(most(), (2 * ENTRIES_PER_HOLD, 1));
}
