//! Every change of owner, reported to a ledger of the embedder.
//!
//! | Ledger | Knows |
//! |---|---|
//! | [`NullLedger`] | nothing |
//! | [`CountingLedger`] | how much changed its owner; lock-free |
//! | `OwnershipMap`, feature `alloc` | who owns every range, and whether the records agree |
//!
//! ```
//! use rmi_abi::Dialect;
//! use rmi_host::CountingLedger;
//! use rmm_model::{Model, Options};
//!
//! let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! let ledger = CountingLedger::new();
//! let platform = model.host().with_ledger(&ledger);
//! let mut memory = model.take_memory();
//! let rmm = rmm_model::open(platform, &mut memory)?;
//!
//! let memory = memory.take_front(0x4000).unwrap();
//! let memory = rmm.delegate(memory)?;
//! assert_eq!(ledger.balance().outstanding(), 4);
//! rmm.undelegate(memory)?;
//! assert_eq!(ledger.balance().outstanding(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The text of a map
//!
//! An `Ownership` is printed for the next kernel (kdump, kexec), which must not touch memory of the
//! RMM, and parsed there. The text is ASCII, one record in each line, with words separated by
//! single spaces:
//!
//! ```text
//! rmi-ownership 1
//! 0x80000000 0x80010000 delegated
//! 0x80010000 0x80020000 donated RMI_REC_CREATE
//! 0x80020000 0x80021000 quarantined undelegate-refused 1
//! end 3
//! ```
//!
//! * The first line names the format and its version. A change to the meaning of a line changes the
//!   version.
//! * Then the ranges, by address, without overlap: first address, address after the last, and the
//!   holding: `delegated`, `donated COMMAND`, `leaked`, `untracked` and `exposed` (the host's), or
//!   `quarantined` with `undelegate-refused STATUS` (decimal), `unclear COMMAND`,
//!   `not-reclaimed COMMAND`, `not-destroyed COMMAND` or `pool-full`. Addresses are hexadecimal, in
//!   bytes, aligned to 4 KiB; commands are the specification's names.
//! * The last line counts the ranges, in decimal: a text without it is truncated.

#[cfg(feature = "alloc")]
mod map;
#[cfg(feature = "alloc")]
mod ownership;
#[cfg(feature = "alloc")]
mod text;

#[cfg(feature = "alloc")]
pub use map::OwnershipMap;
#[cfg(feature = "alloc")]
pub use ownership::{Contradiction, Donations, Holding, Imbalance, Ownership};
#[cfg(feature = "alloc")]
pub use text::{OwnershipError, OwnershipErrorKind};

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Command, PaRange, Status};

/// One change of the owner of a range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LedgerEvent {
    /// Host memory became the RMM's, or may have after an unclear answer.
    Delegated,
    /// The RMM's memory became the host's.
    Returned,
    /// Memory was donated to a stateful operation.
    Donated {
        /// The command that started the operation.
        command: Command,
    },
    /// A stateful operation gave memory back.
    Reclaimed {
        /// The command that started the operation.
        command: Command,
    },
    /// Memory that cannot be returned now was put into quarantine.
    Quarantined {
        /// The reason.
        reason: QuarantineReason,
    },
    /// Memory left quarantine for another attempt to return it.
    Retried,
    /// The quarantine was full; the memory stays the RMM's.
    Leaked,
    /// Host memory did not fit into a full pool, and has no token any more: it belongs to the
    /// embedder, which learns of it by this event.
    Untracked,
    /// Host memory that was shared with a Realm could not be unmapped, and has no token any more.
    /// It stays the host's, and must not be used for anything else before that Realm is destroyed.
    Exposed,
}

/// Why memory is in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuarantineReason {
    /// The RMM refused to undelegate it.
    UndelegateRefused {
        /// With this status.
        status: Status,
    },
    /// After the answer of a command its owner is not certain.
    Unclear {
        /// The command.
        command: Command,
    },
    /// A stateful operation ended without returning it.
    NotReclaimed {
        /// The command that started the operation.
        command: Command,
    },
    /// The pool that it belongs to is full.
    PoolFull,
    /// The object that consists of it could not be destroyed.
    NotDestroyed {
        /// The command that was refused.
        command: Command,
    },
}

impl fmt::Display for QuarantineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UndelegateRefused { status } => {
                write!(f, "undelegation refused with {}", status.name())
            }
            Self::Unclear { command } => write!(f, "unclear outcome of {command}"),
            Self::NotReclaimed { command } => write!(f, "not given back by {command}"),
            Self::PoolFull => f.write_str("the pool is full"),
            Self::NotDestroyed { command } => write!(f, "object not destroyed by {command}"),
        }
    }
}

/// A ledger: a record of the changes. Called on any CPU, inside the call that made the change; it
/// must not call into the session.
///
/// A ledger of the embedder:
///
/// ```
/// use core::cell::RefCell;
/// use rmi_abi::{Dialect, PaRange};
/// use rmi_host::{Ledger, LedgerEvent};
/// # use rmm_model::{Model, Options};
///
/// struct EventLog(RefCell<Vec<(LedgerEvent, u64)>>);
///
/// impl Ledger for EventLog {
///     fn record(&self, event: LedgerEvent, memory: PaRange) {
///         self.0.borrow_mut().push((event, memory.bytes()));
///     }
/// }
///
/// let log = EventLog(RefCell::default());
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host().with_ledger(&log), &mut memory)?;
/// let memory = rmm.delegate(memory.take_front(0x1000).expect("1 GiB"))?;
/// rmm.undelegate(memory)?;
/// assert_eq!(
///     *log.0.borrow(),
///     [(LedgerEvent::Delegated, 0x1000), (LedgerEvent::Returned, 0x1000)]
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Ledger {
    /// `memory` changed its owner.
    fn record(&self, event: LedgerEvent, memory: PaRange);

    /// A stateful operation was dropped unfinished; the RMM keeps its context and blocks its
    /// objects.
    #[expect(unused_variables, reason = "their names are documentation")]
    fn operation_dropped(&self, command: Command, handle: u64) {}
}

