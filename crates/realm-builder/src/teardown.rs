//! The way down: unmap, take the tables apart, destroy, and account for every granule.

use rmi_abi::{Command, Ipa, IpaRange, Status};
use rmi_host::command::Unmapped;
use rmi_host::{
    Delegated, Error, Failed, InUse, Platform, QuarantineReason, Subject, Undelegated, Violation,
};
use sro::{Pool, RecObject, drive};

use crate::realm::{Realm, Terminated};
use crate::storage::{Certainty, Extent, Table};

/// Memory on its way home: neighbours are collected so that they are undelegated together.
struct Homeward<'h> {
    memory: Delegated,
    home: &'h mut dyn FnMut(Undelegated),
}

impl<P: Platform> Realm<'_, '_, P, Terminated> {
    /// Destroys the Realm. Its memory goes to `home`, its tables and descriptor to the pool (still delegated); what the RMM does not return goes to quarantine.
    ///
    /// All its RECs must have been destroyed; otherwise the RMM refuses in the end.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_UNMAP, RMI_RTT_DESTROY, RMI_REALM_DESTROY.
    ///
    /// # Errors
    ///
    /// The Realm comes back with what is left of it, and can be destroyed again: [`ErrorRealm`](rmi_abi::Status::ErrorRealm) while it has RECs.
    pub fn destroy(
        mut self,
        pool: &mut Pool<'_>,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<(), Failed<Self>> {
        let mut homeward = Homeward { memory: Delegated::empty(), home };
        let unmapped = self.unmap_all(&mut homeward);
        self.send(&mut homeward);
        if let Err(error) = unmapped {
            return Err(Failed::new(self, error));
        }
        if let Err(error) = self.destroy_tables(pool) {
            return Err(Failed::new(self, error));
        }
        self.destroy_descriptor(pool)
    }

    /// Destroys the Realm as far as the RMM lets it be destroyed, whatever happens: as [`Realm::destroy`], and what is left after a failure is taken back piece by piece or
    /// quarantined. Nothing of the Realm remains on the host's side.
    pub fn destroy_or_quarantine(
        self,
        pool: &mut Pool<'_>,
        home: &mut dyn FnMut(Undelegated),
    ) -> Option<Error> {
        // A second try helps where the first failed for a passing reason.
        match self.destroy(pool, home) {
            Ok(()) => None,
            Err(Failed { error, kept }) => match kept.destroy(pool, home) {
                Ok(()) => None,
                Err(Failed { kept, .. }) => {
                    kept.abandon(pool, home);
                    Some(error)
                }
            },
        }
    }

    /// Undelegates what has been collected.
    fn send(&self, homeward: &mut Homeward<'_>) {
        self.rmm.return_or_quarantine(homeward.memory.take(), homeward.home);
    }

    /// Adds memory that the RMM has released to what has been collected.
    fn collect(&self, homeward: &mut Homeward<'_>, memory: InUse) {
        if let Err(apart) = homeward.memory.merge(memory.into_released()) {
            self.send(homeward);
            homeward.memory = apart;
        }
    }

    fn unmap_all(&mut self, homeward: &mut Homeward<'_>) -> Result<(), Error> {
        while let Some(mut extent) = self.extents.pop() {
            let result = self.unmap(&mut extent, homeward);
            if !extent.memory.is_empty()
                // It was taken from the row a moment ago; there is a place.
                && let Err(homeless) = self.extents.insert(extent)
            {
                drop(homeless);
            }
            result?;
        }
        Ok(())
    }

    /// Unmaps one piece of memory; what is left of it after an error is still mapped.
    fn unmap(&self, extent: &mut Extent, homeward: &mut Homeward<'_>) -> Result<(), Error> {
        let command = Command::RttDataUnmap;
        while !extent.memory.is_empty() {
            let range = extent.range();
            let Unmapped { top, memory } =
                match self.rmm.rtt_data_unmap(&self.rd, range, self.rmm.granule_size()) {
                    Ok(unmapped) => unmapped,
                    // Memory whose mapping was unclear is not mapped, then: a missing table or a hole larger than the range is no place where it could be.
                    Err(Error::Refused(refusal))
                        if extent.certainty == Certainty::Unsure
                            && refusal.status() == Status::ErrorRtt =>
                    {
                        Unmapped { top: range.top(), memory: None }
                    }
                    Err(error) => return Err(error),
                };
            let bytes = top.checked_offset_from(range.base()).unwrap_or(0);
            let whole = extent.memory.range();
            let Some(mut part) = extent.memory.take_front(bytes) else {
                return Err(self.foreign(command, range.base(), top.raw()));
            };
            extent.ipa = top;
            // All of the part is unmapped now. What the RMM names must be of it; what it does not name was not mapped.
            if let Some(run) = memory {
                if !whole.contains_range(&run) || !part.range().contains_range(&run) {
                    self.doubt(part, homeward);
                    return Err(self.foreign(command, range.base(), run.base().raw()));
                }
                let before = run.base().checked_offset_from(part.base()).unwrap_or(0);
                let unnamed = part.take_front(before).unwrap_or_default();
                let named = part.take_front(run.bytes()).unwrap_or_default();
                self.doubt(unnamed, homeward);
                self.collect(homeward, named);
            }
            self.doubt(part, homeward);
        }
        Ok(())
    }

