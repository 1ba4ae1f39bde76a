//! Operations of an RMM that answers from a script: which calls the driver makes, how often, and
//! how it reports the end.
// The driver is the same code under Miri in the other tests.
#![cfg(not(miri))]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::collections::VecDeque;

use rmi_abi::desc::{BlockSize, DonateRequest, OpMemState};
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::result::OpMemReq;
use rmi_abi::{Command, Dialect, Fid, ResultWord, Status};
use rmi_host::{
    Conduit, CountingLedger, Error, Host, OpenSessions, Rd, Registers, Reply, RetryBudget,
    SessionOptions, Violation,
};
use rmm_model::Model;
use sro::{Advance, Donated, FixedPool, Operation, Pool, drive};

const GRANULE: u64 = 0x1000;
const DIALECT: Dialect = Dialect::TfRmm2026_07;
const HANDLE: u64 = 0x1234;
/// How often calls of an operation may be repeated.
const BUSY: u32 = 4;
/// How often if they are blocked.
const BLOCKED: u32 = 2;

/// One expected call and its answer.
type Line = (Command, Registers);

/// Answers the commands that start and drive operations from a script, in that order; the model
/// answers the others.
struct Scripted<'m> {
    model: &'m Model,
    lines: RefCell<VecDeque<Line>>,
}

#[expect(unsafe_code, reason = "a conduit that answers itself")]
// SAFETY: there is only simulated memory behind it.
unsafe impl Conduit for Scripted<'_> {
    fn open_sessions(&self) -> &OpenSessions {
        self.model.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        let fid = Fid(u32::try_from(registers[0]).unwrap());
        match Command::from_fid(fid, DIALECT) {
            Some(
                command @ (Command::RecCreate
                | Command::OpContinue
                | Command::OpMemDonate
                | Command::OpMemReclaim
                | Command::OpCancel),
            ) => {
                let (expected, answer) = self.lines.borrow_mut().pop_front().unwrap();
                assert_eq!(command, expected);
                answer
            }
            // SAFETY: the caller's promise is passed on unchanged.
            _ => unsafe { self.model.call(registers) },
        }
    }
}

/// The operation has ended with this status, or the RMM is busy.
fn status(status: Status) -> Registers {
    [u64::from(u8::from(status)), 0, 0, 0, 0, 0, 0, 0]
}

/// The operation is to be continued.
fn proceeds(can_cancel: bool) -> Registers {
    [ResultWord::incomplete(OpMemReq::None, can_cancel).0, HANDLE, 0, 0, 0, 0, 0, 0]
}

/// The operation has taken so many granules and is to be continued.
fn proceeds_after(granules: u64) -> Registers {
    [ResultWord::incomplete(OpMemReq::None, false).0, granules, 0, 0, 0, 0, 0, 0]
}

/// The operation requests memory. X1 is its handle, or after a donation the number of granules that
/// it took.
fn wants(can_cancel: bool, x1: u64, request: DonateRequest) -> Registers {
    let result = ResultWord::incomplete(OpMemReq::Donate, can_cancel);
    [result.0, x1, request.encode(), 0, 0, 0, 0, 0]
}

/// A request for single granules.
fn granules(count: u16, state: OpMemState) -> DonateRequest {
    DonateRequest { size: BlockSize::Page, count, contiguous: false, state }
}

/// A request that no memory can meet: a contiguous run must be a power of two long.
const IMPOSSIBLE: DonateRequest = DonateRequest {
    size: BlockSize::Page,
    count: 3,
    contiguous: true,
    state: OpMemState::Delegated,
};

