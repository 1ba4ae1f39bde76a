//! The first instructions of a CPU, its translation tables, and the exception vectors.
//!
//! A CPU starts with the MMU off, and every CPU runs the same code: the first one, and those that
//! are turned on. Tables are part of the image. They map virtual addresses to the same IPAs:
//!
//! | Address | Memory |
//! |---|---|
//! | the second GiB | private memory: image, stacks, RAM |
//! | the first GiB of the shared half | devices |
//! | the second GiB of the shared half | memory that is shared with the host, not executable |
#![expect(unsafe_code, reason = "the first instructions, and what they call")]

use core::arch::global_asm;

use rsi::smc::SmcConduit;

use super::{ends, run};

const _: () = assert!(
    realm_guest::layout::IMAGE == 1 << 30
        && realm_guest::layout::IMAGE_BYTES == 0x20_0000
        && realm_guest::layout::UNPROTECTED == 1 << 39
        && realm_guest::layout::RAM + realm_guest::layout::RAM_BYTES <= 2 << 30
        && realm_guest::layout::NOTHING < 1 << 30
        && realm_guest::layout::MOST_VCPUS == 16,
    "the tables and the linker script have the layout as numbers"
);

global_asm!(
    r#"
    .section .text.start, "ax"
    .global start
start:
    msr     daifset, #0xf
    ic      iallu
    // Floating point and vectors.
    mov     x9, #3 << 20
    msr     cpacr_el1, x9
    adrp    x9, vectors
    add     x9, x9, :lo12:vectors
    msr     vbar_el1, x9
    // Attribute 0: normal memory, write-back. Attribute 1: device memory, nGnRnE.
    mov     x9, #0xff
    msr     mair_el1, x9
    // Virtual and physical addresses of 48 bits, pages of 4 KiB, inner shareable, write-back; no
    // upper half.
    ldr     x9, =(5 << 32) | (1 << 23) | (3 << 12) | (1 << 10) | (1 << 8) | 16
    msr     tcr_el1, x9
    adrp    x9, level_0
    msr     ttbr0_el1, x9
    dsb     sy
    tlbi    vmalle1
    dsb     sy
    isb
    // MMU, caches; accesses need no alignment; writable memory may be executed.
    mrs     x9, sctlr_el1
    mov     x10, #0x1005
    orr     x9, x9, x10
    bic     x9, x9, #1 << 1
    bic     x9, x9, #1 << 19
    msr     sctlr_el1, x9
    isb
    // The stack of the CPU, by the index in X0.
    ubfx    x9, x0, #16, #16
    cmp     x9, #16
    b.hs    halted
    msr     tpidr_el1, x9
    ldr     x10, =stacks
    add     x9, x9, #1
    add     x10, x10, x9, lsl #16
    mov     sp, x10
    mov     x29, #0
    mov     x30, #0
    stp     x6, x7, [sp, #-16]!
    stp     x4, x5, [sp, #-16]!
    stp     x2, x3, [sp, #-16]!
    stp     x0, x1, [sp, #-16]!
    mov     x0, sp
    bl      payload_main
halted:
    wfi
    b       halted

    // A synchronous exception. An external abort of one of the accesses of `access` is their
    // result; they leave X16 and X17 alone. Anything else is the end.
synchronous:
    mrs     x16, esr_el1
    ubfx    x17, x16, #26, #6
    cmp     x17, #0x25
    b.ne    unexpected
    and     x17, x16, #0x3f
    cmp     x17, #0x10
    b.ne    unexpected
    mrs     x16, elr_el1
    adrp    x17, accesses
    add     x17, x17, :lo12:accesses
    cmp     x16, x17
    b.lo    unexpected
    adrp    x17, accesses_end
    add     x17, x17, :lo12:accesses_end
    cmp     x16, x17
    b.hs    unexpected
    add     x16, x16, #4
    msr     elr_el1, x16
    mov     x1, #1
    eret
unexpected:
    // Whatever happens from here on, the CPU does not come back.
    adrp    x9, last_vectors
    add     x9, x9, :lo12:last_vectors
    msr     vbar_el1, x9
    isb
    mrs     x9, tpidr_el1
    ldr     x10, =stacks
    add     x9, x9, #1
    add     x10, x10, x9, lsl #16
    mov     sp, x10
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    bl      payload_exception
    b       halted

    .balign 2048
vectors:
    .rept   4
    b       unexpected
    .balign 128
    .endr
    b       synchronous
    .balign 128
    .rept   11
    b       unexpected
    .balign 128
    .endr
    .balign 2048
last_vectors:
    .rept   16
    b       halted
    .balign 128
    .endr

    // A table, and blocks of a GiB: accessed, inner shareable, no access for EL0, not executable at
    // EL0.
    .section .tables, "a"
    .balign 4096
level_0:
    .quad   level_1_private + 3
    .quad   level_1_shared + 3
    .fill   510, 8, 0
level_1_private:
    .quad   0
    .quad   0x0040000040000701
    .fill   510, 8, 0
level_1_shared:
    .quad   0x0060008000000405
    .quad   0x0060008040000701
    .fill   510, 8, 0
"#
);

/// Called by a CPU with a stack.
///
/// # Safety
///
/// The CPU has no other use of its stack, and the MMU maps what the program uses.
#[unsafe(no_mangle)]
unsafe extern "C" fn payload_main(entry: &[u64; 8]) -> ! {
    // SAFETY: the program runs at EL1 of a Realm, and its memory is mapped at its IPAs.
    run(unsafe { SmcConduit::identity() }, *entry)
}

/// Called by a CPU that took an exception, on an empty stack.
///
/// # Safety
///
/// As [`payload_main`]; what was on the stack is not used any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn payload_exception(esr: u64, elr: u64) -> ! {
    // SAFETY: as above.
    ends::exception(unsafe { SmcConduit::identity() }, esr, elr)
}
