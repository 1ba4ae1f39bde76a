//! A Realm's program for one virtual CPU, which the model executes instead of instructions.
//!
//! A program is asked for one [`Action`] at a time and gets the outcome of the last one. The model
//! carries actions out as the architecture and the RMM would: through stage 2, into memory, into
//! exits. A program is a list of actions ([`Script`]), a closure, or a function that calls methods
//! of its CPU: an async one ([`AsyncGuest`]), or one on a thread (`ThreadGuest`, with `std`).

mod forced;
mod future;
mod gic;
#[cfg(feature = "std")]
mod thread;
mod vcpu;

use alloc::boxed::Box;
use alloc::vec::Vec;

pub use rmi_abi::esr::SysReg;
use rmi_abi::esr::{AbortSeverity, ExceptionClass, FaultStatus};
use rmi_abi::psci::PsciFunction;
use rmi_abi::realm::RPV_BYTES;
use rmi_abi::rtt::Ripas;
use rmi_abi::run::RUN_GPRS;
use rmi_abi::{Ipa, Pa};

use crate::rsi;
pub use forced::{DeviceRequest, ForgedExit};
pub use future::{AsyncGuest, AsyncVcpu};
#[cfg(feature = "std")]
pub use thread::{ThreadGuest, ThreadVcpu};
pub use vcpu::Exception;

/// A Realm's program for one virtual CPU.
pub trait Guest: Send {
    /// What the CPU does next. Called without any lock of the model held, so it may take long; it
    /// must not enter the REC that it runs on. If it panics, so does the caller of
    /// `RMI_REC_ENTER`; the REC has left then, without an exit record, and has no program.
    fn next(&mut self, cpu: &GuestCpu) -> Action;

    /// Whether an action that an exit interrupted is done again at the next entry, as a CPU does
    /// with an instruction. A program that returns false is asked for its next action instead.
    fn repeats(&self) -> bool {
        true
    }
}

/// Makes the program of a REC that has none; see
/// [`Model::set_default_guest`](crate::Model::set_default_guest).
pub type DefaultGuest = Box<dyn Fn(&GuestIdentity) -> Option<Box<dyn Guest>> + Send>;

/// The virtual CPU, and the plane of it, that a program is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestIdentity {
    /// The descriptor of the Realm.
    pub rd: Pa,
    /// The personalization value that the host gave the Realm.
    #[doc(alias = "rpv")]
    pub personalization: [u8; RPV_BYTES],
    /// The MPIDR of the REC.
    pub mpidr: u64,
    /// The plane; 0 is the one that the REC starts in.
    pub plane: u8,
}

impl<F: FnMut(&GuestCpu) -> Action + Send> Guest for F {
    fn next(&mut self, cpu: &GuestCpu) -> Action {
        self(cpu)
    }
}

/// What a program sees of its CPU.
#[derive(Clone, Copy, Debug)]
pub struct GuestCpu {
    /// X0 to X30.
    pub x: [u64; RUN_GPRS],
    /// Program counter; each completed action counts as one instruction of 4 bytes.
    pub pc: u64,
    /// The outcome of the last action.
    pub last: Outcome,
    /// The virtual interrupt of group 1 that the CPU interface signals now: pending, enabled, and
    /// urgent enough for the priority mask and what is active. None while the host has the
    /// interface off.
    pub irq: Option<u32>,
    /// The same, of group 0.
    pub fiq: Option<u32>,
    /// The plane that runs.
    pub plane: u64,
}

/// The outcome of an action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// There was no action yet.
    #[default]
    None,
    /// A load gave this value, zero-extended.
    Loaded(u64),
    /// A system register had this value.
    Read(u64),
    /// A store was done.
    Stored,
    /// An instruction was fetched.
    Fetched,
    /// The access took a synchronous external abort; the program counter is at the vector.
    Aborted,
    /// The instruction is undefined in a Realm; the program counter is at the vector.
    Undefined,
    /// An SMC returned; the result is in X0 and up.
    Returned,
    /// The action has no result.
    Done,
}

/// Which of the EL1 timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimerKind {
    /// `CNTV_*`
    Virtual,
    /// `CNTP_*`
    Physical,
}

