//! Numbers and structures of KVM's user interface that `kvm-bindings` lacks.
//!
//! What only some generations of kernels have is reached through [`Generation`](crate::Generation)
//! alone, so that no constant of one generation is used with another. Sizes and offsets are checked
//! when the crate is compiled, those of `kvm-bindings` too.
//!
//! Source: Linux, `include/uapi/linux/kvm.h`, with the patches of each generation.

use std::mem::{offset_of, size_of};

use kvm_bindings::{
    kvm_create_device, kvm_create_guest_memfd, kvm_device_attr, kvm_enable_cap,
    kvm_memory_attributes, kvm_run, kvm_userspace_memory_region2,
};

/// KVM_CAP_ARM_VM_IPA_SIZE.
pub const CAP_ARM_VM_IPA_SIZE: u32 = 165;
/// KVM_CAP_USER_MEMORY2.
pub const CAP_USER_MEMORY2: u32 = 231;
/// KVM_CAP_MEMORY_ATTRIBUTES. Its value has a bit for each attribute of VMs.
pub const CAP_MEMORY_ATTRIBUTES: u32 = 233;
/// KVM_CAP_GUEST_MEMFD.
pub const CAP_GUEST_MEMFD: u32 = 234;
/// KVM_CAP_GUEST_MEMFD_FLAGS. Its value has a bit for each flag.
pub const CAP_GUEST_MEMFD_FLAGS: u32 = 244;

/// KVM_VM_TYPE_ARM_IPA_SIZE_MASK: the bits of a type of VM that are its IPA width.
pub const VM_TYPE_IPA_WIDTH: u64 = 0xff;
/// KVM_MEM_GUEST_MEMFD: a slot has a private side.
pub const MEM_GUEST_MEMFD: u32 = 1 << 2;
/// KVM_MEMORY_ATTRIBUTE_PRIVATE.
pub const ATTRIBUTE_PRIVATE: u64 = 1 << 3;
/// GUEST_MEMFD_FLAG_MMAP.
pub const GUEST_MEMFD_MMAP: u64 = 1;
/// GUEST_MEMFD_FLAG_INIT_SHARED.
pub const GUEST_MEMFD_INIT_SHARED: u64 = 1 << 1;

/// KVM_EXIT_MEMORY_FAULT.
pub const EXIT_MEMORY_FAULT: u32 = 39;
/// KVM_MEMORY_EXIT_FLAG_PRIVATE.
pub const MEMORY_FAULT_PRIVATE: u64 = 1 << 3;

/// KVM_ARM_VCPU_POWER_OFF: a vCPU that another one turns on.
pub const VCPU_POWER_OFF: u32 = 0;
/// KVM_ARM_VCPU_PSCI_0_2.
pub const VCPU_PSCI_0_2: u32 = 2;
/// KVM_ARM_VCPU_PMU_V3.
pub const VCPU_PMU_V3: u32 = 3;
/// KVM_ARM_VCPU_SVE.
pub const VCPU_SVE: u32 = 4;
/// KVM_ARM_VCPU_PTRAUTH_ADDRESS.
pub const VCPU_PTRAUTH_ADDRESS: u32 = 5;
/// KVM_ARM_VCPU_PTRAUTH_GENERIC.
pub const VCPU_PTRAUTH_GENERIC: u32 = 6;

