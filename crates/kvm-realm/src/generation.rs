//! The generations of KVM's user interface for Realms, as data.
//!
#![doc = include_str!("../docs/generations.md")]
//!
//! - *Told by the module as*: the parameter of `kvm` that tells the number, in kernels that have
//!   one. A kernel with `kvm_cap_arm_rmi` is known; the other name is derived from it, and so is
//!   that the other generations have it.
//! - *PSCI by the VMM*: that of v5 to v7 was read in v5; v6 and v7 are taken to have the same.
//! - *IPA width, at most*: the kernel of v5 does not ask the RMM for LPA2; of the others it is not
//!   known that they have a limit of their own.
//! - *Feature REC* is the one that KVM_ARM_VCPU_FINALIZE takes.
//! - *Populated from*: the shared side of the slot at the same address, or an address of the VMM.
//! - *Progress*: none is reported, a call is done or failed; the number of bytes is returned; or
//!   the structure is updated.
//! - *Private memory*: private is an attribute of the VM (KVM_SET_MEMORY_ATTRIBUTES), or of a page
//!   of the guest_memfd (KVM_SET_MEMORY_ATTRIBUTES2), or all of a guest_memfd always is.
//! - *SVE, breakpoints*: the RMM gets the longest vector of the vCPUs, and the numbers of
//!   breakpoints and watchpoints in their ID_AA64DFR0_EL1. With a *PMU* it gets the number of
//!   counters.
//! - *RIPAS exit*: what KVM_RUN returns when the Realm asks for another RIPAS. With 0 the change is
//!   made already; after `EFAULT` the next KVM_RUN makes it, and may ask again for what is not yet
//!   private, or shared.
//! - *Off exit*: the exit of a vCPU whose Realm another one has turned off.
//! - *Not entered*: what KVM_RUN returns for a REC that the RMM does not enter.
//!
//! Too little is known of v11 and v16: [`Generation::parse`] recognises them, and refuses them. Of
//! the tree `da-v7`, for device assignment, two numbers are not known; it is used with
//! [`DaV7Numbers`] that the VMM has from its kernel.
//!
//! No generation is merged in Linux, so no number is final.

mod facts;
#[cfg(test)]
mod tests;

use std::fmt;

use rmi_abi::Dialect;
use rmi_abi::realm::HashAlgorithm;
use thiserror::Error;

use crate::errno::Errno;
use crate::kernel::Request;
use crate::uapi;

/// One generation of the user interface.
///
/// The page of this [module](self) shows them side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Generation {
    /// v5 to v7, October 2024 to February 2025.
    V5ToV7,
    /// v8, April 2025.
    V8,
    /// v9, the middle of 2025.
    V9,
    /// v10, August 2025.
    V10,
    /// v12, December 2025.
    V12,
    /// v13, March 2026.
    V13,
    /// v14, May 2026.
    V14,
    /// v15, July 2026.
    V15,
    /// The developers' tree of September 2026.
    Tree2026_09,
    /// The seventh tree for device assignment, with the numbers that its kernel has.
    DaV7(DaV7Numbers),
}

/// The numbers of a kernel for device assignment, which are in no public source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DaV7Numbers {
    capability: u32,
    init_ripas: Request,
}

impl DaV7Numbers {
    /// KVM_CAP_ARM_RMI, and KVM_ARM_RMI_INIT_RIPAS as `ioctl` takes it; `None` if that is no ioctl
    /// of KVM that takes a structure of 64 bytes.
    #[must_use]
    pub const fn new(capability: u32, init_ripas: u32) -> Option<Self> {
        let (direction, rest) = (init_ripas >> 30, init_ripas & 0x3fff_ff00);
        if rest != 64 << 16 | 0xae << 8 || (direction != 1 && direction != 3) {
            return None;
        }
        Some(Self { capability, init_ripas: Request::new(init_ripas) })
    }

    /// From `da-v7:CAPABILITY:REQUEST`.
    fn parse(name: &str) -> Option<Self> {
        let (capability, request) = name.strip_prefix("da-v7:")?.split_once(':')?;
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        Self::new(number(capability)?, number(request)?)
    }
}

/// How a Realm comes into being and becomes active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Steps {
    /// By actions of KVM_ENABLE_CAP: configuration, creation, RIPAS, population, activation.
    Actions,
    /// The first populate call creates it, the first KVM_RUN activates it.
    Implicit,
}

/// What a populate call takes and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PopulateCall {
    /// An action: content is taken from the shared side of the slot, at the same guest address. It
    /// is done, or it failed.
    FromSlot,
    /// An ioctl: content is taken from any address of the VMM, and the number of bytes is returned.
    ReturnsBytes(Request),
    /// As before, but the structure is updated.
    UpdatesStructure(Request),
}

/// Who says which pages of a slot are private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryModel {
    /// An attribute of the VM's address space: KVM_SET_MEMORY_ATTRIBUTES.
    VmAttributes,
    /// A guest_memfd without flags is private for good, and shared pages are those at the VMM's
    /// addresses.
    AlwaysPrivate,
    /// An attribute of the guest_memfd's pages, by their offset: KVM_SET_MEMORY_ATTRIBUTES2. The
    /// VMM maps the shared ones.
    GuestMemfdAttributes(Request),
}

impl MemoryModel {
    /// The flags of a guest_memfd of a Realm.
    #[must_use]
    pub const fn guest_memfd_flags(self) -> u64 {
        match self {
            Self::VmAttributes | Self::AlwaysPrivate => 0,
            Self::GuestMemfdAttributes(_) => uapi::GUEST_MEMFD_MMAP | uapi::GUEST_MEMFD_INIT_SHARED,
        }
    }

