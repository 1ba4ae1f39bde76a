//! The complete map of owners, shared between threads.

use spin::Mutex;

use rmi_abi::{Command, PaRange};

use super::{Holding, Ledger, LedgerEvent, Ownership};

/// A ledger that knows the owner of every range: [`Ownership`] behind a spin lock.
///
/// The lock is held for one change at a time, which allocates; an embedder that takes interrupts
/// while it calls the SDK must not use the map from them. A crash handler uses
/// [`OwnershipMap::try_with`], which never waits.
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
/// let memory = rmm.delegate(memory)?;
///
/// // What the next kernel must not touch:
/// let text = map.with(Ownership::to_string);
/// assert_eq!(text, "rmi-ownership 1\n0x80000000 0x80004000 delegated\nend 1\n");
/// assert_eq!(text.parse::<Ownership>()?.rmm_owned_bytes(), 0x4000);
///
/// // At the end:
/// assert!(!map.is_balanced());
/// rmm.undelegate(memory)?;
/// assert!(map.is_balanced());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct OwnershipMap {
    ownership: Mutex<Ownership>,
}

impl OwnershipMap {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self::resume(Ownership::new())
    }

    /// Continues with the map of a previous kernel.
    #[must_use]
    pub const fn resume(ownership: Ownership) -> Self {
        Self { ownership: Mutex::new(ownership) }
    }

    /// Passes the records to `read`. They are locked meanwhile: `read` must not issue commands
    /// through a session with this ledger, since a command that moves memory records it here and
    /// would wait for ever. A function that issues none, as
    /// [`Rmm::memory_removing`](crate::Rmm::memory_removing), may be called.
    pub fn with<T>(&self, read: impl FnOnce(&Ownership) -> T) -> T {
        read(&self.ownership.lock())
    }

    /// As [`OwnershipMap::with`], unless the records are locked: `None` then, without waiting.
    pub fn try_with<T>(&self, read: impl FnOnce(&Ownership) -> T) -> Option<T> {
        Some(read(&*self.ownership.try_lock()?))
    }

    /// Whether the RMM has no memory any more and the records do not contradict each other:
    /// [`Ownership::is_balanced`].
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.with(Ownership::is_balanced)
    }

    /// Takes one range out of the records that is the host's and has no token
    /// ([`LedgerEvent::Untracked`]). `None` when there is none.
    pub fn take_untracked(&self) -> Option<PaRange> {
        self.ownership.lock().take(Holding::Untracked)
    }

    /// Takes one range out of the records that a Realm could access when it was given up
    /// ([`LedgerEvent::Exposed`]), for a caller that knows that the Realm has been destroyed.
    /// `None` when there is none.
    pub fn take_exposed(&self) -> Option<PaRange> {
        self.ownership.lock().take(Holding::Exposed)
    }
}

impl Ledger for OwnershipMap {
    fn record(&self, event: LedgerEvent, memory: PaRange) {
        self.ownership.lock().apply(event, memory);
    }

    fn operation_dropped(&self, _command: Command, _handle: u64) {
        self.ownership.lock().drop_operation();
    }
}
