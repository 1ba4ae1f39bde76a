//! Sets of RECs on the model: power, threads, kicks and pauses.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod kicks;
mod power;
