//! A strict, deterministic, in-process model of a Realm Management Monitor (RMM).
#![no_std]

extern crate alloc;

mod answer;
mod gic;
mod granule;
mod guest;
mod measurement;
mod memory;
mod model;
mod monitor;
mod options;
mod realm;
mod rec;
mod rsi;
mod rtt;
mod syndrome;
mod unmodelled;

pub use granule::{Census, GranuleState};
pub use guest::{Action, Guest, GuestCpu, Outcome, Script, SysReg, TimerKind};
pub use model::{Cpu, Model};
pub use options::{GranulesPerCall, Options, OptionsError, TablesPerCall};
