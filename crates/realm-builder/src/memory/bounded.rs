//! Work on the records of a Realm in pieces, so that its lock is held for a bounded number of
//! entries.
//!
//! Claims, not the lock, keep threads from working on the same part of the IPA space: the holder of
//! a claim may release the lock in between, and its part does not change meanwhile.

use core::ops::ControlFlow;

use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::Platform;
use rmi_host::command::AuxTree;

use crate::memory::realm_core::RealmCore;
use crate::shadow::budget::Budget;
use crate::shadow::storage::SharedPiece;
use crate::shadow::{At, Row, Shadow, Shows, lowest_row};

impl<P: Platform> RealmCore<'_, P> {
    /// Visits what is mapped, or may be, from `from` on and below `top`, in the order of the
    /// addresses, until a visit breaks. The first may begin before `from`.
    pub(crate) fn each_memory<B>(
        &self,
        from: Ipa,
        top: Ipa,
        mut visit: impl FnMut(&mut Shadow<'_, P>, At) -> ControlFlow<B>,
    ) -> Option<B> {
        let mut end = None;
        self.visit_memory(from, top, &mut |shadow, at| match visit(shadow, at) {
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
            ControlFlow::Break(with) => {
                end = Some(with);
                ControlFlow::Break(())
            }
        });
        end
    }

    /// As [`RealmCore::each_memory`]; compiled once, not for each kind of visit.
    fn visit_memory(
        &self,
        mut from: Ipa,
        top: Ipa,
        visit: &mut dyn FnMut(&mut Shadow<'_, P>, At) -> ControlFlow<()>,
    ) {
        while from < top {
            let mut budget = Budget::new();
            let mut shadow = self.shadow.lock();
            while let Some(at) = shadow.seek_memory(&mut from, top, &mut budget) {
                from = at.top();
                if visit(&mut shadow, at).is_break() {
                    return;
                }
            }
        }
    }

    /// The first entry from `from` on that maps memory, or may, below `top`; it may begin before
    /// `from`.
    pub(crate) fn next_memory(&self, from: Ipa, top: Ipa) -> Option<At> {
        self.each_memory(from, top, |_, at| ControlFlow::Break(at))
    }

    /// As [`Shadow::shown_row`].
    pub(crate) fn shown_row(&self, tree: AuxTree, from: Ipa, top: Ipa, most: u64) -> Option<Row> {
        let (mut from, mut row) = (from, None);
        while from < top {
            let shadow = self.shadow.lock();
            if shadow.shown_some(tree, &mut from, top, most, &mut row, &mut Budget::new()) {
                break;
            }
        }
        row
    }

    /// The first entries of the primary tree from `from` on, and below `top`, that map memory which
    /// an auxiliary tree does not certainly show: of one size, and one after the other. The first
    /// may begin before `from`, and the last end after `top`. At most `most` entries.
    pub(crate) fn hidden_row(&self, tree: AuxTree, from: Ipa, top: Ipa, most: u64) -> Option<Row> {
        let mut row = None;
        self.each_memory(from, top, |shadow, at| shadow.extend_hidden(tree, at, most, &mut row));
        row
    }

    /// As [`Shadow::reference`].
    pub(crate) fn reference_in(&self, range: IpaRange) -> Option<(AuxTree, Row)> {
        if !P::AUX_TREES {
            return None;
        }
        let mut trees = {
            let shadow = self.shadow.lock();
            shadow.refers().then(|| shadow.aux_trees())?
        };
        lowest_row(&mut trees, &|tree| self.shown_row(tree, range.base(), range.top(), 1))
    }

    /// As [`Shadow::note`].
    pub(crate) fn note_shown(&self, tree: AuxTree, range: IpaRange, shows: Shows) {
        let mut from = range.base();
        while from < range.top() {
            self.shadow.lock().note_some(tree, &mut from, range, shows, &mut Budget::new());
        }
    }

    /// Records that an auxiliary tree may show all memory in a range, contrary to what is recorded:
    /// the RMM says that it shows some.
    pub(crate) fn doubt_shown(&self, tree: AuxTree, range: IpaRange) {
        self.each_memory(range.base(), range.top(), |shadow, at| {
            shadow.doubt_entry(tree, at);
            ControlFlow::<()>::Continue(())
        });
    }

    /// Where the next table of a level may be, from the end of one on.
    pub(crate) fn next_table(&self, level: Level, from: Ipa, top: Ipa) -> Ipa {
        let mut at = from;
        while at < top {
            let mut budget = Budget::new();
            let shadow = self.shadow.lock();
            // Void entries and blocks of the levels above have no table below them.
            while at < top && budget.spend_one() {
                match shadow.walk(at, level).filter(|entry| entry.level < level) {
                    Some(entry) => at = entry.top(),
                    None => return at,
                }
            }
        }
        at
    }

    /// Visits the records of shared memory in the order of their addresses, until a visit breaks.
    pub(crate) fn each_shared<B>(
        &self,
        mut visit: impl FnMut(&SharedPiece) -> ControlFlow<B>,
    ) -> Option<B> {
        let mut from = Ipa::new(0);
        loop {
            let mut budget = Budget::new();
            let shadow = self.shadow.lock();
            let (Ok(first) | Err(first)) = shadow.shared.find(from);
            let mut pieces = shadow.shared.iter().skip(first);
            while budget.spend_one() {
                let piece = pieces.next()?;
                from = piece.range().top();
                if let ControlFlow::Break(end) = visit(piece) {
                    return Some(end);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
