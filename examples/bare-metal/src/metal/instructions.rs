//! How many instructions the SDK executes for a round trip of a REC and for a call: what
//! `cargo xtask instructions` counts on x86-64, here on aarch64.
//!
//! It is printed only where the counter counts instructions: in QEMU with `-icount shift=0` each
//! takes a nanosecond. What the machine in the RMM's place does is subtracted, and so is a call to
//! it, which is some ten instructions.
#![expect(unsafe_code, reason = "a loop of a known number of instructions, and a call")]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use realm_sdk::host::Conduit;
use realm_sdk_instructions::{Counter, DIALECT, NAMES, run};
use test_support::Crafted;

use crate::metal::console::print;
use crate::metal::cpu;

/// Rounds of the first count, and as many more of the second.
const ROUNDS: u32 = 100;

/// Counts in ticks, without those of the machine's answers.
struct Ticks<'m> {
    machine: &'m Crafted,
    counted: AtomicU64,
}

impl Ticks<'_> {
    fn count(&self, work: impl FnOnce()) {
        let (began, answers) = (cpu::ticks(), self.machine.time());
        work();
        let all = cpu::ticks().saturating_sub(began);
        let answers = self.machine.time().saturating_sub(answers);
        self.counted.fetch_add(all.saturating_sub(answers), Ordering::Relaxed);
    }
}

impl Counter for Ticks<'_> {
    fn counted(&self, rounds: u32, work: &mut dyn FnMut(u32)) {
        self.count(|| work(rounds));
    }

    fn allocations(&self) -> u64 {
        // Counted on x86-64.
        0
    }
}

/// What `work` takes, in ticks without answers, on a machine of its own.
fn count(work: impl FnOnce(&Crafted, &Ticks<'_>)) -> u64 {
    let machine = Crafted::new(DIALECT);
    machine.has_clock(cpu::ticks);
    let ticks = Ticks { machine: &machine, counted: AtomicU64::new(0) };
    work(&machine, &ticks);
    ticks.counted.into_inner()
}

/// What one of so many rounds takes, if starting and ending take the same with twice as many.
fn each(mut count: impl FnMut(u32) -> u64) -> u64 {
    let (once, twice) = (count(ROUNDS), count(2 * ROUNDS));
    twice.saturating_sub(once) / u64::from(ROUNDS)
}

/// Whether a tick of the counter is an instruction, within a thousandth.
fn ticks_are_instructions() -> bool {
    const LOOPS: u64 = 1_000_000;
    const NANOSECONDS: u64 = 1_000_000_000;
    let began = cpu::ticks();
    // SAFETY: it counts down in a register.
    unsafe {
        asm!(
            "0:",
            "subs {left}, {left}, #1",
            "b.ne 0b",
            left = inout(reg) LOOPS => _,
            options(nomem, nostack),
        );
    }
    let ticks = cpu::ticks().saturating_sub(began);
    let instructions = 2 * LOOPS;
    cpu::frequency() == NANOSECONDS && ticks.abs_diff(instructions) < instructions / 1000
}

/// Prints a line for each figure, if the counter counts instructions.
pub(crate) fn print_figures() {
    if !ticks_are_instructions() {
        return;
    }
    let call = each(|rounds| {
        count(|machine, ticks| {
            ticks.count(|| {
                for _ in 0..rounds {
                    // SAFETY: the machine has its own memory, and does nothing for such a call.
                    let _ = unsafe { machine.call([0; 8]) };
                }
            });
        })
    });
    for name in NAMES {
        let round = each(|rounds| count(|machine, ticks| run(machine, name, rounds, ticks)));
        print(format_args!("{name}: {} instructions\n", round.saturating_sub(call)));
    }
}
