//! What `cargo xtask instructions` counts, and the bare-metal host: one thing, so many times, on a
//! machine whose RMM only replays an exit.
#![no_std]
#![expect(clippy::unwrap_used, clippy::panic, reason = "what is measured")]
#![expect(clippy::missing_panics_doc, reason = "it panics where the SDK does what it should not")]

#[path = "../../shared/cpu.rs"]
mod cpu;
mod gic;

use core::sync::atomic::{AtomicU64, Ordering};

use rec_runtime::exit::{MmioLoad, MmioStore, PsciNotice};
use rec_runtime::set::{Outcome, PhysicalCpus, RecSlot, Runner};
use rec_runtime::{Answer, Flow, Handler, Kick, Rec, RecSet, RunEnd, Timers};
use rmi_abi::psci::PsciFunction;
use rmi_abi::rtt::Geometry;
use rmi_abi::run::{ExitReason, RecExit};
use rmi_abi::{Dialect, Ipa};
use rmi_host::{Rmm, Undelegated};
use test_support::{Crafted, CraftedHost};
use vgic_realm as vgic;
use vgic_realm::{InterfaceState, Saved, Vtr};

use crate::cpu::Cpu;

/// The dialect of the machine.
pub const DIALECT: Dialect = Dialect::TfRmm2026_07;
/// A device, at an unprotected address.
const DEVICE: Ipa = Ipa::new(0x80_0900_0000);
/// A data abort of a load or store of 4 bytes, with a valid syndrome.
const LOAD: u64 = 0x24 << 26 | 1 << 24 | 2 << 22 | 7;
const STORE: u64 = LOAD | 1 << 6;
/// `CNTV_CTL_EL0`: ENABLE, ISTATUS.
const TIMER_RAISED: u64 = 0b101;

/// 4 list registers, 5 bits of priority and preemption, as QEMU's CPUs have.
const VTR: Vtr = Vtr::from_raw(4 << 29 | 4 << 26 | 3);

/// A host with the least that it has to do at each exit.
struct Board {
    cpu: Cpu,
    interrupts: InterfaceState,
    lines: [bool; 3],
    last: u64,
    left: u32,
}

impl Board {
    /// Leaves the loop at the first exit.
    fn new() -> Self {
        let (cpu, interrupts) = (Cpu::new(VTR), InterfaceState::new(VTR));
        Self { cpu, interrupts, lines: [false; 3], last: 0, left: 1 }
    }
}

/// A handler that leaves the loop after a number of exits.
trait Measured: Handler {
    /// The number of exits that are left.
    fn left(&mut self) -> &mut u32;

    /// What follows an exit.
    fn go_on(&mut self, answer: Answer) -> Flow {
        let left = self.left();
        *left -= 1;
        if *left == 0 { Flow::Stop(answer) } else { Flow::Enter(answer) }
    }
}

impl Measured for Board {
    fn left(&mut self) -> &mut u32 {
        &mut self.left
    }
}

impl Handler for Board {
    fn before_entry(&mut self, _: &Rec) {
        self.interrupts.load(&mut self.cpu);
    }

    fn after_exit(&mut self, timers: Timers, pmu_overflow: bool) {
        // The machine's RMM does not turn the interface off.
        assert_eq!(self.interrupts.save(&mut self.cpu), Saved::Unused);
        let Timers { virtual_timer, physical_timer, .. } = timers;
        self.lines = [virtual_timer.is_raised(), physical_timer.is_raised(), pmu_overflow];
    }

    fn mmio_load(&mut self, load: MmioLoad) -> Flow {
        self.last = load.ipa().raw();
        self.go_on(load.complete(7))
    }

    fn mmio_store(&mut self, store: MmioStore) -> Flow {
        self.last = store.value();
        self.go_on(store.complete())
    }

    fn interrupt(&mut self) -> Flow {
        self.go_on(Answer::resume())
    }

    fn psci_notice(&mut self, _: PsciNotice) -> Flow {
        self.go_on(Answer::resume())
    }

    fn host_call(&mut self, call: rec_runtime::exit::HostCall) -> Flow {
        self.go_on(call.not_supported())
    }
}

/// What is counted; `ceilings.txt` says what each is.
pub const NAMES: [&str; 12] = [
    "mmio-store",
    "mmio-load",
    "irq",
    "psci",
    "host-call",
    "set-mmio-load",
    "set-irq",
    "gic-irq",
    "gic-mmio-load",
    "gic-irq-spi",
    "delegate",
    "undelegate",
];

/// What counts.
pub trait Counter {
    /// Counts what `work` executes; it is called with `rounds`, and does so many.
    fn counted(&self, rounds: u32, work: &mut dyn FnMut(u32));
    /// How often the heap was used.
    fn allocations(&self) -> u64;
}

