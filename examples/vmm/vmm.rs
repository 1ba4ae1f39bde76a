//! The VMM: builds a Realm, runs its virtual CPUs on threads, and tears it down.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use realm_sdk::Error;
use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::{Active, Content, Realm, RealmConfig, RecStart, Records, Region};
use realm_sdk::host::{Platform, Rmm};
use realm_sdk::rec::gic::{GicHandler, RealmGic, RecInterface};
use realm_sdk::rec::mmio::{MmioBus, MmioDevice, PL011_SIZE, Pl011};
use realm_sdk::rec::set::{Outcome, SystemEnd};
use realm_sdk::rec::{Rec, RecSet};
use realm_sdk::sro::HostAllocator;
use realm_sdk::vgic::{Gic, GicConfig, GicStorage, VirtualInterface};
use rmm_model::{AsyncGuest, Model};

use crate::cpus::{CPU, Cpus};
use crate::devices::{self, Console, Disk};
use crate::guest::Program;
use crate::memory::{Frames, STOCK, ThreadMemory};
use crate::output::{complain, say};
use crate::vcpu::Vcpu;

/// Virtual CPUs.
pub(crate) const VCPUS: usize = 4;
/// Where the image is, and where the virtual CPUs start.
const IMAGE: Ipa = Ipa::new(0x4000_0000);
/// The image: the guest of the model does not execute it, but it is measured.
const IMAGE_CONTENT: [u8; 0x4000] = [0x1f; 0x4000];

/// The frequency of the counter; on hardware, `CNTFRQ_EL0`.
const FREQUENCY: NonZeroU32 = NonZeroU32::new(1_000_000_000).unwrap();
/// The longest wait of a virtual CPU whose deadline the VMM may not be told (WFIT on TF-RMM).
const LONGEST_WAIT: Duration = Duration::from_millis(10);

/// RAM that gets memory where the Realm touches it.
pub(crate) fn ram() -> IpaRange {
    IpaRange::with_size_or_empty(Ipa::new(0x4020_0000), 14 << 20)
}

/// The part of it that the Realm shares with the VMM.
pub(crate) fn buffer() -> IpaRange {
    IpaRange::with_size_or_empty(ram().base(), 0x4000)
}

/// A Realm with its virtual CPUs.
pub(crate) struct Vmm<'r, P: Platform> {
    realm: Realm<'r, P, Active>,
    vcpus: RecSet<'r>,
    model: &'r Model,
}

impl<'r, P: Platform> Vmm<'r, P> {
    /// Creates the Realm, populates it, and creates its RECs.
    pub(crate) fn build(
        rmm: &'r Rmm<P>,
        cpus: &'r Cpus<'r>,
        storage: Records<'r>,
        memory: &mut ThreadMemory<'_>,
        is_first: bool,
    ) -> Result<Self, Error> {
        let model = cpus.0;
        let mut realm = Realm::create(rmm, &RealmConfig::new(40), storage, memory)?;
        let frames = memory.allocator();
        let take = |bytes| frames.allocate(bytes, 0x1000).unwrap_or_default();
        let mut regions = [
            Region::new(IMAGE, take(0x4000), Content::Measured(&IMAGE_CONTENT)),
            Region::without_memory(ram().base(), ram().bytes()),
        ];
        realm.populate(memory, &mut regions)?;
        let (geometry, console) = (realm.geometry(), Arc::new(AtomicBool::new(false)));
        let mut vcpus = RecSet::with_capacity(VCPUS, cpus);
        for number in 0..VCPUS {
            let start = RecStart { runnable: number == 0, pc: IMAGE, gprs: [0; 8] };
            let rec = Rec::new(realm.create_rec(memory, &start)?, take(0x1000), geometry);
            vcpus.add(rec, start.runnable)?;
            let console = Arc::clone(&console);
            let program = AsyncGuest::new(move |cpu| async move {
                let program = Program { cpu, number, geometry, console };
                if program.run(is_first).await.is_err() {
                    complain!("cpu {number} of the Realm has aborted");
                }
            });
            model.set_guest(realm.rd().pa(), number as u64, Box::new(program));
        }
        Ok(Self { realm: realm.activate()?, vcpus, model })
    }

