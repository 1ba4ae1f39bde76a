//! Errors of the kernel's calls: which call, which error number, what that means in the generation
//! of the kernel, and what to do.
//!
#![doc = include_str!("../docs/errors.md")]

mod meaning;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::errno::Errno;
use crate::generation::Generation;

/// What the kernel was asked for. [`Operation::name`] is the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening `/dev/kvm`.
    OpenKvm,
    /// A capability.
    CheckExtension,
    /// A VM that is to be a Realm.
    CreateVm,
    /// The private side of a slot.
    CreateGuestMemfd,
    /// Mapping the shared side of a slot.
    MapSharedSide,
    /// A slot of RAM.
    SetMemoryRegion,
    /// Private or shared, by guest addresses.
    SetMemoryAttributes,
    /// Private or shared, by offsets in a guest_memfd.
    SetGuestMemfdAttributes,
    /// Giving private pages back.
    PunchHole,
    /// Giving shared pages back.
    Discard,
    /// The algorithm that measures a Realm.
    ConfigureHash,
    /// The Realm Personalization Value.
    ConfigurePersonalization,
    /// The Realm, with the configuration that it was given.
    CreateRealm,
    /// Memory without content.
    InitRipas,
    /// Memory with content.
    Populate,
    /// The Realm's start.
    Activate,
    /// A vCPU.
    CreateVcpu,
    /// The CPU that vCPUs are like.
    PreferredTarget,
    /// The features of a vCPU.
    InitVcpu,
    /// The end of a vCPU's set-up.
    FinalizeVcpu,
    /// A register of a vCPU.
    SetRegister,
    /// A register of a vCPU.
    GetRegister,
    /// The answer to a PSCI call.
    CompletePsci,
    /// Mapping the run page of a vCPU once more.
    MapRunPage,
    /// Running a vCPU that has not run.
    FirstRun,
    /// Running a vCPU that has run.
    Run,
    /// The GIC.
    CreateGic,
    /// An attribute of the GIC.
    ConfigureGic,
    /// The end of the GIC's set-up.
    InitGic,
    /// The interrupt of a timer.
    ConfigureTimer,
    /// The interrupt and the initialisation of a PMU.
    InitPmu,
    /// Which hypercalls are the VMM's.
    FilterCalls,
}

impl Operation {
    /// The call, by its name in Linux.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenKvm => "open of /dev/kvm",
            Self::CheckExtension => "KVM_CHECK_EXTENSION",
            Self::CreateVm => "KVM_CREATE_VM",
            Self::CreateGuestMemfd => "KVM_CREATE_GUEST_MEMFD",
            Self::MapSharedSide => "mmap of shared memory",
            Self::SetMemoryRegion => "KVM_SET_USER_MEMORY_REGION2",
            Self::SetMemoryAttributes => "KVM_SET_MEMORY_ATTRIBUTES",
            Self::SetGuestMemfdAttributes => "KVM_SET_MEMORY_ATTRIBUTES2",
            Self::PunchHole => "fallocate of a guest_memfd",
            Self::Discard => "madvise of shared memory",
            Self::ConfigureHash => "KVM_ENABLE_CAP (configure the hash algorithm)",
            Self::ConfigurePersonalization => {
                "KVM_ENABLE_CAP (configure the personalization value)"
            }
            Self::CreateRealm => "KVM_ENABLE_CAP (create the realm)",
            Self::InitRipas => "initialisation of RIPAS",
            Self::Populate => "population",
            Self::Activate => "KVM_ENABLE_CAP (activate the realm)",
            Self::CreateVcpu => "KVM_CREATE_VCPU",
            Self::PreferredTarget => "KVM_ARM_PREFERRED_TARGET",
            Self::InitVcpu => "KVM_ARM_VCPU_INIT",
            Self::FinalizeVcpu => "KVM_ARM_VCPU_FINALIZE",
            Self::SetRegister => "KVM_SET_ONE_REG",
            Self::GetRegister => "KVM_GET_ONE_REG",
            Self::CompletePsci => "completion of a PSCI call",
            Self::MapRunPage => "mmap of a run page",
            Self::FirstRun => "KVM_RUN (the first)",
            Self::Run => "KVM_RUN",
            Self::CreateGic => "KVM_CREATE_DEVICE (VGICv3)",
            Self::ConfigureGic => "KVM_SET_DEVICE_ATTR (VGICv3)",
            Self::InitGic => "KVM_SET_DEVICE_ATTR (initialisation of the VGICv3)",
            Self::ConfigureTimer => "KVM_SET_DEVICE_ATTR (timers)",
            Self::InitPmu => "KVM_SET_DEVICE_ATTR (PMU)",
            Self::FilterCalls => "KVM_SET_DEVICE_ATTR (filter of hypercalls)",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A call of the kernel that failed.
///
/// It is printed as all of that: call, error number, generation, meaning, advice. These are about
/// Realms; of an ordinary VM, what they say of Realms and the RMM is no cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallError {
    /// What the kernel was asked for.
    pub operation: Operation,
    /// Its answer.
    pub errno: Errno,
    /// The generation that the kernel was taken for; `None` while that is not known.
    pub generation: Option<Generation>,
}

impl CallError {
    pub(crate) const fn new(operation: Operation, errno: Errno, generation: Generation) -> Self {
        Self { operation, errno, generation: Some(generation) }
    }

    /// What the error number means for this call in this generation.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        meaning::of(self).0
    }

    /// What to do.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        meaning::of(self).1
    }

    /// Whether the VM cannot be used any more: what is left is closing its descriptors.
    #[must_use]
    pub fn is_final(&self) -> bool {
        meaning::is_final(self)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, errno, generation } = self;
        write!(f, "{operation}: {errno}")?;
        if let Some(generation) = generation {
            write!(f, " ({generation})")?;
        }
        write!(f, ": {}; {}", self.meaning(), self.advice())
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.errno)
    }
}