/// Starts to create a REC and drives the operation, with a pool of runs with the given numbers of
/// granules; returns how it ended, and the ranges that the RMM has then. All of the script must
/// have been used, `dropped` operations must be left in the RMM, and what the RMM does not have is
/// in the pool.
fn play(lines: &[Line], runs: &[u64], dropped: u64) -> (Result<Reply, Error>, Vec<u64>) {
    let model = test_support::model(DIALECT);
    let rmm = Scripted { model: &model, lines: RefCell::new(lines.iter().copied().collect()) };
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut options = SessionOptions::default();
    options.retry_budget =
        RetryBudget { busy: BUSY, blocked: BLOCKED, steps: 40, ..RetryBudget::default() };
    let host = Host::new(&rmm, &model).with_ledger(&ledger);
    let session = rmm_model::open_with(host, options, &mut memory).unwrap();
    let mut pool = FixedPool::<20>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    for run in runs {
        drop(memory.take_front(GRANULE));
        pool.add(memory.take_front(run * GRANULE).unwrap()).unwrap();
    }
    let rd = Rd::new(session.delegate(memory.take_back(GRANULE).unwrap()).unwrap());
    let rec = session.delegate(memory.take_back(GRANULE).unwrap()).unwrap();
    let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
    let page = pool.pages().page;
    let started = session.commands().rec_create(&rd, &rec, page, &params.encode()).unwrap();
    let mut donated = Donated::default();
    let result = drive(&session, &mut pool, &mut donated, started);
    assert_eq!(*rmm.lines.borrow(), [], "calls that were not made");
    assert_eq!(ledger.balance().dropped_operations, dropped);
    let (host, delegated) = pool.bytes();
    assert_eq!(host + delegated + donated.bytes(), runs.iter().sum::<u64>() * GRANULE);
    (result, donated.iter().map(|range| range.bytes() / GRANULE).collect())
}

fn times(count: u32, line: Line) -> impl Iterator<Item = Line> {
    core::iter::repeat_n(line, count as usize)
}

/// The budget is that of the command: its start counts, and progress does not renew it.
#[test]
fn a_busy_operation_is_continued_as_often_as_the_budget_permits() {
    let busy = (Command::OpContinue, status(Status::Busy));
    let blocked = (Command::OpContinue, status(Status::Blocked));
    let begin = [
        (Command::RecCreate, status(Status::Blocked)),
        (Command::RecCreate, status(Status::Busy)),
        (Command::RecCreate, proceeds(false)),
        busy,
        (Command::OpContinue, proceeds(false)),
        blocked,
        busy,
        (Command::OpContinue, proceeds(false)),
        busy,
    ];
    let end = [(Command::OpContinue, status(Status::Success))];
    assert!(play(&[&begin[..], &end].concat(), &[], 0).0.is_ok());
    for one_more in [busy, blocked] {
        let error = play(&[&begin[..], &[one_more]].concat(), &[], 1).0.unwrap_err();
        assert!(matches!(error, Error::Unfinished { .. }), "{error}");
    }
}

#[test]
fn an_operation_that_stays_busy_is_abandoned() {
    for (answer, limit) in [(Status::Busy, BUSY), (Status::Blocked, BLOCKED)] {
        let busy = (Command::OpContinue, status(answer));
        let lines: Vec<Line> = [(Command::RecCreate, proceeds(false))]
            .into_iter()
            .chain(times(limit + 1, busy))
            .collect();
        let error = play(&lines, &[], 1).0.unwrap_err();
        let Error::Unfinished { handle, .. } = error else { panic!("{error}") };
        assert_eq!(handle, HANDLE);
    }
}

/// Donations of which the RMM takes nothing are no progress either.
#[test]
fn an_operation_that_takes_nothing_is_abandoned() {
    let request = granules(4, OpMemState::Delegated);
    let lines: Vec<Line> = [(Command::RecCreate, wants(false, HANDLE, request))]
        .into_iter()
        .chain(times(BUSY + 1, (Command::OpMemDonate, wants(false, 0, request))))
        .collect();
    let (result, inside) = play(&lines, &[4], 1);
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Unfinished { .. }), "{error}");
    assert_eq!(inside, []);
}

