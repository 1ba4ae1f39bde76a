//! A program that stands in for a host: it checks what the image at EL3 promises, prints the
//! result, and turns the machine off.
//!
//! `cargo xtask qemu-model` runs it before the host.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
#[path = "el2_test/checks.rs"]
mod checks;
#[cfg(target_os = "none")]
#[path = "el2_test/cpu.rs"]
mod cpu;
#[cfg(target_os = "none")]
#[path = "el2_test/uart.rs"]
mod uart;

#[cfg(not(target_os = "none"))]
#[path = "../../shared/output.rs"]
mod output;

#[cfg(not(target_os = "none"))]
fn main() {
    output::say!("This is a program for EL2 in QEMU. `cargo xtask qemu-model` runs it.");
}
