//! What the VMM does when a virtual CPU exits.

use realm_sdk::Error;
use realm_sdk::abi::IpaRange;
use realm_sdk::abi::rtt::Ripas;
use realm_sdk::builder::Reclaimed;
use realm_sdk::host::Platform;
use realm_sdk::host::command::SharedAccess;
use realm_sdk::rec::exit::{Fault, MmioStore, PsciCall, PsciNotice, PsciRequestKind, RipasChange};
use realm_sdk::rec::{Answer, Flow, Handler, Rec, Timers};
use realm_sdk::vgic::InterfaceState;
use rmm_model::Cpu;

use crate::devices::{self, Uart};
use crate::memory::ThreadMemory;
use crate::output::{complain, say};
use crate::vmm::{self, Vmm};

/// Calls that one RIPAS change may take; the Realm asks again for the rest.
const RIPAS_CALLS: u32 = 1000;

/// A virtual CPU on its thread.
pub(crate) struct Vcpu<'v, P: Platform> {
    pub(crate) vmm: &'v Vmm<'v, P>,
    pub(crate) rec: &'v Rec,
    pub(crate) memory: ThreadMemory<'v>,
    pub(crate) uart: Uart,
    /// The CPU that the thread is on, and the Realm's registers in it.
    pub(crate) cpu: Cpu<'v>,
    pub(crate) interface: InterfaceState,
}

impl<P: Platform> Vcpu<'_, P> {
    /// Enters again, or ends the Realm because the VMM cannot go on.
    fn enter_or_end(&self, answer: Result<Answer, Error>) -> Flow {
        answer.map_or_else(
            |error| {
                complain!("cpu {}: {error}", self.rec.mpidr().index());
                self.vmm.end(PsciNotice::SystemOff);
                Flow::Leave
            },
            Flow::Enter,
        )
    }

    fn change_ripas(&mut self, change: RipasChange) -> Result<Answer, Error> {
        let (realm, range) = (&self.vmm.realm, change.range());
        let reached = realm.set_ripas(&mut self.memory, self.rec.name(), range, RIPAS_CALLS)?;
        if change.ripas() == Ripas::Empty {
            self.take_back(range.before(reached))?;
        }
        Ok(change.accept())
    }

    /// Takes memory that the Realm has given up: the buffer is shared from then on, and all else is
    /// unplugged.
    fn take_back(&mut self, range: IpaRange) -> Result<(), Error> {
        let realm = &self.vmm.realm;
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
        self.interface.load(&mut self.cpu);
    }

    fn entry_cancelled(&mut self, _: &Rec) {
        // Used or not: there may have been no entry.
        let _ = self.interface.save(&mut self.cpu);
    }

    fn after_exit(&mut self, _: Timers, _: bool) {
        // The guest of this example has no interrupts that could be lost.
        let _ = self.interface.save(&mut self.cpu);
    }

    fn interrupt(&mut self) -> Flow {
        self.cpu.take_interrupt();
        Flow::Enter(Answer::resume())
    }

    fn mmio_store(&mut self, store: MmioStore) -> Flow {
        let realm = &self.vmm.realm;
        let [letter, ..] = store.value().to_le_bytes();
        match store.ipa().checked_offset_from(realm.geometry().unprotected_base()) {
            Some(devices::UART) => self.uart.write(letter),
            // What the Realm says is a buffer may be anything.
            Some(devices::DOORBELL) if devices::read_sector(realm, store.value()).is_ok() => {}
            _ => return Flow::Enter(store.abort()),
        }
        Flow::Enter(store.complete())
    }

    fn fault(&mut self, fault: Fault) -> Flow {
        let served = self.vmm.realm.serve_fault(&mut self.memory, fault.page(), vmm::ram());
        self.enter_or_end(served.map(|_| fault.retry()).map_err(Error::from))
    }

    fn ripas_change(&mut self, _: &Rec, change: RipasChange) -> Flow {
        let answer = self.change_ripas(change);
        self.enter_or_end(answer)
    }

    fn psci_request(&mut self, _: &Rec, call: PsciCall<'_>) -> Flow {
        let (kind, target) = (call.kind(), call.target());
        let Some(other) = self.vmm.vcpus.iter().find(|other| other.rec.mpidr() == target) else {
            return Flow::Leave;
        };
        let answer = call.accept(&other.rec);
        if kind == PsciRequestKind::CpuOn {
            other.wake();
        }
        self.enter_or_end(answer.map_err(Error::from))
    }

    fn psci_notice(&mut self, notice: PsciNotice) -> Flow {
        match notice {
            PsciNotice::CpuSuspend => return Flow::Enter(Answer::resume()),
            PsciNotice::CpuOff => {}
            ended => self.vmm.end(ended),
        }
        Flow::Leave
    }
}
