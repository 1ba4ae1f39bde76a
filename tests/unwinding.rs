//! Code of the embedder panics at any point of any operation on random Realms, and the program
//! continues: there is no token of host memory for what the RMM or a Realm has, no memory has two
//! tokens, nothing stays claimed, and what is lost is counted. The model says who owns each
//! granule.
//!
//! `REALM_SDK_UNWIND_CASES` is the number of Realms, `REALM_SDK_UNWIND_SEED` the first of their
//! seeds.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests, and panics on purpose")]
#![expect(unsafe_code, reason = "a conduit and an access that pass promises on")]

use std::cell::Cell;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};

use realm_sdk::abi::address::MIN_GRANULE;
use realm_sdk::abi::rtt::{Level, RttEntryState};
use realm_sdk::abi::{Command, Dialect, Ipa, IpaRange, Pa, PaRange};
use realm_sdk::builder::{
    Active, BuildError, Content, FoldPolicy, Realm, RealmConfig, RealmStorage, RecStart, Reclaimed,
    Region,
};
use realm_sdk::conduits::tracing::Tracing;
use realm_sdk::host::command::SharedAccess;
use realm_sdk::host::granules::{AnyGranules, HostOwned};
use realm_sdk::host::{
    AccessFault, Conduit, FixedQuarantine, Host, HostAccess, Ledger, LedgerEvent, Machine,
    Platform, Quarantine, Quarantined, Registers, RetryBudget, Rmm, SessionOptions, Undelegated,
    dropped_host_granules, leaked,
};
use realm_sdk::sro::{CallbackMemory, FixedPool, GranuleSet, HostMemory, Pool, RecObject, open};
use rmm_model::{GranuleState, Model, Options};

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 0x20_0000;
const DRAM: u64 = 16 << 20;
const RAM: u64 = 0x4000_0000;
/// The address where memory is shared.
const SHARED: u64 = 1 << 35;

thread_local! {
    /// Calls into the embedder's code up to the one that panics; 0 for never.
    static COUNTDOWN: Cell<u64> = const { Cell::new(0) };
    /// Panics so far.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

const ON_PURPOSE: &str = "a panic on purpose";

/// Counts a call into the embedder's code, and panics if it is the one.
fn may_panic() {
    let left = COUNTDOWN.get();
    COUNTDOWN.set(left.saturating_sub(1));
    if left == 1 {
        PANICS.set(PANICS.get() + 1);
        panic!("{ON_PURPOSE}");
    }
}

/// Conduit, memory, ledger and quarantine of the embedder, each of which may panic before and after
/// its work.
struct Embedder<'m> {
    model: &'m Model,
    quarantine: FixedQuarantine<256>,
}

// SAFETY: the answers are the model's.
unsafe impl Conduit for Embedder<'_> {
    fn open_sessions(&self) -> &rmi_host::OpenSessions {
        self.model.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        may_panic();
        // SAFETY: the caller's promise is passed on unchanged.
        let answer = unsafe { self.model.call(registers) };
        may_panic();
        answer
    }
}

// SAFETY: the memory is the model's.
unsafe impl HostAccess for Embedder<'_> {
    fn machine(&self) -> Machine {
        self.model.machine()
    }

    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        may_panic();
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { self.model.read(at, into) }
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        may_panic();
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { self.model.write(at, from) }
    }
}

impl Ledger for Embedder<'_> {
    fn record(&self, _: LedgerEvent, _: PaRange) {
        may_panic();
    }
}

