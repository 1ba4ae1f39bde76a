//! vCPUs of a Realm: what they start with, and running them.
//!
//! ```text
//! create ──▶ init ──▶ registers ──▶ (Populated::activate) ──▶ run ⇄ exits
//! ```
//!
//! A VMM has one [`RealmVcpu`] for each vCPU, in the order of their numbers: number 0 starts, the
//! others are turned on by PSCI. KVM answers PSCI calls. Up to v13 the VMM may do that itself
//! ([`smccc::forward_psci`](crate::smccc::forward_psci)); the RMM must then be told what became of
//! a call ([`RealmVcpu::complete_psci`]) before either vCPU runs, and a run without that is
//! refused.

use std::os::fd::{AsFd, BorrowedFd};

use rmi_abi::rtt::Geometry;
use thiserror::Error;

use crate::calls::Calls;
use crate::errno::Errno;
use crate::error::{CallError, Operation};
use crate::exit::{Context, Exit, MMIO_DATA, RUN_BYTES, TIO_RESPONSE};
use crate::kernel::{Kernel, Vcpu, VcpuInit};
use crate::kick::Kick;
use crate::registers::Register;
use crate::uapi::{
    EXIT_MEMORY_FAULT, VCPU_PMU_V3, VCPU_POWER_OFF, VCPU_PSCI_0_2, VCPU_PTRAUTH_ADDRESS,
    VCPU_PTRAUTH_GENERIC, VCPU_SVE, run,
};
use crate::vector_lengths::{self, VectorLengths};

/// What SMCCC returns for a function that there is not.
const NOT_SUPPORTED: u64 = u64::MAX;

/// Optional features of all vCPUs of a VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VcpuFeatures {
    /// SVE. It is finalized with the initialisation.
    pub sve: Sve,
    /// The PMU (v5 to v13), which is then initialised:
    /// [`PmuPpi::init`](crate::pmu::PmuPpi::init).
    pub pmu: bool,
    /// Pointer authentication, both kinds.
    pub pointer_authentication: bool,
}

/// Whether vCPUs have SVE, and with which vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sve {
    /// There is no SVE.
    #[default]
    None,
    /// With all vector lengths of the machine and the RMM.
    All,
    /// With those of them that have at most this number of quadwords (128 bits), 1 to 16.
    UpTo(u8),
}

/// Whether a vCPU runs from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Power {
    /// It starts; of a Realm, the vCPU with number 0 does and no other.
    On,
    /// Another vCPU turns it on.
    Off,
}

/// Why a vCPU did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RunError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The vCPU has made a PSCI call that was not completed. It was not run.
    #[error("the PSCI call for the vCPU {target_mpidr:#x} is not completed")]
    PsciNotCompleted {
        /// The other vCPU.
        target_mpidr: u64,
    },
}

impl RunError {
    /// Whether the VM is dead.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Call(call) if call.is_final())
    }
}

/// An answer does not belong to the vCPU's last exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the last exit of the vCPU is not one with this answer")]
pub struct NotAnExit;

/// What the last exit can be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Load(u8),
    Hypercall,
    Mapping,
}

/// A vCPU.
#[derive(Debug)]
pub struct RealmVcpu<'k, K: Kernel> {
    calls: Calls<'k, K>,
    vcpu: K::Vcpu,
    context: Context,
    open: Open,
    /// The vCPU that a PSCI call waits for.
    psci: Option<u64>,
    /// Whether it has left KVM_RUN for another reason since its last memory fault.
    has_left: bool,
    /// Whether a KVM_RUN has got beyond what the first one does.
    has_run: bool,
    /// How many times in a row the RMM did not enter it.
    refused: u32,
}

impl<'k, K: Kernel> RealmVcpu<'k, K> {
    fn new(calls: Calls<'k, K>, vcpu: K::Vcpu, geometry: Option<Geometry>) -> Self {
        let context = Context::new(calls.generation, geometry);
        Self {
            calls,
            vcpu,
            context,
            open: Open::Nothing,
            psci: None,
            has_left: false,
            has_run: false,
            refused: 0,
        }
    }

