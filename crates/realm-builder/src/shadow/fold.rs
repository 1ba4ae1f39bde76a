//! Tables that one entry could replace.

use rmi_abi::Ipa;
use rmi_abi::rtt::Level;
use rmi_host::{InUse, PackedBlock};

use super::{NO_TABLE, Shadow, tag};
use crate::shadow::budget::look_at;
use crate::shadow::shape::Shape;

/// A table that could be replaced by one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foldable {
    /// By a void entry, as far as the host knows.
    Void,
    /// By a block.
    Block,
}

impl<S: Shape> Shadow<'_, S> {
    /// Whether one entry could map the same as the table of `level` that covers `ipa`.
    pub(crate) fn foldable(&self, level: Level, ipa: Ipa) -> Option<Foldable> {
        let number = self.table_number(None, level, ipa)?;
        let table = self.slot(number).filter(|table| table.parent != NO_TABLE)?;
        let first = table.entries.first()?;
        if self.live_part(number).is_none() {
            return Some(Foldable::Void);
        }
        let base = first.range()?.base();
        let (bytes, tag) = (self.geometry().entry_bytes(level), first.tag());
        let is_block = level.parent().is_some_and(Level::may_map)
            && base.is_aligned(self.geometry().table_bytes(level))
            && self.entries(number).zip(0u64..).all(|(entry, n)| {
                entry.tag() == tag
                    && entry.range().is_some_and(|range| {
                        range.bytes() == bytes && Some(range.base()) == base.checked_add(n * bytes)
                    })
            });
        is_block.then_some(Foldable::Block)
    }

    /// The entries of the table that begins with a shadow table.
    pub(super) fn entries(&self, first: u32) -> impl Iterator<Item = &PackedBlock> {
        let parts = self.parts_of(first).filter_map(|part| self.slot(part));
        parts.flat_map(|table| {
            look_at(table.entries.len());
            &table.entries
        })
    }

    /// Replaces a foldable table by one entry, and returns its granule.
    pub(crate) fn fold(&mut self, level: Level, ipa: Ipa) -> Option<InUse> {
        let folded = self.foldable(level, ipa)?;
        let number = self.table_number(None, level, ipa)?;
        let mut block = InUse::empty();
        let mut tag = tag::SURE;
        if folded == Foldable::Block {
            let mut part = 0;
            while part < self.parts() {
                let table = self.slot_mut(number | part)?;
                part += 1;
                look_at(table.entries.len());
                for entry in &mut table.entries {
                    tag = entry.tag();
                    // The entries are one ascending run.
                    let _ = entry.take().map(|part| block.append(part));
                }
                table.live = 0;
            }
        }
        let base = self.geometry().table_base(ipa, level);
        let granule = self.remove_table(None, level, ipa);
        if !block.is_empty() {
            // The bytes are counted already.
            self.bytes -= block.bytes();
            let refused = self.put(base, block, tag);
            drop(refused);
        }
        granule
    }
}
