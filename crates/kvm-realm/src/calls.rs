//! The calls of a kernel, as its generation has them.
//!
//! They check nothing and have no state.
#![expect(clippy::missing_errors_doc, reason = "each error is that of the call")]

use std::os::fd::{BorrowedFd, OwnedFd};

use rmi_abi::realm::{HashAlgorithm, RPV_BYTES};
use thiserror::Error;

use crate::errno::Errno;
use crate::error::{CallError, Operation};
use crate::generation::{Generation, PopulateCall};
use crate::host_memory::HostMemory;
use crate::kernel::{
    self, Call, DeviceAttr, Discard, EnableCap, Kernel, MemoryRegion, Request, Vcpu,
};
use crate::uapi::{
    self, MemoryAttributes2, PsciComplete, RmeConfig, RmeInitRipas, RmePopulate, RmiPopulate,
};

type Result<T> = std::result::Result<T, CallError>;

/// The actions of KVM_ENABLE_CAP, in `args[0]`.
#[derive(Clone, Copy)]
enum Action {
    Configure = 0,
    Create = 1,
    InitRipas = 2,
    Populate = 3,
    Activate = 4,
}

/// Items of a Realm's configuration.
const CONFIG_PERSONALIZATION: u32 = 0;
const CONFIG_HASH: u32 = 1;
/// The only flag of both populate calls.
const POPULATE_MEASURE: u32 = 1;

/// Pages of a guest_memfd were not made private or shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{call}")]
pub struct AttributesError {
    /// The call.
    #[source]
    pub call: CallError,
    /// `error_offset`: the page in the guest_memfd that is in use, after `EAGAIN`. The kernel may
    /// say anything.
    pub offset: u64,
}

/// A kernel and its generation.
#[derive(Debug)]
pub struct Calls<'k, K> {
    /// The kernel.
    pub kernel: &'k K,
    /// What it is taken for.
    pub generation: Generation,
}

impl<K> Clone for Calls<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Calls<'_, K> {}

impl<'k, K: Kernel> Calls<'k, K> {
    /// The calls of this kernel as this generation has them.
    #[must_use]
    pub const fn new(kernel: &'k K, generation: Generation) -> Self {
        Self { kernel, generation }
    }

    pub(crate) fn error(&self, operation: Operation, errno: Errno) -> CallError {
        CallError::new(operation, errno, self.generation)
    }

    pub(crate) fn check<T>(&self, operation: Operation, result: kernel::Result<T>) -> Result<T> {
        result.map_err(|errno| self.error(operation, errno))
    }

    /// An ioctl that `kvm-ioctls` lacks, and that says nothing but that it is done.
    fn request(
        &self,
        operation: Operation,
        fd: BorrowedFd<'_>,
        request: Request,
        structure: &mut [u8],
    ) -> Result<()> {
        let call = Call { request, structure, source: None };
        self.check(operation, self.kernel.call(fd, call)).map(|_| ())
    }

    /// KVM_CHECK_EXTENSION of `/dev/kvm`, or of a VM.
    pub fn check_extension(&self, fd: BorrowedFd<'_>, capability: u32) -> Result<u32> {
        self.check(Operation::CheckExtension, self.kernel.check_extension(fd, capability))
    }

    /// KVM_CREATE_VM of a VM that is to be a Realm, with this width of its IPA space in bits.
    pub fn create_vm(&self, kvm: BorrowedFd<'_>, ipa_width: u8) -> Result<OwnedFd> {
        let vm = self.kernel.create_vm(kvm, self.generation.machine_type(ipa_width));
        self.check(Operation::CreateVm, vm)
    }

    fn action(
        &self,
        operation: Operation,
        vm: BorrowedFd<'_>,
        action: Action,
        pointee: Option<&[u8]>,
    ) -> Result<()> {
        let capability = self.generation.facts().capability;
        let cap = EnableCap { capability, args: [action as u64, 0, 0, 0], pointee };
        self.check(operation, self.kernel.enable_cap(vm, &cap))
    }

