//! What the VMM does when a virtual CPU exits, beside its interrupts and devices.

use realm_sdk::Error;
use realm_sdk::abi::IpaRange;
use realm_sdk::abi::rtt::Ripas;
use realm_sdk::builder::{Active, Realm, Reclaimed};
use realm_sdk::host::Platform;
use realm_sdk::host::command::SharedAccess;
use realm_sdk::rec::exit::{Fault, RipasChange};
use realm_sdk::rec::gic::RunReport;
use realm_sdk::rec::{Answer, Flow, Handler, Rec};
use realm_sdk::vgic::Saved;

use crate::memory::ThreadMemory;
use crate::output::{complain, say};
use crate::vmm;

/// Calls that one RIPAS change may take; the Realm asks again for the rest.
const RIPAS_CALLS: u32 = 1000;

/// A virtual CPU on its thread, without what `GicHandler` does.
pub(crate) struct Vcpu<'v, P: Platform> {
    pub(crate) realm: &'v Realm<'v, P, Active>,
    pub(crate) index: usize,
    pub(crate) memory: ThreadMemory<'v>,
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
        // On hardware, mask physical interrupts and preemption first, until `after_exit` or
        // `entry_cancelled`.
    }

    fn interrupts_saved(&mut self, report: &RunReport) {
        if report.saved == Saved::Unused {
            complain!("cpu {}: the RMM did not use its list registers", self.index);
        }
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