/// Does one of [`NAMES`] so many times. All that counts is done in [`Counter::counted`].
pub fn run(machine: &Crafted, name: &str, rounds: u32, counter: &dyn Counter) {
    machine.with_rec(|rmm, object, page, rest| match name {
        "delegate" => delegate(rmm, rest, rounds, true, counter),
        "undelegate" => delegate(rmm, rest, rounds, false, counter),
        _ => {
            let (around, name) = match name.split_once('-') {
                Some((around @ ("set" | "gic"), name)) => (Some(around), name),
                _ => (None, name),
            };
            machine.exits_with(&exit(name));
            let rec = Rec::new(object, page, Geometry::new(40).unwrap());
            match around {
                Some("set") => round_trips_in_set(rmm, rec, rounds, counter),
                Some(_) => gic::round_trips(rmm, rec, rounds, name == "irq-spi", counter),
                None => round_trips(rmm, &rec, rounds, counter),
            }
        }
    });
}

/// The record of an exit.
fn exit(name: &str) -> RecExit {
    let mut exit = RecExit::zeros();
    let reason = match name {
        "mmio-load" | "mmio-store" => ExitReason::Sync,
        "irq" | "irq-spi" => ExitReason::Irq,
        "psci" => ExitReason::Psci,
        "host-call" => ExitReason::HostCall,
        _ => panic!("nothing is called {name}"),
    };
    exit.exit_reason = reason.encode(DIALECT).unwrap();
    exit.esr = if name == "mmio-load" { LOAD } else { STORE };
    (exit.far, exit.hpfar) = (DEVICE.raw() & 0xfff, DEVICE.raw() >> 12 << 4);
    // An SPI is pending together with the virtual timer's interrupt.
    exit.cntv_ctl = if name == "irq-spi" { TIMER_RAISED } else { 0 };
    exit.gprs = [u32::from(PsciFunction::CpuSuspend64).into(); 31];
    exit
}

/// Round trips of a REC through the run loop: list registers, entry, exit, handler.
fn round_trips(rmm: &Rmm<CraftedHost<'_>>, rec: &Rec, rounds: u32, counter: &dyn Counter) {
    let mut board = Board::new();
    let kick = Kick::new();
    // What is done once only.
    let Ok(RunEnd::Stopped(answer)) = rec.run(rmm, Answer::resume(), &mut board, &kick) else {
        panic!()
    };
    let mut answer = Some(answer);
    let before = counter.allocations();
    counter.counted(rounds, &mut |rounds| {
        board.left = rounds;
        let end = rec.run(rmm, answer.take().unwrap(), &mut board, &kick);
        assert!(matches!(end, Ok(RunEnd::Stopped(_))));
    });
    assert_eq!(counter.allocations(), before, "the heap is not used");
    assert_eq!(rec.exits(), u64::from(rounds) + 1);
}

/// The only CPU.
struct OneCpu;

impl PhysicalCpus for OneCpu {
    fn current(&self) -> u16 {
        0
    }

    fn interrupt(&self, _: u16) {}
}

/// The same through the run loop of a set, for a handler whose type is not known, with a clock.
fn round_trips_in_set(rmm: &Rmm<CraftedHost<'_>>, rec: Rec, rounds: u32, counter: &dyn Counter) {
    let mut board = Board::new();
    let time = AtomicU64::new(0);
    let clock = || time.fetch_add(1, Ordering::Relaxed);
    let mut slots = [RecSlot::new()];
    let mut set = RecSet::new(&mut slots, &OneCpu);
    set.set_clock(&clock);
    set.add(rec, true).unwrap();
    count_in_set(rmm, &mut set.claim(0).unwrap(), &mut board, rounds, counter);
    assert_eq!(set.statistics(0).unwrap().all_exits(), u64::from(rounds) + 1);
}

/// Runs a REC of a set until the handler leaves the loop, which is not counted, then so many
/// rounds. The run loop does not know the handler's type.
fn count_in_set(
    rmm: &Rmm<CraftedHost<'_>>,
    runner: &mut Runner<'_>,
    handler: &mut impl Measured,
    rounds: u32,
    counter: &dyn Counter,
) {
    let mut run = |handler: &mut dyn Handler| {
        let outcome = runner.run(rmm, handler).unwrap();
        assert!(matches!(outcome, Outcome::Stopped | Outcome::Waiting(_)));
    };
    // What is done once only.
    run(handler);
    *handler.left() = rounds;
    let before = counter.allocations();
    counter.counted(rounds, &mut |_| run(handler));
    assert_eq!(counter.allocations(), before, "the heap is not used");
}

/// Delegates and undelegates a granule, and counts one of the two.
fn delegate(
    rmm: &Rmm<CraftedHost<'_>>,
    mut memory: Undelegated,
    rounds: u32,
    counts_it: bool,
    counter: &dyn Counter,
) {
    let mut memory = memory.take_front(0x1000).unwrap();
    let before = counter.allocations();
    for _ in 0..rounds {
        let mut delegated = None;
        let mut host = Some(memory);
        let mut there = |_: u32| delegated = rmm.delegate(host.take().unwrap()).ok();
        if counts_it {
            counter.counted(1, &mut there)
        } else {
            there(1)
        }
        let mut back = |_: u32| host = rmm.undelegate(delegated.take().unwrap()).ok();
        if counts_it {
            back(1)
        } else {
            counter.counted(1, &mut back)
        }
        memory = host.unwrap();
    }
    assert_eq!(counter.allocations(), before, "the heap is not used");
}
