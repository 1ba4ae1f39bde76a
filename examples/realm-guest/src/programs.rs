//! The programs.
//!
//! | Program | Arguments | Steps ([`STEP`](crate::host_call::STEP)) |
//! |---|---|---|
//! | [`Identify`](Program::Identify) | none | |
//! | [`Content`](Program::Content) | X1 and X3 bases, X2 and X4 bytes, X5 stride: every `stride` bytes there is [`word_at`](crate::layout::word_at) | |
//! | [`Touch`](Program::Touch) | X1 base, X2 bytes, X3 stride, X4 number of CPUs: CPU `i` of `n` has every `n`-th word | |
//! | [`Ripas`](Program::Ripas) | X1 base, X2 bytes, in pages | 1: from now on the host rejects changes to RAM; 2: it accepts them again |
//! | [`Share`](Program::Share) | X1 base, X2 bytes, in pages; X3 rounds | 1: X1 is the alias, X2 its bytes: the host compares and inverts the words; 3: the memory is private again |
//! | [`Exits`](Program::Exits) | X1 a page of RAM, X2 ticks of a short wait | 1: the answer is 0x5eed |
//! | [`Timers`](Program::Timers) | X1 ticks, X2 rounds | |
//! | [`Interrupts`](Program::Interrupts) | X1 rounds, X2 number of CPUs, 1 or 2 | |
//! | [`Spin`](Program::Spin) | X1 pages of RAM, one for each CPU | 1: the program ends when the first word of the alias of its page is not zero any more |
//! | [`Power`](Program::Power) | X1 rounds, X2 number of CPUs, X3 a page of RAM | |
//! | [`Token`](Program::Token) | X1 a number, see [`challenge`](token::challenge); X2 pages of RAM, X3 their bytes | |
//! | [`Calls`](Program::Calls) | X1 number of CPUs | |
//! | [`Planes`](Program::Planes) | X1 two pages of RAM | |
//! | [`RoundTrips`](Program::RoundTrips) | X1 how many loads and stores | |
//! | [`InPlane`](Program::InPlane) | X1 a page: inverts its first word into the second one | |

mod calls;
mod content;
mod exits;
mod identify;
mod interrupts;
mod planes;
mod power;
mod realm;
mod ripas;
mod round_trips;
mod share;
mod spin;
mod timers;
pub mod token;
mod touch;

pub use realm::{Failure, Realm};

use crate::entry::{Entry, Program};
use crate::vcpu::Vcpu;

/// Runs the program of a virtual CPU, again whenever another one has turned it on, until the Realm
/// is off. A CPU whose X0 names no program turns itself off.
pub async fn start<V: Vcpu>(cpu: &mut V) {
    loop {
        let Some(entry) = Entry::from_registers(cpu.entry()) else {
            cpu.cpu_off().await;
            continue;
        };
        let mut realm = Realm::new(cpu, entry);
        let result = run(&mut realm).await;
        realm.end(result).await;
    }
}

async fn run<V: Vcpu>(realm: &mut Realm<'_, V>) -> Result<(), Failure> {
    match realm.entry().program {
        Program::Identify => identify::run(realm).await,
        Program::Content => content::run(realm).await,
        Program::Touch => touch::run(realm).await,
        Program::Ripas => ripas::run(realm).await,
        Program::Share => share::run(realm).await,
        Program::Exits => exits::run(realm).await,
        Program::Timers => timers::run(realm).await,
        Program::Interrupts => interrupts::run(realm).await,
        Program::Spin => spin::run(realm).await,
        Program::Power => power::run(realm).await,
        Program::Token => token::run(realm).await,
        Program::Calls => calls::run(realm).await,
        Program::Planes => planes::run(realm).await,
        Program::RoundTrips => round_trips::run(realm).await,
        Program::InPlane => planes::run_inside(realm).await,
    }
}
