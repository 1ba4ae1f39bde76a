//! Exceptions that are taken to EL3: all registers are saved, and restored from what the handler
//! leaves.
#![expect(unsafe_code, reason = "exception vectors are assembly")]

use core::arch::global_asm;
use core::mem::offset_of;

use super::{call, failure, registers};

/// The vector of synchronous exceptions from a lower level in AArch64.
const SYNC_LOWER: u64 = 8;
/// `ESR_EL3.EC` of an SMC in AArch64.
const EC_SMC: u64 = 0x17;
const EC_SHIFT: u32 = 26;

/// What was interrupted.
#[repr(C, align(16))]
pub(super) struct Frame {
    x: [u64; 31],
    esr: u64,
    elr: u64,
    spsr: u64,
    fpsr: u64,
    fpcr: u64,
    q: [u128; 32],
}

const _: () = {
    assert!(size_of::<Frame>() == 800);
    assert!(offset_of!(Frame, elr) == 256);
    assert!(offset_of!(Frame, fpsr) == 272);
    assert!(offset_of!(Frame, q) == 288);
};

/// Handles an exception; `vector` is its number in the table. X0 to X17 are those of a call; X18 to
/// X30 and Q0 to Q31 stay.
extern "C" fn handle(frame: &mut Frame, vector: u64) {
    let esr = registers::syndrome();
    frame.esr = esr;
    if vector != SYNC_LOWER || esr >> EC_SHIFT & 0x3f != EC_SMC {
        failure::unexpected(vector, esr, frame.elr, registers::fault_address(), frame.spsr);
    }
    if let Some(x) = frame.x.first_chunk_mut::<18>() {
        *x = call(*x);
    }
}

global_asm!(
    r#"
    .section .text.vectors, "ax"
    .macro vector number
    .balign 128
    sub sp, sp, #800
    stp x0, x1, [sp]
    mov x1, #\number
    b save
    .endm

    .balign 2048
    .global vectors
vectors:
    vector 0
    vector 1
    vector 2
    vector 3
    vector 4
    vector 5
    vector 6
    vector 7
    vector 8
    vector 9
    vector 10
    vector 11
    vector 12
    vector 13
    vector 14
    vector 15

    .balign 128
save:
    stp x2, x3, [sp, #16]
    stp x4, x5, [sp, #32]
    stp x6, x7, [sp, #48]
    stp x8, x9, [sp, #64]
    stp x10, x11, [sp, #80]
    stp x12, x13, [sp, #96]
    stp x14, x15, [sp, #112]
    stp x16, x17, [sp, #128]
    stp x18, x19, [sp, #144]
    stp x20, x21, [sp, #160]
    stp x22, x23, [sp, #176]
    stp x24, x25, [sp, #192]
    stp x26, x27, [sp, #208]
    stp x28, x29, [sp, #224]
    stp x30, xzr, [sp, #240]
    mrs x2, elr_el3
    mrs x3, spsr_el3
    stp x2, x3, [sp, #256]
    mrs x2, fpsr
    mrs x3, fpcr
    stp x2, x3, [sp, #272]
    stp q0, q1, [sp, #288]
    stp q2, q3, [sp, #320]
    stp q4, q5, [sp, #352]
    stp q6, q7, [sp, #384]
    stp q8, q9, [sp, #416]
    stp q10, q11, [sp, #448]
    stp q12, q13, [sp, #480]
    stp q14, q15, [sp, #512]
    stp q16, q17, [sp, #544]
    stp q18, q19, [sp, #576]
    stp q20, q21, [sp, #608]
    stp q22, q23, [sp, #640]
    stp q24, q25, [sp, #672]
    stp q26, q27, [sp, #704]
    stp q28, q29, [sp, #736]
    stp q30, q31, [sp, #768]
    mov x0, sp
    bl {handle}

    ldp q0, q1, [sp, #288]
    ldp q2, q3, [sp, #320]
    ldp q4, q5, [sp, #352]
    ldp q6, q7, [sp, #384]
    ldp q8, q9, [sp, #416]
    ldp q10, q11, [sp, #448]
    ldp q12, q13, [sp, #480]
    ldp q14, q15, [sp, #512]
    ldp q16, q17, [sp, #544]
    ldp q18, q19, [sp, #576]
    ldp q20, q21, [sp, #608]
    ldp q22, q23, [sp, #640]
    ldp q24, q25, [sp, #672]
    ldp q26, q27, [sp, #704]
    ldp q28, q29, [sp, #736]
    ldp q30, q31, [sp, #768]
    ldp x2, x3, [sp, #272]
    msr fpsr, x2
    msr fpcr, x3
    ldp x2, x3, [sp, #256]
    msr elr_el3, x2
    msr spsr_el3, x3
    ldp x2, x3, [sp, #16]
    ldp x4, x5, [sp, #32]
    ldp x6, x7, [sp, #48]
    ldp x8, x9, [sp, #64]
    ldp x10, x11, [sp, #80]
    ldp x12, x13, [sp, #96]
    ldp x14, x15, [sp, #112]
    ldp x16, x17, [sp, #128]
    ldp x18, x19, [sp, #144]
    ldp x20, x21, [sp, #160]
    ldp x22, x23, [sp, #176]
    ldp x24, x25, [sp, #192]
    ldp x26, x27, [sp, #208]
    ldp x28, x29, [sp, #224]
    ldr x30, [sp, #240]
    ldp x0, x1, [sp]
    add sp, sp, #800
    eret
"#,
    handle = sym handle,
);
