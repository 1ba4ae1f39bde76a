//! The interface of a host to the Realm Management Monitor (RMM).
//!
//! A session on the model RMM: memory is delegated and undelegated, and a ledger records it:
//!
//! ```
//! use rmi_abi::Dialect;
//! use rmi_host::{CountingLedger, SessionOptions};
//! use rmm_model::{Model, Options};
//! use sro::FixedPool;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // On hardware: `SmcConduit`, a `LinearMap`, and tokens of the host's own memory.
//! let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! let mut memory = model.take_memory();
//!
//! // What the RMM takes for its activation, and later for its objects, comes from a pool.
//! let mut pool = FixedPool::<4>::new();
//! pool.add(memory.take_front(0x8000).expect("1 GiB")).expect("four slots");
//! let ledger = CountingLedger::new();
//! let platform = model.host().with_ledger(&ledger);
//! let rmm = sro::open(platform, SessionOptions::default(), &mut pool)?;
//! assert_eq!(rmm.dialect(), Dialect::TfRmm2026_07);
//!
//! let four_pages = memory.take_front(0x4000).expect("1 GiB");
//! let delegated = rmm.delegate(four_pages)?;
//! assert_eq!(ledger.balance().outstanding(), 4);
//! let back = rmm.undelegate(delegated)?;
//! assert_eq!(back.bytes(), 0x4000);
//! assert_eq!(ledger.balance().outstanding(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! | Module | Contents |
//! |---|---|
//! | [`conduit`] | [`Conduit`], the one unsafe method by which every call is made |
//! | [`access`], [`linear_map`] | the host's view of its own memory |
//! | [`platform`] | what an embedder provides |
//! | [`session`] | discovering, configuring and activating an RMM; [`Rmm`] |
//! | [`granules`], [`delegate`] | memory as tokens; delegating and undelegating it |
//! | [`command`] | typed commands |
//! | [`channel`] | calls in a dialect, stateful operations, the retry budget |
//! | [`error`] | errors |
//! | [`ledger`], [`quarantine`] | records of who owns memory; memory that the RMM does not return |
//!
//! # Conduits
//!
//! Every call reaches the RMM through a [`Conduit`]. On hardware that is `smc::SmcConduit` (feature
//! `smc`, aarch64). The crate `rmi-conduits` has conduits that wrap another: they count calls,
//! print, record, replay or alter them, or have another thread or process make them.
//!
//! # Features
//!
//! All are off by default and additive: `smc` (the SMC instruction, through the `smccc` crate) and
//! `alloc` (ledgers and quarantines of any size).
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access;
pub mod channel;
pub mod command;
pub mod conduit;
pub mod delegate;
pub mod error;
pub mod granules;
pub mod ledger;
pub mod linear_map;
mod open_sessions;
pub mod platform;
pub mod quarantine;
pub mod session;
mod shared;
// Documented on every host.
#[cfg(all(feature = "smc", any(target_arch = "aarch64", doc)))]
pub mod smc;

pub use access::{AccessFault, HostAccess};
pub use channel::{
    Attempts, Channel, Failure, Pending, Progress, Reply, RetryBudget, Want, dropped_operations,
};
pub use command::{
    DelegateFailed, Halted, MapList, Rd, RealmNumber, RecGranule, RecName, SharedMemory,
    UndelegateFailed,
};
pub use conduit::{Conduit, Registers, Simulated};
pub use error::{Error, Failed, Refusal, Subject, Violation};
pub use granules::{
    Delegated, InUse, Machine, PackedBlock, Undelegated, dropped_host_granules, leaked,
};
pub use ledger::{Balance, CountingLedger, Ledger, LedgerEvent, NullLedger, QuarantineReason};
#[cfg(feature = "alloc")]
pub use ledger::{Ownership, OwnershipMap};
pub use lock_api;
pub use open_sessions::OpenSessions;
pub use platform::{
    AnyDialect, DefaultLock, Host, OnlyTfRmm2026_07, OnlyV1_0, OnlyV2_0Bet0, OnlyV2_0Bet1,
    OnlyV2_0Bet3, Platform, ServedDialect,
};
#[cfg(feature = "alloc")]
pub use quarantine::GrowingQuarantine;
pub use quarantine::{CallbackQuarantine, FixedQuarantine, NoQuarantine, Quarantine, Quarantined};
pub use session::{
    CallLimits, Configured, DialectSource, Discovered, HostMode, Rmm, SessionError, SessionOptions,
    TrackingError, TrackingRegion,
};
