//! The full map, shared.

use spin::Mutex;

use rmi_abi::{Command, PaRange};

use super::{Holding, Ledger, LedgerEvent, Ownership};

/// A ledger that knows the owner of every range: [`Ownership`] behind a spin lock.
///
/// The lock is held for one change at a time, which allocates; an embedder that takes interrupts while it calls the SDK must not use the map from them. A crash handler
/// uses [`OwnershipMap::try_with`], which never waits.
///
/// ```
/// use rmi_abi::Dialect;
/// use rmi_host::ledger::{Ownership, OwnershipMap};
/// use rmm_model::{Model, Options};
///
/// let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// let map = OwnershipMap::new();
/// let platform = model.host().with_ledger(&map);
/// let mut memory = model.take_memory();
/// let rmm = rmm_model::open(platform, &mut memory)?;
///
/// let memory = memory.take_front(0x4000).unwrap();
/// let memory = rmm.delegate(memory).map_err(|failed| failed.error)?;
///
/// // What the next kernel must not touch:
/// let text = map.with(Ownership::to_string);
/// assert_eq!(text, "rmi-ownership 1\n0x80000000 0x80004000 delegated\nend 1\n");
/// assert_eq!(text.parse::<Ownership>()?.rmm_owned_bytes(), 0x4000);
///
/// // And at the end of the day:
/// assert!(!map.is_balanced());
/// rmm.undelegate(memory).map_err(|failed| failed.error)?;
/// assert!(map.is_balanced());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct OwnershipMap {
    books: Mutex<Ownership>,
}

impl OwnershipMap {
    /// Books with nothing in them.
    #[must_use]
    pub const fn new() -> Self {
        Self::resume(Ownership::new())
    }

    /// Goes on with books that another kernel left.
    #[must_use]
    pub const fn resume(books: Ownership) -> Self {
        Self { books: Mutex::new(books) }
    }

    /// Shows the books to `read`. They are locked meanwhile: `read` must not give commands through a
    /// session that keeps these books, since a command that moves memory records it here and would
    /// wait for ever. What gives none, as [`Rmm::memory_removing`](crate::Rmm::memory_removing), may be
    /// called.
    pub fn with<T>(&self, read: impl FnOnce(&Ownership) -> T) -> T {
        read(&self.books.lock())
    }

    /// As [`OwnershipMap::with`], unless the books are locked: `None` then, without waiting.
    pub fn try_with<T>(&self, read: impl FnOnce(&Ownership) -> T) -> Option<T> {
        Some(read(&*self.books.try_lock()?))
    }

    /// Whether nothing is the RMM's any more and no book contradicts another: [`Ownership::is_balanced`].
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.with(Ownership::is_balanced)
    }

    /// Takes one range out of the books that is the host's and that no token stands for ([`LedgerEvent::Homeless`]). `None` when there is none.
    pub fn take_homeless(&self) -> Option<PaRange> {
        self.books.lock().take(Holding::Homeless)
    }

    /// Takes one range out of the books that a Realm could reach when it was given up ([`LedgerEvent::Exposed`]), for whoever knows that the Realm is gone by now. `None` when there is none.
    pub fn take_exposed(&self) -> Option<PaRange> {
        self.books.lock().take(Holding::Exposed)
    }
}

impl Ledger for OwnershipMap {
    fn record(&self, event: LedgerEvent, memory: PaRange) {
        self.books.lock().apply(event, memory);
    }

    fn operation_dropped(&self, command: Command, handle: u64) {
        let _ = (command, handle);
        self.books.lock().drop_operation();
    }
}
