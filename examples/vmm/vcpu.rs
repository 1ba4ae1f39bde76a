//! What the VMM does when a virtual CPU exits.

use realm_sdk::Error;
use realm_sdk::abi::IpaRange;
use realm_sdk::abi::rtt::Ripas;
use realm_sdk::builder::{Active, Realm, Reclaimed};
use realm_sdk::host::Platform;
use realm_sdk::host::command::SharedAccess;
use realm_sdk::rec::exit::{
    Fault, MmioLoad, MmioStore, PsciNotice, RipasChange, SysRegRead, SysRegWrite, Wait,
};
use realm_sdk::rec::gic::RealmGic;
use realm_sdk::rec::mmio::MmioBus;
use realm_sdk::rec::{Answer, Flow, Handler, Rec, Timers};
use rmm_model::Cpu;

use crate::memory::ThreadMemory;
use crate::output::{complain, say};
use crate::vmm;

/// Calls that one RIPAS change may take; the Realm asks again for the rest.
const RIPAS_CALLS: u32 = 1000;

/// A virtual CPU on its thread.
pub(crate) struct Vcpu<'v, P: Platform> {
    pub(crate) realm: &'v Realm<'v, P, Active>,
    pub(crate) index: usize,
    pub(crate) memory: ThreadMemory<'v>,
    pub(crate) bus: &'v MmioBus<'v, 4>,
    pub(crate) gic: RealmGic<'v>,
    /// The CPU that the thread is on, and the Realm's registers in it.
    pub(crate) cpu: Cpu<'v>,
}

impl<P: Platform> Vcpu<'_, P> {
    /// Enters again, or leaves because the VMM cannot go on.
    fn enter_or_leave(&self, answer: Result<Answer, Error>) -> Flow {
        answer.map_or_else(
            |error| {
                complain!("cpu {}: {error}", self.index);
                Flow::Leave
            },
            Flow::Enter,
        )
    }

    fn change_ripas(&mut self, rec: &Rec, change: RipasChange) -> Result<Answer, Error> {
        let range = change.range();
        let reached = self.realm.set_ripas(&mut self.memory, rec.name(), range, RIPAS_CALLS)?;
        if change.ripas() == Ripas::Empty {
            self.take_back(range.before(reached))?;
        }
        Ok(change.accept())
    }

    /// Takes memory that the Realm has given up: the buffer is shared from then on, and all else is
    /// unplugged.
    fn take_back(&mut self, range: IpaRange) -> Result<(), Error> {
        let realm = self.realm;
        if vmm::buffer().contains_range(&range) {
            let shared = realm.convert_to_shared(&mut self.memory, range, SharedAccess::MEMORY)?;
            say!("vmm  | shared: {} KiB at {}", shared.bytes >> 10, range.base());
        } else if realm.reclaim(&mut self.memory, range)? == Reclaimed::Whole {
            say!("vmm  | unplugged: {} KiB at {}", range.bytes() >> 10, range.base());
        }
        Ok(())
    }
}

impl<P: Platform> Handler for Vcpu<'_, P> {
    fn before_entry(&mut self, _: &Rec) {
        self.gic.load(self.index, &mut self.cpu);
    }

    fn entry_cancelled(&mut self, _: &Rec) {
        self.gic.save(self.index, &mut self.cpu);
    }

    fn after_exit(&mut self, timers: Timers, pmu_overflow: bool) {
        self.gic.after_exit(self.index, &mut self.cpu, timers, pmu_overflow);
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

    fn fault(&mut self, fault: Fault) -> Flow {
        let served = self.realm.serve_fault(&mut self.memory, fault.page(), vmm::ram());
        self.enter_or_leave(served.map(|_| fault.retry()).map_err(Error::from))
    }

    fn ripas_change(&mut self, rec: &Rec, change: RipasChange) -> Flow {
        let answer = self.change_ripas(rec, change);
        self.enter_or_leave(answer)
    }
}
