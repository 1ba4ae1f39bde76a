//! A program that does what Linux does with a GICv3, on two virtual CPUs of the model RMM: probing,
//! redistributors, SGIs between CPUs, the virtual timer, SPIs of a level-triggered device with EOI.
//! With 1 and with 4 list registers, in both modes of EOI, on one thread and on two.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

mod board;
mod kernel;
mod vcpu;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use realm_sdk::abi::rtt::Geometry;
use realm_sdk::abi::{Dialect, Ipa, Pa};
use realm_sdk::builder::{Realm, RealmConfig, RealmStorage, RecStart};
use realm_sdk::host::{Platform, SessionOptions};
use realm_sdk::rec::{Answer, Rec};
use realm_sdk::sro::{CallbackMemory, FixedPool, Pool, open};
use realm_sdk::vgic::{Affinity, Gic, GicConfig, GicStorage, Kicks};
use rmm_model::{Model, Options};

use board::{Board, Next};
use kernel::{Counters, Frames, Kernel};

thread_local! {
    static CPU: Cell<u32> = const { Cell::new(0) };
}

/// Entries that a run may take: it needs a few thousand.
const ENTRIES: u32 = 100_000;
/// INTIDs 32 to 71: not a multiple of 32.
const SPIS: usize = 40;

fn frames(geometry: Geometry) -> Frames {
    let at = |offset| geometry.unprotected_base().checked_add(offset).unwrap();
    Frames {
        distributor: at(0x0800_0000),
        redistributors: at(0x080a_0000),
        device: at(0x0900_0000),
    }
}

/// Starts the kernel's CPUs.
fn kernel(
    model: &Model,
    rd: Pa,
    frames: Frames,
    splits_eoi: bool,
    threads: Threads,
) -> (Arc<Counters>, [JoinHandle<()>; 2]) {
    let counters = Arc::new(Counters::default());
    let programs = [0, 1].map(|number: usize| {
        let counters = Arc::clone(&counters);
        let (program, thread) = vcpu::start(move |vcpu| {
            let kernel = Kernel::new(vcpu, number, frames, splits_eoi, counters);
            if number == 0 { kernel.boot(threads) } else { kernel.idle() }
        });
        model.set_guest(rd, number as u64, Box::new(program));
        thread
    });
    (counters, programs)
}

/// Both RECs in turn on one thread, each on its own CPU.
fn run_in_turn<P: Platform>(board: &Board<'_, P>, model: &Model) {
    let mut answers = [Some(Answer::resume()), Some(Answer::resume())];
    let mut entries = 0;
    while !board.is_over.load(Ordering::SeqCst) {
        let before = entries;
        for (number, answer) in (0..).zip(&mut answers) {
            let rec = number as usize;
            if !board.is_on[rec].load(Ordering::SeqCst) {
                continue;
            }
            // A REC without an answer waits for an interrupt.
            let next = match answer.take() {
                None if !board.gic.has_pending(rec) => continue,
                next => next.unwrap_or_else(Answer::resume),
            };
            entries += 1;
            CPU.set(number);
            *answer = match board.run(rec, &mut model.cpu(number), next, drop) {
                Next::Enter(answer) => Some(answer),
                Next::Wait => None,
                Next::Off => Some(Answer::resume()),
            };
        }
        assert_ne!(
            entries, before,
            "both RECs wait, and neither has an interrupt: {:?}",
            board.gic
        );
        assert!(entries < ENTRIES, "no progress");
    }
}

/// One REC on its own thread and CPU. Kicks interrupt the CPU of the other, or wake its thread.
fn run_on_thread<P: Platform>(
    board: &Board<'_, P>,
    model: &Model,
    number: u32,
    kick: &dyn Fn(Kicks),
) {
    let rec = number as usize;
    CPU.set(number);
    let mut cpu = model.cpu(number);
    let mut answer = Answer::resume();
    let is_over = || board.is_over.load(Ordering::SeqCst);
    // What wakes a thread is checked before it sleeps, so a kick that comes early is not lost.
    let sleep = |until: &dyn Fn() -> bool| {
        while !until() && !is_over() {
            thread::park_timeout(Duration::from_secs(10));
        }
    };
    for _ in 0..ENTRIES {
        sleep(&|| board.is_on[rec].load(Ordering::SeqCst));
        if is_over() {
            return;
        }
        cpu.take_interrupt();
        answer = match board.run(rec, &mut cpu, answer, kick) {
            Next::Enter(answer) => answer,
            Next::Wait => {
                sleep(&|| board.gic.has_pending(rec));
                Answer::resume()
            }
            Next::Off => Answer::resume(),
        };
    }
    unreachable!("no progress");
}

