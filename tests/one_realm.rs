//! Eight threads, one Realm: they serve its faults, map, take back, share and fold in the same part of its IPA space, each with a pool of its own. The model says what the
//! Realm really has.
//!
//! `REALM_SDK_SOAK_ROUNDS` sets how many operations each thread makes between two looks at the books (20 unless told), `REALM_SDK_SOAK_SEED` where the dice begin.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::num::NonZeroU32;
use std::thread;

use realm_sdk::abi::address::MIN_GRANULE as PAGE;
use realm_sdk::abi::rtt::{Level, RttEntryState};
use realm_sdk::abi::{Command, Dialect, Ipa, IpaRange, Pa, PaRange};
use realm_sdk::builder::{
    Active, BuildError, FoldPolicy, Realm, RealmConfig, Records, RegionProblem, SharedRoom,
    TableRoom,
};
use realm_sdk::host::command::SharedAccess;
use realm_sdk::host::counting::Counting;
use realm_sdk::host::granules::Host as HostHand;
use realm_sdk::host::ledger::OwnershipMap;
use realm_sdk::host::{
    Discovered, Host, Patience, Platform, QuarantineShelf, Rmm, SessionOptions, Undelegated, leaked,
};
use realm_sdk::sro::{GranuleSet, Pool, activate};
use rmm_model::{Model, Options};

const THREADS: u64 = 8;
const BLOCK: u64 = 2 << 20;
/// Where the threads meet: four leaf tables in either half.
const AREA: u64 = 4 * BLOCK;
const PROTECTED: u64 = 0x4000_0000;
const UNPROTECTED: u64 = (1 << 39) + 0x4000_0000;

type Heap = GranuleSet<HostHand, Vec<Undelegated>>;

fn heap() -> Heap {
    Heap::new((0..8192).map(|_| Undelegated::empty()).collect())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Dice: xorshift64.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        let at = self.roll(of.len() as u64);
        *of.get(usize::try_from(at).unwrap()).unwrap()
    }

    /// Pages, mostly few of them, or whole blocks; somewhere in the area at `base`.
    fn range(&mut self, base: u64) -> IpaRange {
        let unit = if self.roll(6) == 0 { BLOCK } else { PAGE };
        let most = if unit == BLOCK { 2 } else { self.pick(&[4, 64, 600]) };
        let bytes = unit * (1 + self.roll(most));
        let at = unit * self.roll((AREA - bytes) / unit + 1);
        IpaRange::with_size(Ipa::new(base + at), bytes).unwrap()
    }
}

/// One thread's own things.
struct Worker<'r, 'm, P> {
    realm: &'r Realm<'r, 'm, P, Active>,
    pool: Pool<'static>,
    heap: Heap,
    dice: Dice,
    done: u32,
}

/// Memory for `bytes`, as contiguous as it can be had.
fn take_up_to(heap: &mut Heap, bytes: u64) -> Option<Undelegated> {
    let (_, run) = heap.longest_run(PAGE)?;
    let alignment = if bytes >= BLOCK && run >= 2 * BLOCK { BLOCK } else { PAGE };
    heap.take(bytes.min(run), alignment).or_else(|| heap.take(bytes.min(run), PAGE))
}

/// What became of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Another thread was there.
    Contended,
    /// Another thread had been there before, or memory is short.
    Taken,
}

fn settle(result: Result<(), BuildError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(BuildError::Contended { .. }) => Outcome::Contended,
        Err(BuildError::Region {
            problem: RegionProblem::Overlap { .. } | RegionProblem::NoMemory { .. },
            ..
        }) => Outcome::Taken,
        Err(error) => panic!("{error:?}"),
    }
}

impl<P: Platform> Worker<'_, '_, P> {
    fn work(&mut self, rounds: u64) {
        for _ in 0..rounds {
            let (kind, range) = (self.dice.roll(12), self.dice.range(PROTECTED));
            let shared = self.dice.range(UNPROTECTED);
            let mut operate = || match kind {
                0..=2 => self.serve(range),
                3 => self.map(range),
                4 => self.map_scattered(range),
                5 | 6 => self.reclaim(range),
                7 => self.fold(range),
                8 | 9 => self.share(shared),
                10 => self.unshare(shared),
                _ => self.reshare(shared),
            };
            let mut outcome = operate();
            while outcome == Outcome::Contended {
                thread::yield_now();
                outcome = operate();
            }
            self.done += u32::from(outcome == Outcome::Done);
        }
    }

