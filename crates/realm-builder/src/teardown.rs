//! The way down: unmap, take the tables apart, destroy, and account for every granule.

use rmi_abi::{Command, Ipa, IpaRange, Status};
use rmi_host::command::AuxTree;
use rmi_host::{
    Delegated, Error, Failed, InUse, Platform, QuarantineReason, Subject, Undelegated, Violation,
};
use sro::{Pool, RecObject, drive};

use rmi_abi::rtt::Level;

use crate::realm::{Realm, Terminated};
use crate::shadow::{At, Next, Shows, tag};
use crate::unmap::Harvest;

/// How far taking a Realm apart has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    More,
    /// Its memory and its tables are gone; [`Realm::destroy`] takes only the descriptor now.
    Empty,
}

impl<P: Platform> Realm<'_, '_, P, Terminated> {
    /// Takes the Realm apart for a while: unmaps, destroys tables, returns memory, until it has made about `calls` calls to the RMM. For hosts that may not stay long, as in a preemptible hypercall.
    ///
    /// Memory goes to `home`; tables go to the pool, still delegated. The work is where it was left, however it was left.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_UNPROT_UNMAP, RMI_RTT_AUX_PROT_UNMAP, RMI_RTT_AUX_DESTROY, RMI_RTT_DATA_UNMAP, RMI_RTT_DESTROY.
    ///
    /// # Errors
    ///
    /// Why the RMM refused a step; the next call begins with the same one.
    pub fn dismantle(
        &mut self,
        pool: &mut Pool<'_>,
        calls: u32,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<Progress, Error> {
        // Patience lasts from one time to the next: an RMM that makes no progress would otherwise be asked for ever, a few calls at a time.
        let mut idle = core::mem::take(&mut self.idle);
        for _ in 0..calls {
            if let Progress::Empty = self.step(pool, &mut idle, home)? {
                return Ok(Progress::Empty);
            }
        }
        self.idle = idle;
        Ok(Progress::More)
    }

    /// One step: a call to the RMM, and the book-keeping around it.
    fn step(
        &mut self,
        pool: &mut Pool<'_>,
        idle: &mut u32,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<Progress, Error> {
        let shared = self.shadow.get_mut().shared.pop();
        if let Some(piece) = shared {
            if let Some(rest) = self.unshare_some(piece, idle, home)? {
                self.record_shared(rest.memory);
            }
            return Ok(Progress::More);
        }
        let mut homeward = core::mem::take(&mut self.homeward);
        let first = if homeward.sending { None } else { self.shadow.get_mut().first() };
        let result = match first {
            Some(Next::Memory(at)) if self.shadow.get_mut().look(at).tag() >= tag::NAMED => {
                let mut from = at.base;
                let top = self.geometry.unprotected_base();
                homeward.sending =
                    self.harvest(&mut from, top, &mut homeward, home) == Harvest::Send;
                Ok(Progress::More)
            }
            Some(Next::Memory(at)) => self.unmap_first(pool, at, idle),
            Some(Next::Shown(tree, at)) => self.hide_first(tree, at, idle).map(|()| Progress::More),
            Some(Next::Table(tree, level, ipa)) => {
                self.destroy_table(pool, tree, level, ipa).map(|()| Progress::More)
            }
            None if homeward.is_empty() => Ok(Progress::Empty),
            None => {
                homeward.sending = true;
                homeward.send_some(self.rmm, home);
                Ok(Progress::More)
            }
        };
        self.homeward = homeward;
        result
    }

    fn unmap_first(
        &mut self,
        pool: &mut Pool<'_>,
        at: At,
        idle: &mut u32,
    ) -> Result<Progress, Error> {
        let top = self.geometry.unprotected_base();
        let reached = self.unmap_some(pool.pages().list, at, top)?;
        *idle = if reached > at.base { 0 } else { *idle + 1 };
        self.still_patient(*idle, reached)?;
        Ok(Progress::More)
    }

    /// Destroys a table that has nothing in it.
    fn destroy_table(
        &mut self,
        pool: &mut Pool<'_>,
        tree: Option<AuxTree>,
        level: Level,
        ipa: Ipa,
    ) -> Result<(), Error> {
        let (command, create, missing) = match tree {
            None => (Command::RttDestroy, Command::RttCreate, Status::ErrorRtt),
            Some(_) => (Command::RttAuxDestroy, Command::RttAuxCreate, Status::ErrorRttAux),
        };
        let (granule, sure) = {
            let shadow = self.shadow.get_mut();
            (shadow.table_granule(tree, level, ipa), shadow.table_is_sure(tree, level, ipa))
        };
        let unclear = |command| Some(QuarantineReason::Unclear { command });
        let destroyed = match tree {
            None => self.rmm.rtt_destroy(&self.rd, ipa, level),
            Some(tree) => self.rmm.rtt_aux_destroy(&self.rd, tree, ipa, level).map_err(Error::from),
        };
        let (doubt, result) = match destroyed {
            Ok(destroyed) if Some(destroyed.table) == granule.map(|range| range.base()) => {
                (None, Ok(()))
            }
            Ok(destroyed) => {
                let (violation, subject) = (Violation::ForeignMemory, Subject::Ipa(ipa));
                let value = destroyed.table.raw();
                (unclear(command), Err(Error::violation(command, violation, value, subject)))
            }
            // A table whose creation was unclear was not made, then.
            Err(Error::Refused(refusal))
                if !sure
                    && refusal.status() == missing
                    && refusal.result.level().is_some_and(|reached| reached < level) =>
            {
                (unclear(create), Ok(()))
            }
            Err(error) => {
                let shadow = self.shadow.get_mut();
                if !error.is_clean() {
                    shadow.doubt_table(tree, level, ipa);
                } else if let Some(tree) = tree
                    && error.status() == Some(missing)
                {
                    // It shows something after all, or it never was made: the next try finds out.
                    shadow.doubt_table(Some(tree), level, ipa);
                    let range = IpaRange::with_size(ipa, level.table_bytes());
                    shadow.doubt(tree, range.unwrap_or(IpaRange::empty(ipa)));
                }
                return Err(error);
            }
        };
        let granule =
            self.shadow.get_mut().prune(tree, level, ipa).unwrap_or_default().into_released();
        match doubt {
            None => pool.put_back(self.rmm, granule),
            Some(reason) => pool.recover(self.rmm, granule, reason),
        }
        result
    }

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
        loop {
            match self.dismantle(pool, u32::MAX, home) {
                Ok(Progress::More) => {}
                Ok(Progress::Empty) => return self.destroy_descriptor(pool),
                Err(error) => return Err(Failed::new(self, error)),
            }
        }
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
                for roots in self.aux_roots {
                    pool.put_back(rmm, roots.into_released());
                }
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
        self.abandon_shared();
        self.homeward.send(self.rmm, home);
        let mut run = Delegated::empty();
        while let Some(next) = self.shadow.get_mut().first() {
            let shadow = self.shadow.get_mut();
            match next {
                Next::Memory(at) => {
                    let memory = shadow.take(at).unwrap_or_default().into_released();
                    if let Err(apart) = run.append(memory) {
                        let whole = core::mem::replace(&mut run, apart);
                        self.rmm.recover(whole, alive(Command::RttDataUnmap), home);
                    }
                }
                // With the Realm given up, what it shows goes with its memory.
                Next::Shown(tree, at) => shadow.note(tree, at.range(), Shows::Nothing),
                Next::Table(tree, level, ipa) => {
                    let granule =
                        shadow.prune(tree, level, ipa).unwrap_or_default().into_released();
                    let command = tree.map_or(Command::RttDestroy, |_| Command::RttAuxDestroy);
                    pool.recover(self.rmm, granule, alive(command));
                }
            }
        }
        self.rmm.recover(run, alive(Command::RttDataUnmap), home);
        self.donated.recover(self.rmm, pool, Command::RealmCreate);
        let aux_roots = self.aux_roots.into_iter().map(InUse::into_released);
        for memory in
            [self.rd.into_released(), self.roots.into_released()].into_iter().chain(aux_roots)
        {
            pool.recover(self.rmm, memory, alive(Command::RealmDestroy));
        }
    }
}
