//! The VM that is to be a Realm: its type, and the width of its IPA space.

use std::os::fd::{BorrowedFd, OwnedFd};

use rmi_abi::rtt::Geometry;
use thiserror::Error;

use crate::calls::Calls;
use crate::errno::Errno;
use crate::error::{CallError, Operation};
use crate::kernel::Kernel;
use crate::uapi::CAP_ARM_VM_IPA_SIZE;

/// The narrowest IPA space that KVM has.
pub const MIN_IPA_WIDTH: u8 = 32;
/// The widest IPA space that there is.
pub const MAX_IPA_WIDTH: u8 = 52;
/// The width of the IPA space where the kernel does not tell its limit.
const DEFAULT_IPA_WIDTH: u8 = 40;

/// A VM of the type of a Realm.
#[derive(Debug)]
pub struct RealmVm {
    /// The VM.
    pub vm: OwnedFd,
    /// The shape of its IPA space. The upper half is shared with the VMM: RAM is in the lower one.
    pub geometry: Geometry,
}

/// No VM could be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VmError {
    /// The widths are not within 32 to 52 bits, or the narrowest is wider than the widest.
    #[error("no width of the IPA space is at least {at_least} and at most {at_most} bits")]
    Width {
        /// The narrowest.
        at_least: u8,
        /// The widest.
        at_most: u8,
    },
    /// The kernel refused it.
    #[error("{0}")]
    Call(#[from] CallError),
}

impl VmError {
    /// Whether the VM is dead.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Call(call) if call.is_final())
    }
}

/// The most bits that the kernel has for the IPA space of any VM, and not more than a Realm of this
/// generation can have.
///
/// The limit for Realms is the RMM's, and lower perhaps: only creating a VM tells. This is asked
/// before a VM is created, since a Realm changes what the kernel answers.
///
/// # Errors
///
/// [`CallError`] of KVM_CHECK_EXTENSION.
pub fn ipa_limit<K: Kernel>(calls: &Calls<'_, K>, kvm: BorrowedFd<'_>) -> Result<u8, CallError> {
    let limit = calls.check_extension(kvm, CAP_ARM_VM_IPA_SIZE)?;
    let limit = match u8::try_from(limit) {
        Ok(0) => DEFAULT_IPA_WIDTH,
        Ok(limit) => limit,
        Err(_) => MAX_IPA_WIDTH,
    };
    Ok(limit.min(calls.generation.facts().max_ipa_width))
}

