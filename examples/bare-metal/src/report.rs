//! Results of checks, and how they are printed.

use alloc::string::{String, ToString};
use core::fmt;

use realm_sdk::Error;

use crate::machine::Machine;

/// What a check has found: what is to be printed about it, or why it ended early.
pub type Outcome = Result<String, Stop>;

/// Why a check ended early.
#[derive(Debug)]
pub enum Stop {
    /// It does not apply here, for this reason.
    Skipped(String),
    /// Something is wrong.
    Failed(String),
}

impl Stop {
    /// A check that does not apply.
    pub fn skipped(reason: impl ToString) -> Self {
        Self::Skipped(reason.to_string())
    }

    /// A check that failed.
    pub fn failed(what: impl ToString) -> Self {
        Self::Failed(what.to_string())
    }
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::failed(error.into())
    }
}

/// How many checks there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Checks that found everything right.
    pub passed: u32,
    /// Checks that found something wrong.
    pub failed: u32,
    /// Checks that do not apply to this machine or this RMM.
    pub skipped: u32,
}

impl Summary {
    /// Counts the outcome of a run, and prints its line.
    pub(crate) fn print<M: Machine>(&mut self, machine: &M, name: &str, outcome: Outcome) {
        match outcome {
            Ok(detail) => {
                self.passed += 1;
                machine.print(format_args!("pass  {name}: {detail}"));
            }
            Err(Stop::Skipped(reason)) => {
                self.skipped += 1;
                machine.print(format_args!("skip  {name}: {reason}"));
            }
            Err(Stop::Failed(what)) => {
                self.failed += 1;
                machine.print(format_args!("FAIL  {name}: {what}"));
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// A time in ticks, printed in milliseconds.
pub(crate) struct Milliseconds {
    pub(crate) ticks: u64,
    pub(crate) frequency: u32,
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_millisecond = u64::from(self.frequency / 1000).max(1);
        let (whole, rest) = (self.ticks / per_millisecond, self.ticks % per_millisecond);
        write!(f, "{whole}.{} ms", rest * 10 / per_millisecond)
    }
}
