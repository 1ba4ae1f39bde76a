//! A program that does what Linux does with a GICv3, on two virtual CPUs of the model RMM: probing,
//! redistributors, SGIs between CPUs, the virtual timer, SPIs of a level-triggered device with EOI.
//! With 1 and with 4 list registers, in both modes of EOI, on one thread and on two.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

#[path = "../../examples/shared/cpus.rs"]
mod cpus;
mod device;
mod kernel;
mod vcpu;

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use realm_sdk::abi::rtt::Geometry;
use realm_sdk::abi::{Dialect, Ipa, IpaRange, Pa};
use realm_sdk::builder::{Realm, RealmConfig, RealmStorage, RecStart};
use realm_sdk::host::{Platform, Rmm, SessionOptions};
use realm_sdk::rec::gic::{GicHandler, RealmGic, RecInterface, RunReport};
use realm_sdk::rec::mmio::{MmioBus, MmioDevice};
use realm_sdk::rec::set::{Outcome, RecSlot};
use realm_sdk::rec::{Handler, Rec, RecSet};
use realm_sdk::sro::{CallbackMemory, FixedPool, Pool, open};
use realm_sdk::vgic::{DISTRIBUTOR_BYTES, Gic, GicConfig, GicStorage, REDISTRIBUTOR_BYTES, Saved};
use realm_sdk::vgic::{VirtualInterface, Vtr};
use rmm_model::{Cpu, Model, Options};

use cpus::{CPU, Cpus};
use device::Device;
use kernel::{Counters, Frames, Kernel};

/// Entries that a run on one thread may take: it needs a few thousand.
const ENTRIES: u32 = 100_000;
/// INTIDs 32 to 71: not a multiple of 32.
const SPIS: usize = 40;
/// A run on two threads that takes longer counts as one that has lost an interrupt.
const LOST: Duration = Duration::from_secs(20);

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

/// What the GIC and the bus leave: nothing but the report of each run.
struct Rest;

impl Handler for Rest {
    fn interrupts_saved(&mut self, report: &RunReport) {
        assert_eq!(report.saved, Saved::Used);
    }
}

/// What runs the RECs.
struct Machine<'m, P: Platform> {
    rmm: &'m Rmm<P>,
    model: &'m Model,
    gic: RealmGic<'m>,
    bus: &'m MmioBus<'m, 3>,
    /// A thread has panicked.
    is_broken: AtomicBool,
}

type Vcpu<'m> = GicHandler<'m, RecInterface<Cpu<'m>>, Rest>;

impl<'m, P: Platform> Machine<'m, P> {
    fn vcpu(&self, index: usize) -> Vcpu<'m> {
        let cpu = self.model.cpu(u32::try_from(index).unwrap());
        let interface = RecInterface::new(self.rmm, cpu);
        Vcpu { gic: self.gic, index, interface, bus: self.bus, rest: Rest }
    }

    fn is_over(&self) -> bool {
        self.gic.set().system_end().is_some() || self.is_broken.load(Ordering::SeqCst)
    }

    /// Both RECs in turn on one thread, each on its own CPU, one entry at a time.
    fn run_in_turn(&self) {
        let set = self.gic.set();
        let mut recs = array::from_fn::<_, 2, _>(|index| {
            let mut runner = set.claim(index).unwrap();
            runner.trap_waiting(true, true);
            (runner, self.vcpu(index))
        });
        let mut entries = 0;
        while !self.is_over() {
            let before = entries;
            for (runner, vcpu) in &mut recs {
                if !set.is_ready(vcpu.index) {
                    continue;
                }
                entries += 1;
                CPU.set(u16::try_from(vcpu.index).unwrap());
                let outcome = runner.run_until(self.rmm, vcpu, &mut |entries| entries == 1);
                match outcome.unwrap() {
                    Outcome::Bounded | Outcome::Waiting(_) => {}
                    Outcome::Off { .. } | Outcome::RealmOff(_) => {}
                    other => unreachable!("REC {}: {other:?}", vcpu.index),
                }
            }
            assert_ne!(entries, before, "no REC has an interrupt: {set} {:?}", self.gic);
            assert!(entries < ENTRIES, "no progress");
        }
    }

    /// One REC, on a thread and a CPU of its own.
    fn run_on_thread(&self, index: usize) {
        CPU.set(u16::try_from(index).unwrap());
        let (mut runner, mut vcpu) = (self.gic.set().claim(index).unwrap(), self.vcpu(index));
        runner.trap_waiting(true, true);
        let end = Instant::now() + LOST;
        while !self.is_over() {
            let outcome = runner.run_until(self.rmm, &mut vcpu, &mut |_| Instant::now() > end);
            match outcome.unwrap() {
                Outcome::Waiting(_) | Outcome::Off { .. } => {
                    let is_ready = runner.wait(Some(LOST)) || self.is_over();
                    assert!(is_ready, "no interrupt: {} {:?}", runner.set(), self.gic);
                }
                Outcome::RealmOff(_) | Outcome::Kicked => {}
                other => unreachable!("REC {index}: {other:?}, {} {:?}", runner.set(), self.gic),
            }
        }
    }

    /// Each REC on its own thread; those of the device run as well.
    fn run_on_two_threads(&self, device: &Device<'_>)
    where
        P: Sync,
    {
        thread::scope(|scope| {
            for index in 0..2 {
                scope.spawn(move || {
                    let _end = EndAll(self.gic.set(), &self.is_broken);
                    self.run_on_thread(index);
                });
            }
            for line in 0..kernel::DEVICE_THREADS {
                scope.spawn(move || device.run(line, &|| self.is_over()));
            }
        });
    }
}

