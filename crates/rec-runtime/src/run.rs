//! A run loop with a handler, for embedders without their own loop.

use rmi_abi::esr::{AbortSeverity, Esr};
use rmi_abi::run::{GicEntry, GicExit};
use rmi_host::{Failed, Platform, Rmm};
use sro::EnterError;
use vgic_realm::EndedInterrupts;

use crate::answer::Answer;
use crate::exit::{
    Exit, Fault, HostCall, MemoryError, MmioLoad, MmioStore, P2pBinding, PsciCall, PsciNotice,
    RipasChange, S2apChange, SharedFault, SysRegRead, SysRegWrite, VdevMapping, VdevRequest,
    VsmmuCommand, Wait,
};
use crate::gic::RunReport;
use crate::kick::Kick;
use crate::rec::{Rec, RunPageInterface};
use crate::set::{CpuOnDecision, PhysicalCpus};
use crate::timer::Timers;

/// What the run loop does next.
#[derive(Debug)]
#[must_use]
pub enum Flow {
    /// Enters the REC again, with this answer.
    Enter(Answer),
    /// Leaves the loop. The next entry takes this answer, or another for the same exit.
    Stop(Answer),
    /// Leaves the loop without an answer: this exit stays unanswered.
    Leave,
}

/// How a host handles a REC's exits.
///
#[doc = include_str!("../pictures/run_loop.svg")]
///
/// Every method has a safe default: accesses abort, requests are refused, and exits that this crate
/// does not know end the loop.
pub trait Handler {
    /// Called just before each entry: mask interrupts and load the REC's virtual CPU interface
    /// (`vgic_realm::InterfaceState::load`) here. Either [`Handler::after_exit`] or
    /// [`Handler::entry_cancelled`] follows.
    fn before_entry(&mut self, rec: &Rec) {
        let _ = rec;
    }

    /// Called instead of [`Handler::after_exit`] when there is no exit to handle. After a [`Kick`],
    /// or an error that [is clean](rmi_host::Error::is_clean), there was no entry: undo what
    /// [`Handler::before_entry`] did. After any other error the REC may have run, and the interface
    /// may have changed: save it in either case.
    fn entry_cancelled(&mut self, rec: &Rec) {
        let _ = rec;
    }

    /// Called before each entry in a dialect that has the virtual CPU interface in the run page
    /// ([`Dialect::gic_in_run_page`](rmi_abi::Dialect::gic_in_run_page)), after
    /// [`Handler::before_entry`]: fill in what that loaded (`vgic_realm::RunPage::enter`). By
    /// default it is as for the entry before: empty, or as [`Rec::set_gic`] set it.
    ///
    /// Source: DEN0137 1.0-rel0, `RmiRecEnter`.
    fn gic_entry(&mut self, gic: &mut GicEntry) {
        let _ = gic;
    }

    /// Called after each exit that has the virtual CPU interface in the run page, before
    /// [`Handler::after_exit`]: take it from there (`vgic_realm::RunPage::exit`). Not called after
    /// an exit before the REC ran, which does not have it: the registers were not used then.
    ///
    /// Source: DEN0137 1.0-rel0, `RmiRecExit`.
    fn gic_exit(&mut self, gic: &GicExit) {
        let _ = gic;
    }

    /// Called after each exit, before it is handled: save the virtual CPU interface
    /// (`vgic_realm::InterfaceState::save`), and update the lines of the timers' interrupts.
    fn after_exit(&mut self, timers: Timers, pmu_overflow: bool) {
        let _ = (timers, pmu_overflow);
    }

    /// In a [`GicHandler`](crate::gic::GicHandler): what the run did to the REC's interrupts.
    /// Called after each exit, before [`Handler::after_exit`], with interrupts still masked.
    ///
    /// [`Saved::Unused`](vgic_realm::Saved::Unused) should be reported: no interrupt reaches the
    /// Realm.
    fn interrupts_saved(&mut self, report: &RunReport) {
        let _ = report;
    }

