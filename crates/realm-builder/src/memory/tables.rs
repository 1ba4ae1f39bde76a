//! Translation tables: made before they are needed, so that no call fails because one is missing.

use rmi_abi::rtt::{Level, RttEntryState};
use rmi_abi::{Command, Ipa, IpaRange, Pa};
use rmi_host::command::AuxTree;
use rmi_host::{Delegated, Error, Failed, Platform, QuarantineReason, Subject, Violation};
use sro::{HostMemory, Pool};

use crate::error::{BuildError, RegionProblem};
use crate::memory::range_lock::RangeLock;
use crate::memory::read_entry::ADDRESS;
use crate::memory::realm_core::RealmCore;
use crate::plan::{self, Run};

/// Is called for each table of a plan.
type Visit<'v> = &'v mut dyn FnMut(Level, Ipa) -> Result<(), BuildError>;

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::missing_tables`](crate::Realm::missing_tables).
    pub(crate) fn missing_tables(&self, range: IpaRange, level: Level) -> usize {
        plan::tables(self.geometry(), range, level)
            .filter(|(level, ipa)| !self.shadow.lock().has_table(*level, *ipa))
            .count()
    }

    /// See [`Realm::make_tables`](crate::Realm::make_tables).
    pub(crate) fn make_tables(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        level: Level,
    ) -> Result<(), BuildError> {
        let problem = if range.is_empty() {
            Some(RegionProblem::Empty)
        } else if !range.is_aligned(self.granule_bytes()) {
            Some(RegionProblem::Unaligned)
        } else if range.top() > self.geometry().end() {
            Some(RegionProblem::OutOfSpace)
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(BuildError::Region { range, problem });
        }
        let mut held = self.lock_range(range)?;
        self.make(&mut held, memory.pool(), [plan::run(range, level), None].into_iter().flatten())
    }

    /// Makes the tables of a plan that are missing.
    pub(crate) fn make(
        &self,
        held: &mut RangeLock<'_, P>,
        pool: &mut Pool,
        runs: impl Iterator<Item = Run> + Clone,
    ) -> Result<(), BuildError> {
        self.make_each(None, held, pool, &|visit| {
            plan::Tables::new(self.geometry()).each(&mut runs.clone(), visit)
        })
    }

    /// As [`RealmCore::make`], in an auxiliary tree or the primary one.
    pub(crate) fn make_in(
        &self,
        tree: Option<AuxTree>,
        held: &mut RangeLock<'_, P>,
        pool: &mut Pool,
        tables: impl Iterator<Item = (Level, Ipa)> + Clone,
    ) -> Result<(), BuildError> {
        self.make_each(tree, held, pool, &|visit| {
            tables.clone().try_for_each(|(level, ipa)| visit(level, ipa))
        })
    }

    /// As [`RealmCore::make_in`]; compiled once, not for each kind of plan. `tables` passes each
    /// table of the plan to a function, until that fails.
    fn make_each(
        &self,
        tree: Option<AuxTree>,
        held: &mut RangeLock<'_, P>,
        pool: &mut Pool,
        tables: &dyn Fn(Visit<'_>) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        let is_missing = |level, ipa| !self.shadow.lock().has_table_in(tree, level, ipa);
        let mut count = 0;
        tables(&mut |level, ipa| {
            if tree.is_none() {
                self.settle(held, pool, (level, ipa));
            }
            Ok(())
        })?;
        tables(&mut |level, ipa| {
            count += usize::from(is_missing(level, ipa));
            Ok(())
        })?;
        if count == 0 {
            return Ok(());
        }
        held.reserve(count)?;
        let granule = self.granule_bytes();
        pool.stock(self.rmm, create(tree), count as u64 * granule)?;
        tables(&mut |level, ipa| match is_missing(level, ipa) {
            true => self.make_one(tree, held, pool, (level, ipa)),
            false => Ok(()),
        })
    }

    /// Puts the granule of a table that a command has destroyed or folded into the pool. If the RMM
    /// reports another one than the `known` one, it is recovered, and that is the error.
    pub(crate) fn return_table(
        &self,
        pool: &mut Pool,
        granule: Delegated,
        (known, reported): (Option<Pa>, Pa),
        (command, ipa): (Command, Ipa),
    ) -> Result<(), Error> {
        if known == Some(reported) {
            pool.put_back(self.rmm, granule);
            return Ok(());
        }
        pool.recover(self.rmm, granule, QuarantineReason::Unclear { command });
        let (violation, subject) = (Violation::ForeignMemory, Subject::Ipa(ipa));
        Err(Error::violation(command, violation, reported.raw(), subject))
    }

    /// Settles the tables that contain a claimed range, from the top down, before anything is taken
    /// out of them.
    pub(crate) fn settle_range(&self, held: &RangeLock<'_, P>, pool: &mut Pool, range: IpaRange) {
        for level in [Level::L1, Level::L2, Level::L3] {
            let mut next = Some(range.base());
            while let Some(from) = next.filter(|from| *from < range.top()) {
                let at = self.next_table(level, from, range.top());
                if at < range.top() {
                    self.settle(held, pool, (level, self.geometry().table_base(at, level)));
                }
                let table = self.geometry().table_bytes(level);
                next = at.align_down(table).checked_add(table);
            }
        }
    }

    /// Settles a table whose creation (or folding) had an unclear answer: asks the RMM whether it
    /// exists. If not, its entry is void if nothing was put into it, and a block if the table would
    /// fold into just that block. While another thread works in it, it is left unchanged.
    pub(crate) fn settle(
        &self,
        held: &RangeLock<'_, P>,
        pool: &mut Pool,
        (level, ipa): (Level, Ipa),
    ) {
        let unsure = {
            let shadow = self.shadow.lock();
            shadow.has_table(level, ipa) && !shadow.table_is_sure(None, level, ipa)
        };
        let Some(parent) = level.parent().filter(|_| unsure) else { return };
        let Ok(entry) = self.rmm.commands().rtt_read_entry(&self.rd, ipa, parent) else { return };
        let Ok(whole) = IpaRange::with_size(ipa, self.geometry().table_bytes(level)) else {
            return;
        };
        let mut shadow = self.shadow.lock();
        if entry.level == Some(parent) && entry.state == RttEntryState::Table {
            shadow.trust_table(None, level, ipa);
            return;
        }
        if held.others_are_in(&shadow, &whole) {
            return;
        }
        let is_block = entry.level == Some(parent)
            && entry.state == RttEntryState::Data
            && shadow
                .walk(ipa, level)
                .and_then(|first| shadow.memory(first))
                .is_some_and(|memory| (entry.desc ^ memory.base().raw()) & ADDRESS == 0);
        let granule = match is_block {
            true => shadow.fold(level, ipa),
            false => shadow.remove_table(None, level, ipa),
        };
        drop(shadow);
        if let Some(granule) = granule {
            let reason = QuarantineReason::Unclear { command: Command::RttCreate };
            pool.recover(self.rmm, granule.into_released(), reason);
        }
    }

    fn make_one(
        &self,
        tree: Option<AuxTree>,
        held: &mut RangeLock<'_, P>,
        pool: &mut Pool,
        (level, ipa): (Level, Ipa),
    ) -> Result<(), BuildError> {
        if tree.is_none() && self.geometry().is_protected(ipa) {
            // A block that is split changes in the primary tree. In the unprotected half auxiliary
            // trees have the same table.
            let bytes = self.geometry().table_bytes(level);
            self.hide_everywhere(IpaRange::with_size_or_empty(ipa.align_down(bytes), bytes))?;
        }
        let granule = self.granule_bytes();
        let table = pool.take(self.rmm, create(tree), granule, granule)?;
        let made = match tree {
            None => self.rmm.commands().rtt_create(&self.rd, table, ipa, level),
            Some(tree) => self.rmm.commands().rtt_aux_create(&self.rd, tree, table, ipa, level),
        };
        let (table, sure, result) = match made {
            Ok(table) => (table, true, Ok(())),
            Err(Failed { error, kept }) if error.is_clean() => {
                pool.put_back(self.rmm, kept);
                return Err(error.into());
            }
            // It may exist. Teardown needs its record.
            Err(Failed { error, kept }) => (kept.into_use(), false, Err(error)),
        };
        // There is a shadow table: it was reserved.
        if let Err(refused) = held.add_table(tree, (level, ipa), table, sure) {
            let reason = QuarantineReason::Unclear { command: create(tree) };
            pool.recover(self.rmm, refused.into_released(), reason);
        }
        Ok(result?)
    }
}

/// The command that makes a table.
const fn create(tree: Option<AuxTree>) -> Command {
    match tree {
        None => Command::RttCreate,
        Some(_) => Command::RttAuxCreate,
    }
}
