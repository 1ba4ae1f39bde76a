//! How the host reaches its own physical memory, to fill parameter pages and to read what the RMM
//! wrote.
//!
//! A session reaches memory through the token that owns it:
//!
//! ```
//! # use rmi_abi::Dialect;
//! # use rmm_model::{Model, Options};
//! # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! # let mut memory = model.take_memory();
//! # let rmm = rmm_model::open(model.host(), &mut memory)?;
//! let mut page = memory.take_front(0x1000).expect("1 GiB");
//! rmm.write_host(&mut page, 0x10, b"from the host")?;
//! let mut back = [0; 4];
//! rmm.read_host(&page, 0x10, &mut back)?;
//! assert_eq!(&back, b"from");
//!
//! // No access goes beyond the token.
//! let fault = rmm.write_host(&mut page, 0xffe, b"too long").unwrap_err();
//! assert_eq!(fault.to_string(), "host memory at 0x80000ffe cannot be reached");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Memory that the host has delegated cannot be accessed, because there is no `Undelegated` token
//! for it:
//!
//! ```compile_fail,E0308
//! # use rmi_host::{Delegated, Platform, Rmm};
//! fn peek<P: Platform>(rmm: &Rmm<P>, memory: &Delegated) {
//!     let _ = rmm.read_host(memory, 0, &mut [0; 8]); // error: expected `Undelegated`
//! }
//! ```
#![expect(unsafe_code, reason = "reaching physical memory is an unsafe method")]

use core::fmt;

use rmi_abi::Pa;

use crate::granules::Machine;

/// The host's view of its own physical memory.
///
/// The SDK never forms a reference to memory that it shares with the RMM; it copies data in and out
/// through this trait.
///
/// [`LinearMap`](crate::linear_map::LinearMap) is an implementation for memory that is mapped
/// linearly. For a host whose memory is an array, as in an emulator:
///
/// ```
/// use core::cell::RefCell;
/// use rmi_abi::Pa;
/// use rmi_host::{AccessFault, HostAccess, Machine};
///
/// struct Array { machine: Machine, base: Pa, bytes: RefCell<Vec<u8>> }
///
/// // SAFETY: only the array is accessed, and it is the memory of that machine.
/// unsafe impl HostAccess for Array {
///     fn machine(&self) -> Machine { self.machine }
///
///     unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
///         let offset = at.checked_offset_from(self.base).ok_or(AccessFault { at })?;
///         let bytes = self.bytes.borrow();
///         let from = bytes.get(offset as usize..).and_then(|from| from.get(..into.len()));
///         into.copy_from_slice(from.ok_or(AccessFault { at })?);
///         Ok(())
///     }
///     // `write` is similar.
/// #     unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
/// #         let offset = at.checked_offset_from(self.base).ok_or(AccessFault { at })?;
/// #         let mut bytes = self.bytes.borrow_mut();
/// #         let into =
/// #             bytes.get_mut(offset as usize..).and_then(|into| into.get_mut(..from.len()));
/// #         into.ok_or(AccessFault { at })?.copy_from_slice(from);
/// #         Ok(())
/// #     }
/// }
///
/// let bytes = RefCell::new(vec![0; 0x1000]);
/// let memory = Array { machine: Machine::simulated(), base: Pa::new(0x8000_0000), bytes };
/// let mut word = [0; 4];
/// // SAFETY: only the array is accessed, and there is no reference into it.
/// unsafe {
///     memory.write(Pa::new(0x8000_0100), b"word")?;
///     memory.read(Pa::new(0x8000_0100), &mut word)?;
///     assert!(memory.read(Pa::new(0x7fff_ffff), &mut word).is_err());
/// }
/// assert_eq!(&word, b"word");
/// # Ok::<(), AccessFault>(())
/// ```
///
/// # Safety
///
/// Reads and writes access the memory of the machine that [`HostAccess::machine`] names, at the
/// given addresses and nowhere else, and that machine never changes: the RMM is given pages that
/// were written through this trait.
pub unsafe trait HostAccess {
    /// The machine whose memory it is.
    fn machine(&self) -> Machine;

    /// Copies `into.len()` bytes from physical memory at `at`.
    ///
    /// # Errors
    ///
    /// [`AccessFault`] when the host cannot read there; `into` is then unspecified.
    ///
    /// # Safety
    ///
    /// The caller owns all of the memory as host memory, and no reference into it is live.
    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault>;

    /// Copies `from` to physical memory at `at`.
    ///
    /// # Errors
    ///
    /// [`AccessFault`] when the host cannot write there; the memory is then unspecified.
    ///
    /// # Safety
    ///
    /// The caller owns all of the memory as host memory, and no reference into it is live.
    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault>;
}

/// The host has no mapping at the address, or the granule protection check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessFault {
    /// The first address that could not be accessed, or the start of the access if the host does
    /// not know the exact address.
    pub at: Pa,
}

impl fmt::Display for AccessFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host memory at {} cannot be reached", self.at)
    }
}

impl core::error::Error for AccessFault {}

// SAFETY: the memory is that of the referent.
unsafe impl<A: HostAccess + ?Sized> HostAccess for &A {
    fn machine(&self) -> Machine {
        (**self).machine()
    }

    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { (**self).read(at, into) }
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { (**self).write(at, from) }
    }
}
