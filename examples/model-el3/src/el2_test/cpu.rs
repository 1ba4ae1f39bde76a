//! What needs assembly: where CPUs start, calls, and system registers.
#![expect(unsafe_code, reason = "the program runs without anything below it")]

use core::arch::{asm, global_asm, naked_asm};
use core::cell::UnsafeCell;

/// Bytes of the stack of a CPU.
const STACK: usize = 0x1_0000;
/// Most CPUs that the program uses.
pub(crate) const MOST_CPUS: usize = 8;

#[repr(C, align(16))]
struct Stacks([UnsafeCell<[u8; STACK]>; MOST_CPUS]);

// SAFETY: each CPU uses its own stack, and nothing else accesses them.
unsafe impl Sync for Stacks {}

static STACKS: Stacks = Stacks([const { UnsafeCell::new([0; STACK]) }; MOST_CPUS]);

extern "C" fn first(x0: u64) -> ! {
    super::checks::run(x0)
}

extern "C" fn other(context: u64) -> ! {
    super::checks::run_other(context)
}

extern "C" fn unexpected(vector: u64) -> ! {
    let (esr, elr, far): (u64, u64, u64);
    // SAFETY: reading the registers has no effect.
    unsafe {
        asm!("mrs {}, esr_el2", "mrs {}, elr_el2", "mrs {}, far_el2",
            out(reg) esr, out(reg) elr, out(reg) far, options(nomem, nostack));
    }
    super::checks::unexpected(vector, esr, elr, far)
}

global_asm!(
    r#"
    .section .start, "ax"
    .global start
start:
    ldr x2, =bss_begin
    ldr x3, =bss_end
1:  stp xzr, xzr, [x2], #16
    cmp x2, x3
    b.lo 1b
    mov x1, xzr
    ldr x4, ={first}
    b 2f

    .global start_other
start_other:
    mrs x1, mpidr_el1
    and x1, x1, #0xff
    ldr x4, ={other}

2:  ldr x2, =el2_vectors
    msr vbar_el2, x2
    // SIMD registers do not trap.
    mov x2, #0x33ff
    msr cptr_el2, x2
    isb
    ldr x2, ={stacks} + {stack}
    mov x3, #{stack}
    madd x2, x1, x3, x2
    mov sp, x2
    br x4
    .ltorg

    .macro el2_vector number
    .balign 128
    mov x0, #\number
    b {unexpected}
    .endm
    .balign 2048
el2_vectors:
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    el2_vector \number
    .endr
"#,
    stacks = sym STACKS,
    first = sym first,
    other = sym other,
    unexpected = sym unexpected,
    stack = const STACK,
);

unsafe extern "C" {
    fn start_other();
}

/// Where another CPU starts.
pub(crate) fn entry_of_others() -> u64 {
    (start_other as *const ()).addr() as u64
}

/// A call: X0 to X3 before it, and after it.
pub(crate) fn smc(x: [u64; 4]) -> [u64; 4] {
    let [mut x0, mut x1, mut x2, mut x3] = x;
    // SAFETY: the calls that this program makes name no memory that it uses.
    unsafe {
        asm!("smc #0",
            inlateout("x0") x0, inlateout("x1") x1, inlateout("x2") x2, inlateout("x3") x3,
            lateout("x4") _, lateout("x5") _, lateout("x6") _, lateout("x7") _,
            options(nostack));
    }
    [x0, x1, x2, x3]
}

/// Makes a call with known values in X8 to X30 and Q0 to Q31; returns how many of them (halves of
/// Qn count each) are not the same after it.
pub(crate) fn registers_changed_by(function: u64, argument: u64) -> u64 {
    // SAFETY: as `smc`; the function leaves the registers that belong to its caller.
    unsafe { call_with_patterns(function, argument) }
}

