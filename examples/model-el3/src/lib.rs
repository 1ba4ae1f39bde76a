//! The model RMM as the firmware of QEMU's machine `virt`: what of it does not reach the hardware.
//!
//! The image (`src/main.rs`) runs at EL3 of `-M virt,secure=on,virtualization=on,gic-version=3`.
//! It starts a host at non-secure EL2, answers its PSCI calls ([`psci`]) and those to the SMC
//! calling convention ([`smccc`]), and passes all others to the model.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod fw_cfg;
pub mod psci;
pub mod smccc;
