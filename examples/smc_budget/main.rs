//! The number of SMCs for the memory of a Realm: counted on the model RMM, next to the prediction,
//! the budget, and the count of other hosts.
//!
//! `cargo run --release --example smc_budget -- --help` lists the options.
#![expect(clippy::unwrap_used, reason = "the machine has the memory that is taken")]

#[path = "../shared/output.rs"]
mod output;
mod scenario;

use std::process::ExitCode;

use output::{complain, say};
use realm_sdk::Error;
use realm_sdk::abi::{Command, Dialect};
use realm_sdk::builder::ShadowTable;
use realm_sdk::builder::plan::Limits;
use rmm_model::Options;
use scenario::Row;

/// An operation, its budgets on the three models, and what the best other host needs: on an RMM of
/// 2.0, and on one of 1.0.
struct Job {
    operation: &'static str,
    run: fn(Options, Limits) -> Result<scenario::Measured, Error>,
    budgets: [u64; 3],
    best: &'static str,
    best_on_1_0: &'static str,
    slow: bool,
}

/// 1 GiB of pages on an RMM of 1.0: delegated and mapped (or the reverse), in 513 tables that are
/// delegated and made (or the reverse).
const PAGES_ON_1_0: u64 = 2 * 262_144 + 2 * 513;

const JOBS: [Job; 9] = [
    Job {
        operation: "map 1 GiB, contiguous, 2 MiB-backed",
        slow: false,
        run: scenario::map_2_mib_backed,
        budgets: [262_147, 4, PAGES_ON_1_0],
        best: "525826 (KVM)",
        best_on_1_0: "525826 (KVM v10)",
    },
    Job {
        operation: "map 1 GiB, one 1 GiB block",
        slow: false,
        run: scenario::map_1_gib_block,
        budgets: [262_145, 2, PAGES_ON_1_0],
        best: "525826 (KVM)",
        best_on_1_0: "525826 (KVM v10)",
    },
    Job {
        operation: "map 1 GiB, scattered 4 KiB pages",
        slow: true,
        run: scenario::map_scattered,
        // One delegation for each of 262,144 runs: no two pages are adjacent.
        budgets: [263_682, 1_538 + 262_144, PAGES_ON_1_0],
        best: "525826 (KVM)",
        best_on_1_0: "525826 (KVM v10)",
    },
    Job {
        operation: "map 1 GiB, scattered 64 KiB runs",
        slow: true,
        run: scenario::map_scattered_runs,
        budgets: [263_682, 1_538 + 16_384, PAGES_ON_1_0],
        best: "525826 (KVM)",
        best_on_1_0: "525826 (KVM v10)",
    },
    Job {
        operation: "populate 1 GiB measured",
        slow: true,
        run: scenario::populate_measured,
        budgets: [525_314, 263_171, PAGES_ON_1_0],
        best: "525314 (Xen)",
        best_on_1_0: "525826 (KVM v10)",
    },
    Job {
        operation: "tear down 1 GiB, contiguous",
        slow: false,
        run: scenario::tear_down_contiguous,
        budgets: [262_147, 4, PAGES_ON_1_0],
        best: "263682 (KVM v14)",
        best_on_1_0: "525314 (KVM v10)",
    },
    Job {
        operation: "tear down 1 GiB, scattered pages",
        slow: true,
        run: scenario::tear_down_scattered,
        // 512 lists, 262,144 runs, and 513 tables that are destroyed and undelegated.
        budgets: [262_144 + 512 + 1_026, 262_144 + 512 + 514, PAGES_ON_1_0],
        best: "525314 (KVM v14)",
        best_on_1_0: "525314 (KVM v10)",
    },
    Job {
        operation: "fault of a page with its tables",
        slow: false,
        run: scenario::fault_one_page,
        budgets: [2, 2, 2],
        best: "2 (KVM)",
        best_on_1_0: "2 (KVM v10)",
    },
    Job {
        operation: "faults of 2 MiB, fault-around",
        slow: false,
        run: scenario::fault_around,
        budgets: [512 + 3, 512 + 3, 1024 + 2],
        best: "1024 (KVM) [1]",
        best_on_1_0: "1027 (KVM v10) [1]",
    },
];

