//! Virtual interrupts for Realms.
#![no_std]
#![forbid(unsafe_code)]

pub mod interface;
pub mod list_register;
pub mod set;

pub use interface::VirtualInterface;
pub use list_register::{Intid, ListRegister, State};
pub use set::{Full, ListRegisters, MAX_LIST_REGISTERS};