impl Quarantine for Embedder<'_> {
    fn put(&self, quarantined: Quarantined) -> Result<(), Quarantined> {
        may_panic();
        let put = self.quarantine.put(quarantined);
        may_panic();
        put
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

type Storage = RealmStorage<48, 48>;
type Heap = GranuleSet<HostOwned, Vec<AnyGranules>>;

/// The random numbers of a run, and the host memory of the embedder.
struct Runner {
    random: Random,
    heap: Heap,
}

impl Runner {
    /// Does something that may panic on purpose; returns `None` if it does.
    fn attempt<T>(&mut self, body: impl FnOnce(&mut Heap) -> T) -> Option<T> {
        self.attempt_one_in(1, body)
    }

    /// As [`Runner::attempt`], for something without which little can be done: it panics less
    /// often.
    fn attempt_one_in<T>(&mut self, n: u64, body: impl FnOnce(&mut Heap) -> T) -> Option<T> {
        // Early and late calls are equally likely.
        let reach = 1 << self.random.below(9);
        let panics = self.random.one_in(n) && !self.random.one_in(3);
        let countdown = if panics { 1 + self.random.below(reach) } else { 0 };
        COUNTDOWN.set(countdown);
        let outcome = catch_unwind(AssertUnwindSafe(|| body(&mut self.heap)));
        COUNTDOWN.set(0);
        match outcome {
            Ok(done) => Some(done),
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map_or("?", String::as_str);
                assert_eq!(said, ON_PURPOSE);
                None
            }
        }
    }

    fn take(&mut self, bytes: u64, alignment: u64) -> Undelegated {
        self.heap.take(bytes, alignment).unwrap_or_default()
    }

    fn pages(&mut self, base: u64) -> IpaRange {
        let first = self.random.below(6);
        let pages = 1 + self.random.below(6);
        IpaRange::with_size(Ipa::new(base + first * PAGE), pages * PAGE).unwrap()
    }
}

/// The memory object of the embedder, each function of which may panic before and after its
/// work. It refuses some of what it is to take back.
struct Store<'l> {
    pool: &'l mut FixedPool<128>,
    heap: &'l mut Heap,
    /// Pages that it gives away.
    pages: u32,
    freed: u32,
}

impl<'l> Store<'l> {
    fn new(pool: &'l mut FixedPool<128>, heap: &'l mut Heap, pages: u32) -> Self {
        Self { pool, heap, pages, freed: 0 }
    }
}

impl HostMemory for Store<'_> {
    fn pool(&mut self) -> &mut Pool {
        may_panic();
        self.pool
    }

    fn allocate(&mut self, _: IpaRange) -> Option<Undelegated> {
        may_panic();
        self.pages = self.pages.checked_sub(1)?;
        let page = self.heap.take(PAGE, PAGE);
        may_panic();
        page
    }

    fn free(&mut self, granules: Undelegated) -> Result<(), Undelegated> {
        may_panic();
        self.freed += 1;
        if self.freed.is_multiple_of(5) {
            return Err(granules);
        }
        self.heap.insert(granules).unwrap();
        may_panic();
        Ok(())
    }
}

/// Memory is given back to the host.
fn insert(heap: &mut Heap) -> impl FnMut(Undelegated) {
    move |memory| {
        may_panic();
        heap.insert(memory).unwrap();
    }
}

fn options(random: &mut Random) -> Options {
    let dialect = Dialect::from_index(u8::try_from(random.below(5)).unwrap()).unwrap();
    let mut options = Options::new(dialect);
    options.dram = PaRange::with_size(options.dram.base(), DRAM).unwrap();
    if !random.one_in(3) {
        options = options.range_capable();
    }
    if !dialect.is_2_0() {
        // It has no operations, and is never busy.
        return options;
    }
    let some = |random: &mut Random| NonZeroU32::new(u32::try_from(random.below(5)).unwrap());
    (options.busy_every, options.yield_every) = (some(random), some(random));
    options.busy_every = options.busy_every.filter(|every| every.get() > 1);
    options.can_cancel = random.one_in(2);
    options.contiguous_donations = random.one_in(3);
    options.realm_create_donates = u16::try_from(random.below(2) * 4).unwrap();
    if dialect == Dialect::V2_0Bet3 {
        options.rmm_activate_donates = u16::try_from(random.below(2) * 4).unwrap();
    }
    options
}

