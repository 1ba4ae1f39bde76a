//! Conduits to a Realm Management Monitor (RMM) that observe calls, alter them, or make them
//! elsewhere.
//!
//! Every call of a host reaches the RMM through a [`Conduit`](rmi_host::Conduit). The conduits here
//! are for tests, diagnosis and development. A host for hardware needs none of them:
//! `rmi_host::smc::SmcConduit` makes the SMC instruction.
//!
//! | Conduit | What it does with a call |
//! |---|---|
//! | [`counting`] | counts it by command and outcome, with the memory that it moved |
//! | [`tracing`] | prints it, decoded |
//! | [`recording`] | records it, with the memory that it read or wrote |
//! | `replay`, feature `alloc` | answers it from a recording |
//! | [`inject`] | injects faults into it |
//! | `remote`, feature `std` | has another thread make it |
//! | `lines`, feature `std` | has another process make it, over the line protocol |
//!
//! Those that wrap another can be nested in any order:
//!
//! ```
//! use core::cell::RefCell;
//! use rmi_abi::{Command, Dialect};
//! use rmi_conduits::counting::Counting;
//! use rmi_conduits::tracing::{Tracing, WriteSink};
//! use rmi_host::{Discovered, Host, SessionOptions};
//! use rmm_model::{Model, Options};
//!
//! let dialect = Dialect::TfRmm2026_07;
//! let model = Model::new(Options::new(dialect))?;
//! let sink = WriteSink::new(RefCell::new(String::new()));
//! let conduit = Counting::new(Tracing::new(&model, sink, dialect));
//! Discovered::probe(Host::new(&conduit, &model), SessionOptions::default())?;
//!
//! assert_eq!(conduit.counts(Command::Version, dialect).issued, 1);
//! let trace = conduit.inner().sink().get().borrow();
//! assert!(trace.starts_with("RMI_VERSION(req=2.0)"), "{trace}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! All are off by default and additive: `alloc` (replays), `std` (other threads and processes, and
//! sinks behind `std`'s mutex; implies `alloc`), `log` (traces in the `log` crate).
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod atomic_dialect;
pub mod counting;
pub mod inject;
#[cfg(feature = "std")]
pub mod lines;
pub mod recording;
#[cfg(feature = "std")]
pub mod remote;
#[cfg(feature = "alloc")]
pub mod replay;
pub mod tracing;
