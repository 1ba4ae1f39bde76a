//! Teardown: unmap, destroy the tables, destroy the Realm, and account for every granule.

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Ipa, IpaRange, Pa, Status};
use rmi_host::command::AuxTree;
use rmi_host::{
    Attempts, Delegated, Error, Failed, InUse, Platform, QuarantineReason, Rd, Subject,
};
use sro::{HostMemory, Pool, RecObject, drive, free_or_quarantine};

use crate::error::BuildError;
use crate::lifecycle::realm::{Realm, Terminated};
use crate::memory::map::Free;
use crate::memory::realm_core::RealmCore;
use crate::memory::unmap::Collected;
use crate::plan::Run;
use crate::shadow::storage::{Records, SharedPiece};
use crate::shadow::{At, Next, Row, Shows, tag};

/// Progress of dismantling a Realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DismantleProgress {
    /// There is more to do.
    More,
    /// Its memory is unmapped and its tables are destroyed; [`Realm::destroy`] has only the
    /// descriptor left to destroy.
    Empty,
}

/// Result of a teardown, which always ends.
#[derive(Debug)]
#[must_use = "the error says whether the RMM returned everything"]
#[non_exhaustive]
pub struct TornDown<'a> {
    /// The storage of the Realm's records, for another Realm.
    pub storage: Records<'a>,
    /// The first error that remained. What the RMM did not return is in quarantine then.
    pub error: Option<Error>,
}

/// # Teardown
impl<'a, P: Platform, S> Realm<'a, P, S> {
    /// Tears down the Realm from any state: terminates it, destroys the RECs given, and destroys
    /// it. What the RMM does not give back goes to quarantine.
    ///
    /// None of its RECs may be running. Each step that fails for a temporary reason is tried twice;
    /// the first error that remains is returned. A REC of another Realm is
    /// destroyed, too, because it was passed by value, and that is an error. One of another machine
    /// cannot be destroyed from here: its memory is in quarantine for a session there.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn tear_down(
        mut self,
        memory: &mut dyn HostMemory,
        recs: impl IntoIterator<Item = RecObject>,
    ) -> TornDown<'a> {
        let error = self.core.tear_down(memory, &mut recs.into_iter());
        TornDown { storage: self.core.into_records(), error }
    }

    /// Gives the Realm up: takes back what the RMM returns of its memory, piece by piece, and
    /// quarantines the rest. Memory that is shared with it stays accessible to the Realm and is not
    /// returned; the ledger records it
    /// ([`LedgerEvent::Exposed`](rmi_host::LedgerEvent::Exposed)).
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn abandon(mut self, memory: &mut dyn HostMemory) -> Records<'a> {
        self.core.abandon_all(memory);
        self.core.into_records()
    }
}

