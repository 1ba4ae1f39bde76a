//! A scenario that runs to its end, whatever fails in it; and the first of the two scenarios: a
//! Realm boots and turns itself off.

use realm_sdk::abi::address::MIN_GRANULE;
use realm_sdk::abi::rtt::Ripas;
use realm_sdk::abi::{Command, Dialect, GranuleSize, Ipa, Pa, PaRange};
use realm_sdk::builder::{
    Active, Content, FixedRecords, New, Realm, RealmConfig, RecStart, Records, Region, ShadowTable,
};
use realm_sdk::conduits::inject::{Fault, Injecting, Rule};
use realm_sdk::host::granules::{AnyGranules, HostOwned};
use realm_sdk::host::{
    CountingLedger, FixedQuarantine, Host, Ledger, LedgerEvent, Platform, RetryBudget, Rmm,
    SessionOptions,
};
use realm_sdk::rec::exit::{PsciNotice, RipasChange};
use realm_sdk::rec::{Answer, Exit, Rec};
use realm_sdk::sro::{CallbackMemory, FixedPool, GranuleSet, Pool, RecObject, open};
use rmm_model::{Action, GranuleState, Model, Options, Script};
use test_support::Scale;

use crate::runtime::{self, Stop};

const DRAM: u64 = 16 << 20;
pub(crate) const RAM: u64 = 0x4000_0000;

/// A scenario, with the RMM and the fault that it runs with.
pub(crate) struct Scenario {
    dialect: Dialect,
    fault: Option<(u64, Fault)>,
    persists: bool,
    /// A command that meets the fault at each of its calls.
    never: Option<Command>,
    one_by_one: bool,
    granule: GranuleSize,
    setup: Setup,
    course: Course,
}

/// What happens in a scenario.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Course {
    /// The Realm boots and turns itself off.
    Boot,
    /// Its memory is changed in every way while it runs; the scenario ends there.
    Runtime(Stop),
}

/// Changes the model's options.
pub(crate) type Setup = fn(&mut Options);

/// The state of memory at the end of a scenario.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Granules that the host has.
    host: u64,
    /// Granules in quarantine.
    quarantined: u64,
    /// Granules that no record has, or more than one.
    lost: Vec<PaRange>,
    /// Granules that the host has a token for and that the RMM has not undelegated.
    not_undelegated: Vec<Pa>,
    /// Whether the Realm turned itself off in the end.
    succeeded: bool,
    /// Whether the ledger agrees with what was found.
    balanced: bool,
}

impl Ending {
    /// All memory is back with the host.
    pub(crate) const GOOD: Self = Self {
        host: DRAM / MIN_GRANULE,
        quarantined: 0,
        lost: Vec::new(),
        not_undelegated: Vec::new(),
        succeeded: true,
        balanced: true,
    };

    /// Whether it is [`Ending::GOOD`], with memory for granules of this size.
    pub(crate) fn is_good(&self, granule: GranuleSize) -> bool {
        let host = Scale::new(granule).of(DRAM) / MIN_GRANULE;
        *self == Self { host, ..Self::GOOD }
    }

    /// Panics if a granule is lost, or if the host has a token for one that is not undelegated.
    pub(crate) fn check(&self, when: &str) {
        self.check_after_false_answer(when);
        assert!(self.not_undelegated.is_empty(), "{when}: {self:?}");
    }

    /// As [`Ending::check`], after the RMM executed a command and said explicitly that it did not:
    /// the host cannot tell that the answer is false, and may have a token for memory that it
    /// cannot access.
    pub(crate) fn check_after_false_answer(&self, when: &str) {
        assert!(self.lost.is_empty(), "{when}: lost {:?} in {self:?}", self.lost);
        assert!(self.balanced, "{when}: {self:?}");
    }
}

pub(crate) type Heap = GranuleSet<HostOwned, Vec<AnyGranules>>;

/// The ledger, and host memory that no token stands for: what a full pool could not keep, and what
/// a Realm may still reach.
#[derive(Default)]
struct TestLedger {
    counts: CountingLedger,
    untracked: std::sync::Mutex<Vec<PaRange>>,
}

