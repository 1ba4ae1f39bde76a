//! `cargo xtask qemu-model`: the bare-metal host in QEMU, on the model RMM at EL3.
//!
//! The image of `examples/model-el3` is the firmware; `examples/bare-metal` is the host that it
//! starts at EL2. What they print ends with a line of counts, which has to be the one that is
//! expected, and so have the names of the checks that are skipped: a check that is left out fails
//! as well.

mod counts;
mod flash;
mod machine;

use std::path::Path;
use std::time::Duration;

use counts::Counts;
use machine::Machine;

use crate::output::say;
use crate::packages::cargo;
use crate::{Failure, debian};

const TARGET: &str = "aarch64-unknown-none";
/// The firmware, from the package of the same name.
const FIRMWARE: &str = "model-el3";
/// Each program runs for at most so long; without a fault they take a few seconds.
const LIMIT: Duration = Duration::from_secs(90);

/// A program that runs in QEMU, in the place of a host.
struct Run {
    program: &'static str,
    dialect: &'static str,
    cpus: u32,
    /// Checks that pass.
    passed: u32,
    /// Those that are skipped, by name and in order, because they need what the machine has not.
    skipped: &'static [&'static str],
}

/// The machine has no granule protection checks.
const NO_PROTECTION: &str = "granule protection";
/// Nor has it another CPU.
const ONE_CPU: [&str; 3] = [NO_PROTECTION, "kick from another CPU", "pause and resume"];
/// Nor has RMI 1.0 planes.
const NO_PLANES: [&str; 2] = [NO_PROTECTION, "planes"];

/// What the firmware promises a host, with one CPU and with several; then the host.
const RUNS: [Run; 6] = [
    Run { program: "el2-test", dialect: "2.0-bet3", cpus: 1, passed: 14, skipped: &[] },
    Run { program: "el2-test", dialect: "tf-rmm-2026-07", cpus: 4, passed: 34, skipped: &[] },
    Run {
        program: HOST,
        dialect: "tf-rmm-2026-07",
        cpus: 4,
        passed: 33,
        skipped: &[NO_PROTECTION],
    },
    Run { program: HOST, dialect: "2.0-bet3", cpus: 4, passed: 33, skipped: &[NO_PROTECTION] },
    Run { program: HOST, dialect: "tf-rmm-2026-07", cpus: 1, passed: 31, skipped: &ONE_CPU },
    Run { program: HOST, dialect: "1.0", cpus: 4, passed: 32, skipped: &NO_PLANES },
];
const HOST: &str = "bare-metal-virt";

/// Options of the chore.
#[derive(Default)]
pub(crate) struct Options {
    /// Another QEMU than the one that the system has.
    pub(crate) qemu: Option<String>,
    /// Whether QEMU is installed where it is missing.
    pub(crate) install: bool,
}

/// Builds the programs and runs them. The last line is the sum of their counts.
///
/// # Errors
///
/// [`Failure`] when QEMU is missing, a program cannot be built, ends in another way than it should,
/// or takes too long.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), Failure> {
    let qemu = options.qemu.as_deref().unwrap_or(machine::QEMU);
    debian::find(qemu, machine::PACKAGE, options.install)?;
    for package in [FIRMWARE, "bare-metal", "realm-guest"] {
        // One after the other: together they would get each other's features. The host's program
        // for FVP and the payload of Realms are linked as well, and not run.
        cargo(root, &["build", "--quiet", "--release", "--package", package, "--target", TARGET])?;
    }
    let directory = root.join("target").join(TARGET).join("release");
    let image = directory.join(FIRMWARE);
    let bytes = std::fs::read(&image).map_err(|error| format!("{}: {error}", image.display()))?;
    let flash = image.with_extension("flash");
    std::fs::write(&flash, flash::content(&bytes)?)?;

    let mut sum = Counts::default();
    for Run { program, dialect, cpus, passed, skipped } in RUNS {
        say!("\n{program}, {dialect}, CPUs: {cpus}");
        let host = directory.join(program);
        let machine = Machine { qemu, flash: &flash, host: &host, dialect, cpus };
        let found = machine.run(LIMIT).map_err(|error| format!("{program}: {error}"))?;
        found.expect(passed, skipped).map_err(|error| format!("{program}: {error}"))?;
        sum.passed += found.counts.passed;
        sum.skipped += found.counts.skipped;
    }
    say!("\n{sum}");
    Ok(())
}
