//! Arm CCA Realms for virtual machine monitors (VMMs) on Linux.
//!
//! A VMM cannot call the RMM; it asks KVM. The user interface of KVM for Realms has been posted in
//! many generations that differ in capability numbers, types of VMs, structures, memory models, and
//! in how memory is populated. [`generation`] shows them side by side. With this crate, a VMM runs
//! Realms on whichever of these kernels it finds:
//!
//! 1. [`probe`] says which generation a kernel has, and why.
//! 2. [`vm::create`] creates the VM, with an IPA space that the RMM has.
//! 3. [`memory`] is its RAM, [`vgic`] its GIC, [`vcpu`] its vCPUs.
//! 4. [`launch`] populates and activates it, and predicts its measurement.
//! 5. [`vcpu::RealmVcpu::run`] runs a vCPU until an [`exit`];
//!    [`Running::convert`](launch::Running::convert) answers memory faults.
//!
//! All system calls are behind the trait [`Kernel`], and every function takes borrowed descriptors,
//! so it does not matter which crate a VMM has for KVM
//! ([descriptors and lifetimes](#descriptors-and-lifetimes)). `linux::Linux` (on arm64) is the
//! kernel of the machine; `fake::FakeKernel` (feature `fake`) is a strict one for tests, of any
//! generation.
//!
//! What a call failed with is a [`CallError`], which says what the number means in the kernel's
//! generation, what to do, and whether the VM is dead.
//!
//! Pages have 4 KiB.
//!
//! # Features
//!
//! `fake`: the fake kernel. It is off by default.
//!
#![doc = include_str!("../docs/launch_test.md")]
//!
#![doc = include_str!("../docs/hypervisor_trait.md")]
//!
#![doc = include_str!("../docs/threads.md")]

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
pub mod pmu;
pub mod probe;
#[cfg(test)]
mod recorder;
pub mod registers;
pub mod smccc;
pub mod uapi;
pub mod vcpu;
mod vector_lengths;
pub mod vgic;
pub mod vm;

pub use errno::Errno;
pub use error::CallError;
pub use generation::Generation;
pub use host_memory::HostMemory;
pub use kernel::{Kernel, Vcpu};

/// The programs of the README are compiled with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