impl Ledger for TestLedger {
    fn record(&self, event: LedgerEvent, memory: PaRange) {
        self.counts.record(event, memory);
        if matches!(event, LedgerEvent::Untracked | LedgerEvent::Exposed) {
            self.untracked.lock().unwrap().push(memory);
        }
    }
}

impl Scenario {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            fault: None,
            persists: false,
            never: None,
            one_by_one: false,
            granule: GranuleSize::Size4KiB,
            setup: |_| {},
            course: Course::Boot,
        }
    }

    /// Another scenario.
    pub(crate) fn of(self, course: Course) -> Self {
        Self { course, ..self }
    }

    pub(crate) fn with_fault(self, at: u64, fault: Fault) -> Self {
        Self { fault: Some((at, fault)), ..self }
    }

    /// On an RMM that takes one granule or table per call, as TF-RMM does; this makes many calls.
    pub(crate) fn one_by_one(self) -> Self {
        Self { one_by_one: true, ..self }
    }

    /// On an RMM with granules of this size. Pages and blocks have their sizes.
    pub(crate) fn with_granule(self, granule: GranuleSize) -> Self {
        Self { granule, ..self }
    }

    /// With an RMM that has other options.
    pub(crate) fn with_setup(self, setup: Setup) -> Self {
        Self { setup, ..self }
    }

    pub(crate) fn with_fault_from(self, at: u64, fault: Fault) -> Self {
        Self { fault: Some((at, fault)), persists: true, ..self }
    }

    /// On an RMM that answers every call of one command with this fault.
    pub(crate) fn without(self, command: Command, fault: Fault) -> Self {
        Self { fault: Some((0, fault)), never: Some(command), ..self }
    }

    /// Runs the scenario; says how it ended and whether the fault was injected.
    pub(crate) fn run(&self) -> (Ending, bool) {
        let mut options = Options::new(self.dialect);
        let scale = Scale::new(self.granule);
        options.dram = PaRange::with_size(options.dram.base(), scale.of(DRAM)).unwrap();
        if self.granule != GranuleSize::Size4KiB {
            options = options.with_all_granules();
        }
        if !self.one_by_one {
            options = options.range_capable();
        }
        (self.setup)(&mut options);
        let model = Model::new(options).unwrap();
        let fault = self.fault.map_or(Fault::Instead([0; 8]), |(_, fault)| fault);
        let at = self.fault.map_or(u64::MAX, |(at, _)| at);
        let conduit = match self.never {
            Some(command) => {
                Injecting::by_rule(&model, Rule::command(command, self.dialect), fault)
            }
            None if self.persists => Injecting::from(&model, at, fault),
            None => Injecting::once(&model, at, fault),
        };
        let ledger = TestLedger::default();
        let quarantine = FixedQuarantine::<256>::new();
        let platform =
            Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);

        let whole = model.take_memory();
        let range = whole.range();
        let mut heap = Heap::new((0..256).map(|_| AnyGranules::empty()).collect());
        heap.insert(whole).unwrap();
        let succeeded = session(platform, &model, &mut heap, self.course, scale);

        let mut known: Vec<PaRange> = heap.iter().collect();
        let mut quarantined = 0;
        known.append(&mut ledger.untracked.lock().unwrap());
        let host: Vec<_> = known.clone();
        quarantine.for_each(|range, _| {
            quarantined += range.bytes() / MIN_GRANULE;
            known.push(range);
        });
        let census = model.census();
        let not_undelegated = host
            .iter()
            // Granule by granule only where it is necessary: it takes longer than the scenario.
            .filter(|_| census.undelegated != census.total)
            .flat_map(|range| (range.base().raw()..range.top().raw()).step_by(0x1000).map(Pa::new))
            .filter(|pa| model.granule_state(*pa) != Some(GranuleState::Undelegated))
            .collect();
        let balance = ledger.counts.balance();
        let ending = Ending {
            host: host.iter().map(|range| range.bytes() / MIN_GRANULE).sum(),
            quarantined,
            lost: gaps(range, known),
            not_undelegated,
            succeeded,
            balanced: balance.quarantined == quarantined && balance.outstanding() == 0,
        };
        (ending, conduit.has_injected())
    }
}

