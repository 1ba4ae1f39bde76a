//! Tracking regions become FINE and COARSE: where the memory for that comes from and goes to, what
//! refuses a change, and that the balance is exact, whatever the RMM does in between.
#![cfg(not(miri))] // Slow, and `sro` has no unsafe code.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::num::{NonZeroU8, NonZeroU16, NonZeroU32};
use std::time::Duration;

use proptest::prelude::*;
use rmi_abi::desc::{AddrRangeDesc, BlockSize, DonateRequest, OpMemState};
use rmi_abi::granule::{TrackingRegionSize, TrackingRegionState};
use rmi_abi::result::OpMemReq;
use rmi_abi::{Command, Dialect, Fid, GranuleSize, Pa, PaRange, ResultWord, Status};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::{
    Conduit, CountingLedger, Error, FixedQuarantine, Host, HostAccess, Platform, Registers,
    RetryBudget, Rmm, ServedDialect, SessionOptions, TrackingError, TrackingRegion, Undelegated,
};
use rmm_model::{FirstTracking, GranuleState, Model, Options, RegionOptions};
use sro::{FineRegion, FineRegions, FixedPool, Pool, Session};
use test_support::Altered;

const DRAM: u64 = 0x8000_0000;
const MIB2: u64 = 2 << 20;
const PAGE: u64 = 0x1000;
/// Regions of the machine, and granules that one takes to become FINE.
const REGIONS: u64 = 6;
const TAKES: u64 = 3;
const TAKEN: u16 = 3;

fn options(first: FirstTracking) -> Options {
    let mut options = Options::new(Dialect::V2_0Bet3).range_capable();
    options.dram = range(0, REGIONS);
    let mut regions = RegionOptions::new(first);
    regions.code_of_2_mib = NonZeroU8::new(1);
    options.regions = Some(regions);
    options.tracking_donates = if first == FirstTracking::Coarse { TAKEN } else { 0 };
    options
}

fn session_options() -> SessionOptions {
    let mut options = SessionOptions::default();
    options.tracking_region = Some(TrackingRegion::with_code(MIB2, TrackingRegionSize(1)));
    options.retry_budget =
        RetryBudget { busy: 60, blocked: 3, steps: 200, ..RetryBudget::default() };
    options
}

/// Regions, by the numbers of the first one and the one after the last.
fn range(first: u64, end: u64) -> PaRange {
    PaRange::new(Pa::new(DRAM + first * MIB2), Pa::new(DRAM + end * MIB2)).unwrap()
}

fn fine_regions<const N: usize>() -> FineRegions<[FineRegion; N]> {
    FineRegions::new([const { FineRegion::EMPTY }; N])
}

fn tracked<P: Platform>(rmm: &Rmm<P>) -> Vec<TrackingRegionState> {
    let state = |n| rmm.commands().granule_tracking_get(range(n, n + 1)).unwrap().state;
    (0..REGIONS).map(state).collect()
}

const FINE: TrackingRegionState = TrackingRegionState::Fine;
const COARSE: TrackingRegionState = TrackingRegionState::Coarse;

/// A pool with all of the first region, and a session.
fn open<P: Platform>(platform: P, memory: &mut Undelegated) -> (FixedPool<8>, Session<P>) {
    let mut pool = FixedPool::new();
    pool.add(memory.take_front(MIB2).unwrap()).unwrap();
    let session = sro::open(platform, session_options(), &mut pool).unwrap();
    (pool, session)
}

/// A platform without COARSE regions.
enum WithoutCoarse {}

impl ServedDialect for WithoutCoarse {
    const DIALECT: Option<Dialect> = None;
    const COARSE_TRACKING: bool = false;
}