    /// Whether the VMM maps the guest_memfd: its pages are the shared side of the slot too.
    #[must_use]
    pub const fn is_in_place(self) -> bool {
        matches!(self, Self::GuestMemfdAttributes(_))
    }
}

/// What makes the memory without content RAM of the Realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InitialRipas {
    /// An action, before memory is populated.
    Action,
    /// The first KVM_RUN, for every slot with a guest_memfd.
    AtFirstRun,
    /// The Realm itself.
    ByRealm,
    /// An ioctl of the VM, after memory is populated.
    Ioctl(Request),
}

/// How KVM_RUN tells that a Realm asks for another RIPAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RipasExit {
    /// It returns 0, and the change is made.
    Done,
    /// It returns `EFAULT`, and the next KVM_RUN makes the change.
    Asked,
    /// The same, but while pages are not as they are asked for, it asks again for them, with
    /// `EFAULT`.
    AskedAgain,
    /// The same, but it asks again with 0.
    AskedAgainWithZero,
}

/// What the exits of a generation are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exits {
    /// A Realm asks for another RIPAS.
    pub ripas: RipasExit,
    /// `exit_reason` of a vCPU whose Realm another one has turned off: KVM_EXIT_UNKNOWN or
    /// KVM_EXIT_SHUTDOWN.
    pub off: u32,
    /// What KVM_RUN returns for a REC that the RMM does not enter.
    pub not_entered: Errno,
    /// Whether there is an exit for mappings of devices (44).
    pub device_mapping: bool,
}

/// What a generation is: its numbers, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// Its name, as on a command line.
    pub name: &'static str,
    /// The capability that says that a kernel has it: KVM_CAP_ARM_RME or KVM_CAP_ARM_RMI.
    pub capability: u32,
    /// The parameter of the module `kvm` in which some kernels tell the capability's number.
    pub parameter: &'static str,
    /// KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES.
    pub memfd_attributes_capability: Option<u32>,
    /// What is added to the IPA width in the type of VM.
    pub realm_type: u64,
    /// The widest IPA space that a Realm is known to have, in bits. The kernel of v5 creates wider
    /// VMs where the RMM has LPA2, but does not ask the RMM for it: the Realm is then refused.
    pub max_ipa_width: u8,
    /// KVM_ARM_VCPU_REC: the feature that is finalized when a vCPU is set up.
    pub rec_feature: Option<u32>,
    /// Whether some kernels of this generation refuse that feature in KVM_ARM_VCPU_INIT, with
    /// `ENOENT`: v5 has it for KVM_ARM_VCPU_FINALIZE alone.
    pub rec_is_optional_at_init: bool,
    /// How a Realm comes into being.
    pub steps: Steps,
    /// How memory is populated.
    pub populate: PopulateCall,
    /// Who says what is private.
    pub memory: MemoryModel,
    /// What makes memory RAM.
    pub ripas: InitialRipas,
    /// The ioctl of a vCPU that completes a PSCI call which the VMM answers; `None` where only the
    /// kernel answers PSCI calls.
    pub psci_complete: Option<Request>,
    /// Algorithms that can be chosen; empty where it is always SHA-256.
    pub hashes: &'static [HashAlgorithm],
    /// Whether there can be a Realm Personalization Value.
    pub personalization: bool,
    /// Whether Realms can have a PMU.
    pub pmu: bool,
    /// What its exits are.
    pub exits: Exits,
    /// The dialect that its kernel speaks to the RMM, or the nearest one that is known.
    pub dialect: Dialect,
}

impl Generation {
    /// Every generation whose numbers are known, oldest first.
    pub const ALL: [Self; 9] = [
        Self::V5ToV7,
        Self::V8,
        Self::V9,
        Self::V10,
        Self::V12,
        Self::V13,
        Self::V14,
        Self::V15,
        Self::Tree2026_09,
    ];

    /// Its numbers, and what it does.
    #[must_use]
    pub const fn facts(self) -> Facts {
        facts::of(self)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The type of VM for a Realm with `ipa_width` bits of IPA space, shared half included.
    #[must_use]
    pub const fn machine_type(self, ipa_width: u8) -> u64 {
        self.facts().realm_type | ipa_width as u64
    }

    /// The generation with this name; `da-v7` is followed by the numbers of its kernel, as decimal
    /// or hexadecimal ones: `da-v7:CAPABILITY:REQUEST` ([`DaV7Numbers::new`]).
    ///
    /// # Errors
    ///
    /// [`UnknownGeneration`] for any other name. `v11`, `v16` and `da-v7` have reasons of their
    /// own.
    pub fn parse(name: &str) -> Result<Self, UnknownGeneration> {
        let found = Self::ALL.into_iter().find(|generation| generation.name() == name);
        let unknown = || match name {
            "v5" | "v6" | "v7" => Ok(Self::V5ToV7),
            "v11" | "v16" => Err(UnknownGeneration::NotPublic { name: name.to_owned() }),
            "da-v7" => Err(UnknownGeneration::NeedsNumbers),
            name if name.starts_with("da-v7:") => {
                DaV7Numbers::parse(name).map(Self::DaV7).ok_or(UnknownGeneration::NeedsNumbers)
            }
            _ => Err(UnknownGeneration::NoSuchName { name: name.to_owned() }),
        };
        found.map_or_else(unknown, Ok)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name is not that of a generation that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnknownGeneration {
    /// Its numbers and structures are in no public source.
    #[error("the numbers of {name} are in no public source")]
    NotPublic {
        /// The name.
        name: String,
    },
    /// It has numbers that only its kernel knows.
    #[error("da-v7 is used with the numbers of its kernel: da-v7:CAPABILITY:REQUEST")]
    NeedsNumbers,
    /// There is no such generation.
    #[error("{name} is no generation")]
    NoSuchName {
        /// The name.
        name: String,
    },
}