    /// Creates the vCPU with this number of a VM. `geometry` is that of the Realm; `None` for an
    /// ordinary VM.
    ///
    /// # Errors
    ///
    /// [`CallError`] of KVM_CREATE_VCPU; `EBUSY` after the GIC was initialised.
    pub fn create(
        calls: Calls<'k, K>,
        vm: BorrowedFd<'_>,
        geometry: Option<Geometry>,
        id: u64,
    ) -> Result<Self, CallError> {
        let vcpu = calls.check(Operation::CreateVcpu, calls.kernel.create_vcpu(vm, id))?;
        Ok(Self::new(calls, vcpu, geometry))
    }

    /// A vCPU that exists, for VMMs that create vCPUs themselves. The descriptor is duplicated.
    ///
    /// # Errors
    ///
    /// [`CallError`] when it cannot be duplicated, or its run page not be mapped.
    pub fn open(
        calls: Calls<'k, K>,
        vcpu: BorrowedFd<'_>,
        geometry: Option<Geometry>,
    ) -> Result<Self, CallError> {
        let vcpu = calls.check(Operation::CreateVcpu, calls.kernel.open_vcpu(vcpu))?;
        Ok(Self::new(calls, vcpu, geometry))
    }

    /// The kernel's vCPU, for [`Populated::activate`](crate::launch::Populated::activate).
    #[must_use]
    pub const fn kernel_vcpu(&self) -> &K::Vcpu {
        &self.vcpu
    }

    /// Initialises it with PSCI and the CPU that the kernel prefers. All vCPUs of a VM have the
    /// same features.
    ///
    /// Where there is a feature KVM_ARM_VCPU_REC, it is one of them, except for v5, which answers
    /// it with `ENOENT` and has it for KVM_ARM_VCPU_FINALIZE alone: there it is left out.
    ///
    /// # Errors
    ///
    /// [`CallError`]. A PMU is refused with `ENOENT`, without a call, where Realms have none, and
    /// [`Sve::UpTo`] with `EINVAL`, without a call, for 0 and more than 16 quadwords.
    pub fn init(
        &self,
        vm: BorrowedFd<'_>,
        features: VcpuFeatures,
        power: Power,
    ) -> Result<(), CallError> {
        let facts = self.calls.generation.facts();
        let is_realm = self.context.shared_bit != 0;
        if features.pmu && is_realm && !facts.pmu {
            return Err(self.calls.error(Operation::InitVcpu, Errno::ENOENT));
        }
        if let Sve::UpTo(0 | 17..) = features.sve {
            return Err(self.calls.error(Operation::InitVcpu, Errno::EINVAL));
        }
        let preferred = self.calls.kernel.preferred_target(vm);
        let preferred = self.calls.check(Operation::PreferredTarget, preferred)?;
        let chosen = [
            (VCPU_PSCI_0_2, true),
            (VCPU_POWER_OFF, power == Power::Off),
            (VCPU_SVE, features.sve != Sve::None),
            (VCPU_PMU_V3, features.pmu),
            (VCPU_PTRAUTH_ADDRESS, features.pointer_authentication),
            (VCPU_PTRAUTH_GENERIC, features.pointer_authentication),
        ];
        let plain = VcpuInit { target: preferred.target, features: [0; 7] };
        let init = chosen
            .into_iter()
            .filter(|(_, is_chosen)| *is_chosen)
            .fold(plain, |init, (feature, _)| init.with_feature(feature));
        let rec = facts.rec_feature.filter(|_| is_realm);
        let done = match rec.map(|rec| self.vcpu.init(&init.with_feature(rec))) {
            None => self.vcpu.init(&init),
            Some(Err(Errno::ENOENT)) if facts.rec_is_optional_at_init => self.vcpu.init(&init),
            Some(done) => done,
        };
        self.calls.check(Operation::InitVcpu, done)?;
        if let Sve::UpTo(quadwords) = features.sve {
            let lengths = self.vector_lengths()?.up_to(quadwords);
            let set = self.vcpu.set_one_reg(vector_lengths::REGISTER, &lengths.0);
            self.calls.check(Operation::SetRegister, set)?;
        }
        if features.sve != Sve::None {
            self.calls.check(Operation::FinalizeVcpu, self.vcpu.finalize(VCPU_SVE))?;
        }
        Ok(())
    }

    fn vector_lengths(&self) -> Result<VectorLengths, CallError> {
        let mut lengths = VectorLengths([0; vector_lengths::BYTES]);
        let got = self.vcpu.get_one_reg(vector_lengths::REGISTER, &mut lengths.0);
        self.calls.check(Operation::GetRegister, got).map(|()| lengths)
    }

