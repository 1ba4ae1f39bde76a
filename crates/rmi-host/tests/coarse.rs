//! Delegation on an RMM whose tracking regions the host can change: granules that are skipped,
//! COARSE regions that are rolled back or blocked, parts of them, and answers that no host expects.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unsafe_code, reason = "a test calls the model behind the back of the session")]

use std::cell::Cell;
use std::num::{NonZeroU8, NonZeroU32};

use rmi_abi::granule::{MemCategory, TrackingRegionSize, TrackingRegionState};
use rmi_abi::{Command, Dialect, Pa, PaRange, ResultWord, Status};
use rmi_host::{
    Conduit, CountingLedger, Error, FixedQuarantine, Host, Progress, QuarantineReason, Registers,
    RetryBudget, Rmm, SessionOptions, TrackingRegion, Undelegated,
};
use rmm_model::{FirstTracking, Model, Options, RegionOptions};
use test_support::Altered;

const DIALECT: Dialect = Dialect::V2_0Bet3;
const DRAM: u64 = 0x8000_0000;
const MIB2: u64 = 2 << 20;
const PAGE: u64 = 0x1000;
const DELEGATE: Command = Command::GranuleRangeDelegate;
const UNDELEGATE: Command = Command::GranuleRangeUndelegate;

/// An RMM with eight regions of 2 MiB.
fn model(first: FirstTracking, change: impl Fn(&mut RegionOptions)) -> Model {
    let mut options = Options::new(DIALECT).range_capable();
    options.dram = PaRange::with_size(Pa::new(DRAM), 8 * MIB2).unwrap();
    let mut regions = RegionOptions::new(first);
    regions.code_of_2_mib = NonZeroU8::new(1);
    change(&mut regions);
    options.regions = Some(regions);
    options.tracking_donates = if first == FirstTracking::Coarse { 1 } else { 0 };
    Model::new(options).unwrap()
}

type Session<'m, C> = Rmm<Host<&'m C, &'m Model, &'m CountingLedger, &'m FixedQuarantine<64>>>;

struct Machine {
    model: Model,
    ledger: CountingLedger,
    quarantine: FixedQuarantine<64>,
}

impl Machine {
    fn new(first: FirstTracking, change: impl Fn(&mut RegionOptions)) -> Self {
        let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::new());
        Self { model: model(first, change), ledger, quarantine }
    }

    fn session<'m, C: Conduit>(
        &'m self,
        conduit: &'m C,
        blocked: u32,
        memory: &mut Undelegated,
    ) -> Session<'m, C> {
        let budget = RetryBudget { blocked, busy: 3, steps: 20, ..RetryBudget::default() };
        self.session_with(conduit, budget, memory)
    }

    fn session_with<'m, C: Conduit>(
        &'m self,
        conduit: &'m C,
        budget: RetryBudget,
        memory: &mut Undelegated,
    ) -> Session<'m, C> {
        let mut options = SessionOptions::default();
        options.dialect = Some(DIALECT);
        options.tracking_region = Some(TrackingRegion::with_code(MIB2, TrackingRegionSize(1)));
        options.retry_budget = budget;
        let platform = Host::new(conduit, &self.model)
            .with_ledger(&self.ledger)
            .with_quarantine(&self.quarantine);
        rmm_model::open_with(platform, options, memory).unwrap()
    }

    /// A call that the session does not know of.
    fn call(&self, command: Command, base: u64, top: u64) -> u64 {
        // SAFETY: the model has its own memory.
        let [x0, ..] = unsafe { self.model.call([fid(command), base, top, 0, 0, 0, 0, 0]) };
        x0
    }

    fn is_all_host(&self) -> bool {
        self.model.census().undelegated == self.model.census().total
    }
}

fn fid(command: Command) -> u64 {
    command.fid(DIALECT).unwrap().0.into()
}

fn is(command: Command, call: &Registers) -> bool {
    call[0] == fid(command)
}

fn region(memory: &mut Undelegated) -> Undelegated {
    memory.take_front(MIB2).unwrap()
}

