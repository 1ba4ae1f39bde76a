//! All checks on threads with the model RMM.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod machine;

use bare_metal::{Options, Summary};
use realm_sdk::abi::Dialect;

use machine::Threads;

fn run(dialect: Dialect, cpus: u16) -> Summary {
    let model = machine::model(rmm_model::Options::new(dialect));
    let machine = Threads::new(&model, cpus);
    let summary = machine.with_alarms(|| bare_metal::run(&machine, &Options::default()));
    assert_eq!(model.census().undelegated, model.census().total);
    summary
}

#[test]
fn all_checks_pass() {
    for dialect in rmm_model::Options::DIALECTS {
        for cpus in [1, 4] {
            assert_eq!(run(dialect, cpus).failed, 0, "{dialect} with {cpus} CPUs");
        }
    }
}
