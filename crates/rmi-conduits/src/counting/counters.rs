//! The counters of one command.

use core::sync::atomic::{AtomicU64, Ordering};

use rmi_abi::{ResultWord, Status};
use rmi_host::conduit::Registers;

/// Counts of the calls of one command, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// All calls.
    pub issued: u64,
    /// Calls that were refused or not answered.
    pub failed: u64,
    /// Calls answered `RMI_BUSY`, which are repeated.
    pub busy: u64,
    /// Calls answered `RMI_BLOCKED`, which are repeated.
    pub blocked: u64,
    /// Calls answered `RMI_INCOMPLETE`.
    pub incomplete: u64,
    /// Calls that continue a stateful operation: those of `RMI_OP_CONTINUE`.
    pub continued: u64,
    /// Granules delegated, as far as the answers show.
    pub delegated: u64,
    /// Granules undelegated, as far as the answers show.
    pub undelegated: u64,
    /// Granules donated to stateful operations.
    pub donated: u64,
    /// Runs of granules reclaimed from stateful operations. Their lengths are in a list in memory,
    /// which a conduit does not read; a [`Ledger`](rmi_host::Ledger) knows them.
    pub reclaimed_runs: u64,
}

impl Counts {
    /// Calls answered `RMI_BUSY` or `RMI_BLOCKED`.
    #[must_use]
    pub const fn retried(&self) -> u64 {
        self.busy.saturating_add(self.blocked)
    }

    /// The sum of both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            issued: self.issued.saturating_add(other.issued),
            failed: self.failed.saturating_add(other.failed),
            busy: self.busy.saturating_add(other.busy),
            blocked: self.blocked.saturating_add(other.blocked),
            incomplete: self.incomplete.saturating_add(other.incomplete),
            continued: self.continued.saturating_add(other.continued),
            delegated: self.delegated.saturating_add(other.delegated),
            undelegated: self.undelegated.saturating_add(other.undelegated),
            donated: self.donated.saturating_add(other.donated),
            reclaimed_runs: self.reclaimed_runs.saturating_add(other.reclaimed_runs),
        }
    }
}

/// The counters behind [`Counts`].
#[derive(Debug)]
pub(super) struct Counters {
    issued: AtomicU64,
    failed: AtomicU64,
    busy: AtomicU64,
    blocked: AtomicU64,
    incomplete: AtomicU64,
    continued: AtomicU64,
    delegated: AtomicU64,
    undelegated: AtomicU64,
    donated: AtomicU64,
    reclaimed_runs: AtomicU64,
}

impl Counters {
    pub(super) const fn new() -> Self {
        Self {
            issued: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            incomplete: AtomicU64::new(0),
            continued: AtomicU64::new(0),
            delegated: AtomicU64::new(0),
            undelegated: AtomicU64::new(0),
            donated: AtomicU64::new(0),
            reclaimed_runs: AtomicU64::new(0),
        }
    }

    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            issued: read(&self.issued),
            failed: read(&self.failed),
            busy: read(&self.busy),
            blocked: read(&self.blocked),
            incomplete: read(&self.incomplete),
            continued: read(&self.continued),
            delegated: read(&self.delegated),
            undelegated: read(&self.undelegated),
            donated: read(&self.donated),
            reclaimed_runs: read(&self.reclaimed_runs),
        }
    }

    /// Counts a call by its result.
    pub(super) fn count(&self, result: &Registers) {
        self.issued.fetch_add(1, Ordering::Relaxed);
        let [x0, ..] = *result;
        let outcome = match ResultWord(x0).status() {
            Status::Success => return,
            Status::Busy => &self.busy,
            Status::Blocked => &self.blocked,
            Status::Incomplete => &self.incomplete,
            _ => &self.failed,
        };
        outcome.fetch_add(1, Ordering::Relaxed);
    }

    /// Also counts what a call moved.
    pub(super) fn add(&self, moved: &Counts) {
        for (counter, amount) in [
            (&self.continued, moved.continued),
            (&self.delegated, moved.delegated),
            (&self.undelegated, moved.undelegated),
            (&self.donated, moved.donated),
            (&self.reclaimed_runs, moved.reclaimed_runs),
        ] {
            if amount != 0 {
                counter.fetch_add(amount, Ordering::Relaxed);
            }
        }
    }
}
