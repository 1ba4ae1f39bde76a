//! What an embedder brings: a conduit, access to host memory, books, and a quarantine.

use crate::access::HostAccess;
use crate::conduit::Conduit;
use crate::ledger::{Ledger, NullLedger};
use crate::quarantine::{NoQuarantine, Quarantine};

/// Everything a session needs from its embedder. [`Host`] is a ready implementation.
pub trait Platform {
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

impl<C: Conduit, A: HostAccess, L: Ledger, Q: Quarantine> Platform for Host<C, A, L, Q> {
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
