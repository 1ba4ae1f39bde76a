//! The power of CPUs, by PSCI.
//!
//! Source: Arm DEN0022 1.1 (PSCI).

use rmi_abi::psci::{PsciFunction, PsciReturnCode};

/// PSCI 1.1.
const VERSION: u64 = 0x1_0001;
/// `AFFINITY_INFO`: a call of `CPU_ON` was accepted, and the CPU has not started yet.
const ON_PENDING: u64 = 2;
/// Aff0 to Aff3 of an MPIDR.
const AFFINITY: u64 = 0xff_00ff_ffff;
/// `PSCI_FEATURES` also tells whether there is `SMCCC_VERSION`.
const SMCCC_VERSION: u32 = 0x8000_0000;

/// Where a CPU starts at EL2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The physical address of its first instruction.
    pub entry: u64,
    /// X0 there.
    pub context: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    Off,
    Pending(Start),
    On,
}

/// What has to be done after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call returns with this in X0.
    Return(u64),
    /// The call returns with 0 in X0, and a CPU may have to be woken up, so that it finds its
    /// [`Start`].
    Started,
    /// The calling CPU stops until it has a [`Start`].
    Off,
    /// The machine is turned off.
    SystemOff,
    /// The machine is reset.
    SystemReset,
}

impl From<PsciReturnCode> for Outcome {
    fn from(code: PsciReturnCode) -> Self {
        Self::Return(code.to_register())
    }
}

/// The CPUs of the machine, at most `N`, and which of them are on.
#[derive(Debug)]
pub struct Cpus<const N: usize> {
    /// Of each CPU its affinity and its power.
    cpus: [Option<(u64, Power)>; N],
}

impl<const N: usize> Cpus<N> {
    /// The CPUs with these MPIDRs, of which the first is on; those beyond `N` do not exist.
    pub fn new(mpidrs: impl IntoIterator<Item = u64>) -> Self {
        let mut cpus = [None; N];
        let powers = core::iter::once(Power::On).chain(core::iter::repeat(Power::Off));
        for ((slot, mpidr), power) in cpus.iter_mut().zip(mpidrs).zip(powers) {
            *slot = Some((mpidr & AFFINITY, power));
        }
        Self { cpus }
    }

    /// The number of the CPU with that MPIDR.
    #[must_use]
    pub fn number(&self, mpidr: u64) -> Option<usize> {
        let is_it = |cpu: &Option<(u64, Power)>| cpu.is_some_and(|(it, _)| it == mpidr & AFFINITY);
        self.cpus.iter().position(is_it)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.cpus.iter().flatten().count()
    }

    fn power(&mut self, mpidr: u64) -> Option<&mut Power> {
        // Other bits than those of affinities are no CPU's.
        let number = self.number(mpidr).filter(|_| mpidr & !AFFINITY == 0)?;
        let (_, power) = self.cpus.get_mut(number)?.as_mut()?;
        Some(power)
    }

    /// Where a CPU starts that was turned on. It is on then.
    pub fn take_start(&mut self, number: usize) -> Option<Start> {
        let (_, power) = self.cpus.get_mut(number)?.as_mut()?;
        let Power::Pending(start) = *power else { return None };
        *power = Power::On;
        Some(start)
    }

    /// A call by the CPU `caller`, if it is one of PSCI; `None` for other functions. `can_start` is
    /// whether there is memory at an address where a CPU may start.
    pub fn call(
        &mut self,
        caller: usize,
        x: [u64; 4],
        can_start: impl FnOnce(u64) -> bool,
    ) -> Option<Outcome> {
        let [function, x1, x2, x3] = x;
        let function = PsciFunction::from_register(function);
        // Arguments of an SMC32 call are 32 bits.
        let low = |x: u64| x & u64::from(u32::MAX);
        Some(match function {
            PsciFunction::Version => Outcome::Return(VERSION),
            PsciFunction::CpuOn32 => self.turn_on(low(x1), low(x2), low(x3), can_start),
            PsciFunction::CpuOn64 => self.turn_on(x1, x2, x3, can_start),
            PsciFunction::AffinityInfo32 => self.affinity_info(low(x1), low(x2)),
            PsciFunction::AffinityInfo64 => self.affinity_info(x1, low(x2)),
            PsciFunction::CpuOff => {
                if let Some(Some((_, power))) = self.cpus.get_mut(caller) {
                    *power = Power::Off;
                }
                Outcome::Off
            }
            PsciFunction::SystemOff => Outcome::SystemOff,
            PsciFunction::SystemReset => Outcome::SystemReset,
            PsciFunction::Features => features(PsciFunction::from_register(low(x1))).into(),
            // Optional, and one CPU that sleeps is as good as one that does not.
            _ if is_psci(function) => PsciReturnCode::NotSupported.into(),
            _ => return None,
        })
    }

    fn turn_on(
        &mut self,
        mpidr: u64,
        entry: u64,
        context: u64,
        can_start: impl FnOnce(u64) -> bool,
    ) -> Outcome {
        let Some(power) = self.power(mpidr) else {
            return PsciReturnCode::InvalidParameters.into();
        };
        match power {
            Power::On => PsciReturnCode::AlreadyOn.into(),
            Power::Pending(_) => PsciReturnCode::OnPending.into(),
            Power::Off if !entry.is_multiple_of(4) || !can_start(entry) => {
                PsciReturnCode::InvalidAddress.into()
            }
            Power::Off => {
                *power = Power::Pending(Start { entry, context });
                Outcome::Started
            }
        }
    }

    fn affinity_info(&mut self, mpidr: u64, level: u64) -> Outcome {
        match self.power(mpidr) {
            // Only the level of CPUs, as version 1.0 and later allow.
            Some(power) if level == 0 => match power {
                Power::On => PsciReturnCode::Success.into(),
                Power::Off => PsciReturnCode::Off.into(),
                Power::Pending(_) => Outcome::Return(ON_PENDING),
            },
            _ => PsciReturnCode::InvalidParameters.into(),
        }
    }
}

/// Whether a function is in the range of PSCI.
fn is_psci(function: PsciFunction) -> bool {
    matches!(u32::from(function) & !0x4000_001f, 0x8400_0000)
}

/// The answer of `PSCI_FEATURES`.
fn features(function: PsciFunction) -> PsciReturnCode {
    match function {
        PsciFunction::Version
        | PsciFunction::CpuOff
        | PsciFunction::CpuOn32
        | PsciFunction::CpuOn64
        | PsciFunction::AffinityInfo32
        | PsciFunction::AffinityInfo64
        | PsciFunction::SystemOff
        | PsciFunction::SystemReset
        | PsciFunction::Features
        | PsciFunction::Unknown(SMCCC_VERSION) => PsciReturnCode::Success,
        _ => PsciReturnCode::NotSupported,
    }
}

#[cfg(test)]
mod tests;
