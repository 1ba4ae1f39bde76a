//! Taking memory back from a Realm.

use rmi_abi::IpaRange;
use rmi_host::{Platform, Undelegated};
use sro::Pool;

use crate::error::BuildError;
use crate::lifecycle::realm::{Alive, Realm};
use crate::memory::range_lock::RangeLock;
use crate::memory::stopped::Stopped;

/// Result of reclaiming memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "nothing was taken back where another thread was at work"]
pub enum Reclaimed {
    /// Nothing is mapped in the range any more.
    Whole,
    /// Nothing was reclaimed yet: another thread works on the Realm's memory in this range, for
    /// longer than the retry budget ([`RetryBudget`](rmi_host::RetryBudget)) allows to wait. No call was
    /// made. Enter the REC again, if this was done for one, and repeat the call later.
    Contended(IpaRange),
}

impl<P: Platform, S: Alive> Realm<'_, '_, P, S> {
    /// Takes memory back from the Realm: unmaps all of a range, in all trees, and passes its memory
    /// to `home`. Blocks that extend beyond the range are split first, with granules from the pool;
    /// what that needs at both ends is obtained before anything else changes. Where the RIPAS was
    /// RAM it is DESTROYED now: the Realm cannot continue there until it asks for a change.
    ///
    /// Where another thread works on a part of the range, this waits as long as the retry budget
    /// ([`RetryBudget`](rmi_host::RetryBudget)) allows and then returns [`Reclaimed::Contended`]: repeat
    /// it later.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_CREATE, RMI_RTT_DATA_UNMAP.
    ///
    /// # Errors
    ///
    /// [`Stopped`]: [`BuildError::Region`] before any call, [`BuildError::Storage`] and a lack of
    /// memory for tables before anything changes; otherwise the reason why it stopped. Below
    /// [`Stopped::reached`] nothing is mapped any more: that memory was passed to `home`, or is in
    /// quarantine if the RMM does not return it. At that address, memory is still mapped, or may
    /// be; of what is above, some may have been returned, too. The call can be repeated.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn reclaim(
        &self,
        pool: &mut Pool<'_>,
        range: IpaRange,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<Reclaimed, Stopped> {
        let stop = |error| Stopped { error, reached: range.base() };
        self.check_protected(range, range.bytes()).map_err(stop)?;
        self.check_aligned(range).map_err(stop)?;
        let mut held = match self.lock_range(range, |_| Ok(())) {
            Err(BuildError::Contended { range }) => return Ok(Reclaimed::Contended(range)),
            held => held.map_err(stop)?,
        };
        self.reclaim_held(&mut held, pool, range, home).map_err(|error| {
            let left = self.next_memory(range.base(), range.top());
            let reached = left.map_or(range.top(), |at| at.base.max(range.base()));
            Stopped { error, reached }
        })?;
        Ok(Reclaimed::Whole)
    }

    /// Reclaims what is mapped in a claimed range.
    pub(crate) fn reclaim_held(
        &self,
        held: &mut RangeLock<'_, '_, P::Lock>,
        pool: &mut Pool<'_>,
        range: IpaRange,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<(), BuildError> {
        self.settle_range(held, pool, range);
        self.split_ends(held, pool, range)?;
        self.hide_everywhere(range)?;
        Ok(self.unmap_range(pool.pages().list, range, home)?)
    }
}
