//! The fake kernel as a [`Kernel`]: each call is recorded, and fails if it was ordered to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::FakeKernel;
use super::machine::{Machine, Object};
use super::run::Shared;
use super::system::RUN_BYTES;
use crate::Errno;
use crate::host_memory::HostMemory;
use crate::kernel::{
    Call, DeviceAttr, Discard, EnableCap, Kernel, MemoryRegion, Result, Vcpu, VcpuInit,
};

/// Registers: the core registers of arm64, by the number of their half-words. Source: Linux,
/// `arch/arm64/include/uapi/asm/kvm.h`.
const CORE: u64 = 0x6030_0000_0010_0000;
const PC: u64 = 32;
const MPIDR_EL1: u64 = 0x6030_0000_0013_c005;
const VECTOR_LENGTHS: u64 = 0x6060_0000_0015_ffff;

/// A vCPU of a [`FakeKernel`].
pub struct FakeVcpu {
    shared: Arc<Shared>,
    file: std::fs::File,
    vm: usize,
    vcpu: usize,
}

impl std::fmt::Debug for FakeVcpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeVcpu").field("vcpu", &self.vcpu).finish_non_exhaustive()
    }
}

impl Shared {
    /// Makes a call.
    fn call<T>(
        &self,
        name: &'static str,
        number: Option<u64>,
        call: impl FnOnce(&mut Machine) -> Result<T>,
    ) -> Result<T> {
        let mut machine = self.lock();
        let index = machine.calls.log.len();
        machine.calls.begin(name, number)?;
        let result = call(&mut machine);
        machine.calls.end(index, result.as_ref().err().copied());
        result
    }
}

impl Kernel for FakeKernel {
    type Vcpu = FakeVcpu;

    fn open_kvm(&self) -> Result<OwnedFd> {
        self.shared.call("open", None, |machine| machine.open(Object::System, 0))
    }

    fn parameter(&self, name: &str) -> Option<String> {
        self.shared.lock().parameters.get(name).cloned()
    }

    fn check_extension(&self, fd: BorrowedFd<'_>, capability: u32) -> Result<u32> {
        self.shared.call("KVM_CHECK_EXTENSION", Some(capability.into()), |machine| {
            machine.check_extension(fd, capability)
        })
    }

    fn create_vm(&self, kvm: BorrowedFd<'_>, machine_type: u64) -> Result<OwnedFd> {
        self.shared.call("KVM_CREATE_VM", Some(machine_type), |machine| {
            machine.create_vm(kvm, machine_type)
        })
    }

    fn enable_cap(&self, vm: BorrowedFd<'_>, cap: &EnableCap<'_>) -> Result<()> {
        self.shared.call("KVM_ENABLE_CAP", Some(cap.capability.into()), |machine| {
            machine.enable_cap(vm, cap)
        })
    }

    fn create_guest_memfd(&self, vm: BorrowedFd<'_>, bytes: u64, flags: u64) -> Result<OwnedFd> {
        self.shared.call("KVM_CREATE_GUEST_MEMFD", Some(flags), |machine| {
            machine.create_guest_memfd(vm, bytes, flags)
        })
    }

    fn set_memory_region(&self, vm: BorrowedFd<'_>, region: &MemoryRegion<'_>) -> Result<()> {
        self.shared.call("KVM_SET_USER_MEMORY_REGION2", None, |machine| {
            machine.set_memory_region(vm, region)
        })
    }

    fn set_memory_attributes(
        &self,
        vm: BorrowedFd<'_>,
        address: u64,
        bytes: u64,
        attributes: u64,
    ) -> Result<()> {
        self.shared.call("KVM_SET_MEMORY_ATTRIBUTES", None, |machine| {
            machine.set_memory_attributes(vm, address, bytes, attributes)
        })
    }

    fn create_device(&self, vm: BorrowedFd<'_>, kind: u32) -> Result<OwnedFd> {
        self.shared.call("KVM_CREATE_DEVICE", None, |machine| machine.create_device(vm, kind))
    }