#[test]
fn granules_that_are_skipped_are_progress() {
    let machine = Machine::new(FirstTracking::Fine, |_| ());
    let mut memory = machine.model.take_memory();
    let conduit = &machine.model;
    let rmm = machine.session(&conduit, 0, &mut memory);
    assert_eq!(rmm.tracking_region_size(), Some(MIB2));
    let ours = memory.take_front(8 * PAGE).unwrap();
    let base = ours.base().raw();
    for granule in [0, 3, 7] {
        let at = base + granule * PAGE;
        assert_eq!(machine.call(DELEGATE, at, at + PAGE), 0);
    }
    let before = machine.model.calls();
    let delegated = rmm.delegate(ours).unwrap();
    // To the granule before the one in the middle, to the one before the last, and to the end.
    assert_eq!(machine.model.calls() - before, 3);
    assert_eq!((delegated.bytes(), machine.model.census().delegated), (8 * PAGE, 8));
    assert_eq!(machine.ledger.balance().delegated, 8);
    assert_eq!(machine.call(UNDELEGATE, base, base + 2 * PAGE), 0);
    let host = rmm.undelegate(delegated).unwrap();
    assert_eq!(host.bytes(), 8 * PAGE);
    assert!(machine.is_all_host());
    assert_eq!(machine.ledger.balance().outstanding(), 0);
}

#[test]
fn a_region_that_is_rolled_back_is_the_hosts() {
    for (steps, blocked) in [(0, 1), (3, 1), (0, 0), (3, 0)] {
        let machine = Machine::new(FirstTracking::Coarse, |regions| {
            regions.roll_back_every = NonZeroU32::new(2);
            regions.coarse_steps = steps;
        });
        let mut memory = machine.model.take_memory();
        let conduit = &machine.model;
        let rmm = machine.session(&conduit, blocked, &mut memory);
        let first = rmm.delegate(region(&mut memory)).unwrap();
        // The second one fails in the middle of a range; what comes after it is not tried.
        let failed = rmm.delegate(memory.take_front(2 * MIB2).unwrap()).unwrap_err();
        assert_eq!(failed.error.status(), Some(Status::ErrorTracking));
        assert!(failed.error.is_clean() && failed.doubt().is_none());
        assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (0, 2 * MIB2));
        assert_eq!(machine.model.census().delegated, 512);
        // The third one works, and the fourth meets another operation: it is tried again.
        let result = rmm.delegate(failed.host);
        let delegated = if blocked > 0 {
            result.unwrap()
        } else {
            let failed = result.unwrap_err();
            // It may also wait for the other one, and not be undone.
            assert!(matches!(failed.error, Error::Unclear(_)), "{:?}", failed.error);
            assert_eq!(failed.error.status(), Some(Status::Blocked));
            assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (2 * MIB2, 0));
            assert!(failed.doubt().is_some());
            failed.delegated
        };
        let bytes = if blocked > 0 { 2 * MIB2 } else { MIB2 };
        assert_eq!(machine.model.census().delegated, (MIB2 + bytes) / PAGE);
        for memory in [first, delegated] {
            let _ = rmm.undelegate(memory).unwrap();
        }
        assert!(machine.is_all_host());
        assert_eq!(machine.model.open_operations(), 0);
        let balance = machine.ledger.balance();
        assert_eq!((balance.outstanding(), balance.dropped_operations), (0, 0));
    }
}

#[test]
fn a_region_that_is_changed_blocks_for_as_long_as_the_budget_allows() {
    let machine = Machine::new(FirstTracking::Coarse, |_| ());
    let mut memory = machine.model.take_memory();
    let conduit = &machine.model;
    let rmm = machine.session(&conduit, 5, &mut memory);
    let (ours, other) = (region(&mut memory), region(&mut memory));
    let fine = TrackingRegionState::Fine;
    let start = || {
        rmm.commands().granule_tracking_set(ours.base(), MemCategory::Conventional, fine).map(
            |progress| match progress {
                Progress::Pending(pending) => pending,
                Progress::Done(_) => panic!("it takes memory"),
            },
        )
    };
    let pending = start().unwrap();
    let before = machine.model.calls();
    let error = start().unwrap_err();
    assert_eq!((error.status(), machine.model.calls() - before), (Some(Status::Blocked), 6));
    let before = machine.model.calls();
    let base = ours.base();
    let failed = rmm.delegate(ours).unwrap_err();
    assert!(matches!(failed.error, Error::Exhausted { .. }));
    assert_eq!(failed.error.status(), Some(Status::Blocked));
    assert_eq!((failed.host.bytes(), machine.model.calls() - before), (MIB2, 6));
    // Others are not blocked.
    let other = rmm.delegate(other).unwrap();
    let tracked = rmm.commands().granule_tracking_get(PaRange::with_size(base, MIB2).unwrap());
    assert_eq!(tracked.unwrap().state, TrackingRegionState::Intermediate);
    let _ = rmm.undelegate(other).unwrap();
    rmm.commands().drop_pending(pending);
}

