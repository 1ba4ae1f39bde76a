//! Memory whose delegation or undelegation ends in an unusual way: who owns it then, how it comes
//! back, and how often the RMM is called.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Mutex;

use rmi_abi::realm::RealmParams;
use rmi_abi::rtt::Geometry;
use rmi_abi::{Command, Dialect, PaRange, ResultWord, Status};
use rmi_host::{
    CallbackQuarantine, Conduit, CountingLedger, Delegated, Error, FixedQuarantine, Host,
    NoQuarantine, Quarantine, QuarantineReason, Registers, RetryBudget, Rmm, SessionOptions,
    Undelegated, Violation,
};
use rmm_model::{Model, Options};
use test_support::Altered;

const GRANULE: u64 = 0x1000;
const DIALECT: Dialect = Dialect::TfRmm2026_07;
const DELEGATE: Command = Command::GranuleRangeDelegate;
const UNDELEGATE: Command = Command::GranuleRangeUndelegate;
const UNCLEAR: QuarantineReason = QuarantineReason::Unclear { command: DELEGATE };
const ALIVE: QuarantineReason = QuarantineReason::NotDestroyed { command: Command::RealmDestroy };
const REFUSED: QuarantineReason =
    QuarantineReason::UndelegateRefused { status: Status::ErrorInput };
const NOT_SUPPORTED: Registers = [u64::MAX, 0, 0, 0, 0, 0, 0, 0];

fn model() -> Model {
    Model::new(Options::new(DIALECT)).unwrap()
}

/// The (un)delegations of a session since the last look, and the answers that they get in place of
/// the model's.
#[derive(Default)]
struct Script {
    calls: Mutex<Vec<Command>>,
    answers: Mutex<Vec<(Command, Registers)>>,
}

impl Script {
    /// The next such call gets this answer, and the model does not see it.
    fn next(&self, command: Command, answer: Registers) {
        self.answers.lock().unwrap().push((command, answer));
    }

    fn answer(&self, call: &Registers) -> Option<Registers> {
        let is = |command: &Command| call[0] == u64::from(command.fid(DIALECT).unwrap().0);
        let command = [DELEGATE, UNDELEGATE].into_iter().find(is)?;
        self.calls.lock().unwrap().push(command);
        let mut answers = self.answers.lock().unwrap();
        let place = answers.iter().position(|(of, _)| *of == command)?;
        Some(answers.remove(place).1)
    }

    fn calls(&self) -> Vec<Command> {
        core::mem::take(&mut *self.calls.lock().unwrap())
    }
}

type Session<'s, C, Q> = Rmm<Host<C, &'s Model, &'s CountingLedger, &'s Q>>;

/// A session, and host memory for it.
fn open<'s, C: Conduit, Q: Quarantine>(
    conduit: C,
    model: &'s Model,
    ledger: &'s CountingLedger,
    quarantine: &'s Q,
) -> (Session<'s, C, Q>, Undelegated) {
    let platform = Host::new(conduit, model).with_ledger(ledger).with_quarantine(quarantine);
    let mut options = SessionOptions::default();
    options.retry_budget = RetryBudget::NONE;
    let mut memory = model.take_memory();
    let rmm = rmm_model::open_with(platform, options, &mut memory).unwrap();
    (rmm, memory)
}

fn status(status: Status) -> Registers {
    [ResultWord::from_status(status).0, 0, 0, 0, 0, 0, 0, 0]
}

/// A delegation is done, the RMM says, as far as this.
fn done(top: u64) -> Registers {
    [0, top, 0, 0, 0, 0, 0, 0]
}

fn contents<const N: usize>(quarantine: &FixedQuarantine<N>) -> Vec<(PaRange, QuarantineReason)> {
    let mut contents = Vec::new();
    quarantine.for_each(|range, reason| contents.push((range, reason)));
    contents
}

/// Makes each of these granules, counted from the front, a Realm Descriptor that the RMM keeps.
fn keep<C: Conduit, Q: Quarantine>(
    rmm: &Session<'_, C, Q>,
    memory: &mut Undelegated,
    range: &mut Delegated,
    which: &[u64],
) {
    let mut page = memory.take_front(GRANULE).unwrap();
    let mut whole = Delegated::empty();
    for number in 0..range.bytes() / GRANULE {
        let granule = range.take_front(GRANULE).unwrap();
        if which.contains(&number) {
            let root = rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap();
            let params = RealmParams::new(Geometry::new(40).unwrap(), root.base());
            let params = params.encode(DIALECT).unwrap();
            let _ = rmm.commands().realm_create(&granule, &mut page, &params).unwrap();
        }
        whole.append(granule).unwrap();
    }
    *range = whole;
}

