//! What `cargo xtask instructions` runs: `instructions <name> <rounds>` does one thing so many
//! times inside of the function `counted`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a program that is measured")]

mod allocations;

use std::env::args;

use realm_sdk_instructions::{Counter, DIALECT, run};
use test_support::Crafted;

/// Everything that is counted runs in this function.
#[inline(never)]
#[expect(unsafe_code, reason = "a name that callgrind is told")]
#[unsafe(no_mangle)]
fn counted(rounds: u32, work: &mut dyn FnMut(u32)) {
    work(rounds);
}

/// Callgrind counts, by the name of the function.
struct Callgrind;

impl Counter for Callgrind {
    fn counted(&self, rounds: u32, work: &mut dyn FnMut(u32)) {
        counted(rounds, work);
    }

    fn allocations(&self) -> u64 {
        allocations::count()
    }
}

fn main() {
    let mut arguments = args().skip(1);
    let (Some(name), Some(rounds), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        panic!("usage: instructions <name> <rounds>")
    };
    let before = allocations::count();
    run(&Crafted::new(DIALECT), &name, rounds.parse().unwrap(), &Callgrind);
    assert!(allocations::count() > before, "allocations are counted");
}
