//! Realms from creation to teardown on an RMM that answers some calls wrongly, with memory of the
//! host that is not what was asked for: nothing panics, everything ends, and each granule is owned
//! once. With right answers all of it is the host's again.
//!
//! `REALM_SDK_WRONG_ANSWERS_CASES` is the number of Realms.
#![cfg(not(miri))] // Slow, and the only unsafe code is that of the conduit.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conduit;
mod heap;
mod machine;
mod run;
mod step;

use conduit::Wrong;
use machine::Machine;
use proptest::prelude::*;
use run::{Case, Phase};

fn machines() -> impl Strategy<Value = Machine> {
    let machines = prop::sample::select(Machine::all());
    (machines, any::<bool>(), any::<bool>()).prop_map(|(machine, by_range, is_busy)| Machine {
        by_range,
        is_busy,
        ..machine
    })
}

fn wrong(machine: Machine) -> impl Strategy<Value = Option<Wrong>> {
    let commands: Vec<_> = machine.dialect.commands().collect();
    let any_command = prop::sample::select(vec![3, 8, 30, 100, 400, 2000]).prop_map(|n| (n, None));
    let one_command = prop::sample::select(commands).prop_map(|command| (2, Some(command)));
    let calls = prop_oneof![2 => any_command, 1 => one_command];
    let wrong = (any::<u64>(), calls, prop::bool::weighted(0.3))
        .prop_map(|(seed, (one_in, only), is_silent)| Wrong { seed, one_in, only, is_silent });
    prop::option::weighted(0.6, wrong)
}

fn cases() -> impl Strategy<Value = Case> {
    let (opening, building, running) = (Phase::Opening, Phase::Building, Phase::Running);
    let phases = prop_oneof![1 => Just(opening), 2 => Just(building), 3 => Just(running)];
    let wrongly = machines().prop_flat_map(|machine| (Just(machine), wrong(machine)));
    let host = (1..=2u64, prop::bool::weighted(0.2), prop::collection::vec(step::steps(), 1..30));
    (wrongly, phases, prop::bool::weighted(0.7), host).prop_map(
        |((machine, wrong), first, to_the_end, (fine, has_threads, steps))| Case {
            machine,
            wrong,
            first,
            to_the_end,
            fine,
            // The pool of a thread needs memory that is FINE.
            has_threads: has_threads && machine.region.is_none(),
            steps,
        },
    )
}

fn config() -> ProptestConfig {
    let cases = std::env::var("REALM_SDK_WRONG_ANSWERS_CASES").ok();
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases.and_then(|cases| cases.parse().ok()).unwrap_or(100))
    }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn sound_1_whatever_the_rmm_answers_each_granule_is_owned_once(case in cases()) {
        run::run(&case);
    }
}
