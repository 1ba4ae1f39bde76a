//! The auxiliary trees in the shadow: which of their tables exist, and which of their entries show
//! memory.
//!
//! Their tables have shadow tables like those of the primary tree: first the root tables of all
//! trees, then the others in any order. An entry owns no memory, so its shadow is a number: that of
//! a shadow table, or one that says that it shows what the primary tree maps.
//!
//! An auxiliary tree has a table only where the primary one has the same, and an entry that shows
//! memory has the size of the primary one. So a claim on an entry of the primary tree covers all
//! that is shown of it.
//!
//! In the unprotected half an auxiliary tree has only root entries, and those that show memory
//! refer to the primary tree's own tables.

use core::ops::ControlFlow;

use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::command::AuxTree;
use rmi_host::{InUse, PackedBlock};

use super::{At, Foldable, NO_TABLE, PRIMARY, Shadow};
use crate::shadow::budget::Budget;
use crate::shadow::shape::Shape;

/// An entry that shows memory, as the RMM has said.
const SHOWN: u32 = 0xffff_fffe;
/// An entry that may show memory: the answer was unclear.
const UNSURE: u32 = 0xffff_fffd;

/// Whether a number in an entry is that of a shadow table.
pub(super) const fn is_table(number: u32) -> bool {
    number != 0 && number < UNSURE
}

/// What an entry of an auxiliary tree shows, as far as the host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    /// It shows nothing.
    Nothing,
    /// It may show memory.
    Perhaps,
    /// It shows memory.
    Memory,
}

/// Entries of one level that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) range: IpaRange,
    pub(crate) level: Level,
    /// Binary logarithm of the bytes that an entry covers.
    shift: u8,
    /// Whether the RMM has said what the entries show.
    pub(crate) sure: bool,
}

impl Row {
    fn of(at: At, sure: bool) -> Self {
        Self { range: at.range(), level: at.level, shift: at.shift, sure }
    }

    /// The row with another entry that follows.
    fn with(self, at: At) -> Option<Self> {
        let follows = at.level == self.level && at.base == self.range.top();
        let range = IpaRange::new(self.range.base(), at.top()).ok().filter(|_| follows)?;
        Some(Self { range, ..self })
    }

    /// Bytes that one entry covers.
    const fn entry_bytes(&self) -> u64 {
        1 << self.shift
    }

    fn entries(&self) -> u64 {
        self.range.bytes() >> self.shift
    }

    /// How many aligned pieces of `bytes` the row touches.
    pub(crate) fn count(&self, bytes: u64) -> u64 {
        self.range.top().raw().div_ceil(bytes) - self.range.base().raw() / bytes
    }

    /// The whole entries below an address, and the entry that has it in its middle, if any.
    pub(crate) fn split(&self, reached: Ipa) -> (IpaRange, IpaRange) {
        let bytes = self.entry_bytes();
        let end = reached.align_down(bytes).max(self.range.base()).min(self.range.top());
        let whole = self.range.before(end);
        let part = match reached > end && end < self.range.top() {
            true => IpaRange::with_size_or_empty(end, bytes),
            false => IpaRange::empty(end),
        };
        (whole, part)
    }

    /// The first entry alone.
    pub(crate) fn first(&self) -> Self {
        let bytes = self.entry_bytes();
        let range = IpaRange::with_size(self.range.base(), bytes).unwrap_or(self.range);
        Self { range, ..*self }
    }
}

/// Of the first rows of some trees, the one that begins at the lowest address.
pub(crate) fn lowest_row(
    trees: &mut dyn Iterator<Item = AuxTree>,
    row: &dyn Fn(AuxTree) -> Option<Row>,
) -> Option<(AuxTree, Row)> {
    let mut lowest: Option<(AuxTree, Row)> = None;
    for tree in trees {
        let Some(row) = row(tree) else { continue };
        if lowest.as_ref().is_none_or(|(_, other)| row.range.base() < other.range.base()) {
            lowest = Some((tree, row));
        }
    }
    lowest
}