#[test]
fn a_refused_delegation_leaves_the_memory_with_the_host() {
    let (model, ledger, script) = (model(), CountingLedger::new(), Script::default());
    let conduit = Altered { model: &model, instead: |call: &Registers| script.answer(call) };
    let (rmm, mut memory) = open(conduit, &model, &ledger, &NoQuarantine);
    script.next(DELEGATE, status(Status::ErrorInput));
    let failed = rmm.delegate(memory.take_front(4 * GRANULE).unwrap()).unwrap_err();
    assert_eq!(failed.error.status(), Some(Status::ErrorInput));
    assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (0, 4 * GRANULE));
    assert_eq!(failed.doubt(), None);
    assert_eq!(ledger.balance().delegated, 0);
}

#[test]
fn sound_2_what_may_be_delegated_is_recovered_if_it_is_the_hosts() {
    let (model, ledger, script) = (model(), CountingLedger::new(), Script::default());
    let conduit = Altered { model: &model, instead: |call: &Registers| script.answer(call) };
    let quarantine = FixedQuarantine::<4>::new();
    let (rmm, mut memory) = open(conduit, &model, &ledger, &quarantine);
    // An invalid answer; nothing was delegated.
    script.next(DELEGATE, done(0));
    let failed = rmm.delegate(memory.take_front(3 * GRANULE).unwrap()).unwrap_err();
    let progress = |error| matches!(error, Error::Violation { violation: Violation::Progress, .. });
    assert!(progress(failed.error), "{}", failed.error);
    assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (3 * GRANULE, 0));
    assert_eq!((failed.doubt(), ledger.balance().delegated), (Some(UNCLEAR), 3));

    // Each granule is refused; the RMM delegates it, and undelegates it again.
    let (range, _) = (failed.delegated.range(), script.calls());
    let mut returned = Undelegated::empty();
    rmm.recover(failed.delegated, UNCLEAR, &mut |host| returned.append(host).unwrap());
    assert_eq!((returned.range(), contents(&quarantine)), (range, vec![]));
    assert_eq!(script.calls(), [UNDELEGATE, DELEGATE, UNDELEGATE].repeat(3));
    assert_eq!(ledger.balance().outstanding(), 0);

    // Without a doubt about its state, what the RMM refuses is not delegated on trial.
    script.next(DELEGATE, done(range.top().raw()));
    let not_delegated = rmm.delegate(returned).unwrap();
    script.calls();
    rmm.return_or_quarantine(not_delegated, &mut |host| panic!("{host:?}"));
    assert_eq!(script.calls(), [UNDELEGATE; 3]);
    assert_eq!(contents(&quarantine), [(range, REFUSED)]);
}

#[test]
fn what_the_rmm_keeps_is_quarantined_for_the_reason_of_its_owner() {
    let (model, ledger, script) = (model(), CountingLedger::new(), Script::default());
    let conduit = Altered { model: &model, instead: |call: &Registers| script.answer(call) };
    let quarantine = FixedQuarantine::<4>::new();
    let (rmm, mut memory) = open(conduit, &model, &ledger, &quarantine);
    let mut range = rmm.delegate(memory.take_front(4 * GRANULE).unwrap()).unwrap();
    keep(&rmm, &mut memory, &mut range, &[1]);
    let kept = PaRange::with_size(range.base().checked_add(GRANULE).unwrap(), GRANULE).unwrap();
    let mut bytes = 0;
    rmm.recover(range, ALIVE, &mut |host| bytes += host.bytes());
    // The other three are returned.
    assert_eq!((bytes, contents(&quarantine)), (3 * GRANULE, vec![(kept, ALIVE)]));
    assert_eq!(ledger.balance().quarantined, 1);
}

#[test]
fn what_is_proved_to_be_the_hosts_and_then_kept_is_not_lost() {
    let (model, ledger, script) = (model(), CountingLedger::new(), Script::default());
    let conduit = Altered { model: &model, instead: |call: &Registers| script.answer(call) };
    let quarantine = FixedQuarantine::<4>::new();
    let (rmm, mut memory) = open(conduit, &model, &ledger, &quarantine);
    script.next(DELEGATE, done(0));
    let failed = rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap_err();
    let range = failed.delegated.range();
    // It is delegated on trial, and the second undelegation is refused too.
    for _ in 0..2 {
        script.next(UNDELEGATE, status(Status::ErrorInput));
    }
    script.calls();
    rmm.recover(failed.delegated, UNCLEAR, &mut |host| panic!("{host:?}"));
    assert_eq!(script.calls(), [UNDELEGATE, DELEGATE, UNDELEGATE]);
    assert_eq!((contents(&quarantine), ledger.balance().leaked), (vec![(range, UNCLEAR)], 0));
    // It is returned at the next attempt.
    let mut bytes = 0;
    assert_eq!(quarantine.retry(&rmm, |host| bytes += host.bytes()), 0);
    assert_eq!(bytes, GRANULE);
}