    /// In a [`GicHandler`](crate::gic::GicHandler): level-sensitive interrupts that the Realm
    /// ended. Each end is told once. A host that lowers a line only when it is asked to asks its
    /// devices now, so that the next entry does not deliver the interrupt again.
    ///
    /// Called after [`Handler::interrupts_saved`] with what ended in the run, interrupts still
    /// masked; and while an exit is handled that deactivates interrupts: a store to the registers
    /// of the GIC, a trapped write of `ICC_DIR_EL1`.
    fn interrupts_ended(&mut self, ended: &EndedInterrupts) {
        let _ = ended;
    }

    /// Called when the run loop of a REC in a [`RecSet`](crate::RecSet) ends with anything but
    /// [`Outcome::Waiting`](crate::set::Outcome::Waiting), an error included: its thread may do
    /// something else from here on, so interrupts for any REC go to others
    /// ([`RealmGic::leave`](crate::gic::RealmGic::leave)).
    fn loop_ended(&mut self, rec: &Rec) {
        let _ = rec;
    }

    /// A load from a device.
    fn mmio_load(&mut self, load: MmioLoad) -> Flow {
        Flow::Enter(load.abort())
    }

    /// A store to a device.
    fn mmio_store(&mut self, store: MmioStore) -> Flow {
        Flow::Enter(store.abort())
    }

    /// Private memory is missing.
    fn fault(&mut self, fault: Fault) -> Flow {
        let _ = fault;
        Flow::Leave
    }

    /// An access to an unprotected IPA that cannot be emulated.
    fn shared_fault(&mut self, fault: SharedFault) -> Flow {
        Flow::Enter(fault.abort())
    }

    /// Memory reported an error. By default the REC is entered again only after an error that is
    /// recoverable, as the Realm takes an abort then.
    fn memory_error(&mut self, error: MemoryError) -> Flow {
        match error.severity() {
            Some(AbortSeverity::Recoverable) => Flow::Enter(Answer::resume()),
            _ => Flow::Leave,
        }
    }

    /// A read of a trapped system register.
    fn sysreg_read(&mut self, read: SysRegRead) -> Flow {
        Flow::Enter(read.complete(0))
    }

    /// A write of a trapped system register.
    fn sysreg_write(&mut self, write: SysRegWrite) -> Flow {
        let _ = write;
        Flow::Enter(Answer::resume())
    }

    /// The Realm waits for an interrupt or event.
    ///
    /// In a [`RecSet`](crate::RecSet), [`Flow::Stop`] is
    /// [`Outcome::Waiting`](crate::set::Outcome::Waiting), unless the wait has ended meanwhile.
    fn wait(&mut self, wait: Wait) -> Flow {
        let _ = wait;
        Flow::Stop(Answer::resume())
    }

    /// A physical interrupt arrived, or a timer's line changed.
    fn interrupt(&mut self) -> Flow {
        Flow::Enter(Answer::resume())
    }

    /// A PSCI call of `rec` about another REC. What is not completed here can be completed after
    /// the loop, see [`PsciCall::into_request`].
    ///
    /// Not called in a [`RecSet`](crate::RecSet), which completes these calls:
    /// [`Handler::cpu_on`].
    fn psci_request(&mut self, rec: &Rec, call: PsciCall<'_>) -> Flow {
        let _ = (rec, call);
        Flow::Leave
    }

    /// In a [`RecSet`](crate::set::RecSet), which completes PSCI calls itself: whether `caller` may
    /// turn `target` on. Not called when the set's limit denies it.
    fn cpu_on(&mut self, caller: &Rec, target: &Rec) -> CpuOnDecision {
        let _ = (caller, target);
        CpuOnDecision::Accept
    }

    /// In a [`RecSet`](crate::set::RecSet): `rec` has turned itself off (`CPU_OFF`). Called after
    /// [`Handler::after_exit`], before another thread sees that it is off; also if a `CPU_ON` of it
    /// has been accepted meanwhile. Reset its virtual CPU interface here
    /// ([`RealmGic::turn_off`](crate::gic::RealmGic::turn_off)).
    ///
    /// Not called when the whole Realm turns itself off: no REC runs again.
    fn cpu_off(&mut self, rec: &Rec) {
        let _ = rec;
    }

