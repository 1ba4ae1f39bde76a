//! Shared memory that is being returned to the host: it stays in its record until the RMM has
//! unmapped it.

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Ipa, IpaRange};
use rmi_host::{Attempts, Error, Platform, SharedMemory, Undelegated};
use sro::HostMemory;

use crate::memory::lent_shadow::LentShadow;
use crate::memory::map::Free;
use crate::memory::realm_core::RealmCore;
use crate::shadow::shape::Shape;

/// Shared memory that a command is about to unmap. Its record keeps its place; what is left is put
/// back into it when this ends or is dropped, also when a conduit panics.
struct Leaving<'s, S: Shape> {
    shadow: &'s LentShadow<'s, S>,
    base: Ipa,
    memory: Option<SharedMemory>,
}

impl<S: Shape> Leaving<'_, S> {
    /// Puts what is left back. If nothing is left, its place is free, or reserved if it is to be
    /// kept: returns whether it is.
    fn end(&mut self, keep_place: bool) -> bool {
        let Some(memory) = self.memory.take() else { return false };
        let mut shadow = self.shadow.lock();
        let is_kept = shadow.return_shared(self.base, memory) && keep_place;
        is_kept && shadow.reserve_shared(1).is_ok()
    }
}

impl<S: Shape> Drop for Leaving<'_, S> {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// What one unmap command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It unmapped some, or yielded to an interrupt.
    Some,
    /// It unmapped the last of a piece, the place of which was to be kept and is.
    Place,
    /// Nothing is shared there any more, and no command was issued.
    Nothing,
}

impl<P: Platform> RealmCore<'_, P> {
    /// The table that can be destroyed to unmap a piece of shared memory, from the start of the
    /// piece: a leaf table that maps nothing else. Not one of blocks: TF-RMM v0.8.0 invalidates
    /// translations of no more than what a leaf table covers.
    pub(crate) fn table_of_shared(&self, piece: &IpaRange) -> Option<(Level, Ipa)> {
        if !self.rmm.dialect().destroying_table_unshares() {
            return None;
        }
        let shadow = self.shadow.lock();
        let at = shadow.walk(piece.base(), Level::L3).filter(|at| at.level == Level::L3)?;
        let bytes = self.geometry().table_bytes(at.level);
        let base = at.base.align_down(bytes);
        let table = IpaRange::with_size(base, bytes).ok()?;
        let around = [
            IpaRange::new_or_empty(table.base(), piece.base()),
            IpaRange::new_or_empty(piece.top().min(table.top()), table.top()),
        ];
        let is_alone =
            around.iter().all(|part| part.is_empty() || shadow.shared_in(part).is_none());
        (is_alone && shadow.is_sure_leaf(at.level, base)).then_some((at.level, base))
    }

    /// Destroys a table that maps shared memory, from the start of a piece on, and nothing else.
    /// What it mapped is freed, the rest stays in its record.
    pub(crate) fn unshare_with_table(
        &self,
        piece: &IpaRange,
        (level, table): (Level, Ipa),
        memory: &mut dyn HostMemory,
        free: Free<'_>,
    ) -> Result<(), Error> {
        let Some(piece) = self.shadow.lock().leave_shared(piece) else { return Ok(()) };
        let base = piece.ipa();
        let mut leaving = Leaving { shadow: &self.shadow, base, memory: Some(piece) };
        let answer = match &mut leaving.memory {
            Some(piece) => self.rmm.commands().rtt_destroy_unsharing(&self.rd, piece, level),
            None => return Ok(()),
        };
        leaving.end(false);
        let (destroyed, host) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // Whether it exists shows when it is destroyed without what is shared.
                self.shadow.lock().doubt_table(None, level, table);
                return Err(error);
            }
        };
        let granule = self.shadow.lock().remove_table(None, level, table).unwrap_or_default();
        let (known, place) = (Some(granule.base()), (Command::RttDestroy, table));
        let granule = granule.into_released();
        let returned = self.return_table(memory.pool(), granule, (known, destroyed.table), place);
        free(memory, host);
        returned
    }

    /// One unmap command, for the first piece that is shared in a claimed range that cuts no piece.
    /// What is unmapped is freed, the rest stays in its record.
    pub(crate) fn unshare_some(
        &self,
        range: &IpaRange,
        keep_place: bool,
        idle: &mut Attempts,
        memory: &mut dyn HostMemory,
        free: Free<'_>,
    ) -> Result<Left, Error> {
        let Some(piece) = self.shadow.lock().leave_shared(range) else { return Ok(Left::Nothing) };
        let base = piece.ipa();
        // The entry is in the deepest table there.
        let entry = self.shadow.lock().walk(base, Level::L3);
        let level = entry.map_or(Level::L3, |entry| entry.level);
        let mut leaving = Leaving { shadow: &self.shadow, base, memory: Some(piece) };
        let answer = match &mut leaving.memory {
            Some(piece) => self.rmm.commands().rtt_unprot_unmap_entry(&self.rd, piece, level),
            None => Ok(Undelegated::empty()),
        };
        let is_kept = leaving.end(keep_place);
        let host = answer?;
        if host.is_empty() {
            self.try_again(Command::RttUnprotUnmap, idle, base)?;
        } else {
            *idle = Attempts::default();
            free(memory, host);
        }
        Ok(if is_kept { Left::Place } else { Left::Some })
    }
}
