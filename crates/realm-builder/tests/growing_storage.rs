//! Storage of a Realm on the heap: it grows with the Realm, allocates and frees nothing while the
//! Realm's lock is held, refuses as full storage does when there is no memory, and is used again.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unsafe_code, reason = "an allocator and a lock that record how they are used")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::thread;

use lock_api::{GuardNoSend, RawMutex};
use realm_builder::{
    Active, BuildError, Content, Realm, RealmConfig, RealmStorage, Records, Region, ShadowTable,
    SharedRecord,
};
use rmi_abi::{Dialect, Ipa, IpaRange, PaRange};
use rmi_host::command::SharedAccess;
use rmi_host::{CountingLedger, Host, Platform, Rmm, Undelegated};
use rmm_model::{Model, Options};
use sro::{FixedPool, Pool, Session};

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;
const RAM: u64 = 0x4000_0000;
const SHARED: u64 = 1 << 39;
/// Size of the allocations of shadow tables: four.
const CHUNK: usize = 4 * size_of::<ShadowTable>();

thread_local! {
    /// Whether this thread holds the lock of a Realm.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
    /// Allocations and releases by this thread while it held such a lock.
    static WHILE_HELD: Cell<u64> = const { Cell::new(0) };
    /// Chunks of shadow tables that this thread has allocated.
    static CHUNKS: Cell<u64> = const { Cell::new(0) };
    /// Allocations of this thread that fail: those of whole units of this size, from this many
    /// bytes on.
    static NO_MEMORY: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Recording;

fn record(layout: Layout) {
    if HOLDS.get() {
        WHILE_HELD.set(WHILE_HELD.get() + 1);
    }
    if layout.size() == CHUNK {
        CHUNKS.set(CHUNKS.get() + 1);
    }
}

// SAFETY: it is the system's allocator, except that it has no memory sometimes.
unsafe impl GlobalAlloc for Recording {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        record(layout);
        let (unit, least) = NO_MEMORY.get();
        if unit != 0 && layout.size() >= least && layout.size().is_multiple_of(unit) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if HOLDS.get() {
            WHILE_HELD.set(WHILE_HELD.get() + 1);
        }
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Recording = Recording;

/// A lock that says who holds it.
struct Watched(rmi_host::DefaultLock);

// SAFETY: it is the default lock.
unsafe impl RawMutex for Watched {
    const INIT: Self = Self(rmi_host::DefaultLock::INIT);
    type GuardMarker = GuardNoSend;

    fn lock(&self) {
        RawMutex::lock(&self.0);
        HOLDS.set(true);
    }

    fn try_lock(&self) -> bool {
        let locked = RawMutex::try_lock(&self.0);
        HOLDS.set(locked || HOLDS.get());
        locked
    }

    unsafe fn unlock(&self) {
        HOLDS.set(false);
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { RawMutex::unlock(&self.0) };
    }
}

type Frames = FixedPool<512>;
type Machine<'m> = Host<&'m Model, &'m Model, &'m CountingLedger, rmi_host::NoQuarantine, Watched>;
type Running<'r> = Realm<'r, Machine<'r>, Active>;

/// A machine with 16 MiB.
fn model() -> Model {
    let mut options = Options::new(Dialect::TfRmm2026_07);
    options.dram = PaRange::with_size(options.dram.base(), 16 << 20).unwrap();
    Model::new(options).unwrap()
}

fn frames(memory: &mut Undelegated, bytes: u64) -> Frames {
    let mut pool = Frames::new();
    pool.add(memory.take_front(bytes).unwrap()).unwrap();
    pool
}

/// Runs `act` with a session and 4 MiB of memory, and checks that all of it came back.
#[track_caller]
fn with_session(act: impl FnOnce(&Model, &Session<Machine<'_>>, &mut Frames)) {
    let model = model();
    let ledger = CountingLedger::new();
    let mut pool = frames(&mut model.take_memory(), 4 << 20);
    let host = model.host().with_ledger(&ledger).with_lock::<Watched>();
    let rmm = test_support::open(host, &mut pool);
    WHILE_HELD.set(0);
    act(&model, &rmm, &mut pool);
    assert_eq!(WHILE_HELD.get(), 0, "allocated or freed while the lock was held");
    pool.drain(&rmm, &mut |_| {});
    let balance = ledger.balance();
    assert_eq!((balance.outstanding(), balance.exposed), (0, 0), "{balance}");
}

fn create<'r>(
    rmm: &'r Session<Machine<'r>>,
    records: impl Into<Records<'r>>,
    pool: &mut Frames,
) -> Running<'r> {
    Realm::create(rmm, &RealmConfig::new(40), records, pool).unwrap().activate().unwrap()
}

/// Maps and shares `count` pages, none of which is in the same table as another, or beside it.
fn scatter(realm: &Running<'_>, pool: &mut Frames, count: u64) {
    for n in 0..count {
        let page = pool.take_host(PAGE, PAGE).unwrap();
        realm.map(pool, Ipa::new(RAM + n * BLOCK), page).unwrap();
        let page = pool.take_host(PAGE, PAGE).unwrap();
        realm.share(pool, Ipa::new(SHARED + 2 * n * PAGE), page, SharedAccess::MEMORY).unwrap();
    }
}

/// What can be seen of a Realm.
fn observe(realm: &Running<'_>, count: u64) -> (usize, u64, u64, Vec<Option<IpaRange>>) {
    let at = |n| realm.memory_at(Ipa::new(RAM + n * BLOCK));
    let shared = |n| realm.shared_at(Ipa::new(SHARED + n * PAGE));
    let all = (0..count).map(at).chain((0..2 * count).map(shared));
    (realm.tables(), realm.memory_bytes(), realm.shared_bytes(), all.collect())
}

#[test]
fn storage_grows_with_the_realm() {
    const COUNT: u64 = 100;
    let mut seen = Vec::new();
    with_session(|_, rmm, pool| {
        let mut storage = Box::new(RealmStorage::<128, 128>::new());
        let realm = create(rmm, &mut *storage, pool);
        scatter(&realm, pool, COUNT);
        seen.push(observe(&realm, COUNT));
        assert_eq!(realm.tear_down(pool, []).error, None);
    });
    with_session(|_, rmm, pool| {
        let realm = create(rmm, Records::growing(), pool);
        scatter(&realm, pool, COUNT);
        seen.push(observe(&realm, COUNT));
        let pieces = IpaRange::with_size(Ipa::new(SHARED), 2 * COUNT * PAGE).unwrap();
        realm.unshare(pool, pieces).unwrap();
        assert_eq!(realm.shared_bytes(), 0);
        assert_eq!(realm.tear_down(pool, []).error, None);
    });
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].0 > 100 && seen[0].3.iter().flatten().count() == 200);
}

