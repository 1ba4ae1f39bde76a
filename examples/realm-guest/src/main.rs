//! The payload of a Realm: runs the [programs](realm_guest::programs) by real instructions, at EL1.
//!
//! It is for the bare-metal host, and is a flat image for one IPA
//! ([`IMAGE`](realm_guest::layout::IMAGE)):
//!
//! ```sh
//! cargo build --release --package realm-guest --target aarch64-unknown-none
//! ```
//!
//! It has the programs of the library, and calls the RMM by way of the crate `rsi`. A CPU that
//! takes an exception that no program expects, or panics, tells the host so by a verdict
//! ([`EXCEPTION`], [`PANIC`]) and turns the Realm off.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod payload;

/// The step in the verdict of a CPU that took an exception: X1 is `ESR_EL1`, X2 `ELR_EL1`.
///
/// [`VERDICT`](realm_guest::host_call::VERDICT)
pub const EXCEPTION: u64 = 0xe5c;
/// The step in the verdict of a CPU that panicked: X1 is the line in the source.
pub const PANIC: u64 = 0xbad;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("This is the payload of a Realm; build it for aarch64-unknown-none.");
}
