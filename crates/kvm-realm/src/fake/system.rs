//! Calls of `/dev/kvm` and of a VM that are not about memory: capabilities, creation, devices.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::facts::Attributes;
use super::fields::low;
use super::machine::{Machine, Object};
use super::vgic::{VGIC_V3, Vgic};
use super::vm::{VcpuState, Vm};
use crate::Errno;
use crate::kernel::{DeviceAttr, VcpuInit};

/// Bytes of a run page.
pub(super) const RUN_BYTES: u64 = 0x1000;

/// Capabilities that all kernels with Realms share and that Realms may have. Source: Linux,
/// `include/uapi/linux/kvm.h`; the list is that of v13.
const IRQCHIP: u32 = 0;
const NR_VCPUS: u32 = 9;
const MAX_VCPUS: u32 = 66;
const ARM_PSCI: u32 = 87;
const ARM_PSCI_0_2: u32 = 102;
const MAX_VCPU_ID: u32 = 128;
const MSI_DEVID: u32 = 131;
const ARM_VM_IPA_SIZE: u32 = 165;
const ARM_SVE: u32 = 170;
const PTRAUTH_ADDRESS: u32 = 171;
const PTRAUTH_GENERIC: u32 = 172;
const ALLOWED: [u32; 11] = [
    IRQCHIP,
    ARM_PSCI,
    ARM_PSCI_0_2,
    NR_VCPUS,
    MAX_VCPUS,
    MAX_VCPU_ID,
    MSI_DEVID,
    ARM_VM_IPA_SIZE,
    ARM_SVE,
    PTRAUTH_ADDRESS,
    PTRAUTH_GENERIC,
];
/// Others of the architecture, which a Realm's descriptor may not answer.
const USER_MEMORY: u32 = 3;
const READONLY_MEM: u32 = 81;
const ONE_REG: u32 = 70;
const PMU_V3: u32 = 126;
const IMMEDIATE_EXIT: u32 = 136;
/// The base of numbers that are known only by description.
const CACHEABLE_PFNMAP: &str = "KVM_CAP_ARM_CACHEABLE_PFNMAP_SUPPORTED";

/// The smallest size of an IPA, and that which an argument of 0 stands for.
const MIN_IPA_BITS: u32 = 32;
const DEFAULT_IPA_BITS: u32 = 40;

/// KVM_ARM_TARGET_GENERIC_V8.
const GENERIC_V8: u32 = 5;

/// KVM_ARM_IRQ_TYPE_SPI, without a vCPU.
const SPI: u32 = 1 << 8;

/// Groups of attributes of a VM and of a vCPU, and the attributes.
const SMCCC_CTRL: u32 = 0;
const SMCCC_FILTER: u64 = 0;
const PMU_CTRL: u32 = 0;
const PMU_IRQ: u64 = 0;
const PMU_INIT: u64 = 1;
const TIMER_CTRL: u32 = 1;
/// What the filter does with calls: handles them, refuses them, forwards them.
const FORWARD: u8 = 2;

impl Machine {
    /// KVM_CHECK_EXTENSION.
    pub(super) fn check_extension(
        &mut self,
        fd: BorrowedFd<'_>,
        capability: u32,
    ) -> Result<u32, Errno> {
        let realm = match self.object(fd)? {
            Object::System => None,
            Object::Vm(vm) => Some(self.vm(vm)?.is_realm),
            _ => return Err(Errno::ENOTTY),
        };
        if let Some(value) = self.capabilities.get(&capability) {
            return Ok(*value);
        }
        let is = |name: &str| u64::from(capability) == self.facts.constant(name);
        let private = self.facts.small_constant("KVM_MEMORY_ATTRIBUTE_PRIVATE");
        let may_be_private = realm.unwrap_or(self.options.has_realms);
        // Those that are answered in code that all architectures share. The code of arm64 does not
        // know KVM_CAP_MEMORY_FAULT_INFO, although it describes the faults.
        if is("KVM_CAP_USER_MEMORY2")
            || [USER_MEMORY, ONE_REG, IMMEDIATE_EXIT].contains(&capability)
        {
            return Ok(1);
        }
        if is("KVM_CAP_GUEST_MEMFD") {
            return Ok(may_be_private.into());
        }
        match self.facts.attributes {
            Attributes::Vm if is("KVM_CAP_MEMORY_ATTRIBUTES") => {
                return Ok(if may_be_private { private } else { 0 });
            }
            Attributes::Gmem(number) if number == capability => {
                let converts = realm.is_none() || self.options.converts_in_place;
                return Ok(if may_be_private && converts { private } else { 0 });
            }
            _ => {}
        }
        if capability != self.facts.capability
            && is("KVM_CAP_GUEST_MEMFD_FLAGS")
            && self.behaviour.gmem_flags > 0
        {
            return Ok(low(self.behaviour.gmem_flags));
        }
        Ok(self.check_extension_of_arm(realm == Some(true), capability))
    }

