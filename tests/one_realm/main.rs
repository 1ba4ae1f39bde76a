//! Eight threads, one Realm: they serve its faults, and map, reclaim, share and fold in the same
//! part of its IPA space, each with its own pool. The result is compared with what the model has.
//!
//! `REALM_SDK_SOAK_ROUNDS` sets how many operations each thread makes between two checks of the
//! ledger (20 by default), `REALM_SDK_SOAK_SEED` the seed of the random numbers.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod worker;

use std::num::NonZeroU32;
use std::sync::Barrier;
use std::thread;

use realm_sdk::abi::address::MIN_GRANULE as PAGE;
use realm_sdk::abi::rtt::{Level, RttEntryState};
use realm_sdk::abi::{Command, Dialect, GranuleSize, Ipa, IpaRange, Pa, PaRange};
use realm_sdk::builder::{
    Active, BuildError, FixedRecords, Realm, RealmConfig, Records, ShadowTable, SharedRecord,
};
use realm_sdk::conduits::counting::Counting;
use realm_sdk::host::ledger::OwnershipMap;
use realm_sdk::host::{
    FixedQuarantine, Host, Platform, RetryBudget, SessionOptions, Undelegated, leaked,
};
use realm_sdk::sro::{self, CallbackMemory, GrowingPool, Pool, Session};
use rmm_model::{Model, Options};
use test_support::Scale;
use worker::{Dice, Outcome, Worker, heap};

const THREADS: u64 = 8;
const BLOCK: u64 = 2 << 20;
const PROTECTED: u64 = 0x4000_0000;
const UNPROTECTED: u64 = (1 << 39) + 0x4000_0000;

/// The bytes of the area that all threads work on: four leaf tables in either half.
fn area(scale: Scale) -> u64 {
    4 * scale.block
}

