//! The predicted number of calls for what a Realm causes while it runs equals the counted one, by
//! command: faults, RIPAS changes, conversions, and the teardown of a Realm with shared memory.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use realm_builder::plan::{Cost, Limits};
use realm_builder::{
    Active, DismantleProgress, FoldPolicy, Realm, RealmConfig, RecStart, Reclaimed, Records, Served,
};
use rmi_abi::rtt::Ripas;
use rmi_abi::run::{EntryRecord, ExitReason};
use rmi_abi::{Command, Dialect, GranuleSize, Ipa, IpaRange, Pa, PaRange};
use rmi_conduits::counting::Counting;
use rmi_host::command::SharedAccess;
use rmi_host::{CountingLedger, Host, Undelegated};
use rmm_model::{Action, GranulesPerCall, GuestCpu, Model, Options};
use sro::{CallbackMemory, FixedPool, HostMemory, Pool, RecObject};

const RAM: u64 = 0x4000_0000;
/// Pages of RAM.
const PAGES: u64 = 6 * 512;

fn pages(granule: GranuleSize, first: u64, count: u64) -> IpaRange {
    let page = granule.bytes();
    IpaRange::with_size(Ipa::new(RAM + first * page), count * page).unwrap()
}

/// Something that a Realm causes, at a page, for a number of pages.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A fault at the page so far into the window.
    Fault(u64),
    ToShared,
    ToPrivate,
    /// The Realm makes it EMPTY.
    SetEmpty,
    /// The host takes memory back.
    Reclaim,
    /// The granules in the pool are the host's again.
    Undelegate,
    /// What can be a block becomes one; not where private blocks are made by folding only.
    Fold,
}

/// Sizes of the pieces of memory that the host supplies, in turn; `None`: no memory. In pages,
/// with the alignment of the piece in pages, and a gap before it or none.
type Sizes = Vec<Option<(u64, u64, bool)>>;

fn sizes() -> impl Strategy<Value = Sizes> {
    let pages = prop_oneof![4 => 1u64..20, 1 => 100u64..600, 3 => Just(512)];
    let align = prop_oneof![2 => Just(1), 1 => Just(512)];
    let size = proptest::option::weighted(0.95, (pages, align, any::<bool>()));
    proptest::collection::vec(size, 1..8)
}

fn steps() -> impl Strategy<Value = Vec<(Step, u64, u64)>> {
    let step = prop_oneof![
        4 => (0u64..512).prop_map(Step::Fault),
        3 => Just(Step::ToShared),
        2 => Just(Step::ToPrivate),
        2 => Just(Step::SetEmpty),
        1 => Just(Step::Undelegate),
        1 => Just(Step::Fold),
        1 => Just(Step::Reclaim),
    ];
    let first = prop_oneof![0u64..PAGES, (0u64..PAGES / 512).prop_map(|block| block * 512)];
    let count = prop_oneof![2 => 1u64..40, 1 => 400u64..1300, 2 => Just(512), 2 => Just(PAGES)];
    let step = (step, first, count)
        .prop_map(|(step, first, count)| (step, first, count.min(PAGES - first)));
    proptest::collection::vec(step, 1..14)
}

/// The host's memory, and the pieces that are promised.
struct Supply {
    granule: GranuleSize,
    memory: Undelegated,
    sizes: Sizes,
    turn: usize,
    promised: VecDeque<Option<Undelegated>>,
}

impl Supply {
    fn promise(&mut self) -> Option<PaRange> {
        let size = *self.sizes.get(self.turn % self.sizes.len()).unwrap();
        self.turn += 1;
        let page = self.granule.bytes();
        // Of 16 KiB, 2,048 make a block.
        let entries = if self.granule == GranuleSize::Size16KiB { 2048 } else { 512 };
        let of = |pages| page * if pages == 512 { entries } else { pages };
        let piece = size.and_then(|(count, align, gap)| {
            let base = self.memory.base().align_up(of(align)).unwrap();
            let skip = base.checked_offset_from(self.memory.base()).unwrap();
            let skip = skip + if gap { of(align) } else { 0 };
            let _ = self.memory.take_front(skip)?.into_raw();
            self.memory.take_front(of(count))
        });
        let range = piece.as_ref().map(Undelegated::range);
        self.promised.push_back(piece);
        range
    }
}

/// The memory of an operation: a pool, and what was promised.
struct Promised<'s> {
    pool: &'s mut Pool,
    promised: &'s mut VecDeque<Option<Undelegated>>,
}

impl HostMemory for Promised<'_> {
    fn pool(&mut self) -> &mut Pool {
        self.pool
    }

    fn allocate(&mut self, _: IpaRange) -> Option<Undelegated> {
        // More than was predicted is no memory, and shows in the calls.
        self.promised.pop_front()?
    }

    fn free(&mut self, memory: Undelegated) -> Result<(), Undelegated> {
        let _ = memory.into_raw();
        Ok(())
    }
}

type Platform<'p> = Host<&'p Counting<&'p Model>, &'p Model, &'p CountingLedger>;