#[test]
fn content_is_populated_in_tables_that_grow() {
    with_session(|_, rmm, pool| {
        let records = Records::growing();
        let mut realm = Realm::create(rmm, &RealmConfig::new(40), records, pool).unwrap();
        let content = [0x5a; 0x2000];
        let mut regions: Vec<_> = (0..20)
            .map(|n| {
                let memory = pool.take_host(2 * PAGE, PAGE).unwrap();
                Region::new(Ipa::new(RAM + n * BLOCK), memory, Content::Measured(&content))
            })
            .collect();
        realm.populate(pool, &mut regions).unwrap();
        assert_eq!(realm.memory_bytes(), 40 * PAGE);
        assert_eq!(realm.tear_down(pool, []).error, None);
    });
}

/// What cannot be allocated is refused before anything changes, as with storage that is full.
#[test]
fn without_memory_it_is_full() {
    with_session(|model, rmm, pool| {
        let no_memory = |unit, least| NO_MEMORY.set((unit, least));
        let config = RealmConfig::new(40);
        let refusal = |error| match error {
            BuildError::Storage { records, missing, .. } => (records, missing),
            other => unreachable!("{other}"),
        };
        // No tables at all.
        let calls = model.calls();
        no_memory(CHUNK, CHUNK);
        let failed = Realm::create(rmm, &config, Records::growing(), pool).unwrap_err();
        no_memory(0, 0);
        assert_eq!((refusal(failed.error).0, model.calls()), ("translation tables", calls));
        // What it returns can be used.
        let realm = create(rmm, failed.kept, pool);
        // With those of the first page, the first four shadow tables are used.
        let page = pool.take_host(PAGE, PAGE).unwrap();
        realm.map(pool, Ipa::new(RAM), page).unwrap();
        assert_eq!(realm.tables(), 4);
        let (calls, far) = (model.calls(), Ipa::new(RAM + (1 << 31)));
        let page = pool.take_host(PAGE, PAGE).unwrap();
        no_memory(CHUNK, CHUNK);
        let failed = realm.map(pool, far, page).unwrap_err();
        no_memory(0, 0);
        assert_eq!(refusal(failed.error), ("translation tables", 2));
        assert_eq!((model.calls(), realm.tables(), realm.memory_bytes()), (calls, 4, PAGE));
        realm.map(pool, far, failed.kept).unwrap();
        assert_eq!((realm.tables(), realm.memory_bytes()), (6, 2 * PAGE));

        // The same for shared memory: eight places are allocated at first.
        let unit = size_of::<SharedRecord>();
        let share = |pool: &mut Frames, n: u64, page| {
            realm.share(pool, Ipa::new(SHARED + 2 * n * PAGE), page, SharedAccess::MEMORY)
        };
        for n in 0..8 {
            let page = pool.take_host(PAGE, PAGE).unwrap();
            share(pool, n, page).unwrap();
        }
        let calls = model.calls();
        let page = pool.take_host(PAGE, PAGE).unwrap();
        no_memory(unit, 9 * unit);
        let failed = share(pool, 8, page).unwrap_err();
        no_memory(0, 0);
        assert_eq!((refusal(failed.error), failed.host.bytes()), (("shared memory", 1), PAGE));
        assert_eq!((model.calls(), realm.shared_bytes()), (calls, 8 * PAGE));
        share(pool, 8, failed.host).unwrap();
        assert_eq!(realm.shared_bytes(), 9 * PAGE);
        assert_eq!(realm.tear_down(pool, []).error, None);
    });
}