    fn set_device_attr(&self, device: BorrowedFd<'_>, attr: &DeviceAttr<'_>) -> Result<()> {
        self.shared
            .call("KVM_SET_DEVICE_ATTR", None, |machine| machine.set_device_attr(device, attr))
    }

    fn has_device_attr(&self, device: BorrowedFd<'_>, attr: &DeviceAttr<'_>) -> Result<()> {
        self.shared
            .call("KVM_HAS_DEVICE_ATTR", None, |machine| machine.has_device_attr(device, attr))
    }

    fn set_irq_line(&self, vm: BorrowedFd<'_>, irq: u32, is_asserted: bool) -> Result<()> {
        self.shared.call("KVM_IRQ_LINE", None, |machine| machine.set_irq_line(vm, irq, is_asserted))
    }

    fn create_vcpu(&self, vm: BorrowedFd<'_>, id: u64) -> Result<FakeVcpu> {
        let (file, vm, vcpu) =
            self.shared.call("KVM_CREATE_VCPU", None, |machine| machine.create_vcpu(vm, id))?;
        Ok(FakeVcpu { shared: Arc::clone(&self.shared), file: file.into(), vm, vcpu })
    }

    fn open_vcpu(&self, vcpu: BorrowedFd<'_>) -> Result<FakeVcpu> {
        let Object::Vcpu(vm, index) = self.shared.lock().object(vcpu)? else {
            return Err(Errno::ENOTTY);
        };
        let file = vcpu.try_clone_to_owned().map_err(Errno::of)?;
        Ok(FakeVcpu { shared: Arc::clone(&self.shared), file: file.into(), vm, vcpu: index })
    }

    fn preferred_target(&self, vm: BorrowedFd<'_>) -> Result<VcpuInit> {
        self.shared.call("KVM_ARM_PREFERRED_TARGET", None, |machine| machine.preferred_target(vm))
    }

    fn call(&self, fd: BorrowedFd<'_>, call: Call<'_>) -> Result<u32> {
        self.shared.call("ioctl", Some(call.request.number().into()), |machine| {
            machine.extra_call(fd, call)
        })
    }

    fn punch_hole(&self, guest_memfd: BorrowedFd<'_>, offset: u64, bytes: u64) -> Result<()> {
        self.shared
            .call("fallocate", None, |machine| machine.punch_hole(guest_memfd, offset, bytes))
    }

    fn discard(&self, memory: HostMemory, how: Discard) -> Result<()> {
        self.shared.call("madvise", None, |_| Machine::discard(memory, how))
    }

    fn page_bytes(&self) -> usize {
        super::realm::PAGE_BYTES
    }
}

impl AsFd for FakeVcpu {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Vcpu for FakeVcpu {
    fn init(&self, init: &VcpuInit) -> Result<()> {
        let [features, ..] = init.features;
        self.shared.call("KVM_ARM_VCPU_INIT", Some(features.into()), |machine| {
            machine.init_vcpu(self.vm, self.vcpu, init)
        })
    }

    fn finalize(&self, feature: u32) -> Result<()> {
        self.shared.call("KVM_ARM_VCPU_FINALIZE", Some(feature.into()), |machine| {
            machine.finalize_vcpu(self.vm, self.vcpu, feature)
        })
    }

    fn set_one_reg(&self, id: u64, value: &[u8]) -> Result<()> {
        self.shared.call("KVM_SET_ONE_REG", None, |machine| {
            let registers = machine.behaviour.registers;
            let has_realm = machine.vm(self.vm)?.realm.state;
            let is_realm = machine.vm(self.vm)?.is_realm;
            let vcpu = machine.vm(self.vm)?.vcpu(self.vcpu)?;
            if vcpu.features.is_none() {
                return Err(Errno::ENOEXEC);
            }
            if id == VECTOR_LENGTHS {
                let is_late = vcpu.is_sve_finalised || has_realm != super::realm::RealmState::None;
                return match vcpu.has_feature(4) {
                    false => Err(Errno::ENOENT),
                    true if is_late => Err(Errno::EPERM),
                    true => vcpu.set_vectors(value),
                };
            }
            let value = value.try_into().map(u64::from_le_bytes).map_err(|_| Errno::EINVAL)?;
            match core_register(id) {
                Some(PC) => vcpu.pc = value,
                Some(index) if !is_realm || index < registers => {
                    let index = usize::try_from(index).map_err(|_| Errno::EINVAL)?;
                    *vcpu.registers.get_mut(index).ok_or(Errno::EINVAL)? = value;
                }
                _ => return Err(Errno::EINVAL),
            }
            Ok(())
        })
    }

