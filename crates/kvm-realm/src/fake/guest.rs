//! What a vCPU of the fake kernel does.

use std::collections::VecDeque;

/// What a vCPU does next.
///
/// Addresses are those that the guest uses: of a Realm, shared memory and devices are in the upper
/// half of its address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Reads 8 bytes of RAM; [`Outcome::Value`] or [`Outcome::Aborted`].
    Load(u64),
    /// Writes 8 bytes of RAM; [`Outcome::Done`] or [`Outcome::Aborted`].
    Store(u64, u64),
    /// Reads from a device: its address, and 1, 2, 4 or 8 bytes; [`Outcome::Value`].
    MmioLoad(u64, u32),
    /// Writes to a device: its address, the value, and its bytes; [`Outcome::Done`].
    MmioStore(u64, u64, u32),
    /// Asks for another RIPAS of a range of protected memory; [`Outcome::Done`].
    SetRipas {
        /// First address.
        base: u64,
        /// End.
        top: u64,
        /// Whether it becomes RAM, private to the Realm; otherwise empty, so that the other half's
        /// memory can be used.
        ram: bool,
    },
    /// Makes a hypercall with X0 to X6, X0 being the function; [`Outcome::Registers`].
    Hypercall([u64; 7]),
    /// PSCI CPU_ON: the target's MPIDR, where it starts, and its X0; [`Outcome::Psci`].
    CpuOn(u64, u64, u64),
    /// PSCI CPU_OFF. If the vCPU is turned on again, [`Outcome::Started`].
    CpuOff,
    /// PSCI SYSTEM_OFF. Ends the guest.
    SystemOff,
    /// PSCI SYSTEM_RESET. Ends the guest.
    SystemReset,
    /// Asks the VMM to validate a mapping of a device: the device, first address, end, and the
    /// physical address; [`Outcome::Validated`].
    ValidateMapping(u64, u64, u64, u64),
    /// `KVM_RUN` returns `EINTR`, as if a signal had come; [`Outcome::Done`].
    Interrupted,
    /// The RMM does not enter the REC, as right after another has turned it on; [`Outcome::Done`].
    NotYetOn,
    /// An exit that is none of those above: its reason and the first bytes of its description;
    /// [`Outcome::Done`].
    Exit(u32, [u64; 4]),
    /// The same, and `KVM_RUN` returns `EFAULT`; [`Outcome::Done`].
    ExitWithFault(u32, [u64; 4]),
    /// Accesses a private page that is broken: `KVM_RUN` returns `EHWPOISON`, each time.
    Poisoned(u64),
    /// The RMM exits for a reason that KVM does not know. Ends the guest.
    UnknownExit,
}

/// What came of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The vCPU starts: at this address, with this value in X0.
    Started(u64, u64),
    /// It is done.
    Done,
    /// It is done; the value that was read.
    Value(u64),
    /// The access was aborted: the guest gets an exception.
    Aborted,
    /// What PSCI returns: 0, or -2 for invalid parameters, -3 for denied, -4 for already on.
    Psci(i64),
    /// X0 to X3 after a hypercall.
    Registers([u64; 4]),
    /// Whether the VMM has validated the mapping.
    Validated(bool),
}

/// A program for a vCPU. Functions from [`Outcome`] to [`Action`] are programs, too.
pub trait Guest: Send {
    /// What the vCPU does next, after what came of its last action.
    fn next(&mut self, outcome: Outcome) -> Action;
}

impl<F: FnMut(Outcome) -> Action + Send> Guest for F {
    fn next(&mut self, outcome: Outcome) -> Action {
        self(outcome)
    }
}

/// A program that does one thing after the other, and turns the system off at the end.
#[derive(Clone, Debug)]
pub struct Script(VecDeque<Action>);

impl Script {
    /// A program that does these things.
    #[must_use]
    pub fn new(actions: impl IntoIterator<Item = Action>) -> Self {
        Self(actions.into_iter().collect())
    }
}

impl Guest for Script {
    fn next(&mut self, _: Outcome) -> Action {
        self.0.pop_front().unwrap_or(Action::SystemOff)
    }
}
