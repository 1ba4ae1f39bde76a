//! The model as its users hold it.

mod door;
mod host_memory;

use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::AtomicBool;

use rmi_abi::Pa;
use rmi_host::{AccessFault, Host, Machine, Registers};
use spin::Mutex;

use crate::gic::{LIST_REGISTERS, VirtualInterface};
use crate::granule::{Census, GranuleState};
use crate::guest::Guest;
use crate::monitor::{Called, Monitor, Stepped};
use crate::options::{Options, OptionsError};

/// A machine with an RMM in it.
///
/// The RMM is not activated and all memory is host memory, zeroed. The model is `Sync`: calls from several threads are served one
/// at a time, except that a REC's program runs on its own, so that other calls are served while a REC runs.
pub struct Model {
    monitor: Mutex<Monitor>,
    /// Whether the token of the host's memory has been handed out.
    memory_taken: AtomicBool,
    machine: Machine,
}

/// Threads of a host share one machine.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Model>();
    is_shared::<Cpu<'_>>();
};

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("options", &self.options()).finish_non_exhaustive()
    }
}

impl Model {
    /// A machine as `options` describe it.
    ///
    /// # Errors
    ///
    /// [`OptionsError`] when the model cannot play that RMM.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self {
            monitor: Mutex::new(Monitor::new(options)),
            memory_taken: AtomicBool::new(false),
            machine: Machine::simulated(),
        })
    }

    /// The machine: no other model, and nothing else, is this one.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        self.machine
    }

    /// A platform on this machine. Calls come from CPU 0; [`Cpu::host`] is for the others.
    ///
    /// ```
    /// use rmi_abi::Dialect;
    /// use rmi_host::CountingLedger;
    /// use rmm_model::{Model, Options};
    ///
    /// let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
    /// let ledger = CountingLedger::new();
    /// let platform = model.host().with_ledger(&ledger);
    /// # let _ = platform;
    /// # Ok::<(), rmm_model::OptionsError>(())
    /// ```
    #[must_use]
    pub const fn host(&self) -> Host<&Self, &Self> {
        Host::new(self, self)
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> Options {
        self.monitor.lock().options.clone()
    }

    /// The door of one physical CPU. Any number exists; the model itself is the door of CPU 0.
    #[must_use]
    pub fn cpu(&self, number: u32) -> Cpu<'_> {
        Cpu { model: self, number }
    }

    /// The granules of the machine, counted by state.
    #[must_use]
    pub fn census(&self) -> Census {
        self.monitor.lock().granules.census()
    }

    /// The state of the granule that holds `pa`; `None` outside memory.
    #[must_use]
    pub fn granule_state(&self, pa: Pa) -> Option<GranuleState> {
        self.monitor.lock().granules.state(pa)
    }

    /// A measurement of the Realm at `rd`: index 0 is the initial one, 1 to 4 are the Realm's own. The digest is in the low bytes.
    #[must_use]
    pub fn measurement(&self, rd: Pa, index: usize) -> Option<[u8; 64]> {
        self.monitor.lock().realms.get(&rd)?.measurements.get(index)
    }

    /// Gives the REC with that MPIDR of the Realm at `rd` its program, now or when it is created. The programs of a Realm go with it.
    ///
    /// Without a program, a REC spins: every entry ends with a fast interrupt.
    pub fn set_guest(&self, rd: Pa, mpidr: u64, guest: Box<dyn Guest>) {
        self.monitor.lock().guests.insert((rd, mpidr), guest);
    }

    /// Gives every REC that has no program of its own, when it is first entered, one that `make` makes. `make` must not use the model.
    pub fn set_default_guest(&self, make: Box<dyn Fn() -> Box<dyn Guest> + Send>) {
        self.monitor.lock().default_guest = Some(make);
    }

    /// Calls that the RMM has seen.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.monitor.lock().calls
    }

    /// Stateful operations that are not over.
    #[must_use]
    pub fn open_operations(&self) -> usize {
        self.monitor.lock().operations.count()
    }

    /// Reads memory in any state; what lies outside reads as zero.
    pub fn peek(&self, pa: Pa, into: &mut [u8]) {
        self.monitor.lock().memory.read(pa, into);
    }

    /// Writes memory in any state; what lies outside is dropped.
    pub fn poke(&self, pa: Pa, from: &[u8]) {
        self.monitor.lock().memory.write(pa, from);
    }

    /// Makes `bytes` bytes of memory equal to `byte`, in any state; what lies outside is dropped.
    pub fn fill(&self, pa: Pa, bytes: u64, byte: u8) {
        self.monitor.lock().memory.fill(pa, bytes, byte);
    }

    /// One call from a physical CPU. While a REC runs, the monitor is held for each of its actions only.
    pub(crate) fn call_from(&self, cpu: u32, registers: Registers) -> Registers {
        let called = self.monitor.lock().call(cpu, registers);
        let mut entered = match called {
            Called::Answered(registers) => return registers,
            Called::Entered(entered) => entered,
        };
        loop {
            let action = entered.next_action();
            let stepped = self.monitor.lock().step(&mut entered, action);
            if let Stepped::Left(registers) = stepped {
                return registers;
            }
        }
    }

    /// The first byte of a range that the host cannot reach; `None` if it reaches all of them.
    pub(crate) fn host_fault(&self, at: Pa, bytes: u64) -> Option<Pa> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.monitor.lock().is_host_memory(at, bytes).err()
    }

    fn read_as_host(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        let monitor = self.monitor.lock();
        monitor.is_host_memory(at, into.len()).map_err(|at| AccessFault { at })?;
        monitor.memory.read(at, into);
        Ok(())
    }

    fn write_as_host(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        let mut monitor = self.monitor.lock();
        monitor.is_host_memory(at, from.len()).map_err(|at| AccessFault { at })?;
        monitor.memory.write(at, from);
        Ok(())
    }
}

/// One physical CPU of the machine: a door to the RMM, and the GIC registers that the host programs before it enters a REC.
#[derive(Clone, Copy, Debug)]
pub struct Cpu<'m> {
    model: &'m Model,
    number: u32,
}

impl Cpu<'_> {
    /// List registers of a CPU.
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

    fn interface<T>(&self, with: impl FnOnce(&mut VirtualInterface) -> T) -> T {
        with(self.model.monitor.lock().cpus.entry(self.number).or_default())
    }

    /// `ICH_LR<n>_EL2`; 0 where no such register exists.
    #[must_use]
    pub fn list_register(&self, n: usize) -> u64 {
        self.interface(|interface| interface.list(n))
    }

    /// Writes `ICH_LR<n>_EL2`; in vain where no such register exists.
    pub fn set_list_register(&self, n: usize, value: u64) {
        self.interface(|interface| interface.set_list(n, value));
    }

    /// `ICH_HCR_EL2`. The RMM clears `En` (bit 0) whenever a REC exits.
    #[must_use]
    pub fn hcr(&self) -> u64 {
        self.interface(|interface| interface.hcr)
    }

    /// Writes `ICH_HCR_EL2`.
    pub fn set_hcr(&self, value: u64) {
        self.interface(|interface| interface.hcr = value);
    }

    /// `ICH_VMCR_EL2`.
    #[must_use]
    pub fn vmcr(&self) -> u64 {
        self.interface(|interface| interface.vmcr)
    }

    /// Writes `ICH_VMCR_EL2`.
    pub fn set_vmcr(&self, value: u64) {
        self.interface(|interface| interface.vmcr = value);
    }
}
