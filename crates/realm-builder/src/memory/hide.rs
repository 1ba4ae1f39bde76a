//! Hiding in auxiliary trees what they show: before the primary tree changes, and in teardown.

use rmi_abi::flags::AuxUnmapFlags;
use rmi_abi::{Command, Ipa, IpaRange, Status};
use rmi_host::command::AuxTree;
use rmi_host::{Attempts, Error, Platform};

use crate::memory::realm_core::RealmCore;
use crate::shadow::{At, Row, Shows};

impl<P: Platform> RealmCore<'_, P> {
    /// Whether the RMM's commands about what auxiliary trees show take ranges: either all of them
    /// do, or each takes one entry.
    pub(crate) fn shows_by_range(&self) -> bool {
        Command::RttAuxProtMap.form(self.rmm.dialect()).is_some()
    }

    /// Hides what any auxiliary tree shows in a claimed range.
    pub(crate) fn hide_everywhere(&self, range: IpaRange) -> Result<(), Error> {
        if !P::AUX_TREES {
            return Ok(());
        }
        let trees = {
            let shadow = self.shadow.lock();
            shadow.shows_anything().then(|| shadow.aux_trees())
        };
        trees.into_iter().flatten().try_for_each(|tree| self.hide(tree, range))
    }

    /// Hides what an auxiliary tree shows in a claimed range; entries that extend beyond it as a
    /// whole.
    pub(crate) fn hide(&self, tree: AuxTree, range: IpaRange) -> Result<(), Error> {
        let (mut from, mut idle) = (range.base(), Attempts::default());
        loop {
            let row = self.shown(tree, from, range.top());
            let Some(row) = row else { return Ok(()) };
            from = self.hide_row(tree, row, &mut idle)?;
        }
    }

    /// After an RMM refused to change a range of the primary tree because of what an auxiliary one
    /// shows: its earlier answers were wrong, and all of it is to be hidden once more.
    pub(crate) fn doubt_hidden(&self, error: &Error, range: IpaRange) {
        if !P::AUX_TREES {
            return;
        }
        if error.status() != Some(Status::ErrorRttAux) || !error.is_clean() {
            return;
        }
        let trees = self.shadow.lock().aux_trees();
        for tree in trees {
            self.doubt_shown(tree, range);
        }
    }

    /// One command for the first entries that an auxiliary tree shows.
    pub(crate) fn hide_first(
        &self,
        tree: AuxTree,
        at: At,
        idle: &mut Attempts,
    ) -> Result<(), Error> {
        if !P::AUX_TREES {
            return Ok(());
        }
        let top = self.geometry().unprotected_base();
        let row = self.shown(tree, at.base, top);
        row.map_or(Ok(()), |row| self.hide_row(tree, row, idle).map(|_| ()))
    }

    /// The first entries of a range that any auxiliary tree shows, or may: as many as one command
    /// hides.
    pub(crate) fn first_shown(&self, range: IpaRange) -> Option<(AuxTree, Row)> {
        if !P::AUX_TREES {
            return None;
        }
        let trees = {
            let shadow = self.shadow.lock();
            shadow.shows_anything().then(|| shadow.aux_trees())
        };
        let row = |tree| self.shown(tree, range.base(), range.top());
        let rows = trees.into_iter().flatten().filter_map(|tree| row(tree).map(|row| (tree, row)));
        rows.min_by_key(|(_, row)| row.range.base())
    }

    fn shown(&self, tree: AuxTree, from: Ipa, top: Ipa) -> Option<Row> {
        let most = self.at_once(self.shows_by_range());
        self.shown_row(tree, from, top, most)
    }

    /// How many entries are looked up for one command.
    pub(crate) fn at_once(&self, by_range: bool) -> u64 {
        match (by_range, self.range_hint.is_set()) {
            (false, _) => 1,
            (true, true) => self.geometry().entries_per_table(),
            (true, false) => u64::MAX,
        }
    }

    /// Learns from the end of a range command whether the RMM ends them at table boundaries.
    pub(crate) fn learn_end(&self, row: &Row, reached: Ipa) {
        if let Ok(done) = IpaRange::new(row.range.base(), reached) {
            self.note_range(done, row.level, reached < row.range.top());
        }
    }

    /// One command; returns the address up to which nothing of the row is shown any more.
    pub(crate) fn hide_row(
        &self,
        tree: AuxTree,
        row: Row,
        idle: &mut Attempts,
    ) -> Result<Ipa, Error> {
        let base = row.range.base();
        let by_range = self.shows_by_range();
        let answer = if by_range {
            let flags = AuxUnmapFlags { tree_index: tree.index() };
            self.rmm.commands().rtt_aux_prot_unmap(&self.rd, row.range, flags)
        } else {
            let hidden = self.rmm.commands().rtt_aux_unmap_protected(&self.rd, tree, base);
            hidden.map(|_| row.range.top()).map_err(Error::from)
        };
        let reached = match answer {
            Ok(reached) => reached,
            // What was unclear is now clear: nothing is shown.
            Err(error)
                if !row.sure && error.status() == Some(Status::ErrorRttAux) && error.is_clean() =>
            {
                row.range.top()
            }
            Err(error) => {
                // An RMM that refuses to hide what it reported as shown may not show it.
                if !error.is_clean() || error.status() == Some(Status::ErrorRttAux) {
                    self.note_shown(tree, row.range, Shows::Perhaps);
                }
                return Err(error);
            }
        };
        let (whole, part) = row.split(reached);
        self.learn_end(&row, reached);
        self.note_shown(tree, whole, Shows::Nothing);
        self.note_shown(tree, part, Shows::Perhaps);
        if whole.is_empty() {
            // The RMM yielded to an interrupt.
            self.try_again(Command::RttAuxProtUnmap, idle, base)?;
        } else {
            *idle = Attempts::default();
        }
        Ok(whole.top())
    }
}
