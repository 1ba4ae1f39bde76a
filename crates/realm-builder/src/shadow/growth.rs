//! Storage on the heap that grows.
//!
//! What a Realm needs more is allocated before the Realm's lock is taken, put in while it is held,
//! and what that replaces is freed after it is released. An allocation that fails is an answer, not
//! a panic: the same as that of lent storage which is full.

use alloc::vec::Vec;

use crate::shadow::Shadow;
use crate::shadow::storage::{ShadowTable, SharedRecord};

/// Shadow tables that are allocated at a time, in 16.5 KiB.
pub(crate) const TABLES_PER_CHUNK: usize = 4;

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

impl Shadow<'_> {
    /// Allocates what every Realm needs, if the storage grows: the fixed records, and shadow tables
    /// for the root tables. What could not be allocated is missing.
    pub(super) fn allocate(&mut self) {
        self.fixed.allocate();
        let missing = self.roots().saturating_sub(self.slots.len());
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
    /// least half as many again as there are.
    pub(crate) fn shared_slots_for(&self, records: usize) -> Option<usize> {
        let slots = self.shared.growing()?;
        let free = self.shared.spare().saturating_sub(self.reserved_shared);
        let needed = slots.checked_add(records.saturating_sub(free))?;
        Some(needed.max(slots + slots / 2).max(8))
    }

    /// Adds slots for shared memory, and returns what is to be freed.
    pub(crate) fn add_shared_slots(&mut self, larger: Vec<SharedRecord>) -> Vec<SharedRecord> {
        self.shared.replace(larger)
    }
}
