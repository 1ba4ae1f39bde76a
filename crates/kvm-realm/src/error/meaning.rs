//! What an error number means, by call and generation.
//!
//! Sources: `arch/arm64/kvm/rme.c` and `rmi.c` of the series (v5, v12 to v14, the tree of September
//! 2026).

use super::{CallError, Operation};
use crate::errno::Errno;
use crate::generation::Steps;

const SEE_LOG: &str = "see the kernel's log for the RMM's status, and create another VM";
const RUN_AGAIN: &str = "call KVM_RUN again";
const REPORT: &str = "report it with the kernel's version";

/// Meaning and advice.
pub(super) fn of(error: &CallError) -> (&'static str, &'static str) {
    let CallError { operation, errno, generation } = *error;
    let steps = generation.map(|generation| generation.facts().steps);
    let is_implicit = steps == Some(Steps::Implicit);
    let known = match operation {
        Operation::OpenKvm => open(errno),
        Operation::CreateVm => create_vm(errno),
        Operation::FirstRun => first_run(errno, is_implicit).or_else(|| run(errno)),
        Operation::Run => run(errno),
        Operation::Populate => populate(errno, is_implicit),
        Operation::ConfigureHash
        | Operation::ConfigurePersonalization
        | Operation::CreateRealm
        | Operation::InitRipas
        | Operation::Activate => action(operation, errno),
        Operation::InitVcpu | Operation::FinalizeVcpu | Operation::CreateVcpu => {
            vcpu(operation, errno)
        }
        Operation::SetRegister | Operation::GetRegister => register(errno),
        Operation::CreateGuestMemfd
        | Operation::MapSharedSide
        | Operation::SetMemoryRegion
        | Operation::SetMemoryAttributes
        | Operation::SetGuestMemfdAttributes
        | Operation::PunchHole
        | Operation::Discard => memory(operation, errno),
        Operation::CreateGic | Operation::ConfigureGic | Operation::InitGic => {
            gic(operation, errno)
        }
        Operation::CompletePsci => psci(errno),
        Operation::FilterCalls => filter(errno),
        Operation::InitPmu => pmu(errno),
        Operation::CheckExtension if errno == Errno::ENOTTY => {
            Some(("no descriptor of KVM", "pass that of /dev/kvm"))
        }
        Operation::ConfigureTimer => timer(errno),
        Operation::MapRunPage if matches!(errno, Errno::ENODEV | Errno::EACCES) => {
            Some(("no descriptor of a vCPU", "pass that of the vCPU"))
        }
        Operation::CheckExtension | Operation::PreferredTarget | Operation::MapRunPage => None,
    };
    known.unwrap_or_else(|| general(errno))
}

/// Whether the VM is lost: a Realm that is dead stays dead, and memory whose owner is not known
/// cannot be used.
pub(super) fn is_final(error: &CallError) -> bool {
    let CallError { operation, errno, generation } = *error;
    let steps = generation.map(|generation| generation.facts().steps);
    match operation {
        // The Realm is marked as dead before it is activated.
        Operation::FirstRun if matches!(errno, Errno::ENOMEM | Errno::EINVAL) => {
            steps == Some(Steps::Implicit)
        }
        Operation::FirstRun | Operation::Run => {
            matches!(errno, Errno::EIO | Errno::ENXIO | Errno::EHWPOISON)
        }
        Operation::Populate
        | Operation::InitRipas
        | Operation::CreateRealm
        | Operation::Activate
        | Operation::FinalizeVcpu => {
            matches!(errno, Errno::ENXIO | Errno::EIO)
        }
        _ => errno == Errno::EIO,
    }
}

type Known = Option<(&'static str, &'static str)>;

fn open(errno: Errno) -> Known {
    Some(match errno {
        Errno::ENOENT => ("there is no /dev/kvm", "use a kernel with KVM that starts at EL2"),
        Errno::EACCES | Errno::EPERM => {
            ("the process may not open /dev/kvm", "add its user to the group of the device")
        }
        _ => return None,
    })
}

fn create_vm(errno: Errno) -> Known {
    Some(match errno {
        Errno::EINVAL => (
            "the kernel does not know this type of VM, has no RMM, or the IPA width is above the \
             RMM's limit",
            "try smaller widths; if 32 bits are refused too, look for the RMM in the kernel's log",
        ),
        Errno::EPERM => ("the kernel has no RMM", "look for the RMM in the kernel's log"),
        Errno::ENOMEM => ("the kernel has no memory, or no VMID", "close other VMs"),
        _ => return None,
    })
}