    /// The longest vector of its SVE, in quadwords (128 bits). A Realm's parameters have one less
    /// as `sve_vl`.
    ///
    /// # Errors
    ///
    /// [`CallError`]; `ENOENT` without SVE.
    pub fn longest_vector(&self) -> Result<u32, CallError> {
        Ok(self.vector_lengths()?.longest())
    }

    /// Sets a register. Of a Realm, X0 to X7 and the program counter are what vCPU 0 starts with;
    /// they are set before [`Populated::activate`](crate::launch::Populated::activate).
    ///
    /// # Errors
    ///
    /// [`CallError`]; `EINVAL` for a register that the VMM cannot set, `ENOEXEC` before
    /// [`RealmVcpu::init`].
    pub fn set_register(&self, register: Register, value: u64) -> Result<(), CallError> {
        let set = self.vcpu.set_one_reg(register.id(), &value.to_le_bytes());
        self.calls.check(Operation::SetRegister, set)
    }

    /// Reads a register. Of a Realm, only those of the last hypercall and MPIDR_EL1 mean anything.
    ///
    /// # Errors
    ///
    /// As [`RealmVcpu::set_register`].
    pub fn register(&self, register: Register) -> Result<u64, CallError> {
        let mut value = [0; 8];
        let got = self.vcpu.get_one_reg(register.id(), &mut value);
        self.calls.check(Operation::GetRegister, got)?;
        Ok(u64::from_le_bytes(value))
    }

    /// Its affinity: the fields of MPIDR_EL1 that device trees and PSCI use.
    ///
    /// # Errors
    ///
    /// As [`RealmVcpu::register`].
    pub fn affinity(&self) -> Result<u64, CallError> {
        Ok(self.register(Register::MPIDR)? & 0xff_00ff_ffff)
    }

    /// What makes its KVM_RUN return, from other threads.
    ///
    /// # Errors
    ///
    /// [`CallError`] when the run page cannot be mapped.
    pub fn kick(&self) -> Result<Kick, CallError> {
        self.calls.check(Operation::MapRunPage, Kick::new(self.vcpu.as_fd()))
    }

    /// Runs it until its next exit. Before the exit is returned, its refusing answer is written
    /// ([`crate::exit`]).
    ///
    /// # Errors
    ///
    /// [`RunError`]. [`RunError::is_final`] says whether the VM is dead. If the arguments of a
    /// hypercall cannot be read, that is the error, and the call is answered with -1.
    pub fn run(&mut self) -> Result<Exit, RunError> {
        if let Some(target_mpidr) = self.psci {
            return Err(RunError::PsciNotCompleted { target_mpidr });
        }
        self.forget_fault();
        self.open = Open::Nothing;
        let returned = self.vcpu.run();
        let mut page = [0; RUN_BYTES];
        self.vcpu.read_run(0, &mut page);
        let exit = Exit::decode(returned, &page, self.context);
        let run = if self.has_run { Operation::Run } else { Operation::FirstRun };
        let mut exit = self.calls.check(run, exit)?;
        self.has_run = true;
        match &mut exit {
            Exit::MmioLoad(load) => {
                self.vcpu.write_run(MMIO_DATA, &[0; 8]);
                self.open = Open::Load(load.bytes);
            }
            Exit::DeviceMapping(_) => {
                self.vcpu.write_run(TIO_RESPONSE, &u64::MAX.to_le_bytes());
                self.open = Open::Mapping;
            }
            Exit::Hypercall(call) => {
                // First the refusing answer, which stays when something fails.
                self.set_results(&[NOT_SUPPORTED])?;
                for (number, argument) in (1..).zip(&mut call.arguments) {
                    if let Some(register) = Register::x(number) {
                        *argument = self.register(register)?;
                    }
                }
                self.open = Open::Hypercall;
                if self.context.shared_bit != 0 {
                    self.psci = call.psci().and_then(|psci| psci.waits_for());
                }
            }
            Exit::MemoryFault { fault, .. } => {
                fault.after_other_exit = std::mem::take(&mut self.has_left);
            }
            Exit::Again { times } => {
                self.refused = self.refused.saturating_add(1);
                *times = self.refused;
                return Ok(exit);
            }
            _ => {}
        }
        self.refused = 0;
        self.has_left |= !matches!(
            exit,
            Exit::MemoryFault { .. } | Exit::UnknownMemoryFault { .. } | Exit::Interrupted
        );
        Ok(exit)
    }

