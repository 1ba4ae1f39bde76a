//! A host with a ledger, on a model with planes.

use std::sync::Mutex;

use realm_builder::{PlaneTables, RealmConfig};
use rmi_abi::address::MIN_GRANULE;
use rmi_abi::rtt::Level;
use rmi_abi::{Dialect, Ipa, IpaRange, Pa, PaRange};
use rmi_conduits::counting::Counting;
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::granules::{AnyGranules, HostOwned};
use rmi_host::{
    CountingLedger, FixedQuarantine, Host, Ledger, LedgerEvent, RetryBudget, Rmm, SessionOptions,
};
use rmm_model::{GranuleState, Model, Options};
use sro::{FixedPool, GranuleSet, Pool, open};

pub(crate) const PAGE: u64 = MIN_GRANULE;
pub(crate) const MIB2: u64 = 2 << 20;
/// Where Realms have their memory.
pub(crate) const RAM: u64 = 0x4000_0000;
const DRAM: u64 = 8 << 20;
/// Feature register 3 of an RMM with three auxiliary planes and both kinds of translation tables
/// for them.
const BOTH_WAYS: u64 = 3 | 1 << 4 | 1 << 6;
/// Those that have planes: all of 2.0.
pub(crate) const DIALECTS: [Dialect; 4] = Options::DIALECTS;

pub(crate) fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

/// A Realm with two root tables for each tree.
pub(crate) fn config(aux_planes: u8, tables: PlaneTables) -> RealmConfig {
    let mut config = RealmConfig::new(40);
    config.start_level = Some(Level::L1);
    config.num_aux_planes = aux_planes;
    config.plane_tables = Some(tables).filter(|_| aux_planes > 0);
    config
}

pub(crate) fn options(dialect: Dialect) -> Options {
    let mut options = Options::new(dialect);
    options.features[3] = BOTH_WAYS;
    options.dram = PaRange::with_size(options.dram.base(), DRAM).unwrap();
    options
}

pub(crate) type Heap = GranuleSet<HostOwned, [AnyGranules; 128]>;
pub(crate) type TestConduit<'d> = Injecting<&'d Counting<&'d Model>>;
pub(crate) type Platform<'d> =
    Host<&'d TestConduit<'d>, &'d Model, &'d TestLedger, &'d FixedQuarantine<64>>;

/// What a scenario has to work with.
pub(crate) struct Fixture<'b, 'd> {
    pub(crate) rmm: &'b Rmm<Platform<'d>>,
    pub(crate) model: &'b Model,
    pub(crate) conduit: &'b TestConduit<'d>,
    pub(crate) pool: &'b mut FixedPool<64>,
    pub(crate) heap: &'b mut Heap,
}

/// The ledger, and host memory that no token stands for: what a full pool could not keep, and what
/// a Realm may still reach.
#[derive(Debug, Default)]
pub(crate) struct TestLedger {
    counts: CountingLedger,
    untracked: Mutex<Vec<PaRange>>,
}

impl Ledger for TestLedger {
    fn record(&self, event: LedgerEvent, memory: PaRange) {
        self.counts.record(event, memory);
        if matches!(event, LedgerEvent::Untracked | LedgerEvent::Exposed) {
            self.untracked.lock().unwrap().push(memory);
        }
    }
}

/// The state of memory at the end of a scenario.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    quarantined: u64,
    /// Granules that no record has, or more than one.
    lost: Vec<PaRange>,
    /// Granules that the host has a token for and that the RMM has not undelegated.
    not_undelegated: Vec<Pa>,
    succeeded: bool,
    /// Whether the ledger agrees with the quarantine.
    balanced: bool,
    /// Calls that the RMM refused.
    pub(crate) failed: u64,
}

impl Ending {
    /// The end of a scenario without a fault: all memory is back, and no call failed.
    pub(crate) const GOOD: Self = Self {
        quarantined: 0,
        lost: Vec::new(),
        not_undelegated: Vec::new(),
        succeeded: true,
        balanced: true,
        failed: 0,
    };