    fn serve(&mut self, window: IpaRange) -> Outcome {
        let Self { realm, pool, heap, dice, .. } = self;
        let at = window.base().raw() + dice.roll(window.bytes());
        let (mut back, mut generous) = (Vec::new(), dice.roll(6));
        let mut supply = |void: IpaRange| {
            generous = generous.checked_sub(1)?;
            let bytes = if dice.roll(2) == 0 { PAGE } else { void.bytes() };
            take_up_to(heap, bytes)
        };
        let served = realm.serve_fault(pool, Ipa::new(at), window, &mut supply, &mut |memory| {
            back.push(memory);
        });
        for memory in back {
            self.heap.insert(memory).unwrap();
        }
        settle(served.map(|_| ()))
    }

    fn map(&mut self, range: IpaRange) -> Outcome {
        let Some(memory) = take_up_to(&mut self.heap, range.bytes()) else { return Outcome::Taken };
        match self.realm.map(&mut self.pool, range.base(), memory) {
            Ok(()) => Outcome::Done,
            Err(failed) => {
                self.heap.insert(failed.kept).unwrap();
                settle(Err(failed.error))
            }
        }
    }

    fn map_scattered(&mut self, range: IpaRange) -> Outcome {
        let pages = (range.bytes() / PAGE).min(24);
        let mut memory: Vec<_> = (0..pages).map_while(|_| self.heap.take(PAGE, PAGE)).collect();
        if self.dice.roll(2) == 0 {
            memory.reverse();
        }
        if memory.is_empty() {
            return Outcome::Taken;
        }
        let result = self.realm.map_scattered(&mut self.pool, range.base(), &mut memory);
        for memory in memory {
            assert!(result.is_err() || memory.is_empty());
            self.heap.insert(memory).unwrap();
        }
        settle(result)
    }

    fn reclaim(&mut self, range: IpaRange) -> Outcome {
        let heap = &mut self.heap;
        settle(self.realm.reclaim(&mut self.pool, range, &mut |memory| {
            heap.insert(memory).unwrap();
        }))
    }

    fn fold(&mut self, range: IpaRange) -> Outcome {
        let policy = self.dice.pick(&[FoldPolicy::Blocks, FoldPolicy::BlocksAndVoid]);
        settle(self.realm.fold(&mut self.pool, range, policy).map(|_| ()))
    }

    /// Shares memory in which every page says where it is to be.
    fn share(&mut self, range: IpaRange) -> Outcome {
        let Some(mut memory) = take_up_to(&mut self.heap, range.bytes()) else {
            return Outcome::Taken;
        };
        for offset in (0..memory.bytes()).step_by(0x1000) {
            let word = (range.base().raw() + offset).to_le_bytes();
            self.realm.rmm().write_host(&mut memory, offset, &word).unwrap();
        }
        let access = SharedAccess::MEMORY;
        match self.realm.share(&mut self.pool, range.base(), memory, access) {
            Ok(()) => Outcome::Done,
            Err(failed) => {
                self.heap.insert(failed.host).unwrap();
                settle(Err(failed.error))
            }
        }
    }

    fn unshare(&mut self, range: IpaRange) -> Outcome {
        let heap = &mut self.heap;
        settle(self.realm.unshare(&mut self.pool, range, &mut |memory| {
            heap.insert(memory).unwrap();
        }))
    }

    fn reshare(&mut self, range: IpaRange) -> Outcome {
        let (heap, mut access) = (&mut self.heap, SharedAccess::MEMORY);
        access.permissions.write = self.dice.roll(2) == 0;
        settle(self.realm.reshare(&mut self.pool, range, access, &mut |memory| {
            heap.insert(memory).unwrap();
        }))
    }
}

/// The entries of a half's area that map something: their IPAs, and where they lead.
fn mapped<P: Platform>(realm: &Realm<'_, '_, P, Active>, base: u64) -> Vec<(IpaRange, Pa)> {
    let mut found = Vec::new();
    let mut at = base;
    while at < base + AREA {
        let entry = realm.rmm().rtt_read_entry(realm.rd(), Ipa::new(at), Level::L3).unwrap();
        let bytes = entry.level.unwrap().entry_bytes();
        let range = IpaRange::with_size(Ipa::new(at - at % bytes), bytes).unwrap();
        if entry.state == RttEntryState::Data {
            found.push((range, Pa::new(entry.desc & 0xffff_ffff_f000)));
        }
        at = range.top().raw();
    }
    found
}

/// Nobody is at work: what the shadow says is what the RMM has.
fn compare<P: Platform>(realm: &Realm<'_, '_, P, Active>, model: &Model, pools: u64, when: &str) {
    let census = model.census();
    assert_eq!(realm.memory_bytes(), census.data * PAGE, "{when}: memory");
    assert_eq!(realm.tables() as u64, census.rtt, "{when}: tables");
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
        for offset in (0..range.bytes()).step_by(0x1000) {
            let mut word = [0; 8];
            model.peek(Pa::new(pa.raw() + offset), &mut word);
            let place = range.base().raw() + offset;
            assert_eq!(u64::from_le_bytes(word), place, "{when}: shared memory moved");
        }
    }
}

