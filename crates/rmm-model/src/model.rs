//! The public type of the model.

mod conduit;
mod cpu;
mod host_memory;
mod smc;
mod time;

use alloc::boxed::Box;
use core::fmt;
use core::mem;
use core::sync::atomic::AtomicBool;

use rmi_abi::Pa;
use rmi_host::{AccessFault, Host, Machine, OpenSessions, Registers};
use spin::Mutex;

use crate::granule::{Census, GranuleState};
use crate::guest::{DefaultGuest, Guest};
use crate::memory::{Memory, SparseMemory};
use crate::monitor::{Called, Entered, Monitor, Stepped};
use crate::options::{Options, OptionsError};
pub use cpu::{CallingCpu, Cpu};
pub use smc::RealCpu;

/// A machine with an RMM in it.
///
/// The RMM is not activated and all memory is host memory, zeroed. The model is `Sync`: calls from
/// several threads are served one at a time, except that a REC's program runs on its own, so that
/// other calls are served while a REC runs.
///
/// As a conduit, the model is physical CPU 0. A host with several threads, or with list registers
/// on other CPUs, calls through [`Model::cpu`] or, with one session for all threads, through
/// [`Model::calling_cpu`]: each CPU has its own virtual CPU interface, and a REC gets the
/// interrupts of the CPU that it is entered on. The model panics if a host names a wrong CPU: if it
/// enters a REC through the model itself after it wrote to the interface of another CPU, or if it
/// enters two RECs on the same CPU at once while the host or a Realm uses the interface of that
/// CPU.
pub struct Model {
    monitor: Mutex<Monitor>,
    /// Whether the token of the host's memory has been handed out.
    memory_taken: AtomicBool,
    sessions: OpenSessions,
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
    /// [`OptionsError`] when that RMM cannot be modelled.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        options.check()?;
        let memory = Box::new(SparseMemory::new(options.dram));
        Self::with_memory(options, memory)
    }

    /// The same with memory of its own, which has the content that it has.
    ///
    /// # Errors
    ///
    /// [`OptionsError`] when that RMM cannot be modelled, or `memory` does not have all of
    /// [`Options::dram`].
    pub fn with_memory(options: Options, memory: Box<dyn Memory>) -> Result<Self, OptionsError> {
        options.check()?;
        if !memory.contains(options.dram) {
            return Err(OptionsError::Memory(options.dram));
        }
        Ok(Self {
            monitor: Mutex::new(Monitor::new(options, memory)),
            memory_taken: AtomicBool::new(false),
            sessions: OpenSessions::new(Machine::simulated()),
        })
    }

    /// The identity of the machine, which no other model and no other machine has.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        self.sessions.machine()
    }

    /// A platform on this machine. Calls come from CPU 0; [`Cpu::host`] is for the others, and
    /// [`CallingCpu::host`] for a session that several threads share.
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

    /// A measurement of the Realm at `rd`: index 0 is the initial one, 1 to 4 are the Realm's own.
    /// The digest is in the low bytes.
    #[must_use]
    pub fn measurement(&self, rd: Pa, index: usize) -> Option<[u8; 64]> {
        self.monitor.lock().realms.get(&rd)?.measurements.get(index)
    }

    /// Whether the REC with that MPIDR of the Realm at `rd` is on, as PSCI means it; `None` if
    /// there is no such REC.
    #[must_use]
    pub fn is_on(&self, rd: Pa, mpidr: u64) -> Option<bool> {
        self.monitor.lock().is_on(rd, mpidr)
    }

    /// Gives the REC with that MPIDR of the Realm at `rd` its program, now or when it is created.
    /// A program is dropped with its REC or its Realm, or when another takes its place.
    ///
    /// Without a program, a REC spins: every entry ends with a fast interrupt.
    pub fn set_guest(&self, rd: Pa, mpidr: u64, guest: Box<dyn Guest>) {
        self.set_plane_guest(rd, mpidr, 0, guest);
    }

    /// The same for a plane of the REC, 1 or more: the program that runs while plane 0 has entered
    /// that plane. It acts as [`Model::set_guest`] says for a REC.
    pub fn set_plane_guest(&self, rd: Pa, mpidr: u64, plane: u8, guest: Box<dyn Guest>) {
        self.with_monitor(|monitor| {
            let replaced = monitor.guests.insert((rd, mpidr, plane.into()), guest);
            monitor.ended.extend(replaced);
        });
    }

    /// Gives every REC that has no program of its own one that `make` makes, when it is first
    /// entered, and every plane when it first runs. Where `make` makes none, the REC spins, and the
    /// next entry asks again. `make` is called with the model locked: it must not use the model.
    ///
    /// ```
    /// use rmi_abi::Dialect;
    /// use rmm_model::{Action, Guest, GuestIdentity, Model, Options, Script};
    ///
    /// let model = Model::new(Options::new(Dialect::V2_0Bet3))?;
    /// model.set_default_guest(Box::new(|identity: &GuestIdentity| {
    ///     let actions = match identity.personalization.first()? {
    ///         1 => vec![Action::psci_system_off()],
    ///         2 => vec![Action::psci_system_reset()],
    ///         _ => return None,
    ///     };
    ///     Some(Box::new(Script::new(actions)) as Box<dyn Guest>)
    /// }));
    /// # Ok::<(), rmm_model::OptionsError>(())
    /// ```
    pub fn set_default_guest(&self, make: DefaultGuest) {
        let replaced = self.monitor.lock().default_guest.replace(make);
        drop(replaced);
    }

    /// Uses the monitor. Programs that end meanwhile are dropped when it is not locked any more, as
    /// their destructors may take long and use the model.
    fn with_monitor<T>(&self, with: impl FnOnce(&mut Monitor) -> T) -> T {
        let mut monitor = self.monitor.lock();
        let result = with(&mut monitor);
        let ended = mem::take(&mut monitor.ended);
        drop(monitor);
        drop(ended);
        result
    }

    /// Calls that the RMM has seen.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.monitor.lock().calls
    }

    /// Stateful operations that are not complete.
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

    /// One call from a physical CPU. While a REC runs, the monitor is locked for each of its
    /// actions only.
    pub(crate) fn call_from(&self, cpu: u32, registers: Registers) -> Registers {
        self.call_interruptible(cpu, registers, &mut || false)
    }

    /// The same; `is_interrupted` is asked before each action, not locked, whether a physical
    /// interrupt is pending.
    fn call_interruptible(
        &self,
        cpu: u32,
        registers: Registers,
        is_interrupted: &mut dyn FnMut() -> bool,
    ) -> Registers {
        let entered = match self.with_monitor(|monitor| monitor.call(cpu, registers)) {
            Called::Answered(registers) => return registers,
            Called::Entered(entered) => entered,
        };
        let mut run = Run { model: self, entered, has_left: false };
        loop {
            let action = run.entered.next_action();
            let interrupted = is_interrupted();
            let stepped = self.with_monitor(|monitor| {
                monitor.cpu(cpu).interrupted |= interrupted;
                monitor.step(&mut run.entered, action)
            });
            match stepped {
                Stepped::On => {}
                Stepped::Waits => relax(),
                Stepped::Left(registers) => {
                    run.has_left = true;
                    return registers;
                }
            }
        }
    }

    /// One call through the model itself, which is the conduit of CPU 0.
    ///
    /// # Panics
    ///
    /// If it enters a REC although the host programs the virtual CPU interface of another CPU: what
    /// it loaded there would be lost.
    #[expect(
        clippy::panic,
        reason = "a mistake in the host's program, which no status of an RMM describes"
    )]
    pub(crate) fn call_from_first(&self, registers: Registers) -> Registers {
        let other = self.monitor.lock().other_cpu_programmed(&registers);
        if let Some(other) = other {
            panic!(
                "a REC is entered on physical CPU 0, but CPU {other} has the virtual CPU \
                 interface that the host loaded: the conduit must be the calling \
                 CPU's (Model::cpu, Model::calling_cpu)"
            );
        }
        self.call_from(0, registers)
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

/// Lets other threads run while a REC waits.
fn relax() {
    #[cfg(feature = "std")]
    std::thread::yield_now();
    #[cfg(not(feature = "std"))]
    core::hint::spin_loop();
}

/// A REC that runs. If its program panics, the REC leaves.
struct Run<'m> {
    model: &'m Model,
    entered: Box<Entered>,
    has_left: bool,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if !self.has_left {
            self.model.monitor.lock().abandon(&self.entered);
        }
    }
}
