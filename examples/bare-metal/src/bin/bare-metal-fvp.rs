//! The host for Arm FVP Base.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
#[path = "../metal/start.rs"]
mod metal;

/// Where the image is linked, and where the device tree is if firmware does not tell.
#[cfg(target_os = "none")]
mod platform {
    include!(concat!(env!("OUT_DIR"), "/fvp.rs"));
}

#[cfg(not(target_os = "none"))]
fn main() {
    println!("This is a program for EL2: build it with --target aarch64-unknown-none.");
}