    /// Makes sure that a memory fault of the last run is not taken for one of the next. Kernels
    /// look at the reason of the last exit only for devices.
    fn forget_fault(&mut self) {
        let mut reason = [0; 4];
        self.vcpu.read_run(run::EXIT_REASON, &mut reason);
        if u32::from_le_bytes(reason) == EXIT_MEMORY_FAULT {
            self.vcpu.write_run(run::EXIT_REASON, &[0; 4]);
            self.vcpu.write_run(run::EXIT, &[0; 24]);
        }
    }

    fn set_results(&self, results: &[u64]) -> Result<(), CallError> {
        for (number, result) in (0..).zip(results) {
            if let Some(register) = Register::x(number) {
                self.set_register(register, *result)?;
            }
        }
        Ok(())
    }

    fn answer(&mut self, open: Open) -> Result<(), NotAnExit> {
        if self.open == open { Ok(()) } else { Err(NotAnExit) }
    }

    /// Answers [`Exit::MmioLoad`]. Bits above the access are left out.
    ///
    /// # Errors
    ///
    /// [`NotAnExit`]; nothing is written.
    pub fn answer_load(&mut self, value: u64) -> Result<(), NotAnExit> {
        let Open::Load(bytes) = self.open else { return Err(NotAnExit) };
        let value = value.to_le_bytes();
        self.vcpu.write_run(MMIO_DATA, value.get(..bytes.into()).unwrap_or(&value));
        Ok(())
    }

    /// Answers [`Exit::Hypercall`]: X0 to X3. Of PSCI calls of a Realm, the RMM gives the results
    /// itself.
    ///
    /// # Errors
    ///
    /// [`AnswerError`]; after a failed call the results may be set in part.
    pub fn answer_hypercall(&mut self, results: [u64; 4]) -> Result<(), AnswerError> {
        self.answer(Open::Hypercall)?;
        Ok(self.set_results(&results)?)
    }

    /// Answers [`Exit::DeviceMapping`]: the mapping is what the Realm has to see there, in all of
    /// its length. It is not accepted in part: what a kernel does with another `gpa_top` than its
    /// own is not known.
    ///
    /// # Errors
    ///
    /// [`NotAnExit`]; nothing is written.
    pub fn accept_mapping(&mut self) -> Result<(), NotAnExit> {
        self.answer(Open::Mapping)?;
        self.vcpu.write_run(TIO_RESPONSE, &[0; 8]);
        Ok(())
    }

    /// Tells the RMM what became of the PSCI call that this vCPU has made, before it and the other
    /// vCPU run. The RMM finds out by itself whether the other one was on already.
    ///
    /// # Errors
    ///
    /// [`AnswerError`]; `ENOTTY` where only the kernel answers PSCI calls, `EINVAL` where the RMM
    /// refuses it, and the call still waits.
    ///
    /// RSI_HOST_CALL looks the same: a Realm that makes one with the number of such a call waits
    /// for a completion that the RMM refuses each time. That harms the Realm alone; the VMM ends
    /// it.
    pub fn complete_psci(&mut self, answer: PsciAnswer) -> Result<(), AnswerError> {
        let target_mpidr = self.psci.ok_or(NotAnExit)?;
        self.calls.complete_psci(self.vcpu.as_fd(), target_mpidr, answer as u32)?;
        self.psci = None;
        Ok(())
    }
}

impl<K: Kernel> AsFd for RealmVcpu<'_, K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.vcpu.as_fd()
    }
}

/// What becomes of a PSCI call. Source: Arm DEN0022, "Return error codes".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum PsciAnswer {
    /// The VMM does it.
    Success = 0,
    /// The VMM refuses to turn a vCPU on.
    Denied = (-3_i32).cast_unsigned(),
}

/// An answer was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// It does not belong to the last exit.
    #[error(transparent)]
    NotAnExit(#[from] NotAnExit),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl AnswerError {
    /// Whether the VM is dead.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Call(call) if call.is_final())
    }
}
