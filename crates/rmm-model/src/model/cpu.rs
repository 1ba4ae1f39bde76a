//! The machine's physical CPUs, as the host uses them.

use core::fmt;

use rmi_host::{Host, Registers};
use vgic_realm::{VirtualInterface, Vtr};

use super::Model;
use crate::cpu::{PhysicalCpu, low_half};
use crate::gic::{Group, LIST_REGISTERS};

impl Model {
    /// One physical CPU. Every number exists; as a conduit, the model itself is CPU 0.
    #[must_use]
    pub const fn cpu(&self, number: u32) -> Cpu<'_> {
        Cpu { model: self, number }
    }

    /// The physical CPU that the caller is on, as `number` says: the conduit of a session that
    /// several threads share. On hardware an SMC is made on the CPU that executes it; here `number`
    /// tells which that is, for example from a thread-local variable.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::thread;
    ///
    /// use rmi_abi::Dialect;
    /// use rmm_model::{Model, Options};
    ///
    /// thread_local! { static CPU: Cell<u32> = const { Cell::new(0) } }
    ///
    /// let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
    /// let conduit = model.calling_cpu(|| CPU.get());
    /// thread::scope(|scope| {
    ///     for number in 1..4 {
    ///         let conduit = &conduit;
    ///         scope.spawn(move || {
    ///             CPU.set(number);
    ///             assert_eq!(conduit.cpu().number(), number);
    ///         });
    ///     }
    /// });
    /// # Ok::<(), rmm_model::OptionsError>(())
    /// ```
    pub const fn calling_cpu<F: Fn() -> u32>(&self, number: F) -> CallingCpu<'_, F> {
        CallingCpu { model: self, number }
    }
}

/// One physical CPU of the machine: a conduit to the RMM, and the GIC registers that the host
/// programs before it enters a REC.
///
/// As a [`VirtualInterface`], a host loads a REC's virtual interrupts into it.
#[derive(Clone, Copy, Debug)]
pub struct Cpu<'m> {
    pub(super) model: &'m Model,
    number: u32,
}