struct Fixture<'p> {
    realm: Realm<'p, Platform<'p>, Active>,
    rec: RecObject,
    run_page: Undelegated,
    pool: FixedPool<64>,
    supply: Supply,
    actions: Arc<Mutex<VecDeque<Action>>>,
    conduit: &'p Counting<&'p Model>,
    limits: Limits,
}

impl Fixture<'_> {
    /// The calls so far, as a cost.
    fn counted(&self) -> Cost {
        let dialect = self.realm.rmm().dialect();
        let of = |commands: &[Command]| -> u64 {
            let issued = |command: &Command| {
                let command = test_support::equivalent(*command, dialect).unwrap();
                self.conduit.counts(command, dialect).issued
            };
            commands.iter().map(issued).sum()
        };
        let mut cost = Cost::default();
        cost.delegate = of(&[Command::GranuleRangeDelegate]);
        cost.undelegate = of(&[Command::GranuleRangeUndelegate]);
        cost.create = of(&[Command::RttCreate]);
        cost.destroy = of(&[Command::RttDestroy]);
        cost.map = of(&[Command::RttDataMap]);
        cost.unmap = of(&[Command::RttDataUnmap]);
        cost.ripas = of(&[Command::RttSetRipas]);
        cost.share = of(&[Command::RttUnprotMap]);
        cost.unshare = of(&[Command::RttUnprotUnmap]);
        cost.read = of(&[Command::RttReadEntry]);
        cost
    }

    /// The REC asks for a change of the RIPAS.
    fn ask_for_empty(&mut self, range: IpaRange) {
        let ask = Action::ipa_state_set(range.base(), range.top(), Ripas::Empty, 0);
        self.actions.lock().unwrap().push_back(ask);
        let (rmm, entry) = (self.realm.rmm(), EntryRecord::default());
        let exit = self.rec.enter(rmm, &mut self.run_page, &entry, None, |exit, _| (*exit, false));
        let reason = ExitReason::decode(exit.unwrap().exit_reason, rmm.dialect());
        assert_eq!(reason, ExitReason::RipasChange);
    }

    /// Does a step, and compares the predicted calls with the counted ones.
    fn step(&mut self, step: Step, first: u64, count: u64) -> Result<(), TestCaseError> {
        let granule = self.supply.granule;
        let (range, limits) = (pages(granule, first, count), self.limits);
        match step {
            Step::Undelegate => {
                self.pool.undelegate(self.realm.rmm());
                return Ok(());
            }
            Step::Fold if limits.entry_by_entry => return Ok(()),
            Step::Fold => {
                let folded = self.realm.fold(&mut self.pool, range, FoldPolicy::BlocksAndVoid);
                prop_assert!(folded.is_ok());
                return Ok(());
            }
            Step::Reclaim => {
                let Self { realm, pool, supply, .. } = self;
                let mut memory = Promised { pool, promised: &mut supply.promised };
                prop_assert_eq!(realm.reclaim(&mut memory, range), Ok(Reclaimed::Whole));
                return Ok(());
            }
            Step::SetEmpty => self.ask_for_empty(range),
            _ => {}
        }
        let at = |offset| Ipa::new(range.base().raw() + offset % count * granule.bytes() + 0x123);
        let Self { realm, pool, supply, .. } = self;
        let mut supplied = |_: &mut dyn HostMemory, _| supply.promise();
        let cost = match step {
            Step::Fault(offset) => realm.fault_cost(pool, at(offset), range, &mut supplied, limits),
            Step::ToShared => realm.convert_to_shared_cost(pool, range, &mut supplied, limits),
            Step::ToPrivate => realm.convert_to_private_cost(pool, range, limits),
            _ => realm.set_ripas_cost(pool, range, limits),
        };
        let (before, failed) = (self.counted(), self.conduit.total().failed);
        let all = self.conduit.total().issued;
        let Self { realm, pool, supply, .. } = self;
        let mut memory = Promised { pool, promised: &mut supply.promised };
        match step {
            Step::Fault(offset) => {
                let served = realm.serve_fault(&mut memory, at(offset), range);
                let had_none = cost.create + cost.delegate + cost.map == 0;
                prop_assert!(served.is_ok() || had_none, "{served:?}");
                if let Ok(Served::Contended(_) | Served::Destroyed(_)) = served {
                    prop_assert!(false, "{served:?}");
                }
            }
            Step::ToShared => {
                let access = SharedAccess::MEMORY;
                let converted = realm.convert_to_shared(&mut memory, range, access).unwrap();
                prop_assert_eq!(converted.bytes + converted.without_memory, range.bytes());
            }
            Step::ToPrivate => {
                let converted = realm.convert_to_private(&mut memory, range).unwrap();
                prop_assert_eq!(converted.bytes + converted.without_memory, range.bytes());
            }
            _ => {
                let rec = self.rec.name();
                let reached = realm.set_ripas(&mut memory, rec, range, u32::MAX).unwrap();
                prop_assert_eq!(reached, range.top());
            }
        }
        prop_assert!(supply.promised.is_empty(), "{:?} is left", supply.promised);
        prop_assert_eq!(before + cost, self.counted(), "{:?} at {}: {:?}", step, range, cost);
        prop_assert_eq!(self.conduit.total().issued - all, cost.calls());
        prop_assert_eq!(self.conduit.total().failed, failed);
        Ok(())
    }
}

