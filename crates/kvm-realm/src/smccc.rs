//! Hypercalls that KVM forwards to the VMM: the filter of functions of a VM.
//!
//! A forwarded call arrives as [`Exit::Hypercall`](crate::exit::Exit::Hypercall). All others are
//! KVM's.
//!
//! Source: Linux, `Documentation/virt/kvm/devices/vm.rst`, "KVM_ARM_VM_SMCCC_CTRL".

use std::os::fd::BorrowedFd;

use crate::calls::Calls;
use crate::errno::Errno;
use crate::error::{CallError, Operation};
use crate::kernel::{DeviceAttr, Kernel};
use crate::uapi;

/// A range of functions: the first, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Functions {
    /// The first.
    pub base: u32,
    /// How many.
    pub count: u32,
}

/// The functions of PSCI, those of SMC32 and those of SMC64.
///
/// Source: Arm DEN0022, "Functions".
pub const PSCI: [Functions; 2] =
    [Functions { base: 0x8400_0000, count: 0x20 }, Functions { base: 0xc400_0000, count: 0x20 }];

/// Forwards calls of these functions to the VMM, before any vCPU runs. A range can be filtered
/// once.
///
/// Those of PSCI of a Realm are forwarded by [`forward_psci`]: where only the kernel answers them,
/// the VMM cannot complete them, and the vCPU that makes one does not run again.
///
/// # Errors
///
/// [`CallError`]; `EBUSY` after a vCPU ran, `EEXIST` if some of them are filtered already or belong
/// to the architecture, `EINVAL` for an empty range or one that leaves 32 bits.
pub fn forward<K: Kernel>(
    calls: &Calls<'_, K>,
    vm: BorrowedFd<'_>,
    functions: Functions,
) -> Result<(), CallError> {
    let filter = uapi::SmcccFilter {
        base: functions.base,
        nr_functions: functions.count,
        action: [uapi::SMCCC_FORWARD],
        pad: [0; 15],
    };
    let value = filter.bytes();
    let attr = DeviceAttr {
        group: uapi::VM_SMCCC_CONTROL,
        attr: uapi::VM_SMCCC_FILTER,
        value: Some(&value),
    };
    calls.set_device_attr(Operation::FilterCalls, vm, &attr)
}

/// Forwards the PSCI calls of a Realm to the VMM, which then answers all of them
/// ([`RealmVcpu::complete_psci`](crate::vcpu::RealmVcpu::complete_psci)).
///
/// # Errors
///
/// As [`forward`]. `ENOTTY`, without a call, where only the kernel answers PSCI calls.
pub fn forward_psci<K: Kernel>(calls: &Calls<'_, K>, vm: BorrowedFd<'_>) -> Result<(), CallError> {
    if calls.generation.facts().psci_complete.is_none() {
        return Err(calls.error(Operation::FilterCalls, Errno::ENOTTY));
    }
    PSCI.into_iter().try_for_each(|functions| forward(calls, vm, functions))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::generation::Generation;
    use crate::recorder::{Recorder, fd};

    #[test]
    fn psci_is_forwarded_where_the_vmm_can_complete_it() {
        for generation in Generation::ALL {
            let kernel = Recorder::default();
            let calls = Calls::new(&kernel, generation);
            let done = forward_psci(&calls, fd().as_fd());
            if generation.facts().psci_complete.is_some() {
                assert_eq!(done, Ok(()), "{generation}");
                let filters =
                    ["attr 0 0 Some((2084000000, 18))", "attr 0 0 Some((20c4000000, 18))"];
                assert_eq!(kernel.take(), filters, "{generation}");
            } else {
                let error = done.unwrap_err();
                assert_eq!((error.operation, error.errno), (Operation::FilterCalls, Errno::ENOTTY));
                assert!(error.meaning().contains("PSCI"), "{error}");
                assert!(kernel.take().is_empty(), "{generation}");
            }
        }
    }

    #[test]
    fn the_structure_is_that_of_linux() {
        let fields = [("base", 0, 4), ("nr_functions", 4, 4), ("action", 8, 1), ("pad", 9, 15)];
        assert_eq!(uapi::SmcccFilter::FIELDS, fields);
    }

    #[test]
    fn a_call_that_fails_is_the_last() {
        let kernel = Recorder::default();
        let calls = Calls::new(&kernel, Generation::V10);
        kernel.fail.set(Some((0, Errno::EBUSY)));
        let error = forward_psci(&calls, fd().as_fd()).unwrap_err();
        assert_eq!((error.errno, kernel.take().len()), (Errno::EBUSY, 1));
        assert!(error.to_string().contains("a vCPU has run"), "{error}");
    }
}
