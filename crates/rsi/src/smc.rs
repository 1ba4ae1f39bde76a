//! The SMC instruction as a conduit.
//!
#![cfg_attr(target_arch = "aarch64", doc = "```no_run")]
#![cfg_attr(not(target_arch = "aarch64"), doc = "```ignore")]
//! use rsi::smc::SmcConduit;
//! use rsi::{OpenError, Rsi};
//!
//! fn open() -> Result<Rsi<SmcConduit>, OpenError> {
//!     // SAFETY: this program runs at EL1 of a Realm, and all its memory is mapped at its IPAs.
//!     Rsi::open(unsafe { SmcConduit::identity() })
//! }
//! ```
#![expect(unsafe_code, reason = "the SMC instruction")]

use rmi_abi::Ipa;

use crate::conduit::{Conduit, Registers};

/// Reaches the RMM by the SMC instruction of the calling CPU, for a program whose virtual addresses
/// are its IPAs plus a constant.
#[derive(Clone, Copy, Debug)]
pub struct SmcConduit {
    offset: u64,
}

impl SmcConduit {
    /// The conduit of a program whose virtual addresses are its IPAs, or that runs with the MMU
    /// off.
    ///
    /// # Safety
    ///
    /// As [`SmcConduit::with_offset`], with 0.
    #[must_use]
    pub const unsafe fn identity() -> Self {
        Self { offset: 0 }
    }

    /// The conduit of a program whose virtual addresses are its IPAs plus `offset`, modulo 2^64.
    ///
    /// # Safety
    ///
    /// The program runs at EL1 of a Realm, in plane 0. All its memory to which it makes references
    /// is private memory of the Realm and mapped that way: statics, stacks and heap.
    #[must_use]
    pub const unsafe fn with_offset(offset: u64) -> Self {
        Self { offset }
    }
}

// SAFETY: the answers are those of the RMM behind the SMC instruction; the maker of the conduit
// promised that addresses are IPAs plus the offset.
unsafe impl Conduit for SmcConduit {
    unsafe fn call(&self, registers: Registers) -> Registers {
        let [
            mut x0,
            mut x1,
            mut x2,
            mut x3,
            mut x4,
            mut x5,
            mut x6,
            mut x7,
            mut x8,
            mut x9,
            mut x10,
            mut x11,
            mut x12,
            mut x13,
            mut x14,
            mut x15,
            mut x16,
            mut x17,
        ] = registers;
        // SAFETY: the RMM changes no other register (SMCCC 1.2; X18 to X30 and the vector registers
        // are preserved) and no stack, and it changes memory as the caller promises. Without
        // `nomem` the compiler takes every object with an exposed address as changed.
        unsafe {
            core::arch::asm!(
                "smc #0",
                inout("x0") x0,
                inout("x1") x1,
                inout("x2") x2,
                inout("x3") x3,
                inout("x4") x4,
                inout("x5") x5,
                inout("x6") x6,
                inout("x7") x7,
                inout("x8") x8,
                inout("x9") x9,
                inout("x10") x10,
                inout("x11") x11,
                inout("x12") x12,
                inout("x13") x13,
                inout("x14") x14,
                inout("x15") x15,
                inout("x16") x16,
                inout("x17") x17,
                options(nostack),
            );
        }
        [x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15, x16, x17]
    }

    fn ipa(&self, address: *mut u8) -> Option<Ipa> {
        let address = address.expose_provenance() as u64;
        Some(Ipa::new(address.wrapping_sub(self.offset)))
    }
}