/// One Realm, from the first call to the last. Returns whether anything panicked.
fn run(seed: u64) -> bool {
    let mut random = Random(seed);
    let model = Model::new(options(&mut random)).unwrap();
    let embedder = Embedder { model: &model, quarantine: FixedQuarantine::new() };
    let whole = model.take_memory();
    let range = whole.range();
    let mut heap = Heap::new((0..512).map(|_| AnyGranules::empty()).collect());
    heap.insert(whole).unwrap();
    let mut runner = Runner { random, heap };
    let before = (leaked(), dropped_host_granules(), PANICS.get());
    let mut reached = Vec::new();
    // It is here until all is counted: what a Realm leaves must not stay in it.
    let mut storage = Storage::new();
    let donated = {
        let mut pool = FixedPool::<128>::new();
        pool.add(runner.take(Pool::PAGES, PAGE)).unwrap();
        pool.add(runner.take(96 * PAGE, 16 * PAGE)).unwrap();
        let donated =
            session(&model, &embedder, &mut runner, &mut pool, (&mut storage, &mut reached));
        pool.drain_host(&mut |memory| runner.heap.insert(memory).unwrap());
        donated
    };

    // No memory twice, and none that the RMM or a Realm has.
    let mut known: Vec<PaRange> = runner.heap.iter().collect();
    for range in &known {
        let states = (range.base().raw()..range.top().raw()).step_by(0x1000);
        for pa in states.map(Pa::new) {
            let state = model.granule_state(pa);
            assert_eq!(state, Some(GranuleState::Undelegated), "seed {seed}: a token for {pa}");
            assert!(!reached.contains(&pa), "seed {seed}: a Realm reaches {pa}");
        }
    }
    embedder.quarantine.for_each(|range, _| known.push(range));
    known.sort();
    for (one, next) in known.iter().zip(known.iter().skip(1)) {
        assert!(one.top() <= next.base(), "seed {seed}: twice: {one} and {next}");
    }
    // What is lost is counted.
    let here: u64 = known.iter().map(|range| range.bytes() / MIN_GRANULE).sum();
    let counted = (leaked() - before.0) + (dropped_host_granules() - before.1);
    let lost = range.bytes() / MIN_GRANULE - here;
    assert_eq!(lost, counted, "seed {seed}: {lost} granules are lost and {counted} are counted");
    let panicked = PANICS.get() != before.2;
    // The RMM keeps what it was given for its activation.
    assert!(panicked || lost == donated, "seed {seed}: {lost} granules are lost without a panic");
    panicked
}

