//! A Realm on the model RMM, from creation to destruction: from a guest image in a file to the last
//! granule that is back with the host.
//!
//! `cargo run --release --example realm_lifecycle -- --help` lists the options.

mod board;
mod cli;
mod console;
mod guest;
mod image;
mod lifecycle;
mod machine;
#[path = "../shared/output.rs"]
mod output;
mod report;

use std::fmt;
use std::process::ExitCode;

use cli::Invocation;
use output::{complain, say};
use realm_sdk::Error;
use realm_sdk::abi::{Command, GranuleSize};
use realm_sdk::builder::BuildError;
use realm_sdk::host::Error as CallError;

/// Why the example ends early, and with which status.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The user asked for something impossible: status 2.
    Input(String),
    /// Something failed that should not: status 1.
    Broken(String),
    /// The SDK returned an error: status 2 where the user's input is the cause, else 1.
    Sdk(realm_sdk::Error),
}

/// For `?` on whatever the SDK returns.
impl<E> From<E> for Failure
where
    realm_sdk::Error: From<E>,
{
    fn from(error: E) -> Self {
        Self::Sdk(error.into())
    }
}

impl Failure {
    /// The failure with a lack of memory in granules, the unit of the option.
    pub(crate) fn in_granules(self, granule: GranuleSize) -> Self {
        let Self::Sdk(Error::Call(error @ CallError::NeedMemory { bytes, .. })) = self else {
            return self;
        };
        let command = error.command().map_or("a command", Command::name);
        let granules = bytes.div_ceil(granule.bytes());
        Self::Input(format!(
            "the pool is too small: {command} needs {granules} granules more (--pool)"
        ))
    }

    /// Whether the user asked for something impossible.
    pub(crate) fn is_input(&self) -> bool {
        match self {
            Self::Input(_) => true,
            Self::Broken(_) => false,
            Self::Sdk(error) => matches!(
                error,
                Error::Config(_)
                    | Error::Geometry(_)
                    | Error::Range(_)
                    | Error::Build(BuildError::Region { .. } | BuildError::Storage { .. })
            ),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(message) | Self::Broken(message) => f.write_str(message),
            Self::Sdk(error) => error.fmt(f),
        }
    }
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
    complain!("error: {failure}");
    ExitCode::from(if failure.is_input() { 2 } else { 1 })
}
