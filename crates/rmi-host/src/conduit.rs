//! The conduit: every call reaches the RMM through [`Conduit::call`].
//!
//! A conduit of the embedder that keeps a log. Like most conduits, it wraps another:
//!
//! ```
//! use core::cell::RefCell;
//! use rmi_abi::{Command, Dialect};
//! use rmi_host::{
//!     Conduit, Discovered, Host, OpenSessions, Registers, SessionOptions,
//! };
//! use rmm_model::{Model, Options};
//!
//! struct Logging<C> { inner: C, log: RefCell<Vec<(u64, u64)>> }
//!
//! // SAFETY: the answers are those of the inner conduit.
//! unsafe impl<C: Conduit> Conduit for Logging<C> {
//!     fn open_sessions(&self) -> &OpenSessions { self.inner.open_sessions() }
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
//! let conduit = Logging { inner: &model, log: RefCell::default() };
//! Discovered::probe(Host::new(&conduit, &model), SessionOptions::default())?;
//!
//! let version = Command::Version.fid(dialect).expect("in every dialect");
//! assert_eq!(conduit.log.borrow().first(), Some(&(u64::from(version.0), 0)));
//! assert_eq!(conduit.log.borrow().len(), 9);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With several CPUs, the log needs a lock: a session is `Sync` only if its conduit is.
//!
//! A call may take memory away to which there are references, so making one is unsafe:
//!
//! ```compile_fail,E0133
//! # use rmi_host::Conduit;
//! fn delegate(conduit: &impl Conduit) {
//!     // error: call to unsafe function
//!     conduit.call([0xc400_0151, 0x8000_0000, 0, 0, 0, 0, 0, 0]);
//! }
//! ```
#![expect(unsafe_code, reason = "the call of a conduit is an unsafe method")]

use crate::open_sessions::OpenSessions;

/// X0 to X7 of one call. No command of any dialect uses a higher register.
pub type Registers = [u64; 8];

/// What a conduit returns when it has forwarded a call and received no answer: it is not known what
/// the RMM did. A session reports [`Error::NoAnswer`](crate::Error::NoAnswer), which is not clean.
///
/// No RMM gives this answer: 254 in bits 7:0 of X0 is no status, and bits 63:32 are no SMCCC code.
/// Only X0 is compared.
///
/// A conduit over a connection that fails after the call:
///
/// ```
/// # use rmi_abi::{Command, Dialect};
/// # use rmi_host::{Conduit, Error, Host, OpenSessions, Registers};
/// # use rmm_model::{Model, Options};
/// use rmi_host::conduit::NO_ANSWER;
///
/// struct Broken<'m> { model: &'m Model, at: u64 }
///
/// // SAFETY: the model has its own memory; nothing of this program is affected.
/// unsafe impl Conduit for Broken<'_> {
///     fn open_sessions(&self) -> &OpenSessions { self.model.open_sessions() }
///
///     unsafe fn call(&self, registers: Registers) -> Registers {
///         // SAFETY: the caller's promise is passed on unchanged.
///         let answer = unsafe { self.model.call(registers) };
///         if registers[0] == self.at { NO_ANSWER } else { answer }
///     }
/// }
///
/// # let dialect = Dialect::TfRmm2026_07;
/// # let model = Model::new(Options::new(dialect))?;
/// # let mut memory = model.take_memory();
/// # let fid = Command::GranuleRangeDelegate.fid(dialect).expect("in this dialect");
/// # let broken = Broken { model: &model, at: fid.0.into() };
/// # let rmm = rmm_model::open(Host::new(&broken, &model), &mut memory)?;
/// let failed = rmm.delegate(memory.take_front(0x4000).expect("1 GiB")).unwrap_err();
/// assert!(matches!(failed.error, Error::NoAnswer { .. }));
/// // The memory may be the RMM's, and here it is.
/// assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (0x4000, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const NO_ANSWER: Registers = [0x6e6f_6e65_0000_00fe, 0, 0, 0, 0, 0, 0, 0];

/// What a conduit returns when it has not forwarded a call, and never will: the RMM has not
/// received it. A session reports [`Error::NotSent`](crate::Error::NotSent), which is clean.
///
/// A conduit that is not certain returns [`NO_ANSWER`].
pub const NOT_SENT: Registers = [0x6e6f_6e65_0000_00fd, 0, 0, 0, 0, 0, 0, 0];

/// The only way to reach the RMM.
///
/// A conduit is an instance, so that a model, a recorder or a counter can keep state. Its method
/// takes `&self`, because calls are made on several CPUs at once.
///
/// [The module](self) has an example.
///
/// # Safety
///
/// All knowledge of who owns memory depends on the answers: an implementer promises that they are
/// those of an RMM, so that memory whose undelegation succeeds is the host's again. A conduit whose
/// answers may be false is sound if it is [`Simulated`].
///
/// All calls reach the RMM of the machine that [`Conduit::open_sessions`] names, and that never
/// changes. All conduits to that RMM return the same object
/// ([`OpenSessions::of_this_machine`] for [`Machine::REAL`](crate::Machine::REAL)). A conduit that
/// wraps another has that of the inner one.
pub unsafe trait Conduit {
    /// The machine whose RMM answers, with the sessions that are open on it.
    fn open_sessions(&self) -> &OpenSessions;

    /// Issues one fast SMC64 call with `registers` as X0 to X7 and returns X0 to X7 as the RMM left
    /// them; [`NO_ANSWER`] or [`NOT_SENT`] when it cannot.
    ///
    /// The call is made on the CPU that the caller runs on. `RMI_REC_ENTER` runs the REC there,
    /// with the virtual interrupts that are in the list registers of that CPU. The SMC instruction
    /// always does so; a conduit to a model or to another thread must ensure it when a host has
    /// several CPUs.
    ///
    /// # Safety
    ///
    /// An RMI command may take the host's access to memory away, or have the RMM or a Realm read or
    /// write it. The registers name granules, directly or through a page that they point to, in one
    /// of two ways:
    ///
    /// * As the host's: pages that the RMM reads or writes, memory to delegate, to donate in the
    ///   state UNDELEGATED, or to map at unprotected addresses. The caller owns them and holds no
    ///   reference into any of them; for one that the RMM takes or maps, the caller gives it up for
    ///   as long as the RMM has it or maps it.
    /// * As the RMM's: objects, tables, memory that is delegated. The RMM checks the state of each
    ///   such granule and refuses the command unless it has it, so an address that is out of date,
    ///   or wrong, causes a refusal or reaches another object of the RMM. The command never touches
    ///   memory of the host, and the caller need not own the granule.
    unsafe fn call(&self, registers: Registers) -> Registers;
}

// SAFETY: the answers are those of the referent.
unsafe impl<C: Conduit + ?Sized> Conduit for &C {
    fn open_sessions(&self) -> &OpenSessions {
        (**self).open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { (**self).call(registers) }
    }
}

/// A conduit to something that only simulates an RMM, and never takes memory away from the program:
/// false answers are safe. The crate `rmi-conduits` injects faults into such a conduit only.
///
/// # Safety
///
/// No call takes away the program's access to any memory, or lets anything else write to memory of
/// the program.
pub unsafe trait Simulated: Conduit {}

// SAFETY: the calls are those of the referent.
unsafe impl<C: Simulated + ?Sized> Simulated for &C {}