/// An address so far from the start of RAM.
fn ram(scale: Scale, offset: u64) -> Ipa {
    Ipa::new(RAM + scale.of(offset))
}

/// The parts of `whole` that are in none of `parts`, and those that are in two of them.
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

fn session<P: Platform>(
    platform: P,
    model: &Model,
    heap: &mut Heap,
    course: Course,
    scale: Scale,
) -> bool {
    let page = scale.page;
    let mut pool = FixedPool::<32>::new();
    pool.set_granule_size(scale.granule);
    pool.add(heap.take(Pool::pages_bytes(scale.granule), page).unwrap()).unwrap();
    pool.add(heap.take(64 * page, 16 * page).unwrap()).unwrap();
    let mut options = SessionOptions::default();
    options.granule_size = scale.granule;
    // Enough for one busy answer, and small for an RMM that is always busy.
    options.retry_budget = RetryBudget { busy: 3, blocked: 3, steps: 50, ..RetryBudget::default() };
    let Ok(rmm) = open(platform, options, &mut pool) else {
        pool.drain_host(&mut |memory| heap.insert(memory).unwrap());
        return false;
    };
    let succeeded = match course {
        Course::Boot => realm(&rmm, model, &mut pool, heap),
        Course::Runtime(stop) => runtime::realm(&rmm, model, &mut pool, heap, stop),
    };
    pool.drain(&rmm, &mut |memory| heap.insert(memory).unwrap());
    succeeded
}

fn realm<P: Platform>(
    rmm: &Rmm<P>,
    model: &Model,
    pool: &mut FixedPool<32>,
    heap: &mut Heap,
) -> bool {
    let scale = Scale::new(rmm.granule_size());
    let parts = scale.shadow_tables(16);
    let mut tables: Vec<_> = std::iter::repeat_with(ShadowTable::new).take(parts).collect();
    let (mut fixed, mut shared) = (FixedRecords::new(), [const { None }; 16]);
    let records = Records::new(&mut fixed, &mut tables, &mut shared);
    let Ok(mut realm) = Realm::create(rmm, &RealmConfig::new(36), records, pool) else {
        return false;
    };
    let mut recs = Vec::new();
    if !build(&mut realm, model, pool, heap, &mut recs, scale) {
        tear_down(realm, recs, pool, heap);
        return false;
    }
    match realm.activate() {
        Ok(mut active) => {
            let succeeded = run(&mut active, pool, heap, &mut recs);
            tear_down(active, recs, pool, heap);
            succeeded
        }
        Err(failed) => {
            tear_down(failed.kept, recs, pool, heap);
            false
        }
    }
}

/// Tears the Realm down, in any state, and says whether there was no error.
pub(crate) fn tear_down<P: Platform, S>(
    realm: Realm<'_, P, S>,
    recs: Vec<RecObject>,
    pool: &mut FixedPool<32>,
    heap: &mut Heap,
) -> bool {
    let mut memory = CallbackMemory::freeing(pool, |memory| heap.insert(memory).unwrap());
    realm.tear_down(&mut memory, recs).error.is_none()
}

