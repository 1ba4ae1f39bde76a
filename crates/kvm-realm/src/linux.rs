//! The kernel that the program runs on, on arm64: `kvm-ioctls`, and what it lacks.
#![expect(unsafe_code, reason = "descriptors of the caller, pointers in structures, madvise")]

use std::ffi::c_ulong;
use std::fs;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;

use kvm_bindings::{
    kvm_create_device, kvm_create_guest_memfd, kvm_device_attr, kvm_enable_cap,
    kvm_memory_attributes, kvm_run, kvm_userspace_memory_region2, kvm_vcpu_init,
};
use kvm_ioctls::{DeviceFd, Kvm, VcpuFd, VmFd};
use vmm_sys_util::fallocate::{FallocateMode, fallocate};
use vmm_sys_util::ioctl::ioctl_with_mut_ptr;

use crate::errno::Errno;
use crate::host_memory::HostMemory;
use crate::kernel::{
    Call, DeviceAttr, Discard, EnableCap, Kernel, MemoryRegion, Result, Vcpu, VcpuInit,
};

/// The kernel of this machine.
#[derive(Debug)]
pub struct Linux {
    /// Of this object alone: for what `kvm-ioctls` asks `/dev/kvm` about vCPUs.
    kvm: Kvm,
}

impl Linux {
    /// Opens `/dev/kvm`.
    ///
    /// # Errors
    ///
    /// `ENOENT` without KVM, `EACCES` without permission.
    pub fn open() -> Result<Self> {
        Ok(Self { kvm: Kvm::new().map_err(errno)? })
    }

    /// A VM of the caller, as `kvm-ioctls` has it.
    fn vm(&self, fd: BorrowedFd<'_>) -> Result<Borrowed<VmFd>> {
        // SAFETY: the object is never dropped, so it does not close the caller's descriptor, and
        // not used longer than this borrow of it: `Borrowed` is local to the methods below.
        let vm = unsafe { self.kvm.create_vmfd_from_rawfd(fd.as_raw_fd()) };
        vm.map(ManuallyDrop::new).map_err(errno)
    }
}

/// An object of `kvm-ioctls` with a descriptor that it does not own.
type Borrowed<T> = ManuallyDrop<T>;

fn errno(error: kvm_ioctls::Error) -> Errno {
    Errno::new(error.errno())
}

/// What an ioctl returns.
fn returned(value: i32) -> Result<u32> {
    u32::try_from(value).map_err(|_| Errno::last())
}

/// `/dev/kvm` or a VM of the caller: for the ioctl that both have.
fn kvm(fd: BorrowedFd<'_>) -> Borrowed<Kvm> {
    // SAFETY: as in `Linux::vm`.
    ManuallyDrop::new(unsafe { Kvm::from_raw_fd(fd.as_raw_fd()) })
}

/// A device, a VM or a vCPU of the caller: for the ioctls that all have.
fn device(fd: BorrowedFd<'_>) -> Borrowed<DeviceFd> {
    // SAFETY: as in `Linux::vm`.
    ManuallyDrop::new(unsafe { DeviceFd::from_raw_fd(fd.as_raw_fd()) })
}

/// A new descriptor, which its object does not close.
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made the descriptor for this call.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

fn device_attr(attr: &DeviceAttr<'_>) -> kvm_device_attr {
    let addr = attr.value.map_or(0, |value| address(value.as_ptr()));
    kvm_device_attr { flags: 0, group: attr.group, attr: attr.attr, addr }
}

impl Kernel for Linux {
    type Vcpu = LinuxVcpu;

    fn open_kvm(&self) -> Result<OwnedFd> {
        Kvm::open_with_cloexec(true).map(own).map_err(errno)
    }