/// Opens a session; returns how many granules the RMM was given for its activation.
fn session(
    model: &Model,
    embedder: &Embedder<'_>,
    runner: &mut Runner,
    pool: &mut FixedPool<128>,
    (storage, reached): (&mut Storage, &mut Vec<Pa>),
) -> u64 {
    let dialect = model.options().dialect;
    // The sink of a trace is called after each call.
    let traced = Tracing::new(embedder, |_: core::fmt::Arguments<'_>| may_panic(), dialect);
    let platform = Host::new(traced, embedder)
        .with_ledger(embedder)
        .with_quarantine(embedder)
        .with_relax(may_panic);
    let mut options = SessionOptions::default();
    options.retry_budget =
        RetryBudget { busy: 20, blocked: 20, steps: 200, contended: 20, ..RetryBudget::default() };
    let opened = runner.attempt_one_in(8, |_| open(platform, options, pool).ok());
    let Some(Some(rmm)) = opened else { return 0 };
    let donated = rmm.donated().bytes() / MIN_GRANULE;
    realm(model, &rmm, runner, pool, (storage, reached));
    let _ = runner.attempt(|_| pool.undelegate(&rmm));
    let _ = runner.attempt(|heap| embedder.quarantine.retry(&rmm, insert(heap)));
    // What the pool lends is given back to it; but where an operation cannot be cancelled, the page
    // of the list may have been offered to the RMM.
    let (offers, pages) = (!model.options().can_cancel, pool.pages());
    assert!(pages.page.bytes() == PAGE && (offers || pages.list.bytes() == PAGE));
    // Without panics, so that what is left is what was lost.
    pool.undelegate(&rmm);
    embedder.quarantine.retry(&rmm, |memory| runner.heap.insert(memory).unwrap());
    donated
}

fn realm<P: Platform>(
    model: &Model,
    rmm: &Rmm<P>,
    runner: &mut Runner,
    pool: &mut FixedPool<128>,
    (storage, reached): (&mut Storage, &mut Vec<Pa>),
) {
    let config = RealmConfig::new(36);
    let Some(Ok(mut realm)) = runner.attempt_one_in(6, |heap| {
        Realm::create(rmm, &config, storage, &mut Store::new(pool, heap, 0))
    }) else {
        return;
    };
    let rd = realm.rd().pa();
    let image = [0xa5; 0x2800];
    let mut regions = [
        Region::new(Ipa::new(RAM), runner.take(4 * PAGE, PAGE), Content::Measured(&image)),
        Region::new(Ipa::new(RAM + BLOCK), runner.take(BLOCK, BLOCK), Content::Unspecified),
    ];
    let _ = runner.attempt(|heap| realm.populate(&mut Store::new(pool, heap, 0), &mut regions));
    for region in regions {
        runner.heap.insert(region.into_memory()).unwrap();
    }
    let mut recs = Vec::new();
    let start = RecStart { runnable: true, pc: Ipa::new(RAM), gprs: [0; 8] };
    if let Some(Ok(rec)) =
        runner.attempt(|heap| realm.create_rec(&mut Store::new(pool, heap, 0), &start))
    {
        recs.push(rec);
    }
    match runner.attempt_one_in(6, |_| realm.activate()) {
        Some(Ok(realm)) => {
            change(&realm, runner, pool);
            end(realm, recs, runner, pool);
        }
        Some(Err(failed)) => end(failed.kept, recs, runner, pool),
        None => {}
    }
    *reached = reachable(model, rd);
}

/// The addresses at which these protected addresses are shared.
fn private_alias(range: IpaRange) -> IpaRange {
    IpaRange::with_size(Ipa::new(range.base().raw() | SHARED), range.bytes()).unwrap()
}

/// Changes the Realm's memory, in any order; afterwards nothing is claimed.
fn change<P: Platform>(
    realm: &Realm<'_, P, Active>,
    runner: &mut Runner,
    pool: &mut FixedPool<128>,
) {
    for _ in 0..4 + runner.random.below(24) {
        let private = runner.pages(RAM + 2 * BLOCK);
        let shared = runner.pages(SHARED);
        match runner.random.below(13) {
            0 | 1 => {
                let mut memory = runner.take(private.bytes(), PAGE);
                let mapped = runner.attempt(|heap| {
                    realm.map(&mut Store::new(pool, heap, 0), private.base(), memory.take())
                });
                if let Some(Err(failed)) = mapped {
                    runner.heap.insert(failed.kept).unwrap();
                }
            }
            2 | 3 => {
                let mut memory = runner.take(shared.bytes(), PAGE);
                let access = SharedAccess::MEMORY;
                let given = runner.attempt(|heap| {
                    realm.share(
                        &mut Store::new(pool, heap, 0),
                        shared.base(),
                        memory.take(),
                        access,
                    )
                });
                if let Some(Err(failed)) = given {
                    runner.heap.insert(failed.host).unwrap();
                }
            }
            4 => {
                let _ = runner
                    .attempt(|heap| realm.reclaim(&mut Store::new(pool, heap, 0), private).is_ok());
            }
            5 => {
                let _ = runner
                    .attempt(|heap| realm.unshare(&mut Store::new(pool, heap, 0), shared).is_ok());
            }
            6 => {
                let access = SharedAccess::MEMORY;
                let _ = runner.attempt(|heap| {
                    realm.convert_to_shared(&mut Store::new(pool, heap, 2), private, access).is_ok()
                });
            }
            7 => {
                let window = IpaRange::with_size(Ipa::new(RAM + 2 * BLOCK), BLOCK).unwrap();
                let _ = runner.attempt(|heap| {
                    let page = private.base();
                    realm.serve_fault(&mut Store::new(pool, heap, 3), page, window).is_ok()
                });
            }
            8 => {
                let _ = runner.attempt(|heap| {
                    realm.convert_to_private(&mut Store::new(pool, heap, 0), private).is_ok()
                });
            }
            9 => {
                // Some of the machine's memory is removed from it.
                let bytes = 16 * PAGE;
                let base = 0x8000_0000 + runner.random.below(DRAM / bytes) * bytes;
                let leaving = PaRange::with_size(Pa::new(base), bytes).unwrap();
                let _ = runner.attempt(|heap| {
                    realm.evacuate(&mut Store::new(pool, heap, 0), leaving).is_ok()
                });
            }
            10 => {
                let mut pages: Vec<_> = (0..4).map(|_| runner.take(PAGE, PAGE)).collect();
                let _ = runner.attempt(|heap| {
                    realm
                        .map_scattered(&mut Store::new(pool, heap, 0), private.base(), &mut pages)
                        .is_ok()
                });
                for memory in pages {
                    runner.heap.insert(memory).unwrap();
                }
            }
            11 => {
                let access = SharedAccess::MEMORY;
                let _ = runner.attempt(|heap| {
                    realm.reshare(&mut Store::new(pool, heap, 0), shared, access).is_ok()
                });
            }
            _ => {
                let block = IpaRange::with_size(Ipa::new(RAM + BLOCK), BLOCK).unwrap();
                let page = IpaRange::with_size(block.base(), PAGE).unwrap();
                let policy = FoldPolicy::BlocksAndVoid;
                let _ = runner.attempt(|heap| {
                    realm.make_tables(&mut Store::new(pool, heap, 0), page, Level::L3).is_ok()
                });
                let _ = runner.attempt(|heap| {
                    realm.fold(&mut Store::new(pool, heap, 0), block, policy).is_ok()
                });
            }
        }
    }
    // Whatever panicked, every part of the Realm can be worked on.
    let heap = &mut runner.heap;
    let mut insert = |memory| heap.insert(memory).unwrap();
    let everything = IpaRange::with_size(Ipa::new(RAM), 4 * BLOCK).unwrap();
    let reclaimed = realm.reclaim(&mut CallbackMemory::freeing(pool, &mut insert), everything);
    assert!(!matches!(reclaimed, Ok(Reclaimed::Contended(_))), "{reclaimed:?}");
    for range in [SHARED, RAM + 2 * BLOCK].map(|base| {
        let range = IpaRange::with_size(Ipa::new(base), 16 * PAGE).unwrap();
        if base == SHARED { range } else { private_alias(range) }
    }) {
        let unshared = realm.unshare(&mut CallbackMemory::freeing(pool, &mut insert), range);
        let unshared = unshared.map_err(BuildError::from);
        assert!(!matches!(unshared, Err(BuildError::Contended { .. })), "{unshared:?}");
    }
}

/// The end of a Realm in any state: sometimes with a panic, too.
fn end<P: Platform, S>(
    realm: Realm<'_, P, S>,
    recs: Vec<RecObject>,
    runner: &mut Runner,
    pool: &mut FixedPool<128>,
) {
    if runner.random.one_in(3) {
        let _ = runner.attempt(|heap| realm.tear_down(&mut Store::new(pool, heap, 0), recs).error);
    } else {
        let _ = realm.tear_down(
            &mut CallbackMemory::freeing(pool, |memory| runner.heap.insert(memory).unwrap()),
            recs,
        );
    }
}

/// Host memory that the Realm at `rd` still reaches, at the addresses where any is ever shared;
/// empty if the Realm is destroyed.
fn reachable(model: &Model, rd: Pa) -> Vec<Pa> {
    let fid = Command::RttReadEntry.fid(model.options().dialect).unwrap();
    let level = Level::L3;
    let places = [SHARED, SHARED | (RAM + 2 * BLOCK)];
    let pages = places.into_iter().flat_map(|base| (0..16).map(move |page| base + page * PAGE));
    let read = |ipa| {
        let registers = [fid.0.into(), rd.raw(), ipa, level.to_register(), 0, 0, 0, 0];
        // SAFETY: the command names no memory of the host, and nothing else uses the model.
        unsafe { model.call(registers) }
    };
    let mapped = |[x0, level, state, desc, ..]: Registers| {
        let found = Level::from_register(level) == Some(Level::L3)
            && u8::try_from(state).map(RttEntryState::from) == Ok(RttEntryState::Data);
        (x0 == 0 && found).then_some(Pa::new(desc & 0x000f_ffff_ffff_f000))
    };
    pages.map(read).filter_map(mapped).collect()
}

#[test]
fn sound_1_whatever_panics_memory_has_an_owner_or_is_counted() {
    let number = |name, otherwise| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let cases: u64 = number("REALM_SDK_UNWIND_CASES", 150);
    let seed: u64 = number("REALM_SDK_UNWIND_SEED", 1);
    // Panics on purpose are not printed.
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<String>().is_none_or(|said| said != ON_PURPOSE) {
            quiet(info);
        }
    }));
    let panicked = (seed..seed + cases).filter(|seed| run(*seed)).count();
    println!("{panicked} of {cases} Realms had a panic");
    assert!(panicked as u64 > cases / 2);
}