    /// A PSCI call that the host should know about.
    ///
    /// In a [`RecSet`](crate::RecSet) only for `CPU_SUSPEND` and functions without a name: the set
    /// handles the others. There [`Flow::Stop`] for `CPU_SUSPEND` is
    /// [`Outcome::Waiting`](crate::set::Outcome::Waiting).
    fn psci_notice(&mut self, notice: PsciNotice) -> Flow {
        match notice {
            PsciNotice::CpuSuspend => Flow::Stop(Answer::resume()),
            _ => Flow::Leave,
        }
    }

    /// The Realm asks, on `rec`, to change the RIPAS of a range of its memory. By default a change
    /// to RAM is rejected; a change to EMPTY cannot be, and ends the loop.
    fn ripas_change(&mut self, rec: &Rec, change: RipasChange) -> Flow {
        let _ = rec;
        match change.reject() {
            Ok(answer) => Flow::Enter(answer),
            Err(_) => Flow::Leave,
        }
    }

    /// The Realm asks, on `rec`, to change stage 2 permissions.
    fn s2ap_change(&mut self, rec: &Rec, change: S2apChange) -> Flow {
        let _ = rec;
        Flow::Enter(change.reject())
    }

    /// The Realm calls the host.
    fn host_call(&mut self, call: HostCall) -> Flow {
        Flow::Enter(call.not_supported())
    }

    /// The RMM asks, for a call that the Realm made on `rec`, which virtual device has an
    /// identifier.
    fn vdev_request(&mut self, rec: &Rec, request: VdevRequest) -> Flow {
        let _ = rec;
        Flow::Enter(request.reject())
    }

    /// The Realm asks, on `rec`, to map memory of a device.
    fn vdev_mapping(&mut self, rec: &Rec, mapping: VdevMapping) -> Flow {
        let _ = rec;
        Flow::Enter(mapping.reject())
    }

    /// The Realm asks, on `rec`, to bind two virtual devices.
    fn p2p_binding(&mut self, rec: &Rec, binding: P2pBinding) -> Flow {
        let _ = rec;
        Flow::Enter(binding.reject())
    }

    /// The Realm has written a command for a virtual SMMU. By default the loop ends: the command
    /// cannot be refused.
    fn vsmmu_command(&mut self, command: VsmmuCommand) -> Flow {
        let _ = command;
        Flow::Leave
    }

    /// A system error ([`Exit::SError`]). By default the loop ends, whatever the severity.
    fn system_error(&mut self, esr: Esr) -> Flow {
        let _ = esr;
        Flow::Leave
    }

    /// Any other exit. None of them needs an answer.
    fn other(&mut self, exit: &Exit) -> Flow {
        let _ = exit;
        Flow::Leave
    }
}

/// Why a run loop ended.
#[derive(Debug)]
#[must_use]
pub enum RunEnd {
    /// By [`Flow::Stop`]: the REC may be entered again with this answer.
    Stopped(Answer),
    /// By [`Flow::Leave`]: the handler gave no answer.
    Left,
    /// A [`Kick`] requested it.
    Kicked(Answer),
}

impl Rec {
    /// Enters the REC repeatedly, passing its exits to `handler`, until the handler or `kick` ends
    /// the loop.
    ///
    #[doc = include_str!("../pictures/run_loop.svg")]
    ///
    /// # Errors
    ///
    /// As [`Rec::enter`].
    pub fn run<P: Platform>(
        &self,
        rmm: &Rmm<P>,
        answer: Answer,
        handler: &mut (impl Handler + ?Sized),
        kick: &Kick,
    ) -> Result<RunEnd, Failed<Option<Answer>, EnterError>> {
        self.run_loop(rmm, answer, handler, kick, None)
    }