    /// Checks that every granule is accounted for; after a false answer, the host may have a
    /// token for a granule that is still delegated.
    pub(crate) fn check(&self, false_answer: bool, when: &str) {
        assert!(self.lost.is_empty() && self.balanced, "{when}: {self:?}");
        assert!(false_answer || self.not_undelegated.is_empty(), "{when}: {self:?}");
    }
}

/// Runs the scenario on the model, with a fault at one call; says how it ended and whether the
/// fault was injected.
pub(crate) fn run_scenario(
    options: Options,
    fault: Option<(u64, Fault)>,
    scenario: &dyn Fn(&mut Fixture<'_, '_>) -> bool,
) -> (Ending, bool) {
    let (at, fault) = fault.unwrap_or((u64::MAX, Fault::Instead([0; 8])));
    run_scenario_by(options, Rule::any().nth(at), fault, scenario)
}

/// As [`run_scenario`], with a fault at the calls that a rule selects.
pub(crate) fn run_scenario_by(
    options: Options,
    rule: Rule,
    fault: Fault,
    scenario: &dyn Fn(&mut Fixture<'_, '_>) -> bool,
) -> (Ending, bool) {
    let model = Model::new(options).unwrap();
    let counting = Counting::new(&model);
    let conduit = Injecting::by_rule(&counting, rule, fault);
    let ledger = TestLedger::default();
    let quarantine = FixedQuarantine::<64>::new();
    let platform = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let whole = model.take_memory();
    let range = whole.range();
    let mut heap = Heap::default();
    heap.insert(whole).unwrap();
    let succeeded = session(platform, &model, &conduit, &mut heap, scenario);

    let mut known: Vec<PaRange> = heap.iter().collect();
    known.append(&mut ledger.untracked.lock().unwrap());
    let not_undelegated = known
        .iter()
        .flat_map(|range| (range.base().raw()..range.top().raw()).step_by(0x1000).map(Pa::new))
        .filter(|pa| model.granule_state(*pa) != Some(GranuleState::Undelegated))
        .collect();
    let mut quarantined = 0;
    quarantine.for_each(|range, _| {
        quarantined += range.bytes() / PAGE;
        known.push(range);
    });
    while heap.pop().is_some() {}
    let balance = ledger.counts.balance();
    let ending = Ending {
        quarantined,
        lost: gaps(range, known),
        not_undelegated,
        succeeded,
        balanced: balance.quarantined == quarantined && balance.outstanding() == 0,
        failed: counting.total().failed,
    };
    (ending, conduit.has_injected())
}

fn session<'d>(
    platform: Platform<'d>,
    model: &'d Model,
    conduit: &'d TestConduit<'d>,
    heap: &mut Heap,
    scenario: &dyn Fn(&mut Fixture<'_, '_>) -> bool,
) -> bool {
    let mut pool = FixedPool::<64>::new();
    pool.add(heap.take(Pool::PAGES, PAGE).unwrap()).unwrap();
    pool.add(heap.take(96 * PAGE, 0x10000).unwrap()).unwrap();
    let mut options = SessionOptions::default();
    options.dialect = Some(model.options().dialect);
    options.retry_budget = RetryBudget { busy: 3, blocked: 3, steps: 50, ..RetryBudget::default() };
    let Ok(rmm) = open(platform, options, &mut pool) else {
        pool.drain_host(&mut |memory| heap.insert(memory).unwrap());
        return false;
    };
    let succeeded = scenario(&mut Fixture { rmm: &rmm, model, conduit, pool: &mut pool, heap });
    pool.drain(&rmm, &mut |memory| heap.insert(memory).unwrap());
    succeeded
}

/// The parts of `whole` that are in none of `parts`, and those that are in two of them.
fn gaps(whole: PaRange, mut parts: Vec<PaRange>) -> Vec<PaRange> {
    parts.sort();
    let mut at = whole.base();
    let mut gaps = Vec::new();
    let end = PaRange::empty(whole.top());
    for part in parts.into_iter().chain([end]) {
        if part.base() != at {
            gaps.push(PaRange::new(at.min(part.base()), at.max(part.base())).unwrap());
        }
        at = part.top();
    }
    gaps
}
