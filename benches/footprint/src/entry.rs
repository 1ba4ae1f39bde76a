//! The entry of the image and its panic handler.
//!
//! `_start` keeps the exported functions from being removed, and tells `cargo xtask budgets` which
//! they are: its callees.
#![cfg(target_os = "none")]
#![expect(unsafe_code, reason = "the section of the entry is named")]

use core::arch::global_asm;
use core::panic::PanicInfo;

global_asm!(
    ".section .text._start, \"ax\"",
    ".globl _start",
    ".type _start, %function",
    "_start:",
    "bl footprint_open",
    "bl footprint_close",
    "bl footprint_pool",
    "bl footprint_add",
    "bl footprint_drain",
    "bl footprint_create",
    "bl footprint_populate",
    "bl footprint_create_rec",
    "bl footprint_activate",
    "bl footprint_tear_down",
    ".size _start, . - _start",
);

#[cfg(feature = "memory")]
global_asm!(
    ".section .text._start, \"ax\"",
    ".globl _start_memory",
    ".type _start_memory, %function",
    "_start_memory:",
    "bl footprint_map",
    "bl footprint_fault",
    "bl footprint_reclaim",
    "bl footprint_share",
    "bl footprint_unshare",
    "bl footprint_to_shared",
    "bl footprint_to_private",
    ".size _start_memory, . - _start_memory",
);

#[cfg(all(feature = "memory", feature = "virtual-cpus"))]
global_asm!(
    ".section .text._start, \"ax\"",
    ".globl _start_ripas",
    ".type _start_ripas, %function",
    "_start_ripas:",
    "bl footprint_set_ripas",
    ".size _start_ripas, . - _start_ripas",
);

#[cfg(feature = "virtual-cpus")]
global_asm!(
    ".section .text._start, \"ax\"",
    ".globl _start_virtual_cpus",
    ".type _start_virtual_cpus, %function",
    "_start_virtual_cpus:",
    "bl footprint_enter",
    "bl footprint_run",
    "bl footprint_psci",
    "bl footprint_load_interrupts",
    "bl footprint_save_interrupts",
    ".size _start_virtual_cpus, . - _start_virtual_cpus",
);

#[cfg(feature = "virtual-gic")]
global_asm!(
    ".section .text._start, \"ax\"",
    ".globl _start_virtual_gic",
    ".type _start_virtual_gic, %function",
    "_start_virtual_gic:",
    "bl footprint_gic",
    "bl footprint_set",
    "bl footprint_add_rec",
    "bl footprint_add_devices",
    "bl footprint_claim",
    "bl footprint_run_vcpu",
    "bl footprint_set_spi",
    "bl footprint_kick",
    "bl footprint_pause",
    ".size _start_virtual_gic, . - _start_virtual_gic",
);

/// `cargo xtask budgets` counts the functions that reach this one. It is not inlined, so that it is
/// found.
#[panic_handler]
#[inline(never)]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
