//! RECs that run on the model, and the possible answers to their exits.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod accesses;
mod answers;
mod decoding;
mod devices;
mod faults;
mod fixture;
mod hidden;
mod load_store;
mod loops;
mod mmio;
mod names;
mod psci;
mod requests;
mod run_page;
mod timers;
mod waits;
