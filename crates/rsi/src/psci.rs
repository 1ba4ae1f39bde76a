//! PSCI, as an RMM offers it to a Realm: CPUs are turned on and off.
//!
//! Source: Arm DEN0022; DEN0137 1.0-rel0, "PSCI".
#![expect(unsafe_code, reason = "turning a CPU on starts code")]

use core::fmt;

use rmi_abi::Ipa;
use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::psci::{PsciFunction, PsciReturnCode};

use crate::conduit::{Conduit, Registers};

/// PSCI by way of a conduit.
#[derive(Clone, Copy, Debug)]
pub struct Psci<C> {
    conduit: C,
}

/// A PSCI call that did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PsciError {
    /// The function.
    pub function: PsciFunction,
    /// What the RMM answered. Functions that do not return have an error of any code if they do.
    pub code: PsciReturnCode,
}

impl fmt::Display for PsciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.name().unwrap_or("PSCI"))?;
        match self.code.name() {
            Some(name) => write!(f, ": {name}"),
            None => write!(f, ": return code {}", i64::from(self.code)),
        }
    }
}

impl core::error::Error for PsciError {}

/// Whether a CPU is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuPower {
    /// It runs, or may be run.
    On,
    /// It is off.
    Off,
    /// It is being turned on.
    OnPending,
}

impl<C: Conduit> Psci<C> {
    /// PSCI of the RMM that this program runs under.
    pub const fn new(conduit: C) -> Self {
        Self { conduit }
    }

    /// The version of PSCI.
    ///
    /// # Errors
    ///
    /// [`PsciError`] with a negative code.
    #[doc(alias = "PSCI_VERSION")]
    pub fn version(&self) -> Result<InterfaceVersion, PsciError> {
        let function = PsciFunction::Version;
        let code = self.harmless(function, [0; 3]);
        match u32::try_from(i64::from(code)) {
            Ok(word) => Ok(InterfaceVersion(word.into())),
            Err(_) => Err(PsciError { function, code }),
        }
    }

    /// Whether there is a function, by its number.
    ///
    /// # Errors
    ///
    /// [`PsciError`] with any code but [`PsciReturnCode::NotSupported`].
    #[doc(alias = "PSCI_FEATURES")]
    pub fn has(&self, function: PsciFunction) -> Result<bool, PsciError> {
        let number = u32::from(function);
        let code = self.harmless(PsciFunction::Features, [number.into(), 0, 0]);
        match code {
            PsciReturnCode::NotSupported => Ok(false),
            // A bit field, of which an RMM sets none.
            code if i64::from(code) >= 0 => Ok(true),
            code => Err(PsciError { function: PsciFunction::Features, code }),
        }
    }

    /// Turns a CPU on: it starts at `entry` at EL1 with the MMU off, interrupts masked, and
    /// `context` in X0. `mpidr` is as in `MPIDR_EL1`: aff3 in bits 39:32.
    ///
    /// # Errors
    ///
    /// [`PsciError`]; [`PsciReturnCode::Denied`] where the host refuses.
    ///
    /// # Safety
    ///
    /// What is at `entry` may run on that CPU.
    #[doc(alias = "PSCI_CPU_ON")]
    pub unsafe fn cpu_on(&self, mpidr: u64, entry: Ipa, context: u64) -> Result<(), PsciError> {
        let function = PsciFunction::CpuOn64;
        // SAFETY: the caller answers for the code that starts.
        match unsafe { self.call(function, [mpidr, entry.raw(), context]) } {
            PsciReturnCode::Success => Ok(()),
            code => Err(PsciError { function, code }),
        }
    }

    /// Turns this CPU off. It returns only if that was refused.
    #[doc(alias = "PSCI_CPU_OFF")]
    pub fn cpu_off(&self) -> PsciError {
        let function = PsciFunction::CpuOff;
        PsciError { function, code: self.harmless(function, [0; 3]) }
    }

    /// Lets this CPU wait in the host until the host enters it again. An RMM returns to the caller,
    /// with the registers that it had: the state is a standby state.
    ///
    /// # Errors
    ///
    /// [`PsciError`].
    #[doc(alias = "PSCI_CPU_SUSPEND")]
    pub fn cpu_suspend(&self) -> Result<(), PsciError> {
        let function = PsciFunction::CpuSuspend64;
        match self.harmless(function, [0; 3]) {
            PsciReturnCode::Success => Ok(()),
            code => Err(PsciError { function, code }),
        }
    }

    /// Whether a CPU is on.
    ///
    /// # Errors
    ///
    /// [`PsciError`]; [`PsciReturnCode::InvalidParameters`] if there is no such CPU.
    #[doc(alias = "PSCI_AFFINITY_INFO")]
    pub fn affinity_info(&self, mpidr: u64) -> Result<CpuPower, PsciError> {
        let function = PsciFunction::AffinityInfo64;
        match self.harmless(function, [mpidr, 0, 0]) {
            PsciReturnCode::Success => Ok(CpuPower::On),
            PsciReturnCode::Off => Ok(CpuPower::Off),
            PsciReturnCode::Unknown(2) => Ok(CpuPower::OnPending),
            code => Err(PsciError { function, code }),
        }
    }

    /// Ends the Realm: no CPU of it ever runs again. It returns only if that was refused.
    #[doc(alias = "PSCI_SYSTEM_OFF")]
    pub fn system_off(&self) -> PsciError {
        let function = PsciFunction::SystemOff;
        PsciError { function, code: self.harmless(function, [0; 3]) }
    }

    /// The same, and asks the host to start the Realm anew. It returns only if that was refused.
    #[doc(alias = "PSCI_SYSTEM_RESET")]
    pub fn system_reset(&self) -> PsciError {
        let function = PsciFunction::SystemReset;
        PsciError { function, code: self.harmless(function, [0; 3]) }
    }

    /// A call that starts no code.
    fn harmless(&self, function: PsciFunction, arguments: [u64; 3]) -> PsciReturnCode {
        // SAFETY: PSCI calls name no memory but the entry of `PSCI_CPU_ON`, which is not made here;
        // `PSCI_CPU_SUSPEND` of an RMM ignores its own.
        unsafe { self.call(function, arguments) }
    }

    /// # Safety
    ///
    /// That of [`Conduit::call`].
    unsafe fn call(&self, function: PsciFunction, arguments: [u64; 3]) -> PsciReturnCode {
        let number = u32::from(function);
        let [a, b, c] = arguments;
        let mut registers: Registers = [0; 18];
        let [x0, x1, x2, x3, ..] = &mut registers;
        (*x0, *x1, *x2, *x3) = (number.into(), a, b, c);
        // SAFETY: the caller's promise is passed on unchanged.
        let [x0, ..] = unsafe { self.conduit.call(registers) };
        decode(number, x0)
    }
}

/// The return code in X0. That of an SMC32 function has 32 bits; bit 30 of the number tells.
fn decode(function: u32, x0: u64) -> PsciReturnCode {
    if function & (1 << 30) != 0 {
        return PsciReturnCode::from_register(x0);
    }
    let [a, b, c, d, ..] = x0.to_le_bytes();
    i64::from(i32::from_le_bytes([a, b, c, d])).into()
}
