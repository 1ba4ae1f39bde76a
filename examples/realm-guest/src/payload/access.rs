//! Loads and stores whose abort is a result.
//!
//! Each is one instruction between two symbols; the handler of exceptions sets X1 and continues
//! behind it.
#![expect(unsafe_code, reason = "memory is accessed by address")]

use core::arch::global_asm;

use realm_guest::vcpu::Aborted;
use rmi_abi::Ipa;

global_asm!(
    r#"
    .section .text.accesses, "ax"
accesses:
load_1:
    mov     x1, #0
    ldrb    w0, [x0]
    ret
load_2:
    mov     x1, #0
    ldrh    w0, [x0]
    ret
load_4:
    mov     x1, #0
    ldr     w0, [x0]
    ret
load_8:
    mov     x1, #0
    ldr     x0, [x0]
    ret
store_1:
    mov     x2, x1
    mov     x1, #0
    strb    w2, [x0]
    ret
store_2:
    mov     x2, x1
    mov     x1, #0
    strh    w2, [x0]
    ret
store_4:
    mov     x2, x1
    mov     x1, #0
    str     w2, [x0]
    ret
store_8:
    mov     x2, x1
    mov     x1, #0
    str     x2, [x0]
    ret
accesses_end:
"#
);

/// X0, and in X1 whether the access aborted.
#[repr(C)]
struct Done {
    value: u64,
    aborted: u64,
}

unsafe extern "C" {
    fn load_1(address: u64) -> Done;
    fn load_2(address: u64) -> Done;
    fn load_4(address: u64) -> Done;
    fn load_8(address: u64) -> Done;
    fn store_1(address: u64, value: u64) -> Done;
    fn store_2(address: u64, value: u64) -> Done;
    fn store_4(address: u64, value: u64) -> Done;
    fn store_8(address: u64, value: u64) -> Done;
}

/// Loads 1, 2, 4 or 8 bytes.
pub(super) fn load(ipa: Ipa, bytes: u8) -> Result<u64, Aborted> {
    let load = match bytes {
        1 => load_1,
        2 => load_2,
        4 => load_4,
        _ => load_8,
    };
    // SAFETY: a load changes nothing of the program; where nothing is, it aborts: a result.
    match unsafe { load(ipa.raw()) } {
        Done { value, aborted: 0 } => Ok(value),
        _ => Err(Aborted),
    }
}

/// Stores the low 1, 2, 4 or 8 bytes of a value.
pub(super) fn store(ipa: Ipa, bytes: u8, value: u64) -> Result<(), Aborted> {
    let store = match bytes {
        1 => store_1,
        2 => store_2,
        4 => store_4,
        _ => store_8,
    };
    // SAFETY: programs store to devices, to RAM that is theirs by the layout, and to the page of
    // their calls; objects of the payload are in the image and on the stacks, which are elsewhere.
    match unsafe { store(ipa.raw(), value) } {
        Done { aborted: 0, .. } => Ok(()),
        _ => Err(Aborted),
    }
}
