//! How the model behaves, seen only through calls and memory access.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod default_guest;
mod faults;
mod functions;
mod granules;
mod guest;
mod host;
mod interrupts;
mod lifecycle;
mod memory;
mod on_demand;
mod operations;
mod planes;
mod ranges;
mod real_cpu;
mod region_changes;
mod regions;
mod rmi_1_0;
mod rsi;
mod several_cpus;
mod statuses;
mod switches;
mod tables;
mod time;
mod token;
mod verifier;
mod yields;