    /// As [`Rec::run`]; and [`Kick::interrupt`] ends a run in progress: `cpus` says on which CPU it
    /// is, and is asked after [`Handler::before_entry`].
    ///
    /// # Errors
    ///
    /// As [`Rec::enter`].
    pub fn run_on<P: Platform>(
        &self,
        cpus: &dyn PhysicalCpus,
        rmm: &Rmm<P>,
        answer: Answer,
        handler: &mut (impl Handler + ?Sized),
        kick: &Kick,
    ) -> Result<RunEnd, Failed<Option<Answer>, EnterError>> {
        let ended = self.run_loop(rmm, answer, handler, kick, Some(cpus));
        kick.leave();
        ended
    }

    fn run_loop<P: Platform>(
        &self,
        rmm: &Rmm<P>,
        mut answer: Answer,
        handler: &mut (impl Handler + ?Sized),
        kick: &Kick,
        cpus: Option<&dyn PhysicalCpus>,
    ) -> Result<RunEnd, Failed<Option<Answer>, EnterError>> {
        if let Err(error) = self.check_alone() {
            return Err(Failed::new(Some(answer), error));
        }
        loop {
            handler.before_entry(self);
            if kick.is_due(cpus.map(PhysicalCpus::current)) {
                handler.entry_cancelled(self);
                return Ok(RunEnd::Kicked(answer));
            }
            let mut exit = Exit::Irq;
            let lines = match self.enter_into(rmm, &answer, &mut OfHandler(handler), &mut exit) {
                Ok(lines) => lines,
                Err(error) => {
                    handler.entry_cancelled(self);
                    return Err(Failed::new(error.is_clean().then_some(answer), error));
                }
            };
            handler.after_exit(lines.timers, lines.pmu_overflow);
            answer = match dispatch(exit, rmm, self, handler) {
                Flow::Enter(answer) => answer,
                Flow::Stop(answer) => return Ok(RunEnd::Stopped(answer)),
                Flow::Leave => return Ok(RunEnd::Left),
            };
        }
    }
}

/// The virtual CPU interface that a handler has.
pub(crate) struct OfHandler<'h, H: ?Sized>(pub(crate) &'h mut H);

impl<H: Handler + ?Sized> RunPageInterface for OfHandler<'_, H> {
    fn enter(&mut self, gic: &mut GicEntry) {
        self.0.gic_entry(gic);
    }

    fn exit(&mut self, gic: &GicExit) {
        self.0.gic_exit(gic);
    }
}

/// Passes an exit to the handler. Part of each loop, so that the exit is not moved.
#[inline(always)]
pub(crate) fn dispatch<P: Platform>(
    exit: Exit,
    rmm: &Rmm<P>,
    rec: &Rec,
    handler: &mut (impl Handler + ?Sized),
) -> Flow {
    match exit {
        Exit::MmioLoad(load) => handler.mmio_load(load),
        Exit::MmioStore(store) => handler.mmio_store(store),
        Exit::Fault(fault) => handler.fault(fault),
        Exit::SharedFault(fault) => handler.shared_fault(fault),
        Exit::SysRegRead(read) => handler.sysreg_read(read),
        Exit::SysRegWrite(write) => handler.sysreg_write(write),
        Exit::MemoryError(error) => handler.memory_error(error),
        Exit::Wait(wait) => handler.wait(wait),
        Exit::Irq | Exit::Fiq => handler.interrupt(),
        Exit::PsciRequest(request) => {
            PsciCall::pass(request, rmm, rec, |call| handler.psci_request(rec, call))
        }
        Exit::PsciNotice(notice) => handler.psci_notice(notice),
        Exit::RipasChange(change) => handler.ripas_change(rec, change),
        Exit::S2apChange(change) => handler.s2ap_change(rec, change),
        Exit::HostCall(call) => handler.host_call(call),
        Exit::SError { esr } => handler.system_error(esr),
        Exit::VdevRequest(request) => handler.vdev_request(rec, request),
        Exit::VdevMapping(mapping) => handler.vdev_mapping(rec, mapping),
        Exit::P2pBinding(binding) => handler.p2p_binding(rec, binding),
        Exit::VsmmuCommand(command) => handler.vsmmu_command(command),
        other @ (Exit::Abort(_) | Exit::UnknownSync { .. } | Exit::Unknown { .. }) => {
            handler.other(&other)
        }
    }
}
