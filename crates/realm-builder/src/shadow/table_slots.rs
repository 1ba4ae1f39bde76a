//! The shadow tables that a Realm may use, in storage that the embedder lends.

use crate::shadow::storage::ShadowTable;

/// Shadow tables, by number. Memory that is left in them when this is dropped is leaked, and
/// counted.
pub(crate) struct TableSlots<'m> {
    tables: &'m mut [ShadowTable],
    /// How many of the first ones have been used.
    used: usize,
}

impl<'m> TableSlots<'m> {
    /// Makes all of them vacant and unused: what a Realm left in them is leaked, and counted.
    pub(crate) fn new(tables: &'m mut [ShadowTable]) -> Self {
        tables.iter_mut().for_each(ShadowTable::clear);
        Self { tables, used: 0 }
    }

    fn clear(&mut self) {
        self.tables.iter_mut().take(self.used).for_each(ShadowTable::clear);
        self.used = 0;
    }

    /// Makes all of them vacant, and takes them out.
    pub(crate) fn take(&mut self) -> &'m mut [ShadowTable] {
        self.clear();
        core::mem::take(&mut self.tables)
    }

    pub(crate) fn len(&self) -> usize {
        self.tables.len()
    }

    pub(crate) fn get(&self, number: u32) -> Option<&ShadowTable> {
        self.tables.get(usize::try_from(number).ok()?)
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut ShadowTable> {
        self.tables.get_mut(usize::try_from(number).ok()?)
    }

    /// The first one that has never been used, if there is one.
    pub(crate) fn unused(&self) -> Option<u32> {
        u32::try_from(self.used).ok().filter(|_| self.used < self.len())
    }

    /// Records that the first unused one is used.
    pub(crate) const fn use_next(&mut self) {
        self.used += 1;
    }
}

impl Drop for TableSlots<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}
