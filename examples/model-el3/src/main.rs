//! The model RMM at EL3 of QEMU's machine `virt`, as an image for its secure flash.
//!
//! `cargo xtask qemu-model` builds it and runs it with the host of `examples/bare-metal`.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod metal;

#[cfg(not(target_os = "none"))]
#[path = "../../shared/output.rs"]
mod output;

#[cfg(not(target_os = "none"))]
fn main() {
    output::say!("This is firmware for QEMU. `cargo xtask qemu-model` builds and runs it.");
}
