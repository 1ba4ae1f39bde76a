//! Every command by its wrapper: the registers that are sent, the errors that are returned, and
//! what a model RMM does.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;
mod devices;
mod done_at_once;
mod fixture;
mod lists;
mod model;
mod one_by_one;
mod one_entry;
mod progress;
mod ranges;
mod registers;
mod session;
mod statuses;
mod table;