/// An RMM that does not have the command is called once for a range, not for each granule.
#[test]
fn an_rmm_without_the_command_is_not_called_for_each_granule() {
    let (model, ledger, script) = (model(), CountingLedger::new(), Script::default());
    let conduit = Altered { model: &model, instead: |call: &Registers| script.answer(call) };
    let quarantine = FixedQuarantine::<4>::new();
    let (rmm, mut memory) = open(conduit, &model, &ledger, &quarantine);
    let reason = QuarantineReason::UndelegateRefused { status: ResultWord(u64::MAX).status() };
    for (doubt, reason) in [(None, reason), (Some(UNCLEAR), UNCLEAR)] {
        let memory = rmm.delegate(memory.take_front(3 * GRANULE).unwrap()).unwrap();
        let range = memory.range();
        script.calls();
        script.next(UNDELEGATE, NOT_SUPPORTED);
        match doubt {
            None => rmm.return_or_quarantine(memory, &mut |host| panic!("{host:?}")),
            Some(doubt) => rmm.recover(memory, doubt, &mut |host| panic!("{host:?}")),
        }
        assert_eq!(script.calls(), [UNDELEGATE]);
        assert!(contents(&quarantine).contains(&(range, reason)), "{:?}", contents(&quarantine));
    }
}

#[test]
fn two_kept_granules_keep_what_lies_between_them_and_are_asked_for_once_each() {
    let (model, ledger, script) = (model(), CountingLedger::new(), Script::default());
    let conduit = Altered { model: &model, instead: |call: &Registers| script.answer(call) };
    let quarantine = FixedQuarantine::<1>::new();
    let (rmm, mut memory) = open(conduit, &model, &ledger, &quarantine);
    let mut range = rmm.delegate(memory.take_front(5 * GRANULE).unwrap()).unwrap();
    keep(&rmm, &mut memory, &mut range, &[1, 3]);
    let inner = PaRange::with_size(range.base().checked_add(GRANULE).unwrap(), 3 * GRANULE);
    let inner = inner.unwrap();
    rmm.quarantine(range, ALIVE);
    script.calls();
    // The first and the last granule are returned.
    let mut bytes = 0;
    assert_eq!(quarantine.retry(&rmm, |host| bytes += host.bytes()), 1);
    assert_eq!((bytes, contents(&quarantine)), (2 * GRANULE, vec![(inner, ALIVE)]));
    assert_eq!(script.calls(), [UNDELEGATE; 4]);
    let balance = ledger.balance();
    assert_eq!((balance.quarantined, balance.leaked), (3, 0));
    assert_eq!(balance.delegated - balance.returned, 2 + 3);

    // A granule at both ends is tried once.
    let quarantine = FixedQuarantine::<1>::new();
    let mut one = rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap();
    keep(&rmm, &mut memory, &mut one, &[0]);
    let range = one.range();
    assert!(quarantine.put(rmi_host::Quarantined { memory: one, reason: ALIVE }).is_ok());
    script.calls();
    assert_eq!(quarantine.retry(&rmm, |host| panic!("{host:?}")), 1);
    assert_eq!((script.calls(), contents(&quarantine)), (vec![UNDELEGATE], vec![(range, ALIVE)]));
}

#[test]
fn what_no_quarantine_takes_is_leaked_and_counted() {
    let (model, ledger) = (model(), CountingLedger::new());
    let (rmm, mut memory) = open(&model, &model, &ledger, &NoQuarantine);
    let memory = rmm.delegate(memory.take_front(2 * GRANULE).unwrap()).unwrap();
    rmm.quarantine(memory, ALIVE);
    assert_eq!((ledger.balance().leaked, ledger.balance().quarantined), (2, 0));
}

#[test]
fn a_function_of_the_embedder_gets_the_memory_and_the_reason() {
    let (model, ledger, list) = (model(), CountingLedger::new(), Mutex::new(Vec::new()));
    let quarantine = CallbackQuarantine::new(|memory| {
        list.lock().unwrap().push(memory);
        Ok(())
    });
    let (rmm, mut memory) = open(&model, &model, &ledger, &quarantine);
    let memory = rmm.delegate(memory.take_front(2 * GRANULE).unwrap()).unwrap();
    let range = memory.range();
    rmm.quarantine(memory, ALIVE);
    let kept = list.lock().unwrap().pop().unwrap();
    assert_eq!((kept.memory.range(), kept.reason), (range, ALIVE));
    assert_eq!((ledger.balance().leaked, ledger.balance().quarantined), (0, 2));
    assert_eq!(format!("{quarantine:?}"), "CallbackQuarantine { .. }");
}
