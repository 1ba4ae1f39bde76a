//! System registers.
#![expect(unsafe_code, reason = "most of these registers exist in assembly only")]

use core::arch::asm;

use aarch64_cpu::asm::{barrier, sev, wfe};
use aarch64_cpu::registers::{
    CNTHCTL_EL2, CNTPCT_EL0, CNTVOFF_EL2, CPTR_EL2, ESR_EL3, FAR_EL3, HCR_EL2, MPIDR_EL1, Readable,
    SCTLR_EL2, Writeable,
};

/// `SCR_EL3`: the lower levels are non-secure (`NS`), EL2 is 64-bit (`RW`) and may use HVC (`HCE`),
/// pointer authentication (`APK`, `API`), memory tags (`ATA`), fine-grained traps (`FGTEn`), the
/// physical offset of the counter (`ECVEn`) and `HCRX_EL2` (`HXEn`). No exception of theirs is
/// taken to EL3 except SMC. Bits 4 and 5 are 1.
const SCR: u64 =
    1 | 0b11 << 4 | 1 << 8 | 1 << 10 | 1 << 16 | 1 << 17 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 38;
/// `SCTLR_EL2`: the MMU and caches are off; the bits that are 1.
const SCTLR: u64 = 0x30c5_0830;
/// `CPTR_EL2`: SVE (`TZ`) and SME (`TSM`) trap to EL2, as they are not there for it; the other bits
/// that are 1.
const CPTR: u64 = 0x33ff;
/// `CNTHCTL_EL2`: EL1 may use the physical counter and timer.
const CNTHCTL: u64 = 0b11;
/// `ICC_SRE_ELx`: system registers, without bypass, also for the lower levels.
const SRE: u64 = 0xf;

/// Writes a system register that has no name in `aarch64-cpu`.
macro_rules! write {
    ($register:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: what this register changes is documented where it is written; it does not affect
        // the memory of this program.
        unsafe { asm!(concat!("msr ", $register, ", {}"), in(reg) value, options(nomem, nostack)) }
    }};
}

pub(super) fn mpidr() -> u64 {
    MPIDR_EL1.get()
}

/// `CNTPCT_EL0`
pub(super) fn counter() -> u64 {
    CNTPCT_EL0.get()
}

/// Why an exception was taken.
pub(super) fn syndrome() -> u64 {
    ESR_EL3.get()
}

/// The address of a fault.
pub(super) fn fault_address() -> u64 {
    FAR_EL3.get()
}

/// `ISR_EL1`: physical interrupts that are pending, as this CPU's interface signals them.
pub(super) fn pending_interrupts() -> u64 {
    let value;
    // SAFETY: reading the register has no effect.
    unsafe { asm!("mrs {}, isr_el1", out(reg) value, options(nomem, nostack)) };
    value
}

pub(super) fn send_event() {
    barrier::dsb(barrier::SY);
    sev();
}

pub(super) fn wait_for_event() {
    wfe();
}

/// The GIC's system registers are there, for EL2 as well.
pub(super) fn open_cpu_interface() {
    // ICC_SRE_EL3, which has a name only in later assemblers.
    write!("s3_6_c12_c12_5", SRE);
    barrier::isb(barrier::SY);
    // The registers of the Normal world.
    write!("scr_el3", SCR);
    barrier::isb(barrier::SY);
    // ICC_SRE_EL2
    write!("s3_4_c12_c9_5", SRE);
    barrier::isb(barrier::SY);
}

/// EL2 has timers, SIMD and floating point, no SVE, and starts with its MMU off and nothing of EL1
/// trapped.
pub(super) fn open_el2() {
    write!("scr_el3", SCR);
    // CPTR_EL3 and MDCR_EL3: nothing traps to EL3, except SVE and SME.
    write!("s3_6_c1_c1_2", 0);
    write!("s3_6_c1_c3_1", 0);
    HCR_EL2.set(0);
    SCTLR_EL2.set(SCTLR);
    CPTR_EL2.set(CPTR);
    CNTHCTL_EL2.set(CNTHCTL);
    CNTVOFF_EL2.set(0);
    barrier::isb(barrier::SY);
}