impl<S: Shape> Shadow<'_, S> {
    /// Auxiliary trees.
    pub(crate) fn aux_trees(&self) -> impl Iterator<Item = AuxTree> + Clone + use<S> {
        // Not an inclusive range, whose end takes much more code.
        let trees = if S::AUX_TREES { self.aux_trees } else { 0 };
        (0..trees).filter_map(|before| AuxTree::new(before + 1))
    }

    /// Whether an auxiliary tree may show anything.
    pub(crate) const fn shows_anything(&self) -> bool {
        if !S::AUX_TREES {
            return false;
        }
        self.shown > 0
    }

    /// Whether an auxiliary tree may refer to a table of the primary one.
    pub(crate) const fn refers(&self) -> bool {
        if !S::AUX_TREES {
            return false;
        }
        self.referring > 0
    }

    /// The entries, from the one that holds the first address of a range to the one that holds its
    /// last, in the primary tree and in some auxiliary ones.
    pub(crate) fn whole_entries(
        &self,
        range: IpaRange,
        trees: &mut dyn Iterator<Item = AuxTree>,
    ) -> IpaRange {
        let last = Ipa::new(range.top().raw().saturating_sub(1));
        let (mut base, mut top) = (range.base(), range.top());
        for tree in core::iter::once(PRIMARY).chain(trees.map(AuxTree::index)) {
            if let Some(at) = self.walk_tree(tree, range.base(), Level::L3) {
                base = base.min(at.base);
            }
            if let Some(at) = self.walk_tree(tree, last, Level::L3) {
                top = top.max(at.top());
            }
        }
        IpaRange::new(base, top).unwrap_or(range)
    }

    /// What an entry of an auxiliary tree shows; an entry with a table shows nothing itself.
    fn shows(&self, at: At) -> Shows {
        match self.look(at).as_number() {
            Some(SHOWN) => Shows::Memory,
            Some(UNSURE) => Shows::Perhaps,
            _ => Shows::Nothing,
        }
    }

    /// Records what the entries of an auxiliary tree in a range show, where the primary one maps
    /// memory of the same size.
    pub(crate) fn note(&mut self, tree: AuxTree, range: IpaRange, shows: Shows) {
        if !S::AUX_TREES {
            return;
        }
        let mut from = range.base();
        while from < range.top() {
            self.note_some(tree, &mut from, range, shows, &mut Budget::new());
        }
    }

    /// The same from `from` on, which moves along, within a budget.
    pub(crate) fn note_some(
        &mut self,
        tree: AuxTree,
        from: &mut Ipa,
        range: IpaRange,
        shows: Shows,
        budget: &mut Budget,
    ) {
        while *from < range.top() && budget.spend_one() {
            let Some(at) = self.walk_tree(tree.index(), *from, Level::L3) else {
                *from = range.top();
                return;
            };
            if at.base >= range.base() && at.top() <= range.top() {
                self.set(at, shows);
            }
            *from = at.top();
        }
    }

    /// Records that an auxiliary tree may show all memory in a range, contrary to what was
    /// recorded: the RMM says that it shows some.
    pub(crate) fn doubt(&mut self, tree: AuxTree, range: IpaRange) {
        let mut from = range.base();
        while let Some(at) = self.next_memory(from, range.top()) {
            from = at.top();
            self.doubt_entry(tree, at);
        }
    }

    /// The same of one entry of the primary tree.
    pub(crate) fn doubt_entry(&mut self, tree: AuxTree, at: At) {
        let aux = self.walk_tree(tree.index(), at.base, at.level);
        if aux.is_some_and(|aux| aux.level == at.level) {
            self.note(tree, at.range(), Shows::Perhaps);
        }
    }

    fn set(&mut self, at: At, shows: Shows) {
        let was = self.shows(at) != Shows::Nothing;
        let number = match shows {
            Shows::Nothing => 0,
            Shows::Perhaps => UNSURE,
            Shows::Memory => SHOWN,
        };
        let is = number != 0;
        let Some(table) = self.slot_mut(at.table) else { return };
        let Some(entry) = table.entries.get_mut(at.index) else { return };
        if entry.as_number().is_none_or(is_table) {
            return;
        }
        *entry = PackedBlock::number(number);
        table.live = table.live + u16::from(is) - u16::from(was);
        self.shown = self.shown + usize::from(is) - usize::from(was);
        if self.geometry().is_unprotected(at.base) {
            self.referring = self.referring + usize::from(is) - usize::from(was);
        }
    }

    /// Adds an entry that maps memory to a row of those which an auxiliary tree does not certainly
    /// show, unless the row ends here, or has `most` entries with it.
    pub(crate) fn extend_hidden(
        &self,
        tree: AuxTree,
        at: At,
        most: u64,
        row: &mut Option<Row>,
    ) -> ControlFlow<()> {
        let Some(aux) = self.walk_tree(tree.index(), at.base, at.level) else {
            return ControlFlow::Break(());
        };
        let hidden = self.shows(aux) != Shows::Memory;
        let longer = match *row {
            None if !hidden => return ControlFlow::Continue(()),
            None => Some(Row::of(at, true)),
            Some(row) => row.with(at).filter(|_| hidden),
        };
        let Some(longer) = longer else { return ControlFlow::Break(()) };
        *row = Some(longer);
        match longer.entries() < most {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    /// The first entries of an auxiliary tree from `from` on, and below `top`, that show memory: of
    /// one size, and one after the other, at most `most`. One that only may show it is returned
    /// alone.
    pub(crate) fn shown_row(&self, tree: AuxTree, from: Ipa, top: Ipa, most: u64) -> Option<Row> {
        let (mut from, mut row) = (from, None);
        while !self.shown_some(tree, &mut from, top, most, &mut row, &mut Budget::new()) {}
        row
    }

    /// Adds to such a row from `from` on, which moves along, within a budget; true when the row
    /// ends.
    pub(crate) fn shown_some(
        &self,
        tree: AuxTree,
        from: &mut Ipa,
        top: Ipa,
        most: u64,
        row: &mut Option<Row>,
        budget: &mut Budget,
    ) -> bool {
        while *from < top && row.is_none_or(|row| row.entries() < most) {
            if !budget.spend_one() {
                return false;
            }
            let Some(at) = self.walk_tree(tree.index(), *from, Level::L3) else { break };
            *from = at.top();
            *row = match (*row, self.shows(at)) {
                (None, Shows::Nothing) => {
                    *from = self.skip_within(at, budget);
                    None
                }
                (None, shows) => {
                    let sure = shows == Shows::Memory;
                    *row = Some(Row::of(at, sure));
                    if !sure {
                        break;
                    }
                    continue;
                }
                (Some(row), shows) => match row.with(at).filter(|_| shows == Shows::Memory) {
                    Some(longer) => Some(longer),
                    None => break,
                },
            };
        }
        true
    }

    /// The first root entry, in address order, by which any auxiliary tree refers to a table of the
    /// primary one for a part of a range of the unprotected half, or may.
    pub(crate) fn reference(&self, range: IpaRange) -> Option<(AuxTree, Row)> {
        if !self.refers() {
            return None;
        }
        let row = |tree| self.shown_row(tree, range.base(), range.top(), 1);
        lowest_row(&mut self.aux_trees(), &row)
    }

    /// Removes the tables of the primary tree that cover parts of a range of the unprotected half,
    /// deepest first: the references to them cannot be removed, so they must not be destroyed.
    pub(crate) fn lose_tables(&mut self, range: IpaRange, lost: &mut dyn FnMut(InUse)) {
        for level in [Level::L3, Level::L2, Level::L1] {
            let mut ipa = range.base();
            while ipa < range.top()
                && let Some(at) = self.walk(ipa, level)
            {
                ipa = if at.level == level {
                    let bytes = self.geometry().table_bytes(level);
                    let base = at.base.align_down(bytes);
                    self.remove_table(None, level, base).into_iter().for_each(&mut *lost);
                    base.checked_add(bytes).unwrap_or(range.top())
                } else {
                    self.skip_void(at)
                };
            }
        }
    }

    /// Whether one entry could show the same as the table of `level` that covers `ipa` in an
    /// auxiliary tree.
    pub(crate) fn aux_foldable(&self, tree: AuxTree, level: Level, ipa: Ipa) -> Option<Foldable> {
        let number = self.table_number(Some(tree), level, ipa)?;
        self.slot(number).filter(|table| table.parent != NO_TABLE)?;
        if self.live_part(number).is_none() {
            return Some(Foldable::Void);
        }
        let shows = |entry: &PackedBlock| entry.as_number() == Some(SHOWN);
        self.entries(number).all(shows).then_some(Foldable::Block)
    }

    /// Replaces a foldable table of an auxiliary tree by one entry, and returns its granule.
    pub(crate) fn aux_fold(&mut self, tree: AuxTree, level: Level, ipa: Ipa) -> Option<InUse> {
        let folded = self.aux_foldable(tree, level, ipa)?;
        let base = self.geometry().table_base(ipa, level);
        let range = IpaRange::with_size(base, self.geometry().table_bytes(level)).ok()?;
        self.note(tree, range, Shows::Nothing);
        let granule = self.remove_table(Some(tree), level, ipa);
        if folded == Foldable::Block {
            self.note(tree, range, Shows::Memory);
        }
        granule
    }
}

#[cfg(test)]
mod tests;
