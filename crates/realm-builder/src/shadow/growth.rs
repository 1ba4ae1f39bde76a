//! Storage on the heap that grows.
//!
//! What a Realm needs more is allocated before the Realm's lock is taken, put in while it is held,
//! and what that replaces is freed after it is released. An allocation that fails is an answer, not
//! a panic: the same as that of lent storage which is full.

use alloc::vec::Vec;

use crate::shadow::Shadow;
use crate::shadow::shape::Shape;
use crate::shadow::storage::{ShadowTable, SharedRecord};

/// Shadow tables that are allocated at a time, in 16.5 KiB.
pub(crate) const TABLES_PER_CHUNK: usize = 4;

/// Slots for shared memory at most: inserting a record moves those after it while the lock is held,
/// and the Realm chooses how many there are.
pub(crate) const MAX_SHARED: usize = 4096;

/// A vector of `len` values that are made in place, one by one; `None` when there is no memory.
pub(crate) fn try_vec<T>(len: usize, make: impl FnMut() -> T) -> Option<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).ok()?;
    values.resize_with(len, make);
    Some(values)
}

/// Shadow tables on the heap, in chunks: when their number grows, tables do not move, but the list
/// of chunks does.
#[derive(Debug)]
pub(crate) struct TableChunks(Vec<Vec<ShadowTable>>);

impl TableChunks {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Number of chunks.
    pub(crate) const fn chunks(&self) -> usize {
        self.0.len()
    }

    /// Number of tables.
    pub(crate) const fn len(&self) -> usize {
        self.0.len() * TABLES_PER_CHUNK
    }

    pub(crate) fn get(&self, number: usize) -> Option<&ShadowTable> {
        self.0.get(number / TABLES_PER_CHUNK)?.get(number % TABLES_PER_CHUNK)
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut ShadowTable> {
        self.0.get_mut(number / TABLES_PER_CHUNK)?.get_mut(number % TABLES_PER_CHUNK)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut ShadowTable> {
        self.0.iter_mut().flatten()
    }

    /// At least `tables` new ones, after `chunks` chunks that are empty: the place of those that
    /// there are. `None` when there is no memory.
    ///
    /// An eighth more than there are, if there is memory for so many: the list of chunks is then
    /// moved seldom.
    pub(crate) fn allocate(chunks: usize, tables: usize) -> Option<Self> {
        let least = tables.div_ceil(TABLES_PER_CHUNK);
        let most = least.max(chunks / 8);
        Self::allocate_chunks(chunks, most).or_else(|| Self::allocate_chunks(chunks, least))
    }

    fn allocate_chunks(chunks: usize, more: usize) -> Option<Self> {
        let mut all = Vec::new();
        all.try_reserve_exact(chunks.checked_add(more)?).ok()?;
        all.resize_with(chunks, Vec::new);
        for _ in 0..more {
            all.push(try_vec(TABLES_PER_CHUNK, ShadowTable::new)?);
        }
        Some(Self(all))
    }

    /// Puts the tables that there are in front of new ones, and returns what is no longer needed:
    /// the old list, or the new tables if there are more chunks by now than were expected.
    pub(crate) fn replace(&mut self, mut larger: Self) -> Self {
        let is_vacant = |chunk: &Vec<ShadowTable>| chunk.is_empty();
        if larger.0.iter().take_while(|chunk| is_vacant(chunk)).count() == self.0.len() {
            for (chunk, place) in self.0.iter_mut().zip(&mut larger.0) {
                core::mem::swap(chunk, place);
            }
            core::mem::swap(self, &mut larger);
        }
        larger
    }
}

impl<S: Shape> Shadow<'_, S> {
    /// Allocates what every Realm needs, if the storage grows: the fixed records, and shadow tables
    /// for the root tables. What could not be allocated is missing.
    pub(super) fn allocate(&mut self) {
        self.fixed.allocate();
        let roots = self.roots() * self.parts() as usize;
        let missing = roots.saturating_sub(self.slots.len());
        if missing > 0
            && let Some(tables) = self.slots.growing()
            && let Some(larger) = TableChunks::allocate(tables.chunks(), missing)
        {
            tables.replace(larger);
        }
    }

    /// How many chunks of shadow tables there are, if their number grows.
    pub(crate) fn chunks(&mut self) -> Option<usize> {
        self.slots.growing().map(|tables| tables.chunks())
    }

    /// Adds shadow tables, and returns what is to be freed.
    pub(crate) fn add_chunks(&mut self, larger: TableChunks) -> TableChunks {
        match self.slots.growing() {
            Some(tables) => tables.replace(larger),
            None => larger,
        }
    }

    /// How many slots for shared memory suffice for so many more records, if their number grows: at
    /// least half as many again as there are, and at most [`MAX_SHARED`].
    pub(crate) fn shared_slots_for(&self, records: usize) -> Option<usize> {
        let slots = self.shared.growing()?;
        let free = self.shared.spare().saturating_sub(self.reserved_shared);
        let needed = slots.checked_add(records.saturating_sub(free))?;
        (needed <= MAX_SHARED).then(|| needed.max(slots + slots / 2).clamp(8, MAX_SHARED))
    }

    /// Adds slots for shared memory, and returns what is to be freed.
    pub(crate) fn add_shared_slots(&mut self, larger: Vec<SharedRecord>) -> Vec<SharedRecord> {
        self.shared.replace(larger)
    }
}

#[cfg(test)]
mod tests {
    use rmi_abi::rtt::{Geometry, Level};

