//! The conduit: every call reaches the RMM through [`Conduit::call`].
#![expect(unsafe_code, reason = "the call of a conduit is an unsafe method")]

use rmi_abi::Ipa;

/// X0 to X17 of one call. `RSI_MEASUREMENT_EXTEND` uses the most: X0 to X10.
pub type Registers = [u64; 18];

/// The only way to reach the RMM, and what it needs to know of memory.
///
/// A conduit is an instance, so that one to a model, or one that counts, can keep state. Its
/// methods take `&self`, because every CPU of a Realm makes calls.
///
/// # Safety
///
/// * The answers are those of the RMM that this program runs under.
/// * [`Conduit::ipa`] tells the truth, for as long as the conduit is used: otherwise the RMM writes
///   to other memory than the program lent it.
pub unsafe trait Conduit {
    /// Issues one fast SMC64 call on the CPU of the caller with `registers` as X0 to X17, and
    /// returns X0 to X17 as the RMM left them.
    ///
    /// May be called with interrupts on or off. The RMM may run the host meanwhile, for any time.
    ///
    /// # Safety
    ///
    /// A call may have the RMM write to memory of the Realm, take memory away from it, or start
    /// code on a CPU or in a plane. The caller holds no reference into memory that the call takes
    /// away, has lent what the call writes to, and answers for what the started code does.
    unsafe fn call(&self, registers: Registers) -> Registers;

    /// The IPA at which an object of this program is; the page that contains it is private memory
    /// of the Realm. `None` when it is not, or is not mapped.
    ///
    /// `address` is valid for reads and writes of the object, which does not cross a boundary of
    /// 4 KiB. It may be a variable on the stack.
    fn ipa(&self, address: *mut u8) -> Option<Ipa>;
}

// SAFETY: answers and addresses are those of the referent.
unsafe impl<C: Conduit + ?Sized> Conduit for &C {
    unsafe fn call(&self, registers: Registers) -> Registers {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { (**self).call(registers) }
    }

    fn ipa(&self, address: *mut u8) -> Option<Ipa> {
        (**self).ipa(address)
    }
}
