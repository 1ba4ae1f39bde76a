//! A quarantine that is a function of the embedder.

use core::fmt;

use super::{Quarantine, Quarantined};

/// Passes memory that cannot be returned to a function, for embedders that keep such memory in
/// structures of their own.
///
/// The function is called on any CPU, inside the call that failed, and must not call into the
/// session. It returns what it does not accept. An embedder that tries such memory again first
/// records [`LedgerEvent::Retried`](crate::LedgerEvent::Retried), so that the ledger does not count
/// it as in quarantine any more.
///
/// ```
/// use std::sync::Mutex;
/// use rmi_abi::{Command, Dialect};
/// use rmi_host::{CallbackQuarantine, Ledger, LedgerEvent, Platform, QuarantineReason};
/// use rmm_model::{Model, Options};
///
/// let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// let bin = Mutex::new(Vec::new());
/// let quarantine = CallbackQuarantine::new(|memory| {
///     bin.lock().unwrap().push(memory);
///     Ok(())
/// });
/// let platform = model.host().with_quarantine(&quarantine);
/// let mut memory = model.take_memory();
/// let rmm = rmm_model::open(platform, &mut memory)?;
///
/// let granule = memory.take_front(0x1000).unwrap();
/// let granule = rmm.delegate(granule)?;
/// rmm.quarantine(granule, QuarantineReason::Unclear { command: Command::RttDestroy });
/// let kept = bin.lock().unwrap().pop().unwrap();
/// assert_eq!(kept.reason.to_string(), "unclear outcome of RMI_RTT_DESTROY");
///
/// // Later, when the RMM may return it:
/// rmm.platform().ledger().record(LedgerEvent::Retried, kept.memory.range());
/// let memory = rmm.undelegate(kept.memory)?;
/// assert_eq!(memory.bytes(), 0x1000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct CallbackQuarantine<F> {
    put: F,
}

impl<F: Fn(Quarantined) -> Result<(), Quarantined>> CallbackQuarantine<F> {
    /// A quarantine whose method is `put`.
    pub const fn new(put: F) -> Self {
        Self { put }
    }
}

impl<F: Fn(Quarantined) -> Result<(), Quarantined>> Quarantine for CallbackQuarantine<F> {
    fn put(&self, quarantined: Quarantined) -> Result<(), Quarantined> {
        (self.put)(quarantined)
    }
}

impl<F> fmt::Debug for CallbackQuarantine<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackQuarantine").finish_non_exhaustive()
    }
}
