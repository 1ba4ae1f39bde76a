//! Calls about memory: slots, guest_memfds, attributes, holes.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use super::facts::Attributes;
use super::fields::{is_zero, u64_at};
use super::machine::{Machine, Object};
use super::ranges::Ranges;
use super::realm::{PAGE, PAGE_BYTES};
use super::vm::{Gmem, Slot};
use crate::Errno;
use crate::host_memory::HostMemory;
use crate::kernel::{Discard, MemoryRegion};

/// How many slots there are.
const SLOTS: u32 = 32_764;
const LOG_DIRTY_PAGES: u32 = 1;
const READONLY: u32 = 2;

impl Machine {
    /// KVM_CREATE_GUEST_MEMFD.
    pub(super) fn create_guest_memfd(
        &mut self,
        fd: BorrowedFd<'_>,
        bytes: u64,
        flags: u64,
    ) -> Result<OwnedFd, Errno> {
        let (behaviour, attributes) = (self.behaviour, self.facts.attributes);
        let mmap = self.facts.constant("GUEST_MEMFD_FLAG_MMAP");
        let init_shared = self.facts.constant("GUEST_MEMFD_FLAG_INIT_SHARED");
        let (vm_index, vm) = self.vm_of(fd)?;
        if flags & !behaviour.gmem_flags != 0 || bytes == 0 || !bytes.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        // Memory that cannot be mapped is for VMs that have private memory.
        if !vm.is_realm && flags & mmap == 0 {
            return Err(Errno::EINVAL);
        }
        let mut private = Ranges::default();
        if matches!(attributes, Attributes::Gmem(_)) && vm.is_realm && flags & init_shared == 0 {
            private.add(0, bytes / PAGE);
        }
        let index = vm.gmems.len();
        let bound = Ranges::default();
        vm.gmems.push(Gmem { bytes, flags, private, is_closed: false, holder: None, bound });
        self.open(Object::Gmem(vm_index, index), bytes)
    }

    /// KVM_SET_USER_MEMORY_REGION2.
    pub(super) fn set_memory_region(
        &mut self,
        fd: BorrowedFd<'_>,
        region: &MemoryRegion<'_>,
    ) -> Result<(), Errno> {
        let has_gmem = self.facts.small_constant("KVM_MEM_GUEST_MEMFD");
        let gmem = match region.guest_memfd {
            Some((fd, offset)) => Some((self.object(fd).map_err(|_| Errno::EBADF)?, offset)),
            None => None,
        };
        let (vm_index, vm) = self.vm_of(fd)?;
        let valid = has_gmem | LOG_DIRTY_PAGES | if vm.is_realm { 0 } else { READONLY };
        let is_wrong = region.flags & !valid != 0
            || region.flags & (has_gmem | LOG_DIRTY_PAGES) == has_gmem | LOG_DIRTY_PAGES
            || (region.flags & has_gmem != 0) != gmem.is_some()
            || region.slot >= SLOTS
            || !region.bytes.is_multiple_of(PAGE)
            || !region.guest_phys_addr.is_multiple_of(PAGE)
            || !(region.host.base().addr().get() as u64).is_multiple_of(PAGE);
        if is_wrong {
            return Err(Errno::EINVAL);
        }
        if region.bytes == 0 {
            return self.remove_slot(vm_index, region.slot);
        }
        let end = region.guest_phys_addr.checked_add(region.bytes).ok_or(Errno::EINVAL)?;
        if vm.slots.contains_key(&region.slot) {
            // Slots of this kernel never change, only come and go.
            return Err(Errno::EINVAL);
        }
        if end > 1 << vm.ipa_bits || (region.host.bytes() as u64) < region.bytes {
            return Err(Errno::EFAULT);
        }
        if vm.slots.values().any(|slot| {
            slot.base < end && region.guest_phys_addr < slot.base.saturating_add(slot.bytes)
        }) {
            return Err(Errno::EEXIST);
        }
        let gmem = match gmem {
            Some((Object::Gmem(of, index), offset)) if of == vm_index => {
                let file = vm.gmems.get_mut(index).ok_or(Errno::EBADF)?;
                let last = offset.checked_add(region.bytes).ok_or(Errno::EINVAL)?;
                let (from, to) = (offset / PAGE, last / PAGE);
                if !offset.is_multiple_of(PAGE) || last > file.bytes || file.bound.has_any(from, to)
                {
                    return Err(Errno::EINVAL);
                }
                file.bound.add(from, to);
                Some((index, offset))
            }
            Some(_) => return Err(Errno::EINVAL),
            None => None,
        };
        let slot =
            Slot { base: region.guest_phys_addr, bytes: region.bytes, host: region.host, gmem };
        vm.slots.insert(region.slot, slot);
        Ok(())
    }

    fn remove_slot(&mut self, vm: usize, slot: u32) -> Result<(), Errno> {
        let vm = self.vm(vm)?;
        let slot = vm.slots.remove(&slot).ok_or(Errno::EINVAL)?;
        if let Some((index, offset)) = slot.gmem
            && let Some(gmem) = vm.gmems.get_mut(index)
        {
            gmem.bound.remove(offset / PAGE, (offset + slot.bytes) / PAGE);
        }
        vm.realm.unmap(slot.base / PAGE, (slot.base + slot.bytes) / PAGE);
        Ok(())
    }