#[test]
fn a_platform_without_coarse_regions_changes_none() {
    // Two regions of the size that every RMM has.
    let mut machine = options(FirstTracking::Coarse);
    machine.dram = range(0, 1024);
    let model = Model::new(machine).unwrap();
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(MIB2).unwrap()).unwrap();
    let host = model.host().with_dialect::<WithoutCoarse>();
    let session = sro::open(host, SessionOptions::default(), &mut pool).unwrap();
    // Its memory is not of use, and it learns that when it asks.
    let refused = session.check_memory(range(512, 513));
    assert!(matches!(refused, Err(TrackingError::NotTracked { state: COARSE, .. })), "{refused:?}");
    let mut fine = fine_regions::<4>();
    let calls = model.calls();
    let made = fine.make_fine(&session, &mut pool, range(512, 513)).unwrap_err();
    let left = fine.make_coarse(&session, &mut pool, range(0, 512)).unwrap_err();
    for (stopped, first) in [(made, 512), (left, 0)] {
        assert_eq!(stopped.reached, range(first, 1024).base());
        let what = "the platform is built without COARSE tracking regions";
        assert!(stopped.error.to_string().contains(what), "{}", stopped.error);
    }
    assert_eq!((model.calls(), fine.iter().count()), (calls, 0));
    for half in [range(0, 512), range(512, 1024)] {
        assert_eq!(session.commands().granule_tracking_get(half).unwrap().state, COARSE);
    }
    assert!(session.close(&mut pool).unwrap().deactivated);
}

#[test]
fn each_region_takes_memory_once_and_returns_it() {
    let ledger = CountingLedger::new();
    let model = Model::new(options(FirstTracking::Coarse)).unwrap();
    let mut memory = model.take_memory();
    let (mut pool, session) = open(model.host().with_ledger(&ledger), &mut memory);
    let mut fine = fine_regions::<4>();
    let all = MIB2 - Pool::PAGES;
    // One region, by memory of its own, of which it keeps what is in the middle.
    let inside = PaRange::with_size(Pa::new(DRAM + 5 * PAGE), PAGE).unwrap();
    fine.make_fine(&session, &mut pool, inside).unwrap();
    assert_eq!(tracked(&session), [FINE, COARSE, COARSE, COARSE, COARSE, COARSE]);
    assert_eq!((fine.donated_bytes(), pool.bytes()), (TAKES * PAGE, (all - TAKES * PAGE, 0)));
    assert_eq!(model.granule_state(Pa::new(DRAM)), Some(GranuleState::Internal));
    // Two more, by memory of the first, which is delegated for that. Again changes nothing.
    for _ in 0..2 {
        fine.make_fine(&session, &mut pool, range(0, 3)).unwrap();
        assert_eq!(tracked(&session), [FINE, FINE, FINE, COARSE, COARSE, COARSE]);
        assert_eq!(fine.donated_bytes(), 3 * TAKES * PAGE);
        let (host, delegated) = pool.bytes();
        assert_eq!(host + delegated, all - 3 * TAKES * PAGE);
    }
    let bases: Vec<_> = fine.iter().filter_map(FineRegion::base).collect();
    assert_eq!(bases, [0, 1, 2].map(|n| range(n, n + 1).base()));
    for one in fine.iter() {
        assert_eq!(one.donated().bytes(), TAKES * PAGE);
    }
    // The region whose memory tracks others cannot leave FINE; these can.
    let stopped = fine.make_coarse(&session, &mut pool, range(0, 3)).unwrap_err();
    assert_eq!(
        (stopped.error.status(), stopped.reached),
        (Some(Status::ErrorInput), Pa::new(DRAM))
    );
    let text = format!("tracking regions changed up to 0x80000000 only: {}", stopped.error);
    assert_eq!(stopped.to_string(), text);
    fine.make_coarse(&session, &mut pool, range(1, 2)).unwrap();
    assert_eq!(tracked(&session), [FINE, COARSE, FINE, COARSE, COARSE, COARSE]);
    assert_eq!(fine.donated_bytes(), 2 * TAKES * PAGE);
    // Not all of the region: it stays.
    let part = PaRange::with_size(Pa::new(DRAM + 2 * MIB2), MIB2 - PAGE).unwrap();
    fine.make_coarse(&session, &mut pool, part).unwrap();
    assert_eq!(tracked(&session)[2], FINE);

    // The first one is tried twice, because its memory tracks another one.
    fine.restore(&session, &mut pool).unwrap();
    assert_eq!(tracked(&session), [COARSE; 6]);
    assert_eq!((fine.donated_bytes(), fine.iter().count()), (0, 0));
    assert_eq!(pool.bytes(), (all, 0));
    let balance = ledger.balance();
    assert_eq!((balance.donated, balance.reclaimed), (3 * TAKES, 3 * TAKES));
    assert_eq!((balance.outstanding(), model.open_operations()), (0, 0));
    assert!(session.close(&mut pool).unwrap().deactivated);
    assert_eq!(model.census().undelegated, model.census().total);
}