/// KVM_DEV_TYPE_ARM_VGIC_V3.
pub const DEVICE_VGIC_V3: u32 = 7;
/// KVM_DEV_ARM_VGIC_GRP_ADDR: where the parts of the GIC are.
pub const VGIC_ADDRESS: u32 = 0;
/// KVM_VGIC_V3_ADDR_TYPE_DIST, in [`VGIC_ADDRESS`].
pub const VGIC_ADDRESS_DISTRIBUTOR: u64 = 2;
/// KVM_VGIC_V3_ADDR_TYPE_REDIST, in [`VGIC_ADDRESS`].
pub const VGIC_ADDRESS_REDISTRIBUTORS: u64 = 3;
/// KVM_DEV_ARM_VGIC_GRP_NR_IRQS: number of interrupts, SGIs and PPIs included.
pub const VGIC_INTERRUPTS: u32 = 3;
/// KVM_DEV_ARM_VGIC_GRP_CTRL.
pub const VGIC_CONTROL: u32 = 4;
/// KVM_DEV_ARM_VGIC_CTRL_INIT, in [`VGIC_CONTROL`].
pub const VGIC_CONTROL_INIT: u64 = 0;
/// KVM_ARM_VCPU_PMU_V3_CTRL: the PMU of a vCPU.
pub const VCPU_PMU: u32 = 0;
/// KVM_ARM_VCPU_PMU_V3_IRQ, in [`VCPU_PMU`].
pub const VCPU_PMU_INTERRUPT: u64 = 0;
/// KVM_ARM_VCPU_PMU_V3_INIT, in [`VCPU_PMU`].
pub const VCPU_PMU_INIT: u64 = 1;
/// KVM_ARM_VCPU_TIMER_CTRL: the interrupts of a vCPU's timers.
pub const VCPU_TIMERS: u32 = 1;
/// KVM_ARM_VCPU_TIMER_IRQ_VTIMER, in [`VCPU_TIMERS`].
pub const VCPU_TIMER_VIRTUAL: u64 = 0;
/// KVM_ARM_VCPU_TIMER_IRQ_PTIMER, in [`VCPU_TIMERS`].
pub const VCPU_TIMER_PHYSICAL: u64 = 1;
/// KVM_ARM_VM_SMCCC_CTRL: which hypercalls are the VMM's, of a VM.
pub const VM_SMCCC_CONTROL: u32 = 0;
/// KVM_ARM_VM_SMCCC_FILTER, in [`VM_SMCCC_CONTROL`].
pub const VM_SMCCC_FILTER: u64 = 0;
/// KVM_SMCCC_FILTER_FWD_TO_USER.
pub const SMCCC_FORWARD: u8 = 2;

/// A structure of the user interface that is only passed as bytes.
macro_rules! structure {
    (
        $(#[$doc:meta])*
        struct $name:ident, $bytes:literal bytes {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $offset:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: $type,)*
        }

        const _: () = {
            assert!(size_of::<$name>() == $bytes);
            $(assert!(offset_of!($name, $field) == $offset);)*
        };

        impl $name {
            /// Its bytes, as the kernel takes them.
            pub(crate) fn bytes(&self) -> [u8; $bytes] {
                let mut bytes = [0; $bytes];
                $(crate::uapi::put(&mut bytes, $offset, &self.$field.to_bytes());)*
                bytes
            }

            /// Offset, and length in bytes, of each field.
            #[cfg(test)]
            pub(crate) const FIELDS: &[(&'static str, usize, usize)] =
                &[$((stringify!($field), $offset, size_of::<$type>())),*];
        }
    };
}

/// A field of a structure.
trait Field {
    /// Its bytes, little-endian.
    fn to_bytes(&self) -> Vec<u8>;
}

impl Field for u32 {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
}

impl Field for u64 {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
}

impl<const N: usize> Field for [u8; N] {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_vec()
    }
}

/// Copies `field` to `offset`; what does not fit is left out.
pub(crate) fn put(bytes: &mut [u8], offset: usize, field: &[u8]) {
    for (target, source) in bytes.iter_mut().skip(offset).zip(field) {
        *target = *source;
    }
}

/// The field at `offset`; bytes outside are zero.
fn get<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut field = [0; N];
    for (target, source) in field.iter_mut().zip(bytes.iter().skip(offset)) {
        *target = *source;
    }
    field
}

/// The 32 bits at `offset`; bytes outside are zero.
pub(crate) fn get_u32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(get(bytes, offset))
}

/// The 64 bits at `offset`; bytes outside are zero.
pub(crate) fn get_u64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(get(bytes, offset))
}

structure! {
    /// `struct arm_rme_config`: one item of a Realm's configuration (v5 to v10).
    struct RmeConfig, 260 bytes {
        /// Which item.
        item: u32 = 0,
        /// A union: the personalization value (64 bytes), or the algorithm (4 bytes).
        value: [u8; 256] = 4,
    }
}

structure! {
    /// `struct arm_rme_init_ripas` (v5 to v10).
    struct RmeInitRipas, 32 bytes {
        base: u64 = 0,
        size: u64 = 8,
        reserved: [u8; 16] = 16,
    }
}