    fn parameter(&self, name: &str) -> Option<String> {
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return None;
        }
        fs::read_to_string(format!("/sys/module/kvm/parameters/{name}")).ok()
    }

    fn check_extension(&self, fd: BorrowedFd<'_>, capability: u32) -> Result<u32> {
        returned(kvm(fd).check_extension_raw(c_ulong::from(capability)))
    }

    fn create_vm(&self, fd: BorrowedFd<'_>, machine_type: u64) -> Result<OwnedFd> {
        let vm = kvm(fd).create_vm_with_type(machine_type).map_err(errno)?;
        // `kvm-ioctls` gives no descriptor away: the object keeps and closes its own.
        // SAFETY: the object exists until after the call.
        let fd = unsafe { BorrowedFd::borrow_raw(vm.as_raw_fd()) };
        duplicate(fd)
    }

    fn enable_cap(&self, vm: BorrowedFd<'_>, cap: &EnableCap<'_>) -> Result<()> {
        let mut args = cap.args;
        if let Some(pointee) = cap.pointee {
            args[1] = address(pointee.as_ptr());
        }
        let cap = kvm_enable_cap { cap: cap.capability, args, ..Default::default() };
        self.vm(vm)?.enable_cap(&cap).map_err(errno)
    }

    fn create_guest_memfd(&self, vm: BorrowedFd<'_>, bytes: u64, flags: u64) -> Result<OwnedFd> {
        let request = kvm_create_guest_memfd { size: bytes, flags, ..Default::default() };
        let memfd = self.vm(vm)?.create_guest_memfd(request).map(own).map_err(errno)?;
        // The kernel closes its other descriptors in programs that are executed, and not this one,
        // which keeps the VM.
        // SAFETY: the call has no pointers, and the descriptor is this function's.
        match unsafe { libc::fcntl(memfd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } {
            0 => Ok(memfd),
            _ => Err(Errno::last()),
        }
    }

    fn set_memory_region(&self, vm: BorrowedFd<'_>, region: &MemoryRegion<'_>) -> Result<()> {
        if region.bytes > region.host.bytes() as u64 {
            return Err(Errno::EINVAL);
        }
        let mut request = kvm_userspace_memory_region2 {
            slot: region.slot,
            flags: region.flags,
            guest_phys_addr: region.guest_phys_addr,
            memory_size: region.bytes,
            userspace_addr: address(region.host.base().as_ptr()),
            ..Default::default()
        };
        if let Some((memfd, offset)) = region.guest_memfd {
            request.guest_memfd = memfd.as_raw_fd().cast_unsigned();
            request.guest_memfd_offset = offset;
        }
        // SAFETY: the memory is as long as the region, and `HostMemory::new` says that a VM may
        // use it as RAM.
        unsafe { self.vm(vm)?.set_user_memory_region2(request) }.map_err(errno)
    }

    fn set_memory_attributes(
        &self,
        vm: BorrowedFd<'_>,
        address: u64,
        bytes: u64,
        attributes: u64,
    ) -> Result<()> {
        let request = kvm_memory_attributes { address, size: bytes, attributes, flags: 0 };
        self.vm(vm)?.set_memory_attributes(request).map_err(errno)
    }

    fn create_device(&self, vm: BorrowedFd<'_>, kind: u32) -> Result<OwnedFd> {
        let mut request = kvm_create_device { type_: kind, fd: 0, flags: 0 };
        let device = self.vm(vm)?.create_device(&mut request).map_err(errno)?;
        // SAFETY: the object exists until after the call.
        duplicate(unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) })
    }

    fn set_device_attr(&self, fd: BorrowedFd<'_>, attr: &DeviceAttr<'_>) -> Result<()> {
        device(fd).set_device_attr(&device_attr(attr)).map_err(errno)
    }

    fn has_device_attr(&self, fd: BorrowedFd<'_>, attr: &DeviceAttr<'_>) -> Result<()> {
        device(fd).has_device_attr(&device_attr(attr)).map_err(errno)
    }

    fn set_irq_line(&self, vm: BorrowedFd<'_>, irq: u32, is_asserted: bool) -> Result<()> {
        self.vm(vm)?.set_irq_line(irq, is_asserted).map_err(errno)
    }

    fn create_vcpu(&self, vm: BorrowedFd<'_>, id: u64) -> Result<LinuxVcpu> {
        self.vm(vm)?.create_vcpu(id).map(LinuxVcpu).map_err(errno)
    }

    fn open_vcpu(&self, vcpu: BorrowedFd<'_>) -> Result<LinuxVcpu> {
        // `VmFd` is asked for the length of the run page alone, which it has from `/dev/kvm`.
        let vm = self.vm(vcpu)?;
        let fd = duplicate(vcpu)?.into_raw_fd();
        // SAFETY: the descriptor is a duplicate that nothing else has.
        unsafe { vm.create_vcpu_from_rawfd(fd) }.map(LinuxVcpu).map_err(errno)
    }

    fn preferred_target(&self, vm: BorrowedFd<'_>) -> Result<VcpuInit> {
        let mut init = kvm_vcpu_init::default();
        self.vm(vm)?.get_preferred_target(&mut init).map_err(errno)?;
        Ok(VcpuInit { target: init.target, features: init.features })
    }

    fn call(&self, fd: BorrowedFd<'_>, call: Call<'_>) -> Result<u32> {
        if call.structure.len() != call.request.argument_bytes() {
            return Err(Errno::ENOTTY);
        }
        if let Some((offset, source)) = call.source {
            crate::uapi::put(call.structure, offset, &address(source.as_ptr()).to_ne_bytes());
        }
        let request = c_ulong::from(call.request.number());
        // SAFETY: the structure is as long as the request says; `Request` says what it does with
        // it, and the source, which it only reads, is borrowed until after the call.
        returned(unsafe { ioctl_with_mut_ptr(&fd, request, call.structure.as_mut_ptr()) })
    }

    fn punch_hole(&self, guest_memfd: BorrowedFd<'_>, offset: u64, bytes: u64) -> Result<()> {
        fallocate(&guest_memfd, FallocateMode::PunchHole, true, offset, bytes).map_err(errno)
    }

    fn discard(&self, memory: HostMemory, how: Discard) -> Result<()> {
        if !memory.is_of_pages(self.page_bytes()) {
            return Err(Errno::EINVAL);
        }
        let advice = match how {
            Discard::Remove => libc::MADV_REMOVE,
            Discard::DontNeed => libc::MADV_DONTNEED,
        };
        // SAFETY: the memory stays mapped, `HostMemory::new` says that its content may be
        // discarded, and it is of whole pages, so that nothing else is.
        match unsafe { libc::madvise(memory.base().as_ptr().cast(), memory.bytes(), advice) } {
            0 => Ok(()),
            _ => Err(Errno::last()),
        }
    }

    fn page_bytes(&self) -> usize {
        // SAFETY: the call has no pointers.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0)
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd.try_clone_to_owned().map_err(Errno::of)
}