fn build<P: Platform>(
    realm: &mut Realm<'_, P, New>,
    model: &Model,
    pool: &mut FixedPool<32>,
    heap: &mut Heap,
    recs: &mut Vec<RecObject>,
    scale: Scale,
) -> bool {
    let page = scale.page;
    let image = vec![0xa5; usize::try_from(5 * page / 2).unwrap()];
    let mut regions = [
        Region::new(
            ram(scale, 0x3000),
            heap.take(scale.of(0x20_0000), scale.of(0x20_0000)).unwrap(),
            Content::Unspecified,
        ),
        Region::new(Ipa::new(RAM), heap.take(3 * page, page).unwrap(), Content::Measured(&image)),
        Region::new(
            ram(scale, 0x40_0000),
            heap.take(scale.of(0x40_0000), scale.of(0x20_0000)).unwrap(),
            Content::Unspecified,
        ),
    ];
    // In one call, or in parts that end inside regions.
    let at_once =
        if realm.rmm().dialect() == Dialect::V2_0Bet3 { scale.of(0x21_0000) } else { u64::MAX };
    let populated = loop {
        match realm.populate_some(pool, &mut regions, at_once) {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error),
        }
    };
    for region in regions {
        heap.insert(region.into_memory()).unwrap();
    }
    if populated.is_err() || pool.prefill(realm.rmm(), 17 * page, page).is_err() {
        return false;
    }
    for index in 0..2 {
        let start = RecStart { runnable: index == 0, pc: Ipa::new(RAM), gprs: [0; 8] };
        match realm.create_rec(pool, &start) {
            Ok(rec) => recs.push(rec),
            Err(_) => return false,
        }
    }
    let rd = realm.rd().pa();
    let uart = Ipa::new(1 << 35);
    let first = vec![
        Action::Store { ipa: uart, bytes: 4, value: 1 },
        Action::Load { ipa: uart, bytes: 1 },
        Action::ipa_state_set(ram(scale, 0x40_1000), ram(scale, 0x40_3000), Ripas::Empty, 0),
        Action::Store { ipa: ram(scale, 0x2000), bytes: 2, value: 7 },
        Action::host_call(ram(scale, 0x2000)),
        Action::ipa_state_set(ram(scale, 0x80_0000), ram(scale, 0x80_1000), Ripas::Ram, 0),
        Action::Load { ipa: ram(scale, 0x80_0000), bytes: 8 },
        Action::psci_cpu_on(1, RAM, 0),
        Action::psci_system_off(),
    ];
    model.set_guest(rd, 0, Box::new(Script::new(first)));
    model.set_guest(rd, 1, Box::new(Script::new(vec![Action::psci_cpu_off()])));
    true
}

/// Runs both RECs; says whether the Realm turned itself off.
fn run<P: Platform>(
    realm: &mut Realm<'_, P, Active>,
    pool: &mut FixedPool<32>,
    heap: &mut Heap,
    recs: &mut Vec<RecObject>,
) -> bool {
    let (rmm, geometry) = (realm.rmm(), realm.geometry());
    let page = geometry.granule().bytes();
    let mut vcpus: Vec<_> = recs
        .drain(..)
        .map(|object| Rec::new(object, heap.take(page, page).unwrap(), geometry))
        .collect();
    let off = first_cpu(rmm, realm, pool, heap, &mut vcpus);
    for rec in vcpus {
        let (object, page) = rec.into_parts();
        heap.insert(page).unwrap();
        recs.push(object);
    }
    off
}

fn first_cpu<P: Platform>(
    rmm: &Rmm<P>,
    realm: &mut Realm<'_, P, Active>,
    pool: &mut FixedPool<32>,
    heap: &mut Heap,
    vcpus: &mut [Rec],
) -> bool {
    let [first, second] = vcpus else { return false };
    let mut answer = Answer::resume();
    for _ in 0..40 {
        let Ok(event) = first.enter(rmm, answer) else { return false };
        answer = match event.exit {
            Exit::MmioStore(store) => store.complete(),
            Exit::MmioLoad(load) => load.complete(0x55),
            Exit::RipasChange(change) => {
                match realm.set_ripas(pool, first.name(), change.range(), u32::MAX) {
                    Ok(_) => change.accept(),
                    // A change to EMPTY that was accepted is requested again.
                    Err(_) => change.reject().unwrap_or_else(RipasChange::accept),
                }
            }
            Exit::HostCall(call) => call.not_supported(),
            Exit::Fault(fault) => {
                let bytes = realm.geometry().granule().bytes();
                let Some(memory) = heap.take(bytes, bytes) else { return false };
                match realm.map(pool, fault.page(), memory) {
                    Ok(()) => fault.retry(),
                    Err(failed) => {
                        heap.insert(failed.kept).unwrap();
                        return false;
                    }
                }
            }
            Exit::PsciRequest(request) => {
                let answer = match request.accept(rmm, first, second) {
                    Ok(answer) => answer,
                    Err(_) => return false,
                };
                let _ = second.enter(rmm, Answer::resume());
                answer
            }
            Exit::PsciNotice(notice) => return notice == PsciNotice::SystemOff,
            Exit::Irq | Exit::Fiq => Answer::resume(),
            _ => return false,
        };
    }
    false
}
