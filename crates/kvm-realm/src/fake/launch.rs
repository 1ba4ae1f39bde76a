//! The calls that make a Realm: actions of `KVM_ENABLE_CAP`, populating, RECs.

use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use super::behaviour::{Behaviour, Progress};
use super::facts::{Actions, Attributes, Extra, Family};
use super::fields::{is_zero, u32_at, u64_at};
use super::guest::Outcome;
use super::machine::{Machine, Object};
use super::realm::{PAGE, PAGE_BYTES, RealmState, affinity};
use super::vm::{Pending, VECTORS, Vm};
use crate::Errno;
use crate::kernel::{Call, EnableCap, VcpuInit};

/// Bytes of the structures of actions: what is configured, ranges.
const CONFIG_BYTES: usize = 260;
const RANGE_BYTES: usize = 32;
const CONFIG_RPV: u32 = 0;
const CONFIG_HASH: u32 = 1;
const MEASURE: u32 = 1;
/// Other capabilities that can be enabled for a VM.
const NISV_TO_USER: u32 = 177;

impl Machine {
    /// KVM_ENABLE_CAP.
    pub(super) fn enable_cap(
        &mut self,
        fd: BorrowedFd<'_>,
        cap: &EnableCap<'_>,
    ) -> Result<(), Errno> {
        let (family, number) = (self.facts.family, self.facts.capability);
        let filters = self.behaviour.filters_capabilities;
        let has_sha512 = self.options.has_sha512;
        let has_lpa2 = self.behaviour.has_lpa2;
        let (index, vm) = self.vm_of(fd)?;
        let is_realm = vm.is_realm;
        match family {
            Family::Rme(actions) if cap.capability == number && is_realm => {
                let argument = cap.pointee;
                let action = cap.args.first().copied().unwrap_or(u64::MAX);
                if action == actions.config {
                    vm.configure(argument, &actions, has_sha512)
                } else if action == actions.create {
                    if vm.ipa_bits > 48 && !has_lpa2 {
                        // KVM does not ask for LPA2, so the RMM refuses the width.
                        return Err(Errno::ENXIO);
                    }
                    vm.create_realm()
                } else if action == actions.init_ripas {
                    let (base, size, _) = range(argument)?;
                    let top = base.checked_add(size).ok_or(Errno::EINVAL)?;
                    vm.require_new(Errno::EINVAL)?;
                    vm.realm.init_ripas(base, top)
                } else if action == actions.populate {
                    let (base, size, flags) = range(argument)?;
                    self.populate_from_slot(index, base, size, flags)
                } else if action == actions.activate {
                    vm.require_new(Errno::EINVAL)?;
                    vm.realm.activate();
                    Ok(())
                } else {
                    Err(Errno::EINVAL)
                }
            }
            _ if cap.capability == NISV_TO_USER && !(is_realm && filters) => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// POPULATE_REALM: the content is what the slot's shared side has at the same address.
    fn populate_from_slot(
        &mut self,
        vm_index: usize,
        base: u64,
        size: u64,
        flags: u32,
    ) -> Result<(), Errno> {
        let vm = self.vm(vm_index)?;
        vm.require_new(Errno::EINVAL)?;
        if !base.is_multiple_of(PAGE) || !size.is_multiple_of(PAGE) || flags & !MEASURE != 0 {
            return Err(Errno::EINVAL);
        }
        let end = base.checked_add(size).ok_or(Errno::EINVAL)?;
        let slot = *vm.slot(base).ok_or(Errno::EFAULT)?;
        if end > slot.base.saturating_add(slot.bytes) || slot.gmem.is_none() {
            return Err(Errno::EINVAL);
        }
        for ipa in (base..end).step_by(PAGE_BYTES) {
            let mut content = vec![0; PAGE_BYTES];
            let offset = usize::try_from(ipa - slot.base).map_err(|_| Errno::EFAULT)?;
            slot.host.read(offset, &mut content).map_err(|_| Errno::EFAULT)?;
            self.add_page(vm_index, ipa, flags & MEASURE != 0, content)?;
        }
        Ok(())
    }

    /// Gives a page with content to the Realm; its guest_memfd has it.
    fn add_page(
        &mut self,
        vm_index: usize,
        ipa: u64,
        is_measured: bool,
        content: Vec<u8>,
    ) -> Result<(), Errno> {
        match self.options.page_failure {
            Some((0, errno)) => {
                self.options.page_failure = None;
                return Err(errno);
            }
            Some((pages, errno)) => self.options.page_failure = Some((pages - 1, errno)),
            None => {}
        }
        let vm = self.vm(vm_index)?;
        let slot = *vm.slot(ipa).ok_or(Errno::EFAULT)?;
        let (gmem, offset) = slot.gmem.ok_or(Errno::EINVAL)?;
        vm.realm.add_data(ipa, is_measured, content.clone())?;
        let at = (ipa - slot.base).saturating_add(offset);
        let file = self.file(Object::Gmem(vm_index, gmem)).ok_or(Errno::EFAULT)?;
        file.write_all_at(&content, at).map_err(Errno::of)
    }

    /// A call that only some kernels have.
    pub(super) fn extra_call(&mut self, fd: BorrowedFd<'_>, call: Call<'_>) -> Result<u32, Errno> {
        let object = self.object(fd)?;
        // What a kernel does not know, it does not know by `EINVAL`; a guest_memfd has no calls
        // but the one.
        let unknown = match object {
            Object::Gmem(..) | Object::Vgic(_) => Errno::ENOTTY,
            _ => Errno::EINVAL,
        };
        let known = self.facts.calls.get(&call.request.number()).copied().ok_or(unknown)?;
        if call.structure.len() != call.request.argument_bytes() {
            return Err(Errno::EFAULT);
        }
        match (known, object) {
            (Extra::Populate, Object::Vm(vm)) => self.populate(vm, call),
            (Extra::InitRipas, Object::Vm(vm)) => self.init_ripas(vm, call.structure),
            (Extra::SetMemoryAttributes2, Object::Gmem(..)) => {
                self.set_memory_attributes2(object, call.structure).map(|()| 0)
            }
            (Extra::PsciComplete, Object::Vcpu(vm, vcpu)) => {
                self.complete_psci(vm, vcpu, call.structure)
            }
            _ => Err(unknown),
        }
    }

    /// KVM_ARM_RMI_POPULATE: `struct kvm_arm_rmi_populate`.
    fn populate(&mut self, vm_index: usize, call: Call<'_>) -> Result<u32, Errno> {
        let (behaviour, options) = (self.behaviour, self.options);
        let structure = call.structure;
        let (base, size) = (u64_at(structure, 0), u64_at(structure, 8));
        let source_address = u64_at(structure, 16);
        let (flags, reserved) = (u32_at(structure, 24), u32_at(structure, 28));
        let source = match call.source {
            Some((16, source)) => Some(source),
            Some(_) => return Err(Errno::EFAULT),
            None => None,
        };
        let address = source.map_or(source_address, |source| source.as_ptr().addr() as u64);
        let end = base.checked_add(size).ok_or(Errno::EINVAL)?;
        let is_aligned = base.is_multiple_of(PAGE) && end.is_multiple_of(PAGE);
        let is_source_wrong = address == 0 || !address.is_multiple_of(PAGE);
        if reserved != 0
            || flags & !MEASURE != 0
            || !is_aligned
            || (behaviour.checks_source && is_source_wrong)
        {
            return Err(Errno::EINVAL);
        }
        let vm = self.vm(vm_index)?;
        if !vm.is_realm {
            return Err(behaviour.populates_no_plain_vm);
        }
        let is_above = end > vm.shared_bit();
        if is_above && behaviour.is_strict_about_range {
            return Err(Errno::EINVAL);
        }
        match vm.realm.state {
            RealmState::None => vm.create_realm()?,
            RealmState::New => {}
            RealmState::Active => return Err(Errno::EBUSY),
            RealmState::Dead => return Err(Errno::ENXIO),
        }
        if is_above {
            return Err(Errno::EINVAL);
        }
        let pages = (size / PAGE).min(options.pages_per_populate);
        for page in 0..pages {
            if let Err(errno) = self.populate_page(vm_index, base, page, source, flags) {
                // What has been populated stays; the error is reported when nothing has.
                if page > 0 {
                    return self.progress(page, structure);
                }
                return Err(errno);
            }
        }
        self.progress(pages, structure)
    }

    fn populate_page(
        &mut self,
        vm_index: usize,
        base: u64,
        page: u64,
        source: Option<&[u8]>,
        flags: u32,
    ) -> Result<(), Errno> {
        let ipa = base + page * PAGE;
        let of_gmems = matches!(self.facts.attributes, Attributes::Gmem(_));
        let vm = self.vm(vm_index)?;
        if vm.slot(ipa).is_none_or(|slot| slot.gmem.is_none()) || !vm.is_private(ipa) {
            return Err(Errno::EINVAL);
        }
        if of_gmems && !self.options.converts_in_place {
            return Err(Errno::EINVAL);
        }
        let from = usize::try_from(page * PAGE).map_err(|_| Errno::EFAULT)?;
        let content = source.and_then(|source| source.get(from..)?.get(..PAGE_BYTES));
        let content = content.ok_or(Errno::EFAULT)?.to_vec();
        self.add_page(vm_index, ipa, flags & MEASURE != 0, content)
    }

    /// Reports how many pages were populated.
    fn progress(&self, pages: u64, structure: &mut [u8]) -> Result<u32, Errno> {
        let bytes = pages * PAGE;
        match self.behaviour.progress {
            Progress::Returned => u32::try_from(bytes).map_err(|_| Errno::EINVAL),
            Progress::InStructure => {
                let advanced = [
                    (0, u64_at(structure, 0).wrapping_add(bytes)),
                    (8, u64_at(structure, 8).wrapping_sub(bytes)),
                    (16, u64_at(structure, 16).wrapping_add(bytes)),
                ];
                for (at, value) in advanced {
                    if let Some(field) = structure.get_mut(at..at + 8) {
                        field.copy_from_slice(&value.to_le_bytes());
                    }
                }
                Ok(0)
            }
        }
    }

    /// KVM_ARM_RMI_INIT_RIPAS: a range of one private slot; the rest of the structure is zero.
    fn init_ripas(&mut self, vm_index: usize, structure: &[u8]) -> Result<u32, Errno> {
        let (base, size) = (u64_at(structure, 0), u64_at(structure, 8));
        let vm = self.vm(vm_index)?;
        let top = base.checked_add(size).ok_or(Errno::EINVAL)?;
        let is_aligned = base.is_multiple_of(PAGE) && size.is_multiple_of(PAGE);
        let is_in_slot = vm
            .slot(base)
            .is_some_and(|slot| slot.gmem.is_some() && top <= slot.base.saturating_add(slot.bytes));
        if !vm.is_realm || !is_zero(structure, 16) || !is_aligned || size == 0 || !is_in_slot {
            return Err(Errno::EINVAL);
        }
        vm.require_new(Errno::EBUSY)?;
        vm.realm.make_ram(base, top);
        Ok(0)
    }

    /// Completes a PSCI call: `struct kvm_arm_rmi_psci_complete`.
    fn complete_psci(
        &mut self,
        vm_index: usize,
        caller: usize,
        structure: &[u8],
    ) -> Result<u32, Errno> {
        let (target, status) = (u64_at(structure, 0), u32_at(structure, 8));
        let vm = self.vm(vm_index)?;
        if !vm.is_realm {
            return Err(Errno::EINVAL);
        }
        let request = vm.vcpu(caller)?.psci;
        let is_denied = status == PSCI_DENIED;
        let target = vm.vcpus.iter_mut().find(|vcpu| affinity(vcpu.id) == target);
        let (Some(request), Some(target)) = (request, target) else { return Err(Errno::EINVAL) };
        let is_right = affinity(target.id) == request.target
            && is_zero(structure, 12)
            && (status == 0 || (is_denied && request.start.is_some()));
        if !is_right {
            return Err(Errno::EINVAL);
        }
        // The RMM gives the result, whatever the VMM has written to X0.
        let result = match (status, request.start) {
            (0, _) if target.is_rec_on => ALREADY_ON,
            (0, Some((entry, context))) => {
                target.turn_on(entry, context);
                SUCCESS
            }
            (0, None) => SUCCESS,
            _ => DENIED,
        };
        let caller = vm.vcpu(caller)?;
        caller.psci = None;
        caller.pending = Pending::Outcome(Outcome::Psci(result));
        Ok(0)
    }

    /// KVM_ARM_VCPU_INIT.
    pub(super) fn init_vcpu(
        &mut self,
        vm: usize,
        vcpu: usize,
        init: &VcpuInit,
    ) -> Result<(), Errno> {
        let (has_sve, takes_rec) = (self.options.has_sve, self.behaviour.inits_rec);
        let has_pmu = self.behaviour.has_pmu;
        let rec = self.facts.rec_feature;
        let bit = |name: &str| 1_u32 << self.facts.constant(name).min(31);
        let power_off = bit("KVM_ARM_VCPU_POWER_OFF");
        let ptrauth = [bit("KVM_ARM_VCPU_PTRAUTH_ADDRESS"), bit("KVM_ARM_VCPU_PTRAUTH_GENERIC")];
        let sve = bit("KVM_ARM_VCPU_SVE");
        let virtual_el2 = bit("KVM_ARM_VCPU_HAS_EL2") | bit("KVM_ARM_VCPU_HAS_EL2_E2H0");
        let plain = bit("KVM_ARM_VCPU_PSCI_0_2") | bit("KVM_ARM_VCPU_PMU_V3");
        let bit_of_pmu = bit("KVM_ARM_VCPU_PMU_V3");
        let el1_32bit = 2;
        // The first generations reuse the number of a later feature, or have it for themselves.
        let virtual_el2 = match rec {
            Some(8) => virtual_el2 & !(1 << 8),
            _ => virtual_el2,
        };
        let rec_bit = rec.filter(|_| takes_rec).map_or(0, |number| 1 << number);
        let known =
            power_off | plain | sve | ptrauth[0] | ptrauth[1] | virtual_el2 | el1_32bit | rec_bit;
        let vm = self.vm(vm)?;
        let is_realm = vm.is_realm;
        let [features, others @ ..] = init.features;
        if init.target != 5 {
            return Err(Errno::EINVAL);
        }
        if features & !known != 0 || others != [0; 6] {
            return Err(Errno::ENOENT);
        }
        if is_realm && !has_pmu && features & bit_of_pmu != 0 {
            return Err(Errno::ENOENT);
        }
        let refused = virtual_el2 | el1_32bit | if is_realm && !has_sve { sve } else { 0 };
        let has_half = (features & ptrauth[0] != 0) != (features & ptrauth[1] != 0);
        if features & refused != 0 || has_half {
            return Err(Errno::EINVAL);
        }
        let lasting = features & !power_off;
        if vm.features.is_some_and(|all| all != lasting) {
            return Err(Errno::EINVAL);
        }
        vm.features = Some(lasting);
        let vcpu = vm.vcpu(vcpu)?;
        vcpu.features = Some(lasting);
        if !vcpu.is_sve_finalised {
            vcpu.vectors = VECTORS;
        }
        vcpu.registers = [0; 31];
        vcpu.pc = 0;
        vcpu.is_stopped = features & power_off != 0;
        Ok(())
    }

    /// KVM_ARM_VCPU_FINALIZE.
    pub(super) fn finalize_vcpu(
        &mut self,
        vm: usize,
        vcpu: usize,
        feature: u32,
    ) -> Result<(), Errno> {
        let (rec, inits_rec) = (self.facts.rec_feature, self.behaviour.inits_rec);
        let sve = self.facts.constant("KVM_ARM_VCPU_SVE");
        let psci = self.facts.constant("KVM_ARM_VCPU_PSCI_0_2");
        let vm = self.vm(vm)?;
        let is_realm = vm.is_realm;
        if vm.vcpu(vcpu)?.features.is_none() {
            return Err(Errno::ENOEXEC);
        }
        if u64::from(feature) == sve {
            let vcpu = vm.vcpu(vcpu)?;
            if !vcpu.has_feature(sve) {
                return Err(Errno::EINVAL);
            }
            if vcpu.is_sve_finalised {
                return Err(Errno::EPERM);
            }
            vcpu.is_sve_finalised = true;
            return Ok(());
        }
        let is_missing = inits_rec && !vm.vcpu(vcpu)?.has_feature(feature.into());
        if rec != Some(feature) || !is_realm || is_missing {
            return Err(Errno::EINVAL);
        }
        vm.require_new(Errno::ENOENT)?;
        vm.create_rec(vcpu, psci)
    }
}

/// Results of PSCI, and DENIED as the structure has it.
const SUCCESS: i64 = 0;
const DENIED: i64 = -3;
const ALREADY_ON: i64 = -4;
const PSCI_DENIED: u32 = (-3_i32).cast_unsigned();

/// A range of an action, and its flags.
fn range(argument: Option<&[u8]>) -> Result<(u64, u64, u32), Errno> {
    let bytes = argument.filter(|bytes| bytes.len() >= RANGE_BYTES).ok_or(Errno::EFAULT)?;
    Ok((u64_at(bytes, 0), u64_at(bytes, 8), u32_at(bytes, 16)))
}

impl Vm {
    /// Refuses a Realm that is not new.
    fn require_new(&self, errno: Errno) -> Result<(), Errno> {
        if self.realm.state == RealmState::New { Ok(()) } else { Err(errno) }
    }

    /// CONFIG_REALM: `struct arm_rme_config`.
    fn configure(
        &mut self,
        argument: Option<&[u8]>,
        actions: &Actions,
        has_sha512: bool,
    ) -> Result<(), Errno> {
        if self.realm.state != RealmState::None {
            return Err(Errno::EBUSY);
        }
        let bytes = argument.filter(|bytes| bytes.len() >= CONFIG_BYTES).ok_or(Errno::EFAULT)?;
        let value = bytes.get(4..).ok_or(Errno::EFAULT)?;
        match u32_at(bytes, 0) {
            CONFIG_RPV => {
                self.realm.rpv = value.first_chunk().copied();
                Ok(())
            }
            CONFIG_HASH => {
                let hash = u32_at(value, 0);
                if hash == actions.sha256 || (hash == actions.sha512 && has_sha512) {
                    self.realm.hash_algo = hash;
                    Ok(())
                } else {
                    Err(Errno::EINVAL)
                }
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// Creates the Realm: all vCPUs that have SVE must be finalised, and alike.
    fn create_realm(&mut self) -> Result<(), Errno> {
        if self.realm.state != RealmState::None {
            return Err(Errno::EEXIST);
        }
        let sve = 4;
        if self.vcpus.iter().any(|vcpu| vcpu.has_feature(sve) && !vcpu.is_sve_finalised) {
            return Err(Errno::EINVAL);
        }
        let vectors = self.vcpus.first().map(|vcpu| vcpu.vectors);
        if self.vcpus.iter().any(|vcpu| Some(vcpu.vectors) != vectors) {
            return Err(Errno::EINVAL);
        }
        self.realm.create();
        Ok(())
    }

    /// Makes the REC of a vCPU.
    fn create_rec(&mut self, vcpu: usize, psci: u64) -> Result<(), Errno> {
        let vcpu = self.vcpus.get_mut(vcpu).ok_or(Errno::ENOTTY)?;
        if !vcpu.has_feature(psci) {
            return Err(Errno::EINVAL);
        }
        let gprs = vcpu.registers.first_chunk().copied().unwrap_or([0; 8]);
        let is_runnable = vcpu.id == 0;
        self.realm.add_rec(affinity(vcpu.id), gprs, vcpu.pc, is_runnable)?;
        vcpu.is_rec = true;
        vcpu.is_rec_on = is_runnable;
        Ok(())
    }

    /// What the first `KVM_RUN` of a kernel does that has no call for it: the Realm, if there is
    /// none, its RECs, the RIPAS of its RAM, and its activation.
    pub(super) fn activate(&mut self, psci: u64, behaviour: Behaviour) -> Result<(), Errno> {
        match self.realm.state {
            RealmState::None => self.create_realm()?,
            RealmState::New => {}
            RealmState::Active => return Ok(()),
            RealmState::Dead => return Err(Errno::EINVAL),
        }
        // What fails from here on is final.
        self.realm.state = RealmState::Dead;
        for vcpu in 0..self.vcpus.len() {
            if let Err(errno) = self.create_rec(vcpu, psci) {
                self.is_dead = behaviour.kills_vm;
                return Err(errno);
            }
        }
        if behaviour.makes_ram {
            let slots: Vec<_> = self.slots.values().filter(|slot| slot.gmem.is_some()).collect();
            let ranges: Vec<_> = slots.iter().map(|slot| (slot.base, slot.bytes)).collect();
            for (base, bytes) in ranges {
                self.realm.make_ram(base, base.saturating_add(bytes));
            }
        }
        self.realm.activate();
        Ok(())
    }
}
