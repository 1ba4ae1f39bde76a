//! One command has one budget, whatever it is repeated for: its start, the operation that it
//! becomes, and the attempts after that.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::time::Duration;

use rmi_abi::{Command, Dialect, Status};
use rmi_host::command::DelegateFailed;
use rmi_host::{
    Attempts, CountingLedger, Discovered, Error, Host, Registers, RetryBudget, SessionOptions,
};
use rmm_model::{Model, Options};
use test_support::Altered;

const DIALECT: Dialect = Dialect::V2_0Bet3;
const PAGE: u64 = 0x1000;

thread_local! {
    /// Calls of `relax`.
    static PAUSES: Cell<u32> = const { Cell::new(0) };
    /// Time by a clock that advances by a millisecond at each reading.
    static TIME: Cell<u64> = const { Cell::new(0) };
}

fn pause() {
    PAUSES.set(PAUSES.get() + 1);
}

fn clock() -> Duration {
    TIME.set(TIME.get() + 1);
    Duration::from_millis(TIME.get())
}

const BUSY: u64 = 10;
const BLOCKED: u64 = 14;
/// An operation that is to be continued.
const GOES_ON: u64 = 13 | 1 << 10;
/// An operation that requests memory, which no delegation does.
const WANTS: u64 = 13 | 1 << 8 | 1 << 10;

fn is_of_a_delegation(call: &Registers) -> bool {
    [Command::GranuleRangeDelegate, Command::OpContinue, Command::OpCancel]
        .iter()
        .any(|command| call[0] == u64::from(command.fid(DIALECT).unwrap().0))
}

/// What a delegation ended with.
struct Ended {
    failed: DelegateFailed,
    /// Its calls, with those that cancel an operation.
    calls: usize,
    pauses: u32,
    time: u64,
    dropped: u64,
}

/// Delegates a granule with a budget, where an RMM gives these answers, the last ones again and
/// again.
fn delegate(retry_budget: RetryBudget, answers: &[u64], again: &[u64]) -> Ended {
    let model = Model::new(Options::new(DIALECT)).unwrap();
    let (calls, is_on) = (Cell::new(0), Cell::new(false));
    let conduit = Altered {
        model: &model,
        instead: |call: &Registers| {
            if !is_on.get() || !is_of_a_delegation(call) {
                return None;
            }
            let n = calls.get();
            calls.set(n + 1);
            let word = answers.iter().chain(again.iter().cycle()).nth(n).unwrap();
            Some([*word, 7, 0, 0, 0, 0, 0, 0])
        },
    };
    let ledger = CountingLedger::new();
    let host = Host::new(&conduit, &model).with_ledger(&ledger).with_relax(pause).with_clock(clock);
    let mut options = SessionOptions::default();
    options.dialect = Some(DIALECT);
    options.retry_budget = retry_budget;
    let mut memory = model.take_memory();
    let rmm = rmm_model::open_with(host, options, &mut memory).unwrap();
    is_on.set(true);
    let (pauses, time) = (PAUSES.get(), TIME.get());
    let failed = rmm.delegate(memory.take_front(PAGE).unwrap()).unwrap_err();
    Ended {
        failed,
        calls: calls.get(),
        pauses: PAUSES.get() - pauses,
        time: TIME.get() - time,
        dropped: ledger.balance().dropped_operations,
    }
}

const COUNTS: RetryBudget =
    RetryBudget { busy: 4, blocked: 2, steps: 20, contended: 0, time: None };

#[test]
fn an_operation_has_what_its_start_has_left() {
    // Three at the start, one while it is continued, although there is progress in between; the
    // fifth is too many. It is cancelled once.
    let answers = [BUSY, BUSY, BUSY, GOES_ON, GOES_ON, BUSY, GOES_ON, BUSY];
    let ended = delegate(COUNTS, &answers, &[GOES_ON]);
    assert!(matches!(ended.failed.error, Error::Unfinished { .. }), "{:?}", ended.failed.error);
    assert_eq!((ended.calls, ended.pauses, ended.dropped), (9, 4, 1));
    assert_eq!((ended.failed.host.bytes(), ended.failed.delegated.bytes()), (0, PAGE));
    // Without a limit of time no clock is read.
    assert_eq!(ended.time, 0);
}