/// The answers to the next delegations and undelegations in place of the model's.
#[derive(Default)]
struct Answers {
    delegate: Cell<Option<u64>>,
    undelegate: Cell<Option<u64>>,
}

impl Answers {
    fn answer(&self, call: &Registers) -> Option<Registers> {
        let word = match () {
            () if is(DELEGATE, call) => self.delegate.take()?,
            () if is(UNDELEGATE, call) => self.undelegate.take()?,
            () => return None,
        };
        Some([word, call[1], 0, 0, 0, 0, 0, 0])
    }
}

#[test]
fn a_region_whose_state_is_unclear_is_recovered_as_a_whole() {
    let machine = Machine::new(FirstTracking::Coarse, |_| ());
    let answers = Answers::default();
    let conduit =
        Altered { model: &machine.model, instead: |call: &Registers| answers.answer(call) };
    let mut memory = machine.model.take_memory();
    let rmm = machine.session(&conduit, 0, &mut memory);
    // An unknown status: nobody knows whether the RMM has the memory.
    answers.delegate.set(Some(99));
    let failed = rmm.delegate(memory.take_front(2 * MIB2).unwrap()).unwrap_err();
    let doubt = failed.doubt().unwrap();
    assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (2 * MIB2, 0));
    // An RMM that refuses to undelegate what is the host's: that is proved for the region.
    answers.undelegate.set(Some(ResultWord::from_status(Status::ErrorInput).0));
    let before = machine.model.calls();
    let mut back = Vec::new();
    rmm.recover(failed.delegated, doubt, &mut |host| back.push(host.bytes()));
    assert_eq!(back, [MIB2, MIB2]);
    // How it is tracked, delegated, undelegated; and the second region, undelegated.
    assert_eq!(machine.model.calls() - before, 4);
    assert_eq!(machine.quarantine.len(), 0);
    assert_eq!(machine.ledger.balance().outstanding(), 0);
}

#[test]
fn a_part_of_a_region_is_refused_at_once_and_not_granule_by_granule() {
    let machine = Machine::new(FirstTracking::Coarse, |_| ());
    let mut memory = machine.model.take_memory();
    let conduit = &machine.model;
    let rmm = machine.session(&conduit, 0, &mut memory);
    let mut delegated = rmm.delegate(memory.take_front(2 * MIB2).unwrap()).unwrap();
    let mut front = delegated.take_front(PAGE).unwrap();
    let before = machine.model.calls();
    let mut back = Vec::new();
    rmm.return_or_quarantine(delegated, &mut |host| back.push((host.base(), host.bytes())));
    // The rest of the first region goes to quarantine, the second one comes back.
    assert_eq!(back, [(Pa::new(DRAM + MIB2), MIB2)]);
    assert_eq!(machine.model.calls() - before, 3);
    let reason = QuarantineReason::UndelegateRefused { status: Status::ErrorTracking };
    let mut kept = Vec::new();
    machine.quarantine.for_each(|range, reason| kept.push((range.bytes(), reason)));
    assert_eq!(kept, [(MIB2 - PAGE, reason)]);
    let refused = rmm.undelegate_some(&mut front).unwrap_err();
    assert_eq!((refused.status(), front.bytes()), (Some(Status::ErrorTracking), PAGE));
    rmm.quarantine(front, reason);
}

