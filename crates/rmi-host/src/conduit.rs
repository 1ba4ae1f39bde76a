//! The one door: everything reaches the RMM through [`Conduit::call`].
//!
//! A conduit of one's own that keeps a log; like most, it wraps another:
//!
//! ```
//! use core::cell::RefCell;
//! use rmi_abi::{Command, Dialect};
//! use rmi_host::{Conduit, Discovered, Host, Machine, Registers, SessionOptions};
//! use rmm_model::{Model, Options};
//!
//! struct Logging<C> { inner: C, log: RefCell<Vec<(u64, u64)>> }
//!
//! // SAFETY: the answers are those of the conduit inside.
//! unsafe impl<C: Conduit> Conduit for Logging<C> {
//!     fn machine(&self) -> Machine { self.inner.machine() }
//!
//!     unsafe fn call(&self, registers: Registers) -> Registers {
//!         // SAFETY: the caller's promise is passed on unchanged.
//!         let answer = unsafe { self.inner.call(registers) };
//!         self.log.borrow_mut().push((registers[0], answer[0]));
//!         answer
//!     }
//! }
//!
//! let dialect = Dialect::TfRmm2026_07;
//! let model = Model::new(Options::new(dialect))?;
//! let door = Logging { inner: &model, log: RefCell::default() };
//! Discovered::probe(Host::new(&door, &model), SessionOptions::default()).map_err(|failed| failed.error)?;
//!
//! let version = Command::Version.fid(dialect).expect("in every dialect");
//! assert_eq!(door.log.borrow().first(), Some(&(u64::from(version.0), 0)));
//! assert_eq!(door.log.borrow().len(), 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With several CPUs, the log would be behind a lock: a session is `Sync` only if its conduit is.
//!
//! A call takes memory away from whoever refers to it, so making one is unsafe:
//!
//! ```compile_fail,E0133
//! # use rmi_host::Conduit;
//! fn delegate(door: &impl Conduit) {
//!     door.call([0xc400_0151, 0x8000_0000, 0, 0, 0, 0, 0, 0]); // error: call to unsafe function
//! }
//! ```
#![expect(unsafe_code, reason = "the one door is an unsafe method")]

use crate::granules::Machine;

/// X0 to X7 of one call. No command of any dialect uses a higher register.
pub type Registers = [u64; 8];

/// The only way to reach the RMM.
///
/// A conduit is an instance, so that a model, a recorder or a counter can keep state; it takes `&self`, because calls are made on many CPUs at once.
///
/// [The module](self) has an example.
///
/// # Safety
///
/// All that is said about memory rests on the answers: an implementer promises that they are those of an RMM, so that memory whose undelegation succeeds is the host's again. A conduit
/// whose answers may be false is sound if it is [`Simulated`].
///
/// All calls reach the RMM of the machine that [`Conduit::machine`] names, and that never changes. A conduit that wraps another names the machine of that.
pub unsafe trait Conduit {
    /// The machine whose RMM answers.
    fn machine(&self) -> Machine;

    /// Issues one fast SMC64 call with `registers` as X0 to X7 and returns X0 to X7 as the RMM left them.
    ///
    /// # Safety
    ///
    /// An RMI command may take the host's access to memory away, or have the RMM or a Realm read or write it. The registers name granules, directly or through a page that
    /// they point to, in one of two ways:
    ///
    /// * As the host's: pages that the RMM reads or writes, memory to delegate, to donate in the state UNDELEGATED, or to map at unprotected addresses. The caller owns them and holds no reference
    ///   into any of them; for one that the RMM takes or maps, the caller gives it up for as long.
    /// * As the RMM's: objects, tables, memory that is delegated. The RMM checks the state of each such granule and refuses the command unless it has it, so a name that is out of date, or
    ///   wrong, costs a refusal or reaches another object of the RMM. It never touches memory of the host, and the caller need not own it.
    unsafe fn call(&self, registers: Registers) -> Registers;
}

// SAFETY: the answers are the referent's.
unsafe impl<C: Conduit + ?Sized> Conduit for &C {
    fn machine(&self) -> Machine {
        (**self).machine()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { (**self).call(registers) }
    }
}

/// A conduit to something that only plays the RMM, and never takes memory away from the program: its answers may be false without harm. Only on such a conduit can
/// [faults be injected](crate::inject).
///
/// # Safety
///
/// No call takes the program's access to any memory away, or lets anything else write to memory of the program.
pub unsafe trait Simulated: Conduit {}

// SAFETY: the calls are the referent's.
unsafe impl<C: Simulated + ?Sized> Simulated for &C {}
