//! A Realm from the first call to the last, and who owns which memory after it.

use std::fmt;
use std::iter::repeat_with;

use realm_builder::{
    Active, BuildError, Content, FixedRecords, Realm, RealmConfig, RecStart, Records, Region,
    ShadowTable,
};
use rmi_abi::{Ipa, Pa, PaRange};
use rmi_host::ledger::{Holding, OwnershipMap};
use rmi_host::{Error, FixedQuarantine, Host, Undelegated};
use rmm_model::{GranuleState, Model};
use sro::{CallbackMemory, FineRegion, FixedPool, RecObject, Session, open};
use test_support::Scale;

use crate::conduit::{Wrong, WrongAnswers};
use crate::heap::Heap;
use crate::machine::{BLOCKS, Machine};
use crate::step::{Fine, Platform, Running, SLOTS, Step};

/// When wrong answers begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Opening,
    Building,
    Running,
}

/// What happens in one session.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) machine: Machine,
    /// `None`: all answers are right.
    pub(crate) wrong: Option<Wrong>,
    /// When wrong answers begin.
    pub(crate) first: Phase,
    /// Whether the teardown gets wrong answers.
    pub(crate) to_the_end: bool,
    /// How many tracking regions are made FINE.
    pub(crate) fine: u64,
    /// Whether four threads perform the steps.
    pub(crate) has_threads: bool,
    pub(crate) steps: Vec<Step>,
}

type Slots = FixedPool<256>;

const THREADS: usize = 4;
/// Granules for the objects and tables of a Realm, and for the tables that one thread makes.
const POOL: u64 = 128;
const POOL_OF_THREAD: u64 = 48;
/// Granules of the Realm's image: measured ones, and all.
const MEASURED: u64 = 3;
const IMAGE: u64 = MEASURED + 20;

/// Runs a case, and accounts for all memory.
pub(crate) fn run(case: &Case) {
    let machine = case.machine;
    let model = Model::new(machine.options()).unwrap();
    let conduit = WrongAnswers::new(&model, machine, case.wrong);
    let (ledger, quarantine) = (OwnershipMap::new(), FixedQuarantine::new());
    let platform = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let mut memory = model.take_memory();
    let whole = memory.range();
    let mut pool = Slots::new();
    pool.set_granule_size(machine.granule);
    pool.add(memory.take_front(machine.pool_bytes(POOL)).unwrap()).unwrap();
    let image = memory.take_front(IMAGE * machine.granule.bytes()).unwrap();
    let heap = Heap::new();
    heap.give(memory);

    conduit.answer_wrongly(case.first <= Phase::Opening);
    let session = match open(platform, machine.session(), &mut pool) {
        Ok(session) => session,
        Err(failed) => {
            assert!(case.wrong.is_some(), "{}", failed.error);
            heap.give(image);
            pool.drain_host(&mut |memory| heap.give(memory));
            return account(whole, &heap, &ledger);
        }
    };
    let slots = (0..BLOCKS).map(|_| FineRegion::EMPTY).collect();
    let fine = spin::Mutex::new(Fine::new(slots));
    let (conduit, quarantine) = (&conduit, &quarantine);
    let vmm = Vmm { case, conduit, quarantine, session, heap, fine };
    vmm.realm(&mut pool, image);
    let Vmm { session, heap, fine, .. } = vmm;
    let mut fine = fine.into_inner();
    let restored = fine.restore(&session, &mut pool);
    pool.drain(&session, &mut |memory| heap.give(memory));

    account(whole, &heap, &ledger);
    if case.wrong.is_none_or(|wrong| wrong.is_silent) {
        // No answer was false: what the host has is its own.
        for at in granules(heap.ranges()) {
            let state = model.granule_state(Pa::new(at));
            assert_eq!(state, Some(GranuleState::Undelegated), "{at:#x}");
        }
    }
    // The RMM has nothing but what it is known to have, and what is in quarantine.
    let mut donated: Vec<PaRange> = session.donated().iter().collect();
    donated.extend(fine.iter().flat_map(|region| region.donated().iter()));
    let mut quarantined = Vec::new();
    quarantine.for_each(|range, _| quarantined.push(range));
    ledger.with(|ownership| {
        let having = |choose: fn(Holding) -> bool| {
            let chosen = ownership.ranges().filter(move |(_, holding)| choose(*holding));
            chosen.map(|(range, _)| range)
        };
        let delegated = having(|holding| holding == Holding::Delegated);
        assert_eq!(delegated.collect::<Vec<_>>(), []);
        let recorded = having(|holding| matches!(holding, Holding::Donated { .. }));
        assert_eq!(granules(recorded), granules(donated));
        let recorded = having(|holding| matches!(holding, Holding::Quarantined { .. }));
        assert_eq!(granules(recorded), granules(quarantined));
    });
    if case.wrong.is_none() {
        assert_eq!(restored, Ok(()));
        ledger.with(|ownership| assert_eq!(ownership.check_balance(), Ok(())));
        assert_eq!(model.open_operations(), 0);
        let closed = session.close(&mut pool).unwrap();
        assert!(closed.kept.is_empty());
        assert_eq!(model.census().undelegated, model.census().total);
    }
}

/// The granules of ranges, in order.
fn granules(ranges: impl IntoIterator<Item = PaRange>) -> Vec<u64> {
    let bytes = |range: PaRange| (range.base().raw()..range.top().raw()).step_by(0x1000);
    let mut granules: Vec<u64> = ranges.into_iter().flat_map(bytes).collect();
    granules.sort_unstable();
    granules
}

