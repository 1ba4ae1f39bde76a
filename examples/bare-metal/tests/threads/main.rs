//! All checks on threads with the model RMM, and with faults.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../shared/threads.rs"]
mod machine;

use bare_metal::Summary;
use realm_sdk::abi::{Command, Dialect, Status};
use realm_sdk::conduits::inject::{Fault, Injecting, Rule};
use realm_sdk::host::Conduit;
use rmm_model::{Model, Options};

use machine::Threads;

/// Three auxiliary planes, each with its own tree: feature register 3, as TF-RMM has it.
const PLANES: u64 = 3;
/// Checks with all that the model can do.
const ALL: u32 = 34;

/// A model whose guests are those of the checks.
fn model_of(options: Options) -> Model {
    let model = machine::model(options);
    model_guests::install(&model);
    model
}

/// Runs all checks; what was counted, and printed.
fn run<C: Conduit + Sync>(model: &Model, conduit: C, cpus: u16) -> (Summary, Vec<String>) {
    let machine = Threads::new(model, conduit, cpus);
    let summary =
        machine.with_alarms(|| bare_metal::run(&machine, &bare_metal::Options::default()));
    let printed = machine.printed();
    assert_eq!(printed.last().unwrap(), &summary.to_string());
    let count = |start: &str| {
        u32::try_from(printed.iter().filter(|line| line.starts_with(start)).count()).unwrap()
    };
    let counted =
        Summary { passed: count("pass  "), failed: count("FAIL  "), skipped: count("skip  ") };
    assert_eq!(counted, summary);
    (summary, printed)
}

fn passes(dialect: Dialect) {
    // With one CPU nobody can kick it or pause it; and without planes none is run.
    let model = model_of(Options::new(dialect));
    let (summary, _) = run(&model, machine::calling(&model), 1);
    assert_eq!(summary, Summary { passed: ALL - 3, failed: 0, skipped: 3 }, "{dialect}");
    assert_eq!(model.census().undelegated, model.census().total);

    let mut options = Options::new(dialect);
    let has_planes = dialect.is_2_0();
    if has_planes {
        options.features[3] = PLANES;
    }
    let model = model_of(options);
    let (summary, _) = run(&model, machine::calling(&model), 4);
    let skipped = u32::from(!has_planes);
    assert_eq!(summary, Summary { passed: ALL - skipped, failed: 0, skipped }, "{dialect}");
    assert_eq!(model.census().undelegated, model.census().total);
}

#[test]
fn all_checks_pass_on_tf_rmm_2026_07() {
    passes(Dialect::TfRmm2026_07);
}

#[test]
fn all_checks_pass_on_2_0_bet3() {
    passes(Dialect::V2_0Bet3);
}

#[test]
fn all_checks_pass_on_1_0() {
    passes(Dialect::V1_0);
}

#[test]
fn a_check_that_finds_a_fault_fails() {
    let dialect = Dialect::V2_0Bet3;
    let model = model_of(Options::new(dialect));
    let rule = Rule::command(Command::RealmActivate, dialect).nth(5);
    let fault = Fault::status(Status::ErrorRealm);
    let (summary, printed) =
        run(&model, Injecting::by_rule(machine::calling(&model), rule, fault), 1);
    assert_eq!(summary, Summary { passed: ALL - 4, failed: 1, skipped: 3 });
    let failed: Vec<_> = printed.iter().filter(|line| line.starts_with("FAIL")).collect();
    assert!(failed[0].contains("RMI_REALM_ACTIVATE"), "{failed:?}");
    // Nothing is lost by it.
    assert_eq!(model.census().undelegated, model.census().total);
}

#[test]
fn memory_that_does_not_come_back_is_a_failure() {
    let dialect = Dialect::TfRmm2026_07;
    let model = model_of(Options::new(dialect));
    // The RMM keeps a granule of one of the first Realms.
    let rule = Rule::command(Command::GranuleRangeUndelegate, dialect).nth(700);
    let fault = Fault::status(Status::ErrorInput);
    let (summary, printed) =
        run(&model, Injecting::by_rule(machine::calling(&model), rule, fault), 1);
    // The check that lost it, and the end.
    assert_eq!(summary, Summary { passed: ALL - 5, failed: 2, skipped: 3 });
    let failed: Vec<_> = printed.iter().filter(|line| line.starts_with("FAIL")).collect();
    assert!(failed[0].contains("1 are leaked, not 0"), "{failed:?}");
    assert!(failed[1].starts_with("FAIL  close: "), "{failed:?}");
    assert_ne!(model.census().undelegated, model.census().total);
}

#[test]
fn without_an_rmm_one_line_says_so() {
    let model = model_of(Options::new(Dialect::V2_0Bet3));
    let fault = Fault::status(Status::ErrorGlobal);
    let conduit = Injecting::from(machine::calling(&model), 0, fault);
    let (summary, printed) = run(&model, conduit, 1);
    assert_eq!(summary, Summary { passed: 0, failed: 1, skipped: 0 });
    assert_eq!(printed.len(), 2, "{printed:?}");
    assert!(printed[0].starts_with("FAIL  session: "), "{printed:?}");
}
