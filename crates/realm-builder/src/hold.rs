//! Having a part of a Realm's IPA space to oneself.

use lock_api::{Mutex, RawMutex};
use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::command::AuxTree;
use rmi_host::{InUse, Platform};

use crate::claims::Claim;
use crate::error::BuildError;
use crate::realm::Realm;
use crate::shadow::Shadow;

/// A claimed part of the IPA space, until it is dropped. Rooms that are reserved for tables go with it.
pub(crate) struct Held<'s, 'm, K: RawMutex> {
    shadow: &'s Mutex<K, Shadow<'m>>,
    claim: Claim,
    reserved: usize,
    reserved_shared: usize,
}

impl<K: RawMutex> Held<'_, '_, K> {
    /// Reserves rooms for tables that are about to be made.
    pub(crate) fn reserve(&mut self, rooms: usize) -> Result<(), BuildError> {
        self.shadow
            .lock()
            .reserve(rooms)
            .map_err(|missing| BuildError::Storage { records: "translation tables", missing })?;
        self.reserved += rooms;
        Ok(())
    }

    /// Reserves places for the records of shared memory.
    pub(crate) fn reserve_shared(&mut self, records: usize) -> Result<(), BuildError> {
        self.shadow.lock().reserve_shared(records)?;
        self.reserved_shared += records;
        Ok(())
    }

    /// Adds a table to the shadow, in a room that was reserved. Room and promise change hands together: in between, somebody else could be promised the same room.
    ///
    /// # Errors
    ///
    /// As [`Shadow::graft`].
    pub(crate) fn graft(
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
        shadow.graft(tree, level, ipa, granule, sure)
    }
}

impl<K: RawMutex> Drop for Held<'_, '_, K> {
    fn drop(&mut self) {
        let mut shadow = self.shadow.lock();
        shadow.claims.release(self.claim);
        shadow.unreserve(self.reserved);
        shadow.unreserve_shared(self.reserved_shared);
    }
}

impl<'m, P: Platform, S> Realm<'_, 'm, P, S> {
    /// Claims a range, and the whole entries at its ends, once `check` finds nothing against it. Waits a while for whoever is working there.
    pub(crate) fn hold(
        &self,
        range: IpaRange,
        check: impl Fn(&Shadow<'m>) -> Result<(), BuildError>,
    ) -> Result<Held<'_, 'm, P::Lock>, BuildError> {
        self.hold_in(core::iter::empty(), range, check)
    }

    /// As [`Realm::hold`], with the whole entries of auxiliary trees, too: for whoever makes tables there. What auxiliary trees show needs no claim of its own.
    pub(crate) fn hold_in(
        &self,
        trees: impl Iterator<Item = AuxTree> + Clone,
        range: IpaRange,
        check: impl Fn(&Shadow<'m>) -> Result<(), BuildError>,
    ) -> Result<Held<'_, 'm, P::Lock>, BuildError> {
        let budget = self.rmm.patience().contended;
        let (mut spent, mut attempt, mut wait) = (0, 0, None);
        loop {
            {
                let mut shadow = self.shadow.lock();
                let whole = shadow.whole_entries(range, trees.clone());
                if let Some(claim) = shadow.claims.claim(whole) {
                    let held =
                        Held { shadow: &self.shadow, claim, reserved: 0, reserved_shared: 0 };
                    // What an earlier claim did there is known by now.
                    let checked = check(&shadow);
                    drop(shadow);
                    return checked.map(|()| held);
                }
            }
            if spent >= budget || wait.get_or_insert_with(|| self.rmm.wait()).is_over() {
                return Err(BuildError::Contended { range });
            }
            // Less and less often, so that the lock is free for those who work there.
            let pause = (1u32 << attempt).min(budget - spent);
            for _ in 0..pause {
                self.rmm.platform().relax();
            }
            (spent, attempt) = (spent + pause, 8.min(attempt + 1));
        }
    }
}
