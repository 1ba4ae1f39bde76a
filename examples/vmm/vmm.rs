//! The VMM: builds a Realm, runs its virtual CPUs on threads, and tears it down.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use realm_sdk::Error;
use realm_sdk::abi::rec::Mpidr;
use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::{Active, Content, Realm, RealmConfig, RecStart, Records, Region};
use realm_sdk::host::{Platform, Rmm};
use realm_sdk::rec::{Answer, Kick, Rec, RunEnd};
use realm_sdk::vgic::InterfaceState;
use rmm_model::Model;

use crate::CPU;
use crate::devices::Uart;
use crate::guest;
use crate::memory::{Frames, ThreadMemory};
use crate::output::complain;
use crate::vcpu::Vcpu;

/// Virtual CPUs.
pub(crate) const VCPUS: usize = 4;
/// Translation tables that the Realm needs at most.
pub(crate) const TABLES: usize = 32;
/// Where the image is, and where the virtual CPUs start.
const IMAGE: Ipa = Ipa::new(0x4000_0000);
/// The image: the guest of the model does not execute it, but it is measured.
const IMAGE_CONTENT: [u8; 0x4000] = [0x1f; 0x4000];

/// RAM that gets memory where the Realm touches it.
pub(crate) fn ram() -> IpaRange {
    range(0x4020_0000, 14 << 20)
}

/// The part of it that the Realm shares with the VMM.
pub(crate) fn buffer() -> IpaRange {
    range(0x4020_0000, 0x4000)
}

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap_or(IpaRange::empty(Ipa::new(base)))
}

/// Why a Realm does not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Reset,
    Off,
}

/// Which virtual CPUs are on, and whether the Realm has ended.
struct Power {
    on: Vec<Mpidr>,
    ended: Option<Ended>,
}

/// A Realm with its virtual CPUs and devices.
pub(crate) struct Vmm<'r, P: Platform> {
    pub(crate) realm: Realm<'r, P, Active>,
    pub(crate) recs: Vec<Rec>,
    model: &'r Model,
    power: Mutex<Power>,
    changed: Condvar,
    kicks: [Kick; VCPUS],
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
        let content = Content::Measured(&IMAGE_CONTENT);
        let mut regions = [
            Region::new(IMAGE, memory.take(IMAGE_CONTENT.len() as u64), content),
            Region::without_memory(ram().base(), ram().bytes()),
        ];
        realm.populate(memory, &mut regions)?;
        let mut recs = Vec::new();
        for number in 0..VCPUS {
            let start = RecStart { runnable: number == 0, pc: IMAGE, gprs: [0; 8] };
            let object = realm.create_rec(memory, &start)?;
            recs.push(Rec::new(object, memory.take(0x1000), realm.geometry()));
            let program = guest::program(number, realm.geometry(), is_first);
            model.set_guest(realm.rd().pa(), number as u64, program);
        }
        let on = recs.iter().take(1).map(Rec::mpidr).collect();
        Ok(Self {
            realm: realm.activate()?,
            recs,
            model,
            power: Mutex::new(Power { on, ended: None }),
            changed: Condvar::new(),
            kicks: [const { Kick::new() }; VCPUS],
        })
    }

    /// The Realm Initial Measurement, as hex digits.
    pub(crate) fn rim(&self) -> String {
        let rim = self.model.measurement(self.realm.rd().pa(), 0).unwrap_or([0; 64]);
        rim.iter().take(32).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Runs each virtual CPU on a thread, until the Realm ends.
    pub(crate) fn run(&self, frames: &Frames) -> Result<Ended, Error>
    where
        P: Platform<Conduit: Sync, Lock: Send + Sync> + Sync,
    {
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(self.recs.iter().zip(&self.kicks))
                .map(|(cpu, (rec, kick))| {
                    scope.spawn(move || self.run_vcpu(frames, cpu, rec, kick))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        for result in results {
            match result {
                Ok(result) => result?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(self.power().ended.unwrap_or(Ended::Off))
    }

    /// Runs one virtual CPU while it is on.
    fn run_vcpu(&self, frames: &Frames, cpu: u32, rec: &Rec, kick: &Kick) -> Result<(), Error> {
        CPU.set(cpu);
        let cpu = self.model.cpu(cpu);
        let (memory, interface) = (ThreadMemory::new(frames), InterfaceState::new(cpu.vtr()));
        let uart = Uart::default();
        let mut vcpu = Vcpu { vmm: self, mpidr: rec.mpidr(), memory, uart, cpu, interface };
        let mut answer = Answer::resume();
        let mut result = Ok(());
        while self.wait_for_power(rec.mpidr()) {
            answer = match rec.run(self.realm.rmm(), answer, &mut vcpu, kick) {
                Ok(RunEnd::ByHandler(answer) | RunEnd::Kicked(answer)) => answer,
                Ok(RunEnd::Left) => Answer::resume(),
                Err(failed) => {
                    result = Err(failed.into());
                    self.end(Ended::Off);
                    break;
                }
            };
        }
        vcpu.memory.pool.undelegate(self.realm.rmm());
        vcpu.memory.close();
        result
    }

    /// Waits until a virtual CPU is on; false when the Realm has ended.
    fn wait_for_power(&self, vcpu: Mpidr) -> bool {
        let mut power = self.power();
        while !power.on.contains(&vcpu) && power.ended.is_none() {
            power = self.changed.wait(power).unwrap_or_else(PoisonError::into_inner);
        }
        power.ended.is_none()
    }

    pub(crate) fn set_power(&self, vcpu: Mpidr, is_on: bool) {
        let mut power = self.power();
        power.on.retain(|other| *other != vcpu);
        if is_on {
            power.on.push(vcpu);
        }
        self.changed.notify_all();
    }

    /// Ends the Realm: no virtual CPU is entered again, and those that run are interrupted.
    pub(crate) fn end(&self, ended: Ended) {
        self.power().ended.get_or_insert(ended);
        self.changed.notify_all();
        for (cpu, kick) in (0..).zip(&self.kicks) {
            kick.request();
            self.model.cpu(cpu).interrupt();
        }
    }

    /// Tears the Realm down; its storage is returned for the next one.
    pub(crate) fn tear_down(self, memory: &mut ThreadMemory<'_>) -> Records<'r> {
        let (objects, pages): (Vec<_>, Vec<_>) = self.recs.into_iter().map(Rec::into_parts).unzip();
        pages.into_iter().for_each(|page| memory.put(page));
        let ended = self.realm.tear_down(memory, objects);
        if let Some(error) = ended.error {
            complain!("the Realm is not gone: {error}");
        }
        ended.storage
    }

    fn power(&self) -> MutexGuard<'_, Power> {
        self.power.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