#[test]
fn what_cannot_be_changed_is_refused_before_anything_changes() {
    let model = Model::new(options(FirstTracking::Coarse)).unwrap();
    let mut memory = model.take_memory();
    let (mut pool, session) = open(model.host(), &mut memory);
    let mut fine = fine_regions::<1>();
    fine.make_fine(&session, &mut pool, range(0, 1)).unwrap();
    let before = tracked(&session);
    // No slot; and no memory.
    let stopped = fine.make_fine(&session, &mut pool, range(0, 3)).unwrap_err();
    assert!(matches!(stopped.error, Error::Argument { .. }), "{:?}", stopped.error);
    assert_eq!(stopped.reached, Pa::new(DRAM + MIB2));
    let mut more = fine_regions::<1>();
    let hole = PaRange::with_size(Pa::new(DRAM + REGIONS * MIB2), PAGE).unwrap();
    let stopped = more.make_fine(&session, &mut pool, hole).unwrap_err();
    assert!(matches!(stopped.error, Error::Argument { .. }), "{:?}", stopped.error);
    // A pool that is known to be short: the RMM is not asked.
    let mut empty = FixedPool::<4>::new();
    empty.add(memory.take_back(Pool::PAGES).unwrap()).unwrap();
    for asks in [true, false] {
        let calls = model.calls();
        let stopped = more.make_fine(&session, &mut empty, range(2, 3)).unwrap_err();
        let missing = match stopped.error {
            Error::NeedMemory { bytes, .. } => bytes,
            error => panic!("{error:?}"),
        };
        assert_eq!(missing, TAKES * PAGE);
        assert_eq!(model.calls() - calls > 2, asks);
        assert_eq!((tracked(&session), more.iter().count()), (before.clone(), 0));
        assert_eq!(model.open_operations(), 0);
    }
    // Memory elsewhere that is not FINE is no donation; it stays in the pool.
    let mut coarse = FixedPool::<4>::new();
    let mut own = memory.take_back(MIB2 / 2).unwrap();
    coarse.add(own.take_front(Pool::PAGES).unwrap()).unwrap();
    coarse.add(own).unwrap();
    let bytes = coarse.bytes();
    let stopped = more.make_fine(&session, &mut coarse, range(2, 3)).unwrap_err();
    assert_eq!(stopped.error.status(), Some(Status::ErrorTracking));
    assert_eq!((coarse.bytes(), tracked(&session)), (bytes, before));
    assert_eq!(model.open_operations(), 0);

    fine.restore(&session, &mut pool).unwrap();
    assert_eq!(model.census().undelegated, model.census().total);
    drop((coarse, empty));
}

#[test]
fn an_rmm_without_regions_is_not_called() {
    for dialect in [Dialect::TfRmm2026_07, Dialect::V2_0Bet0, Dialect::V2_0Bet1, Dialect::V2_0Bet3]
    {
        let model = test_support::model(dialect);
        let mut memory = model.take_memory();
        let mut pool = test_support::pool::<8>(&mut memory, 0x10_000);
        let session = test_support::open(model.host(), &mut pool);
        let mut fine = fine_regions::<1>();
        let calls = model.calls();
        // All of a GiB is FINE: one query.
        let gib = PaRange::with_size(Pa::new(DRAM), 1 << 30).unwrap();
        fine.make_fine(&session, &mut pool, gib).unwrap();
        assert_eq!(model.calls() - calls, 1, "{dialect}");
        fine.restore(&session, &mut pool).unwrap();
        assert_eq!(model.calls() - calls, 1, "{dialect}");
    }
}

