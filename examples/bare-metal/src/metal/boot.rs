//! The first instructions on each CPU, the tables that they use, and the parts of the image.
//!
//! `aarch64-rt` has the entry points. Both call `enable_mmu`, which is here and not the macro of
//! that crate: it has to set `HCR_EL2` before the other registers have a meaning, to invalidate the
//! translations of EL2, and to put the size of physical addresses where `TCR_EL2` has it.
#![expect(unsafe_code, reason = "code before the MMU is on, and symbols of the linker")]

use core::arch::global_asm;
use core::ops::Range;
use core::ptr::{addr_of, addr_of_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

use aarch64_paging::descriptor::El23Attributes as Attributes;

use crate::metal::start;
use crate::platform;

/// Index of Device-nGnRE memory in `MAIR_EL2`.
pub(crate) const DEVICE: Attributes = Attributes::ATTRIBUTE_INDEX_0.union(Attributes::XN);
/// Index of write-back memory in `MAIR_EL2`, shareable with all CPUs.
pub(crate) const NORMAL: Attributes =
    Attributes::ATTRIBUTE_INDEX_1.union(Attributes::INNER_SHAREABLE);
/// What every mapping has. Bit 6 is RES1 in this regime.
pub(crate) const MAPPED: Attributes =
    Attributes::VALID.union(Attributes::ACCESSED).union(Attributes::USER_RES1);

/// What an entry of a table at level 1 maps.
const GIB: usize = 1 << 30;
/// Entries of a table.
const ENTRIES: usize = 512;

/// A table at level 1.
#[repr(C, align(4096))]
struct BootTable([AtomicUsize; ENTRIES]);

/// What is mapped until the device tree is read: the GiB of memory that has the image, and what
/// [`map_gib`] adds. It is not in `.bss`, which is cleared when it is in use.
#[unsafe(link_section = ".data.boot_table")]
static BOOT_TABLE: BootTable = {
    let mut table = [const { AtomicUsize::new(0) }; ENTRIES];
    let block = (platform::IMAGE & !(GIB - 1)) | NORMAL.union(MAPPED).bits();
    table[platform::IMAGE / GIB] = AtomicUsize::new(block);
    BootTable(table)
};

// `HCR_EL2`: RW, AMO, IMO, FMO; interrupts come to EL2, and E2H is 0.
const HCR: u64 = 1 << 31 | 1 << 5 | 1 << 4 | 1 << 3;
// `CPTR_EL2`: RES1 bits, SVE and SME are trapped (this program does not use them), floating point
// is not.
const CPTR: u64 = 0x33ff;
// `MAIR_EL2`: Device-nGnRE; write-back.
const MAIR: u64 = 0xff04;
// `TCR_EL2`: RES1 bits; write-back walks, inner shareable; 39 bits of addresses, so the first table
// is at level 1. PS is added.
const TCR: u64 = 1 << 31 | 1 << 23 | 3 << 12 | 1 << 10 | 1 << 8 | (64 - 39);
// `SCTLR_EL2`: RES1 bits; I, SA, C, M.
const SCTLR: u64 = 0x30c5_0830 | 1 << 12 | 1 << 3 | 1 << 2 | 1;

// Called by `entry` and `secondary_entry` of `aarch64-rt` with the MMU off and a return address in
// X30. X0 to X3 are kept: they have the arguments of the program.
global_asm!(
    ".section .init, \"ax\"",
    ".global enable_mmu",
    "enable_mmu:",
    "msr daifset, #0xf",
    "ldr x8, ={HCR}",
    "msr hcr_el2, x8",
    "isb",
    "ldr x8, ={CPTR}",
    "msr cptr_el2, x8",
    "ldr x8, ={MAIR}",
    "msr mair_el2, x8",
    "adrp x8, {table}",
    "msr ttbr0_el2, x8",
    // PS: what the CPU has, 48 bits at most.
    "ldr x8, ={TCR}",
    "mrs x9, id_aa64mmfr0_el1",
    "and x9, x9, #0xf",
    "mov x10, #5",
    "cmp x9, x10",
    "csel x9, x9, x10, lo",
    "bfi x8, x9, #16, #3",
    "msr tcr_el2, x8",
    "isb",
    "tlbi alle2",
    "ic iallu",
    "dsb nsh",
    "isb",
    "ldr x8, ={SCTLR}",
    "msr sctlr_el2, x8",
    "isb",
    "ret",
    ".ltorg",
    HCR = const HCR,
    CPTR = const CPTR,
    MAIR = const MAIR,
    TCR = const TCR,
    SCTLR = const SCTLR,
    table = sym BOOT_TABLE,
);

/// Pages of the stack of a CPU with its guard: 1 MiB.
pub(crate) const STACK_PAGES: usize = 256;

aarch64_rt::entry!(start, STACK_PAGES);

/// Maps the GiB of memory that has this address, for reading before the memory of the machine is
/// known. It is mapped as a device, which is legal for memory and for devices, and nothing is read
/// ahead. Nothing is changed if it is mapped already; false if the table does not reach it.
pub(crate) fn map_gib(address: usize) -> bool {
    let Some(entry) = BOOT_TABLE.0.get(address / GIB) else { return false };
    if entry.load(Ordering::Relaxed) == 0 {
        entry.store((address & !(GIB - 1)) | (DEVICE | MAPPED).bits(), Ordering::Relaxed);
        crate::metal::cpu::synchronize();
    }
    true
}

/// As [`map_gib`], for a device; false also if it is mapped as memory, with the image.
pub(crate) fn map_device(address: usize) -> bool {
    address / GIB != platform::IMAGE / GIB && map_gib(address)
}

macro_rules! symbol {
    ($name:ident) => {{
        unsafe extern "C" {
            static mut $name: u8;
        }
        // A symbol of the linker has an address and no value; nothing is read.
        addr_of_mut!($name).addr()
    }};
}

/// The code of the image.
pub(crate) fn code() -> Range<usize> {
    symbol!(text_begin)..symbol!(text_end)
}

/// Constants of the image.
pub(crate) fn constants() -> Range<usize> {
    symbol!(rodata_begin)..symbol!(rodata_end)
}

/// All of the image, with its stacks and its heap.
pub(crate) fn image() -> Range<usize> {
    symbol!(text_begin)..symbol!(dma_region)
}

/// The stack of the first CPU.
pub(crate) fn stack() -> Range<usize> {
    symbol!(boot_stack_begin)..symbol!(boot_stack_end)
}

/// Space for the heap.
const HEAP_BYTES: usize = 32 << 20;

#[repr(C, align(4096))]
struct HeapSpace([u8; HEAP_BYTES]);

/// Beside the stacks, where nothing is cleared at the start.
#[unsafe(link_section = ".stack.heap")]
static mut HEAP: HeapSpace = HeapSpace([0; HEAP_BYTES]);

/// The memory of the heap, for the allocator alone.
pub(crate) fn heap() -> Range<usize> {
    let begin = addr_of!(HEAP).addr();
    begin..begin + HEAP_BYTES
}