impl Cpu<'_> {
    /// Most list registers of a CPU; [`Options::list_registers`](crate::Options::list_registers)
    /// says how many there are.
    pub const LIST_REGISTERS: usize = LIST_REGISTERS;

    /// A platform whose calls come from this CPU.
    #[must_use]
    pub const fn host(self) -> Host<Self, Self> {
        Host::new(self, self)
    }

    /// Number of the CPU.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn call_from_here(&self, registers: Registers) -> Registers {
        self.model.call_from(self.number, registers)
    }

    fn with<T>(&self, with: impl FnOnce(&mut PhysicalCpu) -> T) -> T {
        with(self.model.monitor.lock().cpu(self.number))
    }

    /// `ICH_LR<n>_EL2`; 0 where no such register exists.
    #[must_use]
    pub fn list_register(&self, n: usize) -> u64 {
        self.with(|cpu| cpu.interface.list(n))
    }

    /// Writes `ICH_LR<n>_EL2`; no effect where no such register exists.
    pub fn set_list_register(&self, n: usize, value: u64) {
        self.with(|cpu| cpu.program().set_list(n, value));
    }

    /// `ICH_HCR_EL2`. The RMM clears `En` (bit 0) whenever a REC exits.
    #[must_use]
    pub fn hcr(&self) -> u64 {
        self.with(|cpu| cpu.interface.hcr())
    }

    /// Writes `ICH_HCR_EL2`.
    pub fn set_hcr(&self, value: u64) {
        self.with(|cpu| cpu.program().set_hcr(value));
    }

    /// `ICH_VMCR_EL2`. The RMM leaves it as the Realm set it.
    #[must_use]
    pub fn vmcr(&self) -> u64 {
        self.with(|cpu| cpu.interface.vmcr())
    }

    /// Writes `ICH_VMCR_EL2`.
    pub fn set_vmcr(&self, value: u64) {
        self.with(|cpu| cpu.program().set_vmcr(value));
    }

    /// `ICH_AP0R<n>_EL2`; 0 where no such register exists. The RMM leaves it as the Realm set it.
    #[must_use]
    pub fn ap0r(&self, n: usize) -> u64 {
        self.with(|cpu| cpu.interface.active(Group::Zero, n).into())
    }

    /// Writes `ICH_AP0R<n>_EL2`; no effect where no such register exists.
    pub fn set_ap0r(&self, n: usize, value: u64) {
        self.with(|cpu| cpu.program().set_active(Group::Zero, n, low_half(value)));
    }

    /// `ICH_AP1R<n>_EL2`; 0 where no such register exists. The RMM leaves it as the Realm set it.
    #[must_use]
    pub fn ap1r(&self, n: usize) -> u64 {
        self.with(|cpu| cpu.interface.active(Group::One, n).into())
    }

    /// Writes `ICH_AP1R<n>_EL2`; no effect where no such register exists.
    pub fn set_ap1r(&self, n: usize, value: u64) {
        self.with(|cpu| cpu.program().set_active(Group::One, n, low_half(value)));
    }

    /// `ICH_MISR_EL2`: why the maintenance interrupt is signalled.
    #[must_use]
    pub fn misr(&self) -> u64 {
        self.with(|cpu| cpu.interface.misr())
    }

    /// `ICH_VTR_EL2`, the same on all CPUs of a machine.
    #[must_use]
    pub fn vtr(&self) -> Vtr {
        Vtr::from_raw(self.with(|cpu| cpu.interface.vtr().value().into()))
    }

    /// Sends a physical interrupt to this CPU, from any thread.
    ///
    /// The run of a REC there ends with an exit for IRQ once the action in progress has ended. If
    /// none runs, the interrupt stays pending, and ends the next run before its first action;
    /// [`Cpu::take_interrupt`] takes it before that.
    pub fn interrupt(&self) {
        self.with(|cpu| cpu.interrupted = true);
    }

    /// Takes a physical interrupt that is pending on this CPU; returns whether there was one. An
    /// exit for IRQ takes it as well.
    #[expect(clippy::must_use_candidate, reason = "also called to be rid of it")]
    pub fn take_interrupt(&self) -> bool {
        self.with(|cpu| core::mem::take(&mut cpu.interrupted))
    }
}

impl VirtualInterface for Cpu<'_> {
    fn vtr(&self) -> Vtr {
        Self::vtr(self)
    }
    fn list_register(&self, n: usize) -> u64 {
        Self::list_register(self, n)
    }
    fn set_list_register(&mut self, n: usize, value: u64) {
        Self::set_list_register(self, n, value);
    }
    fn hcr(&self) -> u64 {
        Self::hcr(self)
    }
    fn set_hcr(&mut self, value: u64) {
        Self::set_hcr(self, value);
    }
    fn vmcr(&self) -> u64 {
        Self::vmcr(self)
    }
    fn set_vmcr(&mut self, value: u64) {
        Self::set_vmcr(self, value);
    }
    fn ap0r(&self, n: usize) -> u64 {
        Self::ap0r(self, n)
    }
    fn set_ap0r(&mut self, n: usize, value: u64) {
        Self::set_ap0r(self, n, value);
    }
    fn ap1r(&self, n: usize) -> u64 {
        Self::ap1r(self, n)
    }
    fn set_ap1r(&mut self, n: usize, value: u64) {
        Self::set_ap1r(self, n, value);
    }
    fn misr(&self) -> u64 {
        Self::misr(self)
    }
}

/// The physical CPU that the caller is on: made by [`Model::calling_cpu`].
#[derive(Clone, Copy)]
pub struct CallingCpu<'m, F> {
    pub(super) model: &'m Model,
    number: F,
}

impl<F> fmt::Debug for CallingCpu<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallingCpu").finish_non_exhaustive()
    }
}

impl<'m, F: Fn() -> u32> CallingCpu<'m, F> {
    /// A platform whose calls come from the CPU of the thread that makes them.
    pub const fn host(&self) -> Host<&Self, &Self> {
        Host::new(self, self)
    }

    /// The CPU that the caller is on now.
    pub fn cpu(&self) -> Cpu<'m> {
        self.model.cpu((self.number)())
    }
}