#[test]
fn a_delegated_region_returns_its_memory_as_the_hosts() {
    let ledger = CountingLedger::new();
    let quarantine = FixedQuarantine::<8>::new();
    let model = Model::new(options(FirstTracking::Coarse)).unwrap();
    let mut memory = model.take_memory();
    let platform = model.host().with_ledger(&ledger).with_quarantine(&quarantine);
    let (mut pool, session) = open(platform, &mut memory);
    // A region that was delegated as a whole is tracked by a part of it.
    let whole = session.delegate(memory.take_front(MIB2).unwrap()).unwrap();
    pool.add_delegated(whole).unwrap();
    let mut fine = fine_regions::<2>();
    fine.make_fine(&session, &mut pool, range(1, 2)).unwrap();
    assert_eq!(pool.bytes().1, MIB2 - TAKES * PAGE);
    // It becomes the host's again, but for that part, of which the RMM says then that it is, too.
    pool.undelegate(&session);
    assert_eq!(model.census().undelegated, model.census().total - TAKES);
    fine.make_coarse(&session, &mut pool, range(1, 2)).unwrap();
    assert_eq!(model.census().undelegated, model.census().total);
    assert_eq!(pool.bytes(), (2 * MIB2 - Pool::PAGES, 0));
    assert_eq!((quarantine.len(), ledger.balance().outstanding()), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    })]

    /// Any changes, with an RMM that is busy, short in its answers, fails or is made to fail: every
    /// granule is with the host or in quarantine at the end, and regions are as they were.
    #[test]
    fn the_balance_is_exact_whatever_happens(
        changes in prop::collection::vec((0..3_u8, 0..REGIONS, 1..4_u64), 1..12),
        on in any::<[bool; 5]>(),
        fault in (0..60_u64, 0..5_usize),
        steps in 0..3_u32,
    ) {
        let [busy, fails, short, rounds, is_faulty] = on;
        let mut options = options(FirstTracking::Coarse);
        options.busy_every = NonZeroU32::new(if busy { 3 } else { 0 });
        options.fail_operations_every = NonZeroU32::new(if fails { 3 } else { 0 });
        options.reclaim_list_limit = NonZeroU16::new(if short { 1 } else { 0 });
        options.donation_rounds = NonZeroU8::new(if rounds { 2 } else { 1 }).unwrap();
        let regions = options.regions.as_mut().unwrap();
        regions.coarse_steps = steps;
        regions.roll_back_every = NonZeroU32::new(if fails { 2 } else { 0 });
        let model = Model::new(options).unwrap();
        let statuses = [
            Status::ErrorInput, Status::Busy, Status::Blocked, Status::ErrorTracking,
            Status::ErrorGlobal,
        ];
        let (at, status) = (fault.0, statuses[fault.1]);
        let is_refused = is_faulty && at % 2 == 0;
        let fault = Fault::Delay { status, times: 1 };
        // The change of a region is refused once; operations that are under way go on.
        let rule = Rule::command(Command::GranuleTrackingSet, Dialect::V2_0Bet3);
        let conduit = if is_refused {
            Injecting::by_rule(&model, rule, fault)
        } else {
            Injecting::once(&model, u64::MAX, fault)
        };
        let ledger = CountingLedger::new();
        let quarantine = FixedQuarantine::<64>::new();
        let platform = Host::new(&conduit, &model)
            .with_ledger(&ledger)
            .with_quarantine(&quarantine);
        let mut memory = model.take_memory();
        let (mut pool, session) = open(platform, &mut memory);
        pool.add(memory.take()).unwrap();
        let mut fine = fine_regions::<4>();
        for (kind, first, count) in changes {
            let range = range(first, (first + count).min(REGIONS));
            let is_ended = match kind {
                0 => fine.make_fine(&session, &mut pool, range).is_ok(),
                1 => fine.make_coarse(&session, &mut pool, range).is_ok(),
                _ => pool.prefill(&session, count * PAGE, PAGE).is_ok(),
            };
            prop_assert!(is_ended || busy || fails || is_faulty || kind < 3);
            prop_assert_eq!(model.open_operations(), 0);
        }
        for _ in 0..REGIONS {
            let _ = fine.restore(&session, &mut pool);
        }
        pool.undelegate(&session);
        let mut kept = 0;
        quarantine.for_each(|range, _| kept += range.bytes());
        let balance = ledger.balance();
        prop_assert_eq!(balance.outstanding(), 0);
        prop_assert_eq!(balance.quarantined, kept / PAGE);
        if !fails && !is_refused {
            prop_assert_eq!(kept, 0);
            prop_assert_eq!(fine.donated_bytes(), 0);
            prop_assert_eq!(tracked(&session), [COARSE; 6].to_vec());
            prop_assert_eq!(model.census().undelegated, model.census().total);
        }
        let accounted = pool.bytes().0 + pool.bytes().1 + kept + fine.donated_bytes();
        prop_assert_eq!(accounted, REGIONS * MIB2 - Pool::PAGES);
    }
}

