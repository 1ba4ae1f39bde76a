//! The system calls that this crate makes, as a trait: the seam between it and a kernel.
//!
//! [`Kernel`] has a method for each ioctl of `/dev/kvm`, of a VM and of a device, and [`Vcpu`] for
//! each one of a vCPU. The real one (`linux::Linux`, on arm64) makes them through `kvm-ioctls`, and
//! by itself where that crate lacks a call. A fake one answers in its place in tests.
//!
//! A method is one system call: it neither retries nor interprets. What varies between generations
//! (capabilities, types of VMs, features, ioctls, layouts) is in the arguments, so that a kernel
//! can refuse what it does not have: numbers as they are passed, and structures that only some
//! kernels have as bytes.
#![expect(clippy::missing_errors_doc, reason = "each error is the error number of the call")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::errno::Errno;
use crate::host_memory::HostMemory;

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

/// A number of an ioctl that `kvm-ioctls` lacks.
///
/// Only this crate makes them, so a kernel that gets one knows what the ioctl does: it reads, and
/// where its direction says so writes, as many bytes at its argument as are encoded in the number,
/// and reads what an address in these bytes points to ([`Call::source`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request(u32);

impl Request {
    /// The ioctl with this number.
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number, as `ioctl` takes it.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Length of the structure at the argument, as it is encoded in the number.
    #[must_use]
    pub const fn argument_bytes(self) -> usize {
        (self.0 >> 16 & 0x3fff) as usize
    }
}

/// An ioctl that `kvm-ioctls` lacks, with its structure.
#[derive(Debug)]
pub struct Call<'c> {
    /// The ioctl.
    pub request: Request,
    /// The structure at its argument; [`Request::argument_bytes`] long. A kernel that has another
    /// number for the structure's length refuses the request with `ENOTTY`.
    pub structure: &'c mut [u8],
    /// What an address in the structure points to, and the offset of that address. The structure
    /// has zeros there when the method is called; the kernel's implementation writes the address.
    pub source: Option<(usize, &'c [u8])>,
}

/// An action through KVM_ENABLE_CAP.
#[derive(Clone, Copy, Debug)]
pub struct EnableCap<'c> {
    /// The capability.
    pub capability: u32,
    /// `args` of the structure. `args[1]` is zero where `pointee` is given; the kernel's
    /// implementation writes its address there.
    pub args: [u64; 4],
    /// What `args[1]` points to.
    pub pointee: Option<&'c [u8]>,
}

/// A slot of RAM: KVM_SET_USER_MEMORY_REGION2.
#[derive(Clone, Copy, Debug)]
pub struct MemoryRegion<'m> {
    /// Number of the slot.
    pub slot: u32,
    /// Flags.
    pub flags: u32,
    /// Where it begins in the guest.
    pub guest_phys_addr: u64,
    /// Its length in bytes; zero removes the slot.
    pub bytes: u64,
    /// The shared side. At least `bytes` long.
    pub host: HostMemory,
    /// The private side, and the offset in it.
    pub guest_memfd: Option<(BorrowedFd<'m>, u64)>,
}

/// What is set of a device, a VM or a vCPU: `struct kvm_device_attr`.
#[derive(Clone, Copy, Debug)]
pub struct DeviceAttr<'v> {
    /// The group.
    pub group: u32,
    /// The attribute.
    pub attr: u64,
    /// What `addr` points to; `None` for an attribute without a value.
    pub value: Option<&'v [u8]>,
}

/// What a vCPU is initialised with: `struct kvm_vcpu_init`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VcpuInit {
    /// The CPU that is emulated.
    pub target: u32,
    /// Features, one bit each.
    pub features: [u32; 7],
}

impl VcpuInit {
    /// The same with the feature of this number. Numbers from 224 on have no effect.
    #[must_use]
    pub fn with_feature(mut self, number: u32) -> Self {
        let word = usize::try_from(number / 32).unwrap_or(usize::MAX);
        if let Some(word) = self.features.get_mut(word) {
            *word |= 1 << (number % 32);
        }
        self
    }

    /// Whether it has the feature of this number.
    #[must_use]
    pub fn has_feature(&self, number: u32) -> bool {
        let word = usize::try_from(number / 32).unwrap_or(usize::MAX);
        self.features.get(word).is_some_and(|word| word & 1 << (number % 32) != 0)
    }
}

/// The way in which the pages of shared memory are given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// MADV_REMOVE: of memory that is a file, also from the file. `EINVAL` for anonymous private
    /// memory.
    Remove,
    /// MADV_DONTNEED: of anonymous private memory.
    DontNeed,
}

/// A kernel with KVM.
///
/// Descriptors are those of the kernel that is called: `/dev/kvm`, VMs, guest_memfds, devices. An
/// error is the error number of the call; nothing is said about what the call has changed.
///
/// Source: Linux, `Documentation/virt/kvm/api.rst`.
pub trait Kernel {
    /// A vCPU of this kernel.
    type Vcpu: Vcpu;

    /// Opens `/dev/kvm`.
    fn open_kvm(&self) -> Result<OwnedFd>;

    /// The text of a parameter of the module `kvm`, `/sys/module/kvm/parameters/NAME`, if there is
    /// one.
    fn parameter(&self, name: &str) -> Option<String>;

