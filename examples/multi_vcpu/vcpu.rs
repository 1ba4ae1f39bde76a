//! What the host does when a virtual CPU exits, beside its interrupts and devices.

use realm_sdk::Error;
use realm_sdk::abi::rtt::Ripas;
use realm_sdk::host::Platform;
use realm_sdk::host::command::SharedAccess;
use realm_sdk::rec::exit::{Fault, RipasChange};
use realm_sdk::rec::gic::RunReport;
use realm_sdk::rec::set::CpuOnDecision;
use realm_sdk::rec::{Answer, Flow, Handler, Rec};
use realm_sdk::vgic::Saved;

use crate::host::Host;
use crate::layout;
use crate::memory::ThreadMemory;
use crate::output::complain;
use crate::random::Random;

/// Calls that one RIPAS change may take; the Realm asks again for the rest.
const RIPAS_CALLS: u32 = 3;

/// A virtual CPU on its thread, without what `GicHandler` does.
pub(crate) struct Vcpu<'h, P: Platform> {
    pub(crate) host: &'h Host<'h, P>,
    pub(crate) index: usize,
    pub(crate) memory: ThreadMemory<'h>,
    pub(crate) random: Random,
}

impl<P: Platform> Vcpu<'_, P> {
    /// Enters again, or ends everything because the host cannot go on.
    fn enter_or_end(&self, answer: Result<Answer, Error>) -> Flow {
        answer.map_or_else(
            |error| {
                complain!("cpu {}: {error}", self.index);
                self.host.give_up();
                Flow::Leave
            },
            Flow::Enter,
        )
    }

    /// Applies a change of RIPAS. What becomes EMPTY is shared or taken back; what becomes RAM is
    /// private again, or gets memory when it is touched.
    fn change_ripas(&mut self, rec: &Rec, change: RipasChange) -> Result<Answer, Error> {
        let (realm, range) = (self.host.realm, change.range());
        let reached = realm.set_ripas(&mut self.memory, rec.name(), range, RIPAS_CALLS)?;
        let changed = range.before(reached);
        match (change.ripas(), layout::is_buffer(range)) {
            _ if changed.is_empty() => {}
            (Ripas::Empty, true) => {
                // Of what has no memory, the Realm's accesses abort, and it says so.
                let access = SharedAccess::MEMORY;
                let _ = realm.convert_to_shared(&mut self.memory, changed, access)?;
            }
            (Ripas::Empty, false) => {
                // Contended memory stays with the Realm, which may use it again.
                let _ = realm.reclaim(&mut self.memory, changed)?;
            }
            (_, true) => {
                // What has no memory gets some when it is touched.
                let _ = realm.convert_to_private(&mut self.memory, changed)?;
            }
            _ => {}
        }
        Ok(change.accept())
    }
}

impl<P: Platform<Conduit: Sync, Lock: Send + Sync> + Sync> Handler for Vcpu<'_, P> {
    fn interrupts_saved(&mut self, report: &RunReport) {
        if report.saved == Saved::Unused {
            complain!("cpu {}: the RMM did not use its list registers", self.index);
            self.host.give_up();
        }
    }

    fn fault(&mut self, fault: Fault) -> Flow {
        let served = self.host.realm.serve_fault(&mut self.memory, fault.page(), layout::ram());
        self.enter_or_end(served.map(|_| fault.retry()).map_err(Error::from))
    }

    fn ripas_change(&mut self, rec: &Rec, change: RipasChange) -> Flow {
        let answer = self.change_ripas(rec, change);
        self.enter_or_end(answer)
    }

    /// Every eighth request is denied: a Realm has to expect that.
    fn cpu_on(&mut self, _: &Rec, _: &Rec) -> CpuOnDecision {
        if self.random.below(8) == 0 { CpuOnDecision::Deny } else { CpuOnDecision::Accept }
    }
}
