//! The records of shared memory.

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::SharedMemory;

use super::Shadow;
use crate::error::BuildError;
use crate::shadow::claims::Claim;
use crate::shadow::shape::Shape;
use crate::shadow::storage::SharedPiece;

impl<S: Shape> Shadow<'_, S> {
    /// The first piece of shared memory that overlaps a range: the index of its record, and its
    /// range.
    pub(crate) fn shared_in(&self, range: &IpaRange) -> Option<(usize, IpaRange)> {
        let (Ok(at) | Err(at)) = self.shared.find(range.base());
        let first = at.saturating_sub(1);
        let mut pieces = (first..).zip(self.shared.iter().skip(first).map(SharedPiece::range));
        pieces.by_ref().take(2).find(|(_, piece)| piece.overlaps(range))
    }

    /// The first part of a protected range of which the unprotected alias is shared, as far as that
    /// is one piece; also while a command is unmapping the piece.
    pub(crate) fn shared_alias(&self, range: &IpaRange) -> Option<IpaRange> {
        let base = self.geometry().unprotected_alias(range.base())?;
        let alias = IpaRange::with_size(base, range.bytes()).ok()?;
        let (_, piece) = self.shared_in(&alias)?;
        let part = piece.intersection(&alias)?;
        let offset = part.base().checked_offset_from(base)?;
        IpaRange::with_size(range.base().checked_add(offset)?, part.bytes()).ok()
    }

    /// How many ends of a range lie inside a piece of shared memory: removing the range adds that
    /// many records.
    pub(crate) fn shared_cuts(&self, range: &IpaRange) -> usize {
        let is_cut = |end: &Ipa| {
            self.shared_in(&page_at(*end)).is_some_and(|(_, piece)| piece.base() < *end)
        };
        [range.base(), range.top()].iter().filter(|end| is_cut(end)).count()
    }

    /// Reserves places for records of shared memory.
    ///
    /// # Errors
    ///
    /// [`BuildError::Storage`] when there are none; [`BuildError::Contended`] when other threads
    /// have reserved them and may not need them.
    pub(crate) fn reserve_shared(&mut self, records: usize) -> Result<(), BuildError> {
        let missing = records.saturating_sub(self.shared.spare());
        if missing > 0 {
            return Err(BuildError::Storage { records: "shared memory", missing });
        }
        if self.reserved_shared + records > self.shared.spare() {
            let base = self.geometry().unprotected_base();
            let range = IpaRange::new_or_empty(base, self.geometry().end());
            return Err(BuildError::Contended { range });
        }
        self.reserved_shared += records;
        Ok(())
    }

    /// Releases such reservations.
    pub(crate) fn unreserve_shared(&mut self, records: usize) {
        self.reserved_shared = self.reserved_shared.saturating_sub(records);
    }

    /// Records memory that is, or may be, shared, in a range with this claim. It is merged with
    /// adjacent pieces, except where another thread is at work. Returns whether that took a place.
    ///
    /// # Errors
    ///
    /// The memory is returned when there is no place.
    pub(crate) fn add_shared(
        &mut self,
        memory: SharedMemory,
        claim: Claim,
    ) -> Result<bool, SharedMemory> {
        let (spare, base) = (self.shared.spare(), memory.ipa());
        let top = memory.ipa_range().top();
        let (Ok(at) | Err(at)) = self.shared.find(base);
        let before = at.checked_sub(1).filter(|before| self.is_free(*before, claim));
        let before = before.and_then(|before| self.shared.get_mut(before)?.token());
        let apart = match before {
            Some(before) => before.append(memory).err(),
            None => Some(memory),
        };
        if let Some(memory) = apart {
            self.add_apart(memory)?;
        }
        self.join_shared(top, claim);
        Ok(self.shared.spare() < spare)
    }

    /// Records memory that is, or may be, shared, as a separate piece.
    ///
    /// # Errors
    ///
    /// The memory is returned when there is no place.
    pub(crate) fn add_apart(&mut self, memory: SharedMemory) -> Result<(), SharedMemory> {
        if self.shared.spare() == 0 {
            return Err(memory);
        }
        // There is a free place.
        let refused = self.shared.insert(SharedPiece::new(memory));
        drop(refused);
        Ok(())
    }

    /// Whether no thread but the holder of a claim is at work where a piece is.
    fn is_free(&self, at: usize, claim: Claim) -> bool {
        self.shared.get(at).is_some_and(|piece| !self.is_others(&piece.range(), claim))
    }

    /// Joins the pieces that meet at an address, if they are contiguous and no other thread is at
    /// work on them.
    pub(crate) fn join_shared(&mut self, ipa: Ipa, claim: Claim) {
        let Ok(next) = self.shared.find(ipa) else { return };
        let Some(at) = next.checked_sub(1) else { return };
        let meet = self.shared.get(at).zip(self.shared.get(next));
        let is_one = meet.is_some_and(|(piece, next)| piece.is_followed_by(next));
        if !is_one || !self.is_free(at, claim) || !self.is_free(next, claim) {
            return;
        }
        let Some(memory) = self.shared.remove(next).and_then(|mut piece| piece.leave()) else {
            return;
        };
        let apart = match self.shared.get_mut(at).and_then(SharedPiece::token) {
            Some(piece) => piece.append(memory),
            None => Err(memory),
        };
        if let Err(memory) = apart {
            // Its place has just become free.
            let refused = self.shared.insert(SharedPiece::new(memory));
            drop(refused);
        }
    }

    /// Splits the piece that reaches across an address, if there is one. Returns whether that took
    /// a place; without a free place the piece stays whole.
    pub(crate) fn cut_shared(&mut self, ipa: Ipa) -> bool {
        let Some((at, whole)) = self.shared_in(&page_at(ipa)) else { return false };
        let before = ipa.checked_offset_from(whole.base()).filter(|before| *before > 0);
        let Some(before) = before.filter(|_| self.shared.spare() > 0) else { return false };
        let Some(memory) = self.shared.get_mut(at).and_then(SharedPiece::token) else {
            return false;
        };
        let Some(front) = memory.take_front(before) else { return false };
        let rest = core::mem::replace(memory, front);
        // There is a free place.
        let refused = self.shared.insert(SharedPiece::new(rest));
        drop(refused);
        true
    }

    /// Takes the token of the first piece of shared memory in a range out of its record, which
    /// keeps its place.
    pub(crate) fn leave_shared(&mut self, range: &IpaRange) -> Option<SharedMemory> {
        let (at, piece) = self.shared_in(range)?;
        if !range.contains_range(&piece) {
            return None;
        }
        self.shared.get_mut(at)?.leave()
    }

    /// Puts what is left of a piece back into its record, which began at `base`; if nothing is
    /// left, the record is removed. Returns whether it was removed.
    pub(crate) fn return_shared(&mut self, base: Ipa, memory: SharedMemory) -> bool {
        let Ok(at) = self.shared.find(base) else {
            debug_assert!(false, "a record left its place");
            return false;
        };
        if memory.is_empty() {
            return self.shared.remove(at).is_some();
        }
        if let Some(piece) = self.shared.get_mut(at) {
            *piece = SharedPiece::new(memory);
        }
        false
    }
}

fn page_at(ipa: Ipa) -> IpaRange {
    IpaRange::with_size_or_empty(ipa, MIN_GRANULE)
}
