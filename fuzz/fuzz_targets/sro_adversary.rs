//! Stateful operations whose RMM answers as it pleases: the host comes to an end, and loses nothing.

#![no_main]

#[path = "../../crates/sro/tests/adversary/attack.rs"]
mod attack;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| attack::attack(input));
