//! The checks.

mod discovery;

use alloc::vec;
use alloc::vec::Vec;

use crate::bench::Bench;
use crate::machine::Machine;
use crate::report::Outcome;

/// A check.
pub type Check<'b, M> = fn(&Bench<'b, M>) -> Outcome;

/// All checks with their names, in the order in which they are made.
#[must_use]
pub fn all<'b, M: Machine>() -> Vec<(&'static str, Check<'b, M>)> {
    vec![("discovery", discovery::check)]
}
