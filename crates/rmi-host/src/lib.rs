//! The one door to the Realm Management Monitor (RMM).
#![no_std]

pub mod access;
pub mod conduit;

pub use access::{AccessFault, HostAccess};
pub use conduit::{Conduit, Registers};
