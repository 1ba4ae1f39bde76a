//! Whatever fails in any one call from a Realm's creation to its destruction, nothing is lost:
//! every granule is back with the host, or in quarantine with its reason, and the model confirms
//! it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod at_run_time;
mod runtime;
mod scenario;

use std::num::NonZeroU32;

use proptest::prelude::*;
use realm_sdk::abi::result::OpMemReq;
use realm_sdk::abi::{Command, Dialect, GranuleSize, ResultWord, Status};
use realm_sdk::conduits::inject::Fault;
use realm_sdk::host::Registers;
use realm_sdk::host::conduit::{NO_ANSWER, NOT_SENT};
use rmm_model::Options;
use scenario::{Ending, Scenario, Setup};

fn word(status: Status) -> u64 {
    ResultWord::from_status(status).0
}

/// X0, and in the other registers values that an RMM might leave there.
fn answer(x0: u64, rest: u64) -> Registers {
    [x0, rest, rest, rest, rest, rest, rest, rest]
}

const DIALECTS: [Dialect; 5] = Dialect::ALL;

/// The calls at which a fault comes: all of them, in the two dialects of 2.0 that differ most. In
/// the others it is every fifth, from a call on that is another one for each answer; and in 1.0,
/// where each page has its calls, as many as there are in them.
fn calls(dialect: Dialect, fault: Fault) -> impl Iterator<Item = u64> {
    let first = match fault {
        Fault::Instead([x0, x1, ..]) | Fault::Afterwards([x0, x1, ..]) => x0 ^ x1.rotate_left(7),
        _ => 0,
    };
    let stride = match dialect {
        Dialect::TfRmm2026_07 | Dialect::V2_0Bet3 => 1,
        Dialect::V1_0 => 199,
        _ => 5,
    };
    (first % stride..).step_by(usize::try_from(stride).unwrap())
}

/// The command that does the same in a dialect; or else, what 1.0 has instead, or before.
fn in_dialect(command: Command, dialect: Dialect) -> Command {
    test_support::equivalent(command, dialect).unwrap_or(match command {
        Command::RealmTerminate => Command::RealmActivate,
        _ => Command::RecAuxCount,
    })
}

/// Whether a fault makes the RMM execute the command and then deny it unambiguously; or, in 1.0,
/// where a success may come without anything that the host could compare, the opposite.
fn is_false_answer(dialect: Dialect, fault: Fault) -> bool {
    let x0 = match fault {
        Fault::Instead([x0, ..]) => {
            return dialect == Dialect::V1_0 && ResultWord(x0).status() == Status::Success;
        }
        Fault::Afterwards([x0, ..]) => x0,
        _ => return false,
    };
    !matches!(ResultWord(x0).status(), Status::Success | Status::Incomplete | Status::Unknown(_))
        || x0 == u64::MAX
}

fn check(dialect: Dialect, ending: &Ending, fault: Fault, when: &str) {
    if is_false_answer(dialect, fault) {
        ending.check_after_false_answer(when);
    } else {
        ending.check(when);
    }
}

/// Runs the scenario with the fault at each of [`calls`] in turn, until the fault comes after the
/// last call.
fn at_every_call(dialect: Dialect, fault: Fault) {
    for at in calls(dialect, fault) {
        let (ending, injected) = Scenario::new(dialect).with_fault(at, fault).run();
        check(dialect, &ending, fault, &format!("{dialect}, call {at}, {fault:x?}"));
        if !injected {
            assert_eq!(ending, Ending::GOOD, "a scenario without a fault");
            return;
        }
    }
}

#[test]
fn a_scenario_without_faults_ends_well() {
    for dialect in DIALECTS {
        let (ending, _) = Scenario::new(dialect).run();
        assert_eq!(ending, Ending::GOOD);
    }
}

#[test]
fn every_refusal_at_every_call() {
    for dialect in DIALECTS {
        for status in (1..=17)
            .map(Status::from)
            .filter(|status| !matches!(status, Status::Busy | Status::Blocked | Status::Incomplete))
        {
            at_every_call(dialect, Fault::Instead(answer(word(status), 0)));
        }
        at_every_call(dialect, Fault::Instead(answer(u64::MAX, 0)));
        at_every_call(
            dialect,
            Fault::Instead(answer(
                ResultWord::with_level(Status::ErrorRtt, realm_sdk::abi::rtt::Level::L2).0,
                0,
            )),
        );
    }
}