#[test]
fn an_attempt_has_what_the_one_before_has_left() {
    // What is blocked at its end is tried again: two times in all, with one that is blocked at its
    // start.
    let ended = delegate(COUNTS, &[], &[GOES_ON, BLOCKED, BLOCKED]);
    assert_eq!(ended.failed.error.status(), Some(Status::Blocked));
    assert!(matches!(ended.failed.error, Error::Unclear(_)), "{:?}", ended.failed.error);
    assert_eq!((ended.calls, ended.pauses, ended.dropped), (5, 2, 0));
    // Busy ones count from the first attempt on.
    let ended = delegate(COUNTS, &[BUSY, BUSY, BUSY, GOES_ON, BLOCKED], &[BUSY]);
    assert_eq!(ended.failed.error.status(), Some(Status::Blocked));
    assert_eq!((ended.calls, ended.pauses), (7, 5));
    // So do steps.
    let many = RetryBudget { blocked: 100, ..COUNTS };
    let ended = delegate(many, &[], &[GOES_ON, GOES_ON, GOES_ON, GOES_ON, BLOCKED]);
    assert!(matches!(ended.failed.error, Error::Unfinished { .. }), "{:?}", ended.failed.error);
    // Four in each of five attempts; in the sixth only the start, and the end of it.
    assert_eq!((ended.calls, ended.pauses, ended.dropped), (27, 5, 1));
}

#[test]
fn an_operation_is_cancelled_with_what_is_left() {
    for (busy, calls) in [(0, 2), (1, 3), (4, 6)] {
        let budget = RetryBudget { busy, ..COUNTS };
        let ended = delegate(budget, &[WANTS], &[BUSY]);
        assert!(matches!(ended.failed.error, Error::Violation { .. }), "{:?}", ended.failed.error);
        assert_eq!((ended.calls, ended.pauses, ended.dropped), (calls, busy, 1));
    }
    let ended = delegate(COUNTS, &[BUSY, BUSY, BUSY, WANTS], &[BUSY]);
    assert_eq!((ended.calls, ended.pauses), (6, 4));
    let ended = delegate(COUNTS, &[WANTS], &[BLOCKED]);
    assert_eq!((ended.calls, ended.pauses), (4, 2));
}

#[test]
fn time_is_over_for_all_calls_of_a_command() {
    let time = Some(Duration::from_millis(20));
    let budget = RetryBudget { busy: u32::MAX, blocked: u32::MAX, steps: u32::MAX, time, ..COUNTS };
    // The clock is read at each pause.
    for (again, calls) in [
        (&[BUSY][..], 21),
        (&[BLOCKED][..], 21),
        (&[GOES_ON, BLOCKED][..], 42),
        (&[BUSY, GOES_ON, BLOCKED][..], 31),
        (&[GOES_ON, BUSY, GOES_ON, GOES_ON, BUSY, BLOCKED][..], 42),
        // The last but one is over; the last call cancels the operation, and is not repeated.
        (&[GOES_ON, BUSY][..], 42 + 1),
    ] {
        let ended = delegate(budget, &[], again);
        assert_eq!((ended.time, ended.pauses), (21, 20), "{again:?}");
        assert_eq!(ended.calls, calls, "{again:?}");
    }
}

#[test]
fn queries_before_a_session_wait_as_commands_do() {
    for (word, calls) in [(BUSY, 5), (BLOCKED, 3)] {
        let model = Model::new(Options::new(DIALECT)).unwrap();
        let count = Cell::new(0);
        let conduit = Altered {
            model: &model,
            instead: |_: &Registers| {
                count.set(count.get() + 1);
                Some([word, 0, 0, 0, 0, 0, 0, 0])
            },
        };
        let mut options = SessionOptions::default();
        options.dialect = Some(DIALECT);
        options.retry_budget = COUNTS;
        assert!(Discovered::probe(Host::new(&conduit, &model), options).is_err());
        assert_eq!(count.get(), calls);
    }
}

#[test]
fn time_that_was_not_waited_is_not_counted() {
    let model = Model::new(Options::new(DIALECT)).unwrap();
    let mut options = SessionOptions::default();
    options.retry_budget = RetryBudget { time: Some(Duration::from_millis(3)), ..COUNTS };
    let host = model.host().with_clock(clock);
    let rmm = rmm_model::open_with(host, options, &mut model.take_memory()).unwrap();
    let mut attempts = Attempts::default();
    let over = |attempts: &mut Attempts| [(); 4].map(|()| rmm.is_over(attempts));
    assert_eq!(over(&mut attempts), [false, false, false, true]);
    // The counts are as before: of four, one is used.
    assert!(!rmm.pause(&mut attempts, Status::Busy));
    attempts.restart_time();
    assert_eq!([(); 3].map(|()| rmm.pause(&mut attempts, Status::Busy)), [true, true, true]);
    attempts.restart_time();
    assert!(!rmm.pause(&mut attempts, Status::Busy));
    assert!(rmm.pause(&mut attempts, Status::Blocked));
}