/// The addresses of a range at which memory that is shared there contains its address: those of all
/// pages of 4 KiB, and of as many larger ones as 4 KiB pages are in a block.
fn marks(scale: Scale, base: u64, top: u64) -> impl Iterator<Item = u64> {
    let step = scale.page.max(scale.block / 512);
    (base.next_multiple_of(step)..top).step_by(usize::try_from(step).unwrap())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The entries of a half's area that map something: their IPAs and physical addresses.
fn mapped<P: Platform>(realm: &Realm<'_, P, Active>, base: u64) -> Vec<(IpaRange, Pa)> {
    let mut found = Vec::new();
    let mut at = base;
    while at < base + area(Scale::new(realm.rmm().granule_size())) {
        let entry =
            realm.rmm().commands().rtt_read_entry(realm.rd(), Ipa::new(at), Level::L3).unwrap();
        let bytes = realm.geometry().entry_bytes(entry.level.unwrap());
        let range = IpaRange::with_size(Ipa::new(at - at % bytes), bytes).unwrap();
        if entry.state == RttEntryState::Data {
            found.push((range, Pa::new(entry.desc & 0xffff_ffff_f000)));
        }
        at = range.top().raw();
    }
    found
}

/// Compares the shadow with the RMM's tables, while no thread works.
fn compare<P: Platform>(realm: &Realm<'_, P, Active>, model: &Model, pools: u64, when: &str) {
    let census = model.census();
    assert_eq!(realm.memory_bytes(), census.data * PAGE, "{when}: memory");
    let scale = Scale::new(realm.rmm().granule_size());
    assert_eq!(realm.tables() as u64 * scale.page, census.rtt * PAGE, "{when}: tables");
    assert_eq!(pools, census.delegated * PAGE, "{when}: pools");
    let memory = mapped(realm, PROTECTED);
    let bytes: u64 = memory.iter().map(|(range, _)| range.bytes()).sum();
    assert_eq!(bytes, realm.memory_bytes(), "{when}");
    for (range, _) in memory {
        assert_eq!(realm.memory_at(range.base()), Some(range), "{when}");
    }
    let shared = mapped(realm, UNPROTECTED);
    let bytes: u64 = shared.iter().map(|(range, _)| range.bytes()).sum();
    assert_eq!(bytes, realm.shared_bytes(), "{when}: shared");
    for (range, pa) in shared {
        let piece = realm.shared_at(range.base()).unwrap();
        assert!(piece.contains_range(&range), "{when}: {range} in {piece}");
        let base = range.base().raw();
        for place in marks(scale, base, range.top().raw()) {
            let mut word = [0; 8];
            model.peek(Pa::new(pa.raw() + place - base), &mut word);
            assert_eq!(u64::from_le_bytes(word), place, "{when}: shared memory moved");
        }
    }
}

/// A pool with its pages and so many granules.
fn pool(memory: &mut Undelegated, scale: Scale, granules: u64) -> GrowingPool {
    let mut pool = GrowingPool::new();
    pool.set_granule_size(scale.granule);
    pool.add(memory.take_front(Pool::pages_bytes(scale.granule)).unwrap()).unwrap();
    pool.add(memory.take_front(granules * scale.page).unwrap()).unwrap();
    pool
}

fn open<P: Platform>(
    platform: P,
    memory: &mut Undelegated,
    scale: Scale,
) -> (Session<P>, GrowingPool) {
    let mut pool = pool(memory, scale, 64);
    let mut session = SessionOptions::default();
    session.granule_size = scale.granule;
    // Long enough for an RMM that is in the middle of something else, but not longer than makes
    // sense for waiting for another thread without letting it run.
    session.retry_budget =
        RetryBudget { busy: 500, blocked: 1_000_000, steps: 500, ..RetryBudget::default() };
    let rmm = sro::open(platform, session, &mut pool).unwrap();
    (rmm, pool)
}

/// Random operations of eight threads on one Realm.
fn soak(options: Options, when: &str) {
    soak_with(options, Scale::new(GranuleSize::Size4KiB), when);
}

/// The same on an RMM with granules of some size. Tables and blocks have more entries where they
/// are larger, and take longer.
fn soak_with(options: Options, scale: Scale, when: &str) {
    let rounds = number("REALM_SDK_SOAK_ROUNDS", 20).div_ceil(scale.block / scale.page / 512);
    let seed = number("REALM_SDK_SOAK_SEED", 1);
    let when = format!("{when}, {:?}, seed {seed}", scale.granule);
    let leaked_before = leaked();
    let dialect = options.dialect;
    let model = Model::new(options).unwrap();
    let conduit = Counting::new(&model);
    let (ledger, quarantine) = (OwnershipMap::new(), FixedQuarantine::<8>::new());
    let mut memory = model.take_memory();
    let whole = memory.range();
    let platform = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let (rmm, mut own) = open(platform, &mut memory, scale);
    // Whether a table is uniform is only found out by folding it.
    let failed = || conduit.total().failed - conduit.counts(Command::RttFold, dialect).failed;
    let failed_before = failed();
    let parts = scale.shadow_tables(64);
    let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(parts).collect();
    let mut shared: Vec<SharedRecord> = std::iter::repeat_with(|| None).take(2048).collect();
    let mut fixed = FixedRecords::new();
    let records = Records::new(&mut fixed, &mut tables, &mut shared);
    let realm = Realm::create(&rmm, &RealmConfig::new(40), records, &mut own).unwrap();
    let realm = realm.activate().unwrap();
    let mut workers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let pool = pool(&mut memory, scale, 64);
            let mut heap = heap();
            heap.insert(memory.take_back(2 * scale.block + scale.block / 2).unwrap()).unwrap();
            let dice = Dice::new(seed * THREADS + thread);
            Worker { realm: &realm, pool, heap, dice, scale, done: 0 }
        })
        .collect();
    for phase in 0..4 {
        thread::scope(|scope| {
            for worker in &mut workers {
                scope.spawn(move || worker.work(rounds));
            }
        });
        let pools = workers.iter().map(|worker| worker.pool.bytes().1).sum::<u64>();
        let pools = pools + own.bytes().1;
        compare(&realm, &model, pools, &format!("{when}, phase {phase}"));
    }
    let done: u32 = workers.iter().map(|worker| worker.done).sum();
    assert!(u64::from(done) > rounds, "{when}: only {done} operations were done");
    let mut all = heap();
    for mut worker in workers {
        while let Some(memory) = worker.heap.pop() {
            all.insert(memory).unwrap();
        }
        worker.pool.drain(&rmm, &mut |memory| all.insert(memory).unwrap());
    }
    assert_eq!(
        realm
            .tear_down(
                &mut CallbackMemory::freeing(&mut own, |memory| all.insert(memory).unwrap()),
                []
            )
            .error,
        None
    );
    own.drain(&rmm, &mut |memory| all.insert(memory).unwrap());
    all.insert(memory).unwrap();
    assert_eq!(all.iter().collect::<Vec<_>>(), [whole], "{when}");
    ledger.with(|ownership| ownership.check_balance()).unwrap();
    let census = model.census();
    assert_eq!((census.undelegated, model.open_operations()), (census.total, 0), "{when}");
    assert_eq!((quarantine.len(), leaked()), (0, leaked_before), "{when}");
    assert_eq!(failed(), failed_before, "{when}: refused\n{}", conduit.report(dialect));
}

fn options(dialect: Dialect) -> Options {
    let mut options = Options::new(dialect);
    options.dram = PaRange::with_size(options.dram.base(), 64 << 20).unwrap();
    options
}

/// An RMM that yields, is busy, and says that the objects that it works on are blocked.
fn busy(mut options: Options) -> Options {
    options.yield_every = NonZeroU32::new(7);
    options.busy_every = NonZeroU32::new(5);
    options.blocked_objects = true;
    options
}