    use super::*;
    use crate::shadow::shape::AnyShape;
    use crate::shadow::storage::Records;

    /// The addresses of tables; a chunk that is a place for others has none.
    fn addresses(tables: &TableChunks) -> Vec<*const ShadowTable> {
        (0..tables.len()).filter_map(|number| tables.get(number).map(core::ptr::from_ref)).collect()
    }

    fn add(tables: &mut TableChunks, count: usize) -> usize {
        let before = tables.chunks();
        let unneeded = tables.replace(TableChunks::allocate(before, count).unwrap());
        assert_eq!((unneeded.chunks(), addresses(&unneeded).len()), (before, 0));
        tables.chunks() - before
    }

    #[test]
    fn tables_stay_where_they_are_when_there_are_more() {
        let mut tables = TableChunks::new();
        assert_eq!((tables.len(), tables.get(0).is_none()), (0, true));
        assert_eq!(add(&mut tables, 1), 1);
        assert_eq!(tables.len(), TABLES_PER_CHUNK);
        assert!(tables.get(3).is_some() && tables.get(4).is_none());
        let before = addresses(&tables);
        // Nothing but zeros would show whose tables they are.
        tables.get_mut(2).unwrap().base = rmi_abi::Ipa::new(0x5000);
        assert_eq!(add(&mut tables, 5), 2);
        assert_eq!(addresses(&tables)[..4], before);
        assert_eq!(tables.get(2).unwrap().base.raw(), 0x5000);
        assert_eq!((addresses(&tables).len(), tables.iter_mut().count()), (12, 12));
        // An eighth, where that is more than what is needed.
        assert_eq!(add(&mut tables, 4 * 13), 13);
        assert_eq!(add(&mut tables, 1), 2);
    }

    /// Another thread was faster: both have a place for as many chunks as there were.
    #[test]
    fn what_was_allocated_for_fewer_tables_is_returned() {
        let mut tables = TableChunks::new();
        let [first, second] = [1, 1].map(|count| TableChunks::allocate(0, count).unwrap());
        assert_eq!(tables.replace(first).chunks(), 0);
        let before = addresses(&tables);
        let unneeded = tables.replace(second);
        assert_eq!((unneeded.chunks(), addresses(&unneeded).len()), (1, TABLES_PER_CHUNK));
        assert_eq!((tables.chunks(), addresses(&tables)), (1, before));
    }

    #[test]
    fn places_for_shared_memory_grow_by_half_or_as_much_as_needed() {
        let geometry = Geometry::with_start_level(39, Level::L1).unwrap();
        let mut shadow = Shadow::<AnyShape>::new(geometry, 0, Records::growing()).unwrap();
        assert_eq!((shadow.chunks(), shadow.slots.len()), (Some(1), TABLES_PER_CHUNK));
        assert_eq!(shadow.shared_slots_for(1), Some(8));
        assert_eq!(shadow.shared_slots_for(9), Some(9));
        assert!(shadow.reserve_shared(1).is_err());
        let unneeded = shadow.add_shared_slots(try_vec(20, || None).unwrap());
        assert!(unneeded.is_empty());
        shadow.reserve_shared(15).unwrap();
        assert_eq!(shadow.shared_slots_for(6), Some(30));
        assert_eq!(shadow.shared_slots_for(25), Some(40));
        // There are more by now.
        let unneeded = shadow.add_shared_slots(try_vec(20, || None).unwrap());
        assert_eq!((unneeded.len(), shadow.shared.growing()), (20, Some(20)));
        // A record fewer than would be too many, and too many.
        assert_eq!(shadow.shared_slots_for(MAX_SHARED - 15), Some(MAX_SHARED));
        assert_eq!(shadow.shared_slots_for(MAX_SHARED - 14), None);
        let unneeded = shadow.add_shared_slots(try_vec(MAX_SHARED - 1, || None).unwrap());
        assert_eq!(unneeded.len(), 20);
        assert_eq!(shadow.shared_slots_for(MAX_SHARED - 15), Some(MAX_SHARED));
        let unneeded = shadow.add_shared_slots(try_vec(MAX_SHARED, || None).unwrap());
        assert_eq!(unneeded.len(), MAX_SHARED - 1);
        shadow.reserve_shared(MAX_SHARED - 15).unwrap();
        assert_eq!(shadow.shared_slots_for(1), None);
        // Lent storage does not grow.
        let (mut fixed, mut tables) = (crate::FixedRecords::new(), [ShadowTable::new()]);
        let records = Records::new(&mut fixed, &mut tables, &mut []);
        let mut lent = Shadow::<AnyShape>::new(geometry, 0, records).unwrap();
        assert_eq!((lent.chunks(), lent.shared_slots_for(1)), (None, None));
        let larger = TableChunks::allocate(0, 1).unwrap();
        assert_eq!(lent.add_chunks(larger).chunks(), 1);
        assert_eq!(lent.add_shared_slots(try_vec(4, || None).unwrap()).len(), 4);
        assert_eq!((lent.slots.len(), lent.shared.spare()), (1, 0));
    }
}