#[test]
fn a_busy_or_blocked_rmm_only_costs_calls() {
    for dialect in DIALECTS {
        for status in [Status::Busy, Status::Blocked] {
            let fault = Fault::Instead(answer(word(status), 0));
            for at in calls(dialect, fault) {
                let (ending, injected) = Scenario::new(dialect).with_fault(at, fault).run();
                ending.check(&format!("{dialect}, call {at}, {status:?}"));
                // The answer to RMI_VERSION is the only one after which the call is not made again.
                assert!(
                    at == 0 || ending == Ending::GOOD,
                    "{dialect}, call {at}, {status:?}: {ending:?}"
                );
                if !injected {
                    break;
                }
            }
        }
    }
}

#[test]
fn an_operation_where_there_is_none() {
    for dialect in DIALECTS {
        for mem in [OpMemReq::None, OpMemReq::Donate, OpMemReq::Reclaim, OpMemReq::Reserved] {
            for can_cancel in [false, true] {
                let x0 = ResultWord::incomplete(mem, can_cancel).0;
                at_every_call(dialect, Fault::Instead(answer(x0, 0)));
                at_every_call(dialect, Fault::Instead(answer(x0, 0x44)));
            }
        }
    }
}

#[test]
fn garbage_instead_of_an_answer() {
    for dialect in DIALECTS {
        for garbage in [0, 0x1000, 0x8000_0000, 0xdead_beef_0bad_f00d, u64::MAX] {
            at_every_call(dialect, Fault::Instead(answer(word(Status::Success), garbage)));
            at_every_call(dialect, Fault::Instead(answer(garbage, garbage)));
        }
    }
}

/// The RMM executes the command and gives another answer: the host knows less than it assumes.
#[test]
fn the_call_works_and_the_answer_is_false() {
    for dialect in DIALECTS {
        for garbage in [0, 0x1000, u64::MAX] {
            at_every_call(dialect, Fault::Afterwards(answer(word(Status::Success), garbage)));
        }
        for status in [
            Status::ErrorInput,
            Status::ErrorRtt,
            Status::Unknown(99),
            Status::Busy,
            Status::Incomplete,
        ] {
            at_every_call(dialect, Fault::Afterwards(answer(word(status), 0)));
        }
    }
}

/// The call works or does not, and its answer is lost; or it is known that it was never sent.
#[test]
fn sound_2_no_answer_at_any_call() {
    for dialect in DIALECTS {
        at_every_call(dialect, Fault::Afterwards(NO_ANSWER));
        at_every_call(dialect, Fault::Instead(NO_ANSWER));
        at_every_call(dialect, Fault::Instead(NOT_SENT));
    }
    for [x0, ..] in [NO_ANSWER, NOT_SENT] {
        for dialect in DIALECTS {
            let stride = if dialect.is_2_0() { 5 } else { 401 };
            for at in (0..24 * stride).step_by(usize::try_from(stride).unwrap()) {
                let scenario =
                    Scenario::new(dialect).with_fault_from(at, Fault::Instead(answer(x0, 0)));
                let when = format!("{dialect}, no answers from call {at} on, {x0:#x}");
                scenario.run().0.check(&when);
            }
        }
    }
}

/// A range that is processed granule by granule can fail in the middle. At some calls only, because
/// there are thousands.
#[test]
fn granule_by_granule() {
    let faults = [
        Fault::Instead(answer(word(Status::ErrorInput), 0)),
        Fault::Instead(answer(word(Status::Success), 0)),
        Fault::Instead(answer(word(Status::Incomplete), 0x44)),
        Fault::Afterwards(answer(word(Status::Success), u64::MAX)),
    ];
    let mut dialects = Options::DIALECTS.into_iter().cycle();
    for (fault, first) in faults.into_iter().zip([0, 17, 31, 53]) {
        for at in (first..3600).step_by(89) {
            let dialect = dialects.next().unwrap();
            let scenario = Scenario::new(dialect).one_by_one().with_fault(at, fault);
            check(
                dialect,
                &scenario.run().0,
                fault,
                &format!("{dialect}, granule by granule, call {at}, {fault:x?}"),
            );
        }
    }
    for dialect in DIALECTS {
        assert_eq!(Scenario::new(dialect).one_by_one().run().0, Ending::GOOD, "{dialect}");
    }
}