#[test]
fn eight_threads_share_a_realm() {
    for (dialect, ranges) in Dialect::ALL.into_iter().zip([false, true].into_iter().cycle()) {
        let with = |ranges| match ranges {
            true => options(dialect).range_capable(),
            false => options(dialect),
        };
        soak(with(ranges), &format!("{dialect}, ranges {ranges}"));
        // An RMM of 1.0 is never busy.
        if dialect.is_2_0() {
            soak(busy(with(!ranges)), &format!("{dialect}, ranges {}, busy", !ranges));
        }
    }
}

#[test]
fn eight_threads_share_a_realm_of_larger_granules() {
    for granule in [GranuleSize::Size16KiB, GranuleSize::Size64KiB] {
        let scale = Scale::new(granule);
        for dialect in Options::DIALECTS {
            let mut options = options(dialect).with_all_granules().range_capable();
            options.dram = PaRange::with_size(Pa::new(scale.block), scale.of(64 << 20)).unwrap();
            soak_with(busy(options), scale, &format!("{dialect}, busy"));
        }
    }
}

type Plain<'a> = Host<&'a Model, &'a Model, &'a OwnershipMap>;

/// A Realm with `tables` shadow tables, and eight threads that act on it. Nothing may
/// be lost.
fn with_threads(
    dialect: Dialect,
    tables: usize,
    act: impl Fn(&mut Worker<'_, '_, Plain<'_>>, u64) + Sync,
) {
    let leaked_before = leaked();
    let model = Model::new(options(dialect).range_capable()).unwrap();
    let ledger = OwnershipMap::new();
    let mut memory = model.take_memory();
    let scale = Scale::new(GranuleSize::Size4KiB);
    let (rmm, mut own) = open(model.host().with_ledger(&ledger), &mut memory, scale);
    let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(tables).collect();
    let mut shared: Vec<SharedRecord> = std::iter::repeat_with(|| None).take(128).collect();
    let mut fixed = FixedRecords::new();
    let records = Records::new(&mut fixed, &mut tables, &mut shared);
    let realm = Realm::create(&rmm, &RealmConfig::new(40), records, &mut own).unwrap();
    let realm = realm.activate().unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let mut part = memory.take_front(3 * BLOCK).unwrap();
            let (realm, rmm, act) = (&realm, &rmm, &act);
            scope.spawn(move || {
                let pool = pool(&mut part, scale, 16);
                let mut heap = heap();
                heap.insert(part).unwrap();
                let dice = Dice::new(thread);
                let mut worker = Worker { realm, pool, heap, dice, scale, done: 0 };
                act(&mut worker, thread);
                worker.pool.drain(rmm, &mut |_| {});
            });
        }
    });
    let place = |memory: &[u8; 8]| u64::from_le_bytes(*memory);
    for (range, pa) in mapped(&realm, UNPROTECTED) {
        for offset in (0..range.bytes()).step_by(0x1000) {
            let mut word = [0; 8];
            model.peek(Pa::new(pa.raw() + offset), &mut word);
            assert_eq!(place(&word), range.base().raw() + offset, "shared memory moved");
        }
    }
    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut own, drop), []).error, None);
    own.drain(&rmm, &mut |_| {});
    assert_eq!(leaked(), leaked_before);
    ledger.with(|ownership| ownership.check_balance()).unwrap();
}

/// All threads need the last shadow table at the same time.
#[test]
fn the_last_shadow_table_goes_to_one_of_them() {
    for dialect in Dialect::ALL.into_iter().cycle().take(200) {
        // The root, a table of level 1 and one of level 2, and three for leaves.
        with_threads(dialect, 6, |worker, thread| {
            let at = Ipa::new(PROTECTED + thread * BLOCK);
            let mut page = worker.heap.take(PAGE, PAGE).unwrap();
            while let Err(failed) = worker.realm.map(&mut worker.pool, at, page) {
                page = failed.kept;
                match failed.error {
                    BuildError::Contended { .. } => thread::yield_now(),
                    BuildError::Storage { .. } => return worker.heap.insert(page).unwrap(),
                    error => panic!("{error}"),
                }
            }
        });
    }
}

/// One thread unshares a part of a shared block, which has to be split for that, while others
/// change the access to the whole block.
#[test]
fn shared_memory_stays_mapped_at_its_address() {
    let whole = IpaRange::with_size(Ipa::new(UNPROTECTED), BLOCK).unwrap();
    let part = IpaRange::with_size(Ipa::new(UNPROTECTED), 3 * PAGE).unwrap();
    for dialect in Dialect::ALL.into_iter().cycle().take(60) {
        let together = Barrier::new(usize::try_from(THREADS).unwrap());
        with_threads(dialect, 16, |worker, thread| {
            if thread == 0 {
                assert!(worker.share(whole) == Outcome::Done);
            }
            together.wait();
            match thread {
                0 => while worker.unshare(part) == Outcome::Contended {},
                1 | 2 => while worker.reshare(whole) == Outcome::Contended {},
                _ => {}
            }
        });
    }
}
