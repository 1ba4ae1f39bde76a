//! Range locks: claims on a part of a Realm's IPA space.

use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::command::AuxTree;
use rmi_host::{Attempts, InUse, Platform, SharedMemory};

use crate::error::BuildError;
use crate::memory::lent_shadow::LentShadow;
use crate::memory::realm_core::RealmCore;
use crate::shadow::Shadow;
use crate::shadow::claims::Claim;
use crate::shadow::shape::Shape;

/// A claimed part of the IPA space, until it is dropped. The shadow tables that are reserved for it
/// are released with it.
pub(crate) struct RangeLock<'s, S: Shape> {
    shadow: &'s LentShadow<'s, S>,
    claim: Claim,
    reserved: usize,
    reserved_shared: usize,
}

impl<S: Shape> RangeLock<'_, S> {
    /// Reserves shadow tables for tables that are about to be made.
    pub(crate) fn reserve(&mut self, tables: usize) -> Result<(), BuildError> {
        self.shadow.reserve(tables)?;
        self.reserved += tables;
        Ok(())
    }

    /// Reserves places for the records of shared memory.
    pub(crate) fn reserve_shared(&mut self, records: usize) -> Result<(), BuildError> {
        self.shadow.reserve_shared(records)?;
        self.reserved_shared += records;
        Ok(())
    }

    /// Records shared memory: in a place that was reserved, or as a part of the adjacent piece. The
    /// place is used and its reservation ends in one hold of the lock.
    ///
    /// # Errors
    ///
    /// The memory is returned when there is no place.
    pub(crate) fn add_shared(&mut self, memory: SharedMemory) -> Result<(), SharedMemory> {
        if memory.is_empty() {
            return Ok(());
        }
        let mut shadow = self.shadow.lock();
        let took_place = shadow.add_shared(memory, self.claim)?;
        let used = usize::from(took_place).min(self.reserved_shared);
        self.reserved_shared -= used;
        shadow.unreserve_shared(used);
        Ok(())
    }

    /// Records memory of which it is unclear whether it is shared, separately from adjacent pieces
    /// if there is a place for that. Returns whether there is.
    ///
    /// # Errors
    ///
    /// The memory is returned when it cannot be recorded at all.
    pub(crate) fn add_unclear(&mut self, memory: SharedMemory) -> Result<bool, SharedMemory> {
        if memory.is_empty() {
            return Ok(false);
        }
        let _ = self.reserved_shared > 0 || self.reserve_shared(1).is_ok();
        if self.reserved_shared == 0 {
            return self.add_shared(memory).map(|()| false);
        }
        let mut shadow = self.shadow.lock();
        shadow.add_apart(memory)?;
        self.reserved_shared -= 1;
        shadow.unreserve_shared(1);
        Ok(true)
    }

    /// Splits the record of a piece that contains an address in its middle, if there is one: the
    /// second record gets a place that was reserved.
    pub(crate) fn cut_shared(&mut self, ipa: Ipa) {
        let mut shadow = self.shadow.lock();
        let used = usize::from(shadow.cut_shared(ipa)).min(self.reserved_shared);
        self.reserved_shared -= used;
        shadow.unreserve_shared(used);
    }

    /// Merges the records of two pieces that meet at an address, if they are contiguous.
    pub(crate) fn join_shared(&self, ipa: Ipa) {
        self.shadow.lock().join_shared(ipa, self.claim);
    }

    /// Whether another thread has claimed a part of a range.
    pub(crate) fn others_are_in(&self, shadow: &Shadow<'_, S>, range: &IpaRange) -> bool {
        shadow.is_others(range, self.claim)
    }

    /// Counts a place that has just become free as reserved.
    pub(crate) const fn keep_shared(&mut self) {
        self.reserved_shared += 1;
    }

    /// Adds a table to the shadow, in a shadow table that was reserved. It is used and its
    /// reservation ends in one hold of the lock; otherwise another thread could reserve the same
    /// shadow table in between.
    ///
    /// # Errors
    ///
    /// As [`Shadow::add_table`].
    pub(crate) fn add_table(
        &mut self,
        tree: Option<AuxTree>,
        (level, ipa): (Level, Ipa),
        granule: InUse,
        sure: bool,
    ) -> Result<(), InUse> {
        let mut shadow = self.shadow.lock();
        let promised = self.reserved.min(1);
        self.reserved -= promised;
        shadow.unreserve(promised);
        shadow.add_table(tree, level, ipa, granule, sure)
    }
}

impl<S: Shape> Drop for RangeLock<'_, S> {
    fn drop(&mut self) {
        let mut shadow = self.shadow.lock();
        shadow.release(self.claim);
        shadow.unreserve(self.reserved);
        shadow.unreserve_shared(self.reserved_shared);
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// Claims a range, and the whole entries at its ends. Waits for a thread that is working there,
    /// within the retry budget.
    pub(crate) fn lock_range(&self, range: IpaRange) -> Result<RangeLock<'_, P>, BuildError> {
        self.lock_range_in(core::iter::empty(), range)
    }

    /// As [`RealmCore::lock_range`], with the whole entries of auxiliary trees, too: for operations
    /// that make tables there. What auxiliary trees show needs no separate claim.
    pub(crate) fn lock_range_in(
        &self,
        trees: impl Iterator<Item = AuxTree> + Clone,
        range: IpaRange,
    ) -> Result<RangeLock<'_, P>, BuildError> {
        self.hold_by(range, &|shadow| {
            let whole = shadow.whole_entries(range, &mut trees.clone());
            shadow.claim(whole)
        })
    }

    /// Claims a range for reading what is shared there, together with other readers: what is shared
    /// stays shared.
    pub(crate) fn hold_to_read(&self, range: IpaRange) -> Result<RangeLock<'_, P>, BuildError> {
        self.hold_by(range, &|shadow| shadow.claim_to_read(range))
    }

    /// Claims a range exclusively, for changing the bytes of what is shared there.
    pub(crate) fn hold_to_write(&self, range: IpaRange) -> Result<RangeLock<'_, P>, BuildError> {
        self.hold_by(range, &|shadow| shadow.claim(range))
    }

    /// Claims a range with a claim of either kind.
    fn hold_by(
        &self,
        range: IpaRange,
        claim: &dyn Fn(&mut Shadow<'_, P>) -> Option<Claim>,
    ) -> Result<RangeLock<'_, P>, BuildError> {
        let budget = self.rmm.retry_budget().contended;
        let (mut spent, mut attempt, mut wait) = (0, 0, Attempts::default());
        loop {
            let claimed = claim(&mut self.shadow.lock());
            if let Some(claim) = claimed {
                let (reserved, reserved_shared) = (0, 0);
                return Ok(RangeLock { shadow: &self.shadow, claim, reserved, reserved_shared });
            }
            if spent >= budget || self.rmm.is_over(&mut wait) {
                return Err(BuildError::Contended { range });
            }
            // At growing intervals, so that the lock is free for the threads that work there.
            let pause = (1u32 << attempt).min(budget - spent);
            for _ in 0..pause {
                self.rmm.platform().relax();
            }
            (spent, attempt) = (spent + pause, 8.min(attempt + 1));
        }
    }
}

#[cfg(test)]
mod tests;
