//! A small VMM: boots Linux in a Realm, on whichever kernel it finds, or in an ordinary VM.
//!
//! It is for arm64; `cargo xtask kvm-realm-boot` builds it, without a C library of the target.
//! Elsewhere it runs on a fake kernel alone (`--fake`).
//!
//! Standard input is the guest's console input. A terminal is raw meanwhile: Ctrl-A and x end the
//! VM, Ctrl-A twice is Ctrl-A for the guest.

#[path = "../../../../examples/shared/output.rs"]
mod output;

mod console;
mod demonstration;
mod guest;
mod host_memory;
mod input;
mod machine;
mod options;
mod poll;
mod power;
mod report;
mod run;
mod signal;
mod terminal;

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use console::Terminal;
use options::{Failure, Files, Options};
use output::{complain, say};
use report::Report;
use terminal::RawTerminal;

/// The status when no Realm can run here.
const NO_KVM: u8 = 2;

fn main() -> ExitCode {
    let options = match Options::parse(lexopt::Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            say!("{}", options::USAGE.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            complain!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match options.read().and_then(|files| boot(&options, &files)) {
        Ok(Some(report)) => {
            report.lines().iter().for_each(|line| say!("{line}"));
            if report.is_orderly() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(None) => ExitCode::from(NO_KVM),
        Err(error) => {
            complain!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what the guest writes.
fn print(letters: &str) {
    let mut output = std::io::stdout().lock();
    // Without an output, the guest runs on.
    let _ = output.write_all(letters.as_bytes()).and_then(|()| output.flush());
}

/// Boots the guest; `None` if there is no KVM.
fn boot(options: &Options, files: &Files) -> Result<Option<Report>, Failure> {
    let input = std::io::stdin();
    // Until the guest has ended.
    let raw = RawTerminal::new(input.as_fd());
    let is_interactive = raw.is_some();
    let terminal = Terminal { text: &print, input: Some(input.as_fd()), is_interactive };
    if let Some(name) = &options.fake {
        let kernel = demonstration::kernel(name, options.is_plain)?;
        return machine::boot(&kernel, options, files, terminal).map(Some);
    }
    boot_on_linux(options, files, terminal)
}

#[cfg(target_arch = "aarch64")]
fn boot_on_linux(
    options: &Options,
    files: &Files,
    terminal: Terminal<'_>,
) -> Result<Option<Report>, Failure> {
    match kvm_realm::linux::Linux::open() {
        Ok(kernel) => machine::boot(&kernel, options, files, terminal).map(Some),
        Err(errno) => {
            complain!("error: /dev/kvm cannot be opened: {errno}");
            Ok(None)
        }
    }
}

#[cfg(not(target_arch = "aarch64"))]
fn boot_on_linux(_: &Options, _: &Files, _: Terminal<'_>) -> Result<Option<Report>, Failure> {
    complain!("error: KVM runs realms on arm64 only; --fake runs anywhere");
    Ok(None)
}
