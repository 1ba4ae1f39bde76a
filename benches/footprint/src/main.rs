//! Images whose text, stack and panics `cargo xtask budgets` counts: everything that a hypervisor
//! with one kind of Realm calls, from opening a session to closing it, and nothing else.
//!
//! The entry of the image calls each exported function once. Callbacks are parameters of these
//! functions, so no code of an embedder is in the image.
#![cfg_attr(target_os = "none", no_std, no_main)]

mod bare_metal;
#[cfg(feature = "virtual-cpus")]
#[path = "../../shared/cpu.rs"]
mod cpu;
mod entry;

#[cfg(feature = "memory")]
mod memory;
mod realm;
mod session;
#[cfg(feature = "virtual-cpus")]
mod virtual_cpus;
#[cfg(feature = "virtual-gic")]
mod virtual_gic;

#[cfg(feature = "virtual-cpus")]
use realm_sdk::vgic;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("This is an image for aarch64-unknown-none; `cargo xtask budgets` builds it.");
}
