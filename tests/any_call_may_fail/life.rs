//! A whole life in a few calls.

use realm_sdk::abi::address::MIN_GRANULE;
use realm_sdk::abi::rtt::Ripas;
use realm_sdk::abi::{Dialect, Ipa, IpaRange, Pa, PaRange};
use realm_sdk::builder::{Active, Content, New, Realm, RealmConfig, RealmStorage, RecStart, Region};
use realm_sdk::host::granules::Host as HostHand;
use realm_sdk::host::inject::{Fault, Injecting};
use realm_sdk::host::{
    CountingLedger, Discovered, Host, Ledger, LedgerEvent, Patience, Platform, QuarantineShelf, Rmm, SessionOptions,
    Undelegated,
};
use realm_sdk::rec::{Answer, Exit, Rec};
use realm_sdk::sro::{GranuleSet, Pool, PoolStorage, RecObject, activate};
use rmm_model::{Action, GranuleState, Model, Options, Script};

const DRAM: u64 = 16 << 20;
const RAM: u64 = 0x4000_0000;

/// A life to be lived.
pub(crate) struct Life {
    dialect: Dialect,
    fault: Option<(u64, Fault)>,
    dies: bool,
}

/// How a life ended, as far as memory is concerned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Granules that the host has.
    host: u64,
    /// Granules in quarantine.
    quarantined: u64,
    /// Granules that nobody knows of.
    lost: Vec<PaRange>,
    /// Granules that the host has and the RMM does not give.
    stolen: Vec<Pa>,
    /// Whether the Realm got as far as turning itself off.
    lived: bool,
    /// Whether the books agree with what was found.
    books: bool,
}

impl Ending {
    /// Everything is back with the host.
    pub(crate) const GOOD: Self =
        Self { host: DRAM / MIN_GRANULE, quarantined: 0, lost: Vec::new(), stolen: Vec::new(), lived: true, books: true };

    /// Panics if a granule is lost.
    pub(crate) fn check(&self, when: &str) {
        assert!(self.lost.is_empty(), "{when}: lost {:?} in {self:?}", self.lost);
        assert!(self.stolen.is_empty(), "{when}: {self:?}");
        assert!(self.books, "{when}: {self:?}");
    }
}

type Heap = GranuleSet<HostHand, Vec<Undelegated>>;

/// Books, and the ranges that a full pool could not keep.
#[derive(Default)]
struct Books {
    counts: CountingLedger,
    homeless: std::sync::Mutex<Vec<PaRange>>,
}

impl Ledger for Books {
    fn record(&self, event: LedgerEvent, memory: PaRange) {
        self.counts.record(event, memory);
        if event == LedgerEvent::Homeless {
            self.homeless.lock().unwrap().push(memory);
        }
    }
}

impl Life {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { dialect, fault: None, dies: false }
    }

    pub(crate) fn with_fault(self, at: u64, fault: Fault) -> Self {
        Self { fault: Some((at, fault)), ..self }
    }

    pub(crate) fn dying(self, at: u64, fault: Fault) -> Self {
        Self { fault: Some((at, fault)), dies: true, ..self }
    }

    /// Lives, and tells how it ended and whether the fault struck.
    pub(crate) fn live(&self) -> (Ending, bool) {
        let mut options = Options::new(self.dialect);
        options.dram = PaRange::with_size(options.dram.base(), DRAM).unwrap();
        // A life with ranges is short; the one-granule-per-call RMM has its own tests.
        let model = Model::new(options.range_capable()).unwrap();
        let fault = self.fault.map_or(Fault::Instead([0; 8]), |(_, fault)| fault);
        let at = self.fault.map_or(u64::MAX, |(at, _)| at);
        let door =
            if self.dies { Injecting::from(&model, at, fault) } else { Injecting::once(&model, at, fault) };
        let books = Books::default();
        let quarantine = QuarantineShelf::<64>::new();
        let platform = Host::new(&door, &model).with_ledger(&books).with_quarantine(&quarantine);

        let whole = model.take_memory();
        let range = whole.range();
        let mut heap = Heap::new((0..64).map(|_| Undelegated::empty()).collect());
        heap.insert(whole).unwrap();
        let lived = session(platform, &model, &mut heap);

        let mut known: Vec<PaRange> = heap.iter().collect();
        let mut quarantined = 0;
        known.append(&mut books.homeless.lock().unwrap());
        let host: Vec<_> = known.clone();
        quarantine.for_each(|range, _| {
            quarantined += range.bytes() / MIN_GRANULE;
            known.push(range);
        });
        let stolen = host
            .iter()
            .flat_map(|range| (range.base().raw()..range.top().raw()).step_by(0x1000).map(Pa::new))
            .filter(|pa| model.granule_state(*pa) != Some(GranuleState::Undelegated))
            .collect();
        let balance = books.counts.balance();
        let ending = Ending {
            host: host.iter().map(|range| range.bytes() / MIN_GRANULE).sum(),
            quarantined,
            lost: gaps(range, known),
            stolen,
            lived,
            books: balance.quarantined == quarantined && balance.outstanding() == 0,
        };
        (ending, door.has_struck())
    }
}

