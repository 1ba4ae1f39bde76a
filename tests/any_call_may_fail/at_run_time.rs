//! The second scenario, with a fault at any call. It makes many calls, so each fault is injected at
//! some of them, and all faults together cover all calls.

use proptest::prelude::*;
use realm_sdk::abi::result::OpMemReq;
use realm_sdk::abi::rtt::Level;
use realm_sdk::abi::{Command, Dialect, ResultWord, Status};
use realm_sdk::conduits::inject::Fault;
use realm_sdk::host::conduit::NO_ANSWER;
use rmm_model::Options;

use crate::runtime::{self, Stop};
use crate::scenario::{Course, Ending, Scenario};
use crate::{DIALECTS, SETUPS, answer, check, in_dialect, word};

/// Runs the scenario with each fault at every `stride`th call, where the first call is another one
/// for each fault, dialect and end of the scenario. In 1.0, where each page has its calls, the
/// stride is longer.
fn here_and_there(
    dialects: &[Dialect],
    faults: &[Fault],
    stride: usize,
    change: impl Fn(Scenario) -> Scenario,
) {
    let mut first = 0;
    for dialect in dialects.iter().copied() {
        let stride = if dialect == Dialect::V1_0 { stride * 37 } else { stride };
        for stop in Stop::ALL {
            for fault in faults.iter().copied() {
                first = (first + if dialect == Dialect::V1_0 { 53 } else { 1 }) % stride;
                for at in (first as u64..).step_by(stride) {
                    let scenario = change(Scenario::new(dialect).of(Course::Runtime(stop)));
                    let (ending, injected) = scenario.with_fault(at, fault).run();
                    check(
                        dialect,
                        &ending,
                        fault,
                        &format!("{dialect}, {stop:?}, call {at}, {fault:x?}"),
                    );
                    if !injected {
                        assert_eq!(ending, Ending::GOOD, "a scenario without a fault");
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn a_scenario_without_faults_ends_well() {
    for dialect in DIALECTS {
        for stop in Stop::ALL {
            let scenario = Scenario::new(dialect).of(Course::Runtime(stop));
            assert_eq!(scenario.run().0, Ending::GOOD, "{dialect}, {stop:?}");
            let scenario = Scenario::new(dialect).of(Course::Runtime(stop)).one_by_one();
            assert_eq!(scenario.run().0, Ending::GOOD, "{dialect}, {stop:?}, one by one");
            for (name, setup) in SETUPS.into_iter().filter(|_| dialect.is_2_0()) {
                let scenario = Scenario::new(dialect).of(Course::Runtime(stop)).with_setup(setup);
                assert_eq!(scenario.run().0, Ending::GOOD, "{dialect}, {stop:?}, {name}");
            }
        }
    }
}

#[test]
fn refusals() {
    let mut faults: Vec<_> = (1..=17)
        .map(Status::from)
        .filter(|status| !matches!(status, Status::Busy | Status::Blocked | Status::Incomplete))
        .map(|status| Fault::Instead(answer(word(status), 0)))
        .collect();
    faults.push(Fault::Instead(answer(u64::MAX, 0)));
    for level in [Level::L1, Level::L2, Level::L3] {
        let refusal = ResultWord::with_level(Status::ErrorRtt, level).0;
        faults.push(Fault::Instead(answer(refusal, 0)));
    }
    here_and_there(&DIALECTS, &faults, 59, |scenario| scenario);
}

#[test]
fn a_busy_or_blocked_rmm_only_costs_calls() {
    for (first, dialect) in DIALECTS.into_iter().enumerate() {
        for status in [Status::Busy, Status::Blocked] {
            for stop in Stop::ALL {
                // The answer to RMI_VERSION is the only one after which the call is not made again.
                let stride = if dialect == Dialect::V1_0 { 601 } else { 10 };
                for at in (1 + first as u64..).step_by(stride) {
                    let fault = Fault::Instead(answer(word(status), 0));
                    let scenario =
                        Scenario::new(dialect).of(Course::Runtime(stop)).with_fault(at, fault);
                    let (ending, injected) = scenario.run();
                    let when = format!("{dialect}, {stop:?}, call {at}, {status:?}");
                    assert_eq!(ending, Ending::GOOD, "{when}");
                    if !injected {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn operations_and_garbage() {
    let mut faults = Vec::new();
    for mem in [OpMemReq::None, OpMemReq::Donate, OpMemReq::Reclaim, OpMemReq::Reserved] {
        for can_cancel in [false, true] {
            let x0 = ResultWord::incomplete(mem, can_cancel).0;
            faults.push(Fault::Instead(answer(x0, 0x44)));
        }
    }
    for garbage in [0, 0x1000, 0x8000_0000, 0x4000_1000, 0xdead_beef_0bad_f00d, u64::MAX] {
        faults.push(Fault::Instead(answer(word(Status::Success), garbage)));
        faults.push(Fault::Instead(answer(garbage, garbage)));
    }
    here_and_there(&DIALECTS, &faults, 61, |scenario| scenario);
}

#[test]
fn false_answers() {
    let mut faults: Vec<_> = [0, 0x1000, 0x4000_1000, u64::MAX]
        .map(|garbage| Fault::Afterwards(answer(word(Status::Success), garbage)))
        .into();
    for status in [
        Status::ErrorInput,
        Status::ErrorRtt,
        Status::Unknown(99),
        Status::Busy,
        Status::Incomplete,
    ] {
        faults.push(Fault::Afterwards(answer(word(status), 0)));
    }
    faults.push(Fault::Scribble { seed: 7 });
    faults.push(Fault::Afterwards(NO_ANSWER));
    here_and_there(&DIALECTS, &faults, 26, |scenario| scenario);
}

#[test]
fn with_every_setup() {
    let faults = [
        Fault::Instead(answer(u64::MAX, 0)),
        Fault::Instead(answer(word(Status::ErrorInput), 0)),
        Fault::Instead(answer(word(Status::Success), 0x1000)),
        Fault::Afterwards(answer(word(Status::Success), 0x8000_0000)),
        Fault::Afterwards(answer(word(Status::Unknown(99)), 0)),
    ];
    for (_, setup) in SETUPS {
        here_and_there(&Options::DIALECTS, &faults, 193, |scenario| scenario.with_setup(setup));
    }
}

#[test]
fn granule_by_granule() {
    let faults = [
        Fault::Instead(answer(word(Status::ErrorInput), 0)),
        Fault::Instead(answer(word(Status::Success), 0)),
        Fault::Afterwards(answer(word(Status::Success), u64::MAX)),
    ];
    here_and_there(&Options::DIALECTS, &faults, 5003, Scenario::one_by_one);
}

/// From some call on, this is the only answer of the RMM.
#[test]
fn the_rmm_gives_only_one_answer() {
    for (first, x0) in [
        u64::MAX,
        word(Status::ErrorInput),
        word(Status::ErrorRtt),
        word(Status::Busy),
        word(Status::Incomplete),
        word(Status::Unknown(99)),
        0,
        0x10d,
        0x20d,
    ]
    .into_iter()
    .enumerate()
    {
        for stop in Stop::ALL {
            for at in (first as u64..220).step_by(23) {
                for rest in [0, 0x4000_1000] {
                    let only = Fault::Instead(answer(x0, rest));
                    let scenario =
                        Scenario::new(DIALECTS[first % DIALECTS.len()]).of(Course::Runtime(stop));
                    let (ending, _) = scenario.with_fault_from(at, only).run();
                    ending.check(&format!("{stop:?}, only {only:x?} from call {at}"));
                }
            }
        }
    }
}

/// One command never works, or always gives the same answer; some of the answers contain addresses
/// that the scenario uses.
#[test]
fn a_command_that_never_works() {
    const COMMANDS: [Command; 17] = [
        Command::GranuleRangeDelegate,
        Command::GranuleRangeUndelegate,
        Command::RttCreate,
        Command::RttDestroy,
        Command::RttFold,
        Command::RttInitRipas,
        Command::RttSetRipas,
        Command::RttDataMap,
        Command::RttDataUnmap,
        Command::RttUnprotMap,
        Command::RttUnprotUnmap,
        Command::RealmCreate,
        Command::RealmTerminate,
        Command::RealmDestroy,
        Command::RecCreate,
        Command::RecDestroy,
        Command::OpContinue,
    ];
    let mut faults = Vec::new();
    for status in [Status::ErrorInput, Status::ErrorRtt, Status::Busy, Status::Unknown(99)] {
        faults.push(Fault::Instead(answer(word(status), 0)));
        faults.push(Fault::Afterwards(answer(word(status), 0)));
    }
    let incomplete = ResultWord::incomplete(OpMemReq::None, false).0;
    faults.push(Fault::Instead(answer(incomplete, 0x44)));
    for reached in runtime::PLACES {
        faults.push(Fault::Instead([0, reached, 0, 0, 0, 0, 0, 0]));
        faults.push(Fault::Afterwards([0, reached, 0, 0, 0, 0, 0, 0]));
    }
    let mut turn = 0;
    for command in COMMANDS {
        for fault in faults.iter().copied() {
            // Each dialect and each end of the scenario in turn.
            turn += 1;
            let (dialect, stop) =
                (DIALECTS[turn % DIALECTS.len()], Stop::ALL[turn % Stop::ALL.len()]);
            let command = in_dialect(command, dialect);
            let scenario = Scenario::new(dialect).of(Course::Runtime(stop)).without(command, fault);
            let when = format!("{dialect}, {stop:?}, {command:?}, {fault:x?}");
            check(dialect, &scenario.run().0, fault, &when);
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
        at in 0u64..300,
        stop in prop::sample::select(&Stop::ALL[..]),
        registers in prop::array::uniform8(prop_oneof![
            0u64..32,
            0x4000_0000u64..0x4200_0000,
            0x8000_0000u64..0x8200_0000,
            any::<u64>(),
        ]),
        afterwards: bool,
        dialect in prop::sample::select(&DIALECTS[..]),
    ) {
        let fault =
            if afterwards { Fault::Afterwards(registers) } else { Fault::Instead(registers) };
        let scenario = Scenario::new(dialect).of(Course::Runtime(stop));
        check(dialect, &scenario.with_fault(at, fault).run().0, fault, "a random fault");
    }
}
