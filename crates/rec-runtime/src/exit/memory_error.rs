//! Memory errors.

use rmi_abi::esr::{AbortSeverity, Esr, FaultStatus};

/// Memory reported an error for an access of the Realm, or for a walk of its translation tables.
///
/// No mapping is missing, and no address is reported: there is nothing to map. The RMM waits for
/// nothing; what the host does depends on the severity.
///
/// | [`MemoryError::severity`] | What the RMM did | What the host does |
/// |---|---|---|
/// | [`Recoverable`](AbortSeverity::Recoverable) | the Realm takes a synchronous external abort | enters the REC again: the Realm handles it |
/// | [`Restartable`](AbortSeverity::Restartable) | nothing | enters the REC again, which executes the instruction again; after several attempts it stops the Realm |
/// | [`Uncontainable`](AbortSeverity::Uncontainable), unknown | TF-RMM does not return from it | stops the Realm, and no longer trusts its memory |
/// | `None`: a parity or ECC error | nothing | as restartable |
///
/// The platform (RAS), not this exit, reports which memory is affected. Such memory must not go
/// back to an allocator.
///
/// Source: TF-RMM (July 2026), `handle_sync_external_abort`; DEN0137 2.0-bet3, "REC exit due to
/// Synchronous exception".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryError {
    pub(crate) esr: Esr,
    pub(crate) is_fetch: bool,
}

impl MemoryError {
    /// The kind of error, and whether it concerns the access itself or a table.
    #[must_use]
    pub const fn status(&self) -> FaultStatus {
        self.esr.fault()
    }

    /// The severity (ESR.SET); `None` for a parity or ECC error, which has none.
    #[must_use]
    pub fn severity(&self) -> Option<AbortSeverity> {
        self.status().is_external().then(|| self.esr.severity())
    }

    /// Whether it was an instruction fetch.
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