    /// KVM_CHECK_EXTENSION of `/dev/kvm`, or of a VM.
    fn check_extension(&self, fd: BorrowedFd<'_>, capability: u32) -> Result<u32>;

    /// KVM_CREATE_VM of `/dev/kvm`.
    fn create_vm(&self, kvm: BorrowedFd<'_>, machine_type: u64) -> Result<OwnedFd>;

    /// KVM_ENABLE_CAP of a VM.
    fn enable_cap(&self, vm: BorrowedFd<'_>, cap: &EnableCap<'_>) -> Result<()>;

    /// KVM_CREATE_GUEST_MEMFD of a VM.
    fn create_guest_memfd(&self, vm: BorrowedFd<'_>, bytes: u64, flags: u64) -> Result<OwnedFd>;

    /// KVM_SET_USER_MEMORY_REGION2 of a VM.
    fn set_memory_region(&self, vm: BorrowedFd<'_>, region: &MemoryRegion<'_>) -> Result<()>;

    /// KVM_SET_MEMORY_ATTRIBUTES of a VM, for guest physical addresses.
    fn set_memory_attributes(
        &self,
        vm: BorrowedFd<'_>,
        address: u64,
        bytes: u64,
        attributes: u64,
    ) -> Result<()>;

    /// KVM_CREATE_DEVICE of a VM.
    fn create_device(&self, vm: BorrowedFd<'_>, kind: u32) -> Result<OwnedFd>;

    /// KVM_SET_DEVICE_ATTR of a device, a VM or a vCPU.
    fn set_device_attr(&self, device: BorrowedFd<'_>, attr: &DeviceAttr<'_>) -> Result<()>;

    /// KVM_HAS_DEVICE_ATTR of a device, a VM or a vCPU. The value is not used.
    fn has_device_attr(&self, device: BorrowedFd<'_>, attr: &DeviceAttr<'_>) -> Result<()>;

    /// KVM_IRQ_LINE of a VM with a GIC: the level of an interrupt. `irq` has its type and its vCPU
    /// as well, as the call has them.
    fn set_irq_line(&self, vm: BorrowedFd<'_>, irq: u32, is_asserted: bool) -> Result<()>;

    /// KVM_CREATE_VCPU of a VM, and its run page.
    fn create_vcpu(&self, vm: BorrowedFd<'_>, id: u64) -> Result<Self::Vcpu>;

    /// A vCPU that exists, by its descriptor, which is duplicated; and its run page.
    fn open_vcpu(&self, vcpu: BorrowedFd<'_>) -> Result<Self::Vcpu>;

    /// KVM_ARM_PREFERRED_TARGET of a VM.
    fn preferred_target(&self, vm: BorrowedFd<'_>) -> Result<VcpuInit>;

    /// An ioctl that `kvm-ioctls` lacks. `Ok` has what it returns.
    fn call(&self, fd: BorrowedFd<'_>, call: Call<'_>) -> Result<u32>;

    /// Gives pages of a guest_memfd back: `fallocate` with FALLOC_FL_PUNCH_HOLE.
    fn punch_hole(&self, guest_memfd: BorrowedFd<'_>, offset: u64, bytes: u64) -> Result<()>;

    /// Gives pages of shared memory back: `madvise`. `EINVAL` for memory that is not of whole pages
    /// of the host: `madvise` would discard what is behind it.
    fn discard(&self, memory: HostMemory, how: Discard) -> Result<()>;

    /// Bytes of a page of the host: `sysconf(_SC_PAGESIZE)`.
    fn page_bytes(&self) -> usize;
}

/// A vCPU of a [`Kernel`], and its run page (`struct kvm_run`).
pub trait Vcpu: AsFd {
    /// KVM_ARM_VCPU_INIT.
    fn init(&self, init: &VcpuInit) -> Result<()>;

    /// KVM_ARM_VCPU_FINALIZE.
    fn finalize(&self, feature: u32) -> Result<()>;

    /// KVM_SET_ONE_REG.
    fn set_one_reg(&self, id: u64, value: &[u8]) -> Result<()>;

    /// KVM_GET_ONE_REG.
    fn get_one_reg(&self, id: u64, value: &mut [u8]) -> Result<()>;

    /// KVM_RUN. A memory fault is an error, `EFAULT`, with its exit in the run page; the exit of
    /// any other error is stale, or of a page that is broken (`EHWPOISON`).
    fn run(&mut self) -> Result<()>;

    /// Reads from the run page. What is outside of it reads as zeros.
    fn read_run(&mut self, offset: usize, bytes: &mut [u8]);

    /// Writes to the run page. What is outside of it is left out.
    fn write_run(&mut self, offset: usize, bytes: &[u8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_length_of_its_structure() {
        let request = Request::new(0xc020_aed7);
        assert_eq!((request.number(), request.argument_bytes()), (0xc020_aed7, 32));
        assert_eq!(Request::new(0xffff_ffff).argument_bytes(), 0x3fff);
    }

    #[test]
    fn features_are_bits_of_seven_words() {
        let init = VcpuInit { target: 5, features: [0; 7] };
        assert_eq!(init.with_feature(2).features, [4, 0, 0, 0, 0, 0, 0]);
        assert_eq!(init.with_feature(9).with_feature(33).features, [0x200, 2, 0, 0, 0, 0, 0]);
        assert_eq!(init.with_feature(223).features[6], 1 << 31);
        assert_eq!(init.with_feature(224), init);
        for (number, has) in [(9, true), (8, false), (41, false), (224, false), (u32::MAX, false)] {
            assert_eq!(init.with_feature(9).has_feature(number), has, "{number}");
        }
    }
}