    /// The part that the architecture answers.
    fn check_extension_of_arm(&self, is_realm: bool, capability: u32) -> u32 {
        if capability == self.facts.capability {
            return self.options.has_realms.into();
        }
        if is_realm && self.behaviour.filters_capabilities && !ALLOWED.contains(&capability) {
            return 0;
        }
        let vcpus = u32::try_from(self.options.max_vcpus).unwrap_or(u32::MAX);
        match capability {
            IRQCHIP | ARM_PSCI | ARM_PSCI_0_2 | PTRAUTH_ADDRESS | PTRAUTH_GENERIC | PMU_V3 => 1,
            NR_VCPUS | MAX_VCPUS | MAX_VCPU_ID => vcpus,
            ARM_VM_IPA_SIZE if self.has_had_realm => {
                self.options.ipa_limit.min(self.options.realm_ipa_limit)
            }
            ARM_VM_IPA_SIZE => self.options.ipa_limit,
            ARM_SVE => (self.options.has_sve || !is_realm).into(),
            READONLY_MEM => (!is_realm).into(),
            // A number that once was that of Realms; kernels since then have it for this.
            _ if u64::from(capability) == self.facts.constant(CACHEABLE_PFNMAP) => {
                (self.behaviour.gmem_flags > 0).into()
            }
            _ => 0,
        }
    }

    /// KVM_CREATE_VM.
    pub(super) fn create_vm(&mut self, fd: BorrowedFd<'_>, kind: u64) -> Result<OwnedFd, Errno> {
        if self.object(fd)? != Object::System {
            return Err(Errno::ENOTTY);
        }
        let ipa_mask = self.facts.constant("KVM_VM_TYPE_ARM_IPA_SIZE_MASK");
        let is_realm = match kind & !ipa_mask {
            0 => false,
            bits if bits == self.facts.realm_type && self.options.has_realms => true,
            _ => return Err(Errno::EINVAL),
        };
        let limit = if is_realm { self.options.realm_ipa_limit } else { self.options.ipa_limit };
        let asked = u32::try_from(kind & ipa_mask).unwrap_or(u32::MAX);
        let ipa_bits = if asked == 0 { DEFAULT_IPA_BITS } else { asked };
        if !(MIN_IPA_BITS..=limit).contains(&ipa_bits) {
            return Err(Errno::EINVAL);
        }
        let vm = self.open(Object::Vm(self.vms.len()), 0)?;
        self.vms.push(Vm::new(is_realm, ipa_bits));
        self.has_had_realm |= is_realm;
        Ok(vm)
    }

