//! Stateful operations with an RMM that answers arbitrarily: the host terminates, and loses no
//! memory.

#![no_main]

#[path = "../../crates/sro/tests/adversary/attack.rs"]
mod attack;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| attack::attack(input));
