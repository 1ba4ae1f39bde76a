//! Operations that have to be undone, on an RMM that obstructs it.
#![expect(clippy::unwrap_used, reason = "tests")]
// These tests access no memory of this process that the other tests do not access, and take eight
// minutes under Miri.
#![cfg(not(miri))]

use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::Geometry;
use rmi_abi::{Command, Dialect, Status};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::{
    Conduit, CountingLedger, Delegated, Error, Host, Platform, Progress, Rd, Registers, Reply, Rmm,
    Simulated, Undelegated,
};
use rmm_model::{Model, Options};
use sro::{Donated, drive};

const GRANULE: u64 = 0x1000;
const DIALECT: Dialect = Dialect::TfRmm2026_07;

fn granule(rmm: &Rmm<impl Platform>, memory: &mut Undelegated) -> Delegated {
    rmm.delegate(memory.take_front(GRANULE).unwrap()).unwrap()
}

/// Starts to create a REC with half of the memory that it takes, on an RMM that can cancel, and
/// drives the operation to its end.
fn short_rec<D: Conduit + Simulated + core::fmt::Debug>(
    model: &Model,
    conduit: &D,
    ledger: &CountingLedger,
) -> Result<Reply, Error> {
    let mut memory = model.take_memory();
    let platform = Host::new(conduit, model).with_ledger(ledger);
    let rmm = rmm_model::open(platform, &mut memory).unwrap();
    let (rd, root) = (granule(&rmm, &mut memory), granule(&rmm, &mut memory));
    let mut page = memory.take_front(GRANULE).unwrap();
    let params = RealmParams::new(Geometry::new(40).unwrap(), root.base()).encode(DIALECT).unwrap();
    assert!(matches!(rmm.commands().realm_create(&rd, &mut page, &params), Ok(Progress::Done(_))));
    let rd = Rd::new(rd);
    let mut pool = test_support::pool::<8>(&mut memory, 8 * GRANULE);
    let rec = granule(&rmm, &mut memory);
    let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
    let started = rmm.commands().rec_create(&rd, &rec, &mut page, &params.encode()).unwrap();
    let mut donated = Donated::default();
    let result = drive(&rmm, &mut pool, &mut donated, started);
    assert!(donated.is_empty());
    result
}

fn cancellable() -> Model {
    let mut options = Options::new(DIALECT);
    options.can_cancel = true;
    Model::new(options).unwrap()
}

#[test]
fn an_rmm_too_busy_to_cancel_is_asked_again() {
    for (times, undone) in [(1, true), (7, true), (u32::MAX, false)] {
        let (model, ledger) = (cancellable(), CountingLedger::new());
        let fault = Fault::Delay { status: Status::Busy, times };
        let rule = Rule::command(Command::OpCancel, DIALECT);
        let conduit = Injecting::by_rule(&model, rule, fault);
        let error = short_rec(&model, &conduit, &ledger).unwrap_err();
        assert_eq!(matches!(error, Error::NeedMemory { .. }), undone, "{times}: {error}");
        assert_eq!(error.is_clean(), undone, "{times}: {error}");
        assert_eq!(model.open_operations(), usize::from(!undone), "{times}: {error}");
        assert_eq!(ledger.balance().dropped_operations, u64::from(!undone));
    }
}

#[test]
fn an_unclear_end_is_not_reported_as_a_shortage() {
    let (model, ledger) = (cancellable(), CountingLedger::new());
    let unknown: Registers = [99, 0, 0, 0, 0, 0, 0, 0];
    let rule = Rule::command(Command::OpContinue, DIALECT);
    let conduit = Injecting::by_rule(&model, rule, Fault::Instead(unknown));
    let error = short_rec(&model, &conduit, &ledger).unwrap_err();
    assert!(matches!(error, Error::Unclear(_)) && !error.is_clean(), "{error}");
}

/// A descriptor counts 1023 blocks, a request up to 16383.
#[test]
fn one_long_run_is_offered_in_pieces() {
    for dialect in Options::DIALECTS {
        let mut options = Options::new(dialect);
        options.realm_create_donates = 1500;
        let model = Model::new(options).unwrap();
        let mut memory = model.take_memory();
        let rmm = rmm_model::open(model.host(), &mut memory).unwrap();
        let (rd, root) = (granule(&rmm, &mut memory), granule(&rmm, &mut memory));
        let mut page = memory.take_front(GRANULE).unwrap();
        let params =
            RealmParams::new(Geometry::new(40).unwrap(), root.base()).encode(dialect).unwrap();
        let mut pool = test_support::pool::<8>(&mut memory, 2000 * GRANULE);
        let mut donated = Donated::default();
        let started = rmm.commands().realm_create(&rd, &mut page, &params).unwrap();
        let result = drive(&rmm, &mut pool, &mut donated, started);
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(donated.bytes(), 1500 * GRANULE);
    }
}

#[test]
fn what_is_missing_is_reported_in_whole_blocks() {
    let model = cancellable();
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<8>(&mut memory, 8 * GRANULE);
    for command in [Command::RecCreate, Command::RealmCreate, Command::Version] {
        if let Err(error) = pool.check_reserve(command, GRANULE) {
            let Error::NeedMemory { bytes, alignment, .. } = error else { panic!("{error}") };
            assert!(bytes > 0 && bytes.is_multiple_of(alignment), "{error}");
            pool.add(memory.take_front(bytes).unwrap()).unwrap();
            assert!(pool.check_reserve(command, GRANULE).is_ok(), "{command}");
        }
    }
    pool.drain_host(&mut |_| {});
}
