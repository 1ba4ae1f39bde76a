//! The records of shared memory.

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Ipa, IpaRange};

use super::Shadow;
use crate::error::BuildError;
use crate::storage::SharedPiece;

impl Shadow<'_> {
    /// The first piece of shared memory that overlaps a range: where it is recorded, and its range.
    pub(crate) fn shared_in(&self, range: &IpaRange) -> Option<(usize, IpaRange)> {
        let (Ok(at) | Err(at)) = self.shared.find(range.base());
        let first = at.saturating_sub(1);
        let mut pieces = (first..).zip(self.shared.iter().skip(first).map(SharedPiece::range));
        pieces.by_ref().take(2).find(|(_, piece)| piece.overlaps(range))
    }

    /// How many ends of a range lie inside a piece of shared memory: taking the range out makes so many records more.
    pub(crate) fn shared_cuts(&self, range: &IpaRange) -> usize {
        let is_cut = |end: &Ipa| {
            let page = IpaRange::with_size(*end, MIN_GRANULE).unwrap_or(IpaRange::empty(*end));
            self.shared_in(&page).is_some_and(|(_, piece)| piece.base() < *end)
        };
        [range.base(), range.top()].iter().filter(|end| is_cut(end)).count()
    }

    /// Promises places for records of shared memory.
    ///
    /// # Errors
    ///
    /// [`BuildError::Storage`] when there are none; [`BuildError::Contended`] when others have been promised them and may not need them.
    pub(crate) fn reserve_shared(&mut self, records: usize) -> Result<(), BuildError> {
        let missing = records.saturating_sub(self.shared.spare());
        if missing > 0 {
            return Err(BuildError::Storage { records: "shared memory", missing });
        }
        if self.reserved_shared + records > self.shared.spare() {
            let base = self.geometry.unprotected_base();
            let range = IpaRange::new(base, self.geometry.end()).unwrap_or(IpaRange::empty(base));
            return Err(BuildError::Contended { range });
        }
        self.reserved_shared += records;
        Ok(())
    }

    /// Takes such promises back.
    pub(crate) fn unreserve_shared(&mut self, records: usize) {
        self.reserved_shared = self.reserved_shared.saturating_sub(records);
    }

    /// Joins a record of shared memory with the one that follows it, if they are one piece.
    pub(crate) fn join_shared(&mut self, at: usize) {
        let Some(next) = self.shared.remove(at + 1) else { return };
        let apart = match self.shared.get_mut(at) {
            Some(piece) => piece.memory.append(next.memory).err(),
            None => Some(next.memory),
        };
        if let Some(memory) = apart {
            // Its place has just become free.
            let homeless = self.shared.insert(SharedPiece { memory });
            drop(homeless);
        }
    }

    /// Takes the first part of shared memory that lies in a range out of the records. What its piece has outside stays in them.
    pub(crate) fn cut_shared(&mut self, range: &IpaRange) -> Option<SharedPiece> {
        let (at, whole) = self.shared_in(range)?;
        let inside = whole.intersection(range)?;
        let mut memory = self.shared.remove(at)?.memory;
        let before = inside.base().checked_offset_from(whole.base())?;
        let front = memory.take_front(before);
        let part = memory.take_front(inside.bytes());
        for rest in front.into_iter().chain([memory]).filter(|rest| !rest.is_empty()) {
            // There is room, see above.
            let homeless = self.shared.insert(SharedPiece { memory: rest });
            drop(homeless);
        }
        part.map(|memory| SharedPiece { memory })
    }
}
