//! The one door to the Realm Management Monitor (RMM).
//!
//! # Conduits
//!
//! Everything reaches the RMM through a [`Conduit`]; those that wrap another can be stacked in any order.
//!
//! | Conduit | What it does with a call |
//! |---|---|
//! | `smc::SmcConduit`, feature `smc` | makes it |
//! | [`counting`] | counts it by command and outcome, with the memory that it moved |
//! | [`tracing`] | prints it, decoded |
//! | [`recording`] | writes it down, with the memory that it was about |
//! | `replay`, feature `alloc` | answers it from a recording |
//! | [`inject`] | breaks it |
//! | `remote`, feature `std` | has another thread make it |
//!
//! # Features
//!
//! All are off by default and only add: `smc` (the SMC instruction, through the `smccc` crate), `alloc` (recordings, books and quarantines of any size),
//! `std` (threads; implies `alloc`), `log` (traces in the `log` crate).
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod access;
pub mod channel;
pub mod command;
pub mod conduit;
pub mod counting;
pub mod delegate;
pub mod error;
pub mod granules;
pub mod inject;
pub mod ledger;
pub mod linear_map;
pub mod platform;
pub mod quarantine;
pub mod recording;
#[cfg(feature = "std")]
pub mod remote;
#[cfg(feature = "alloc")]
pub mod replay;
pub mod session;
mod shared;
#[cfg(all(feature = "smc", target_arch = "aarch64"))]
pub mod smc;
pub mod tracing;

pub use access::{AccessFault, HostAccess};
pub use channel::{Channel, Failure, Patience, Pending, Progress, Reply, Want};
pub use command::{Rd, RecGranule, RecName};
pub use conduit::{Conduit, Registers};
pub use delegate::{DelegateFailed, UndelegateFailed};
pub use error::{Error, Failed, Refusal, Subject, Violation};
pub use granules::{Delegated, InUse, Undelegated, leaked};
pub use ledger::{Balance, CountingLedger, Ledger, LedgerEvent, NullLedger};
#[cfg(feature = "alloc")]
pub use ledger::{Ownership, OwnershipMap};
pub use platform::{Host, Platform};
#[cfg(feature = "alloc")]
pub use quarantine::GrowingQuarantine;
pub use quarantine::{
    CallbackQuarantine, NoQuarantine, Quarantine, QuarantineReason, QuarantineShelf, Quarantined,
};
pub use session::{Discovered, Rmm, SessionError, SessionOptions, TrackingError};