    /// The VM that a descriptor stands for.
    pub(super) fn vm_of(&mut self, fd: BorrowedFd<'_>) -> Result<(usize, &mut Vm), Errno> {
        match self.object(fd)? {
            Object::Vm(index) => Ok((index, self.vm(index)?)),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// KVM_CREATE_VCPU.
    pub(super) fn create_vcpu(
        &mut self,
        fd: BorrowedFd<'_>,
        id: u64,
    ) -> Result<(OwnedFd, usize, usize), Errno> {
        let max_vcpus = self.options.max_vcpus;
        let (vm_index, vm) = self.vm_of(fd)?;
        if id >= max_vcpus || vm.vcpu_count() >= max_vcpus {
            return Err(Errno::EINVAL);
        }
        if vm.vgic.as_ref().is_some_and(|vgic| vgic.is_initialised) {
            return Err(Errno::EBUSY);
        }
        if vm.vcpus.iter().any(|vcpu| vcpu.id == id) {
            return Err(Errno::EEXIST);
        }
        let index = vm.vcpus.len();
        let vcpu = self.open(Object::Vcpu(vm_index, index), RUN_BYTES)?;
        let guest = (self.make_guest)(id);
        self.vm(vm_index)?.vcpus.push(VcpuState::new(id, guest));
        Ok((vcpu, vm_index, index))
    }

    /// KVM_CREATE_DEVICE.
    pub(super) fn create_device(
        &mut self,
        fd: BorrowedFd<'_>,
        kind: u32,
    ) -> Result<OwnedFd, Errno> {
        let (index, vm) = self.vm_of(fd)?;
        if kind != VGIC_V3 {
            return Err(Errno::ENODEV);
        }
        if vm.vgic.is_some() {
            return Err(Errno::EEXIST);
        }
        if vm.vcpus.iter().any(|vcpu| vcpu.has_run) {
            return Err(Errno::EBUSY);
        }
        let device = self.open(Object::Vgic(index), 0)?;
        self.vm(index)?.vgic = Some(Vgic::default());
        Ok(device)
    }

    /// KVM_IRQ_LINE, of SPIs.
    pub(super) fn set_irq_line(
        &mut self,
        fd: BorrowedFd<'_>,
        irq: u32,
        is_asserted: bool,
    ) -> Result<(), Errno> {
        let (_, vm) = self.vm_of(fd)?;
        let vgic = vm.vgic.as_mut().ok_or(Errno::ENXIO)?;
        if irq >> 16 != SPI {
            return Err(Errno::EINVAL);
        }
        vgic.set_line(irq & 0xffff, is_asserted)
    }

    /// KVM_ARM_PREFERRED_TARGET.
    pub(super) fn preferred_target(&mut self, fd: BorrowedFd<'_>) -> Result<VcpuInit, Errno> {
        self.vm_of(fd)?;
        Ok(VcpuInit { target: GENERIC_V8, features: [0; 7] })
    }

    /// KVM_SET_DEVICE_ATTR.
    pub(super) fn set_device_attr(
        &mut self,
        fd: BorrowedFd<'_>,
        attr: &DeviceAttr<'_>,
    ) -> Result<(), Errno> {
        let key = (attr.group, attr.attr);
        match self.object(fd)? {
            Object::Vgic(vm) => {
                let vm = self.vm(vm)?;
                let (bits, vcpus) = (vm.ipa_bits, vm.vcpu_count());
                vm.vgic.as_mut().ok_or(Errno::ENODEV)?.set(key, attr.value, bits, vcpus)
            }
            Object::Vm(vm) if key == (SMCCC_CTRL, SMCCC_FILTER) => {
                let has_psci = self.facts.has(super::facts::Extra::PsciComplete);
                let vm = self.vm(vm)?;
                vm.set_filter(attr.value.ok_or(Errno::EFAULT)?, has_psci)
            }
            Object::Vcpu(vm, _) if attr.group == TIMER_CTRL && attr.attr < 2 => {
                let vm = self.vm(vm)?;
                let value = attr.value.ok_or(Errno::EFAULT)?.try_into();
                let ppi = value.map(u32::from_le_bytes).map_err(|_| Errno::EFAULT)?;
                if !(16..32).contains(&ppi) {
                    return Err(Errno::EINVAL);
                }
                if vm.vgic.as_ref().is_some_and(|vgic| vgic.is_initialised) || vm.has_run {
                    return Err(Errno::EBUSY);
                }
                vm.timers.insert(attr.attr, ppi);
                Ok(())
            }
            Object::Vcpu(vm, vcpu) if attr.group == PMU_CTRL => {
                let feature = self.facts.constant("KVM_ARM_VCPU_PMU_V3");
                self.vm(vm)?.set_pmu(vcpu, feature, attr)
            }
            Object::Vm(_) | Object::Vcpu(..) => Err(Errno::ENXIO),
            Object::System | Object::Gmem(..) => Err(Errno::ENOTTY),
        }
    }

    /// KVM_HAS_DEVICE_ATTR.
    pub(super) fn has_device_attr(
        &mut self,
        fd: BorrowedFd<'_>,
        attr: &DeviceAttr<'_>,
    ) -> Result<(), Errno> {
        let key = (attr.group, attr.attr);
        let pmu = self.facts.constant("KVM_ARM_VCPU_PMU_V3");
        let has = match self.object(fd)? {
            Object::Vgic(_) => return Vgic::has(key),
            Object::Vm(_) => key == (SMCCC_CTRL, SMCCC_FILTER),
            Object::Vcpu(vm, vcpu) if attr.group == PMU_CTRL => {
                attr.attr <= PMU_INIT && self.vm(vm)?.vcpu(vcpu)?.has_feature(pmu)
            }
            Object::Vcpu(..) => attr.group == TIMER_CTRL && attr.attr < 2,
            Object::System | Object::Gmem(..) => return Err(Errno::ENOTTY),
        };
        if has { Ok(()) } else { Err(Errno::ENXIO) }
    }
}

/// Functions of the architecture itself, which no filter can have.
const ARCH_FUNCTIONS: [(u32, u32); 2] = [(0x8000_0000, 0x1_0000), (0xc000_0000, 0x1_0000)];
/// Functions of PSCI.
const PSCI_FUNCTIONS: [(u32, u32); 2] = [(0x8400_0000, 0x20), (0xc400_0000, 0x20)];

impl Vm {
    /// Sets the interrupt of a vCPU's PMU, or initialises it. The filter of events and the choice
    /// of a PMU of the host are not faked.
    ///
    /// Source: Linux, `kvm_arm_pmu_v3_set_attr`.
    fn set_pmu(&mut self, vcpu: usize, feature: u64, attr: &DeviceAttr<'_>) -> Result<(), Errno> {
        let has_gic = self.vgic.as_ref().is_some_and(|vgic| vgic.is_initialised);
        let others: Vec<u32> = self.vcpus.iter().filter_map(|vcpu| vcpu.pmu_interrupt).collect();
        let state = self.vcpu(vcpu)?;
        if !state.has_feature(feature) {
            return Err(Errno::ENODEV);
        }
        if state.has_pmu {
            return Err(Errno::EBUSY);
        }
        match attr.attr {
            PMU_IRQ => {
                let value = attr.value.ok_or(Errno::EFAULT)?.try_into();
                let interrupt = value.map(u32::from_le_bytes).map_err(|_| Errno::EFAULT)?;
                // A PPI is that of all vCPUs, an SPI of one.
                let is_valid = match interrupt {
                    16..32 => others.iter().all(|other| *other == interrupt),
                    32..1020 => !others.contains(&interrupt),
                    _ => false,
                };
                if !is_valid {
                    return Err(Errno::EINVAL);
                }
                if state.pmu_interrupt.is_some() {
                    return Err(Errno::EBUSY);
                }
                state.pmu_interrupt = Some(interrupt);
                Ok(())
            }
            PMU_INIT if !has_gic => Err(Errno::ENODEV),
            PMU_INIT if state.pmu_interrupt.is_none() => Err(Errno::ENXIO),
            PMU_INIT => {
                state.has_pmu = true;
                Ok(())
            }
            _ => Err(Errno::ENXIO),
        }
    }

    /// Sets the filter of a range of functions: `struct kvm_smccc_filter`.
    ///
    /// That calls of PSCI cannot be forwarded where the VMM cannot complete them is this kernel's:
    /// how such kernels refuse it is not known.
    fn set_filter(&mut self, value: &[u8], has_psci: bool) -> Result<(), Errno> {
        let filter: &[u8; 24] = value.try_into().map_err(|_| Errno::EFAULT)?;
        let [b0, b1, b2, b3, n0, n1, n2, n3, action, pad @ ..] = *filter;
        let (base, count) =
            (u32::from_le_bytes([b0, b1, b2, b3]), u32::from_le_bytes([n0, n1, n2, n3]));
        let overlaps = |(from, length): (u32, u32)| {
            u64::from(base) < u64::from(from) + u64::from(length)
                && u64::from(from) < u64::from(base) + u64::from(count)
        };
        if self.has_run {
            return Err(Errno::EBUSY);
        }
        if action > FORWARD || pad != [0; 15] || count == 0 || base.checked_add(count).is_none() {
            return Err(Errno::EINVAL);
        }
        if ARCH_FUNCTIONS.into_iter().any(overlaps) || self.forwarded.iter().copied().any(overlaps)
        {
            return Err(Errno::EEXIST);
        }
        if self.is_realm && !has_psci && PSCI_FUNCTIONS.into_iter().any(overlaps) {
            return Err(Errno::EINVAL);
        }
        if action == FORWARD {
            self.forwarded.push((base, count));
        }
        Ok(())
    }
}
