//! `cargo xtask aarch64`: the tests of `rmi-abi` on its target, under QEMU's user mode.
//!
//! Layouts, codes and fields are then those that the compiler of the target makes. The programs are
//! linked statically, so nothing of the target's system is needed.

use std::path::Path;
use std::process::Command;

use crate::output::say;
use crate::{Failure, debian};

pub(crate) const TARGET: &str = "aarch64-unknown-linux-musl";
/// Runs a program of the target, and the package of Debian that it is in.
const RUNNER: &str = "qemu-aarch64";
const PACKAGE: &str = "qemu-user";
/// Tests whose result may depend on the target. The others read sources or start processes.
const TESTS: [&str; 7] = ["--lib", "--test", "codecs", "--test", "oracle", "--test", "typed"];

/// Cargo, with the linker that comes with the compiler for the target. The C library of the target
/// does, too.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld").current_dir(root);
    command
}

/// Builds the tests and runs them.
///
/// # Errors
///
/// [`Failure`] when the runner or the standard library of the target is missing, or a test fails.
pub(crate) fn run(root: &Path, install: bool) -> Result<(), Failure> {
    debian::find(RUNNER, PACKAGE, install)?;
    let directory = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(root)
        .output()
        .map_err(|error| format!("rustc: {error}"))?
        .stdout;
    let directory = String::from_utf8_lossy(&directory).trim_end().to_owned();
    if !Path::new(&directory).is_dir() {
        return Err(format!("the standard library is missing: rustup target add {TARGET}").into());
    }
    say!("rmi-abi, {TARGET}, {RUNNER}");
    let status = cargo(root)
        .args(["test", "--quiet", "--package", "rmi-abi", "--all-features", "--target", TARGET])
        .args(TESTS)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER", RUNNER)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err("a test failed on the target".into()) }
}
