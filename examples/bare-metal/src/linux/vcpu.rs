//! What the host does when a virtual CPU exits, beside its interrupts and devices.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use realm_sdk::Error;
use realm_sdk::abi::IpaRange;
use realm_sdk::abi::esr::Esr;
use realm_sdk::abi::rtt::Ripas;
use realm_sdk::builder::{Active, Realm, Served};
use realm_sdk::host::Platform;
use realm_sdk::host::command::SharedAccess;
use realm_sdk::rec::exit::{Exit, Fault, PsciNotice, RipasChange};
use realm_sdk::rec::gic::RunReport;
use realm_sdk::rec::{Answer, Flow, Handler, Rec, Timers};
use realm_sdk::vgic::Saved;

use super::comparison::{Comparison, Kind, Promised};
use crate::machine::Machine;
use crate::report::Stop;
use realm_sdk::sro::HostMemory;

/// Calls that one RIPAS change may take; the Realm asks again for the rest.
const RIPAS_CALLS: u32 = 1000;

/// What the virtual CPUs of a Realm did, beside what [`RecSet::statistics`] counts.
///
/// [`RecSet::statistics`]: realm_sdk::rec::RecSet::statistics
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Bytes that became shared, and bytes that became private again.
    pub(crate) shared: AtomicU64,
    pub(crate) private: AtomicU64,
    /// Exits after which interrupts were still where the host had put them: none reaches the Realm.
    pub(crate) unused: AtomicU64,
}

/// A virtual CPU, on the CPU that runs it.
pub(crate) struct Vcpu<'v, 'r, P: Platform, M> {
    pub(crate) machine: &'v M,
    pub(crate) realm: &'v Realm<'r, P, Active>,
    pub(crate) ram: IpaRange,
    pub(crate) memory: &'v mut dyn HostMemory,
    pub(crate) counters: &'v Counters,
    /// What operations on memory take, beside what is predicted.
    pub(crate) comparison: &'v Comparison<'v>,
    /// Why the loop was left.
    pub(crate) stop: Option<Stop>,
}

impl<P: Platform, M> Vcpu<'_, '_, P, M> {
    /// Enters again, or leaves because the host cannot go on.
    fn enter_or_leave(&mut self, answer: Result<Answer, Error>) -> Flow {
        match answer {
            Ok(answer) => Flow::Enter(answer),
            Err(error) => self.leave(error),
        }
    }

    fn leave(&mut self, why: impl fmt::Display) -> Flow {
        self.stop = Some(Stop::failed(why));
        Flow::Leave
    }

    fn serve(&mut self, fault: Fault) -> Result<Answer, Error> {
        let page = fault.page();
        let mut memory = Promised::new(self.memory);
        let served = self.comparison.of(Kind::Fault, page, |limits| {
            let cost = memory.predict(|memory, supplied| {
                self.realm.fault_cost(memory, page, self.ram, supplied, limits)
            });
            (cost.calls(), self.realm.serve_fault(&mut memory, page, self.ram))
        });
        memory.end();
        match served? {
            Served::Shared(range) => self.make_private(range)?,
            // The host takes no memory that the Realm has not given up.
            Served::Destroyed(range) => {
                self.stop = Some(Stop::failed(format_args!(
                    "memory at {page} is destroyed, and so is all in {range}"
                )))
            }
            Served::Mapped(_) | Served::Present | Served::Contended(_) => {}
        }
        Ok(fault.retry())
    }

    fn change_ripas(&mut self, rec: &Rec, change: RipasChange) -> Result<Answer, Error> {
        let (range, ripas) = (change.range(), change.ripas());
        let reached = self.comparison.of(Kind::RipasChange, range, |limits| {
            let cost = self.realm.set_ripas_cost(self.memory, range, limits);
            let over = cost.ripas.saturating_sub(RIPAS_CALLS.into());
            let reached = self.realm.set_ripas(self.memory, rec.name(), range, RIPAS_CALLS);
            (cost.calls() - over, reached)
        })?;
        let done = range.before(reached);
        if ripas == Ripas::Empty && !done.is_empty() {
            let access = SharedAccess::MEMORY;
            let mut memory = Promised::new(self.memory);
            let converted = self.comparison.of(Kind::ToShared, done, |limits| {
                let cost = memory.predict(|memory, supplied| {
                    self.realm.convert_to_shared_cost(memory, done, supplied, limits)
                });
                (cost.calls(), self.realm.convert_to_shared(&mut memory, done, access))
            });
            memory.end();
            let converted = converted?;
            self.counters.shared.fetch_add(converted.bytes, Ordering::Relaxed);
        }
        // What becomes RAM stays shared until the Realm touches it: that is a fault.
        Ok(change.accept())
    }

    fn make_private(&mut self, range: IpaRange) -> Result<(), Error> {
        let converted = self.comparison.of(Kind::ToPrivate, range, |limits| {
            let cost = self.realm.convert_to_private_cost(self.memory, range, limits);
            (cost.calls(), self.realm.convert_to_private(self.memory, range))
        })?;
        self.counters.private.fetch_add(converted.bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl<P: Platform, M: Machine> Handler for Vcpu<'_, '_, P, M> {
    fn before_entry(&mut self, _: &Rec) {
        self.machine.mask_interrupts();
    }

    fn entry_cancelled(&mut self, _: &Rec) {
        self.machine.unmask_interrupts();
    }

    fn interrupts_saved(&mut self, report: &RunReport) {
        if report.saved == Saved::Unused {
            self.counters.unused.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn after_exit(&mut self, _: Timers, _: bool) {
        self.machine.unmask_interrupts();
    }

    fn fault(&mut self, fault: Fault) -> Flow {
        let served = self.serve(fault);
        match self.stop {
            Some(_) => Flow::Leave,
            None => self.enter_or_leave(served),
        }
    }

    fn ripas_change(&mut self, rec: &Rec, change: RipasChange) -> Flow {
        let range = change.range();
        if !self.ram.contains_range(&range) {
            // It would get tables and shared memory there, as much as the host has.
            return self
                .leave(format_args!("a change of the RIPAS of {range}, which is not all RAM"));
        }
        let answer = self.change_ripas(rec, change);
        self.enter_or_leave(answer)
    }

    fn psci_notice(&mut self, notice: PsciNotice) -> Flow {
        self.leave(format_args!("an unexpected PSCI call: {notice:?}"))
    }

    fn system_error(&mut self, esr: Esr) -> Flow {
        self.leave(format_args!("a system error: {esr:?}"))
    }

    fn other(&mut self, exit: &Exit) -> Flow {
        self.leave(format_args!("an unexpected exit: {exit:?}"))
    }
}
