//! A Realm on the model RMM, from creation to destruction: from a guest image in a file to the last
//! granule that is back with the host.
//!
//! `cargo run --release --example realm_lifecycle -- --help` lists the options.

mod board;
mod cli;
mod console;
mod guest;
mod image;
mod life;
mod machine;
#[path = "../shared/output.rs"]
mod output;
mod report;

use std::process::ExitCode;

use cli::Invocation;
use output::{complain, say};

/// Why the example ends early, and with which status.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The user asked for something impossible: status 2.
    Input(String),
    /// Something failed that should not: status 1.
    Broken(String),
}

fn main() -> ExitCode {
    let options = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Run(options)) => options,
        Ok(Invocation::Print(text)) => {
            say!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(message) => return fail(&Failure::Input(message)),
    };
    match machine::run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => fail(&Failure::Broken("the balance is not exact".into())),
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    let (message, status) = match failure {
        Failure::Input(message) => (message, 2),
        Failure::Broken(message) => (message, 1),
    };
    complain!("error: {message}");
    ExitCode::from(status)
}