    /// The Realm Initial Measurement, as hex digits.
    pub(crate) fn rim(&self) -> String {
        let rim = self.model.measurement(self.realm.rd().pa(), 0).unwrap_or([0; 64]);
        rim.iter().take(32).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Runs each virtual CPU on a thread, until the Realm ends.
    pub(crate) fn run(&self, frames: &Frames) -> Result<SystemEnd, Error>
    where
        P: Platform<Conduit: Sync, Lock: Send + Sync> + Sync,
    {
        // The interrupt controller, whose RECs are those of the set.
        let storage = GicStorage::<VCPUS, 32>::new();
        let affinities: Vec<_> = self.vcpus.affinities().collect();
        let affinities = affinities.as_slice();
        let vtr = RecInterface::new(self.realm.rmm(), self.model.cpu(0)).vtr();
        let gic = Gic::new(&storage, &GicConfig { affinities, spis: 32, vtr })?;
        let gic = RealmGic::new(&gic, &self.vcpus)?;

        // The devices, and where they are.
        let uart: Pl011<_> = Pl011::new(Console { line: String::new(), gic });
        let disk = Disk { realm: &self.realm, gic, is_done: AtomicBool::new(false) };
        let (distributor, redistributors) = (gic.distributor(), gic.redistributors());
        let devices: [(u64, u64, &dyn MmioDevice); 4] = [
            (devices::DISTRIBUTOR, distributor.bytes(), &distributor),
            (devices::REDISTRIBUTORS, redistributors.bytes(), &redistributors),
            (devices::UART, PL011_SIZE, &uart),
            (devices::DISK, 0x1000, &disk),
        ];
        let geometry = self.realm.geometry();
        let mut bus = MmioBus::new(geometry);
        for (offset, bytes, device) in devices {
            let base = Ipa::new(geometry.unprotected_base().raw() + offset);
            bus.add(IpaRange::with_size(base, bytes)?, device)?;
        }

        let run = |index| self.run_vcpu(frames, index, gic, &bus);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..VCPUS).map(|index| scope.spawn(move || run(index))).collect();
            self.pause();
            for thread in threads {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            Ok(self.vcpus.system_end().unwrap_or(SystemEnd::Off))
        })
    }

    /// Pauses the Realm: whatever wants it to stand still (a snapshot, a debugger) works here.
    fn pause(&self) {
        let still_running = self.vcpus.pause().count();
        if self.vcpus.wait_paused(None) {
            let exits: u64 =
                (0..VCPUS).filter_map(|index| self.vcpus.rec(index)).map(Rec::exits).sum();
            say!("vmm  | paused after {exits} exits, with {still_running} to wait for");
        }
        self.vcpus.resume();
    }

    /// Runs one virtual CPU until the Realm ends. While it is off or waits, its thread sleeps.
    fn run_vcpu(
        &self,
        frames: &Frames,
        index: usize,
        gic: RealmGic<'_>,
        bus: &MmioBus<'_, 4>,
    ) -> Result<(), Error> {
        let number = u16::try_from(index).unwrap_or(0);
        CPU.set(number);
        let (realm, cpu) = (&self.realm, self.model.cpu(number.into()));
        let memory = ThreadMemory::new(frames, STOCK);
        let rest = Vcpu { realm, index, memory };
        let interface = RecInterface::new(realm.rmm(), cpu);
        let mut vcpu = GicHandler { gic, index, interface, bus, rest };
        let mut runner = self.vcpus.claim(index)?;
        runner.trap_waiting(true, false);
        let result = loop {
            match runner.run(realm.rmm(), &mut vcpu) {
                Ok(Outcome::RealmOff(_)) => break Ok(()),
                Ok(Outcome::Waiting(sleep)) => {
                    let now = self.model.now();
                    runner.wait(sleep.timeout(now, FREQUENCY, LONGEST_WAIT));
                    gic.set_timers(index, sleep.timers.at(self.model.now()));
                }
                Ok(Outcome::Off { .. } | Outcome::Paused) => {
                    runner.wait(None);
                }
                // Another one cannot go on.
                Ok(Outcome::Kicked) => break Ok(()),
                Ok(other) => {
                    complain!("cpu {index}: {other:?}");
                    self.vcpus.kick_all();
                    break Ok(());
                }
                Err(error) => {
                    self.vcpus.kick_all();
                    break Err(error.into());
                }
            }
        };
        vcpu.rest.memory.drain(realm.rmm());
        result
    }

    /// Tears the Realm down; its storage is returned for the next one.
    pub(crate) fn tear_down(self, memory: &mut ThreadMemory<'_>) -> Records<'r> {
        let Self { realm, mut vcpus, .. } = self;
        let (objects, pages): (Vec<_>, Vec<_>) = vcpus.drain().map(Rec::into_parts).unzip();
        let ended = realm.tear_down(memory, objects);
        if let Some(error) = ended.error {
            complain!("the Realm is not gone: {error}");
        }
        pages.into_iter().for_each(|page| drop(memory.allocator().free(page)));
        ended.storage
    }
}
