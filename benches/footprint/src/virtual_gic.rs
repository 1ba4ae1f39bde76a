//! Virtual CPUs of a set on threads of their own, with the whole virtual GIC and a bus of devices.
#![expect(unsafe_code, reason = "exported names")]

use realm_sdk::abi::IpaRange;
use realm_sdk::host::Failed;
use realm_sdk::rec::exit::{MmioLoad, MmioStore, PsciNotice, SysRegRead, SysRegWrite, Wait};
use realm_sdk::rec::gic::{Distributor, RealmGic, Redistributors};
use realm_sdk::rec::mmio::{MmioBus, MmioBusError};
use realm_sdk::rec::set::{AddError, ClaimError, Outcome, PhysicalCpus, RecSlot, Runner};
use realm_sdk::rec::{EnterError, Flow, Handler, Rec, RecSet, Timers};
use realm_sdk::vgic::{Gic, GicConfig, GicConfigError, GicStorage, SpiIntid};

use crate::bare_metal::Session;
use crate::cpu::Cpu;

/// 8 RECs, 64 SPIs.
type Storage = GicStorage<8, 64>;
/// Two for the GIC, and two more.
type Bus<'v> = MmioBus<'v, 4>;

/// The handler of one virtual CPU.
struct Vcpu<'v> {
    index: usize,
    gic: RealmGic<'v>,
    bus: &'v Bus<'v>,
    cpu: &'v mut Cpu,
}

impl Handler for Vcpu<'_> {
    fn before_entry(&mut self, _: &Rec) {
        self.gic.load(self.index, self.cpu);
    }

    fn entry_cancelled(&mut self, _: &Rec) {
        let _ = self.gic.save(self.index, self.cpu);
    }

    fn after_exit(&mut self, timers: Timers, pmu_overflow: bool) {
        let _ = self.gic.after_exit(self.index, self.cpu, timers, pmu_overflow);
    }

    fn wait(&mut self, wait: Wait) -> Flow {
        self.gic.wait(self.index, wait)
    }

    fn psci_notice(&mut self, notice: PsciNotice) -> Flow {
        match notice {
            PsciNotice::CpuSuspend => self.gic.suspend(self.index),
            _ => Flow::Leave,
        }
    }

    fn mmio_load(&mut self, load: MmioLoad) -> Flow {
        Flow::Enter(self.bus.load(load))
    }

    fn mmio_store(&mut self, store: MmioStore) -> Flow {
        Flow::Enter(self.bus.store(store))
    }

    fn sysreg_read(&mut self, read: SysRegRead) -> Flow {
        Flow::Enter(self.gic.read_sysreg(read))
    }

    fn sysreg_write(&mut self, write: SysRegWrite) -> Flow {
        Flow::Enter(self.gic.write_sysreg(self.index, write))
    }
}

#[unsafe(no_mangle)]
fn footprint_gic<'s>(
    storage: &'s Storage,
    config: &GicConfig<'_>,
) -> Result<Gic<'s>, GicConfigError> {
    Gic::new(storage, config)
}

#[unsafe(no_mangle)]
fn footprint_set<'s>(slots: &'s mut [RecSlot], cpus: &'s dyn PhysicalCpus) -> RecSet<'s> {
    RecSet::new(slots, cpus)
}

#[unsafe(no_mangle)]
fn footprint_add_rec(set: &mut RecSet<'_>, rec: Rec) -> Result<usize, Failed<Rec, AddError>> {
    set.add(rec, true)
}

#[unsafe(no_mangle)]
fn footprint_add_devices<'v>(
    bus: &mut Bus<'v>,
    (distributor, at): (&'v Distributor<'v>, IpaRange),
    (redistributors, after): (&'v Redistributors<'v>, IpaRange),
) -> Result<(), MmioBusError> {
    bus.add(at, distributor)?;
    bus.add(after, redistributors)
}

#[unsafe(no_mangle)]
fn footprint_claim<'s>(set: &'s RecSet<'_>, index: usize) -> Result<Runner<'s>, ClaimError> {
    set.claim(index)
}

#[unsafe(no_mangle)]
fn footprint_run_vcpu(
    runner: &mut Runner<'_>,
    session: &Session,
    gic: RealmGic<'_>,
    bus: &Bus<'_>,
    cpu: &mut Cpu,
) -> Result<Outcome, EnterError> {
    let index = runner.index();
    runner.run(session, &mut Vcpu { index, gic, bus, cpu })
}

#[unsafe(no_mangle)]
fn footprint_set_spi(gic: RealmGic<'_>, spi: SpiIntid, is_up: bool) {
    gic.set_spi(spi, is_up);
}

#[unsafe(no_mangle)]
fn footprint_kick(set: &RecSet<'_>, index: usize) {
    set.kick(index);
    set.kick_all();
}

#[unsafe(no_mangle)]
fn footprint_pause(set: &RecSet<'_>, pauses: bool) -> bool {
    if pauses {
        let _ = set.pause();
    } else {
        set.resume();
    }
    set.is_paused()
}
