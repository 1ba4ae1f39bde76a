//! Tables that one entry could replace.

use rmi_abi::Ipa;
use rmi_abi::rtt::Level;
use rmi_host::InUse;

use super::{NO_TABLE, Shadow, tag};
use crate::shadow::budget::look_at;

/// A table that could be replaced by one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foldable {
    /// By a void entry, as far as the host knows.
    Void,
    /// By a block.
    Block,
}

impl Shadow<'_> {
    /// Whether one entry could map the same as the table of `level` that covers `ipa`.
    pub(crate) fn foldable(&self, level: Level, ipa: Ipa) -> Option<Foldable> {
        let table = self
            .slot(self.table_number(None, level, ipa)?)
            .filter(|table| table.parent != NO_TABLE)?;
        if table.live == 0 {
            return Some(Foldable::Void);
        }
        look_at(table.entries.len());
        let first = table.entries.first()?;
        let base = first.range()?.base();
        let (bytes, tag) = (level.entry_bytes(), first.tag());
        let is_block = level.parent().is_some_and(Level::may_map)
            && base.is_aligned(level.table_bytes())
            && table.entries.iter().zip(0u64..).all(|(entry, n)| {
                entry.tag() == tag
                    && entry.range().is_some_and(|range| {
                        range.bytes() == bytes && Some(range.base()) == base.checked_add(n * bytes)
                    })
            });
        is_block.then_some(Foldable::Block)
    }

    /// Replaces a foldable table by one entry, and returns its granule.
    pub(crate) fn fold(&mut self, level: Level, ipa: Ipa) -> Option<InUse> {
        let folded = self.foldable(level, ipa)?;
        let number = self.table_number(None, level, ipa)?;
        let mut block = InUse::empty();
        let mut tag = tag::SURE;
        if folded == Foldable::Block {
            let table = self.slot_mut(number)?;
            look_at(table.entries.len());
            for entry in &mut table.entries {
                tag = entry.tag();
                // The entries are one ascending run.
                let _ = entry.take().map(|part| block.append(part));
            }
            table.live = 0;
        }
        let base = self.geometry.table_base(ipa, level);
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