impl<L: Ledger + ?Sized> Ledger for &L {
    fn record(&self, event: LedgerEvent, memory: PaRange) {
        (**self).record(event, memory);
    }

    fn operation_dropped(&self, command: Command, handle: u64) {
        (**self).operation_dropped(command, handle);
    }
}

/// Records nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullLedger;

impl Ledger for NullLedger {
    fn record(&self, _event: LedgerEvent, _memory: PaRange) {}
}

/// Counts granules of 4 KiB by what happened to them.
///
/// ```
/// use rmi_abi::{Command, Pa, PaRange};
/// use rmi_host::{CountingLedger, Ledger, LedgerEvent};
///
/// // The session records events; these are the ones for a REC that is created and
/// // destroyed.
/// let ledger = CountingLedger::new();
/// let memory = PaRange::with_size(Pa::new(0x8000_0000), 0x10_000)?;
/// let command = Command::RecCreate;
/// ledger.record(LedgerEvent::Delegated, memory);
/// ledger.record(LedgerEvent::Donated { command }, memory);
/// ledger.record(LedgerEvent::Reclaimed { command }, memory);
/// let balance = ledger.balance();
/// assert_eq!((balance.donated, balance.reclaimed), (16, 16));
/// // It was given back as delegated memory, to be used again.
/// assert_eq!(balance.outstanding(), 16);
/// # Ok::<(), rmi_abi::address::RangeError>(())
/// ```
#[derive(Debug, Default)]
pub struct CountingLedger {
    delegated: AtomicU64,
    returned: AtomicU64,
    donated: AtomicU64,
    reclaimed: AtomicU64,
    quarantined: AtomicU64,
    leaked: AtomicU64,
    untracked: AtomicU64,
    exposed: AtomicU64,
    dropped_operations: AtomicU64,
}

impl CountingLedger {
    /// An empty ledger.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            delegated: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            donated: AtomicU64::new(0),
            reclaimed: AtomicU64::new(0),
            quarantined: AtomicU64::new(0),
            leaked: AtomicU64::new(0),
            untracked: AtomicU64::new(0),
            exposed: AtomicU64::new(0),
            dropped_operations: AtomicU64::new(0),
        }
    }

    /// The current balance.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Balance {
            delegated: read(&self.delegated),
            returned: read(&self.returned),
            donated: read(&self.donated),
            reclaimed: read(&self.reclaimed),
            quarantined: read(&self.quarantined),
            leaked: read(&self.leaked),
            untracked: read(&self.untracked),
            exposed: read(&self.exposed),
            dropped_operations: read(&self.dropped_operations),
        }
    }
}

impl Ledger for CountingLedger {
    fn record(&self, event: LedgerEvent, memory: PaRange) {
        let granules = memory.bytes() / MIN_GRANULE;
        match event {
            LedgerEvent::Delegated => self.delegated.fetch_add(granules, Ordering::Relaxed),
            LedgerEvent::Returned => self.returned.fetch_add(granules, Ordering::Relaxed),
            LedgerEvent::Donated { .. } => self.donated.fetch_add(granules, Ordering::Relaxed),
            LedgerEvent::Reclaimed { .. } => self.reclaimed.fetch_add(granules, Ordering::Relaxed),
            LedgerEvent::Quarantined { .. } => {
                self.quarantined.fetch_add(granules, Ordering::Relaxed)
            }
            LedgerEvent::Retried => self.quarantined.fetch_sub(granules, Ordering::Relaxed),
            LedgerEvent::Leaked => self.leaked.fetch_add(granules, Ordering::Relaxed),
            LedgerEvent::Untracked => self.untracked.fetch_add(granules, Ordering::Relaxed),
            LedgerEvent::Exposed => self.exposed.fetch_add(granules, Ordering::Relaxed),
        };
    }

    fn operation_dropped(&self, _command: Command, _handle: u64) {
        self.dropped_operations.fetch_add(1, Ordering::Relaxed);
    }
}

/// The state of a [`CountingLedger`], in granules of 4 KiB.
///
/// It prints as the balance of a session that has ended: what is then neither returned nor in
/// quarantine is called leaked. While Realms exist, that is the memory that they consist of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Balance {
    /// Delegated since the start.
    pub delegated: u64,
    /// Returned to the host since the start.
    pub returned: u64,
    /// Donated to stateful operations since the start.
    pub donated: u64,
    /// Taken back from stateful operations since the start.
    pub reclaimed: u64,
    /// In quarantine now.
    pub quarantined: u64,
    /// Lost because the quarantine was full.
    pub leaked: u64,
    /// Host memory that did not fit into a full pool.
    pub untracked: u64,
    /// Host memory that could not be unmapped from a Realm, which may still access it.
    pub exposed: u64,
    /// Stateful operations dropped unfinished.
    pub dropped_operations: u64,
}

impl Balance {
    /// Granules that the RMM owns and that are not in quarantine: those in existing objects and
    /// pools, plus those that were lost.
    #[must_use]
    pub const fn outstanding(&self) -> u64 {
        self.delegated.saturating_sub(self.returned).saturating_sub(self.quarantined)
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delegated, returned, quarantined, .. } = self;
        write!(
            f,
            "delegated {delegated}, returned {returned}, quarantined {quarantined}, leaked {}",
            self.outstanding()
        )
    }
}