#[test]
fn a_part_whose_state_is_unclear_is_proved_by_its_region() {
    let machine = Machine::new(FirstTracking::Coarse, |_| ());
    let mut memory = machine.model.take_memory();
    let conduit = &machine.model;
    let rmm = machine.session(&conduit, 0, &mut memory);
    let mut delegated = rmm.delegate(memory.take_front(2 * MIB2).unwrap()).unwrap();
    let part = delegated.take_front(PAGE).unwrap();
    let reason = QuarantineReason::NotReclaimed { command: Command::GranuleTrackingSet };
    let mut back = Vec::new();
    rmm.recover(part, reason, &mut |host| back.push((host.base(), host.bytes())));
    assert_eq!(back, [(Pa::new(DRAM), PAGE)]);
    // The other memory of that region is the host's when it is undelegated; the next region is as
    // it was.
    assert_eq!(machine.model.census().delegated, MIB2 / PAGE);
    assert_eq!(machine.ledger.balance().outstanding(), 2 * MIB2 / PAGE - 1);
    // Memory that is in no one region is not proved by one.
    let across = delegated.take_back(MIB2 + PAGE).unwrap();
    rmm.recover(across, reason, &mut |host| back.push((host.base(), host.bytes())));
    assert_eq!(machine.quarantine.len(), 0);
    assert_eq!(back.iter().map(|(_, bytes)| bytes).sum::<u64>(), MIB2 + 2 * PAGE);
    rmm.recover(delegated, reason, &mut |host| back.push((host.base(), host.bytes())));
    assert!(machine.is_all_host());
    assert_eq!(machine.ledger.balance().outstanding(), 0);
}

#[test]
fn what_is_left_of_a_region_that_was_proved_in_part_is_not_lost() {
    let machine = Machine::new(FirstTracking::Coarse, |_| ());
    let calls = Cell::new(None);
    let conduit = Altered {
        model: &machine.model,
        instead: |call: &Registers| {
            if !is(UNDELEGATE, call) {
                return None;
            }
            let n = calls.get()?;
            calls.set(Some(n + 1));
            match n {
                // Refused, and after the proof by delegation one granule is undelegated.
                0 => {
                    Some([ResultWord::from_status(Status::ErrorInput).0, call[1], 0, 0, 0, 0, 0, 0])
                }
                1 => Some([0, call[1] + PAGE, 0, 0, 0, 0, 0, 0]),
                _ => None,
            }
        },
    };
    let mut memory = machine.model.take_memory();
    let rmm = machine.session_with(&conduit, RetryBudget::default(), &mut memory);
    let delegated = rmm.delegate(region(&mut memory)).unwrap();
    let reason = QuarantineReason::NotReclaimed { command: Command::GranuleTrackingSet };
    let mut back = 0;
    calls.set(Some(0));
    rmm.recover(delegated, reason, &mut |host| back += host.bytes());
    let mut kept = 0;
    machine.quarantine.for_each(|range, _| kept += range.bytes());
    assert_eq!(back + kept, MIB2);
    assert_eq!(machine.ledger.balance().leaked, 0);
}

/// RMI_BLOCKED as the specification has it: nothing changed, the call is to be repeated later.
#[test]
fn an_operation_that_stays_blocked_keeps_its_memory() {
    let machine = Machine::new(FirstTracking::Coarse, |regions| regions.coarse_steps = 3);
    let blocked = Cell::new(false);
    let conduit = Altered {
        model: &machine.model,
        instead: |call: &Registers| {
            let word = ResultWord::from_status(Status::Blocked).0;
            let is_blocked = blocked.get() && is(Command::OpContinue, call);
            is_blocked.then_some([word, 0, 0, 0, 0, 0, 0, 0])
        },
    };
    let mut memory = machine.model.take_memory();
    let rmm = machine.session_with(&conduit, RetryBudget::default(), &mut memory);
    blocked.set(true);
    let failed = rmm.delegate(region(&mut memory)).unwrap_err();
    assert!(!failed.error.is_clean(), "{:?}", failed.error);
    assert_eq!(failed.error.status(), Some(Status::Blocked));
    assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (MIB2, 0));
    assert!(machine.model.open_operations() > 0);
}
