//! Entering RECs, and destroying them: which answer is accepted, and what is kept after an error.
#![cfg(not(miri))]
#![expect(clippy::unwrap_used, reason = "tests")]

use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::Geometry;
use rmi_abi::run::EntryRecord;
use rmi_abi::{Command, Dialect, Status};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::{
    CountingLedger, Error, Failed, FixedQuarantine, Host, QuarantineReason, Rd, Rmm, Undelegated,
    Violation,
};
use rmm_model::Model;
use sro::{Awaiting, EnterError, ExitNumber, FixedPool, Pool, RecObject};

const GRANULE: u64 = 0x1000;
const DIALECT: Dialect = Dialect::TfRmm2026_07;
/// A status that no dialect defines.
const UNKNOWN: Status = Status::Unknown(99);

type Line<'m> = Injecting<&'m Model>;
type Platform<'m> = Host<&'m Line<'m>, &'m Model, &'m CountingLedger, &'m FixedQuarantine<4>>;

/// What a test works with.
struct Fixture<'b, 'm> {
    rmm: &'b Rmm<Platform<'m>>,
    rd: &'b Rd,
    pool: &'b mut Pool,
    ledger: &'b CountingLedger,
    quarantine: &'b FixedQuarantine<4>,
    /// A run page.
    run: &'b mut Undelegated,
}

impl Fixture<'_, '_> {
    fn create(&mut self, index: u32) -> RecObject {
        let params =
            RecParams { runnable: true, mpidr: Mpidr::from_index(index), pc: 0, gprs: [0; 8] };
        RecObject::create(self.rmm, self.rd, self.pool, &params).unwrap()
    }

    fn activate(&self) {
        self.rmm.commands().realm_activate(self.rd).unwrap();
    }

    /// Enters a REC; the new exit wants an answer. `answers` is the exit that is answered.
    fn enter(
        &mut self,
        rec: &RecObject,
        answers: Option<ExitNumber>,
    ) -> Result<ExitNumber, EnterError> {
        let enter = EntryRecord::default();
        rec.enter(self.rmm, self.run, &enter, answers, |_, number| (number, true))
    }
}

/// Runs `test` with a new Realm, on a model whose calls of one kind get a fault.
fn with(rule: Rule, fault: Fault, test: impl FnOnce(&mut Fixture<'_, '_>)) {
    let model = test_support::model(DIALECT);
    let line = Injecting::by_rule(&model, rule, fault);
    let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<4>::new());
    let mut memory = model.take_memory();
    let host = Host::new(&line, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let rmm = rmm_model::open(host, &mut memory).unwrap();
    let mut granule = || rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap();
    let (rd, root) = (granule(), granule());
    let mut run = memory.take_front(GRANULE).unwrap();
    let params = RealmParams::new(Geometry::new(40).unwrap(), root.base()).encode(DIALECT).unwrap();
    let _ = rmm.commands().realm_create(&rd, &mut run, &params).unwrap();
    let rd = Rd::new(rd);
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(64 * GRANULE).unwrap()).unwrap();
    test(&mut Fixture {
        rmm: &rmm,
        rd: &rd,
        pool: &mut pool,
        ledger: &ledger,
        quarantine: &quarantine,
        run: &mut run,
    });
}

fn no_fault() -> (Rule, Fault) {
    (Rule::any(), Fault::Delay { status: Status::Busy, times: 0 })
}

#[test]
fn sound_5_an_answer_fits_one_exit_of_one_rec() {
    let (rule, fault) = no_fault();
    with(rule, fault, |fixture| {
        let (rec, other) = (fixture.create(0), fixture.create(1));
        assert_eq!((rec.mpidr(), other.mpidr()), (Mpidr::from_index(0), Mpidr::from_index(1)));
        assert_eq!((rec.realm(), rec.awaiting()), (fixture.rd.number(), Awaiting::Nothing));
        fixture.activate();
        let first = fixture.enter(&rec, None).unwrap();
        assert_eq!(rec.awaiting(), Awaiting::Answer(first));
        let foreign = fixture.enter(&other, None).unwrap();
        let wrong = |result: Result<ExitNumber, EnterError>| result.unwrap_err();
        // Nothing is sent for these, and the REC waits for the same as before.
        assert_eq!(wrong(fixture.enter(&rec, None)), EnterError::Unanswered);
        assert_eq!(wrong(fixture.enter(&rec, Some(foreign))), EnterError::WrongAnswer);
        assert_eq!(rec.awaiting(), Awaiting::Answer(first));
        let second = fixture.enter(&rec, Some(first)).unwrap();
        assert_eq!(wrong(fixture.enter(&rec, Some(first))), EnterError::WrongAnswer);
        assert_eq!(rec.awaiting(), Awaiting::Answer(second));
        // A REC that waits for nothing takes no answer.
        let enter = EntryRecord::default();
        rec.enter(fixture.rmm, fixture.run, &enter, Some(second), |_, _| ((), false)).unwrap();
        assert_eq!(rec.awaiting(), Awaiting::Nothing);
        assert_eq!(wrong(fixture.enter(&rec, Some(second))), EnterError::WrongAnswer);
        for rec in [rec, other] {
            rec.destroy(fixture.rmm, fixture.pool).map_err(|failed| failed.error).unwrap();
        }
    });
}

