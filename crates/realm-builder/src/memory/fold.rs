//! Folding tables into blocks or void entries, and splitting blocks.

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Ipa, IpaRange, Status};
use rmi_host::command::AuxTree;
use rmi_host::{Error, Platform};
use sro::{HostMemory, Pool};

use crate::error::BuildError;
use crate::memory::realm_core::RealmCore;
use crate::shadow::{At, Foldable};

/// Which tables are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldPolicy {
    /// Those that map one aligned run of memory: a block maps the same, and walks are shorter.
    Blocks,
    /// Those, and the ones that map nothing: their granules are free again.
    BlocksAndVoid,
}

/// Result of folding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Folded {
    /// Tables that became blocks.
    pub blocks: u64,
    /// Tables that became void entries.
    pub void: u64,
    /// Tables of auxiliary trees, which follow those of the primary one.
    pub auxiliary: u64,
    /// Tables that the RMM kept: their entries differ in state that the host does not know, such as
    /// the RIPAS.
    pub kept: u64,
}

impl Folded {
    /// Granules that are free again; they are in the pool, delegated.
    #[must_use]
    pub const fn granules(&self) -> u64 {
        self.blocks + self.void + self.auxiliary
    }
}

/// Folding that stopped early. Repeating it continues from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("folding stopped at IPA {reached} after {} tables: {error}", .folded.granules())]
#[non_exhaustive]
pub struct FoldStopped {
    /// The reason.
    #[source]
    pub error: BuildError,
    /// How far it came: the base of what the table covers at which it stopped. Of the tables that
    /// lie below as a whole, none is left that the RMM would fold. A table is folded after those in
    /// it, so that to fold the tables around this address, too, the same range is to be repeated.
    pub reached: Ipa,
    /// The result before that. The granules of these tables are in the pool, delegated.
    pub folded: Folded,
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::fold`](crate::Realm::fold).
    pub(crate) fn fold(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        policy: FoldPolicy,
    ) -> Result<Folded, FoldStopped> {
        let pool = memory.pool();
        let mut folded = Folded::default();
        let stop = |error| FoldStopped { error, reached: range.base(), folded };
        self.check_protected(range, range.bytes()).map_err(stop)?;
        let _held = self.lock_range(range).map_err(stop)?;
        let mut next = [Level::L3, Level::L2, Level::L1]
            .map(|level| (level, self.next_whole_table(level, range.base(), range.top())));
        // In the order of their ends: what lies before is finished at every level. Of tables with
        // the same end, the deepest first.
        while let Some((place, level, table)) = next
            .iter_mut()
            .filter_map(|(level, table)| table.map(|range| (table, *level, range)))
            .min_by_key(|(_, _, table)| table.top())
        {
            *place = self.next_whole_table(level, table.top(), range.top());
            let ipa = table.base();
            let what = {
                let shadow = self.shadow.lock();
                shadow.has_table(level, ipa).then(|| shadow.foldable(level, ipa)).flatten()
            };
            match what {
                Some(Foldable::Void) if policy == FoldPolicy::Blocks => {}
                Some(what) => self
                    .fold_trees(pool, level, ipa, what, &mut folded)
                    .map_err(|error| FoldStopped { error, reached: ipa, folded })?,
                None => {}
            }
        }
        Ok(folded)
    }

    /// Folds the table that an entry is in, or one below it, if that lies in a claimed range as a
    /// whole: memory of a tracking region that is tracked as a whole (COARSE) is unmapped by a
    /// block of its size only. Whether a table was folded; then the entry may be part of a block.
    pub(crate) fn fold_around(&self, pool: &mut Pool, at: At, range: IpaRange) -> bool {
        if !P::COARSE_TRACKING {
            return false;
        }
        let (level, base) = (at.level, self.geometry().table_base(at.base, at.level));
        let table = IpaRange::with_size_or_empty(base, self.geometry().table_bytes(level));
        // A block that has to be split before it is unmapped would be folded again without end.
        let is_unmapped =
            level.parent().is_some_and(|parent| parent >= self.rmm.call_limits().data_level);
        if level <= self.geometry().start_level() || !range.contains_range(&table) || !is_unmapped {
            return false;
        }
        // What may have been unmapped before the region refused it was not.
        self.settle_mapped(table);
        // The deepest first: a table that has tables below it is not foldable.
        let deepest_first = [Level::L3, Level::L2, Level::L1].into_iter();
        let found = deepest_first
            .filter(|below| *below >= level)
            .find_map(|below| Some((below, self.next_block(below, table)?)));
        let mut folded = Folded::default();
        found.is_some_and(|(below, ipa)| {
            self.fold_trees(pool, below, ipa, Foldable::Block, &mut folded).is_ok()
                && folded.blocks > 0
        })
    }

    /// The base of the first table of a level in a range that can be folded to a block.
    fn next_block(&self, level: Level, range: IpaRange) -> Option<Ipa> {
        let mut next = self.next_whole_table(level, range.base(), range.top());
        while let Some(table) = next {
            if self.shadow.lock().foldable(level, table.base()) == Some(Foldable::Block) {
                return Some(table.base());
            }
            next = self.next_whole_table(level, table.top(), range.top());
        }
        None
    }

    /// What the next table of a level covers, from an address on, that may exist and ends below
    /// `top`.
    fn next_whole_table(&self, level: Level, from: Ipa, top: Ipa) -> Option<IpaRange> {
        let bytes = self.geometry().table_bytes(level);
        let base = self.next_table(level, from.align_up(bytes)?, top);
        IpaRange::with_size(base, bytes).ok().filter(|table| table.top() <= top)
    }

    /// Folds a table in all trees, the primary one last, as long as the RMM accepts it.
    fn fold_trees(
        &self,
        pool: &mut Pool,
        level: Level,
        ipa: Ipa,
        what: Foldable,
        folded: &mut Folded,
    ) -> Result<(), BuildError> {
        let range = IpaRange::with_size_or_empty(ipa, self.geometry().table_bytes(level));
        let trees = self.shadow.lock().aux_trees();
        for tree in trees {
            if !self.shadow.lock().has_table_in(Some(tree), level, ipa) {
                continue;
            }
            if self.shadow.lock().aux_foldable(tree, level, ipa).is_none() {
                self.hide(tree, range)?;
            }
            if !self.fold_table(pool, Some(tree), level, ipa)? {
                folded.kept += 1;
                return Ok(());
            }
            folded.auxiliary += 1;
        }
        self.hide_everywhere(range)?;
        match (self.fold_table(pool, None, level, ipa)?, what) {
            (false, _) => folded.kept += 1,
            (true, Foldable::Block) => folded.blocks += 1,
            (true, Foldable::Void) => folded.void += 1,
        }
        Ok(())
    }

    /// Folds a table of one tree; false if the RMM keeps it.
    fn fold_table(
        &self,
        pool: &mut Pool,
        tree: Option<AuxTree>,
        level: Level,
        ipa: Ipa,
    ) -> Result<bool, BuildError> {
        let (command, differs) = match tree {
            None => (Command::RttFold, Status::ErrorRtt),
            Some(_) => (Command::RttAuxFold, Status::ErrorRttAux),
        };
        let fold = || {
            let mut shadow = self.shadow.lock();
            let granule = match tree {
                None => shadow.fold(level, ipa),
                Some(tree) => shadow.aux_fold(tree, level, ipa),
            };
            granule.unwrap_or_default().into_released()
        };
        let granule = self.shadow.lock().table_granule(tree, level, ipa);
        let answer = match tree {
            None => self.rmm.commands().rtt_fold(&self.rd, ipa, level),
            Some(tree) => self.rmm.commands().rtt_aux_fold(&self.rd, tree, ipa, level),
        };
        match answer {
            Ok(table) => {
                let known = granule.map(|range| range.base());
                self.return_table(pool, fold(), (known, table), (command, ipa))?;
                Ok(true)
            }
            Err(Error::Refused(refusal)) if refusal.status() == differs => Ok(false),
            Err(error) => {
                if !error.is_clean() {
                    self.shadow.lock().doubt_table(tree, level, ipa);
                }
                Err(error.into())
            }
        }
    }
}
