//! An unmodified Linux in a Realm.
//!
//! The Realm has virtual CPUs on one physical CPU or on several, a GICv3, the architectural timers,
//! PSCI, and a PL011 as its console. Kernel and initial RAM file system are files that are in
//! memory ([`Archive`]); the device tree is made here. All other RAM gets memory where the guest
//! touches it. What the guest makes EMPTY is shared with the host from then on, as Linux does with
//! its bounce buffers, and is private again when it makes it RAM and touches it.
//!
//! | Module | Contents |
//! |---|---|
//! | [`options`] | the files, and how the guest is run |
//! | [`layout`] | where everything is in the IPA space |
//! | [`device_tree`] | the device tree of the guest |
//!
//! [`Archive`]: crate::archive::Archive

mod comparison;
mod console;
mod cpus;
pub mod device_tree;
mod guest;
pub mod layout;
pub mod options;
mod run;
mod schedule;
mod vcpu;

pub use options::{Files, Options};
pub use run::run;

pub(crate) use comparison::Comparison;
pub(crate) use cpus::Placement;
pub(crate) use schedule::ticks_of;
pub(crate) use vcpu::{Counters, Vcpu};