/// Every granule of the machine either is the host's or is recorded as something else, and the
/// records agree with each other.
fn account(whole: PaRange, heap: &Heap, ledger: &OwnershipMap) {
    let mut known = heap.ranges();
    ledger.with(|ownership| {
        assert_eq!(ownership.check(), Ok(()));
        known.extend(ownership.ranges().map(|(range, _)| range));
    });
    known.sort();
    let mut at = whole.base();
    for range in known {
        assert_eq!(range.base(), at, "lost, or owned twice");
        at = range.top();
    }
    assert_eq!(at, whole.top(), "lost");
}

/// A host, and what it has in a session.
struct Vmm<'c, 'p> {
    case: &'c Case,
    conduit: &'p WrongAnswers<'p>,
    quarantine: &'p FixedQuarantine<SLOTS>,
    session: Session<Platform<'p>>,
    heap: Heap,
    fine: spin::Mutex<Fine>,
}

impl<'p> Vmm<'_, 'p> {
    /// What succeeds if the RMM answers rightly.
    fn succeeds<T, E: fmt::Display>(&self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(done) => Some(done),
            Err(error) => {
                assert!(self.case.wrong.is_some(), "{error}");
                None
            }
        }
    }

    /// Creates a Realm, changes its memory, and tears it down.
    fn realm(&self, pool: &mut Slots, mut image: Undelegated) {
        let (case, machine) = (self.case, self.case.machine);
        self.conduit.answer_wrongly(case.first <= Phase::Building);
        if let Some(region) = machine.region {
            let first = image.base().align_down(region);
            let first = PaRange::with_size(first, case.fine * region).unwrap();
            self.succeeds(self.fine.lock().make_fine(&self.session, pool, first));
        }
        let parts = Scale::new(machine.granule).shadow_tables(40);
        let mut tables: Vec<_> = repeat_with(ShadowTable::new).take(parts).collect();
        let mut shared: Vec<_> = repeat_with(|| None).take(16).collect();
        let mut fixed = FixedRecords::new();
        let records = Records::new(&mut fixed, &mut tables, &mut shared);
        let created = Realm::create(&self.session, &RealmConfig::new(40), records, pool);
        let Some(mut realm) = self.succeeds(created.map_err(|failed| failed.error)) else {
            return self.heap.give(image);
        };

        let granule = machine.granule.bytes();
        let content = vec![7; usize::try_from(MEASURED * granule).unwrap()];
        let measured = image.take_front(MEASURED * granule).unwrap();
        let mut regions = [
            Region::new(Ipa::new(MEASURED * granule), measured, Content::Measured(&content)),
            Region::new(Ipa::new(2 * MEASURED * granule), image, Content::Unspecified),
        ];
        // What stopped is continued.
        let populated = (0..3).any(|_| {
            let memory = &mut CallbackMemory::freeing(pool, |memory| self.heap.give(memory));
            self.succeeds(realm.populate(memory, &mut regions)).is_some()
        });
        assert!(populated || case.wrong.is_some());
        for region in regions {
            self.heap.give(region.into_memory());
        }
        let start = RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] };
        let rec = self.succeeds(realm.create_rec(pool, &start));
        match realm.activate() {
            Ok(realm) => {
                self.conduit.answer_wrongly(true);
                self.change(&realm, pool);
                self.tear_down(realm, pool, rec);
            }
            Err(failed) => {
                assert!(case.wrong.is_some(), "{}", failed.error);
                self.tear_down(failed.kept, pool, rec);
            }
        }
    }

    fn change(&self, realm: &Realm<'_, Platform<'p>, Active>, pool: &mut Slots) {
        let Self { case, quarantine, heap, fine, .. } = self;
        let running = Running { machine: case.machine, realm, heap, fine, quarantine };
        let perform = |steps: &[Step], pool: &mut Slots| {
            for step in steps {
                let Err(BuildError::Call(error)) = running.perform(*step, pool) else { continue };
                // What was interrupted may end with a refusal that leaves open what was done.
                let is_interrupted = case.machine.is_busy && matches!(error, Error::Unclear(_));
                let is_right = error.is_clean() || is_interrupted;
                assert!(is_right || case.wrong.is_some(), "{step:?}: {error}");
            }
        };
        if !case.has_threads {
            return perform(&case.steps, pool);
        }
        std::thread::scope(|scope| {
            for steps in case.steps.chunks(case.steps.len().div_ceil(THREADS)) {
                scope.spawn(|| {
                    let mut pool = Slots::new();
                    pool.set_granule_size(case.machine.granule);
                    let bytes = case.machine.pool_bytes(POOL_OF_THREAD);
                    pool.add(heap.take(bytes, case.machine.granule.bytes()).unwrap()).unwrap();
                    perform(steps, &mut pool);
                    pool.drain(&self.session, &mut |memory| heap.give(memory));
                });
            }
        });
    }

    fn tear_down<S>(
        &self,
        realm: Realm<'_, Platform<'p>, S>,
        pool: &mut Slots,
        rec: Option<RecObject>,
    ) {
        self.conduit.answer_wrongly(self.case.to_the_end);
        let memory = &mut CallbackMemory::freeing(pool, |memory| self.heap.give(memory));
        self.succeeds(realm.tear_down(memory, rec).error.map_or(Ok(()), Err));
    }
}
