//! Tables that one entry could replace.

use rmi_abi::Ipa;
use rmi_abi::rtt::Level;
use rmi_host::InUse;

use super::{NOWHERE, Shadow, tag};
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
        let room =
            self.room(self.table(None, level, ipa)?).filter(|room| room.parent != NOWHERE)?;
        if room.live == 0 {
            return Some(Foldable::Void);
        }
        look_at(room.cells.len());
        let first = room.cells.first()?;
        let base = first.range()?.base();
        let (bytes, tag) = (level.entry_bytes(), first.tag());
        let is_block = level.parent().is_some_and(Level::may_map)
            && base.is_aligned(level.table_bytes())
            && room.cells.iter().zip(0u64..).all(|(cell, n)| {
                cell.tag() == tag
                    && cell.range().is_some_and(|range| {
                        range.bytes() == bytes && Some(range.base()) == base.checked_add(n * bytes)
                    })
            });
        is_block.then_some(Foldable::Block)
    }

    /// Replaces a foldable table by one entry, and returns its granule.
    pub(crate) fn fold(&mut self, level: Level, ipa: Ipa) -> Option<InUse> {
        let folded = self.foldable(level, ipa)?;
        let number = self.table(None, level, ipa)?;
        let mut block = InUse::empty();
        let mut tag = tag::SURE;
        if folded == Foldable::Block {
            let room = self.room_mut(number)?;
            look_at(room.cells.len());
            for cell in &mut room.cells {
                tag = cell.tag();
                // The entries are one ascending run.
                let _ = cell.take().map(|part| block.append(part));
            }
            room.live = 0;
        }
        let base = self.geometry.table_base(ipa, level);
        let granule = self.prune(None, level, ipa);
        if !block.is_empty() {
            // The bytes are counted already.
            self.bytes -= block.bytes();
            let refused = self.put(base, block, tag);
            drop(refused);
        }
        granule
    }
}
