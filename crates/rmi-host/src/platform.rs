//! What an embedder brings: a conduit, access to host memory, books, and a quarantine.
//!
//! A platform of one's own owns its parts, and says what happens while the RMM is busy:
//!
//! ```
//! # use core::cell::Cell;
//! # use core::num::NonZeroU32;
//! use rmi_abi::Dialect;
//! use rmi_host::{CountingLedger, Discovered, Platform, QuarantineShelf, SessionOptions};
//! use rmm_model::{Model, Options};
//!
//! struct Machine { model: Model, books: CountingLedger, shelf: QuarantineShelf<16>, naps: Cell<u32> }
//!
//! // SAFETY: one conduit, one memory.
//! unsafe impl Platform for Machine {
//!     type Conduit = Model;
//!     type Access = Model;
//!     type Ledger = CountingLedger;
//!     type Quarantine = QuarantineShelf<16>;
//!
//!     fn conduit(&self) -> &Model { &self.model }
//!     fn access(&self) -> &Model { &self.model }
//!     fn ledger(&self) -> &CountingLedger { &self.books }
//!     fn quarantine(&self) -> &QuarantineShelf<16> { &self.shelf }
//!     fn relax(&self) { self.naps.set(self.naps.get() + 1) } // or yield to the scheduler
//! }
//!
//! # let mut options = Options::new(Dialect::TfRmm2026_07);
//! # options.busy_every = NonZeroU32::new(3);
//! # let model = Model::new(options)?;
//! # let machine = Machine { model, books: CountingLedger::new(), shelf: QuarantineShelf::new(), naps: Cell::new(0) };
//! let found = Discovered::probe(machine, SessionOptions::default()).map_err(|failed| failed.error)?;
//! found.start_activation()?;
//! let rmm = found.into_active();
//! let memory = rmm.platform().model.take_memory().take_front(0x8000).expect("1 GiB");
//! let memory = rmm.delegate(memory).map_err(|failed| failed.error)?;
//! assert_eq!(rmm.platform().books.balance().delegated, 8);
//! assert!(rmm.platform().naps.get() > 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![expect(unsafe_code, reason = "a platform is an unsafe trait")]

use crate::access::HostAccess;
use crate::conduit::Conduit;
use crate::ledger::{Ledger, NullLedger};
use crate::quarantine::{NoQuarantine, Quarantine};

/// Everything a session needs from its embedder. [`Host`] is a ready implementation.
///
/// [The module](self) has an example of one.
///
/// # Safety
///
/// All calls reach the same machine: the conduit is always a way to the same RMM, and `access` reaches the memory that its calls name.
pub unsafe trait Platform {
    /// The way to the RMM.
    type Conduit: Conduit + ?Sized;
    /// The host's view of its memory.
    type Access: HostAccess + ?Sized;
    /// The keeper of books.
    type Ledger: Ledger + ?Sized;
    /// The place for memory that cannot be returned.
    type Quarantine: Quarantine + ?Sized;

    /// The way to the RMM.
    fn conduit(&self) -> &Self::Conduit;
    /// The host's view of its memory.
    fn access(&self) -> &Self::Access;
    /// The keeper of books.
    fn ledger(&self) -> &Self::Ledger;
    /// The place for memory that cannot be returned.
    fn quarantine(&self) -> &Self::Quarantine;

    /// Called between two attempts at a busy RMM.
    fn relax(&self) {
        core::hint::spin_loop();
    }
}

/// A platform put together from its parts; each may be owned or a reference.
///
/// ```
/// use rmi_abi::Dialect;
/// use rmi_host::{CountingLedger, Host, Platform, QuarantineShelf};
/// use rmm_model::{Model, Options};
///
/// let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// let books = CountingLedger::new();
/// // The books are looked at elsewhere, so the platform borrows them; the shelf it owns.
/// let host = Host::new(&model, &model).with_ledger(&books).with_quarantine(QuarantineShelf::<8>::new());
/// assert!(host.quarantine().is_empty());
/// # Ok::<(), rmm_model::OptionsError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Host<C, A, L = NullLedger, Q = NoQuarantine> {
    conduit: C,
    access: A,
    ledger: L,
    quarantine: Q,
}

impl<C: Conduit, A: HostAccess> Host<C, A> {
    /// A platform that keeps no books and has no quarantine.
    pub const fn new(conduit: C, access: A) -> Self {
        Self { conduit, access, ledger: NullLedger, quarantine: NoQuarantine }
    }
}

impl<C, A, L, Q> Host<C, A, L, Q> {
    /// The same platform with these books.
    pub fn with_ledger<M: Ledger>(self, ledger: M) -> Host<C, A, M, Q> {
        Host { conduit: self.conduit, access: self.access, ledger, quarantine: self.quarantine }
    }

    /// The same platform with this quarantine.
    pub fn with_quarantine<R: Quarantine>(self, quarantine: R) -> Host<C, A, L, R> {
        Host { conduit: self.conduit, access: self.access, ledger: self.ledger, quarantine }
    }
}

// SAFETY: the parts never change, so all calls go the same way. Memory that the conduit takes away and gives back is the caller's by a promise made for that machine
// (`Undelegated::from_raw`).
unsafe impl<C: Conduit, A: HostAccess, L: Ledger, Q: Quarantine> Platform for Host<C, A, L, Q> {
    type Conduit = C;
    type Access = A;
    type Ledger = L;
    type Quarantine = Q;

    fn conduit(&self) -> &C {
        &self.conduit
    }
    fn access(&self) -> &A {
        &self.access
    }
    fn ledger(&self) -> &L {
        &self.ledger
    }
    fn quarantine(&self) -> &Q {
        &self.quarantine
    }
}
