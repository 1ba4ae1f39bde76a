//! A handler of exits with a GIC and devices.

use core::fmt;

use rmi_abi::esr::Esr;
use rmi_abi::run::{GicEntry, GicExit};
use rmi_host::DefaultLock;
use rmi_host::lock_api::RawMutex;
use vgic_realm::VirtualInterface;

use super::RealmGic;
use crate::exit::{
    Exit, Fault, HostCall, MemoryError, MmioLoad, MmioStore, P2pBinding, PsciCall, PsciNotice,
    RipasChange, S2apChange, SharedFault, SysRegRead, SysRegWrite, VdevMapping, VdevRequest,
    VsmmuCommand, Wait,
};
use crate::mmio::MmioDispatch;
use crate::rec::Rec;
use crate::run::{Flow, Handler};
use crate::set::CpuOnDecision;
use crate::timer::Timers;

/// The handler of a REC with a GIC and devices: does all that both need, and leaves the rest to
/// another handler.
///
/// | Method of [`Handler`] | What it does | What the rest is asked |
/// |---|---|---|
/// | `before_entry` | loads the interrupts | before that: masks interrupts and preemption |
/// | `gic_entry`, `gic_exit` | copy the interrupts to and from the run page, where they are there | only of an interface that is not in the run page |
/// | `entry_cancelled` | saves the interrupts | after that: `interrupts_ended`, if some did, and `entry_cancelled`, which unmasks |
/// | `after_exit` | saves the interrupts, sets the lines of timers and PMU | after that: `interrupts_saved`, `interrupts_ended`, if some did, and `after_exit`, which unmasks |
/// | `cpu_off` | resets the virtual CPU interface | after that |
/// | `loop_ended` | hands on interrupts for any REC | after that |
/// | `wait`; `psci_notice` of `CPU_SUSPEND` | goes on if there is an interrupt, else [`Outcome::Waiting`](crate::set::Outcome::Waiting) | not |
/// | `mmio_load`, `mmio_store` | has the device serve it | `interrupts_ended`, if the store deactivated some |
/// | `sysreg_read`, `sysreg_write` | those of the GIC | those of other registers; `interrupts_ended`, if the write deactivated one |
/// | all others | nothing | yes |
///
/// What is not in a run remains for the thread: while the REC waits, it sleeps until a deadline at
/// most ([`Sleep::timeout`](crate::set::Sleep::timeout)), and then raises the timers that have
/// expired ([`RealmGic::set_timers`]).
pub struct GicHandler<'v, I, H, L: RawMutex = DefaultLock> {
    /// The GIC.
    pub gic: RealmGic<'v, L>,
    /// The REC's index in the GIC and in its set.
    pub index: usize,
    /// The registers of the CPU that enters the REC, or of the REC's run page:
    /// [`RecInterface`](super::RecInterface) is what the RMM uses.
    pub interface: I,
    /// The devices, among which are those of the GIC.
    pub bus: &'v dyn MmioDispatch,
    /// The handler of everything else.
    pub rest: H,
}

impl<I, H: Handler, L: RawMutex> GicHandler<'_, I, H, L> {
    /// Passes on what was deactivated by other means than a run.
    fn tell_ended(&mut self) {
        if let Some(ended) = self.gic.gic().take_ended(self.index) {
            self.rest.interrupts_ended(&ended);
        }
    }
}

