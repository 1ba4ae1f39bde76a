//! What kernels do differently, beside numbers.

use super::facts::{Attributes, Extra, Facts, Family};
use crate::Errno;

/// How KVM handles the guest's request for another RIPAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RipasChange {
    /// It makes the change, and reports it; `KVM_RUN` returns 0.
    BeforeTheExit,
    /// It reports the request with `EFAULT`, and makes the change at the next `KVM_RUN`.
    AtReentry,
    /// As before, if the attributes of all pages are those that the change asks for. If not, it
    /// reports the request again.
    AtReentryIfAttributesMatch {
        /// Whether `KVM_RUN` returns 0 when it reports a request again.
        again_returns_zero: bool,
    },
}

/// What `KVM_ARM_RMI_POPULATE` says about its progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It returns the number of bytes.
    Returned,
    /// It returns 0 and updates the structure.
    InStructure,
}

/// What differs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behaviour {
    /// How many general-purpose registers, from x0 on, can be accessed.
    pub(super) registers: u64,
    pub(super) ripas_change: RipasChange,
    pub(super) progress: Progress,
    /// Whether populating refuses a source at address 0, and one that is not aligned.
    pub(super) checks_source: bool,
    /// What KVM_ARM_RMI_POPULATE of an ordinary VM is refused with.
    pub(super) populates_no_plain_vm: Errno,
    /// Whether the first `KVM_RUN` makes the RIPAS of all private slots RAM.
    pub(super) makes_ram: bool,
    /// Whether a range above the protected half is refused before a Realm is made for it.
    pub(super) is_strict_about_range: bool,
    /// The exit reason of a vCPU whose Realm has been turned off by another.
    pub(super) off_reason: u32,
    /// Whether a REC that cannot be entered is to be tried again (`EAGAIN`); otherwise `ENXIO`.
    pub(super) retries_rec: bool,
    /// Whether the VM is dead after an exit of the RMM that KVM does not know.
    pub(super) dies_of_unknown_exits: bool,
    /// Whether the VM of a Realm that could not be activated refuses every call (`EIO`); otherwise
    /// KVM_RUN alone is refused (`EINVAL`). Of v15 that is not known.
    pub(super) kills_vm: bool,
    /// Whether the address of an MMIO exit is without the bit that tells the halves of the address
    /// space apart.
    pub(super) strips_shared_bit: bool,
    /// Whether Realms can have more than 48 bits of IPA space.
    pub(super) has_lpa2: bool,
    /// Whether a Realm's descriptor answers only for listed capabilities of the architecture.
    pub(super) filters_capabilities: bool,
    /// Whether `KVM_RUN` looks for a GIC that is not initialised before anything else (`ENODEV`).
    pub(super) checks_gic_first: bool,
    /// The flags that a `guest_memfd` can have.
    pub(super) gmem_flags: u64,
    /// Whether the feature that makes a REC must be one of `KVM_ARM_VCPU_INIT` as well.
    pub(super) inits_rec: bool,
    /// Whether Realms have a PMU.
    pub(super) has_pmu: bool,
    /// Whether hypercalls and mappings of devices reach the VMM.
    pub(super) assigns_devices: bool,
}

const UNKNOWN: u32 = 0;
const SHUTDOWN: u32 = 8;

impl Behaviour {
    pub(super) fn of(facts: &Facts) -> Self {
        let is_rmi = facts.family == Family::Rmi;
        let assigns_devices = facts.has(Extra::InitRipas);
        // The tree of September 2026 and what extends it; the checks below were read there.
        let is_newest = facts.id == "rmi-sep2026-tree" || assigns_devices;
        Self {
            registers: if is_rmi { 31 } else { 8 },
            ripas_change: if facts.id == "rme-v5..v7" {
                RipasChange::BeforeTheExit
            } else if is_newest {
                let again_returns_zero = assigns_devices;
                RipasChange::AtReentryIfAttributesMatch { again_returns_zero }
            } else {
                RipasChange::AtReentry
            },
            progress: if facts.id == "rmi-v12" {
                Progress::Returned
            } else {
                Progress::InStructure
            },
            checks_source: is_newest || facts.id == "rmi-v14",
            populates_no_plain_vm: match facts.id.as_str() {
                "rmi-v12" => Errno::EPERM,
                "rmi-v14" => Errno::ENXIO,
                _ => Errno::EINVAL,
            },
            makes_ram: is_rmi && !is_newest,
            is_strict_about_range: !is_newest,
            off_reason: if is_rmi { SHUTDOWN } else { UNKNOWN },
            retries_rec: is_rmi && !["rmi-v12", "rmi-v13"].contains(&facts.id.as_str()),
            dies_of_unknown_exits: is_newest,
            kills_vm: is_newest || facts.id == "rmi-v15",
            strips_shared_bit: facts.attributes == Attributes::Vm,
            has_lpa2: facts.id != "rme-v5..v7",
            filters_capabilities: is_rmi && facts.id != "rmi-v12",
            checks_gic_first: is_newest,
            // Since 6.18 there are flags, which a Realm's kernel has from v12 on.
            gmem_flags: if is_rmi {
                facts.constant("GUEST_MEMFD_FLAG_MMAP")
                    | facts.constant("GUEST_MEMFD_FLAG_INIT_SHARED")
            } else {
                0
            },
            // v6 and v7 are as v8, and v5 is not: see `FakeKernel::set_rec_at_init`.
            inits_rec: !is_rmi && facts.id != "rme-v5..v7",
            has_pmu: !is_rmi || ["rmi-v12", "rmi-v13"].contains(&facts.id.as_str()),
            assigns_devices,
        }
    }
}
