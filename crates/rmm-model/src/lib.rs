//! A strict, deterministic, in-process model of a Realm Management Monitor (RMM).
//!
//! The model is a machine: DRAM, physical CPUs, and an RMM that a host reaches by calls. It keeps a state for every granule, refuses what an
//! RMM refuses, poisons memory that is delegated, measures Realms, and runs their programs ([`Guest`]) against real translation
//! tables. It is judged against TF-RMM, never the other way round: `tests/recordings` holds what that answered.
//!
//! | Part | What it is |
//! |---|---|
//! | [`Model`], [`Cpu`] | the doors: [`Conduit`](rmi_host::Conduit) for calls, [`HostAccess`](rmi_host::HostAccess) for the host's view of memory |
//! | [`Options`] | which RMM it plays: dialect, features, how much one call does, how often it yields, is busy or blocked |
//! | [`Guest`], [`Action`], [`Script`] | what a Realm's virtual CPU does |
//! | [`Census`], [`GranuleState`] | the books, for tests |
//!
//! # Example
//!
//! A host activates the RMM, delegates a granule and finds that it cannot read it any more.
//!
//! ```
//! use rmi_abi::{Command, Dialect, Pa};
//! use rmi_host::{Conduit, HostAccess};
//! use rmm_model::{GranuleState, Model, Options};
//!
//! let dialect = Dialect::TfRmm2026_07;
//! let rmm = Model::new(Options::new(dialect))?;
//! let call = |command: Command, x1: u64, x2: u64| {
//!     let fid = command.fid(dialect).map_or(0, |fid| fid.0.into());
//!     // SAFETY: the model has memory of its own; nothing of this program is at stake.
//!     unsafe { rmm.call([fid, x1, x2, 0, 0, 0, 0, 0]) }
//! };
//!
//! assert_eq!(call(Command::RmmActivate, 0, 0)[0], 0);
//! let granule = 0x8000_0000;
//! let [status, out_top, ..] = call(Command::GranuleRangeDelegate, granule, granule + 0x1000);
//! assert_eq!((status, out_top), (0, granule + 0x1000));
//!
//! assert_eq!(rmm.granule_state(Pa::new(granule)), Some(GranuleState::Delegated));
//! // SAFETY: as above.
//! assert!(unsafe { rmm.read(Pa::new(granule), &mut [0; 8]) }.is_err());
//! # Ok::<(), rmm_model::OptionsError>(())
//! ```
//!
//! # What is modelled
//!
//! The dialects [`TfRmm2026_07`](rmi_abi::Dialect::TfRmm2026_07) and [`V2_0Bet3`](rmi_abi::Dialect::V2_0Bet3), with 4 KiB granules: the commands of
//! the RMM itself, of granules, Realms, RECs, translation tables and stateful operations; of the Realm's side RSI version, features,
//! measurements, configuration, IPA state and host call, and PSCI.
//!
//! # What is not
//!
//! * Devices (`PDEV`, `VDEV`, `PSMMU`, `VSMMU`, `DPT`, device mappings) and planes (`AUX` trees, `RTT_SET_S2AP`). The features say so, and the
//!   commands answer as on an RMM that lacks the feature.
//! * Attestation tokens: the Realm is told that there are none.
//! * Tracking regions are FINE over all of DRAM and stay so; granule protection tables were built by the firmware.
//! * Time: a timer's ISTATUS is what the program says. SVE and PMU state. Stage 1 of the Realm: its addresses are IPAs.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod answer;
mod gic;
mod granule;
mod guest;
mod measurement;
mod memory;
mod model;
mod monitor;
mod options;
pub mod protocol;
mod realm;
mod rec;
mod regions;
mod rsi;
mod rtt;
mod syndrome;
mod unmodelled;

pub use granule::{Census, GranuleState};
pub use guest::{Action, Guest, GuestCpu, Outcome, Script, SysReg, TimerKind};
pub use model::{Cpu, Model};
pub use options::{GranulesPerCall, Options, OptionsError, TablesPerCall};