    fn configure(
        &self,
        operation: Operation,
        vm: BorrowedFd<'_>,
        item: u32,
        of: &[u8],
    ) -> Result<()> {
        let mut config = RmeConfig { item, value: [0; 256] };
        uapi::put(&mut config.value, 0, of);
        self.action(operation, vm, Action::Configure, Some(&config.bytes()))
    }

    /// Chooses the algorithm that measures the Realm (v5 to v10).
    pub fn configure_hash(&self, vm: BorrowedFd<'_>, hash: HashAlgorithm) -> Result<()> {
        let code = u32::from(u8::from(hash)).to_le_bytes();
        self.configure(Operation::ConfigureHash, vm, CONFIG_HASH, &code)
    }

    /// Sets the Realm Personalization Value (v5 to v10).
    pub fn configure_personalization(
        &self,
        vm: BorrowedFd<'_>,
        value: &[u8; RPV_BYTES],
    ) -> Result<()> {
        self.configure(Operation::ConfigurePersonalization, vm, CONFIG_PERSONALIZATION, value)
    }

    /// Creates the Realm with what it was configured with (v5 to v10).
    pub fn create_realm(&self, vm: BorrowedFd<'_>) -> Result<()> {
        self.action(Operation::CreateRealm, vm, Action::Create, None)
    }

    /// Makes a range RAM, before it is populated (v5 to v10).
    pub fn init_ripas(&self, vm: BorrowedFd<'_>, base: u64, size: u64) -> Result<()> {
        let range = RmeInitRipas { base, size, reserved: [0; 16] };
        self.action(Operation::InitRipas, vm, Action::InitRipas, Some(&range.bytes()))
    }

    /// KVM_ARM_RMI_INIT_RIPAS: makes a slot RAM, after memory was populated.
    pub fn init_ripas_of_slot(
        &self,
        vm: BorrowedFd<'_>,
        request: Request,
        base: u64,
        size: u64,
    ) -> Result<()> {
        let mut structure = [0; 64];
        uapi::put(&mut structure, 0, &base.to_le_bytes());
        uapi::put(&mut structure, 8, &size.to_le_bytes());
        self.request(Operation::InitRipas, vm, request, &mut structure)
    }

    /// Makes the Realm ready to run (v5 to v10).
    pub fn activate(&self, vm: BorrowedFd<'_>) -> Result<()> {
        self.action(Operation::Activate, vm, Action::Activate, None)
    }

    /// Populates pages from `base` on with `source`, whole pages, or with what is in the slot
    /// there. Returns how many bytes of it the kernel says are done, which may be none; it may say
    /// anything.
    pub fn populate(
        &self,
        vm: BorrowedFd<'_>,
        base: u64,
        source: &[u8],
        is_measured: bool,
    ) -> Result<u64> {
        let flags = if is_measured { POPULATE_MEASURE } else { 0 };
        let size = source.len() as u64;
        let request = match self.generation.facts().populate {
            PopulateCall::FromSlot => {
                let range = RmePopulate { base, size, flags, reserved: [0; 12] };
                let bytes = range.bytes();
                self.action(Operation::Populate, vm, Action::Populate, Some(&bytes))?;
                return Ok(size);
            }
            PopulateCall::ReturnsBytes(request) | PopulateCall::UpdatesStructure(request) => {
                request
            }
        };
        let range = RmiPopulate { base, size, source_uaddr: 0, flags, reserved: 0 };
        let mut structure = range.bytes();
        let source = Some((std::mem::offset_of!(RmiPopulate, source_uaddr), source));
        let call = Call { request, structure: &mut structure, source };
        let returned = self.check(Operation::Populate, self.kernel.call(vm, call))?;
        let left = uapi::get_u64(&structure, std::mem::offset_of!(RmiPopulate, size));
        Ok(match self.generation.facts().populate {
            PopulateCall::ReturnsBytes(_) => u64::from(returned),
            // More than before is left over: that is no progress, and not none.
            _ => size.wrapping_sub(left),
        })
    }

    /// KVM_CREATE_GUEST_MEMFD, with the flags of the generation's memory model.
    pub fn create_guest_memfd(&self, vm: BorrowedFd<'_>, bytes: u64) -> Result<OwnedFd> {
        let flags = self.generation.facts().memory.guest_memfd_flags();
        let memfd = self.kernel.create_guest_memfd(vm, bytes, flags);
        self.check(Operation::CreateGuestMemfd, memfd)
    }

