//! The image: what all its CPUs do.
//!
//! One CPU sets up the machine and starts the host at EL2; the others wait until the host turns
//! them on. After that the image runs only in the handler of an exception from EL2, with
//! interrupts masked. The MMU stays off: the image is for a machine without caches.

mod board;
mod console;
mod failure;
mod gic;
mod heap;
mod host_cpu;
mod mmio;
mod power;
mod registers;
mod rmm;
mod start;
mod vectors;

use core::sync::atomic::Ordering;

use model_el3::psci::{Cpus, Outcome, Start};
use model_el3::smccc;
use spin::{Mutex, Once};

use board::MOST_CPUS;
use console::report;
use rmm::Rmm;

static CPUS: Mutex<Option<Cpus<MOST_CPUS>>> = Mutex::new(None);
static RMM: Once<Rmm> = Once::new();

/// Uses the table of CPUs; `None` before there is one.
fn with_cpus<T>(with: impl FnOnce(&mut Cpus<MOST_CPUS>) -> T) -> Option<T> {
    CPUS.lock().as_mut().map(with)
}

/// The number of the CPU that this runs on.
fn this_cpu() -> usize {
    with_cpus(|cpus| cpus.number(registers::mpidr())).flatten().unwrap_or(0)
}

/// What the first CPU does after reset.
fn start_machine() -> ! {
    heap::init();
    let redistributors = gic::init_distributor();
    gic::init_cpu(registers::mpidr());
    let rmm = RMM.call_once(|| Rmm::new().unwrap_or_else(|why| failure::stop(&why)));
    let cpus = CPUS.lock().insert(Cpus::new(redistributors)).count();
    report!("model-el3: {rmm}, CPUs: {cpus}");
    start::OPEN.store(1, Ordering::Release);
    registers::send_event();
    start_host(Start { entry: board::HOST, context: board::DEVICE_TREE })
}

/// What the other CPUs do, and each that was turned off: wait until they are turned on.
fn wait_for_start() -> ! {
    let number = this_cpu();
    loop {
        if let Some(start) = with_cpus(|cpus| cpus.take_start(number)).flatten() {
            start_host(start);
        }
        registers::wait_for_event();
    }
}

/// Starts the host on this CPU.
fn start_host(start: Start) -> ! {
    gic::init_cpu(registers::mpidr());
    registers::open_el2();
    host_cpu::enter(start, this_cpu())
}

/// Answers a call: X0 to X17 before it, and after it.
fn call(x: [u64; 18]) -> [u64; 18] {
    let number = this_cpu();
    let [x0, x1, x2, x3, rest @ ..] = x;
    let with = |x0| {
        let mut after = [0; 18];
        let (first, others) = after.split_at_mut(4);
        first.copy_from_slice(&[x0, x1, x2, x3]);
        others.copy_from_slice(&rest);
        after
    };
    let is_memory = |entry| RMM.get().is_some_and(|rmm| rmm.has_memory_at(entry));
    let power = with_cpus(|cpus| cpus.call(number, [x0, x1, x2, x3], is_memory)).flatten();
    match power {
        Some(Outcome::Return(code)) => with(code),
        Some(Outcome::Started) => {
            registers::send_event();
            with(0)
        }
        Some(Outcome::Off) => wait_for_start(),
        Some(Outcome::SystemOff) => power::off(),
        Some(Outcome::SystemReset) => power::reset(),
        None => match (smccc::call(low_half(x0), x1), RMM.get()) {
            (Some(answer), _) => with(answer),
            (None, Some(rmm)) => rmm.call(number, x),
            (None, None) => with(smccc::NOT_SUPPORTED),
        },
    }
}

/// The lower half of a register.
fn low_half(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
