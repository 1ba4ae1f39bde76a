//! Which generation a kernel has: a structural probe, with its reasons.
//!
//! A number says nothing alone: all of them from 240 on mean something else in kernels without
//! Realms. So three things have to fit:
//!
//! 1. the number of a generation's capability, as the module `kvm` tells it, or as
//!    KVM_CHECK_EXTENSION answers, which then knows no higher one;
//! 2. the type of VM, which a kernel without this generation refuses;
//! 3. on such a VM, the capability again (a Realm has few), and the memory model's.
//!
//! A generation takes the first number that its base leaves free, so its kernel knows no higher one
//! of those that Linux has given. Where one is known, the kernel is a later one, in which the
//! number means something else, or of a generation whose number is not known.
//!
//! A host whose pages have not 4 KiB is found, and cannot be used: slots, conversions and
//! population are of pages of the host, and those of a Realm have 4 KiB.
//!
//! The probe reads, creates a VM and closes it, nothing more: a Realm is created by none of its
//! calls. What it found is a [`Report`], which can be printed as text and as JSON, and overridden.

mod report;
#[cfg(test)]
mod tests;

pub use report::{Finding, Report, Verdict};

use std::os::fd::{AsFd, BorrowedFd};

use crate::errno::Errno;
use crate::error::{CallError, Operation};
use crate::generation::Generation;
use crate::kernel::Kernel;
use crate::memory::PAGE_BYTES;
use crate::uapi;
use crate::vm::MIN_IPA_WIDTH;

/// Numbers of capabilities that a parameter of the module may have.
const CAPABILITIES: std::ops::Range<u32> = 1..4096;

/// Numbers that Linux gives to capabilities, from the lowest that a generation has taken on.
const GIVEN: std::ops::Range<u32> = 240..300;

/// What every generation needs of a kernel. KVM_CAP_MEMORY_FAULT_INFO is not asked for: memory
/// faults are described on arm64, and only x86 has the capability.
const NEEDED: [(u32, &str); 2] = [
    (uapi::CAP_USER_MEMORY2, "KVM_CAP_USER_MEMORY2"),
    (uapi::CAP_GUEST_MEMFD, "KVM_CAP_GUEST_MEMFD"),
];

/// Asks a kernel which generation it has.
///
/// # Errors
///
/// [`CallError`] when `/dev/kvm` answers nothing at all. What it refuses is in the report.
pub fn probe<K: Kernel>(kernel: &K, kvm: BorrowedFd<'_>) -> Result<Report, CallError> {
    // Before any VM is created: a Realm changes it.
    let limit = kernel.check_extension(kvm, uapi::CAP_ARM_VM_IPA_SIZE);
    let limit = limit.map_err(|errno| CallError {
        operation: Operation::CheckExtension,
        errno,
        generation: None,
    })?;
    let mut probe = Probe { kernel, findings: vec![Finding::IpaLimit { bits: limit }] };
    let bytes = kernel.page_bytes();
    if bytes != PAGE_BYTES {
        probe.findings.push(Finding::HostPages { bytes });
    }
    let told = probe.parameters();
    let numbers = probe.numbers(kvm, told);
    let verdict = probe.types(kvm, &numbers, told);
    Ok(Report::new(verdict, probe.findings))
}

struct Probe<'k, K> {
    kernel: &'k K,
    findings: Vec<Finding>,
}

impl<K: Kernel> Probe<'_, K> {
    /// The number that the module tells, if it does.
    fn parameters(&mut self) -> Option<u32> {
        let mut told = None;
        for name in ["kvm_cap_arm_rmi", "kvm_cap_arm_rme"] {
            let Some(text) = self.kernel.parameter(name) else { continue };
            let number: Option<u32> = text.trim().parse().ok();
            let number = number.filter(|number| CAPABILITIES.contains(number));
            self.findings.push(Finding::Parameter { name, number });
            told = told.or(number);
        }
        told
    }

    fn answer(&self, fd: BorrowedFd<'_>, capability: u32) -> u32 {
        self.kernel.check_extension(fd, capability).unwrap_or(0)
    }

    /// The generations whose number the kernel knows, highest first.
    fn numbers(&mut self, kvm: BorrowedFd<'_>, told: Option<u32>) -> Vec<Generation> {
        // Numbers of vendors are above those that Linux has given.
        let highest = GIVEN.rev().find(|number| self.answer(kvm, *number) != 0);
        self.findings.push(Finding::Highest { capability: highest });
        let mut generations = Generation::ALL.to_vec();
        generations.sort_by_key(|generation| std::cmp::Reverse(generation.facts().capability));
        generations.retain(|generation| {
            let capability = generation.facts().capability;
            let value = self.answer(kvm, capability);
            self.findings.push(Finding::Number { generation: *generation, capability, value });
            // A number that the module tells rules the others out.
            let is_it = match told {
                Some(told) => told == capability,
                None => !GIVEN.contains(&capability) || highest == Some(capability),
            };
            value != 0 && is_it
        });
        generations
    }

    /// Creates a VM of each type, and looks at the first that there is.
    fn types(&mut self, kvm: BorrowedFd<'_>, numbers: &[Generation], told: Option<u32>) -> Verdict {
        let mut types: Vec<u64> =
            Generation::ALL.iter().map(|generation| generation.facts().realm_type).collect();
        types.sort_unstable_by_key(|realm| std::cmp::Reverse(*realm));
        types.dedup();
        let mut refused = None;
        for realm in types {
            let machine_type = realm | u64::from(MIN_IPA_WIDTH);
            let vm = match self.kernel.create_vm(kvm, machine_type) {
                Ok(vm) => vm,
                Err(errno) => {
                    self.findings.push(Finding::Type { machine_type, errno: Some(errno) });
                    if errno != Errno::EINVAL {
                        refused = refused.or(Some(errno));
                    }
                    continue;
                }
            };
            self.findings.push(Finding::Type { machine_type, errno: None });
            let candidates = numbers.iter().filter(|one| one.facts().realm_type == realm);
            let found = self.on_vm(vm.as_fd(), candidates);
            self.needed(vm.as_fd());
            return match (found, told) {
                (Some(generation), _) => Verdict::Found(generation),
                (None, Some(number)) => Verdict::UnknownNumber(number),
                (None, None) => Verdict::Unknown,
            };
        }
        refused.map_or(Verdict::NoRealms, Verdict::Refused)
    }

    /// The first of these generations that fits what a VM has.
    fn on_vm<'g>(
        &mut self,
        vm: BorrowedFd<'_>,
        candidates: impl Iterator<Item = &'g Generation>,
    ) -> Option<Generation> {
        for generation in candidates {
            let facts = generation.facts();
            let own = self.answer(vm, facts.capability);
            let attributes = facts.memfd_attributes_capability;
            let attributes = attributes.unwrap_or(uapi::CAP_MEMORY_ATTRIBUTES);
            let attributes = u64::from(self.answer(vm, attributes));
            let has_private = attributes & uapi::ATTRIBUTE_PRIVATE != 0;
            self.findings.push(Finding::Vm {
                generation: *generation,
                has_capability: own != 0,
                has_private,
            });
            if own != 0 && has_private {
                return Some(*generation);
            }
        }
        None
    }

    /// What every generation needs, on a VM.
    fn needed(&mut self, vm: BorrowedFd<'_>) {
        for (capability, name) in NEEDED {
            if self.answer(vm, capability) == 0 {
                self.findings.push(Finding::Missing { name });
            }
        }
    }
}