/// What else an RMM of 2.0 is allowed to do: yield and be continued, ask for more memory, ask for
/// it in one piece, allow cancelling, be busy.
const SETUPS: [(&str, Setup); 5] = [
    ("yields", |options| options.yield_every = NonZeroU32::new(1)),
    ("takes memory for the Realm", |options| options.realm_create_donates = 3),
    ("wants it in one piece", |options| options.contiguous_donations = true),
    ("can be cancelled", |options| options.can_cancel = true),
    ("busy, in pieces, cancellable", |options| {
        options.busy_every = NonZeroU32::new(3);
        options.yield_every = NonZeroU32::new(2);
        options.contiguous_donations = true;
        options.can_cancel = true;
    }),
];

#[test]
fn with_every_setup() {
    let faults = [
        Fault::Instead(answer(u64::MAX, 0)),
        Fault::Instead(answer(word(Status::ErrorInput), 0)),
        Fault::Instead(answer(ResultWord::incomplete(OpMemReq::Donate, true).0, 0x44)),
        Fault::Instead(answer(word(Status::Success), 0x1000)),
        Fault::Afterwards(answer(word(Status::Success), 0x8000_0000)),
        Fault::Afterwards(answer(word(Status::Unknown(99)), 0)),
    ];
    for dialect in Options::DIALECTS {
        for (name, setup) in SETUPS {
            for fault in faults {
                for at in calls(dialect, fault) {
                    let scenario = Scenario::new(dialect).with_setup(setup).with_fault(at, fault);
                    let (ending, injected) = scenario.run();
                    check(
                        dialect,
                        &ending,
                        fault,
                        &format!("{dialect}, {name}, call {at}, {fault:x?}"),
                    );
                    if !injected {
                        assert_eq!(ending, Ending::GOOD, "{dialect}, {name}");
                        break;
                    }
                }
            }
        }
    }
}

/// From some call on, this is the only answer of the RMM.
#[test]
fn the_rmm_gives_only_one_answer() {
    for x0 in [
        u64::MAX,
        word(Status::ErrorInput),
        word(Status::Busy),
        word(Status::Incomplete),
        0x10d,
        0x20d,
    ] {
        for dialect in DIALECTS {
            let stride = if dialect.is_2_0() { 3 } else { 397 };
            for at in (0..30 * stride).step_by(usize::try_from(stride).unwrap()) {
                let scenario =
                    Scenario::new(dialect).with_fault_from(at, Fault::Instead(answer(x0, 0)));
                scenario.run().0.check(&format!("{dialect}, only {x0:#x} from call {at}"));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn anything_at_any_call(
        at in 0u64..400,
        registers in prop::array::uniform8(prop_oneof![
            0u64..32,
            0x8000_0000u64..0x8200_0000,
            any::<u64>(),
        ]),
        afterwards: bool,
        dialect in prop::sample::select(&DIALECTS[..]),
    ) {
        let fault =
            if afterwards { Fault::Afterwards(registers) } else { Fault::Instead(registers) };
        let (ending, _) = Scenario::new(dialect).with_fault(at, fault).run();
        check(dialect, &ending, fault, "a random fault");
    }
}

/// The same on RMMs with larger granules, with some faults at some calls.
#[test]
fn with_larger_granules() {
    let faults = [
        Fault::Instead(answer(word(Status::ErrorInput), 0)),
        Fault::Instead(answer(word(Status::Busy), 0)),
        Fault::Instead(answer(word(Status::Success), 0x1000)),
        Fault::Afterwards(answer(word(Status::Success), 0x1_0000)),
        Fault::Afterwards(NO_ANSWER),
    ];
    for (granule, stride) in [(GranuleSize::Size16KiB, 2), (GranuleSize::Size64KiB, 11)] {
        for (fault, dialect) in faults.into_iter().zip(Options::DIALECTS.into_iter().cycle()) {
            let scenario = || Scenario::new(dialect).with_granule(granule);
            for at in (0..).step_by(stride) {
                let (ending, injected) = scenario().with_fault(at, fault).run();
                check(
                    dialect,
                    &ending,
                    fault,
                    &format!("{granule:?}, {dialect}, call {at}, {fault:x?}"),
                );
                if !injected {
                    assert!(ending.is_good(granule), "{granule:?}: {ending:?}");
                    break;
                }
            }
        }
    }
}
