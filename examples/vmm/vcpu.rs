//! What the VMM does when a virtual CPU exits.

use realm_sdk::abi::rec::Mpidr;
use realm_sdk::abi::rtt::Ripas;
use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::{BuildError, Reclaimed};
use realm_sdk::host::Platform;
use realm_sdk::host::command::SharedAccess;
use realm_sdk::rec::exit::{Fault, MmioStore, PsciCall, PsciNotice, PsciRequestKind, RipasChange};
use realm_sdk::rec::{Answer, Flow, Handler, Rec, Timers};
use realm_sdk::vgic::InterfaceState;
use rmm_model::Cpu;

use crate::devices::{self, Uart};
use crate::memory::ThreadMemory;
use crate::output::{complain, say};
use crate::vmm::{self, Ended, Vmm};

/// Calls that one RIPAS change may take; the Realm asks again for the rest.
const RIPAS_CALLS: u32 = 1000;

/// A virtual CPU on its thread.
pub(crate) struct Vcpu<'v, P: Platform> {
    pub(crate) vmm: &'v Vmm<'v, P>,
    pub(crate) mpidr: Mpidr,
    pub(crate) memory: ThreadMemory<'v>,
    pub(crate) uart: Uart,
    /// The CPU that the thread is on, and the Realm's registers in it.
    pub(crate) cpu: Cpu<'v>,
    pub(crate) interface: InterfaceState,
}

impl<P: Platform> Vcpu<'_, P> {
    /// A store to a device; false if there is none.
    fn store(&mut self, ipa: Ipa, value: u64) -> Result<bool, BuildError> {
        let vmm = self.vmm;
        let [letter, ..] = value.to_le_bytes();
        match ipa.checked_offset_from(vmm.realm.geometry().unprotected_base()) {
            Some(devices::UART) => self.uart.write(letter),
            Some(devices::DOORBELL) => devices::read_sector(&vmm.realm, Ipa::new(value))?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Memory that the Realm has given up: the buffer is shared from then on, and all else is
    /// unplugged.
    fn given_up(&mut self, range: IpaRange) -> Result<(), BuildError> {
        let realm = &self.vmm.realm;
        if vmm::buffer().contains_range(&range) {
            let shared = realm.convert_to_shared(&mut self.memory, range, SharedAccess::MEMORY)?;
            say!("vmm  | shared: {} KiB at {}", shared.bytes >> 10, range.base());
        } else if realm.reclaim(&mut self.memory, range)? == Reclaimed::Whole {
            say!("vmm  | unplugged: {} KiB at {}", range.bytes() >> 10, range.base());
        }
        Ok(())
    }

    fn changed(&mut self, rec: &Rec, change: &RipasChange) -> Result<(), BuildError> {
        let range = change.range();
        let realm = &self.vmm.realm;
        let reached = realm.set_ripas(&mut self.memory, rec.name(), range, RIPAS_CALLS)?;
        let done = IpaRange::new(range.base(), reached).unwrap_or(IpaRange::empty(reached));
        if change.ripas() == Ripas::Empty && !done.is_empty() {
            self.given_up(done)?;
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
        Flow::Enter(match self.store(store.ipa(), store.value()) {
            Ok(true) => store.complete(),
            Ok(false) => store.abort(),
            Err(error) => {
                complain!("a device: {error}");
                store.abort()
            }
        })
    }

    fn fault(&mut self, fault: Fault) -> Flow {
        match self.vmm.realm.serve_fault(&mut self.memory, fault.page(), vmm::ram()) {
            Ok(_) => Flow::Enter(fault.retry()),
            Err(error) => {
                complain!("{error}");
                self.vmm.end(Ended::Off);
                Flow::Leave
            }
        }
    }

    fn ripas_change(&mut self, rec: &Rec, change: RipasChange) -> Flow {
        if let Err(error) = self.changed(rec, &change) {
            complain!("{}: {error}", change.range());
        }
        Flow::Enter(change.accept())
    }

    fn psci_request(&mut self, _: &Rec, call: PsciCall<'_>) -> Flow {
        let (kind, target) = (call.kind(), call.target());
        let Some(other) = self.vmm.recs.iter().find(|rec| rec.mpidr() == target) else {
            return Flow::Leave;
        };
        match call.accept(other) {
            Ok(answer) => {
                if kind == PsciRequestKind::CpuOn {
                    self.vmm.set_power(target, true);
                }
                Flow::Enter(answer)
            }
            Err(failed) => {
                complain!("{kind:?}: {failed}");
                Flow::Leave
            }
        }
    }

    fn psci_notice(&mut self, notice: PsciNotice) -> Flow {
        match notice {
            PsciNotice::CpuSuspend => return Flow::Enter(Answer::resume()),
            PsciNotice::CpuOff => self.vmm.set_power(self.mpidr, false),
            PsciNotice::SystemReset => self.vmm.end(Ended::Reset),
            _ => self.vmm.end(Ended::Off),
        }
        Flow::Leave
    }
}
