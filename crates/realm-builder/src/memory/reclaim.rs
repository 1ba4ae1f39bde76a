//! Taking memory back from a Realm.

use rmi_abi::IpaRange;
use rmi_host::Platform;
use sro::{HostMemory, free_or_quarantine};

use crate::error::BuildError;
use crate::memory::map::Free;
use crate::memory::range_lock::RangeLock;
use crate::memory::realm_core::RealmCore;
use crate::memory::stopped::Stopped;

/// Result of reclaiming memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "nothing was taken back where another thread was at work"]
pub enum Reclaimed {
    /// Nothing is mapped in the range any more.
    Whole,
    /// Nothing was reclaimed yet: another thread works on the Realm's memory in this range, for
    /// longer than the retry budget ([`RetryBudget`](rmi_host::RetryBudget)) allows to wait. No
    /// call was made. Enter the REC again, if this was done for one, and repeat the call later.
    Contended(IpaRange),
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::reclaim`](crate::Realm::reclaim).
    pub(crate) fn reclaim(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
    ) -> Result<Reclaimed, Stopped> {
        let stop = |error| Stopped { error, reached: range.base() };
        self.check_protected(range, range.bytes()).map_err(stop)?;
        let mut held = match self.lock_range(range) {
            Err(BuildError::Contended { range }) => return Ok(Reclaimed::Contended(range)),
            held => held.map_err(stop)?,
        };
        let free: Free<'_> = &mut |memory, host| free_or_quarantine(self.rmm, memory, host);
        self.reclaim_held(&mut held, memory, range, free).map_err(|error| {
            let left = self.next_memory(range.base(), range.top());
            let reached = left.map_or(range.top(), |at| at.base.max(range.base()));
            Stopped { error, reached }
        })?;
        Ok(Reclaimed::Whole)
    }

    /// Reclaims what is mapped in a claimed range.
    pub(crate) fn reclaim_held(
        &self,
        held: &mut RangeLock<'_, P>,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        free: Free<'_>,
    ) -> Result<(), BuildError> {
        self.settle_range(held, memory.pool(), range);
        self.split_ends(held, memory.pool(), range)?;
        self.split_blocks(held, memory.pool(), range)?;
        self.hide_everywhere(range)?;
        Ok(self.unmap_range(memory, range, free)?)
    }
}