    /// KVM_SET_MEMORY_ATTRIBUTES.
    pub(super) fn set_memory_attributes(
        &mut self,
        fd: BorrowedFd<'_>,
        address: u64,
        bytes: u64,
        attributes: u64,
    ) -> Result<(), Errno> {
        let of_vms = self.facts.attributes == Attributes::Vm;
        let private = self.facts.constant("KVM_MEMORY_ATTRIBUTE_PRIVATE");
        let (_, vm) = self.vm_of(fd)?;
        if !of_vms {
            return Err(Errno::ENOTTY);
        }
        let end = address.checked_add(bytes);
        let (Some(end), true) = (end, vm.is_realm) else { return Err(Errno::EINVAL) };
        let is_aligned = address.is_multiple_of(PAGE) && bytes.is_multiple_of(PAGE);
        if attributes & !private != 0 || bytes == 0 || !is_aligned {
            return Err(Errno::EINVAL);
        }
        let (from, end) = (address / PAGE, end / PAGE);
        if attributes == private {
            vm.private.add(from, end);
        } else {
            vm.private.remove(from, end);
            // What is no longer private is unmapped.
            vm.realm.unmap(from, end);
        }
        Ok(())
    }

    /// KVM_SET_MEMORY_ATTRIBUTES2 of a guest_memfd: `struct kvm_memory_attributes2`.
    pub(super) fn set_memory_attributes2(
        &mut self,
        object: Object,
        structure: &[u8],
    ) -> Result<(), Errno> {
        let (offset, bytes) = (u64_at(structure, 0), u64_at(structure, 8));
        let (attributes, flags) = (u64_at(structure, 16), u64_at(structure, 24));
        let is_reserved_set = !is_zero(structure, 32);
        let private = self.facts.constant("KVM_MEMORY_ATTRIBUTE_PRIVATE");
        let mmap = self.facts.constant("GUEST_MEMFD_FLAG_MMAP");
        let converts = self.options.converts_in_place;
        let Object::Gmem(vm, index) = object else { return Err(Errno::ENOTTY) };
        let vm = self.vm(vm)?;
        let gmem = vm.gmems.get_mut(index).ok_or(Errno::EBADF)?;
        let end = offset.checked_add(bytes);
        let is_aligned = offset.is_multiple_of(PAGE) && bytes.is_multiple_of(PAGE);
        // Memory that cannot be mapped is private for ever.
        if is_reserved_set
            || flags != 0
            || attributes & !private != 0
            || bytes == 0
            || !is_aligned
            || end.is_none_or(|end| end > gmem.bytes)
            || gmem.flags & mmap == 0
            || !converts
        {
            return Err(Errno::EINVAL);
        }
        let (from, end) = (offset / PAGE, end.unwrap_or_default() / PAGE);
        if attributes == private {
            gmem.private.add(from, end);
            return Ok(());
        }
        gmem.private.remove(from, end);
        for (slot_from, slot_end) in vm.pages_of(index, from, end) {
            vm.realm.unmap(slot_from, slot_end);
        }
        Ok(())
    }

    /// `fallocate` with FALLOC_FL_PUNCH_HOLE of a guest_memfd.
    pub(super) fn punch_hole(
        &mut self,
        fd: BorrowedFd<'_>,
        offset: u64,
        bytes: u64,
    ) -> Result<(), Errno> {
        let object = self.object(fd)?;
        let of_gmems = matches!(self.facts.attributes, Attributes::Gmem(_));
        let Object::Gmem(vm_index, index) = object else { return Err(Errno::ENOTTY) };
        let vm = self.vm(vm_index)?;
        let gmem = vm.gmems.get(index).ok_or(Errno::EBADF)?;
        let end = offset.checked_add(bytes).filter(|end| *end <= gmem.bytes);
        let is_aligned = offset.is_multiple_of(PAGE) && bytes.is_multiple_of(PAGE);
        let (Some(end), true, true) = (end, is_aligned, bytes > 0) else {
            return Err(Errno::EINVAL);
        };
        let (from, last) = (offset / PAGE, end / PAGE);
        let is_private = !of_gmems || gmem.private.has_all(from, last);
        for (slot_from, slot_end) in vm.pages_of(index, from, last) {
            if !is_private && vm.realm.assigned.has_any(slot_from, slot_end) {
                // Such a kernel frees pages that the RMM has, and dies of it.
                vm.is_dead = true;
                return Err(Errno::EIO);
            }
            vm.realm.unmap(slot_from, slot_end);
        }
        let file = self.file(object).ok_or(Errno::EBADF)?;
        let zeros = [0; PAGE_BYTES];
        for page in from..last {
            file.write_all_at(&zeros, page * PAGE).map_err(Errno::of)?;
        }
        Ok(())
    }

    /// `madvise` of memory that is shared.
    pub(super) fn discard(memory: HostMemory, how: Discard) -> Result<(), Errno> {
        if !memory.is_of_pages(PAGE_BYTES) || how == Discard::Remove {
            // The memory of tests is anonymous and private.
            return Err(Errno::EINVAL);
        }
        memory.clear(0, memory.bytes()).map_err(|_| Errno::EFAULT)
    }
}

impl super::vm::Vm {
    /// The guest's pages that are bound to pages of a guest_memfd.
    fn pages_of(&self, gmem: usize, from: u64, end: u64) -> Vec<(u64, u64)> {
        let bound = self.slots.values().filter_map(|slot| match slot.gmem {
            Some((index, offset)) if index == gmem => {
                let first = offset / PAGE;
                let (low, high) = (from.max(first), end.min(first + slot.bytes / PAGE));
                let base = slot.base / PAGE;
                (low < high).then(|| (base + (low - first), base + (high - first)))
            }
            _ => None,
        });
        bound.collect()
    }
}
