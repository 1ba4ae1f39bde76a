//! Sources and RECs on threads of their own: every interrupt arrives, and every kick that is needed
//! is named.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use vgic_realm::{
    Affinity, Bank, Field, Gic, GicStorage, Kicks, Route, SgiRegister, SgiRequest, SpiIntid,
    VirtualInterface,
};

use crate::cpu::Cpu;
use crate::delivery::{gic, vtr};

const RECS: usize = 4;
/// Edge-triggered SPIs: one for each REC, and two for any.
const SPIS: [u32; 6] = [32, 33, 34, 35, 40, 41];
const ROUNDS: u32 = 2000;
/// Long enough for a thread to run on a busy machine.
const LOST: Duration = Duration::from_secs(60);

/// What the threads share.
struct Machine<'g> {
    gic: Gic<'g>,
    threads: [std::sync::OnceLock<Thread>; RECS],
    kicked: [AtomicBool; RECS],
    /// How often each SPI was taken, and each REC's SGI.
    spis: [AtomicU32; SPIS.len()],
    sgis: [AtomicU32; RECS],
    is_over: AtomicBool,
}

impl Machine<'_> {
    fn kick(&self, kicks: &Kicks) {
        for rec in kicks.iter() {
            self.kick_one(rec);
        }
    }

    fn kick_one(&self, rec: usize) {
        self.kicked[rec].store(true, Ordering::SeqCst);
        if let Some(thread) = self.threads[rec].get() {
            thread.unpark();
        }
    }

    /// The thread sleeps until it is kicked.
    fn sleep(&self, rec: usize) {
        while !self.kicked[rec].swap(false, Ordering::SeqCst) {
            thread::park();
        }
    }

    /// The thread of a REC: it runs until it is kicked, or waits until it is kicked.
    fn rec(&self, rec: usize, waits: bool) {
        let _ = self.threads[rec].set(thread::current());
        let mut cpu = Cpu::new(vtr(1));
        while !self.is_over.load(Ordering::SeqCst) {
            self.gic.load(rec, &mut cpu);
            cpu.vmcr = 0xff << 24 | 0b11;
            while let Some((intid, _)) = cpu.acknowledge() {
                cpu.end(intid);
                match SPIS.iter().position(|spi| *spi == intid) {
                    Some(n) => self.spis[n].fetch_add(1, Ordering::SeqCst),
                    None => self.sgis[rec].fetch_add(1, Ordering::SeqCst),
                };
            }
            // A guest in WFI that is not trapped, until an interrupt of the host.
            if !waits && cpu.misr() == 0 {
                self.sleep(rec);
            }
            cpu.exit();
            self.kick(&self.gic.save(rec, &mut cpu).kicks);
            while waits && !self.gic.has_pending(rec) && !self.is_over.load(Ordering::SeqCst) {
                self.sleep(rec);
            }
        }
    }

    /// Waits until something was taken that often.
    fn arrives(&self, taken: &AtomicU32, count: u32, what: &str) {
        let start = Instant::now();
        while taken.load(Ordering::SeqCst) != count {
            assert!(start.elapsed() < LOST, "{what} {count} is lost");
            assert!(taken.load(Ordering::SeqCst) <= count, "{what} {count} is taken twice");
            thread::yield_now();
        }
    }

    /// A source that waits until its interrupt was taken before the next one.
    fn source(&self, n: usize) {
        for round in 1..=ROUNDS {
            self.kick(&self.gic.pulse_spi(SpiIntid::new(SPIS[n]).unwrap()));
            self.arrives(&self.spis[n], round, "SPI");
        }
    }

    fn sender(&self, rec: usize) {
        let request = SgiRequest::from_raw(2 << 24 | 1 << rec);
        for round in 1..=ROUNDS {
            self.kick(&self.gic.send_sgi(0, SgiRegister::Group1, request));
            self.arrives(&self.sgis[rec], round, "SGI");
        }
    }
}

#[test]
fn every_interrupt_from_any_thread_arrives_once() {
    let storage = GicStorage::new();
    let machine = Machine {
        gic: gic(&storage),
        threads: [const { std::sync::OnceLock::new() }; RECS],
        kicked: [const { AtomicBool::new(false) }; RECS],
        spis: [const { AtomicU32::new(0) }; SPIS.len()],
        sgis: [const { AtomicU32::new(0) }; RECS],
        is_over: AtomicBool::new(false),
    };
    for (n, intid) in (0..).zip(SPIS) {
        let _ = machine.gic.set_bits(Bank::Shared, 1, Field::Level, 1 << (intid - 32), false);
        let to = Route::Specific(Affinity::from_mpidr(n));
        let route = if n < RECS as u64 { to } else { Route::Any };
        let _ = machine.gic.set_route(SpiIntid::new(intid).unwrap(), route);
    }
    thread::scope(|scope| {
        for rec in 0..RECS {
            let machine = &machine;
            scope.spawn(move || machine.rec(rec, rec % 2 == 0));
        }
        let machine = &machine;
        let mut work: Vec<_> =
            (0..SPIS.len()).map(|n| scope.spawn(move || machine.source(n))).collect();
        work.extend((0..RECS).map(|rec| scope.spawn(move || machine.sender(rec))));
        let results: Vec<_> = work.into_iter().map(thread::ScopedJoinHandle::join).collect();
        machine.is_over.store(true, Ordering::SeqCst);
        for rec in 0..RECS {
            machine.kick_one(rec);
        }
        assert!(results.iter().all(Result::is_ok));
    });
    let counts = |all: &[AtomicU32]| all.iter().all(|n| n.load(Ordering::SeqCst) == ROUNDS);
    assert!(counts(&machine.spis) && counts(&machine.sgis));
}

/// RECs that write the halves of a route at the same time lose neither.
#[test]
fn halves_of_a_route_are_written_at_the_same_time() {
    let storage = GicStorage::<4, 64>::new();
    let gic = gic(&storage);
    let route = SpiIntid::new(40).unwrap();
    for round in 1..=u64::from(ROUNDS) {
        // Aff3 in the upper half, Aff1 and Aff0 in the lower one.
        let (upper, lower) = (round & 0xff, round & 0xffff);
        let start = std::sync::Barrier::new(2);
        thread::scope(|scope| {
            for (offset, half) in [(0x6140, lower), (0x6144, upper)] {
                let (gic, start) = (&gic, &start);
                scope.spawn(move || {
                    start.wait();
                    let _ = gic.gicd_write(offset, 4, half);
                });
            }
        });
        let expected = Route::from_irouter(upper << 32 | lower);
        assert_eq!(gic.route(route), Some(expected), "round {round}");
    }
}