/// Help, as `--help` prints it.
const HELP: &str = "\
Counts the SMCs that the memory of a Realm costs, on the model RMM, beside what is
allowed and what other hosts need.

Usage: smc_budget [--quick] [--dialect NAME]

  --quick         Leave out what takes many seconds in a build without
                  optimisation
  --dialect NAME  The dialect of A and B: tf-rmm-2026-07, 2.0-bet3, 2.0-bet1 or
                  2.0-bet0 [default: tf-rmm-2026-07]
  --help          Print this

Columns:
  operation  What is done to the memory of a Realm; with 4 KiB pages, if not said
             otherwise
  RMM        Which RMM the model plays:
             A  takes one granule per delegation and one leaf table per map or
                unmap, as TF-RMM of July 2026 does
             B  takes whole ranges
             C  is one of RMI 1.0, which takes one granule or one page per call
  SMCs       Calls that were counted
  budget     Calls that are allowed
  best other host
             The fewest calls that another host needs, and which one that is

Exit status: 0 if no row is over its budget, every prediction is right, no call
fails and all memory comes back; 1 if not; 2 for an unknown option; 3 if the
output cannot be written; 141 if the reader of the output has gone.";

fn main() -> ExitCode {
    let (mut quick, mut dialect) = (false, Dialect::TfRmm2026_07);
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--quick") => quick = true,
            Some("--dialect") => {
                let name = arguments.next().unwrap_or_default();
                let named = name.to_str().and_then(|name| name.parse().ok());
                let has_ranges = |it: &Dialect| Command::GranuleRangeDelegate.form(*it).is_some();
                let Some(named) = named.filter(has_ranges) else {
                    let name = name.to_string_lossy();
                    complain!("error: {name:?} is no dialect of RMI 2.0; see --help");
                    return ExitCode::from(2);
                };
                dialect = named;
            }
            Some("--help" | "-h") => {
                say!("{HELP}");
                return ExitCode::SUCCESS;
            }
            _ => {
                let argument = argument.to_string_lossy();
                complain!("error: unknown argument {argument:?}; see --help");
                return ExitCode::from(2);
            }
        }
    }
    match run(quick, dialect) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(missed) => {
            say!("{missed} missed");
            ExitCode::FAILURE
        }
        Err(error) => {
            complain!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the table and returns how many of its checks failed.
fn run(quick: bool, dialect: Dialect) -> Result<u32, Error> {
    let [of_2_0, of_1_0] = [dialect, Dialect::V1_0].map(scenario::with_memory);
    say!("RMM A takes one granule or table per call, as TF-RMM (July 2026); B takes ranges");
    say!("both of them are of {dialect}");
    say!("RMM C is one of RMI 1.0, which takes one granule or page per call");
    say!("{}", Row::HEAD);
    let mut missed = 0;
    for job in JOBS.into_iter().filter(|job| !(quick && job.slow)) {
        let [a, b, c] = job.budgets;
        for (model, options, limits, budget, best) in [
            ('A', of_2_0.clone(), Limits::ONE_BY_ONE, a, job.best),
            ('B', of_2_0.clone().range_capable(), Limits::RANGES, b, job.best),
            ('C', of_1_0.clone(), Limits::ENTRY_BY_ENTRY, c, job.best_on_1_0),
        ] {
            let measured = (job.run)(options, limits)?;
            let operation = job.operation;
            say!("{}", Row { operation, model, smcs: measured.calls, budget, best });
            if measured.calls > budget {
                missed += 1;
                say!("^ over its budget");
            }
            if let Some(predicted) = measured.predicted.filter(|it| *it != measured.calls) {
                missed += 1;
                say!("^ {predicted} were predicted");
            }
            if measured.failed > 0 {
                missed += 1;
                say!("^ {} calls failed", measured.failed);
            }
            if !measured.balanced {
                missed += 1;
                say!("^ not all memory is back");
            }
        }
    }
    let table = size_of::<ShadowTable>();
    say!("[1] and 511 more exits of the REC");
    say!("memory of the library per GiB of a Realm, in bytes ({table} a table):");
    say!("    {} mapped by pages", 513 * table);
    say!("    {table} mapped by 2 MiB blocks, 0 by a 1 GiB block");
    Ok(missed)
}
