//! What the host does when a virtual CPU exits, beside its interrupts and devices.

use alloc::format;
use core::sync::atomic::Ordering;

use realm_guest::host_call::{STEP, VALUES, VERDICT};
use realm_guest::layout::{self, EXTRA, EXTRA_BYTES};
use realm_sdk::Error;
use realm_sdk::abi::rtt::Ripas;
use realm_sdk::abi::{Ipa, IpaRange};
use realm_sdk::builder::Served;
use realm_sdk::host::command::SharedAccess;
use realm_sdk::rec::exit::{Exit, Fault, HostCall, MemoryError, RipasChange, S2apChange};
use realm_sdk::rec::gic::RunReport;
use realm_sdk::rec::set::CpuOnDecision;
use realm_sdk::rec::{Answer, Flow, Handler, Rec, Timers};
use realm_sdk::vgic::Saved;

use super::{Running, Values};
use crate::frames::{CpuMemory, Pieces};
use crate::machine::Machine;

/// A virtual CPU on a physical one, without what `GicHandler` does.
pub(super) struct Vcpu<'r, 's, 'b, M: Machine> {
    pub(super) running: &'r Running<'s, 'b, M>,
    pub(super) index: usize,
    pub(super) memory: CpuMemory<'r, Pieces<'b>>,
    /// The counter value at which the loop ends, so that another virtual CPU runs.
    pub(super) slice_end: Option<u64>,
}

impl<M: Machine> Vcpu<'_, '_, '_, M> {
    /// Enters again, or ends everything because the host cannot go on.
    fn enter_or_end(&self, what: &str, answer: Result<Answer, Error>) -> Flow {
        match answer {
            Ok(answer) => Flow::Enter(answer),
            Err(error) => {
                self.running.give_up(format!("virtual CPU {}: {what}: {error}", self.index));
                Flow::Leave
            }
        }
    }

    fn serve(&mut self, fault: Fault) -> Result<Answer, Error> {
        let page = fault.page();
        let extra = IpaRange::with_size_or_empty(Ipa::new(EXTRA), EXTRA_BYTES);
        let windows = layout::pages().into_iter().chain([extra]);
        let window = windows.into_iter().find(|window| window.contains(page));
        let window = window.unwrap_or(IpaRange::with_size_or_empty(page, 0x1000));
        let around = self.running.plan.fault_window;
        let narrow = IpaRange::with_size_or_empty(page.align_down(around), around);
        let window = if window.contains_range(&narrow) { narrow } else { window };
        let realm = self.running.realm;
        match realm.serve_plane_fault(&mut self.memory, fault.rtt_tree(), page, window)? {
            Served::Mapped(range) => self.running.record.lock().add_mapped(range),
            Served::Present | Served::Contended(_) => {}
            other => {
                let index = self.index;
                self.running.give_up(format!("virtual CPU {index}: fault at {page}: {other:?}"));
            }
        }
        Ok(fault.retry())
    }

    /// Applies a change of RIPAS. What becomes EMPTY is shared or taken back; what becomes RAM is
    /// private again, or gets memory when it is touched.
    fn change_ripas(&mut self, rec: &Rec, change: RipasChange) -> Result<Answer, Error> {
        let (running, range) = (self.running, change.range());
        let (realm, calls) = (running.realm, running.plan.ripas_calls);
        if change.ripas() == Ripas::Ram && running.rejects_ram.load(Ordering::SeqCst) {
            return Ok(change.reject().unwrap_or_else(RipasChange::accept));
        }
        let reached = realm.set_ripas(&mut self.memory, rec.name(), range, calls)?;
        let changed = range.before(reached);
        match (change.ripas(), running.plan.shares) {
            _ if changed.is_empty() => {}
            (Ripas::Empty, true) => {
                // Of what has no memory, the Realm's accesses abort.
                let access = SharedAccess::MEMORY;
                let _ = realm.convert_to_shared(&mut self.memory, changed, access)?;
            }
            (Ripas::Empty, false) => {
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

impl<M: Machine> Handler for Vcpu<'_, '_, '_, M> {
    fn before_entry(&mut self, _: &Rec) {
        self.running.fixture.machine.mask_interrupts();
    }

    fn entry_cancelled(&mut self, _: &Rec) {
        self.running.fixture.machine.unmask_interrupts();
    }

    fn after_exit(&mut self, _: Timers, _: bool) {
        self.running.fixture.machine.unmask_interrupts();
    }

    fn interrupts_saved(&mut self, report: &RunReport) {
        if report.saved == Saved::Unused {
            let index = self.index;
            self.running.give_up(format!("virtual CPU {index}: its list registers were not used"));
        }
    }

    fn interrupt(&mut self) -> Flow {
        let now = self.running.fixture.machine.ticks();
        let is_over = self.slice_end.is_some_and(|end| now >= end);
        if is_over { Flow::Stop(Answer::resume()) } else { Flow::Enter(Answer::resume()) }
    }

    fn fault(&mut self, fault: Fault) -> Flow {
        let answer = self.serve(fault);
        self.enter_or_end("a fault", answer)
    }

    fn memory_error(&mut self, error: MemoryError) -> Flow {
        self.running.give_up(format!("virtual CPU {}: {error:?}", self.index));
        Flow::Leave
    }

    fn ripas_change(&mut self, rec: &Rec, change: RipasChange) -> Flow {
        let answer = self.change_ripas(rec, change);
        self.enter_or_end("a change of the RIPAS", answer)
    }

    fn s2ap_change(&mut self, rec: &Rec, change: S2apChange) -> Flow {
        let (realm, calls) = (self.running.realm, self.running.plan.ripas_calls);
        let changed = realm.set_s2ap(&mut self.memory, rec.name(), change.range(), calls);
        let answer = changed.map(|_| change.accept()).map_err(Error::from);
        self.enter_or_end("a change of permissions", answer)
    }

    fn cpu_on(&mut self, _: &Rec, _: &Rec) -> CpuOnDecision {
        let number = self.running.requests.fetch_add(1, Ordering::SeqCst) + 1;
        match self.running.plan.deny_every {
            0 => CpuOnDecision::Accept,
            every if number.is_multiple_of(every) => CpuOnDecision::Deny,
            _ => CpuOnDecision::Accept,
        }
    }

    fn host_call(&mut self, call: HostCall) -> Flow {
        let mut gprs = *call.gprs();
        let [x0, x1, x2, ..] = gprs;
        match call.imm() {
            VERDICT => self.running.record.lock().add_verdict(self.index, [x0, x1, x2]),
            VALUES => {
                let mut values = [0; 20];
                for (to, from) in values.iter_mut().zip(gprs.iter().skip(1)) {
                    *to = *from;
                }
                let values = Values { vcpu: self.index, what: x0, values };
                (self.running.plan.on_values)(self.running, &values);
                self.running.record.lock().add_values(values);
            }
            STEP => {
                let answer = (self.running.plan.on_step)(self.running, [x0, x1, x2]);
                self.running.steps.fetch_add(1, Ordering::SeqCst);
                if let Some(first) = gprs.first_mut() {
                    *first = answer;
                }
            }
            other => {
                self.running.give_up(format!("an unknown host call, {other:#x}"));
                return Flow::Enter(call.not_supported());
            }
        }
        Flow::Enter(call.complete(gprs))
    }

    fn other(&mut self, exit: &Exit) -> Flow {
        self.running.give_up(format!("virtual CPU {}: {exit:?}", self.index));
        Flow::Leave
    }
}