    fn get_one_reg(&self, id: u64, value: &mut [u8]) -> Result<()> {
        self.shared.call("KVM_GET_ONE_REG", None, |machine| {
            let registers = machine.behaviour.registers;
            let is_realm = machine.vm(self.vm)?.is_realm;
            let vcpu = machine.vm(self.vm)?.vcpu(self.vcpu)?;
            if vcpu.features.is_none() {
                return Err(Errno::ENOEXEC);
            }
            if id == VECTOR_LENGTHS {
                if !vcpu.has_feature(4) {
                    return Err(Errno::ENOENT);
                }
                let lengths: &mut [u8; 64] = value.try_into().map_err(|_| Errno::EINVAL)?;
                let [first, second] = vcpu.vectors.to_le_bytes();
                *lengths = [0; 64];
                (lengths[0], lengths[1]) = (first, second);
                return Ok(());
            }
            let result = match core_register(id) {
                _ if id == MPIDR_EL1 => 1 << 31 | super::realm::affinity(vcpu.id),
                Some(PC) => vcpu.pc,
                Some(index) if !is_realm || index < registers => {
                    let index = usize::try_from(index).map_err(|_| Errno::EINVAL)?;
                    *vcpu.registers.get(index).ok_or(Errno::EINVAL)?
                }
                Some(_) => return Err(Errno::EINVAL),
                None => return Err(Errno::ENOENT),
            };
            let value: &mut [u8; 8] = value.try_into().map_err(|_| Errno::EINVAL)?;
            *value = result.to_le_bytes();
            Ok(())
        })
    }

    fn run(&mut self) -> Result<()> {
        let mut machine = self.shared.lock();
        let index = machine.calls.log.len();
        machine.calls.begin("KVM_RUN", None)?;
        drop(machine);
        let result = self.shared.run(self.vm, self.vcpu);
        self.shared.lock().calls.end(index, result.err());
        result
    }

    fn read_run(&mut self, offset: usize, bytes: &mut [u8]) {
        bytes.fill(0);
        if let Some(bytes) = bytes.get_mut(..within(offset, bytes.len())) {
            // A page that cannot be read has no exit, which is one that is not known.
            let _ = self.file.read_exact_at(bytes, offset as u64);
        }
    }

    fn write_run(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(bytes) = bytes.get(..within(offset, bytes.len())) {
            let _ = self.file.write_all_at(bytes, offset as u64);
        }
    }
}

impl super::vm::VcpuState {
    /// Sets the lengths of vectors: those of the machine, up to one of them.
    fn set_vectors(&mut self, value: &[u8]) -> Result<()> {
        let lengths: &[u8; 64] = value.try_into().map_err(|_| Errno::EINVAL)?;
        let [first, second, rest @ ..] = *lengths;
        let vectors = u16::from_le_bytes([first, second]);
        let longest = u16::BITS - vectors.leading_zeros();
        let wanted = super::vm::VECTORS & u16::MAX.checked_shr(u16::BITS - longest).unwrap_or(0);
        if vectors == 0 || vectors != wanted || rest != [0; 62] {
            return Err(Errno::EINVAL);
        }
        self.vectors = vectors;
        Ok(())
    }
}

/// How many of `bytes` bytes from `offset` on are in the run page.
fn within(offset: usize, bytes: usize) -> usize {
    let left = RUN_BYTES.saturating_sub(offset as u64);
    bytes.min(usize::try_from(left).unwrap_or(0))
}

/// The number of a core register: 0 to 30 for x0 to x30, 31 for SP, 32 for PC.
fn core_register(id: u64) -> Option<u64> {
    let offset = id.checked_sub(CORE)?;
    (offset.is_multiple_of(2) && offset / 2 <= PC).then_some(offset / 2)
}