/// A table of Realms uses storage again, without allocating it again.
#[test]
fn storage_that_has_grown_is_used_again() {
    with_session(|_, rmm, pool| {
        let mut records = Records::growing();
        let mut allocated = Vec::new();
        for _ in 0..3 {
            let before = CHUNKS.get();
            let realm = create(rmm, records, pool);
            scatter(&realm, pool, 40);
            let ended = realm.tear_down(pool, []);
            assert_eq!(ended.error, None);
            records = ended.storage;
            allocated.push(CHUNKS.get() - before);
        }
        // So many that an eighth is one more.
        assert!(allocated[0] >= 8, "{allocated:?}");
        assert_eq!(allocated[1..], [0, 0]);
    });
}

/// So does one with lent storage.
#[test]
fn storage_that_was_lent_is_used_again() {
    with_session(|_, rmm, pool| {
        let mut storage = Box::new(RealmStorage::<32, 32>::new());
        let mut records = Records::from(&mut *storage);
        for _ in 0..3 {
            let realm = create(rmm, records, pool);
            scatter(&realm, pool, 20);
            let ended = realm.tear_down(pool, []);
            assert_eq!(ended.error, None);
            records = ended.storage;
        }
    });
}

#[test]
fn threads_grow_one_storage() {
    const THREADS: u64 = 4;
    const COUNT: u64 = 40;
    let model = model();
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut pool = frames(&mut memory, 1 << 20);
    let mut pools: Vec<_> = (0..THREADS).map(|_| frames(&mut memory, 1 << 20)).collect();
    let host = Host::new(&model, &model).with_ledger(&ledger).with_lock::<Watched>();
    let rmm = test_support::open(host, &mut pool);
    let realm = create(&rmm, Records::growing(), &mut pool);
    thread::scope(|scope| {
        for (pool, thread) in pools.iter_mut().zip(0..) {
            let realm = &realm;
            scope.spawn(move || {
                WHILE_HELD.set(0);
                for n in (0..COUNT).map(|n| thread * COUNT + n) {
                    // Apart from what others work on, down to the tables.
                    let page = pool.take_host(PAGE, PAGE).unwrap();
                    realm.map(pool, Ipa::new(RAM + n * BLOCK), page).unwrap();
                    let page = pool.take_host(PAGE, PAGE).unwrap();
                    let at = Ipa::new(SHARED + n * BLOCK);
                    realm.share(pool, at, page, SharedAccess::MEMORY).unwrap();
                }
                assert_eq!(WHILE_HELD.get(), 0);
            });
        }
    });
    assert_eq!(realm.memory_bytes(), THREADS * COUNT * PAGE);
    assert_eq!(realm.shared_bytes(), THREADS * COUNT * PAGE);
    let torn = realm.tear_down(&mut sro::CallbackMemory::freeing(&mut pool, drop), []);
    assert_eq!(torn.error, None);
    for pool in pools.iter_mut().chain([&mut pool]) {
        pool.drain(&rmm, &mut |_| {});
    }
    let balance = ledger.balance();
    assert_eq!((balance.outstanding(), balance.exposed), (0, 0), "{balance}");
}

/// A Realm with its own storage needs the lifetime of its session only.
#[test]
fn a_realm_with_its_own_storage_is_returned_from_where_it_is_made() {
    struct Vm<'s, P: Platform> {
        realm: Realm<'s, P, Active>,
        served: u64,
    }
    fn start<'s, P: Platform>(rmm: &'s Rmm<P>, pool: &mut Pool<sro::FixedSlots<512>>) -> Vm<'s, P> {
        let records = Records::growing();
        let realm = Realm::create(rmm, &RealmConfig::new(40), records, pool).unwrap();
        Vm { realm: realm.activate().unwrap(), served: 0 }
    }
    with_session(|_, rmm, pool| {
        let mut vm = start(rmm, pool);
        scatter(&vm.realm, pool, 2);
        vm.served += 2;
        assert_eq!(vm.realm.memory_bytes(), vm.served * PAGE);
        assert_eq!(vm.realm.tear_down(pool, []).error, None);
    });
}
