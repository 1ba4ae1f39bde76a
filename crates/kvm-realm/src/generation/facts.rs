//! The table of the generations. Nothing else in this crate has a number that not all kernels have.
//!
//! Sources: the series "arm64: Support for Arm CCA in KVM" on kvm@vger.kernel.org, v5, v8 ("Define
//! the user ABI"), v9, v10 05/43, v12 06/46, v13 11/48 and 14/48, v14 13/44; OpenVMM's branch for
//! v15; the developers' trees of September 2026.

use rmi_abi::Dialect;
use rmi_abi::realm::HashAlgorithm;

use super::{Exits, Facts, Generation, InitialRipas, MemoryModel, PopulateCall, RipasExit, Steps};
use crate::errno::Errno;
use crate::kernel::Request;

/// `_IOW(KVMIO, number, bytes)`.
const fn write(number: u8, bytes: u32) -> Request {
    Request::new(1 << 30 | bytes << 16 | 0xae << 8 | number as u32)
}

/// `_IOWR(KVMIO, number, bytes)`.
const fn read_write(number: u8, bytes: u32) -> Request {
    Request::new(3 << 30 | bytes << 16 | 0xae << 8 | number as u32)
}

/// KVM_VM_TYPE_ARM_REALM in bits 11 to 8.
const TYPE_FIELD: u64 = 1 << 8;
/// KVM_VM_TYPE_ARM_REALM as a bit, beside that of protected VMs.
const TYPE_BIT: u64 = 1 << 30;

/// KVM_EXIT_UNKNOWN and KVM_EXIT_SHUTDOWN.
const EXIT_UNKNOWN: u32 = 0;
const EXIT_SHUTDOWN: u32 = 8;

/// What the generations with actions share.
const RME: Facts = Facts {
    name: "v10",
    capability: 244,
    parameter: "kvm_cap_arm_rme",
    memfd_attributes_capability: None,
    realm_type: TYPE_FIELD,
    max_ipa_width: 52,
    rec_feature: Some(9),
    rec_is_optional_at_init: false,
    steps: Steps::Actions,
    populate: PopulateCall::FromSlot,
    memory: MemoryModel::VmAttributes,
    ripas: InitialRipas::Action,
    psci_complete: Some(write(0xd6, 24)),
    hashes: &[HashAlgorithm::Sha256, HashAlgorithm::Sha512],
    personalization: true,
    pmu: true,
    exits: Exits {
        ripas: RipasExit::Asked,
        off: EXIT_UNKNOWN,
        not_entered: Errno::ENXIO,
        device_mapping: false,
    },
    dialect: Dialect::V1_0,
};

/// What the generations with implicit steps share.
const RMI: Facts = Facts {
    name: "v14",
    capability: 249,
    parameter: "kvm_cap_arm_rmi",
    memfd_attributes_capability: None,
    realm_type: TYPE_BIT,
    max_ipa_width: 52,
    rec_feature: None,
    rec_is_optional_at_init: false,
    steps: Steps::Implicit,
    populate: PopulateCall::UpdatesStructure(read_write(0xd7, 32)),
    memory: MemoryModel::VmAttributes,
    ripas: InitialRipas::AtFirstRun,
    psci_complete: None,
    hashes: &[],
    personalization: false,
    pmu: false,
    exits: Exits {
        ripas: RipasExit::Asked,
        off: EXIT_SHUTDOWN,
        not_entered: Errno::EAGAIN,
        device_mapping: false,
    },
    dialect: Dialect::V2_0Bet1,
};

pub(super) const fn of(generation: Generation) -> Facts {
    match generation {
        Generation::V5ToV7 => Facts {
            name: "v5-v7",
            capability: 300,
            max_ipa_width: 48,
            rec_feature: Some(8),
            rec_is_optional_at_init: true,
            psci_complete: Some(write(0xd2, 24)),
            exits: Exits { ripas: RipasExit::Done, ..RME.exits },
            ..RME
        },
        Generation::V8 => Facts { name: "v8", capability: 240, ..RME },
        Generation::V9 => Facts { name: "v9", capability: 243, ..RME },
        Generation::V10 => RME,
        Generation::V12 => Facts {
            name: "v12",
            capability: 247,
            realm_type: TYPE_FIELD,
            // Here alone the kernel only reads the structure.
            populate: PopulateCall::ReturnsBytes(write(0xd7, 32)),
            psci_complete: Some(write(0xd6, 24)),
            pmu: true,
            exits: Exits { not_entered: Errno::ENXIO, ..RMI.exits },
            dialect: Dialect::V1_0,
            ..RMI
        },
        Generation::V13 => Facts {
            name: "v13",
            capability: 248,
            realm_type: TYPE_FIELD,
            psci_complete: Some(write(0xd6, 24)),
            pmu: true,
            exits: Exits { not_entered: Errno::ENXIO, ..RMI.exits },
            dialect: Dialect::V2_0Bet0,
            ..RMI
        },
        Generation::V14 => RMI,
        Generation::V15 => Facts {
            name: "v15",
            capability: 251,
            memfd_attributes_capability: Some(250),
            memory: MemoryModel::AlwaysPrivate,
            dialect: Dialect::TfRmm2026_07,
            ..RMI
        },
        Generation::Tree2026_09 => Facts {
            name: "2026-09",
            capability: 253,
            memfd_attributes_capability: Some(252),
            memory: MemoryModel::GuestMemfdAttributes(read_write(0xd2, 128)),
            ripas: InitialRipas::ByRealm,
            exits: Exits { ripas: RipasExit::AskedAgain, ..RMI.exits },
            dialect: Dialect::V2_0Bet3,
            ..RMI
        },
        Generation::DaV7(numbers) => Facts {
            name: "da-v7",
            capability: numbers.capability,
            memory: MemoryModel::GuestMemfdAttributes(read_write(0xd2, 128)),
            ripas: InitialRipas::Ioctl(numbers.init_ripas),
            exits: Exits {
                ripas: RipasExit::AskedAgainWithZero,
                device_mapping: true,
                ..RMI.exits
            },
            dialect: Dialect::V2_0Bet3,
            ..RMI
        },
    }
}