#[test]
fn sound_5_a_rec_is_not_entered_after_an_unclear_entry() {
    let rule = Rule::command(Command::RecEnter, DIALECT).nth(0);
    with(rule, Fault::status(UNKNOWN), |fixture| {
        let rec = fixture.create(0);
        fixture.activate();
        let error = fixture.enter(&rec, None).unwrap_err();
        assert!(matches!(error, EnterError::Call(Error::Unclear(_))), "{error}");
        assert_eq!((error.is_clean(), rec.awaiting()), (false, Awaiting::Unknown));
        assert_eq!(fixture.enter(&rec, None), Err(EnterError::Unclear));
        rec.destroy(fixture.rmm, fixture.pool).map_err(|failed| failed.error).unwrap();
    });
}

#[test]
fn a_refused_entry_changes_nothing() {
    let rule = Rule::command(Command::RecEnter, DIALECT).nth(1);
    with(rule, Fault::status(Status::ErrorRec), |fixture| {
        let rec = fixture.create(0);
        fixture.activate();
        let exit = fixture.enter(&rec, None).unwrap();
        let error = fixture.enter(&rec, Some(exit)).unwrap_err();
        let EnterError::Call(refused) = error else { panic!("{error}") };
        assert_eq!((refused.status(), error.is_clean()), (Some(Status::ErrorRec), true));
        assert_eq!(error.to_string(), refused.to_string());
        assert_eq!(rec.awaiting(), Awaiting::Answer(exit));
        assert!(fixture.enter(&rec, Some(exit)).is_ok());
        rec.destroy(fixture.rmm, fixture.pool).map_err(|failed| failed.error).unwrap();
    });
}

#[test]
fn an_entry_that_was_not_made_is_clean() {
    let errors =
        [EnterError::Unanswered, EnterError::WrongAnswer, EnterError::Running, EnterError::Unclear];
    assert!(errors.iter().all(EnterError::is_clean));
    let texts = errors.map(|error| error.to_string());
    assert!(texts.iter().all(|text| !text.is_empty()), "{texts:?}");
    assert_eq!(texts.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{texts:?}");
}

#[test]
fn a_rec_whose_destruction_is_refused_is_kept() {
    let rule = Rule::command(Command::RecDestroy, DIALECT).nth(0);
    with(rule, Fault::status(Status::ErrorRec), |fixture| {
        let rec = fixture.create(0);
        let before = fixture.pool.bytes();
        let Failed { kept, error } = rec.destroy(fixture.rmm, fixture.pool).unwrap_err();
        assert_eq!(error.status(), Some(Status::ErrorRec));
        let rec = kept.unwrap();
        assert_eq!((rec.donated_bytes(), fixture.pool.bytes()), (16 * GRANULE, before));
        rec.destroy(fixture.rmm, fixture.pool).map_err(|failed| failed.error).unwrap();
        assert_eq!(fixture.pool.bytes(), (before.0, 17 * GRANULE));
        assert_eq!((fixture.quarantine.len(), fixture.ledger.balance().leaked), (0, 0));
    });
}

/// The REC may or may not exist; what the RMM does not undelegate is in quarantine.
#[test]
fn a_rec_whose_destruction_is_unclear_is_given_up() {
    for happened in [false, true] {
        let rule = Rule::command(Command::RecDestroy, DIALECT).nth(0);
        let answer = [99, 0, 0, 0, 0, 0, 0, 0];
        let fault = if happened { Fault::Afterwards(answer) } else { Fault::Instead(answer) };
        with(rule, fault, |fixture| {
            let rec = fixture.create(0);
            let Failed { kept, error } = rec.destroy(fixture.rmm, fixture.pool).unwrap_err();
            assert!(matches!(error, Error::Unclear(_)), "{error}");
            assert!(kept.is_none());
            let mut quarantined = Vec::new();
            fixture.quarantine.for_each(|range, reason| quarantined.push((range.bytes(), reason)));
            let command = Command::RecDestroy;
            let of = |reason: fn(Command) -> QuarantineReason| reason(command);
            let donated = of(|command| QuarantineReason::NotReclaimed { command });
            let object = of(|command| QuarantineReason::NotDestroyed { command });
            quarantined.sort_by_key(|(bytes, _)| *bytes);
            assert_eq!(quarantined, [(GRANULE, object), (16 * GRANULE, donated)], "{happened}");
            assert_eq!(fixture.ledger.balance().leaked, 0);
        });
    }
}

/// An RMM that reports a REC destroyed and returns nothing of it violates its specification; what
/// it keeps is in quarantine.
#[test]
fn a_destroyed_rec_without_its_memory_is_reported() {
    let rule = Rule::command(Command::RecDestroy, DIALECT);
    with(rule, Fault::status(Status::Success), |fixture| {
        let rec = fixture.create(0);
        let Failed { kept, error } = rec.destroy(fixture.rmm, fixture.pool).unwrap_err();
        let Error::Violation { violation: Violation::Count, value, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(value, 16 * GRANULE);
        assert!(kept.is_none());
        let mut quarantined = Vec::new();
        fixture.quarantine.for_each(|range, reason| quarantined.push((range.bytes(), reason)));
        let reason = QuarantineReason::NotReclaimed { command: Command::RecDestroy };
        assert_eq!(quarantined, [(16 * GRANULE, reason)]);
    });
}
