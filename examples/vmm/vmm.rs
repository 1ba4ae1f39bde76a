//! The VMM: builds a Realm, runs its virtual CPUs on threads, and tears it down.

use std::sync::OnceLock;
use std::thread::{self, Thread};

use realm_sdk::Error;
use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::{Active, Content, Realm, RealmConfig, RecStart, Records, Region};
use realm_sdk::host::{Platform, Rmm};
use realm_sdk::rec::exit::PsciNotice;
use realm_sdk::rec::{Answer, Kick, Rec, RunEnd};
use realm_sdk::sro::HostAllocator;
use realm_sdk::vgic::InterfaceState;
use rmm_model::Model;

use crate::CPU;
use crate::devices::Uart;
use crate::guest;
use crate::memory::{Frames, STOCK, ThreadMemory};
use crate::output::complain;
use crate::vcpu::Vcpu;

/// Virtual CPUs.
pub(crate) const VCPUS: usize = 4;
/// Where the image is, and where the virtual CPUs start.
const IMAGE: Ipa = Ipa::new(0x4000_0000);
/// The image: the guest of the model does not execute it, but it is measured.
const IMAGE_CONTENT: [u8; 0x4000] = [0x1f; 0x4000];

/// RAM that gets memory where the Realm touches it.
pub(crate) fn ram() -> IpaRange {
    IpaRange::with_size_or_empty(Ipa::new(0x4020_0000), 14 << 20)
}

/// The part of it that the Realm shares with the VMM.
pub(crate) fn buffer() -> IpaRange {
    IpaRange::with_size_or_empty(ram().base(), 0x4000)
}

/// A virtual CPU as the others see it.
pub(crate) struct Sibling {
    pub(crate) rec: Rec,
    kick: Kick,
    thread: OnceLock<Thread>,
}

impl Sibling {
    /// Has its thread enter the REC, which has been turned on.
    pub(crate) fn wake(&self) {
        // A thread that is not known yet has not tried to enter the REC.
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// A Realm with its virtual CPUs and devices.
pub(crate) struct Vmm<'r, P: Platform> {
    pub(crate) realm: Realm<'r, P, Active>,
    pub(crate) vcpus: Vec<Sibling>,
    model: &'r Model,
    /// Why the Realm does not run any more.
    ended: OnceLock<PsciNotice>,
}

impl<'r, P: Platform> Vmm<'r, P> {
    /// Creates the Realm, populates it, and creates its RECs.
    pub(crate) fn build(
        rmm: &'r Rmm<P>,
        model: &'r Model,
        storage: Records<'r>,
        memory: &mut ThreadMemory<'_>,
        is_first: bool,
    ) -> Result<Self, Error> {
        let mut realm = Realm::create(rmm, &RealmConfig::new(40), storage, memory)?;
        let frames = memory.allocator();
        let take = |bytes| frames.allocate(bytes, 0x1000).unwrap_or_default();
        let mut regions = [
            Region::new(IMAGE, take(0x4000), Content::Measured(&IMAGE_CONTENT)),
            Region::without_memory(ram().base(), ram().bytes()),
        ];
        realm.populate(memory, &mut regions)?;
        let mut vcpus = Vec::new();
        for number in 0..VCPUS {
            let start = RecStart { runnable: number == 0, pc: IMAGE, gprs: [0; 8] };
            let rec = Rec::new(realm.create_rec(memory, &start)?, take(0x1000), realm.geometry());
            vcpus.push(Sibling { rec, kick: Kick::new(), thread: OnceLock::new() });
            let program = guest::program(number, realm.geometry(), is_first);
            model.set_guest(realm.rd().pa(), number as u64, program);
        }
        Ok(Self { realm: realm.activate()?, vcpus, model, ended: OnceLock::new() })
    }

    /// The Realm Initial Measurement, as hex digits.
    pub(crate) fn rim(&self) -> String {
        let rim = self.model.measurement(self.realm.rd().pa(), 0).unwrap_or([0; 64]);
        rim.iter().take(32).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Runs each virtual CPU on a thread, until the Realm ends.
    pub(crate) fn run(&self, frames: &Frames) -> Result<PsciNotice, Error>
    where
        P: Platform<Conduit: Sync, Lock: Send + Sync> + Sync,
    {
        thread::scope(|scope| {
            let start = |(cpu, vcpu)| scope.spawn(move || self.run_vcpu(frames, cpu, vcpu));
            let threads: Vec<_> = (0..).zip(&self.vcpus).map(start).collect();
            for thread in threads {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            Ok(*self.ended.get_or_init(|| PsciNotice::SystemOff))
        })
    }

    /// Runs one virtual CPU until the Realm ends. While it is off, the RMM refuses to enter it, and
    /// its thread sleeps.
    fn run_vcpu(&self, frames: &Frames, cpu: u32, sibling: &Sibling) -> Result<(), Error> {
        CPU.set(cpu);
        let Sibling { rec, kick, thread } = sibling;
        thread.get_or_init(thread::current);
        let cpu = self.model.cpu(cpu);
        let (memory, interface) =
            (ThreadMemory::new(frames, STOCK), InterfaceState::new(cpu.vtr()));
        let mut vcpu = Vcpu { vmm: self, rec, memory, uart: Uart::default(), cpu, interface };
        let (mut answer, mut result) = (Answer::resume(), Ok(()));
        while self.ended.get().is_none() {
            answer = match rec.run(self.realm.rmm(), answer, &mut vcpu, kick) {
                Ok(RunEnd::ByHandler(answer) | RunEnd::Kicked(answer)) => answer,
                Ok(RunEnd::Left) => Answer::resume(),
                Err(failed) if failed.error.is_off() => {
                    thread::park();
                    failed.kept.unwrap_or(Answer::resume())
                }
                Err(failed) => {
                    self.end(PsciNotice::SystemOff);
                    result = Err(failed.into());
                    break;
                }
            };
        }
        vcpu.memory.drain(self.realm.rmm());
        result
    }

    /// Ends the Realm: no virtual CPU is entered again, and those that run are interrupted.
    pub(crate) fn end(&self, ended: PsciNotice) {
        let _ = self.ended.set(ended);
        for (cpu, vcpu) in (0..).zip(&self.vcpus) {
            vcpu.kick.request();
            self.model.cpu(cpu).interrupt();
            vcpu.wake();
        }
    }

    /// Tears the Realm down; its storage is returned for the next one.
    pub(crate) fn tear_down(self, memory: &mut ThreadMemory<'_>) -> Records<'r> {
        let (objects, pages): (Vec<_>, Vec<_>) =
            self.vcpus.into_iter().map(|vcpu| vcpu.rec.into_parts()).unzip();
        let ended = self.realm.tear_down(memory, objects);
        if let Some(error) = ended.error {
            complain!("the Realm is not gone: {error}");
        }
        pages.into_iter().for_each(|page| drop(memory.allocator().free(page)));
        ended.storage
    }
}
