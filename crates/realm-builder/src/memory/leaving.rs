//! Shared memory that is being returned to the host: it stays in its record until the RMM has
//! unmapped it.

use lock_api::RawMutex;
use rmi_abi::{Command, Ipa, IpaRange};
use rmi_host::{Error, Platform, SharedMemory, Undelegated};
use sro::HostMemory;

use crate::memory::lent_shadow::LentShadow;
use crate::memory::map::Free;
use crate::memory::realm_core::RealmCore;

/// Shared memory that a command is about to unmap. Its record keeps its place; what is left is put
/// back into it when this ends or is dropped, also when a conduit panics.
struct Leaving<'s, K: RawMutex> {
    shadow: &'s LentShadow<'s, K>,
    base: Ipa,
    memory: Option<SharedMemory>,
}

impl<K: RawMutex> Leaving<'_, K> {
    /// Puts what is left back. If nothing is left, its place is free, or reserved if it is to be
    /// kept: returns whether it is.
    fn end(&mut self, keep_place: bool) -> bool {
        let Some(memory) = self.memory.take() else { return false };
        let mut shadow = self.shadow.lock();
        let is_kept = shadow.return_shared(self.base, memory) && keep_place;
        is_kept && shadow.reserve_shared(1).is_ok()
    }
}

impl<K: RawMutex> Drop for Leaving<'_, K> {
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
    /// One unmap command, for the first piece that is shared in a claimed range that cuts no piece.
    /// What is unmapped is freed, the rest stays in its record.
    pub(crate) fn unshare_some(
        &self,
        range: &IpaRange,
        keep_place: bool,
        idle: &mut u32,
        memory: &mut dyn HostMemory,
        free: Free<'_>,
    ) -> Result<Left, Error> {
        let Some(piece) = self.shadow.lock().leave_shared(range) else { return Ok(Left::Nothing) };
        let base = piece.ipa();
        let mut leaving = Leaving { shadow: &self.shadow, base, memory: Some(piece) };
        let answer = match &mut leaving.memory {
            Some(piece) => self.rmm.commands().rtt_unprot_unmap_some(&self.rd, piece),
            None => Ok(Undelegated::empty()),
        };
        let is_kept = leaving.end(keep_place);
        let host = answer?;
        if host.is_empty() {
            *idle = idle.saturating_add(1);
            self.rmm.platform().relax();
            self.budget_left(Command::RttUnprotUnmap, *idle, base)?;
        } else {
            *idle = 0;
            free(memory, host);
        }
        Ok(if is_kept { Left::Place } else { Left::Some })
    }
}
