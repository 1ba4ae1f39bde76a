//! Virtual interrupts for Realms: list registers that an RMM accepts.
//!
//! In RMI 2.0 the host loads the list registers of the virtual GIC into the CPU before it enters a REC, and reads them back afterwards. The RMM refuses the entry if one of them stands for a physical
//! interrupt or two of them for the same virtual one. A [`ListRegisters`] can hold neither. On the model RMM:
//!
//! ```
//! use rmi_abi::Dialect;
//! use rmm_model::{Cpu, Model, Options};
//! use vgic_realm::{Intid, ListRegisters, State, VirtualInterface};
//!
//! /// The registers of a physical CPU; on hardware, `ICH_LR<n>_EL2` and `ICH_HCR_EL2`.
//! struct Interface<'m>(Cpu<'m>);
//!
//! impl VirtualInterface for Interface<'_> {
//!     fn list_register(&self, n: usize) -> u64 {
//!         self.0.list_register(n)
//!     }
//!     fn set_list_register(&mut self, n: usize, value: u64) {
//!         self.0.set_list_register(n, value);
//!     }
//!     fn hcr(&self) -> u64 {
//!         self.0.hcr()
//!     }
//!     fn set_hcr(&mut self, value: u64) {
//!         self.0.set_hcr(value);
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! let mut cpu = Interface(model.cpu(0));
//!
//! let mut interrupts = ListRegisters::new(Cpu::LIST_REGISTERS);
//! interrupts.set_pending(Intid::VIRTUAL_TIMER, 0x80)?;
//! interrupts.set_pending(Intid::VIRTUAL_TIMER, 0x80)?;
//! interrupts.load(&mut cpu);
//! // … the REC runs …
//! interrupts.save(&cpu);
//! assert_eq!(interrupts.get(Intid::VIRTUAL_TIMER).map(|register| register.state()), Some(State::Pending));
//! # Ok(())
//! # }
//! ```
#![no_std]
#![forbid(unsafe_code)]

pub mod interface;
pub mod list_register;
pub mod set;

pub use interface::VirtualInterface;
pub use list_register::{Intid, ListRegister, State};
pub use set::{Full, ListRegisters, MAX_LIST_REGISTERS};