/// How the RECs are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Threads {
    /// In turn, on one thread.
    One,
    /// Each on its own thread; those of the device run as well.
    Two,
}

/// Ends the other threads as well when one panics.
struct EndAll<'a>(&'a RecSet<'a>, &'a AtomicBool);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.1.store(true, Ordering::SeqCst);
            self.0.kick_all();
        }
    }
}

/// Boots the kernel, and checks what it counted.
fn boots(dialect: Dialect, list_registers: u8, splits_eoi: bool, threads: Threads) {
    let options = Options::new(dialect).with_vtr(Vtr::of_run_page(list_registers - 1));
    let model = Model::new(options).unwrap();
    let conduit = model.calling_cpu(|| CPU.get().into());
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
    let (cpus, mut slots) = (Cpus(&model), [const { RecSlot::new() }; 2]);
    let mut set = RecSet::new(&mut slots, &cpus);
    for (index, object) in objects.into_iter().enumerate() {
        let rec = Rec::new(object, memory.take_front(0x1000).unwrap(), realm.geometry());
        set.add(rec, index == 0).unwrap();
    }

    let gic_storage = GicStorage::<2, SPIS>::new();
    let affinities: Vec<_> = set.affinities().collect();
    let vtr = RecInterface::new(&rmm, model.cpu(0)).vtr();
    let gic = Gic::new(&gic_storage, &GicConfig { affinities: &affinities, spis: SPIS, vtr });
    let gic = gic.unwrap();
    let gic = RealmGic::new(&gic, &set).unwrap();
    let (distributor, redistributors) = (gic.distributor(), gic.redistributors());
    let device = Device::new(gic);
    let mut bus = MmioBus::<3>::new(realm.geometry());
    let devices: [(Ipa, u64, &dyn MmioDevice); 3] = [
        (frames.distributor, DISTRIBUTOR_BYTES, &distributor),
        (frames.redistributors, 2 * REDISTRIBUTOR_BYTES, &redistributors),
        (frames.device, device::BYTES, &device),
    ];
    for (base, bytes, device) in devices {
        bus.add(IpaRange::with_size(base, bytes).unwrap(), device).unwrap();
    }
    let is_broken = AtomicBool::new(false);
    let machine = Machine { rmm: &rmm, model: &model, gic, bus: &bus, is_broken };
    match threads {
        Threads::One => machine.run_in_turn(),
        Threads::Two => machine.run_on_two_threads(&device),
    }

    for program in programs {
        program.join().unwrap();
    }
    if threads == Threads::One {
        assert_eq!(counters.spurious.load(Ordering::Relaxed), 0, "{counters:?}");
    }
    let ticks = counters.ticks.each_ref().map(|ticks| ticks.load(Ordering::Relaxed));
    assert_eq!(ticks, [3, 0]);
    assert_eq!(device.raised(), 0, "all lines of the device are down");
    let objects: Vec<_> = set.drain().map(|rec| rec.into_parts().0).collect();
    let mut freed = CallbackMemory::freeing(&mut pool, drop);
    assert_eq!(realm.tear_down(&mut freed, objects).error, None);
}

#[test]
fn with_4_list_registers() {
    for dialect in Dialect::ALL {
        boots(dialect, 4, false, Threads::One);
    }
}

#[test]
fn with_1_list_register() {
    for dialect in Dialect::ALL {
        boots(dialect, 1, false, Threads::One);
    }
}

#[test]
fn with_deactivation_apart_from_priority_drop() {
    for (list_registers, dialect) in [1, 2, 4, 16, 3].into_iter().zip(Dialect::ALL) {
        boots(dialect, list_registers, true, Threads::One);
    }
}

#[test]
fn on_two_threads() {
    for (dialect, list_registers, splits_eoi) in [
        (Dialect::V2_0Bet3, 1, false),
        (Dialect::V1_0, 4, false),
        (Dialect::V2_0Bet0, 4, false),
        (Dialect::V2_0Bet1, 1, true),
        (Dialect::TfRmm2026_07, 4, true),
        (Dialect::V1_0, 1, true),
        (Dialect::V2_0Bet3, 4, true),
    ] {
        boots(dialect, list_registers, splits_eoi, Threads::Two);
    }
}