/// Creates a VM with the widest IPA space that kernel and RMM have, from `at_most` bits downwards.
///
/// `at_least` is what the RAM needs: the width of its last address, and one bit more, since the
/// upper half is shared. `at_most` is [`ipa_limit`], or less: the width is a measured parameter of
/// a Realm, so a VMM that wants a predictable measurement passes one width as both.
///
/// # Errors
///
/// [`VmError`]; of the calls, the first that is not `EINVAL`, or the last.
pub fn create<K: Kernel>(
    calls: &Calls<'_, K>,
    kvm: BorrowedFd<'_>,
    at_least: u8,
    at_most: u8,
) -> Result<RealmVm, VmError> {
    if at_least < MIN_IPA_WIDTH || at_most > MAX_IPA_WIDTH || at_least > at_most {
        return Err(VmError::Width { at_least, at_most });
    }
    // Wider VMs are created by some kernels, and then are no Realms.
    let at_most = at_most.min(calls.generation.facts().max_ipa_width);
    if at_least > at_most {
        return Err(VmError::Width { at_least, at_most });
    }
    let mut refused = Err(calls.error(Operation::CreateVm, Errno::EINVAL).into());
    for width in (at_least..=at_most).rev() {
        // Every width between 32 and 52 bits has a shape.
        let Ok(geometry) = Geometry::new(width) else { continue };
        match calls.create_vm(kvm, width) {
            Ok(vm) => return Ok(RealmVm { vm, geometry }),
            Err(error) => {
                let is_width = error.errno == Errno::EINVAL;
                refused = Err(error.into());
                if !is_width {
                    break;
                }
            }
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::generation::Generation;
    use crate::recorder::{Recorder, fd};

    fn kernel(limit: u8) -> Recorder {
        let kernel = Recorder::default();
        kernel.ipa_limit.set(limit);
        kernel
    }

    fn create(kernel: &Recorder, at_least: u8, at_most: u8) -> Result<u8, VmError> {
        let calls = Calls::new(kernel, Generation::V13);
        let created = super::create(&calls, fd().as_fd(), at_least, at_most);
        created.map(|vm| vm.geometry.ipa_width())
    }

    #[test]
    fn widths_are_tried_downwards() {
        let kernel = kernel(34);
        assert_eq!(create(&kernel, 33, 36), Ok(34));
        assert_eq!(kernel.take(), ["vm 0x124", "vm 0x123", "vm 0x122"]);
        assert_eq!(create(&kernel, 34, 34), Ok(34));
        assert_eq!(kernel.take(), ["vm 0x122"]);
        let Err(VmError::Call(error)) = create(&kernel, 35, 36) else { panic!("too wide") };
        assert_eq!((error.operation, error.errno), (Operation::CreateVm, Errno::EINVAL));
        assert_eq!(kernel.take(), ["vm 0x124", "vm 0x123"]);
    }

    #[test]
    fn no_width_is_tried_that_a_realm_cannot_have() {
        let kernel = kernel(52);
        let calls = Calls::new(&kernel, Generation::V5ToV7);
        let create = |at_least, at_most| super::create(&calls, fd().as_fd(), at_least, at_most);
        assert_eq!(create(33, 52).unwrap().geometry.ipa_width(), 48);
        assert_eq!(create(48, 49).unwrap().geometry.ipa_width(), 48);
        assert_eq!(kernel.take(), ["vm 0x130", "vm 0x130"]);
        let Err(VmError::Width { at_least: 49, at_most: 48 }) = create(49, 50) else {
            panic!("too wide")
        };
        assert!(kernel.take().is_empty());
        kernel.capability.set(52);
        assert_eq!(ipa_limit(&calls, fd().as_fd()), Ok(48));
        kernel.capability.set(300);
        assert_eq!(ipa_limit(&calls, fd().as_fd()), Ok(48));
    }

    #[test]
    fn other_errors_end_the_search() {
        let kernel = kernel(52);
        kernel.fail.set(Some((1, Errno::ENOMEM)));
        kernel.ipa_limit.set(39);
        let Err(VmError::Call(error)) = create(&kernel, 32, 40) else { panic!("no memory") };
        assert_eq!(error.errno, Errno::ENOMEM);
        assert_eq!(kernel.take(), ["vm 0x128", "vm 0x127"]);
    }

    #[test]
    fn widths_that_no_kernel_has_are_refused_without_a_call() {
        let kernel = kernel(52);
        for (at_least, at_most) in [(31, 40), (32, 53), (41, 40)] {
            let refused = VmError::Width { at_least, at_most };
            assert_eq!(create(&kernel, at_least, at_most), Err(refused));
        }
        assert!(kernel.take().is_empty());
        assert_eq!(create(&kernel, 32, 52), Ok(52));
        kernel.ipa_limit.set(32);
        assert_eq!(create(&kernel, 32, 33), Ok(32));
    }

    #[test]
    fn the_limit_is_a_width() {
        let kernel = kernel(40);
        let calls = Calls::new(&kernel, Generation::V13);
        for (answer, limit) in [(0, 40), (36, 36), (48, 48), (52, 52), (56, 52), (300, 52)] {
            kernel.capability.set(answer);
            assert_eq!(ipa_limit(&calls, fd().as_fd()), Ok(limit));
        }
        assert_eq!(kernel.take()[0], "check 165");
        kernel.fail.set(Some((0, Errno::EBADF)));
        assert_eq!(ipa_limit(&calls, fd().as_fd()).unwrap_err().errno, Errno::EBADF);
    }
}
