//! Where QEMU's machine `virt` has what the image uses.
//!
//! Source: QEMU, `hw/arm/virt.c`, the memory map and the secure GPIO lines.

/// Most CPUs of the machine, all in one cluster.
pub(super) const MOST_CPUS: usize = 8;

/// The GIC's distributor.
pub(super) const GICD: usize = 0x0800_0000;
/// The GIC's redistributors, one after the other.
pub(super) const GICR: usize = 0x080a_0000;
/// The PL011 that the Normal world uses, too.
pub(super) const UART: usize = 0x0900_0000;
/// The firmware configuration device.
pub(super) const FW_CFG: usize = 0x0902_0000;
/// The PL061 of the secure world, and its lines that turn the machine off and reset it.
pub(super) const GPIO: usize = 0x090b_0000;
pub(super) const GPIO_OFF: u8 = 0;
pub(super) const GPIO_RESET: u8 = 1;

/// The start of RAM, where QEMU puts the device tree.
pub(super) const DEVICE_TREE: u64 = 0x4000_0000;
/// Where the host is loaded, and starts.
pub(super) const HOST: u64 = 0x6000_0000;