/// What only the first run of a vCPU finds.
fn first_run(errno: Errno, is_implicit: bool) -> Known {
    Some(match errno {
        Errno::EOPNOTSUPP => {
            ("the VM has no GIC in the kernel", "create the VGICv3 before the first run")
        }
        Errno::ENODEV | Errno::EBUSY => {
            ("the GIC is not initialised", "initialise the VGICv3 before the first run")
        }
        Errno::ENXIO if is_implicit => (
            "an address of the GIC is missing; or the RMM refused a REC, the activation or an \
             entry, and the realm is dead",
            SEE_LOG,
        ),
        Errno::ENXIO => ("an address of the GIC is missing, or the RMM refused the entry", SEE_LOG),
        Errno::EINVAL if is_implicit => (
            "timers and PMU share an interrupt, or the PMU is not initialised; or a vCPU has no \
             PSCI 0.2, or vCPUs differ in their vector lengths, and the realm is dead",
            "create another VM, with the same features for all vCPUs",
        ),
        Errno::EINVAL => (
            "timers and PMU share an interrupt, the PMU is not initialised, or the vCPU was not \
             set up as a REC",
            "initialise the PMU of each vCPU, and finalize it, before the realm is activated",
        ),
        Errno::ENOMEM if is_implicit => (
            "the kernel has no memory for a REC; the realm is dead",
            "free memory, and create another VM",
        ),
        _ => return None,
    })
}

fn run(errno: Errno) -> Known {
    Some(match errno {
        Errno::EAGAIN => ("the RMM refused this entry to the REC", RUN_AGAIN),
        Errno::EINTR => ("a signal came, or `immediate_exit` is set", RUN_AGAIN),
        Errno::EFAULT => (
            "a memory fault, with its exit in the run page; without one, the shared memory is \
             not mapped",
            "convert the memory, or map it, and call KVM_RUN again",
        ),
        Errno::EHWPOISON => (
            "a page of the realm is broken: its content is lost",
            "create another VM; to convert the page would hide that from the realm",
        ),
        Errno::ENXIO => ("the RMM refused the entry", SEE_LOG),
        Errno::ENOMEM => ("the kernel has no memory for a page", "free memory and run it again"),
        Errno::EINVAL => (
            "the realm asks for RIPAS outside of its half of the IPA space, or is dead",
            "call KVM_RUN again; create another VM if the error comes again",
        ),
        Errno::EPERM => (
            "the vCPU is not finalized, or the realm not active",
            "finalize all vCPUs and activate the realm; once it is active, create another VM",
        ),
        Errno::EIO => ("the VM is dead", "create another VM"),
        _ => return None,
    })
}

fn populate(errno: Errno, is_implicit: bool) -> Known {
    Some(match errno {
        Errno::EINVAL if is_implicit => (
            "a range that is not aligned to pages, leaves the protected half of the IPA space, or \
             is not private",
            "check the regions against the slots, and make them private first",
        ),
        Errno::EINVAL => (
            "a range that is not aligned to pages, or not of one slot with a guest_memfd; or the \
             realm is active or not created",
            "check the regions against the slots",
        ),
        Errno::EFAULT => (
            "there is no slot at this address, or its source is not mapped",
            "check the regions against the slots",
        ),
        Errno::EPERM => ("the VM is not to be a realm", "create it with the type of realms"),
        Errno::EBUSY => ("the realm is active", "populate before the first run"),
        Errno::EEXIST => ("the page has content already", "populate each page once"),
        Errno::ENXIO => {
            ("the RMM refused the memory, the realm is dead, or the VM is not to be one", SEE_LOG)
        }
        Errno::ENOMEM => ("the kernel has no memory", "free memory and go on where it stopped"),
        Errno::EINTR | Errno::EAGAIN => ("it was interrupted", "go on where it stopped"),
        _ => return None,
    })
}