/// A clock that advances by a millisecond at each reading.
fn clock() -> Duration {
    thread_local!(static TIME: Cell<u64> = const { Cell::new(0) });
    TIME.set(TIME.get() + 1);
    Duration::from_millis(TIME.get())
}

/// One change has one budget: for what is busy at its start, on the way, and blocked at its end,
/// after which it is begun again.
#[test]
fn a_change_that_is_begun_again_has_what_is_left_of_its_budget() {
    let time = Some(Duration::from_millis(12));
    let endless = RetryBudget { busy: 999, blocked: 999, steps: 999, time, contended: 0 };
    for (budget, calls) in [
        // Of each kind one more than may be repeated.
        (RetryBudget { busy: 5, blocked: 9, steps: 9, time: None, contended: 0 }, 14),
        (RetryBudget { busy: 9, blocked: 2, steps: 9, time: None, contended: 0 }, 15),
        (RetryBudget { busy: 9, blocked: 9, steps: 5, time: None, contended: 0 }, 9),
        // The clock is read at each repetition.
        (endless, 21),
    ] {
        let model = Model::new(options(FirstTracking::Coarse)).unwrap();
        let count = Cell::new(0);
        let fid = |command: Command| u64::from(command.fid(Dialect::V2_0Bet3).unwrap().0);
        let goes_on = ResultWord::incomplete(OpMemReq::None, false).0;
        let is = |status| ResultWord::from_status(status).0;
        let answers = [
            (Command::GranuleTrackingSet, is(Status::Busy)),
            (Command::GranuleTrackingSet, goes_on),
            (Command::OpContinue, goes_on),
            (Command::OpContinue, is(Status::Busy)),
            (Command::OpContinue, is(Status::Blocked)),
        ];
        let conduit = Altered {
            model: &model,
            instead: |call: &Registers| {
                let (command, word) = answers[count.get() % answers.len()];
                (call[0] == fid(command)).then(|| {
                    count.set(count.get() + 1);
                    [word, 7, 0, 0, 0, 0, 0, 0]
                })
            },
        };
        let mut memory = model.take_memory();
        let mut pool = FixedPool::<8>::new();
        pool.add(memory.take_front(MIB2).unwrap()).unwrap();
        let mut with = session_options();
        with.retry_budget = budget;
        let platform = Host::new(&conduit, &model).with_clock(clock);
        let session = sro::open(platform, with, &mut pool).unwrap();
        let mut fine = fine_regions::<1>();
        let stopped = fine.make_fine(&session, &mut pool, range(0, 1)).unwrap_err();
        assert_eq!(count.get(), calls, "{budget:?}: {stopped}");
    }
}

/// The command of a call.
fn command(call: &Registers) -> Option<Command> {
    Command::from_fid(Fid(u32::try_from(call[0]).ok()?), Dialect::V2_0Bet3)
}

/// Has the model execute a call, and answers with a status that no host knows.
#[expect(unsafe_code, reason = "a test answers in place of the model")]
fn unclear(model: &Model, call: &Registers) -> Registers {
    // SAFETY: the model has its own memory.
    let [_, rest @ ..] = unsafe { model.call(*call) };
    let mut answer = [99; 8];
    answer[1..].copy_from_slice(&rest);
    answer
}