/// What of `whole` is in none of `parts`, and what is in two of them.
fn gaps(whole: PaRange, mut parts: Vec<PaRange>) -> Vec<PaRange> {
    parts.sort();
    let mut at = whole.base();
    let mut gaps = Vec::new();
    for part in parts {
        if part.base() != at {
            gaps.push(PaRange::new(at.min(part.base()), at.max(part.base())).unwrap());
        }
        at = part.top();
    }
    if at != whole.top() {
        gaps.push(PaRange::new(at, whole.top()).unwrap());
    }
    gaps
}

fn session<P: Platform>(platform: P, model: &Model, heap: &mut Heap) -> bool {
    let mut storage = PoolStorage::<32>::new();
    let mut pool = Pool::new(&mut storage, heap.take(Pool::PAGES, 0x1000).unwrap()).unwrap();
    pool.add(heap.take(64 * 0x1000, 0x10000).unwrap()).unwrap();
    let mut options = SessionOptions::default();
    // Enough for one busy answer, and soon tired of an RMM that is always busy.
    options.patience = Patience { busy: 3, blocked: 3, steps: 50 };
    let opened = Discovered::probe(platform, options).ok().and_then(|mut discovered| {
        discovered.configure(pool.pages().page).ok()?;
        activate(discovered, &mut pool).ok()
    });
    let Some(activated) = opened else {
        pool.drain_host(&mut |memory| heap.insert(memory).unwrap());
        return false;
    };
    let rmm = activated.rmm;
    let lived = realm(&rmm, model, &mut pool, heap);
    pool.drain(&rmm, &mut |memory| heap.insert(memory).unwrap());
    lived
}

fn realm<P: Platform>(rmm: &Rmm<P>, model: &Model, pool: &mut Pool<'_>, heap: &mut Heap) -> bool {
    let mut storage = RealmStorage::<16, 16>::new();
    let Ok(mut realm) = Realm::create(rmm, &RealmConfig::new(36), &mut storage, pool) else { return false };
    let mut recs = Vec::new();
    let built = build(&mut realm, model, pool, heap, &mut recs);
    let (mut realm, lived) = if built {
        match realm.activate() {
            Ok(mut active) => {
                let lived = run(&mut active, pool, heap, &mut recs);
                (active.terminate(), lived)
            }
            Err(failed) => (failed.kept.terminate().map_err(|failed| failed.map(|_| unreachable())), false),
        }
    } else {
        (realm.terminate().map_err(|failed| failed.map(|_| unreachable())), false)
    };
    // A refused termination gives the Realm back; once more is enough against a single fault, and a dead RMM never agrees.
    let _ = &mut realm;
    finish(realm, pool, heap, recs);
    lived
}

fn unreachable() -> ! {
    unreachable!()
}
