//! The shadow tables that a Realm may use.

use crate::shadow::storage::ShadowTable;

#[cfg(feature = "alloc")]
use crate::shadow::growth::TableChunks;

/// Storage for shadow tables.
#[derive(Debug)]
pub(crate) enum TableStorage<'m> {
    /// Lent.
    Lent(&'m mut [ShadowTable]),
    /// On the heap, where their number grows.
    #[cfg(feature = "alloc")]
    Heap(TableChunks),
}

impl Default for TableStorage<'_> {
    fn default() -> Self {
        Self::Lent(&mut [])
    }
}

impl TableStorage<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Lent(tables) => tables.len(),
            #[cfg(feature = "alloc")]
            Self::Heap(tables) => tables.len(),
        }
    }

    fn get(&self, number: u32) -> Option<&ShadowTable> {
        let number = usize::try_from(number).ok()?;
        match self {
            Self::Lent(tables) => tables.get(number),
            #[cfg(feature = "alloc")]
            Self::Heap(tables) => tables.get(number),
        }
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut ShadowTable> {
        let number = usize::try_from(number).ok()?;
        match self {
            Self::Lent(tables) => tables.get_mut(number),
            #[cfg(feature = "alloc")]
            Self::Heap(tables) => tables.get_mut(number),
        }
    }

    /// Makes the first tables vacant.
    fn clear(&mut self, tables: usize) {
        let clear = ShadowTable::clear;
        match self {
            Self::Lent(all) => all.iter_mut().take(tables).for_each(clear),
            #[cfg(feature = "alloc")]
            Self::Heap(all) => all.iter_mut().take(tables).for_each(clear),
        }
    }
}

/// Shadow tables, by number. Memory that is left in them when this is dropped is leaked, and
/// counted.
pub(crate) struct TableSlots<'m> {
    tables: TableStorage<'m>,
    /// How many of the first ones have been used.
    used: usize,
}

impl<'m> TableSlots<'m> {
    /// Makes all of them vacant and unused: what a Realm left in them is leaked, and counted.
    pub(crate) fn new(mut tables: TableStorage<'m>) -> Self {
        tables.clear(usize::MAX);
        Self { tables, used: 0 }
    }

    fn clear(&mut self) {
        self.tables.clear(self.used);
        self.used = 0;
    }

    /// Makes all of them vacant, and takes them out.
    pub(crate) fn take(&mut self) -> TableStorage<'m> {
        self.clear();
        core::mem::take(&mut self.tables)
    }

    /// The tables that grow, if they do.
    #[cfg(feature = "alloc")]
    pub(crate) const fn growing(&mut self) -> Option<&mut TableChunks> {
        match &mut self.tables {
            TableStorage::Lent(_) => None,
            TableStorage::Heap(tables) => Some(tables),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tables.len()
    }

    pub(crate) fn get(&self, number: u32) -> Option<&ShadowTable> {
        self.tables.get(number)
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut ShadowTable> {
        self.tables.get_mut(number)
    }

    /// The first one that has never been used, if there are `count` of them.
    pub(crate) fn unused(&self, count: u32) -> Option<u32> {
        let is_enough = self.used + count as usize <= self.len();
        u32::try_from(self.used).ok().filter(|_| is_enough)
    }

    /// Records that the first `count` unused ones are used.
    pub(crate) const fn use_next(&mut self, count: u32) {
        self.used += count as usize;
    }
}

impl Drop for TableSlots<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_used_one_after_the_other_and_vacant_afterwards() {
        let mut tables = [ShadowTable::new(), ShadowTable::new()];
        tables[1].live = 1;
        let mut slots = TableSlots::new(TableStorage::Lent(&mut tables));
        assert_eq!((slots.len(), slots.unused(2), slots.unused(3)), (2, Some(0), None));
        assert_eq!(slots.get(1).map(|table| table.live), Some(0));
        slots.use_next(1);
        assert_eq!((slots.unused(1), slots.unused(2)), (Some(1), None));
        slots.use_next(1);
        assert_eq!((slots.unused(1), slots.get(2).is_none()), (None, true));
        slots.get_mut(1).unwrap().live = 1;
        let TableStorage::Lent(lent) = slots.take() else { unreachable!("they were lent") };
        assert_eq!((lent[1].live, slots.len()), (0, 0));
        drop(slots);
        let mut slots = TableSlots::new(TableStorage::Lent(lent));
        slots.use_next(1);
        slots.get_mut(0).unwrap().live = 1;
        drop(slots);
        assert_eq!(tables[0].live, 0);
    }
}