/// One thing that a virtual CPU does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Loads 1, 2, 4 or 8 bytes; the address must be a multiple of that.
    Load {
        /// The address.
        ipa: Ipa,
        /// Bytes: 1, 2, 4 or 8.
        bytes: u8,
    },
    /// Stores the low 1, 2, 4 or 8 bytes of a value; the address must be a multiple of that.
    Store {
        /// The address.
        ipa: Ipa,
        /// Bytes: 1, 2, 4 or 8.
        bytes: u8,
        /// The value.
        value: u64,
    },
    /// Fetches an instruction at an address and continues after it.
    Fetch {
        /// The address.
        ipa: Ipa,
    },
    /// Sets X0 to X17 and executes SMC.
    Smc([u64; 18]),
    /// Executes HVC, which is undefined in a Realm.
    Hvc,
    /// Waits for an interrupt. As on a CPU, it is not trapped when one is there already; if it is
    /// not trapped, see [`Options::wait_polls`](crate::Options::wait_polls).
    Wfi,
    /// Waits for an event. If it is not trapped, it ends at once: there may always be one.
    Wfe,
    /// Waits for an interrupt until the virtual counter has this value.
    Wfit {
        /// The deadline, in ticks.
        deadline: u64,
    },
    /// Waits for an event until the virtual counter has this value, as [`Action::Wfit`].
    Wfet {
        /// The deadline, in ticks.
        deadline: u64,
    },
    /// Writes a general purpose register, 0 to 30. This is not an instruction: the program counter
    /// stays.
    Set {
        /// Number of the register.
        register: u8,
        /// Its new value.
        value: u64,
    },
    /// Continues at another address. This is not an instruction, either.
    Jump {
        /// The new program counter.
        pc: u64,
    },
    /// Reads a system register into a general purpose register. Those of the CPU interface
    /// (`ICC_*_EL1`) and of the EL1 timers (`CNT*_EL0`) are there, others read as zero.
    SysRegRead {
        /// The register.
        register: SysReg,
        /// Number of the general purpose register.
        into: u8,
    },
    /// Writes a system register. Those of the CPU interface (`ICC_*_EL1`) and of the EL1 timers
    /// (`CNT*_EL0`) are there, writes to others have no effect.
    SysRegWrite {
        /// The register.
        register: SysReg,
        /// The value.
        value: u64,
    },
    /// Writes the control and compare registers of a timer at once. A script that does not care for
    /// the clock sets ISTATUS (bit 2 of the control): the condition is met then, whatever the
    /// counter says, until the control is written again.
    Timer {
        /// Which timer.
        kind: TimerKind,
        /// Control: ENABLE bit 0, IMASK bit 1, ISTATUS bit 2.
        ctl: u64,
        /// Compare value.
        cval: u64,
    },
    /// A physical interrupt arrives.
    Interrupt,
    /// A fast physical interrupt arrives.
    Fiq,
    /// A system error arrives, with this syndrome as the hardware reports it.
    SError {
        /// `ESR_EL2`
        esr: u64,
    },
    /// The instruction takes a synchronous exception to the RMM, with these syndromes as the
    /// hardware reports them.
    Sync {
        /// `ESR_EL2`
        esr: u64,
        /// `FAR_EL2`
        far: u64,
        /// `HPFAR_EL2`
        hpfar: u64,
    },
    /// Makes a request about a device, by a call: X0 and up are as after an SMC.
    Device(DeviceRequest),
    /// Has the RMM write an exit record of any content.
    Forge(ForgedExit),
    /// Does nothing until the REC exits for a fast interrupt of the host.
    Spin,
}

impl Action {
    /// An SMC with a function identifier and arguments from X1 on; arguments after the 17th are
    /// dropped.
    #[must_use]
    pub fn smc(function: u64, arguments: &[u64]) -> Self {
        let mut x = [0; 18];
        let [x0, rest @ ..] = &mut x;
        *x0 = function;
        for (to, from) in rest.iter_mut().zip(arguments) {
            *to = *from;
        }
        Self::Smc(x)
    }