/// The first word of a list in the memory of the model.
#[expect(unsafe_code, reason = "a test reads what the session has written")]
fn word_at(model: &Model, at: Pa) -> u64 {
    let mut word = [0; 8];
    // SAFETY: the model has its own memory.
    unsafe { (&model).read(at, &mut word) }.unwrap();
    u64::from_le_bytes(word)
}

/// The model has done what it was asked for, but the answer does not say so: the region, and what
/// the RMM took for it, stay recorded until it is known to be as it was.
#[test]
fn a_region_whose_change_ended_unclearly_is_not_forgotten() {
    let model = Model::new(options(FirstTracking::Coarse)).unwrap();
    let is_on = Cell::new(false);
    let conduit = Altered {
        model: &model,
        instead: |call: &Registers| {
            let is_end = is_on.get() && command(call) == Some(Command::OpContinue);
            is_end.then(|| unclear(&model, call))
        },
    };
    let ledger = CountingLedger::new();
    let quarantine = FixedQuarantine::<8>::new();
    let platform = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let mut memory = model.take_memory();
    let (mut pool, session) = open(platform, &mut memory);
    let all = MIB2 - Pool::PAGES;
    let mut fine = fine_regions::<2>();
    is_on.set(true);
    let stopped = fine.make_fine(&session, &mut pool, range(0, 1)).unwrap_err();
    is_on.set(false);
    assert!(matches!(stopped.error, Error::Unclear(_)), "{:?}", stopped.error);
    // It is FINE, and what tracks it is the RMM's.
    assert_eq!(tracked(&session)[0], FINE);
    assert_eq!((fine.iter().count(), fine.donated_bytes()), (1, TAKES * PAGE));
    assert_eq!((pool.bytes().0 + pool.bytes().1, quarantine.len()), (all - TAKES * PAGE, 0));
    // Again changes nothing.
    fine.make_fine(&session, &mut pool, range(0, 1)).unwrap();
    assert_eq!((fine.iter().count(), fine.donated_bytes()), (1, TAKES * PAGE));

    // The same at the end: it is COARSE, which is known when it is looked at.
    is_on.set(true);
    let error = fine.restore(&session, &mut pool).unwrap_err();
    is_on.set(false);
    assert!(matches!(error, Error::Unclear(_)), "{error:?}");
    assert_eq!((tracked(&session)[0], fine.iter().count()), (COARSE, 1));
    let calls = model.calls();
    fine.restore(&session, &mut pool).unwrap();
    assert_eq!((model.calls() - calls, fine.iter().count()), (1, 0));
    assert_eq!((pool.bytes(), quarantine.len()), ((all, 0), 0));
    assert_eq!(ledger.balance().outstanding(), 0);
}

