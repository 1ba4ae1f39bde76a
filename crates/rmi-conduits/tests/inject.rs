//! Faults by rule, against the model.
#![expect(clippy::unwrap_used, unsafe_code, reason = "tests, and calls to a model")]

use std::num::NonZeroU64;

use rmi_abi::{Command, Dialect, Pa, PaRange, Status};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::{Conduit, Registers};
use rmm_model::{Model, Options};

const DIALECT: Dialect = Dialect::TfRmm2026_07;
const BUSY: u64 = 10;

fn model() -> Model {
    let model = Model::new(Options::new(DIALECT)).unwrap();
    assert_eq!(call(&model, Command::RmmActivate, [0, 0])[0], 0);
    model
}

fn call(conduit: &impl Conduit, command: Command, [x1, x2]: [u64; 2]) -> Registers {
    let fid = command.fid(DIALECT).unwrap().0.into();
    // SAFETY: the model has memory of its own; nothing of this program is affected.
    unsafe { conduit.call([fid, x1, x2, 0, 0, 0, 0, 0]) }
}

fn delegate(conduit: &impl Conduit, granule: u64) -> u64 {
    let at = 0x8000_0000 + granule * 0x1000;
    call(conduit, Command::GranuleRangeDelegate, [at, at + 0x1000])[0]
}

fn feature(conduit: &impl Conduit, index: u64) -> u64 {
    call(conduit, Command::Features, [index, 0])[0]
}

#[test]
fn only_the_named_command_gets_the_fault() {
    let model = model();
    let rule = Rule::command(Command::GranuleRangeDelegate, DIALECT).nth(1);
    let conduit = Injecting::by_rule(&model, rule, Fault::status(Status::ErrorInput));
    assert_eq!(feature(&conduit, 0), 0);
    assert_eq!((0..4).map(|n| delegate(&conduit, n)).collect::<Vec<_>>(), [0, 1, 0, 0]);
    assert_eq!((conduit.injections(), conduit.calls()), (1, 5));
    assert!(conduit.has_injected());
}

#[test]
fn every_third_from_the_second_on() {
    let model = model();
    let rule = Rule::any().from(2).every(NonZeroU64::new(3).unwrap());
    let conduit = Injecting::by_rule(&model, rule, Fault::status(Status::ErrorGlobal));
    let answers: Vec<_> = (0..9).map(|_| feature(&conduit, 0)).collect();
    assert_eq!(answers, [0, 0, 0, 0, 11, 0, 0, 11, 0]);
}

#[test]
fn only_calls_that_name_the_granule() {
    let model = model();
    let granule = PaRange::with_size(Pa::new(0x8000_2000), 0x1000).unwrap();
    let rule = Rule::any().naming(granule);
    let conduit = Injecting::by_rule(&model, rule, Fault::status(Status::ErrorInput));
    // The second call names it as its top.
    assert_eq!((0..4).map(|n| delegate(&conduit, n)).collect::<Vec<_>>(), [0, 1, 1, 0]);
}

#[test]
fn a_predicate_sees_the_registers() {
    let model = model();
    let rule = Rule::any().when(|registers: &Registers| registers[1] == 2);
    let conduit = Injecting::by_rule(&model, rule, Fault::status(Status::ErrorInput));
    assert_eq!((0..4).map(|n| feature(&conduit, n)).collect::<Vec<_>>(), [0, 0, 1, 0]);
}

#[test]
fn a_command_that_the_dialect_lacks_gets_no_fault() {
    let model = model();
    let rule = Rule::command(Command::GptInfo, DIALECT);
    let conduit = Injecting::by_rule(&model, rule, Fault::status(Status::ErrorInput));
    assert_eq!(feature(&conduit, 0), 0);
    assert!(!conduit.has_injected());
}

#[test]
fn after_a_delay_the_call_goes_on() {
    let model = model();
    let delay = Fault::Delay { status: Status::Busy, times: 2 };
    let conduit = Injecting::by_rule(&model, Rule::any(), delay);
    let answers: Vec<_> = (0..7).map(|_| feature(&conduit, 0)).collect();
    assert_eq!(answers, [BUSY, BUSY, 0, BUSY, BUSY, 0, BUSY]);

    let never = Injecting::once(&model, 0, Fault::Delay { status: Status::Busy, times: 0 });
    assert_eq!(feature(&never, 0), 0);
}

#[test]
fn garbage_is_the_same_each_time() {
    let model = model();
    let answers = |fault| {
        let conduit = Injecting::from(&model, 1, fault);
        [0; 3].map(|index| call(&conduit, Command::Features, [index, 0]))
    };
    let garbage = answers(Fault::Garbage { seed: 1 });
    assert_eq!(garbage, answers(Fault::Garbage { seed: 1 }));
    assert_ne!(garbage[1], garbage[2]);
    assert_ne!(garbage, answers(Fault::Garbage { seed: 2 }));

    let scribbled = answers(Fault::Scribble { seed: 1 });
    assert_eq!(scribbled[1][0], 0);
    assert_eq!(scribbled[1][1..], garbage[1][1..]);
    assert_eq!(scribbled[0], garbage[0]);
}