    /// A load, or the fetch of an instruction, to which memory answers with an error: a synchronous
    /// external abort of this severity. `FAR_EL2` and `HPFAR_EL2` hold values that mean nothing.
    ///
    /// As TF-RMM: the host sees the syndrome and no address, and a recoverable error aborts in the
    /// Realm as well.
    #[must_use]
    pub fn memory_error(is_fetch: bool, severity: AbortSeverity) -> Self {
        let class =
            if is_fetch { ExceptionClass::InstructionAbort } else { ExceptionClass::DataAbort };
        let status = FaultStatus::SynchronousExternal.encode();
        let esr = u64::from(u8::from(class)) << 26
            | 1 << 25
            | u64::from(u8::from(severity) & 0b11) << 11
            | u64::from(status);
        Self::Sync { esr, far: 0xf00, hpfar: 0xf0 }
    }

    /// `RSI_HOST_CALL` with the structure at `structure`, 256-byte aligned and protected.
    #[must_use]
    pub fn host_call(structure: Ipa) -> Self {
        Self::smc(rsi::HOST_CALL, &[structure.raw()])
    }

    /// `RSI_IPA_STATE_SET` of `[base, top)`. Bit 0 of `flags` asks to change DESTROYED pages too.
    #[must_use]
    pub fn ipa_state_set(base: Ipa, top: Ipa, ripas: Ripas, flags: u64) -> Self {
        let ripas = u64::from(u8::from(ripas));
        Self::smc(rsi::IPA_STATE_SET, &[base.raw(), top.raw(), ripas, flags])
    }

    /// `RSI_IPA_STATE_GET` of `[base, top)`.
    #[must_use]
    pub fn ipa_state_get(base: Ipa, top: Ipa) -> Self {
        Self::smc(rsi::IPA_STATE_GET, &[base.raw(), top.raw()])
    }

    /// `RSI_VERSION`, asking for `version`: minor in bits 15:0, major in bits 30:16.
    #[must_use]
    pub fn rsi_version(version: u64) -> Self {
        Self::smc(rsi::VERSION, &[version])
    }

    /// `RSI_REALM_CONFIG`, written to the page at `page`.
    #[must_use]
    pub fn realm_config(page: Ipa) -> Self {
        Self::smc(rsi::REALM_CONFIG, &[page.raw()])
    }

    /// `RSI_MEASUREMENT_READ`: 0 is the initial measurement, 1 to 4 the extensible ones.
    #[must_use]
    pub fn measurement_read(index: u64) -> Self {
        Self::smc(rsi::MEASUREMENT_READ, &[index])
    }

