//! The other CPUs: started by PSCI, each with a stack of its own; and work for them.
#![expect(unsafe_code, reason = "starting CPUs, and giving them work that borrows")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use aarch64_rt::{Stack, start_core};
use bare_metal::board::{Board, sgi_target_list};
use bare_metal::startup::Startup;
use smccc::{Smc, psci};
use spin::Once;
use spin::mutex::SpinMutex;

use crate::metal::stacks::{self, Stacks};
use crate::metal::{console, cpu, gic, mmu, power};

/// What a CPU is given to do: a function of its number.
type Work = dyn Fn(u16) + Sync;

/// CPUs that run, by number; the first is that which started.
static CPUS: Once<Vec<Cpu>> = Once::new();

/// CPUs that have not finished their work.
static BUSY: AtomicU32 = AtomicU32::new(0);

/// A CPU of this program.
struct Cpu {
    affinity: u64,
    /// The page below its stack.
    guard: usize,
    work: SpinMutex<Option<Job>>,
}

/// Work that [`on_cpus`] waits for.
struct Job(*const Work);

// SAFETY: it is a shared reference to something `Sync` in disguise.
unsafe impl Send for Job {}

/// How long a CPU may take to start, in seconds.
const SECONDS: u64 = 10;

/// Starts all CPUs of the board, each on one of these stacks, and returns when all that start run.
/// Those that do not are named on the console and left out.
///
/// # Safety
///
/// As [`gic::set_up_cpu`]; called once.
pub(crate) unsafe fn start_all(board: &'static Board, stacks: Stacks) {
    let here = cpu::affinity();
    if sgi_target_list(here).is_none() {
        power::stop(format_args!("SGIs do not reach the first CPU, with affinity {here:#x}"));
    }
    let idle = |affinity, guard| Cpu { affinity, guard, work: SpinMutex::new(None) };
    let mut started = Vec::from([idle(here, stacks::first_guard().start)]);
    let others = board.cpus.iter().copied().filter(|affinity| *affinity != here);
    for (affinity, stack) in others.zip(stacks) {
        let guard = stacks::guard(&stack).start;
        match start(board, affinity, number(started.len()), stacks::leak(stack)) {
            Ok(()) => started.push(idle(affinity, guard)),
            Err(error) => {
                console::print(format_args!("CPU with affinity {affinity:#x}: {error}\n"));
            }
        }
    }
    CPUS.call_once(|| started);
    // They wait for it.
    cpu::synchronize();
    for index in 1..count() {
        interrupt(index);
    }
}

/// Starts a CPU and waits until it runs.
fn start(
    board: &'static Board,
    affinity: u64,
    index: u16,
    stack: *mut Stack<{ stacks::PAGES }>,
) -> Result<(), &'static str> {
    if sgi_target_list(affinity).is_none() {
        return Err("SGIs do not reach it");
    }
    let startup: &'static Startup = Box::leak(Box::new(Startup::new()));
    let entry = move || main(board, index, startup);
    // SAFETY: the stack is never freed, nothing else knows it, and it is mapped by all tables with
    // the same attributes.
    let started = unsafe { start_core::<Smc, _, { stacks::PAGES }>(affinity, stack, entry) };
    started.map_err(|error| match error {
        psci::Error::AlreadyOn => "it is on already",
        psci::Error::NotPresent => "it is not present",
        _ => "PSCI CPU_ON refuses",
    })?;
    let deadline = cpu::ticks().saturating_add(SECONDS.saturating_mul(cpu::frequency()));
    while !startup.has_arrived() {
        if cpu::ticks() > deadline {
            return if startup.give_up() { Err("it does not start in time") } else { Ok(()) };
        }
        core::hint::spin_loop();
    }
    Ok(())
}

/// What a CPU does that was started: work that it is given, for ever.
fn main(board: &Board, index: u16, startup: &Startup) {
    cpu::set_index(index);
    mmu::activate();
    cpu::report_errors();
    // SAFETY: by the promise of the caller of `start_all`.
    if let Err(error) = unsafe { gic::set_up_cpu(board) } {
        console::print(format_args!("CPU {index}: {error}\n"));
        cpu::stop();
    }
    if !startup.arrive() {
        // Another CPU may have its number.
        power::off_cpu();
    }
    loop {
        cpu::take_interrupts();
        let job = CPUS.get().and_then(|cpus| cpus.get(usize::from(index))?.work.lock().take());
        let Some(Job(work)) = job else {
            // A kick after this is pending, and ends the wait.
            cpu::wait_for_interrupt();
            continue;
        };
        // SAFETY: `on_cpus` keeps the reference alive until this CPU is not busy any more.
        unsafe { (*work)(index) };
        BUSY.fetch_sub(1, Ordering::Release);
        interrupt(0);
    }
}

fn number(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// How many CPUs run.
pub(crate) fn count() -> u16 {
    CPUS.get().map_or(1, |cpus| number(cpus.len()))
}

/// The page below the stack of a CPU.
pub(crate) fn guard(index: u16) -> Option<usize> {
    CPUS.get()?.get(usize::from(index)).map(|cpu| cpu.guard)
}

/// Sends a kick to a CPU.
pub(crate) fn interrupt(index: u16) {
    let cpus = CPUS.get().map_or(&[][..], Vec::as_slice);
    if let Some(cpu) = cpus.get(usize::from(index)) {
        gic::kick(cpu.affinity);
    }
}

/// Calls `work` with the numbers of the first `count` CPUs, on each of them at once; returns when
/// all calls have returned. Called on the first CPU, and not by `work`.
pub(crate) fn on_cpus<'w>(count: u16, work: &'w (dyn Fn(u16) + Sync + 'w)) {
    let work: *const (dyn Fn(u16) + Sync + 'w) = work;
    // SAFETY: only the lifetime changes. No CPU keeps the pointer longer than it is busy, and this
    // function returns when none is; nothing in it panics without ending the program.
    let work: *const Work = unsafe { core::mem::transmute(work) };
    let cpus = CPUS.get().map_or(&[][..], Vec::as_slice);
    for cpu in cpus.iter().take(usize::from(count)).skip(1) {
        BUSY.fetch_add(1, Ordering::Relaxed);
        *cpu.work.lock() = Some(Job(work));
        gic::kick(cpu.affinity);
    }
    // SAFETY: it is the reference that the caller gave.
    unsafe { (*work)(0) };
    while BUSY.load(Ordering::Acquire) != 0 {
        cpu::wait_for_interrupt();
        cpu::take_interrupts();
    }
}
