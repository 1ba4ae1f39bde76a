//! How many SMCs the memory of a Realm costs: counted on the model RMM, beside what was predicted, what is allowed, and what other hosts need.
//!
//! Two models: `A` takes one granule per delegation and one leaf table per map or unmap, as TF-RMM of July 2026 does; `B` takes whole ranges.
//! A row over its budget, a wrong prediction or a failing call ends the program with status 1. `--quick` leaves out what takes many seconds in a build without optimisation.
#![expect(clippy::unwrap_used, reason = "the model does what it is asked")]

mod scenario;

use std::process::ExitCode;

use realm_sdk::builder::TableRoom;
use realm_sdk::builder::plan::Limits;
use rmm_model::Options;
use scenario::{GIB, Row};

/// What is done, its budgets on the two models, and what the best other host needs.
struct Job {
    operation: &'static str,
    run: fn(Options, Limits) -> scenario::Measured,
    budgets: [u64; 2],
    best: &'static str,
    slow: bool,
}

const JOBS: [Job; 9] = [
    Job {
        operation: "map 1 GiB private, 2 MiB-backed, contiguous",
        slow: false,
        run: scenario::map_2_mib_backed,
        budgets: [262_147, 4],
        best: "525826 (KVM)",
    },
    Job {
        operation: "map 1 GiB private, one 1 GiB block",
        slow: false,
        run: scenario::map_1_gib_block,
        budgets: [262_145, 2],
        best: "525826 (KVM)",
    },
    Job {
        operation: "map 1 GiB private, scattered 4 KiB pages",
        slow: true,
        run: scenario::map_scattered,
        // One delegation for each of 262,144 runs: no two pages touch.
        budgets: [263_682, 1_538 + 262_144],
        best: "525826 (KVM)",
    },
    Job {
        operation: "map 1 GiB private, scattered 64 KiB runs",
        slow: true,
        run: scenario::map_scattered_runs,
        budgets: [263_682, 1_538 + 16_384],
        best: "525826 (KVM)",
    },
    Job {
        operation: "populate 1 GiB measured",
        slow: true,
        run: scenario::populate_measured,
        budgets: [525_314, 263_171],
        best: "525314 (Xen)",
    },
    Job {
        operation: "tear down 1 GiB, 2 MiB-backed, contiguous",
        slow: false,
        run: scenario::tear_down_contiguous,
        budgets: [262_147, 4],
        best: "263682 (KVM v14)",
    },
    Job {
        operation: "tear down 1 GiB, scattered 4 KiB pages",
        slow: true,
        run: scenario::tear_down_scattered,
        // 512 lists, 262,144 runs, and 513 tables that are destroyed and undelegated.
        budgets: [262_144 + 512 + 1_026, 262_144 + 512 + 514],
        best: "525314 (KVM v14)",
    },
    Job {
        operation: "fault of one page, its tables there",
        slow: false,
        run: scenario::fault_one_page,
        budgets: [2, 2],
        best: "2 (KVM)",
    },
    Job {
        operation: "faults of 2 MiB, 4 KiB pages, fault-around",
        slow: false,
        run: scenario::fault_around,
        budgets: [512 + 3, 512 + 3],
        best: "1024 and 511 more exits (KVM)",
    },
];

fn main() -> ExitCode {
    let quick = std::env::args().any(|arg| arg == "--quick");
    println!("{}", Row::HEAD);
    let mut missed = 0;
    for job in JOBS.into_iter().filter(|job| !(quick && job.slow)) {
        for (model, options, limits, budget) in [
            ('A', scenario::one_by_one(), Limits::ONE_BY_ONE, job.budgets[0]),
            ('B', scenario::one_by_one().range_capable(), Limits::RANGES, job.budgets[1]),
        ] {
            let measured = (job.run)(options, limits);
            let Job { operation, best, .. } = job;
            println!("{}", Row { operation, model, smcs: measured.calls, budget, best });
            if measured.calls > budget {
                missed += 1;
                println!("^ over its budget");
            }
            if let Some(predicted) = measured.predicted.filter(|it| *it != measured.calls) {
                missed += 1;
                println!("^ predicted were {predicted}");
            }
            if measured.failed > 0 {
                missed += 1;
                println!("^ {} calls failed", measured.failed);
            }
            if !measured.balanced {
                missed += 1;
                println!("^ not all memory is back");
            }
        }
    }
    let room = size_of::<TableRoom>();
    println!(
        "memory of the library per GiB of Realm: {} bytes mapped by pages ({} tables of {room}), {room} by 2 MiB blocks, 0 by a 1 GiB block",
        513 * room,
        GIB / (2 << 20) + 1
    );
    match missed {
        0 => ExitCode::SUCCESS,
        missed => {
            println!("{missed} misses");
            ExitCode::FAILURE
        }
    }
}