/// The RMM did nothing, and its answer does not say so.
#[test]
fn what_an_undone_change_took_is_recovered_when_it_is_known_to_be_undone() {
    for again in [true, false] {
        let model = Model::new(options(FirstTracking::Coarse)).unwrap();
        let is_on = Cell::new(false);
        let conduit = Altered {
            model: &model,
            instead: |call: &Registers| match command(call) {
                // It asks for memory, takes it, and ends in no known way; the region is as before.
                Some(Command::GranuleTrackingSet) if is_on.get() => {
                    let request = DonateRequest {
                        size: BlockSize::Page,
                        count: 2,
                        contiguous: false,
                        state: OpMemState::Conditional,
                    };
                    let word = ResultWord::incomplete(OpMemReq::Donate, false).0;
                    Some([word, 7, request.encode(), 0, 0, 0, 0, 0])
                }
                Some(Command::OpMemDonate) if is_on.get() => Some([99, 0, 0, 0, 0, 0, 0, 0]),
                _ => None,
            },
        };
        let ledger = CountingLedger::new();
        let platform = Host::new(&conduit, &model).with_ledger(&ledger);
        let mut memory = model.take_memory();
        let (mut pool, session) = open(platform, &mut memory);
        let mut fine = fine_regions::<2>();
        is_on.set(true);
        let stopped = fine.make_fine(&session, &mut pool, range(0, 1)).unwrap_err();
        is_on.set(false);
        assert!(!stopped.error.is_clean(), "{:?}", stopped.error);
        assert_eq!((fine.iter().count(), fine.donated_bytes()), (1, 2 * PAGE));
        if again {
            fine.make_fine(&session, &mut pool, range(0, 1)).unwrap();
            assert_eq!((tracked(&session)[0], fine.donated_bytes()), (FINE, TAKES * PAGE));
        } else {
            // The region is COARSE, so that it is as wanted: by either of these.
            fine.make_coarse(&session, &mut pool, range(0, 1)).unwrap();
            assert_eq!((fine.iter().count(), fine.donated_bytes()), (0, 0));
        }
        fine.restore(&session, &mut pool).unwrap();
        assert_eq!((tracked(&session)[0], fine.iter().count()), (COARSE, 0));
        assert_eq!(pool.bytes(), (MIB2 - Pool::PAGES, 0));
        assert_eq!((ledger.balance().outstanding(), ledger.balance().leaked), (0, 0));
    }
}

/// Memory of the region itself is offered in the state that is requested, and in no other.
#[test]
fn a_region_is_tracked_by_memory_in_the_state_that_is_requested() {
    let host = OpMemState::Undelegated;
    let delegated = OpMemState::Delegated;
    // The region's own memory in the pool, what is requested, and what is offered: from there, in
    // this state.
    for (own, requested, offered) in [
        (host, OpMemState::Conditional, (true, host)),
        (host, host, (true, host)),
        (host, delegated, (false, delegated)),
        (delegated, OpMemState::Conditional, (true, delegated)),
        (delegated, delegated, (true, delegated)),
        (delegated, host, (false, host)),
    ] {
        let model = Model::new(options(FirstTracking::Coarse)).unwrap();
        let seen = Cell::new(None);
        let is_on = Cell::new(false);
        let conduit = Altered {
            model: &model,
            instead: |call: &Registers| match command(call) {
                Some(Command::GranuleTrackingSet) if is_on.get() => {
                    let request = DonateRequest {
                        size: BlockSize::Page,
                        count: 1,
                        contiguous: false,
                        state: requested,
                    };
                    let word = ResultWord::incomplete(OpMemReq::Donate, true).0;
                    Some([word, 7, request.encode(), 0, 0, 0, 0, 0])
                }
                Some(Command::OpMemDonate) if is_on.get() => {
                    let word = word_at(&model, Pa::new(call[2]));
                    let granule = GranuleSize::Size4KiB;
                    seen.set(Some(AddrRangeDesc::decode(word, Dialect::V2_0Bet3, granule)));
                    Some([ResultWord::from_status(Status::ErrorInput).0, 0, 0, 0, 0, 0, 0, 0])
                }
                Some(Command::OpCancel | Command::OpContinue) if is_on.get() => {
                    Some([ResultWord::from_status(Status::ErrorInput).0, 0, 0, 0, 0, 0, 0, 0])
                }
                _ => None,
            },
        };
        let mut memory = model.take_memory();
        let (mut pool, session) = open(Host::new(&conduit, &model), &mut memory);
        let mut fine = fine_regions::<2>();
        fine.make_fine(&session, &mut pool, range(0, 1)).unwrap();
        pool.prefill(&session, 8 * PAGE, PAGE).unwrap();
        let region = memory.take_front(MIB2).unwrap();
        if own == delegated {
            pool.add_delegated(session.delegate(region).unwrap()).unwrap();
        } else {
            pool.add(region).unwrap();
        }
        is_on.set(true);
        let _ = fine.make_fine(&session, &mut pool, range(1, 2)).unwrap_err();
        is_on.set(false);
        let desc = seen.get().unwrap();
        let is_own = range(1, 2).contains(desc.base);
        assert_eq!((is_own, desc.state), offered, "{own:?} {requested:?}");
    }
}