/// How the RECs are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Threads {
    /// In turn, on one thread.
    One,
    /// Each on its own thread; those of the device run as well.
    Two,
}

/// Ends the other thread as well when one panics.
struct EndAll<'a>(&'a AtomicBool, &'a dyn Fn(Kicks));

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        let mut both = Kicks::NONE;
        both.add(0);
        both.add(1);
        self.1(both);
    }
}

fn run_on_two_threads<P: Platform + Sync>(board: &Board<'_, P>, model: &Model) {
    let threads = [const { OnceLock::<Thread>::new() }; 2];
    let kick = |kicks: Kicks| {
        for rec in kicks.iter() {
            model.cpu(u32::try_from(rec).unwrap()).interrupt();
            if let Some(thread) = threads[rec].get() {
                thread.unpark();
            }
        }
    };
    let (kick, threads) = (&kick, &threads);
    thread::scope(|scope| {
        for number in 0..2 {
            scope.spawn(move || {
                threads[number as usize].set(thread::current()).unwrap();
                let _end = EndAll(&board.is_over, kick);
                run_on_thread(board, model, number, kick);
            });
        }
        for line in 0..kernel::DEVICE_THREADS {
            scope.spawn(move || board.run_device(line, kick));
        }
    });
}

/// Boots the kernel, and checks what it counted.
fn boots(dialect: Dialect, list_registers: u8, splits_eoi: bool, threads: Threads) {
    let mut options = Options::new(dialect);
    options.list_registers = list_registers;
    let model = Model::new(options).unwrap();
    let conduit = model.calling_cpu(|| CPU.get());
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(128 << 12).unwrap()).unwrap();
    let rmm = open(conduit.host(), SessionOptions::default(), &mut pool).unwrap();
    let mut storage = RealmStorage::<8, 8>::new();
    let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let objects = [true, false].map(|runnable| {
        let start = RecStart { runnable, pc: Ipa::new(0), gprs: [0; 8] };
        realm.create_rec(&mut pool, &start).unwrap()
    });
    let frames = frames(realm.geometry());
    let (counters, programs) = kernel(&model, realm.rd().pa(), frames, splits_eoi, threads);
    let realm = realm.activate().unwrap();
    let recs = objects.map(|object| {
        let rec = Rec::new(object, memory.take_front(0x1000).unwrap(), realm.geometry());
        rec.trap_waiting(true, true).unwrap();
        rec
    });

    let gic_storage = GicStorage::<2, SPIS>::new();
    let affinities = [0, 1].map(Affinity::from_mpidr);
    let config = GicConfig { affinities: &affinities, spis: SPIS, vtr: model.cpu(0).vtr() };
    let gic = Gic::new(&gic_storage, &config).unwrap();
    let board = Board {
        rmm: &rmm,
        recs: &recs,
        gic: &gic,
        frames,
        raised: AtomicU32::new(0),
        is_started: AtomicBool::new(false),
        ended: AtomicU32::new(0),
        is_on: [AtomicBool::new(true), AtomicBool::new(false)],
        is_over: AtomicBool::new(false),
    };
    match threads {
        Threads::One => run_in_turn(&board, &model),
        Threads::Two => run_on_two_threads(&board, &model),
    }

    for program in programs {
        program.join().unwrap();
    }
    if threads == Threads::One {
        assert_eq!(counters.spurious.load(Ordering::Relaxed), 0, "{counters:?}");
    }
    let ticks = counters.ticks.each_ref().map(|ticks| ticks.load(Ordering::Relaxed));
    assert_eq!(ticks, [3, 0]);
    assert_eq!(board.raised.load(Ordering::SeqCst), 0, "all lines of the device are down");
    let objects = recs.map(|rec| rec.into_parts().0);
    let mut freed = CallbackMemory::freeing(&mut pool, drop);
    assert_eq!(realm.tear_down(&mut freed, objects).error, None);
}

#[test]
fn with_4_list_registers() {
    for dialect in [Dialect::TfRmm2026_07, Dialect::V2_0Bet3] {
        boots(dialect, 4, false, Threads::One);
    }
}

#[test]
fn with_1_list_register() {
    for dialect in [Dialect::TfRmm2026_07, Dialect::V2_0Bet3] {
        boots(dialect, 1, false, Threads::One);
    }
}

#[test]
fn with_deactivation_apart_from_priority_drop() {
    for list_registers in [1, 2, 4, 16] {
        boots(Dialect::V2_0Bet3, list_registers, true, Threads::One);
    }
}

#[test]
fn on_two_threads() {
    for (list_registers, splits_eoi) in [(1, false), (4, false), (1, true), (4, true)] {
        boots(Dialect::V2_0Bet3, list_registers, splits_eoi, Threads::Two);
    }
}