/// A vCPU of this machine's kernel, with its run page.
#[derive(Debug)]
pub struct LinuxVcpu(VcpuFd);

impl LinuxVcpu {
    /// The part of the run page from `offset` on, at most `bytes` long: address and length.
    fn part(&mut self, offset: usize, bytes: usize) -> Option<(*mut u8, usize)> {
        let left = size_of::<kvm_run>().checked_sub(offset)?;
        let page: *mut kvm_run = self.0.get_kvm_run();
        // SAFETY: `offset` is within the run page, which is mapped as long as the vCPU exists.
        Some((unsafe { page.cast::<u8>().add(offset) }, bytes.min(left)))
    }
}

impl AsFd for LinuxVcpu {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the vCPU keeps its descriptor open as long as it exists.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

impl Vcpu for LinuxVcpu {
    fn init(&self, init: &VcpuInit) -> Result<()> {
        let init = kvm_vcpu_init { target: init.target, features: init.features };
        self.0.vcpu_init(&init).map_err(errno)
    }

    fn finalize(&self, feature: u32) -> Result<()> {
        self.0.vcpu_finalize(&feature.cast_signed()).map_err(errno)
    }

    fn set_one_reg(&self, id: u64, value: &[u8]) -> Result<()> {
        // `kvm-ioctls` refuses a value that is not as long as the register.
        self.0.set_one_reg(id, value).map(|_| ()).map_err(errno)
    }

    fn get_one_reg(&self, id: u64, value: &mut [u8]) -> Result<()> {
        self.0.get_one_reg(id, value).map(|_| ()).map_err(errno)
    }

    fn run(&mut self) -> Result<()> {
        // `VcpuFd::run` decodes exits as they are on other machines, and does not tell the error
        // numbers of memory faults apart.
        // SAFETY: KVM_RUN has no argument; the kernel writes to the run page alone, which is
        // mapped, and which this exclusive borrow keeps from being read meanwhile.
        match unsafe { vmm_sys_util::ioctl::ioctl(&self.0, KVM_RUN) } {
            0 => Ok(()),
            _ => Err(Errno::last()),
        }
    }

    fn read_run(&mut self, offset: usize, bytes: &mut [u8]) {
        bytes.fill(0);
        if let Some((page, len)) = self.part(offset, bytes.len()) {
            // SAFETY: both are at least `len` bytes long, and they do not overlap: `bytes` is a
            // borrow, and nothing borrows the run page.
            unsafe { ptr::copy_nonoverlapping(page, bytes.as_mut_ptr(), len) };
        }
    }

    fn write_run(&mut self, offset: usize, bytes: &[u8]) {
        if let Some((page, len)) = self.part(offset, bytes.len()) {
            // SAFETY: as in `read_run`.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), page, len) };
        }
    }
}

/// KVM_RUN: `_IO(KVMIO, 0x80)`.
const KVM_RUN: c_ulong = 0xae80;