impl<I: VirtualInterface, H: Handler, L: RawMutex> Handler for GicHandler<'_, I, H, L> {
    fn before_entry(&mut self, rec: &Rec) {
        self.rest.before_entry(rec);
        self.gic.load(self.index, &mut self.interface);
    }

    fn entry_cancelled(&mut self, rec: &Rec) {
        let report = self.gic.save(self.index, &mut self.interface);
        if !report.ended.is_empty() {
            self.rest.interrupts_ended(&report.ended);
        }
        self.rest.entry_cancelled(rec);
    }

    fn gic_entry(&mut self, gic: &mut GicEntry) {
        match self.interface.run_page() {
            Some(page) => (gic.hcr, gic.lrs) = page.enter(),
            None => self.rest.gic_entry(gic),
        }
    }

    fn gic_exit(&mut self, gic: &GicExit) {
        match self.interface.run_page() {
            Some(page) => page.exit(gic.hcr, gic.lrs, gic.misr, gic.vmcr),
            None => self.rest.gic_exit(gic),
        }
    }

    fn after_exit(&mut self, timers: Timers, pmu_overflow: bool) {
        let report = self.gic.after_exit(self.index, &mut self.interface, timers, pmu_overflow);
        self.rest.interrupts_saved(&report);
        if !report.ended.is_empty() {
            self.rest.interrupts_ended(&report.ended);
        }
        self.rest.after_exit(timers, pmu_overflow);
    }

    fn cpu_off(&mut self, rec: &Rec) {
        self.gic.turn_off(self.index);
        self.rest.cpu_off(rec);
    }

    fn loop_ended(&mut self, rec: &Rec) {
        self.gic.leave(self.index);
        self.rest.loop_ended(rec);
    }

    fn wait(&mut self, wait: Wait) -> Flow {
        self.gic.wait(self.index, wait)
    }

    fn psci_notice(&mut self, notice: PsciNotice) -> Flow {
        match notice {
            PsciNotice::CpuSuspend => self.gic.suspend(self.index),
            other => self.rest.psci_notice(other),
        }
    }

    fn mmio_load(&mut self, load: MmioLoad) -> Flow {
        Flow::Enter(self.bus.load(load))
    }

    fn mmio_store(&mut self, store: MmioStore) -> Flow {
        let answer = self.bus.store(store);
        self.tell_ended();
        Flow::Enter(answer)
    }

    fn sysreg_read(&mut self, read: SysRegRead) -> Flow {
        match self.gic.gic().read_sysreg(read.register()) {
            Some(value) => Flow::Enter(read.complete(value)),
            None => self.rest.sysreg_read(read),
        }
    }

    fn sysreg_write(&mut self, write: SysRegWrite) -> Flow {
        match self.gic.gic().write_sysreg(self.index, write.register(), write.value()) {
            Some(kicks) => {
                // First: a device may lower its line, and nobody has to see it.
                self.tell_ended();
                self.gic.notify(kicks);
                Flow::Enter(crate::Answer::resume())
            }
            None => self.rest.sysreg_write(write),
        }
    }

    fn fault(&mut self, fault: Fault) -> Flow {
        self.rest.fault(fault)
    }

    fn shared_fault(&mut self, fault: SharedFault) -> Flow {
        self.rest.shared_fault(fault)
    }

    fn memory_error(&mut self, error: MemoryError) -> Flow {
        self.rest.memory_error(error)
    }

    fn interrupt(&mut self) -> Flow {
        self.rest.interrupt()
    }

    fn psci_request(&mut self, rec: &Rec, call: PsciCall<'_>) -> Flow {
        self.rest.psci_request(rec, call)
    }

    fn cpu_on(&mut self, caller: &Rec, target: &Rec) -> CpuOnDecision {
        self.rest.cpu_on(caller, target)
    }

    fn ripas_change(&mut self, rec: &Rec, change: RipasChange) -> Flow {
        self.rest.ripas_change(rec, change)
    }

    fn s2ap_change(&mut self, rec: &Rec, change: S2apChange) -> Flow {
        self.rest.s2ap_change(rec, change)
    }

    fn host_call(&mut self, call: HostCall) -> Flow {
        self.rest.host_call(call)
    }

    fn vdev_request(&mut self, rec: &Rec, request: VdevRequest) -> Flow {
        self.rest.vdev_request(rec, request)
    }

    fn vdev_mapping(&mut self, rec: &Rec, mapping: VdevMapping) -> Flow {
        self.rest.vdev_mapping(rec, mapping)
    }

    fn p2p_binding(&mut self, rec: &Rec, binding: P2pBinding) -> Flow {
        self.rest.p2p_binding(rec, binding)
    }

    fn vsmmu_command(&mut self, command: VsmmuCommand) -> Flow {
        self.rest.vsmmu_command(command)
    }

    fn system_error(&mut self, esr: Esr) -> Flow {
        self.rest.system_error(esr)
    }

    fn other(&mut self, exit: &Exit) -> Flow {
        self.rest.other(exit)
    }
}

impl<I, H: fmt::Debug, L: RawMutex> fmt::Debug for GicHandler<'_, I, H, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GicHandler")
            .field("index", &self.index)
            .field("rest", &self.rest)
            .finish_non_exhaustive()
    }
}
