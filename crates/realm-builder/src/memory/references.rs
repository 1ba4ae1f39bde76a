//! Root entries of auxiliary trees that refer to tables of the primary one, in the unprotected
//! half: hidden before the last memory that is shared there is unshared.

use rmi_abi::flags::AuxUnmapFlags;
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Ipa, IpaRange, Status};
use rmi_host::command::AuxTree;
use rmi_host::{Attempts, Error, Platform};

use crate::error::BuildError;
use crate::memory::range_lock::RangeLock;
use crate::memory::realm_core::RealmCore;
use crate::shadow::{Row, Shows};

impl<'a, P: Platform> RealmCore<'a, P> {
    pub(crate) fn root_entry_bytes(&self) -> u64 {
        self.geometry().entry_bytes(self.geometry().start_level())
    }

    /// The whole root entries that a range of the unprotected half touches.
    pub(crate) fn root_entries(&self, range: IpaRange) -> IpaRange {
        let bytes = self.root_entry_bytes();
        let base = range.base().align_down(bytes).max(self.geometry().unprotected_base());
        let top = range.top().align_up(bytes).unwrap_or(self.geometry().end());
        IpaRange::new(base, top.min(self.geometry().end())).unwrap_or(range)
    }

    /// Claims a range before memory that is shared there is unshared; with the whole root entries
    /// around it if an auxiliary tree may have to be changed when the last of that memory is
    /// unshared.
    pub(crate) fn lock_range_shared(
        &self,
        range: IpaRange,
    ) -> Result<RangeLock<'_, P>, BuildError> {
        let by_range = self.shows_by_range();
        let whole = self.root_entries(range);
        let needed = || {
            let refers = by_range && self.reference_in(whole).is_some();
            if refers { whole } else { range }
        };
        let wanted = needed();
        let held = self.lock_range(wanted)?;
        if wanted.contains_range(&needed()) {
            return Ok(held);
        }
        // A tree refers to it since then.
        drop(held);
        self.lock_range(whole)
    }

    /// Hides the root entries that will be empty when all that is shared in a claimed range is
    /// unshared. An RMM that takes ranges finds an entry to hide by what is mapped there.
    pub(crate) fn hide_emptied(&self, range: IpaRange) -> Result<(), Error> {
        if !self.shows_by_range() {
            return Ok(());
        }
        let (mut left, mut idle) = (range, Attempts::default());
        loop {
            // In order: what is skipped here is not visited again.
            let Some((tree, row)) = self.reference_in(left) else { return Ok(()) };
            let around = [
                IpaRange::new(row.range.base(), range.base()),
                IpaRange::new(range.top(), row.range.top()),
            ];
            let is_shared = |range: &IpaRange| self.shadow.lock().shared_in(range).is_some();
            if around.iter().flatten().any(is_shared) {
                // Other trees that refer to the same table also keep it.
                let Ok(rest) = IpaRange::new(row.range.top(), range.top()) else {
                    return Ok(());
                };
                left = rest;
                continue;
            }
            self.hide_reference(tree, row, &mut idle)?;
        }
    }

    /// The range in a root entry, at or after `from`, that begins with the first shared piece and
    /// ends with the entry.
    pub(crate) fn shared_from(&self, root: IpaRange, from: Ipa) -> Option<(IpaRange, IpaRange)> {
        let left = IpaRange::new(from, root.top()).ok().filter(|left| !left.is_empty())?;
        let (_, piece) = self.shadow.lock().shared_in(&left)?;
        let piece = piece.intersection(&left)?;
        Some((piece, IpaRange::new(piece.base(), root.top()).ok()?))
    }

    /// Hides a root entry of the unprotected half, or returns early when the RMM yields.
    pub(crate) fn hide_reference(
        &self,
        tree: AuxTree,
        row: Row,
        idle: &mut Attempts,
    ) -> Result<(), Error> {
        let by_range = self.shows_by_range();
        let root = row.range;
        let mut from = root.base();
        let answer = loop {
            if !by_range {
                let hidden =
                    self.rmm.commands().rtt_aux_unmap_unprotected(&self.rd, tree, root.base());
                break hidden.map(|_| true).map_err(Error::from);
            }
            let (piece, range) = self.shared_from(root, from).unwrap_or((root, root));
            let flags = AuxUnmapFlags { tree_index: tree.index() };
            match self.rmm.commands().rtt_aux_unprot_unmap(&self.rd, range, flags) {
                // The entry exists; the memory by which the RMM finds it is not mapped.
                Err(error)
                    if is_below(&error, row.level)
                        && self.shared_from(root, piece.top()).is_some() =>
                {
                    from = piece.top();
                }
                answer => break answer.map(|reached| reached > range.base()),
            }
        };
        let is_hidden = match answer {
            Ok(is_hidden) => is_hidden,
            // What was unclear is now clear: nothing is shown.
            Err(error) if !row.sure && is_refused(&error) && !is_below(&error, row.level) => true,
            Err(error) => {
                // An RMM that refuses to hide what it reported as shown may not show it.
                if !error.is_clean() || is_refused(&error) {
                    self.note_shown(tree, root, Shows::Perhaps);
                }
                return Err(error);
            }
        };
        if is_hidden {
            *idle = Attempts::default();
            self.note_shown(tree, root, Shows::Nothing);
            return Ok(());
        }
        self.try_again(Command::RttAuxUnprotUnmap, idle, root.base())
    }
}

/// Whether an RMM refused to hide because nothing is shown.
fn is_refused(error: &Error) -> bool {
    error.status() == Some(Status::ErrorRttAux) && error.is_clean()
}

/// Whether the refusal is because of an entry below the root level: the auxiliary tree has a table
/// there.
fn is_below(error: &Error, root: Level) -> bool {
    let Error::Refused(refusal) = error else { return false };
    let level = refusal.result().level();
    is_refused(error) && level.is_some_and(|level| level > root)
}