fn action(operation: Operation, errno: Errno) -> Known {
    Some(match (operation, errno) {
        (Operation::ConfigureHash, Errno::EINVAL) => (
            "the RMM does not have the algorithm, or the kernel has another capability number",
            "use SHA-256, or probe the kernel again",
        ),
        (Operation::ConfigureHash | Operation::ConfigurePersonalization, Errno::EBUSY) => {
            ("the realm is created already", "configure it before")
        }
        (Operation::CreateRealm, Errno::EEXIST) => {
            ("the realm is created already", "create it once")
        }
        (Operation::CreateRealm, Errno::EINVAL) => (
            "vCPUs differ in their vector lengths or are not finalized for SVE",
            "set up all vCPUs in the same way",
        ),
        (Operation::InitRipas | Operation::Activate, Errno::EINVAL) => {
            ("the realm is not created, or is active", "keep to the order of the steps")
        }
        (_, Errno::EINVAL) => {
            ("the kernel has another capability number", "probe the kernel again")
        }
        (_, Errno::ENXIO) => ("the RMM refused", SEE_LOG),
        (_, Errno::ENOMEM) => ("the kernel has no memory", "free memory and try again"),
        _ => return None,
    })
}

fn vcpu(operation: Operation, errno: Errno) -> Known {
    Some(match (operation, errno) {
        (Operation::InitVcpu, Errno::ENOENT) => (
            "a feature that the kernel does not have, or that realms may not have",
            "leave the feature out",
        ),
        (Operation::InitVcpu, Errno::EINVAL) => (
            "another target; features that exclude each other, that the machine or the RMM lacks, \
             or that the other vCPUs do not have; or no vector lengths",
            "use the preferred target and the same features for all vCPUs, without those that are \
             not there",
        ),
        (Operation::FinalizeVcpu, Errno::EINVAL) => (
            "the kernel does not know this feature, or the vCPU has no PSCI 0.2",
            "probe the kernel again: the number of the feature REC is that of another generation",
        ),
        (Operation::FinalizeVcpu, Errno::ENOENT) => {
            ("the realm is not created, or is active", "finalize vCPUs between the two")
        }
        (Operation::FinalizeVcpu, Errno::EPERM) => ("it is finalized already", "finalize it once"),
        (Operation::FinalizeVcpu, Errno::ENXIO) => ("the RMM refused the REC", SEE_LOG),
        (Operation::CreateVcpu, Errno::EBUSY) => {
            ("the GIC is initialised already", "create all vCPUs before")
        }
        (Operation::CreateVcpu, Errno::EEXIST) => ("there is one of this number", "use another"),
        (Operation::CreateVcpu, Errno::EINVAL) => {
            ("more vCPUs than the kernel or the GIC can have", "use fewer vCPUs")
        }
        _ => return None,
    })
}

fn register(errno: Errno) -> Known {
    Some(match errno {
        Errno::EINVAL | Errno::EPERM => (
            "the register of a realm cannot be accessed, or not any more",
            "set X0 to X7 and the PC alone, before the vCPU is finalized",
        ),
        Errno::ENOENT => ("there is no such register", "leave it out"),
        _ => return None,
    })
}

fn memory(operation: Operation, errno: Errno) -> Known {
    Some(match (operation, errno) {
        (Operation::CreateGuestMemfd, Errno::EINVAL) => (
            "a length that is not of whole pages, or flags that this type of VM cannot have",
            "use whole pages, and flags that KVM_CAP_GUEST_MEMFD_FLAGS has",
        ),
        (Operation::MapSharedSide, Errno::ENODEV) => {
            ("the guest_memfd cannot be mapped", "it is of another generation: probe it again")
        }
        (Operation::SetMemoryRegion, Errno::EEXIST) => {
            ("it overlaps another slot", "check the slots against each other")
        }
        (Operation::SetMemoryRegion, Errno::EINVAL) => (
            "a slot that is not aligned to pages, read-only, longer than its guest_memfd, or whose \
             number another one has",
            "check alignment, lengths and numbers: RAM of realms has those from 0 on",
        ),
        (Operation::SetMemoryRegion, Errno::EFAULT) => {
            ("it leaves the IPA space", "use a larger IPA width, or less memory")
        }
        (Operation::SetMemoryAttributes, Errno::ENOTTY | Errno::EINVAL) => (
            "the kernel has no such attribute of VMs",
            "it is of another generation: probe it again",
        ),
        (Operation::SetGuestMemfdAttributes, Errno::ENOTTY | Errno::EINVAL) => (
            "the kernel does not convert pages of a guest_memfd in place, or not these",
            "allow in-place conversion when the host boots, or probe the kernel again",
        ),
        (Operation::SetGuestMemfdAttributes, Errno::EAGAIN) => (
            "pages are in use by devices or by the kernel",
            "end what uses the shared pages, and go on where it stopped",
        ),
        (Operation::PunchHole | Operation::Discard, _) => (
            "pages were not given back, or only some",
            "stop the vCPUs and close the VM: memory may be in both states",
        ),
        _ => return None,
    })
}