/// See [`registers_changed_by`].
///
/// # Safety
///
/// The call changes no memory that the program uses.
#[unsafe(naked)]
unsafe extern "C" fn call_with_patterns(function: u64, argument: u64) -> u64 {
    naked_asm!(
        "stp x29, x30, [sp, #-160]!",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        // Qn is n + 100 in its lower half, n + 200 in its upper one.
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,\
         30,31",
        "mov x8, #(\\n + 100)",
        "mov v\\n\\().d[0], x8",
        "mov x8, #(\\n + 200)",
        "mov v\\n\\().d[1], x8",
        ".endr",
        ".irp n, 8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
        "mov x\\n, #(\\n + 300)",
        ".endr",
        "smc #0",
        // X0 counts those that differ.
        "mov x0, xzr",
        ".irp n, 8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
        "cmp x\\n, #(\\n + 300)",
        "cinc x0, x0, ne",
        ".endr",
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,\
         30,31",
        "mov x8, v\\n\\().d[0]",
        "cmp x8, #(\\n + 100)",
        "cinc x0, x0, ne",
        "mov x8, v\\n\\().d[1]",
        "cmp x8, #(\\n + 200)",
        "cinc x0, x0, ne",
        ".endr",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp d8, d9, [sp, #96]",
        "ldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]",
        "ldp d14, d15, [sp, #144]",
        "ldp x29, x30, [sp], #160",
        "ret",
    )
}

/// The exception level.
pub(crate) fn exception_level() -> u64 {
    let value: u64;
    // SAFETY: reading the register has no effect.
    unsafe { asm!("mrs {}, CurrentEL", out(reg) value, options(nomem, nostack)) };
    value >> 2 & 0b11
}

/// The word of 4 bytes at an address, in big-endian order.
pub(crate) fn big_endian_word(address: u64) -> Option<u32> {
    let address = usize::try_from(address).ok().filter(|at| *at != 0 && at.is_multiple_of(4))?;
    let pointer = core::ptr::with_exposed_provenance::<u32>(address);
    // SAFETY: the firmware says that a device tree is there, which nothing writes to.
    Some(u32::from_be(unsafe { pointer.read_volatile() }))
}

/// Whether an interrupt of this CPU gets through to EL2: its GIC has been given to the Normal
/// world. It sends itself an SGI of the non-secure group 1, with interrupts masked.
pub(crate) fn sends_itself_an_interrupt() -> bool {
    /// The frame of SGIs of the first redistributor, and the distance of the next.
    const SGI_FRAME: usize = 0x080a_0000 + 0x1_0000;
    const DISTANCE: usize = 0x2_0000;
    const SET_ENABLE: usize = 0x100;
    const DISTRIBUTOR: usize = 0x0800_0000;
    /// `GICD_CTLR` for the Normal world: affinity routing, and group 1.
    const ENABLE: u32 = 1 << 4 | 1 << 1;
    const SGI: u32 = 3;

    let (mpidr, pending, taken): (u64, u64, u64);
    // SAFETY: only interrupts of this CPU are affected, which stay masked.
    unsafe {
        asm!("mrs {}, mpidr_el1", out(reg) mpidr, options(nomem, nostack));
        let number = usize::try_from(mpidr & 0xff).unwrap_or(0);
        let write = |address: usize, value: u32| {
            core::ptr::with_exposed_provenance_mut::<u32>(address).write_volatile(value);
        };
        write(DISTRIBUTOR, ENABLE);
        write(SGI_FRAME + number * DISTANCE + SET_ENABLE, 1 << SGI);
        let sgi = u64::from(SGI) << 24 | 1 << (mpidr & 0xf);
        asm!(
            "msr s3_0_c4_c6_0, {mask}", // ICC_PMR_EL1
            "msr s3_0_c12_c12_7, {one}", // ICC_IGRPEN1_EL1
            "isb",
            "msr s3_0_c12_c11_5, {sgi}", // ICC_SGI1R_EL1
            "dsb sy",
            "isb",
            "mrs {pending}, isr_el1",
            "mrs {taken}, s3_0_c12_c12_0", // ICC_IAR1_EL1
            "msr s3_0_c12_c12_1, {taken}", // ICC_EOIR1_EL1
            "isb",
            mask = in(reg) 0xff_u64, one = in(reg) 1_u64, sgi = in(reg) sgi,
            pending = out(reg) pending, taken = out(reg) taken, options(nostack),
        );
    }
    // As an IRQ: bit 7.
    pending == 1 << 7 && taken == u64::from(SGI)
}

/// Waits for ever.
pub(crate) fn stand_still() -> ! {
    loop {
        aarch64_cpu::asm::wfe();
    }
}