    /// KVM_SET_USER_MEMORY_REGION2.
    pub fn set_memory_region(&self, vm: BorrowedFd<'_>, region: &MemoryRegion<'_>) -> Result<()> {
        self.check(Operation::SetMemoryRegion, self.kernel.set_memory_region(vm, region))
    }

    /// Makes guest addresses private or shared.
    pub fn set_private(
        &self,
        vm: BorrowedFd<'_>,
        base: u64,
        bytes: u64,
        is_private: bool,
    ) -> Result<()> {
        let attributes = if is_private { uapi::ATTRIBUTE_PRIVATE } else { 0 };
        let done = self.kernel.set_memory_attributes(vm, base, bytes, attributes);
        self.check(Operation::SetMemoryAttributes, done)
    }

    /// Makes pages of a guest_memfd private or shared. After `EAGAIN`, nothing is changed.
    pub fn set_memfd_private(
        &self,
        memfd: BorrowedFd<'_>,
        request: Request,
        offset: u64,
        bytes: u64,
        is_private: bool,
    ) -> std::result::Result<(), AttributesError> {
        let attributes = MemoryAttributes2 {
            offset,
            size: bytes,
            attributes: if is_private { uapi::ATTRIBUTE_PRIVATE } else { 0 },
            flags: 0,
            error_offset: 0,
            reserved: [0; 88],
        };
        let mut structure = attributes.bytes();
        self.request(Operation::SetGuestMemfdAttributes, memfd, request, &mut structure).map_err(
            |call| {
                let at = std::mem::offset_of!(MemoryAttributes2, error_offset);
                AttributesError { call, offset: uapi::get_u64(&structure, at) }
            },
        )
    }

    /// Gives pages of a guest_memfd back.
    pub fn punch_hole(&self, memfd: BorrowedFd<'_>, offset: u64, bytes: u64) -> Result<()> {
        self.check(Operation::PunchHole, self.kernel.punch_hole(memfd, offset, bytes))
    }

    /// Gives shared pages back, of memory that is a file or is not.
    pub fn discard(&self, memory: HostMemory) -> Result<()> {
        match self.kernel.discard(memory, Discard::Remove) {
            Err(Errno::EINVAL) => {
                self.check(Operation::Discard, self.kernel.discard(memory, Discard::DontNeed))
            }
            done => self.check(Operation::Discard, done),
        }
    }

    /// KVM_CREATE_DEVICE, as a part of `operation`.
    pub fn create_device(
        &self,
        operation: Operation,
        vm: BorrowedFd<'_>,
        kind: u32,
    ) -> Result<OwnedFd> {
        self.check(operation, self.kernel.create_device(vm, kind))
    }

    /// KVM_SET_DEVICE_ATTR, as a part of `operation`.
    pub fn set_device_attr(
        &self,
        operation: Operation,
        device: BorrowedFd<'_>,
        attr: &DeviceAttr<'_>,
    ) -> Result<()> {
        self.check(operation, self.kernel.set_device_attr(device, attr))
    }

    /// Completes the PSCI call that the vCPU made last, before it and its target run again.
    ///
    /// Where the kernel answers PSCI calls itself, this is `ENOTTY` without a call.
    pub fn complete_psci(
        &self,
        vcpu: BorrowedFd<'_>,
        target_mpidr: u64,
        psci_status: u32,
    ) -> Result<()> {
        let Some(request) = self.generation.facts().psci_complete else {
            return Err(self.error(Operation::CompletePsci, Errno::ENOTTY));
        };
        let completion = PsciComplete { target_mpidr, psci_status, padding: [0; 12] };
        self.request(Operation::CompletePsci, vcpu, request, &mut completion.bytes())
    }

    /// The end of the set-up of a vCPU as a REC, where there is one.
    pub fn finalize_rec(&self, vcpu: &K::Vcpu) -> Result<()> {
        match self.generation.facts().rec_feature {
            Some(feature) => self.check(Operation::FinalizeVcpu, vcpu.finalize(feature)),
            None => Ok(()),
        }
    }
}
