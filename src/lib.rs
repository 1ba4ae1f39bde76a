//! Run Arm CCA Realms: the Realm Management Interface for hypervisors and VMMs.
#![no_std]
#![forbid(unsafe_code)]

pub use realm_builder as builder;
pub use rec_runtime as rec;
pub use rmi_abi as abi;
pub use rmi_host as host;
pub use sro;
pub use vgic_realm as vgic;
