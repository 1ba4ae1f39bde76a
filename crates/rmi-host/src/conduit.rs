//! The one door: everything reaches the RMM through [`Conduit::call`].
#![expect(unsafe_code, reason = "the one door is an unsafe method")]

/// X0 to X7 of one call. No command of any dialect uses a higher register.
pub type Registers = [u64; 8];

/// The only way to reach the RMM.
///
/// A conduit is an instance, so that a model, a recorder or a counter can keep state; it takes `&self`, because calls are made on many CPUs at once.
pub trait Conduit {
    /// Issues one fast SMC64 call with `registers` as X0 to X7 and returns X0 to X7 as the RMM left them.
    ///
    /// # Safety
    ///
    /// An RMI command may take the host's access to memory away, or have the RMM read or write it. The caller must own every granule that
    /// `registers` name, directly or through a page they point to, and hold no reference into any of them.
    unsafe fn call(&self, registers: Registers) -> Registers;
}

impl<C: Conduit + ?Sized> Conduit for &C {
    unsafe fn call(&self, registers: Registers) -> Registers {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { (**self).call(registers) }
    }
}
