//! What a CPU does after reset, up to the first function in Rust.
#![expect(unsafe_code, reason = "the image copies itself")]

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::AtomicU32;

use super::board::MOST_CPUS;

/// Bytes of the stack of a CPU.
pub(super) const STACK: usize = 0x2_0000;

/// The stacks of the CPUs.
#[repr(C, align(4096))]
pub(super) struct Stacks([UnsafeCell<[u8; STACK]>; MOST_CPUS]);

// SAFETY: each CPU uses its own stack, and nothing else accesses them.
unsafe impl Sync for Stacks {}

pub(super) static STACKS: Stacks = Stacks([const { UnsafeCell::new([0; STACK]) }; MOST_CPUS]);

/// Not 0 once the other CPUs may leave the flash.
pub(super) static OPEN: AtomicU32 = AtomicU32::new(0);

/// The top of the stack of a CPU.
pub(super) fn stack_top(number: usize) -> usize {
    (&raw const STACKS).addr() + (number.min(MOST_CPUS - 1) + 1) * STACK
}

extern "C" fn first() -> ! {
    super::start_machine()
}

extern "C" fn other() -> ! {
    super::wait_for_start()
}

// Runs in the flash, at EL3 with the MMU off. The first CPU copies the image into the secure RAM
// and zeroes the rest of it; the others read `OPEN` there meanwhile, which is 0 after a reset.
global_asm!(
    r#"
    .section .reset, "ax"
    .global reset
reset:
    // SIMD registers are used from here on.
    msr cptr_el3, xzr
    isb
    ldr x0, =vectors
    msr vbar_el3, x0
    isb
    mrs x0, mpidr_el1
    ldr x1, =0xff00ffffff
    and x0, x0, x1
    cbnz x0, 3f

    ldr x1, =reset_end
    ldr x2, =image_begin
    ldr x3, =image_end
1:  ldp x4, x5, [x1], #16
    stp x4, x5, [x2], #16
    cmp x2, x3
    b.lo 1b
    ldr x2, =bss_begin
    ldr x3, =bss_end
2:  stp xzr, xzr, [x2], #16
    cmp x2, x3
    b.lo 2b
    dsb sy
    ic iallu
    dsb sy
    isb
    ldr x0, ={stacks} + {stack}
    mov sp, x0
    ldr x0, ={first}
    br x0

3:  cmp x0, #{most}
    b.hs 5f
    ldr x1, ={open}
4:  ldar w2, [x1]
    cbnz w2, 6f
    wfe
    b 4b
    // A CPU that the image has no stack for.
5:  wfe
    b 5b
6:  ic iallu
    dsb sy
    isb
    ldr x1, ={stacks} + {stack}
    mov x2, #{stack}
    madd x1, x0, x2, x1
    mov sp, x1
    ldr x0, ={other}
    br x0
    .ltorg
"#,
    stacks = sym STACKS,
    open = sym OPEN,
    first = sym first,
    other = sym other,
    stack = const STACK,
    most = const MOST_CPUS,
);