structure! {
    /// `struct arm_rme_populate_realm` (v5 to v10).
    struct RmePopulate, 32 bytes {
        base: u64 = 0,
        size: u64 = 8,
        flags: u32 = 16,
        reserved: [u8; 12] = 20,
    }
}

structure! {
    /// `struct kvm_arm_rmi_populate` (from v12 on).
    struct RmiPopulate, 32 bytes {
        base: u64 = 0,
        size: u64 = 8,
        source_uaddr: u64 = 16,
        flags: u32 = 24,
        reserved: u32 = 28,
    }
}

structure! {
    /// `struct kvm_arm_rmi_psci_complete`, `struct kvm_arm_rmm_psci_complete` (v5 to v13).
    struct PsciComplete, 24 bytes {
        target_mpidr: u64 = 0,
        psci_status: u32 = 8,
        padding: [u8; 12] = 12,
    }
}

structure! {
    /// `struct kvm_memory_attributes2`, of a guest_memfd (from v15 on).
    struct MemoryAttributes2, 128 bytes {
        offset: u64 = 0,
        size: u64 = 8,
        attributes: u64 = 16,
        flags: u64 = 24,
        error_offset: u64 = 32,
        reserved: [u8; 88] = 40,
    }
}

structure! {
    /// `struct kvm_smccc_filter`.
    struct SmcccFilter, 24 bytes {
        base: u32 = 0,
        nr_functions: u32 = 4,
        action: [u8; 1] = 8,
        pad: [u8; 15] = 9,
    }
}

/// Offsets in `struct kvm_run`, which arm64 and x86-64 share.
pub mod run {
    /// `immediate_exit`, one byte.
    pub const IMMEDIATE_EXIT: usize = 1;
    /// `exit_reason`, four bytes.
    pub const EXIT_REASON: usize = 8;
    /// The union with what an exit has.
    pub const EXIT: usize = 32;
    /// Length of the union.
    pub const EXIT_BYTES: usize = 256;
}

const _: () = {
    assert!(offset_of!(kvm_run, immediate_exit) == run::IMMEDIATE_EXIT);
    assert!(offset_of!(kvm_run, exit_reason) == run::EXIT_REASON);
    assert!(offset_of!(kvm_run, __bindgen_anon_1) == run::EXIT);
    assert!(size_of::<kvm_bindings::kvm_run__bindgen_ty_1>() == run::EXIT_BYTES);

    assert!(size_of::<kvm_userspace_memory_region2>() == 160);
    assert!(offset_of!(kvm_userspace_memory_region2, slot) == 0);
    assert!(offset_of!(kvm_userspace_memory_region2, flags) == 4);
    assert!(offset_of!(kvm_userspace_memory_region2, guest_phys_addr) == 8);
    assert!(offset_of!(kvm_userspace_memory_region2, memory_size) == 16);
    assert!(offset_of!(kvm_userspace_memory_region2, userspace_addr) == 24);
    assert!(offset_of!(kvm_userspace_memory_region2, guest_memfd_offset) == 32);
    assert!(offset_of!(kvm_userspace_memory_region2, guest_memfd) == 40);

    assert!(size_of::<kvm_create_guest_memfd>() == 64);
    assert!(offset_of!(kvm_create_guest_memfd, size) == 0);
    assert!(offset_of!(kvm_create_guest_memfd, flags) == 8);

    assert!(size_of::<kvm_memory_attributes>() == 32);
    assert!(offset_of!(kvm_memory_attributes, address) == 0);
    assert!(offset_of!(kvm_memory_attributes, size) == 8);
    assert!(offset_of!(kvm_memory_attributes, attributes) == 16);
    assert!(offset_of!(kvm_memory_attributes, flags) == 24);

    assert!(size_of::<kvm_enable_cap>() == 104);
    assert!(offset_of!(kvm_enable_cap, cap) == 0);
    assert!(offset_of!(kvm_enable_cap, flags) == 4);
    assert!(offset_of!(kvm_enable_cap, args) == 8);

    assert!(size_of::<kvm_create_device>() == 12);
    assert!(size_of::<kvm_device_attr>() == 24);
    assert!(offset_of!(kvm_device_attr, group) == 4);
    assert!(offset_of!(kvm_device_attr, attr) == 8);
    assert!(offset_of!(kvm_device_attr, addr) == 16);
};
