//! The command line.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::time::Duration;

use lexopt::prelude::*;
use realm_sdk::abi::Dialect;
use rmm_model::Options as ModelOptions;

/// Help, as `--help` prints it.
const HELP: &str = "\
Runs a Realm with eight virtual CPUs on eight threads, on the model RMM: CPUs
are turned on and off, call each other, use devices, give memory up and share
it, while the host kicks and pauses them.

Usage: multi_vcpu [OPTIONS]

  --seconds N         How long [default: 5]
  --seed N            What the random numbers start with [default: 1]
  --dialect NAME      tf-rmm-2026-07, 2.0-bet3, 2.0-bet1, 2.0-bet0 or 1.0
                      [default: tf-rmm-2026-07]
  --list-registers N  List registers of each CPU, 1 to 16 [default: 4]
  --yield-every N     Every N-th range command yields and has to be continued;
                      not in 1.0
  --busy-every N      Every N-th call is answered RMI_BUSY; not in 1.0
  --help              Print this

Exit status: 0 if nothing was wrong and every granule is back with the host;
1 otherwise; 2 for bad input; 3 if the output cannot be written; 141 if
standard output is closed.";

/// The options of a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
    pub(crate) dialect: Dialect,
    pub(crate) list_registers: u8,
    pub(crate) yield_every: Option<NonZeroU32>,
    pub(crate) busy_every: Option<NonZeroU32>,
}

/// Reads the command line: `None` to print the help. The message says what is wrong.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, String> {
    parse_args(args).map_err(|error| format!("{error}; see --help"))
}

pub(crate) const fn help() -> &'static str {
    HELP
}

fn parse_args(args: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        duration: Duration::from_secs(5),
        seed: 1,
        dialect: Dialect::TfRmm2026_07,
        list_registers: 4,
        yield_every: None,
        busy_every: None,
    };
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("seconds") => options.duration = Duration::from_secs(parser.value()?.parse()?),
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("dialect") => options.dialect = parser.value()?.parse_with(dialect)?,
            Long("list-registers") => options.list_registers = parser.value()?.parse()?,
            Long("yield-every") => options.yield_every = Some(parser.value()?.parse()?),
            Long("busy-every") => options.busy_every = Some(parser.value()?.parse()?),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

/// A dialect; the model plays all of them.
fn dialect(name: &str) -> Result<Dialect, String> {
    name.parse()
        .map_err(|_| format!("the dialects of the model are {}", ModelOptions::dialect_names()))
}
