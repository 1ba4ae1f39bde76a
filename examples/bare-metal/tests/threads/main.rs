//! All checks on threads with the model RMM.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod machine;

use bare_metal::Summary;
use realm_sdk::abi::Dialect;
use rmm_model::Options;

use machine::Threads;

/// Three auxiliary planes, each with its own tree: feature register 3, as TF-RMM has it.
const PLANES: u64 = 3;

fn run(options: Options, cpus: u16) -> Summary {
    let model = machine::model(options);
    let machine = Threads::new(&model, cpus);
    let summary =
        machine.with_alarms(|| bare_metal::run(&machine, &bare_metal::Options::default()));
    assert_eq!(model.census().undelegated, model.census().total);
    let printed = machine.printed();
    assert_eq!(printed.last().unwrap(), &summary.to_string());
    let count = |start: &str| {
        u32::try_from(printed.iter().filter(|line| line.starts_with(start)).count()).unwrap()
    };
    let counted =
        Summary { passed: count("pass  "), failed: count("FAIL  "), skipped: count("skip  ") };
    assert_eq!(counted, summary);
    summary
}

fn passes(dialect: Dialect) {
    // With one CPU nobody can kick it or pause it.
    let summary = run(Options::new(dialect), 1);
    assert_eq!(summary, Summary { passed: 26, failed: 0, skipped: 3 }, "{dialect}");
    let mut options = Options::new(dialect);
    options.features[3] = PLANES;
    let summary = run(options, 4);
    assert_eq!(summary, Summary { passed: 29, failed: 0, skipped: 0 }, "{dialect}");
}

#[test]
fn all_checks_pass_on_tf_rmm_2026_07() {
    passes(Dialect::TfRmm2026_07);
}

#[test]
fn all_checks_pass_on_2_0_bet3() {
    passes(Dialect::V2_0Bet3);
}