    /// `RSI_MEASUREMENT_EXTEND` of 1 to 4 by the low `size` bytes of the value.
    #[must_use]
    pub fn measurement_extend(index: u64, size: u64, value: [u64; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = value;
        Self::smc(rsi::MEASUREMENT_EXTEND, &[index, size, a, b, c, d, e, f, g, h])
    }

    /// `RSI_ATTESTATION_TOKEN_INIT` with a challenge, which begins a new token on this CPU. X1 is
    /// then an upper bound of its size in bytes.
    #[must_use]
    pub fn attestation_token_init(challenge: [u64; 8]) -> Self {
        Self::smc(rsi::ATTESTATION_TOKEN_INIT, &challenge)
    }

    /// `RSI_ATTESTATION_TOKEN_CONTINUE`: up to `size` bytes of the token, written to the page at
    /// `page` from `offset` on. X1 is then the number of bytes written; X0 is 3 while there are
    /// more.
    #[must_use]
    pub fn attestation_token_continue(page: Ipa, offset: u64, size: u64) -> Self {
        Self::smc(rsi::ATTESTATION_TOKEN_CONTINUE, &[page.raw(), offset, size])
    }

    /// `RSI_FEATURES`: a feature register of the Realm's interface.
    #[must_use]
    pub fn rsi_features(index: u64) -> Self {
        Self::smc(rsi::FEATURES, &[index])
    }

    /// `RSI_MEM_GET_PERM_VALUE` of a plane, for an overlay index of 0 to 14.
    #[must_use]
    pub fn mem_get_perm_value(plane: u64, index: u64) -> Self {
        Self::smc(rsi::MEM_GET_PERM_VALUE, &[plane, index])
    }

    /// `RSI_MEM_SET_PERM_VALUE` of a plane, 1 or more, for an overlay index.
    #[must_use]
    pub fn mem_set_perm_value(plane: u64, index: u64, value: u64) -> Self {
        Self::smc(rsi::MEM_SET_PERM_VALUE, &[plane, index, value])
    }

    /// `RSI_MEM_SET_PERM_INDEX` of `[base, top)`. The handle is 0 at first, and what the last call
    /// gave in X3 then.
    #[must_use]
    pub fn mem_set_perm_index(base: Ipa, top: Ipa, index: u64, handle: u64) -> Self {
        Self::smc(rsi::MEM_SET_PERM_INDEX, &[base.raw(), top.raw(), index, handle])
    }

    /// `RSI_PLANE_ENTER` of a plane, 1 or more, with the run page at `run`.
    #[must_use]
    pub fn plane_enter(plane: u64, run: Ipa) -> Self {
        Self::smc(rsi::PLANE_ENTER, &[plane, run.raw()])
    }

    /// `RSI_PLANE_SYSREG_READ` of a register of a plane, 1 or more.
    #[must_use]
    pub fn plane_sysreg_read(plane: u64, register: SysReg) -> Self {
        Self::smc(rsi::PLANE_SYSREG_READ, &[plane, encoding(register)])
    }

    /// `RSI_PLANE_SYSREG_WRITE` of a register of a plane, 1 or more.
    #[must_use]
    pub fn plane_sysreg_write(plane: u64, register: SysReg, value: u64) -> Self {
        Self::smc(rsi::PLANE_SYSREG_WRITE, &[plane, encoding(register), value])
    }

    fn psci(function: PsciFunction, arguments: &[u64]) -> Self {
        Self::smc(u64::from(u32::from(function)), arguments)
    }

    /// `PSCI_CPU_ON` of the CPU with that MPIDR (aff3 in bits 39:32).
    #[must_use]
    pub fn psci_cpu_on(mpidr: u64, entry: u64, context: u64) -> Self {
        Self::psci(PsciFunction::CpuOn64, &[mpidr, entry, context])
    }

    /// `PSCI_AFFINITY_INFO` of the CPU with that MPIDR.
    #[must_use]
    pub fn psci_affinity_info(mpidr: u64) -> Self {
        Self::psci(PsciFunction::AffinityInfo64, &[mpidr, 0])
    }

    /// `PSCI_CPU_OFF`.
    #[must_use]
    pub fn psci_cpu_off() -> Self {
        Self::psci(PsciFunction::CpuOff, &[])
    }

    /// `PSCI_CPU_SUSPEND`.
    #[must_use]
    pub fn psci_cpu_suspend() -> Self {
        Self::psci(PsciFunction::CpuSuspend64, &[])
    }

    /// `PSCI_SYSTEM_OFF`.
    #[must_use]
    pub fn psci_system_off() -> Self {
        Self::psci(PsciFunction::SystemOff, &[])
    }

    /// `PSCI_SYSTEM_RESET`.
    #[must_use]
    pub fn psci_system_reset() -> Self {
        Self::psci(PsciFunction::SystemReset, &[])
    }
}

/// A program that is a list of actions; after the last it spins.
#[derive(Clone, Debug)]
pub struct Script {
    actions: alloc::vec::IntoIter<Action>,
}

impl Script {
    /// The program that does these actions in order.
    #[must_use]
    pub fn new(actions: Vec<Action>) -> Self {
        Self { actions: actions.into_iter() }
    }
}

impl Guest for Script {
    fn next(&mut self, _: &GuestCpu) -> Action {
        self.actions.next().unwrap_or(Action::Spin)
    }
}

/// A register as `RSI_PLANE_SYSREG_*` and KVM encode it.
pub(crate) fn encoding(register: SysReg) -> u64 {
    let SysReg { op0, op1, crn, crm, op2 } = register;
    u64::from(op0) << 14
        | u64::from(op1) << 11
        | u64::from(crn) << 7
        | u64::from(crm) << 3
        | u64::from(op2)
}