fn check(
    (options, limits, granule): (Options, Limits, GranuleSize),
    steps: Vec<(Step, u64, u64)>,
    sizes: Sizes,
) -> Result<(), TestCaseError> {
    let model = Model::new(options).unwrap();
    let conduit = Counting::new(&model);
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<64>::new();
    pool.set_granule_size(granule);
    let bytes = Pool::pages_bytes(granule) + 512 * granule.bytes();
    pool.add(memory.take_front(bytes).unwrap()).unwrap();
    let platform = Host::new(&conduit, &model).with_ledger(&ledger);
    let rmm = test_support::open_with(platform, granule, &mut pool);
    let mut realm =
        Realm::create(&rmm, &RealmConfig::new(42), Records::growing(), &mut pool).unwrap();
    let start = RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] };
    let rec = realm.create_rec(&mut pool, &start).unwrap();
    let actions = Arc::new(Mutex::new(VecDeque::new()));
    let queue = Arc::clone(&actions);
    let guest = move |_: &GuestCpu| queue.lock().unwrap().pop_front().unwrap_or(Action::Spin);
    model.set_guest(realm.rd().pa(), 0, Box::new(guest));
    let realm = realm.activate().unwrap();
    let run_page = memory.take_front(granule.bytes()).unwrap();
    let supply = Supply { granule, memory, sizes, turn: 0, promised: VecDeque::new() };
    let conduit = &conduit;
    let mut fixture = Fixture { realm, rec, run_page, pool, supply, actions, conduit, limits };
    for (step, first, count) in steps {
        fixture.step(step, first, count)?;
    }

    let cost = fixture.realm.dismantle_cost(limits);
    let Fixture { realm, rec, mut pool, .. } = fixture;
    let mut realm = realm.terminate().unwrap();
    realm.destroy_rec(&mut pool, rec).unwrap();
    let start = conduit.total().issued;
    let mut freeing = CallbackMemory::freeing(&mut pool, |memory| {
        let _ = memory.into_raw();
    });
    while realm.dismantle(&mut freeing, 1000).unwrap() == DismantleProgress::More {}
    drop(freeing);
    prop_assert_eq!(conduit.total().issued - start, cost.calls(), "{:?}", cost);
    prop_assert_eq!(realm.tear_down(&mut pool, []).error, None);
    pool.drain(&rmm, &mut |_| {});
    prop_assert_eq!(ledger.balance().outstanding(), 0);
    Ok(())
}

/// An RMM of a kind: of 1.0; of 2.0 that takes a granule in a call and ends at tables; or ranges,
/// with granules of each size.
fn machine(kind: u8) -> (Options, Limits, GranuleSize) {
    let small = GranuleSize::Size4KiB;
    let mut options = Options::new(Dialect::V2_0Bet3).range_capable().with_all_granules();
    options.granules_per_call = GranulesPerCall::All;
    options.dram = PaRange::with_size(Pa::new(0x8000_0000), 24 << 30).unwrap();
    match kind {
        0 => (Options::new(Dialect::V1_0), Limits::ENTRY_BY_ENTRY, small),
        1 => (Options::new(Dialect::TfRmm2026_07), Limits::ONE_BY_ONE, small),
        2 => (options, Limits::RANGES, small),
        3 => (options, Limits::RANGES, GranuleSize::Size16KiB),
        _ => (options, Limits::RANGES, GranuleSize::Size64KiB),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_running_realm_takes_the_predicted_calls(
        kind in 0u8..5,
        steps in steps(),
        sizes in sizes(),
    ) {
        check(machine(kind), steps, sizes)?;
    }
}

/// Blocks that a conversion cuts are split: private ones, and shared ones.
#[test]
fn conversions_that_cut_blocks_take_the_predicted_calls() {
    for kind in 0..3 {
        let blocks = vec![Some((512, 512, false))];
        let steps = [
            // A block, and what lies in the middle of it, at its front, and at its end.
            (Step::Fault(3), 512, 512),
            (Step::ToShared, 700, 100),
            (Step::ToPrivate, 750, 10),
            (Step::Fault(3), 1024, 512),
            (Step::ToShared, 1024, 1),
            (Step::Fault(3), 1536, 512),
            (Step::ToShared, 2047, 1),
            // Blocks that are shared.
            (Step::ToShared, 2048, 1024),
            (Step::ToPrivate, 2100, 600),
            (Step::SetEmpty, 2048, 1024),
            (Step::ToPrivate, 2048, 1024),
        ];
        check(machine(kind), steps.to_vec(), blocks).unwrap();
    }
}
