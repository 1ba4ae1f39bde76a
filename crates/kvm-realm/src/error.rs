//! Errors of the kernel's calls: which call, which error number, what that means in the generation
//! of the kernel, and what to do.

mod meaning;

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
    /// Running a vCPU.
    Run,
    /// The GIC.
    CreateGic,
    /// An attribute of the GIC.
    ConfigureGic,
    /// The end of the GIC's set-up.
    InitGic,
    /// The interrupt of a timer.
    ConfigureTimer,
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
            Self::Run => "KVM_RUN",
            Self::CreateGic => "KVM_CREATE_DEVICE (VGICv3)",
            Self::ConfigureGic => "KVM_SET_DEVICE_ATTR (VGICv3)",
            Self::InitGic => "KVM_SET_DEVICE_ATTR (initialisation of the VGICv3)",
            Self::ConfigureTimer => "KVM_SET_DEVICE_ATTR (timers)",
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
/// It is printed as all of that: call, error number, generation, meaning, advice.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn error(operation: Operation, errno: Errno, generation: Generation) -> CallError {
        CallError::new(operation, errno, generation)
    }

    #[test]
    fn an_error_says_call_number_generation_meaning_and_advice() {
        let refused = error(Operation::Populate, Errno::ENXIO, Generation::V14);
        assert_eq!(
            refused.to_string(),
            "population: ENXIO (v14): the RMM refused the memory, or the realm is dead; \
             see the kernel's log for the RMM's status, and create another VM"
        );
        let unknown = CallError { generation: None, ..refused };
        assert!(unknown.to_string().starts_with("population: ENXIO: "));
        assert_eq!(std::error::Error::source(&refused).unwrap().to_string(), "ENXIO");
    }

    #[test]
    fn meanings_depend_on_the_generation() {
        let meaning = |operation, errno, generation| error(operation, errno, generation).meaning();
        for operation in [Operation::Populate, Operation::Run] {
            let (old, new) = (
                meaning(operation, Errno::EINVAL, Generation::V10),
                meaning(operation, Errno::EINVAL, Generation::V14),
            );
            assert_ne!(old, new, "{operation}");
        }
        assert_ne!(
            meaning(Operation::Run, Errno::ENODEV, Generation::Tree2026_09),
            meaning(Operation::Run, Errno::EIO, Generation::Tree2026_09)
        );
    }

    #[test]
    fn what_ends_a_vm_is_final() {
        for (operation, errno, generation, is_final) in [
            // The first run of these activates, and a failure leaves the Realm dead.
            (Operation::Run, Errno::ENXIO, Generation::V14, true),
            (Operation::Run, Errno::EIO, Generation::V14, true),
            (Operation::Run, Errno::EIO, Generation::V10, true),
            (Operation::Run, Errno::EAGAIN, Generation::V14, false),
            (Operation::Run, Errno::EINTR, Generation::V14, false),
            (Operation::Run, Errno::EFAULT, Generation::V14, false),
            // Found before anything is done.
            (Operation::Run, Errno::EOPNOTSUPP, Generation::V14, false),
            (Operation::Run, Errno::ENODEV, Generation::V14, false),
            (Operation::Populate, Errno::ENXIO, Generation::V14, true),
            (Operation::Populate, Errno::EINVAL, Generation::V14, false),
            (Operation::Populate, Errno::ENOMEM, Generation::V14, false),
            (Operation::CreateRealm, Errno::ENXIO, Generation::V8, true),
            (Operation::Activate, Errno::ENXIO, Generation::V8, true),
            (Operation::ConfigureHash, Errno::EINVAL, Generation::V8, false),
            (Operation::CreateVm, Errno::EINVAL, Generation::V8, false),
            (Operation::InitRipas, Errno::ENXIO, Generation::V8, true),
            (Operation::FinalizeVcpu, Errno::ENXIO, Generation::V8, true),
            (Operation::PunchHole, Errno::EIO, Generation::V15, true),
            (Operation::PunchHole, Errno::ENOMEM, Generation::V15, false),
            (Operation::SetMemoryAttributes, Errno::ENOMEM, Generation::V14, false),
        ] {
            let error = error(operation, errno, generation);
            assert_eq!(error.is_final(), is_final, "{error}");
        }
    }

    #[test]
    fn every_answer_has_a_meaning() {
        let mut all = 0;
        for operation in [
            Operation::OpenKvm,
            Operation::CheckExtension,
            Operation::CreateVm,
            Operation::CreateGuestMemfd,
            Operation::MapSharedSide,
            Operation::SetMemoryRegion,
            Operation::SetMemoryAttributes,
            Operation::SetGuestMemfdAttributes,
            Operation::PunchHole,
            Operation::Discard,
            Operation::ConfigureHash,
            Operation::ConfigurePersonalization,
            Operation::CreateRealm,
            Operation::InitRipas,
            Operation::Populate,
            Operation::Activate,
            Operation::CreateVcpu,
            Operation::PreferredTarget,
            Operation::InitVcpu,
            Operation::FinalizeVcpu,
            Operation::SetRegister,
            Operation::GetRegister,
            Operation::CompletePsci,
            Operation::Run,
            Operation::CreateGic,
            Operation::ConfigureGic,
            Operation::InitGic,
            Operation::ConfigureTimer,
            Operation::FilterCalls,
        ] {
            for errno in Errno::NAMED.iter().copied().chain([Errno::new(71)]) {
                for generation in Generation::ALL {
                    let error = error(operation, errno, generation);
                    assert!(!error.meaning().is_empty() && !error.advice().is_empty());
                    all += 1;
                }
            }
        }
        assert_eq!(all, 29 * (Errno::NAMED.len() + 1) * 9);
    }
}
