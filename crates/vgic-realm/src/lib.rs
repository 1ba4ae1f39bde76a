//! Virtual interrupts for Realms: a virtual GIC, the state of a virtual CPU interface that belongs
//! to a REC, and list registers that an RMM accepts.
//!
//! # A virtual GIC
//!
//! [`Gic`] is a complete virtual GIC for a hypervisor that has none: the interrupts of a Realm,
//! their sources, the registers that the Realm accesses, and list registers around each entry. It
//! returns which RECs have to be kicked, and kicks none itself.
//!
//! ```
//! use rmi_abi::Dialect;
//! use rmm_model::{Model, Options};
//! use vgic_realm::{Affinity, Gic, GicConfig, GicStorage, Kicks, PpiIntid, SpiIntid};
//!
//! // For two RECs and 64 SPIs.
//! static STORAGE: GicStorage<2, 64> = GicStorage::new();
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! // The registers of the calling CPU; on hardware a `HardwareInterface`.
//! let mut cpu = model.cpu(0);
//!
//! let affinities = [0, 1].map(Affinity::from_mpidr);
//! let config = GicConfig { affinities: &affinities, spis: 64, vtr: cpu.vtr() };
//! let gic = Gic::new(&STORAGE, &config)?;
//! let kick = |kicks: Kicks| kicks.iter().for_each(|rec| println!("kick REC {rec}"));
//!
//! // From any thread: the line of a device goes up.
//! if let Some(uart) = SpiIntid::new(33) {
//!     kick(gic.set_spi(uart, true));
//! }
//! // In the loop of REC 0, with interrupts masked:
//! gic.load(0, &mut cpu);
//! // … the REC runs, on this CPU …
//! let report = gic.save(0, &mut cpu);
//! kick(report.kicks);
//! // What the exit reports of the REC's timers:
//! kick(gic.set_ppi(0, PpiIntid::VIRTUAL_TIMER, true));
//! if !gic.has_pending(0) {
//!     // A thread whose REC waits for an interrupt sleeps until it is kicked.
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # List registers alone
//!
//! In RMI 2.0 the host owns the registers of the virtual CPU interface: list registers,
//! `ICH_HCR_EL2`, `ICH_VMCR_EL2` and the active priorities. The host loads those of a REC into the
//! CPU before it enters the REC, and saves them afterwards: [`InterfaceState`]. The RMM refuses the
//! entry if a list register represents a physical interrupt, or if two of them represent the same
//! virtual one. A [`ListRegisters`] can contain neither. On the model RMM:
//!
//! ```
//! use rmi_abi::Dialect;
//! use rmm_model::{Model, Options};
//! use vgic_realm::{InterfaceState, Intid, Saved, State};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! // The registers of the calling CPU; on hardware, `ICH_*_EL2`.
//! let mut cpu = model.cpu(0);
//!
//! let mut state = InterfaceState::new(cpu.vtr());
//! state.list_registers_mut().set_pending(Intid::VIRTUAL_TIMER, 0x80)?;
//! state.list_registers_mut().set_pending(Intid::VIRTUAL_TIMER, 0x80)?;
//! state.load(&mut cpu);
//! // … the REC runs, on this CPU …
//! let saved = state.save(&mut cpu);
//! # assert_eq!(saved, Saved::Unused);
//! let timer = state.list_registers().get(Intid::VIRTUAL_TIMER);
//! assert_eq!(timer.map(|register| register.state()), Some(State::Pending));
//! # Ok(())
//! # }
//! ```
//!
//! # Modules and features
//!
//! | Module | Contents |
//! |---|---|
//! | | [`Gic`], [`GicStorage`], [`Kicks`], [`Affinity`]: all interrupts of a Realm, loaded into list registers |
//! | | [`RunPage`]: the registers in the run page of RMI 1.0 |
//! | | [`ListRegisters`]: the interrupts of a REC |
//! | `hardware` | `HardwareInterface`: the registers of the calling CPU (feature `hardware`, aarch64) |
//! | [`interface`] | [`VirtualInterface`]: the registers of a CPU, a trait; [`Vtr`]: their number |
//! | [`state`] | [`InterfaceState`]: what belongs to a REC, loaded and saved with it |
//! | [`list_register`] | [`ListRegister`]: one interrupt |
//! | [`sgi`] | [`SgiRequest`]: what a write of `ICC_SGI1R_EL1` asks for |
//!
//! Features, all off by default: `hardware`, and `alloc` for the storage of a GIC on the heap.
//!
//! The registers of the distributor and of the redistributors, and those of the CPU interface that
//! trap, are [functions of the `Gic`](Gic#registers). There is no ITS.
//!
//! A table in the documentation of `rec-runtime` lists what other state of a CPU a host has to
//! handle when it enters a REC.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

mod affinity;
mod cpu_interface;
mod gic;
#[cfg(all(feature = "hardware", any(target_arch = "aarch64", doc)))]
pub mod hardware;
mod hardware_error;
pub mod interface;
mod intid;
mod kicks;
pub mod list_register;
mod register_file;
mod register_map;
mod run_page;
mod set;
pub mod sgi;
pub mod state;

pub use affinity::Affinity;
#[cfg(feature = "alloc")]
pub use gic::OwnedGicStorage;
pub use gic::{
    Bank, EndedInterrupts, Field, Gic, GicConfig, GicConfigError, GicStorage, Route, SaveReport,
    Storage,
};
#[cfg(all(feature = "hardware", any(target_arch = "aarch64", doc)))]
pub use hardware::HardwareInterface;
pub use hardware_error::HardwareError;
pub use interface::{VirtualInterface, Vtr};
pub use intid::{MAX_SPIS, PpiIntid, SpiIntid};
pub use kicks::{Kicks, MAX_RECS};
pub use list_register::{Intid, ListRegister, State};
pub use register_file::{DISTRIBUTOR_BYTES, REDISTRIBUTOR_BYTES};
pub use run_page::RunPage;
pub use set::{Full, ListRegisters, MAX_LIST_REGISTERS};
pub use sgi::{SgiRegister, SgiRequest};
pub use state::{InterfaceState, Saved};