fn gic(operation: Operation, errno: Errno) -> Known {
    Some(match errno {
        Errno::ENODEV if operation == Operation::InitGic => {
            ("no vCPU exists", "create vCPUs before")
        }
        Errno::ENODEV => (
            "the kernel has no GICv3 for VMs",
            "realms need a host with a GICv3; there is no way around it",
        ),
        Errno::EEXIST => ("the VM has a GIC, or the address is set already", "set it up once"),
        Errno::EBUSY => ("vCPUs run, or the GIC is initialised", "set it up before"),
        Errno::ENXIO if operation == Operation::InitGic => {
            ("an address is missing", "set all addresses before")
        }
        Errno::ENXIO => ("the GIC has no such attribute", "leave it out"),
        Errno::E2BIG => ("registers beyond the end of the IPA space", "use lower addresses"),
        Errno::EINVAL => ("an address that is not aligned, or overlaps", "check the addresses"),
        _ => return None,
    })
}

fn timer(errno: Errno) -> Known {
    Some(match errno {
        Errno::EBUSY => ("a vCPU has run, or the GIC is initialised", "set it before"),
        Errno::EINVAL => (
            "not a PPI, both the same, or no GIC is in the kernel",
            "use two of 16 to 31, with a VGICv3",
        ),
        Errno::ENXIO => ("the kernel has no such timer", "leave it out"),
        _ => return None,
    })
}

fn psci(errno: Errno) -> Known {
    Some(match errno {
        Errno::EINVAL => (
            "there is no vCPU with this MPIDR, or the RMM refused",
            "complete the call on the vCPU that made it, before it and its target run",
        ),
        Errno::ENOTTY => {
            ("the kernel answers PSCI calls itself", "it is of another generation: probe it again")
        }
        _ => return None,
    })
}

fn filter(errno: Errno) -> Known {
    Some(match errno {
        Errno::EBUSY => ("a vCPU has run", "filter calls before"),
        Errno::EEXIST => (
            "some of the functions are filtered already, or are the architecture's",
            "filter each function once, and not those of the architecture",
        ),
        Errno::EINVAL => ("no range of functions", "check the range"),
        Errno::ENOTTY => (
            "only the kernel answers the PSCI calls of realms",
            "leave PSCI to the kernel, which is of another generation otherwise",
        ),
        Errno::ENXIO => ("the kernel has no filter of hypercalls", "leave all calls to the kernel"),
        _ => return None,
    })
}

fn pmu(errno: Errno) -> Known {
    Some(match errno {
        Errno::ENODEV => (
            "the vCPU has no PMU, or the GIC is not initialised",
            "initialise the vCPU with the feature, and the GIC before the PMU",
        ),
        Errno::EBUSY => ("the PMU has an interrupt already", "initialise it once"),
        Errno::EEXIST => ("the interrupt is that of a timer", "use another one"),
        Errno::EINVAL => (
            "the interrupt is no PPI, or another vCPU has another one",
            "use the same PPI for all vCPUs",
        ),
        _ => return None,
    })
}

fn general(errno: Errno) -> (&'static str, &'static str) {
    match errno {
        Errno::EBADF => ("no descriptor of KVM", "pass the descriptor of the VM"),
        Errno::ENOTTY => {
            ("the kernel does not know this call", "it is of another generation: probe it again")
        }
        Errno::EIO => ("the VM is dead, or of another process", "create another VM"),
        Errno::ENOMEM => ("the kernel has no memory", "free memory and try again"),
        Errno::ENXIO => ("the RMM refused, or there is no such attribute", SEE_LOG),
        Errno::EINTR => ("a signal came", "try again"),
        Errno::ENOEXEC => ("the vCPU is not initialised", "initialise it before"),
        _ => ("an answer that the sources of this generation do not have for this call", REPORT),
    }
}
