//! The one door to the Realm Management Monitor (RMM).
#![no_std]

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
pub mod session;
mod shared;
#[cfg(all(feature = "smc", target_arch = "aarch64"))]
pub mod smc;
pub mod tracing;

pub use access::{AccessFault, HostAccess};
pub use channel::{Channel, Failure, Patience, Pending, Progress, Reply, Want};
pub use command::{Halted, Rd, RecGranule, RecName, SharedMemory};
pub use conduit::{Conduit, Registers};
pub use delegate::{DelegateFailed, UndelegateFailed};
pub use error::{Error, Failed, Refusal, Subject, Violation};
pub use granules::{Delegated, InUse, Undelegated, leaked};
pub use ledger::{Balance, CountingLedger, Ledger, LedgerEvent, NullLedger};
pub use platform::{Host, Platform};
pub use quarantine::{NoQuarantine, Quarantine, QuarantineReason, QuarantineShelf, Quarantined};
pub use session::{Discovered, Rmm, SessionError, SessionOptions, TrackingError};