impl<'a, P: Platform> Realm<'a, P, Terminated> {
    /// Dismantles a part of the Realm: unmaps, destroys tables, returns memory, until it has made
    /// about `calls` calls to the RMM. For hosts with limited time in one call, as in a preemptible
    /// hypercall.
    ///
    /// Where the dialect unmaps private memory by pages only (1.0), a block is split first, which
    /// takes a granule for the time being: from the pool (folding has put one there), or if that
    /// has none from [`HostMemory::allocate`], for the first page of the block; it goes to the pool
    /// afterwards. Without one it fails with [`Error::NeedMemory`], and continues when the pool has
    /// one. What is shared is unmapped by destroying its table there, where nothing else is shared
    /// in the same table.
    ///
    /// Memory is freed; tables go to the pool, still delegated. The next call continues
    /// where this one stopped, for whatever reason it stopped.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_AUX_UNPROT_UNMAP, RMI_RTT_UNPROT_UNMAP,
    /// RMI_RTT_AUX_PROT_UNMAP, RMI_RTT_AUX_DESTROY, RMI_RTT_DATA_UNMAP, RMI_RTT_DESTROY.
    ///
    /// # Errors
    ///
    /// The reason why the RMM refused a step; the next call begins with the same step.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn dismantle(
        &mut self,
        memory: &mut dyn HostMemory,
        calls: u32,
    ) -> Result<DismantleProgress, Error> {
        self.core.dismantle(memory, calls)
    }

    /// Destroys the Realm. Its memory is freed, its tables and descriptor go to the pool
    /// (still delegated); what the RMM does not return goes to quarantine.
    ///
    /// All its RECs must have been destroyed; otherwise the RMM refuses the last step.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_UNMAP, RMI_RTT_DESTROY, RMI_REALM_DESTROY.
    ///
    /// # Errors
    ///
    /// The Realm is returned with what is left of it, and the call can be repeated:
    /// [`ErrorRealm`](rmi_abi::Status::ErrorRealm) while it has RECs.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn destroy(mut self, memory: &mut dyn HostMemory) -> Result<Records<'a>, Failed<Self>> {
        match self.core.destroy(memory) {
            Ok(()) => Ok(self.core.into_records()),
            Err(error) => Err(Failed::new(self, error)),
        }
    }

    /// Destroys the Realm as far as the RMM allows: as [`Realm::destroy`], except that what fails
    /// twice is given up: it is returned to the host if the RMM undelegates it, and quarantined if
    /// not; then the rest is destroyed. No record of the Realm remains in the host.
    ///
    /// Shared memory that cannot be unmapped is not returned: the Realm may still access it. The
    /// ledger records it ([`LedgerEvent::Exposed`](rmi_host::LedgerEvent::Exposed)).
    ///
    /// After 64 items that were given up, or when the RMM no longer has the commands, all the rest
    /// is given up. So are blocks for which there is no granule, see [`Realm::dismantle`]: of a
    /// Realm that folding made blocks in, keep one granule in the pool, two if there are blocks of
    /// level 1.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn destroy_or_quarantine(mut self, memory: &mut dyn HostMemory) -> TornDown<'a> {
        let error = self.core.dismantle_all(memory);
        TornDown { storage: self.core.into_records(), error }
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::dismantle`](crate::Realm::dismantle).
    pub(crate) fn dismantle(
        &mut self,
        memory: &mut dyn HostMemory,
        calls: u32,
    ) -> Result<DismantleProgress, Error> {
        // The retry budget is kept from one call to the next: an RMM that makes no progress would
        // otherwise be called forever, a few calls at a time.
        let mut idle = core::mem::take(&mut self.idle);
        idle.restart_time();
        for _ in 0..calls {
            if let DismantleProgress::Empty = self.step(memory, &mut idle)? {
                return Ok(DismantleProgress::Empty);
            }
        }
        self.idle = idle;
        Ok(DismantleProgress::More)
    }

    /// One step: a call to the RMM, and the bookkeeping around it.
    fn step(
        &mut self,
        memory: &mut dyn HostMemory,
        idle: &mut Attempts,
    ) -> Result<DismantleProgress, Error> {
        if let Some((tree, row)) = self.reference() {
            self.hide_reference(tree, row, idle)?;
            return Ok(DismantleProgress::More);
        }
        let shared = self.shadow.get_mut().shared.iter().next_back().map(SharedPiece::range);
        if let Some(range) = shared {
            let rmm = self.rmm;
            let free: Free<'_> = &mut |memory, host| free_or_quarantine(rmm, memory, host);
            match self.table_of_shared(&range) {
                Some(table) => self.unshare_with_table(&range, table, memory, free)?,
                None => self.unshare_some(&range, false, idle, memory, free).map(|_| ())?,
            }
            return Ok(DismantleProgress::More);
        }
        let mut returned = core::mem::take(&mut self.returned);
        let first = if returned.sending { None } else { self.shadow.get_mut().first() };
        let result = match first {
            Some(Next::Memory(at)) if self.shadow.get_mut().look(at).tag() >= tag::NAMED => {
                let mut from = at.base;
                let top = self.geometry().unprotected_base();
                returned.sending =
                    self.collect_unmapped(&mut from, top, &mut returned) == Collected::Send;
                Ok(DismantleProgress::More)
            }
            Some(Next::Memory(at)) => match self.unmap_first(memory.pool(), at, idle) {
                // A granule for a table, to split a block.
                Err(Error::NeedMemory { .. }) if self.add_granule(memory, at) => {
                    Ok(DismantleProgress::More)
                }
                result => result.map(|()| DismantleProgress::More),
            },
            Some(Next::Shown(tree, at)) => {
                self.hide_first(tree, at, idle).map(|()| DismantleProgress::More)
            }
            Some(Next::Table(tree, level, ipa)) => self
                .destroy_table(memory.pool(), tree, level, ipa)
                .map(|()| DismantleProgress::More),
            None if returned.is_empty() => Ok(DismantleProgress::Empty),
            None => {
                returned.sending = true;
                let rmm = self.rmm;
                returned.send_some(rmm, &mut |host| free_or_quarantine(rmm, memory, host));
                Ok(DismantleProgress::More)
            }
        };
        self.returned = returned;
        result
    }

    /// Hides what an auxiliary tree refers to in the unprotected half: that must be done before
    /// unmapping what is shared there.
    fn reference(&mut self) -> Option<(AuxTree, Row)> {
        if !P::AUX_TREES {
            return None;
        }
        let (base, top) = (self.geometry().unprotected_base(), self.geometry().end());
        self.shadow.get_mut().reference(IpaRange::new(base, top).ok()?)
    }

    /// Unmaps from an entry on, or makes that possible: settles the table if it is unclear whether
    /// it exists, and splits a block where only pages are unmapped.
    fn unmap_first(&mut self, pool: &mut Pool, at: At, idle: &mut Attempts) -> Result<(), Error> {
        if !self.shadow.get_mut().table_is_sure(None, at.level, at.base) {
            let place = (at.level, self.geometry().table_base(at.base, at.level));
            if let Ok(held) = self.lock_range(at.range()) {
                self.settle(&held, pool, place);
            }
            let found = self.shadow.get_mut().walk(at.base, Level::L3);
            if found.map(|found| found.level) != Some(at.level) {
                return Ok(());
            }
        }
        // No block is larger than an entry of level 1.
        let level = self.rmm.call_limits().data_level;
        if level > Level::L1 && at.level < level {
            return self.split_first(pool, at);
        }
        let top = self.geometry().unprotected_base();
        let reached = match self.unmap_some(pool.pages_for(self.rmm).list, at, top) {
            // A block was split, and its memory is tracked as a whole.
            Err(error)
                if error.status() == Some(Status::ErrorTracking)
                    && self.fold_around(pool, at, IpaRange::new_or_empty(Ipa::new(0), top)) =>
            {
                return Ok(());
            }
            reached => reached?,
        };
        if reached > at.base {
            *idle = Attempts::default();
            return Ok(());
        }
        self.try_again(Command::RttDataUnmap, idle, reached)
    }

    /// Adds a granule to the pool that the pool did not have, as for the page at an entry.
    #[cold]
    #[inline(never)]
    fn add_granule(&self, memory: &mut dyn HostMemory, at: At) -> bool {
        let has = |memory: &mut dyn HostMemory| {
            let (host, delegated) = memory.pool().bytes();
            host + delegated
        };
        let before = has(memory);
        let page = IpaRange::with_size_or_empty(at.base, self.granule_bytes());
        let Some(given) = memory.allocate(page) else { return false };
        if let Err(refused) = memory.pool().add(given) {
            free_or_quarantine(self.rmm, memory, refused);
        }
        has(memory) > before
    }

    /// Splits a block.
    fn split_first(&mut self, pool: &mut Pool, at: At) -> Result<(), Error> {
        let below = at.level.child().unwrap_or(Level::L3);
        let entry = Run { ipa: at.base, pa: Pa::new(0), level: below, bytes: self.granule_bytes() };
        let made = match self.lock_range(at.range()) {
            Ok(mut held) => self.make(&mut held, pool, core::iter::once(entry)),
            Err(error) => Err(error),
        };
        made.map_err(|error| match error {
            BuildError::Call(error) => error,
            _ => {
                let what = "there is no record for the table of a block that is to be split";
                Error::argument(Command::RttCreate, what, Subject::Ipa(at.base))
            }
        })
    }

    /// Destroys an empty table.
    fn destroy_table(
        &mut self,
        pool: &mut Pool,
        tree: Option<AuxTree>,
        level: Level,
        ipa: Ipa,
    ) -> Result<(), Error> {
        let tree = tree.filter(|_| P::AUX_TREES);
        let (command, create, missing) = match tree {
            None => (Command::RttDestroy, Command::RttCreate, Status::ErrorRtt),
            Some(_) => (Command::RttAuxDestroy, Command::RttAuxCreate, Status::ErrorRttAux),
        };
        let (granule, sure) = {
            let shadow = self.shadow.get_mut();
            (shadow.table_granule(tree, level, ipa), shadow.table_is_sure(tree, level, ipa))
        };
        let destroyed = match tree {
            None => self.rmm.commands().rtt_destroy(&self.rd, ipa, level),
            Some(tree) => {
                self.rmm.commands().rtt_aux_destroy(&self.rd, tree, ipa, level).map_err(Error::from)
            }
        };
        let reported = match destroyed {
            Ok(destroyed) => Some(destroyed.table),
            // So a table whose creation was unclear was not made.
            Err(Error::Refused(refusal))
                if !sure
                    && refusal.status() == missing
                    && refusal.result().level().is_some_and(|reached| reached < level) =>
            {
                None
            }
            Err(error) => {
                let bytes = self.geometry().table_bytes(level);
                let shadow = self.shadow.get_mut();
                if !error.is_clean() {
                    shadow.doubt_table(tree, level, ipa);
                } else if let Some(tree) = tree
                    && error.status() == Some(missing)
                {
                    // It does show something, or it was never made: the next attempt shows which.
                    shadow.doubt_table(Some(tree), level, ipa);
                    let range = IpaRange::with_size_or_empty(ipa, bytes);
                    shadow.doubt(tree, range);
                }
                return Err(error);
            }
        };
        let known = granule.map(|range| range.base());
        let granule = self
            .shadow
            .get_mut()
            .remove_table(tree, level, ipa)
            .unwrap_or_default()
            .into_released();
        match reported {
            Some(table) => self.return_table(pool, granule, (known, table), (command, ipa)),
            None => {
                pool.recover(self.rmm, granule, QuarantineReason::Unclear { command: create });
                Ok(())
            }
        }
    }

    /// See [`Realm::destroy`].
    fn destroy(&mut self, memory: &mut dyn HostMemory) -> Result<(), Error> {
        while self.dismantle(memory, u32::MAX)? == DismantleProgress::More {}
        self.destroy_descriptor(memory.pool())
    }

    /// See [`Realm::destroy_or_quarantine`]; nothing is left in the Realm.
    #[inline(never)]
    pub(crate) fn dismantle_all(&mut self, memory: &mut dyn HostMemory) -> Option<Error> {
        const ENOUGH: u32 = 64;
        /// Wherever they are.
        const FAILURES: u32 = 4096;
        let mut first = None;
        let (mut stuck, mut given_up, mut failures) = (None, 0, 0);
        loop {
            let error = match self.dismantle(memory, u32::MAX) {
                Ok(DismantleProgress::More) => continue,
                Ok(DismantleProgress::Empty) => break,
                Err(error) => error,
            };
            failures += 1;
            let is_gone = error.is_not_supported()
                || matches!(error, Error::NotSent { .. })
                || failures > FAILURES;
            let here = self.next_place();
            // A second try helps where the first failed for a temporary reason.
            let again = stuck == here;
            stuck = if again { None } else { here };
            if again || is_gone {
                first.get_or_insert(error);
                given_up += 1;
                if is_gone || given_up > ENOUGH {
                    self.abandon_all(memory);
                    return first;
                }
                self.give_up_next(memory);
            }
        }
        let Err(error) = self.destroy_descriptor(memory.pool()) else { return first };
        if self.destroy_descriptor(memory.pool()).is_ok() {
            return first;
        }
        self.abandon_all(memory);
        first.or(Some(error))
    }

    /// The place of the next step, and its kind.
    fn next_place(&mut self) -> Option<(u8, Ipa)> {
        if let Some((tree, row)) = self.reference() {
            return Some((2 + tree.index(), row.range.base()));
        }
        let shadow = self.shadow.get_mut();
        if let Some(piece) = shadow.shared.iter().next_back() {
            return Some((0, piece.range().base()));
        }
        Some(match shadow.first()? {
            Next::Memory(at) => (1, at.base),
            Next::Shown(tree, at) => (2 + tree.index(), at.base),
            Next::Table(tree, level, ipa) => {
                let tree = tree.filter(|_| P::AUX_TREES).map_or(0, AuxTree::index);
                (8 + 8 * tree + level.number().unsigned_abs(), ipa)
            }
        })
    }

    /// Takes what cannot be dismantled out of the records, and back from the RMM if the RMM returns
    /// it.
    fn give_up_next(&mut self, memory: &mut dyn HostMemory) {
        if let Some((tree, row)) = self.reference() {
            // Nor must the tables be destroyed that it refers to: TF-RMM (July 2026) refuses that
            // and leaves one of them locked, and hangs at the next attempt.
            let rmm = self.rmm;
            let shadow = self.shadow.get_mut();
            shadow.note(tree, row.range, Shows::Nothing);
            shadow.lose_tables(row.range, &mut |table| {
                rmm.quarantine(table.into_released(), not_destroyed(Command::RttDestroy));
            });
            return;
        }
        if let Some(piece) = self.shadow.get_mut().shared.pop() {
            self.abandon_piece(&piece);
            return;
        }
        if let Some(next) = self.shadow.get_mut().first() {
            let (rmm, taken) = (self.rmm, self.take_out(memory.pool(), next));
            let free = &mut |host| free_or_quarantine(rmm, memory, host);
            rmm.recover(taken, not_destroyed(Command::RttDataUnmap), free);
        }
    }

    /// Destroys the descriptor, and takes the granules of the Realm out of it.
    #[inline(never)]
    fn destroy_descriptor(&mut self, pool: &mut Pool) -> Result<(), Error> {
        let rmm = self.rmm;
        let progress = rmm.commands().realm_destroy(&self.rd)?;
        if let Some(donated) = self.shadow.get_mut().donated() {
            drive(rmm, pool, donated, progress)?;
        }
        // Donated must equal reclaimed. What the RMM kept of a destroyed Realm goes to quarantine,
        // with that reason.
        self.recover_donated(pool, Command::RealmDestroy);
        pool.put_back(rmm, self.take_descriptor());
        for roots in self.all_roots() {
            pool.put_back(rmm, core::mem::take(roots).into_released());
        }
        Ok(())
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::tear_down`].
    pub(crate) fn tear_down(
        &mut self,
        memory: &mut dyn HostMemory,
        recs: &mut dyn Iterator<Item = RecObject>,
    ) -> Option<Error> {
        let rmm = self.rmm;
        let terminated = rmm
            .commands()
            .realm_terminate(&self.rd)
            .or_else(|_| rmm.commands().realm_terminate(&self.rd));
        // If the RMM refuses, its memory can still be unmapped and its tables destroyed; only the
        // descriptor cannot be destroyed.
        let mut first = terminated.err();
        for mut rec in recs {
            let is_own = rec.realm() == self.rd.number();
            if !is_own {
                // It is not a REC of this Realm. It was passed by value, so it is destroyed, too.
                let (command, subject) = (Command::RecDestroy, Subject::Pa(rec.name().pa()));
                let what = "the REC belongs to another Realm";
                first.get_or_insert(Error::argument(command, what, subject));
            }
            let mut result = rec.destroy_in_place(rmm, memory.pool());
            if is_own && matches!(result, Err(Failed { kept: true, .. })) {
                result = rec.destroy_in_place(rmm, memory.pool());
            }
            if let Err(Failed { error, kept }) = result {
                first.get_or_insert(error);
                if kept {
                    rec.force_in_place(rmm, memory.pool());
                }
            }
            self.recs = self.recs.saturating_sub(is_own.into());
        }
        let error = self.dismantle_all(memory);
        first.or(error)
    }

    /// Takes what is given up out of the shadow: the caller recovers memory, the granule of a table
    /// goes to the pool if the RMM returns it.
    fn take_out(&mut self, pool: &mut Pool, next: Next) -> Delegated {
        let shadow = self.shadow.get_mut();
        match next {
            Next::Memory(at) => return shadow.take(at).unwrap_or_default().into_released(),
            // What a tree shows is removed together with its memory.
            Next::Shown(tree, at) if P::AUX_TREES => {
                shadow.note(tree, at.range(), Shows::Nothing);
            }
            Next::Shown(..) => {}
            Next::Table(tree, level, ipa) => {
                let tree = tree.filter(|_| P::AUX_TREES);
                let granule =
                    shadow.remove_table(tree, level, ipa).unwrap_or_default().into_released();
                let command = tree.map_or(Command::RttDestroy, |_| Command::RttAuxDestroy);
                pool.recover(self.rmm, granule, not_destroyed(command));
            }
        }
        Delegated::empty()
    }

    /// Takes back what was donated to the Realm and is still recorded, if the RMM returns it.
    pub(crate) fn recover_donated(&mut self, pool: &mut Pool, command: Command) {
        let rmm = self.rmm;
        if let Some(donated) = self.shadow.get_mut().donated() {
            donated.recover(rmm, pool, command);
        }
    }

    /// Takes the granule of the descriptor out of the Realm.
    pub(crate) fn take_descriptor(&mut self) -> Delegated {
        core::mem::replace(&mut self.rd, Rd::new(Delegated::empty())).into_released()
    }

    /// The root tables of all trees.
    pub(crate) fn all_roots(&mut self) -> impl Iterator<Item = &mut InUse> {
        let aux = if P::AUX_TREES { self.aux_roots.as_mut_slice() } else { &mut [] };
        core::iter::once(&mut self.roots).chain(aux)
    }

    /// See [`Realm::abandon`]; nothing is left in the Realm.
    #[inline(never)]
    fn abandon_all(&mut self, memory: &mut dyn HostMemory) {
        self.abandon_shared();
        let rmm = self.rmm;
        self.returned.send(rmm, &mut |host| free_or_quarantine(rmm, memory, host));
        let mut run = Delegated::empty();
        while let Some(next) = self.shadow.get_mut().first() {
            if let Err(apart) = run.append(self.take_out(memory.pool(), next)) {
                let whole = core::mem::replace(&mut run, apart);
                let free = &mut |host| free_or_quarantine(rmm, memory, host);
                rmm.recover(whole, not_destroyed(Command::RttDataUnmap), free);
            }
        }
        let free = &mut |host| free_or_quarantine(rmm, memory, host);
        rmm.recover(run, not_destroyed(Command::RttDataUnmap), free);
        let pool = memory.pool();
        self.recover_donated(pool, Command::RealmCreate);
        pool.recover(rmm, self.take_descriptor(), not_destroyed(Command::RealmDestroy));
        for roots in self.all_roots() {
            let roots = core::mem::take(roots).into_released();
            pool.recover(rmm, roots, not_destroyed(Command::RealmDestroy));
        }
    }
}

/// The reason for quarantining memory of an object that a command did not destroy.
const fn not_destroyed(command: Command) -> QuarantineReason {
    QuarantineReason::NotDestroyed { command }
}