fn open<P: Platform>(platform: P, memory: &mut Undelegated) -> (Rmm<P>, Pool<'static>) {
    let mut pool = Pool::growing(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(64 * PAGE).unwrap()).unwrap();
    let mut session = SessionOptions::default();
    // Long enough for an RMM in the middle of something else, and no longer than it pays to wait for another thread without letting it run.
    session.patience = Patience { busy: 500, blocked: 1_000_000, steps: 500 };
    let found = Discovered::probe(platform, session).map_err(|failed| failed.error).unwrap();
    let rmm = activate(found, &mut pool).map_err(|failed| failed.error).unwrap().rmm;
    (rmm, pool)
}

/// What may happen to one Realm with eight threads at work.
fn soak(options: Options, when: &str) {
    let (rounds, seed) = (number("REALM_SDK_SOAK_ROUNDS", 20), number("REALM_SDK_SOAK_SEED", 1));
    let when = format!("{when}, seed {seed}");
    let leaked_before = leaked();
    let dialect = options.dialect;
    let model = Model::new(options).unwrap();
    let door = Counting::new(&model);
    let (ledger, quarantine) = (OwnershipMap::new(), QuarantineShelf::<8>::new());
    let mut memory = model.take_memory();
    let whole = memory.range();
    let platform = Host::new(&door, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let (rmm, mut pool) = open(platform, &mut memory);
    // Whether a table is uniform is only found out by asking.
    let failed = || door.total().failed - door.counts(Command::RttFold, dialect).failed;
    let failed_before = failed();
    let mut tables: Vec<_> = std::iter::repeat_with(TableRoom::new).take(64).collect();
    let mut shared: Vec<SharedRoom> = std::iter::repeat_with(|| None).take(2048).collect();
    let records = Records { tables: &mut tables, shared: &mut shared };
    let realm = Realm::create(&rmm, &RealmConfig::new(40), records, &mut pool).unwrap();
    let realm = realm.activate().map_err(|failed| failed.error).unwrap();
    let mut workers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let pages = memory.take_front(Pool::PAGES).unwrap();
            let mut pool = Pool::growing(pages).unwrap();
            pool.add(memory.take_front(64 * PAGE).unwrap()).unwrap();
            let mut heap = heap();
            heap.insert(memory.take_back(2 * BLOCK + BLOCK / 2).unwrap()).unwrap();
            let dice = Dice::new(seed * THREADS + thread);
            Worker { realm: &realm, pool, heap, dice, done: 0 }
        })
        .collect();
    for phase in 0..4 {
        thread::scope(|scope| {
            for worker in &mut workers {
                scope.spawn(move || worker.work(rounds));
            }
        });
        let pools = workers.iter().map(|worker| worker.pool.bytes().1).sum::<u64>();
        let pools = pools + pool.bytes().1;
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
    assert_eq!(realm.tear_down([], &mut pool, &mut |memory| all.insert(memory).unwrap()), None);
    pool.drain(&rmm, &mut |memory| all.insert(memory).unwrap());
    all.insert(memory).unwrap();
    assert_eq!(all.iter().collect::<Vec<_>>(), [whole], "{when}");
    ledger.with(|books| books.check_balance()).unwrap();
    let census = model.census();
    assert_eq!((census.undelegated, model.open_operations()), (census.total, 0), "{when}");
    assert_eq!((quarantine.len(), leaked()), (0, leaked_before), "{when}");
    assert_eq!(failed(), failed_before, "{when}: refused\n{}", door.report(dialect));
}

fn options(dialect: Dialect) -> Options {
    let mut options = Options::new(dialect);
    options.dram = PaRange::with_size(options.dram.base(), 64 << 20).unwrap();
    options
}

/// An RMM that is interrupted, and says so of what it is in the middle of.
fn moody(mut options: Options) -> Options {
    options.yield_every = NonZeroU32::new(7);
    options.busy_every = NonZeroU32::new(5);
    options.blocked_objects = true;
    options
}

#[test]
fn eight_threads_share_a_realm() {
    for dialect in [Dialect::TfRmm2026_07, Dialect::V2_0Bet3] {
        soak(options(dialect), &format!("{dialect}, one by one"));
        soak(options(dialect).range_capable(), &format!("{dialect}, ranges"));
        soak(moody(options(dialect)), &format!("{dialect}, one by one, moody"));
        soak(moody(options(dialect).range_capable()), &format!("{dialect}, ranges, moody"));
    }
}
