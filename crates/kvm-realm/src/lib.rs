//! Arm CCA Realms for virtual machine monitors (VMMs) on Linux.
//!
//! A VMM cannot call the RMM; it asks KVM. The user interface of KVM for Realms has been posted in
//! many generations that differ in capability numbers, types of VMs, structures, memory models, and
//! in how memory is populated.
//!
//! The system calls are behind the trait [`Kernel`], which takes borrowed descriptors.

pub mod calls;
pub mod errno;
pub mod error;
pub mod exit;
#[cfg(feature = "fake")]
pub mod fake;
pub mod generation;
pub mod host_memory;
pub mod kernel;
pub mod kick;
pub mod launch;
#[cfg(target_arch = "aarch64")]
pub mod linux;
pub mod memory;
pub mod probe;
#[cfg(test)]
mod recorder;
pub mod registers;
pub mod uapi;
pub mod vcpu;
pub mod vgic;
pub mod vm;

pub use errno::Errno;
pub use error::CallError;
pub use generation::Generation;
pub use host_memory::HostMemory;
pub use kernel::{Kernel, Vcpu};
