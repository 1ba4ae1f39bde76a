//! Sets of RECs on the model: power, threads, kicks and pauses.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod alone;
mod fixture;
mod kicks;
mod power;
mod reports;
mod storms;
