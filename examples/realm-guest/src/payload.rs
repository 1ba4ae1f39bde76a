//! The payload: one CPU of a Realm at EL1.

mod access;
mod cpu;
mod ends;
mod registers;
mod start;

use core::pin::pin;
use core::task::{Context, Waker};

use rsi::Rsi;
use rsi::smc::SmcConduit;

use cpu::Cpu;

/// A CPU with its stack and the MMU on; `entry` is X0 to X7 as it started.
fn run(conduit: SmcConduit, entry: [u64; 8]) -> ! {
    let Ok(rsi) = Rsi::open(conduit) else { ends::without_rsi(conduit) };
    let mut cpu = Cpu::new(&rsi, entry);
    let program = pin!(realm_guest::programs::start(&mut cpu));
    // All that a program waits for is done when the instruction is.
    let _ = program.poll(&mut Context::from_waker(Waker::noop()));
    ends::halt()
}