    /// Takes memory back of which the RMM did not say that it was mapped.
    fn doubt(&self, memory: InUse, homeward: &mut Homeward<'_>) {
        if !memory.is_empty() {
            let reason = QuarantineReason::Unclear { command: Command::RttDataUnmap };
            self.rmm.recover(memory.into_released(), reason, homeward.home);
        }
    }

    fn foreign(&self, command: Command, at: Ipa, value: u64) -> Error {
        Error::violation(command, Violation::ForeignMemory, value, Subject::Ipa(at))
    }

    /// Destroys all tables, the deepest first.
    fn destroy_tables(&mut self, pool: &mut Pool<'_>) -> Result<(), Error> {
        let command = Command::RttDestroy;
        while let Some(table) = self.tables.pop() {
            let Table { level, ipa, granule, certainty } = table;
            match self.rmm.rtt_destroy(&self.rd, ipa, level) {
                Ok(destroyed) if destroyed.table == granule.base() => {
                    pool.put_back(self.rmm, granule.into_released());
                }
                Ok(destroyed) => {
                    pool.recover(
                        self.rmm,
                        granule.into_released(),
                        QuarantineReason::Unclear { command },
                    );
                    return Err(self.foreign(command, ipa, destroyed.table.raw()));
                }
                // A table whose creation was unclear was not made, then.
                Err(Error::Refused(refusal))
                    if certainty == Certainty::Unsure
                        && refusal.status() == Status::ErrorRtt
                        && refusal.result.level().is_some_and(|reached| reached < level) =>
                {
                    let reason = QuarantineReason::Unclear { command: Command::RttCreate };
                    pool.recover(self.rmm, granule.into_released(), reason);
                }
                Err(error) => {
                    let certainty = if error.is_clean() { certainty } else { Certainty::Unsure };
                    // It was taken from the row a moment ago; there is a place.
                    if let Err(homeless) =
                        self.tables.insert(Table { level, ipa, granule, certainty })
                    {
                        drop(homeless);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn destroy_descriptor(mut self, pool: &mut Pool<'_>) -> Result<(), Failed<Self>> {
        let progress = match self.rmm.realm_destroy(&self.rd) {
            Ok(progress) => progress,
            Err(error) => return Err(Failed::new(self, error)),
        };
        let rmm = self.rmm;
        match drive(rmm, pool, &mut self.donated, progress) {
            Ok(_) => {
                // Donated must equal reclaimed. What the RMM kept of a Realm that is gone goes to quarantine, with that reason.
                self.donated.recover(rmm, pool, Command::RealmDestroy);
                pool.put_back(rmm, self.rd.into_released());
                pool.put_back(rmm, self.roots.into_released());
                Ok(())
            }
            Err(error) => Err(Failed::new(self, error)),
        }
    }
}

impl<P: Platform, S> Realm<'_, '_, P, S> {
    /// Ends the Realm from any state, whatever happens: terminates it, destroys the RECs given, and destroys it. What the RMM does not give back goes to quarantine.
    ///
    /// None of its RECs may be running. Each step that fails for a passing reason is tried twice; the first error that stays is returned, for the record.
    pub fn tear_down(
        self,
        recs: impl IntoIterator<Item = RecObject>,
        pool: &mut Pool<'_>,
        home: &mut dyn FnMut(Undelegated),
    ) -> Option<Error> {
        let rmm = self.rmm;
        let (mut realm, refused) = match self.terminate().or_else(|failed| failed.kept.terminate())
        {
            Ok(realm) => (realm, None),
            // Its tables and memory can be taken apart all the same; only the descriptor cannot.
            Err(Failed { error, kept }) => (kept.become_state(), Some(error)),
        };
        let mut first = refused;
        for rec in recs {
            let result = match realm.destroy_rec(pool, rec) {
                Err(Failed { kept: Some(rec), .. }) => realm.destroy_rec(pool, rec),
                result => result,
            };
            if let Err(Failed { error, kept }) = result {
                first.get_or_insert(error);
                if let Some(rec) = kept {
                    rec.force(rmm, pool);
                    realm.recs = realm.recs.saturating_sub(1);
                }
            }
        }
        let error = realm.destroy_or_quarantine(pool, home);
        first.or(error)
    }

    /// Gives the Realm up: takes back what the RMM returns of its memory, piece by piece, and quarantines the rest.
    pub fn abandon(mut self, pool: &mut Pool<'_>, home: &mut dyn FnMut(Undelegated)) {
        let alive = |command| QuarantineReason::ObjectAlive { command };
        while let Some(extent) = self.extents.pop() {
            self.rmm.recover(extent.memory.into_released(), alive(Command::RttDataUnmap), home);
        }
        while let Some(table) = self.tables.pop() {
            pool.recover(self.rmm, table.granule.into_released(), alive(Command::RttDestroy));
        }
        self.donated.recover(self.rmm, pool, Command::RealmCreate);
        for memory in [self.rd.into_released(), self.roots.into_released()] {
            pool.recover(self.rmm, memory, alive(Command::RealmDestroy));
        }
    }

    /// What lies at an IPA: the part of the Realm's memory that contains it.
    #[must_use]
    pub fn memory_at(&self, ipa: Ipa) -> Option<IpaRange> {
        let page = IpaRange::with_size(ipa.align_down(0x1000), 0x1000).ok()?;
        self.overlap(&page)
    }
}
