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
//! | [`protocol`] | the model as a process, for hosts in any language |
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
//! * Granule sizes other than 4 KiB, and other sizes of tracking regions in the configuration. Tracking regions are FINE, and granule
//!   protection tables built by the firmware, unless [`Options`] say otherwise.
//! * Time: a timer's ISTATUS is what the program says. SVE and PMU state. Stage 1 of the Realm: its addresses are IPAs.
//!
//! # Where TF-RMM differs
//!
//! Two million lines of random calls, sent to both, found no difference but these; `tests/recordings` holds what they found before.
//!
//! * The model poisons memory that is delegated and zeroes what comes back; TF-RMM leaves the old content in delegated memory, and
//!   writes to memory that a `RMI_RTT_DATA_MAP` or `RMI_RTT_DATA_MAP_INIT` then refuses.
//! * Of `sve_vl` of a Realm's parameters TF-RMM measures 32 bits, the model 8.
//! * TF-RMM takes bit 32 of the output address of mapped host memory for a mark of its own: an unmap in the same table clears it, and
//!   the RMM may crash afterwards. The model does not.
//! * An interrupt that arrives during an unmap: TF-RMM, built to look for one, stops half way, and entries that await cleaning answer
//!   `RMI_BUSY`. The model yields before it starts ([`Options::yield_every`]), and has no such entries.
//! * The GIC's description in `RsiRealmConfig` is that of the model's machine; timers are a program's own.
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
