//! Showing in an auxiliary tree what is shared with the Realm.
//!
//! In the unprotected half, auxiliary trees have only root tables: a root entry that shows
//! something refers to the table of the primary tree. So memory that is shared there later is shown
//! at once, and what is unmapped from that table is unmapped for all trees.
#![expect(unsafe_code, reason = "no document says that host memory goes from all planes at once")]

use rmi_abi::flags::AuxMapFlags;
use rmi_abi::{Command, IpaRange, Status};
use rmi_host::command::AuxTree;
use rmi_host::{Attempts, Error, Platform};
use sro::HostMemory;

use crate::error::{BuildError, RegionProblem};
use crate::lifecycle::realm::{NotTerminated, Realm};
use crate::memory::realm_core::RealmCore;
use crate::plan;
use crate::shadow::Shows;

impl<P: Platform, S: NotTerminated> Realm<'_, P, S> {
    /// Shows, in an auxiliary tree, what is shared with the Realm in a range of the unprotected
    /// half, and what will be shared there. Whole root entries are shown: those that the range
    /// touches. The table below each comes from the pool, if it is missing.
    ///
    /// An RMM that takes ranges (2.0-bet3) shows a root entry only while something is shared there:
    /// root entries without shared memory are skipped, and those that are shown are hidden before
    /// the last memory that is shared there is unshared.
    ///
    /// Source: TF-RMM (July 2026), RMI_RTT_AUX_MAP_UNPROTECTED; DEN0137 2.0-bet3,
    /// RMI_RTT_AUX_UNPROT_MAP.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoTree`] and [`BuildError::Region`] before any call,
    /// [`RegionProblem::NoMemory`] among them: nothing is shared in the range's root entries, and
    /// the RMM takes ranges. Otherwise the reason why it stopped, [`RegionProblem::NoTable`] when
    /// it is unclear whether a table exists; what was shown stays shown, and the call can be
    /// repeated.
    ///
    /// # Safety
    ///
    /// Memory that was shared in these root entries and is returned, by whatever operation
    /// ([`Realm::unshare`], [`Realm::reshare`] and [`Realm::convert_to_private`] after an error,
    /// the teardown of the Realm), is not used for anything else while a plane of the Realm may
    /// have its translation cached: with an RMM that invalidates those of all planes when it
    /// unmaps, it may be used at once. TF-RMM (July 2026) invalidates those of the primary tree's
    /// plane only; with it there is no time from which on the host could know that none is cached.
    /// (Memory that becomes the Realm's own is delegated first, and no such translation gives
    /// access to it.)
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub unsafe fn map_plane_shared(
        &self,
        memory: &mut dyn HostMemory,
        tree: AuxTree,
        range: IpaRange,
    ) -> Result<(), BuildError> {
        // SAFETY: what the caller promises.
        unsafe { self.core.map_plane_shared(memory, tree, range) }
    }

    /// Hides in an auxiliary tree what is shared with the Realm in a range of the unprotected half:
    /// in the whole root entries that the range touches.
    ///
    /// Source: TF-RMM (July 2026), RMI_RTT_AUX_UNMAP_UNPROTECTED; DEN0137 2.0-bet3,
    /// RMI_RTT_AUX_UNPROT_UNMAP.
    ///
    /// # Errors
    ///
    /// As [`Realm::map_plane_shared`]. What was not hidden is still shown.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn unmap_plane_shared(&self, tree: AuxTree, range: IpaRange) -> Result<(), BuildError> {
        self.core.unmap_plane_shared(tree, range)
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::map_plane_shared`](crate::Realm::map_plane_shared).
    pub(crate) unsafe fn map_plane_shared(
        &self,
        memory: &mut dyn HostMemory,
        tree: AuxTree,
        range: IpaRange,
    ) -> Result<(), BuildError> {
        self.check_tree(tree)?;
        self.check_unprotected(range, range.bytes())?;
        let whole = self.root_entries(range);
        // A block in a root entry would be copied, and the copy would remain after the original is
        // unmapped. No walk starts at the last level, and no root entry is in both halves.
        let Some(below) = self.geometry().start_level().child() else {
            return Err(BuildError::Region { range, problem: RegionProblem::NotUnprotected });
        };
        let mut held = self.lock_range(whole)?;
        let by_range = self.shows_by_range();
        let (mut found, mut rest) = (false, whole);
        while let Some(root) = first_of(rest, self.root_entry_bytes()) {
            rest = whole.after(root.top());
            if by_range && self.shared_from(root, root.base()).is_none() {
                continue;
            }
            found = true;
            self.make(
                &mut held,
                memory.pool(),
                [plan::run(root, below), None].into_iter().flatten(),
            )?;
            if !self.certainly_hidden(tree, root)? {
                continue;
            }
            if !self.shadow.lock().table_is_sure(None, below, root.base()) {
                return Err(BuildError::Region { range: root, problem: RegionProblem::NoTable });
            }
            self.refer(tree, root)?;
        }
        let problem = RegionProblem::NoMemory { ipa: range.base() };
        if found { Ok(()) } else { Err(BuildError::Region { range, problem }) }
    }

    /// See [`Realm::unmap_plane_shared`](crate::Realm::unmap_plane_shared).
    pub(crate) fn unmap_plane_shared(
        &self,
        tree: AuxTree,
        range: IpaRange,
    ) -> Result<(), BuildError> {
        self.check_tree(tree)?;
        self.check_unprotected(range, range.bytes())?;
        let whole = self.root_entries(range);
        let _held = self.lock_range(whole)?;
        let mut idle = Attempts::default();
        loop {
            let row = self.shown_row(tree, whole.base(), whole.top(), 1);
            let Some(row) = row else { return Ok(()) };
            self.hide_reference(tree, row, &mut idle)?;
        }
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// Whether a claimed root entry of an auxiliary tree shows nothing. An entry that may show
    /// something is hidden first: TF-RMM counts a reference that is requested twice as two.
    fn certainly_hidden(&self, tree: AuxTree, root: IpaRange) -> Result<bool, Error> {
        let mut idle = Attempts::default();
        loop {
            let row = self.shown_row(tree, root.base(), root.top(), 1);
            match row {
                None => return Ok(true),
                Some(row) if row.sure => return Ok(false),
                Some(row) => self.hide_reference(tree, row, &mut idle)?,
            }
        }
    }

    /// Makes one claimed root entry of an auxiliary tree refer to the table of the primary tree.
    fn refer(&self, tree: AuxTree, root: IpaRange) -> Result<(), BuildError> {
        let by_range = self.shows_by_range();
        let (mut idle, mut from) = (Attempts::default(), root.base());
        loop {
            let (piece, range) = self.shared_from(root, from).unwrap_or((root, root));
            let answer = if by_range {
                let flags =
                    AuxMapFlags { tree_index: tree.index(), block: false, invalid_pri: false };
                // SAFETY: the root entry refers to a table: it is claimed, so no other thread
                // removes its table, and nothing is shared by a block in its place while the table
                // exists. What the auxiliary tree gets is a reference to that table, in which
                // everything is mapped and unmapped for both. The table exists until the Realm is
                // torn down, which begins with hiding what refers to it; and the RMM does not
                // release a table that is referred to. As to translations that planes have cached,
                // the caller of `map_plane_shared` has promised what is needed.
                unsafe { self.rmm.commands().rtt_aux_unprot_map(&self.rd, range, flags) }
                    .map(|reached| reached > range.base())
            } else {
                // SAFETY: as above.
                unsafe { self.rmm.commands().rtt_aux_map_unprotected(&self.rd, tree, root.base()) }
                    .map(|()| true)
                    .map_err(Error::from)
            };
            let shows = match &answer {
                Ok(true) => Shows::Memory,
                Ok(false) => Shows::Nothing,
                Err(error) if error.is_clean() => Shows::Nothing,
                Err(_) => Shows::Perhaps,
            };
            if shows != Shows::Nothing {
                self.note_shown(tree, root, shows);
            }
            match answer {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    // The RMM yielded to an interrupt.
                    self.try_again(Command::RttAuxUnprotMap, &mut idle, root.base())?;
                }
                // That memory is not mapped, because the answer to sharing it was unclear; other
                // memory is.
                Err(error)
                    if by_range
                        && error.is_clean()
                        && error.status() == Some(Status::ErrorRtt)
                        && self.shared_from(root, piece.top()).is_some() =>
                {
                    from = piece.top();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The first `bytes` of a range, aligned to that, if there are any.
fn first_of(range: IpaRange, bytes: u64) -> Option<IpaRange> {
    let end = range.base().checked_add(bytes)?.min(range.top());
    IpaRange::new(range.base(), end).ok().filter(|first| !first.is_empty())
}
