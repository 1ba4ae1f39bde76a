//! Errors of memory.

use rmi_abi::esr::{AbortSeverity, Esr, FaultStatus};

/// Memory answered an access of the Realm, or a walk of its translation tables, with an error.
///
/// Nothing is missing, and no address is told: there is nothing to map. The RMM waits for nothing;
/// what the host does depends on the severity.
///
/// | [`MemoryError::severity`] | What the RMM did | What the host does |
/// |---|---|---|
/// | [`Recoverable`](AbortSeverity::Recoverable) | the Realm takes a synchronous external abort | enters the REC again: the Realm deals with it |
/// | [`Restartable`](AbortSeverity::Restartable) | nothing | enters the REC again, which executes the instruction again; after some times it stops the Realm |
/// | [`Uncontainable`](AbortSeverity::Uncontainable), unknown | TF-RMM does not return from it | stops the Realm, and trusts its memory no more |
/// | `None`: a parity or ECC error | nothing | as restartable |
///
/// Which memory it was a host learns from the platform (RAS), not from here. Memory that is in error
/// does not go back to an allocator.
///
/// Source: TF-RMM (July 2026), `handle_sync_external_abort`; DEN0137 2.0-bet3, "REC exit due to
/// Synchronous exception".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryError {
    pub(crate) esr: Esr,
    pub(crate) is_fetch: bool,
}

impl MemoryError {
    /// Which kind of error, and whether the access or a table met it.
    #[must_use]
    pub const fn status(&self) -> FaultStatus {
        self.esr.fault()
    }

    /// How bad it is (ESR.SET); `None` of a parity or ECC error, which has no severity.
    #[must_use]
    pub fn severity(&self) -> Option<AbortSeverity> {
        self.status().is_external().then(|| self.esr.severity())
    }

    /// Whether an instruction was fetched.
    #[must_use]
    pub const fn is_fetch(&self) -> bool {
        self.is_fetch
    }

    /// The syndrome.
    #[must_use]
    pub const fn esr(&self) -> Esr {
        self.esr
    }
}