#[test]
fn a_request_that_no_memory_meets_cancels_the_operation() {
    let lines = [
        (Command::RecCreate, wants(true, HANDLE, IMPOSSIBLE)),
        (Command::OpCancel, proceeds(false)),
        (Command::OpContinue, status(Status::ErrorInput)),
    ];
    let error = play(&lines, &[16], 0).0.unwrap_err();
    let Error::Violation { violation: Violation::Request, value, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(value, IMPOSSIBLE.encode());
}

/// An operation that was cancelled and requests the impossible again is not cancelled once more.
#[test]
fn an_impossible_request_after_a_cancel_is_the_end() {
    let lines = [
        (Command::RecCreate, wants(true, HANDLE, IMPOSSIBLE)),
        (Command::OpCancel, wants(true, HANDLE, IMPOSSIBLE)),
    ];
    let error = play(&lines, &[16], 1).0.unwrap_err();
    let request = Violation::Request;
    assert!(matches!(error, Error::Violation { violation, .. } if violation == request), "{error}");
}

/// What the RMM did with the memory is unknown, so nothing is known about the operation either: it
/// is not cancelled.
#[test]
fn an_operation_is_not_continued_after_an_unclear_donation() {
    let lines = [
        (Command::RecCreate, wants(true, HANDLE, granules(4, OpMemState::Delegated))),
        (Command::OpMemDonate, status(Status::from(99))),
    ];
    let (result, inside) = play(&lines, &[4], 1);
    assert!(matches!(result, Err(Error::Unclear(_))), "{result:?}");
    assert_eq!(inside, [4]);
}

/// An operation of as many ranges as can be recorded gets no more, although the pool has memory.
#[test]
fn an_operation_of_too_many_ranges_is_cancelled() {
    let ranges = u16::try_from(Donated::RANGES).unwrap();
    let one = granules(1, OpMemState::Delegated);
    let lines = [
        (Command::RecCreate, wants(true, HANDLE, granules(ranges, OpMemState::Delegated))),
        (Command::OpMemDonate, wants(true, u64::from(ranges), one)),
        (Command::OpCancel, proceeds(false)),
        (Command::OpContinue, status(Status::ErrorInput)),
    ];
    let (result, inside) = play(&lines, &[1; Donated::RANGES + 1], 0);
    assert_eq!(result, Err(Error::need_memory(Command::RecCreate, GRANULE, GRANULE)));
    assert_eq!(inside, [1; Donated::RANGES]);
}

/// Nothing is donated when the pool cannot meet the request, although it has as many ranges as one
/// donation may have.
#[test]
fn a_request_that_the_pool_cannot_meet_gets_nothing() {
    for state in [OpMemState::Delegated, OpMemState::Undelegated] {
        let lines = [
            (Command::RecCreate, wants(true, HANDLE, granules(20, state))),
            (Command::OpCancel, proceeds(false)),
            (Command::OpContinue, status(Status::ErrorInput)),
        ];
        let (result, inside) = play(&lines, &[1; Donated::RANGES + 1], 0);
        assert_eq!(result, Err(Error::need_memory(Command::RecCreate, 3 * GRANULE, GRANULE)));
        assert_eq!(inside, []);
    }
}

/// The RMM takes memory from the front of an offer; the rest is offered again.
#[test]
fn what_the_rmm_does_not_take_is_in_the_pool() {
    for state in [OpMemState::Delegated, OpMemState::Undelegated] {
        let lines = [
            (Command::RecCreate, wants(false, HANDLE, granules(4, state))),
            (Command::OpMemDonate, wants(false, 1, granules(3, state))),
            (Command::OpMemDonate, wants(false, 2, granules(1, state))),
            (Command::OpMemDonate, proceeds_after(1)),
            (Command::OpContinue, status(Status::Success)),
        ];
        let (result, inside) = play(&lines, &[2, 3], 0);
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(inside.iter().sum::<u64>(), 4);
    }
}

/// What is missing is what the pool lacks, not what was requested.
#[test]
fn a_short_pool_reports_what_is_missing() {
    for state in [OpMemState::Delegated, OpMemState::Undelegated] {
        let lines = [
            (Command::RecCreate, wants(true, HANDLE, granules(16, state))),
            (Command::OpCancel, proceeds(false)),
            (Command::OpContinue, status(Status::ErrorInput)),
        ];
        let (result, _) = play(&lines, &[6], 0);
        assert_eq!(result, Err(Error::need_memory(Command::RecCreate, 10 * GRANULE, GRANULE)));
    }
}

#[test]
fn an_operation_has_the_handle_that_the_rmm_gave_it() {
    let model = test_support::model(DIALECT);
    let lines = VecDeque::from([(Command::RecCreate, proceeds(true))]);
    let rmm = Scripted { model: &model, lines: RefCell::new(lines) };
    let mut memory = model.take_memory();
    let host = Host::new(&rmm, &model);
    let session = rmm_model::open(host, &mut memory).unwrap();
    let rd = Rd::new(session.delegate(memory.take_back(GRANULE).unwrap()).unwrap());
    let rec = session.delegate(memory.take_back(GRANULE).unwrap()).unwrap();
    let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
    let mut page = memory.take_front(GRANULE).unwrap();
    let started = session.commands().rec_create(&rd, &rec, &mut page, &params.encode()).unwrap();
    let Advance::Again(operation) = Operation::take_up(&session, started) else {
        panic!("it is to be continued")
    };
    assert_eq!(operation.handle(), HANDLE);
    assert!(operation.can_cancel() && !operation.was_busy());
    operation.abandon();
}
