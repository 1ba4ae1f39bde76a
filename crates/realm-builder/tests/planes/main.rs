//! Realms with planes, on the model RMM.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod lifecycle;
mod mec;
mod permissions;
mod sequences;
mod shared;
mod step;
mod threads;
mod trees;

use core::num::NonZeroU32;

use fixture::{DIALECTS, Ending, Fixture, config, options, run_scenario};
use realm_builder::PlaneTables;
use rmi_abi::rtt::Level;
use rmi_abi::{ResultWord, Status};
use rmi_conduits::inject::Fault;
use rmi_host::Registers;
use rmm_model::Options;

/// The Realms of the tests: number of planes, and which tables translate for them.
const REALMS: [(u8, PlaneTables); 5] = [
    (0, PlaneTables::Shared),
    (2, PlaneTables::Shared),
    (1, PlaneTables::PerPlane),
    (2, PlaneTables::PerPlane),
    (3, PlaneTables::PerPlane),
];

#[test]
fn a_scenario_without_faults_ends_well_and_no_call_fails() {
    for dialect in DIALECTS {
        for (planes, tables) in REALMS {
            for options in [options(dialect), options(dialect).range_capable()] {
                let config = config(planes, tables);
                let (ending, _) =
                    run_scenario(options, None, &|fixture| lifecycle::whole(fixture, &config));
                assert_eq!(ending, Ending::GOOD, "{dialect}, {planes} {tables:?}");
            }
        }
    }
}

#[test]
fn an_rmm_that_yields_or_is_busy_only_costs_calls() {
    let setups: [fn(&mut Options); 3] = [
        |options| options.busy_every = NonZeroU32::new(5),
        |options| options.blocked_every = NonZeroU32::new(5),
        |options| options.yield_every = NonZeroU32::new(3),
    ];
    for dialect in DIALECTS {
        for setup in setups {
            let config = config(2, PlaneTables::PerPlane);
            let mut options = options(dialect).range_capable();
            setup(&mut options);
            let (mut ending, _) =
                run_scenario(options, None, &|fixture| lifecycle::whole(fixture, &config));
            ending.failed = 0;
            assert_eq!(ending, Ending::GOOD, "{dialect}");
        }
    }
}

fn word(status: Status) -> u64 {
    ResultWord::from_status(status).0
}

/// X0, and in the other registers values that an RMM might leave there.
fn answer(x0: u64, rest: u64) -> Registers {
    [x0, rest, rest, rest, rest, rest, rest, rest]
}

/// Whether a fault makes the RMM execute the command and then deny it unambiguously.
fn is_false_answer(fault: Fault) -> bool {
    let Fault::Afterwards([x0, ..]) = fault else { return false };
    !matches!(ResultWord(x0).status(), Status::Success | Status::Incomplete | Status::Unknown(_))
        || x0 == u64::MAX
}

/// Runs the scenario with the fault at each call in turn, until the fault comes after the last
/// call.
fn at_every_call_of(tables: PlaneTables, fault: Fault) {
    for dialect in DIALECTS {
        let config = config(2, tables);
        for at in 0.. {
            let options = options(dialect).range_capable();
            let scenario = |fixture: &mut Fixture<'_, '_>| lifecycle::whole(fixture, &config);
            let (ending, injected) = run_scenario(options, Some((at, fault)), &scenario);
            let when = format!("{dialect}, {tables:?}, call {at}, {fault:x?}");
            ending.check(is_false_answer(fault), &when);
            if !injected {
                assert_eq!(ending, Ending::GOOD, "a scenario without a fault");
                break;
            }
        }
    }
}

/// The same for a Realm with three trees.
fn at_every_call(fault: Fault) {
    at_every_call_of(PlaneTables::PerPlane, fault);
}

#[test]
fn every_call_is_refused_in_turn() {
    for status in [Status::ErrorInput, Status::ErrorRealm, Status::ErrorRtt, Status::ErrorRttAux] {
        at_every_call(Fault::status(status));
    }
    at_every_call_of(PlaneTables::Shared, Fault::status(Status::ErrorRtt));
    at_every_call(Fault::Instead(answer(u64::MAX, 0)));
    let missing = ResultWord::with_level(Status::ErrorRttAux, Level::L2).0;
    at_every_call(Fault::Instead(answer(missing, 0)));
}

#[test]
fn every_call_is_answered_with_garbage_in_turn() {
    for garbage in [0, 0x1000, 0x4000_0000, u64::MAX] {
        at_every_call(Fault::Instead(answer(word(Status::Success), garbage)));
        at_every_call(Fault::Instead(answer(garbage, garbage)));
    }
    at_every_call(Fault::Scribble { seed: 7 });
}

#[test]
fn every_call_is_executed_and_answered_falsely_in_turn() {
    for garbage in [0, 0x1000, u64::MAX] {
        at_every_call(Fault::Afterwards(answer(word(Status::Success), garbage)));
    }
    for status in [Status::ErrorInput, Status::ErrorRtt, Status::ErrorRttAux, Status::Unknown(99)] {
        at_every_call(Fault::Afterwards(answer(word(status), 0)));
    }
    for status in [Status::Busy, Status::Incomplete] {
        at_every_call(Fault::Afterwards(answer(word(status), 0)));
    }
}
