//! The host's copy of a Realm's translation tables: which tables exist, and which memory each entry
//! was given.
//!
//! The state of the RMM is authoritative. The shadow is what the host needs so that it never learns
//! from a refusal which tables are missing, and never accepts a page back that it did not give. It
//! is as large as the tables themselves: a [`ShadowTable`] for each 512 entries of a table, of
//! which 4 KiB are entries, so finding an entry is a walk and not a search.
//!
//! With granules of 4 KiB that is one for each table. Tables of larger granules have 2,048 or 8,192
//! entries and so 4 or 16 shadow tables one after the other, the parts of the table. Each has its
//! own entries and counts those that are not void; what is said of the table as a whole is in the
//! first of them. All tables of a Realm have the same number of parts, so the number of the first
//! one is always a multiple of it.
//!
//! The tables of auxiliary trees are in the same storage, see [`planes`].

pub(crate) mod budget;
pub(crate) mod claims;
mod fold;
#[cfg(feature = "alloc")]
pub(crate) mod growth;
mod planes;
mod ripas;
pub(crate) mod shape;
mod shared;
pub(crate) mod slots;
pub(crate) mod sorted_slots;
pub(crate) mod storage;
pub(crate) mod table_slots;

use core::fmt;
use core::marker::PhantomData;

use rmi_abi::rtt::{ENTRIES_PER_TABLE, Geometry, Level};
use rmi_abi::{GranuleSize, Ipa, IpaRange, PaRange};
use rmi_host::command::AuxTree;
use rmi_host::{Failed, InUse, PackedBlock};
use sro::Donated;

use crate::error::BuildError;
use crate::shadow::budget::{Budget, look_at};
use crate::shadow::claims::Claim;
use crate::shadow::shape::Shape;
use crate::shadow::sorted_slots::SortedSlots;
use crate::shadow::storage::{FixedSlot, Records, ShadowTable, SharedPiece};
use crate::shadow::table_slots::TableSlots;

pub(crate) use fold::Foldable;
pub(crate) use planes::{Row, Shows, lowest_row};

/// What the RMM has said about the memory in an entry of the shadow.
pub(crate) mod tag {
    /// It is mapped.
    pub(crate) const SURE: u8 = 0;
    /// Unsure: it is about to be mapped, or the answer was unclear.
    pub(crate) const UNSURE: u8 = 1;
    /// It is no longer mapped: an unmap command named it.
    pub(crate) const NAMED: u8 = 2;
    /// It is no longer mapped, if it ever was: an unmap command passed it and did not name it.
    pub(crate) const LOST: u8 = 3;
}

/// Entries of a shadow table.
pub(crate) const ENTRIES: usize = 512;

const _: () = assert!(ENTRIES as u64 == ENTRIES_PER_TABLE);

/// The number that means no shadow table.
const NO_TABLE: u32 = u32::MAX;

/// Number of the primary tree.
const PRIMARY: u8 = 0;

/// An entry of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    table: u32,
    index: usize,
    /// Level of the entry.
    pub(crate) level: Level,
    /// Binary logarithm of the bytes that it covers.
    shift: u8,
    /// First IPA that it covers.
    pub(crate) base: Ipa,
}

impl At {
    /// The IPAs that the entry covers.
    pub(crate) fn range(&self) -> IpaRange {
        IpaRange::with_size_or_empty(self.base, self.bytes())
    }

    /// Bytes that the entry covers.
    pub(crate) const fn bytes(&self) -> u64 {
        1 << self.shift
    }

    /// First IPA after the entry.
    pub(crate) fn top(&self) -> Ipa {
        self.range().top()
    }
}

/// What is to be dismantled next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    /// Memory is mapped here.
    Memory(At),
    /// A table is empty; of an auxiliary tree, or the primary one.
    Table(Option<AuxTree>, Level, Ipa),
    /// An auxiliary tree shows memory here.
    Shown(AuxTree, At),
}

/// See the module.
pub(crate) struct Shadow<'m, S> {
    /// See [`Shadow::geometry`].
    stored: Geometry,
    slots: TableSlots<'m>,
    /// Auxiliary trees.
    aux_trees: u8,
    /// Entries of auxiliary trees that show memory, or may.
    shown: usize,
    /// How many of them are in the unprotected half, where they refer to tables of the primary
    /// tree.
    referring: usize,
    /// First of the shadow tables that were used and are free.
    free: u32,
    /// Tables below the root, of all trees.
    tables: usize,
    /// Shadow tables that are reserved for tables about to be made.
    reserved: usize,
    /// Places that are reserved for records of shared memory.
    reserved_shared: usize,
    /// Bytes of memory in the entries.
    bytes: u64,
    /// What is mapped in the unprotected half.
    pub(crate) shared: SortedSlots<'m, SharedPiece>,
    /// What does not grow with the Realm: the parts that threads are working on, and what the RMM
    /// got when it created the Realm.
    fixed: FixedSlot<'m>,
    shape: PhantomData<fn() -> S>,
}

impl<'m, S: Shape> Shadow<'m, S> {
    /// A shadow with empty root tables. What another Realm left in the storage (one that was
    /// forgotten) is leaked, and counted.
    ///
    /// # Errors
    ///
    /// [`BuildError::Storage`] when there are not enough shadow tables for the root tables alone.
    pub(crate) fn new(
        geometry: Geometry,
        aux_trees: u8,
        storage: Records<'m>,
    ) -> Result<Self, Failed<Records<'m>, BuildError>> {
        let Records { fixed, tables, shared } = storage;
        let slots = TableSlots::new(tables);
        let (fixed, shared) = (FixedSlot::new(fixed), SortedSlots::new(shared));
        let geometry = geometry.with_known_granule(S::GRANULE_SIZE);
        let roots_each = geometry.root_tables();
        let mut shadow = Self {
            stored: geometry,
            slots,
            aux_trees,
            shown: 0,
            referring: 0,
            free: NO_TABLE,
            tables: 0,
            reserved: 0,
            reserved_shared: 0,
            bytes: 0,
            shared,
            fixed,
            shape: PhantomData,
        };
        #[cfg(feature = "alloc")]
        shadow.allocate();
        if let Err(error) = shadow.check_storage() {
            return Err(Failed::new(shadow.take_records(), error));
        }
        let bytes = geometry.table_bytes(geometry.start_level());
        for _tree in 0..shadow.trees() {
            for number in 0..u64::from(roots_each) {
                let base = Ipa::new(number.saturating_mul(bytes));
                let root = shadow.slots.unused(shadow.parts()).unwrap_or(NO_TABLE);
                let is_root = (geometry.start_level(), base);
                shadow.open(root, is_root, InUse::empty(), true, NO_TABLE);
                shadow.slots.use_next(shadow.parts());
            }
        }
        Ok(shadow)
    }

    /// Refuses storage that does not even have the records that every Realm needs.
    fn check_storage(&self) -> Result<(), BuildError> {
        let missing = |records, missing| Err(BuildError::Storage { records, missing });
        if self.fixed.get().is_none() {
            return missing("the realm itself", 1);
        }
        match (self.roots() * self.parts() as usize).saturating_sub(self.slots.len()) {
            0 => Ok(()),
            tables => missing("translation tables", tables),
        }
    }

    /// Takes the storage out, of a Realm of which nothing is left.
    pub(crate) fn take_records(&mut self) -> Records<'m> {
        Records { fixed: self.fixed.take(), tables: self.slots.take(), shared: self.shared.take() }
    }

    /// Claims a range, see [`Claims::claim`](claims::Claims::claim).
    pub(crate) fn claim(&mut self, range: IpaRange) -> Option<Claim> {
        self.fixed.get_mut()?.claims.claim(range)
    }

    /// Claims a range for reading, see [`Claims::claim_to_read`](claims::Claims::claim_to_read).
    pub(crate) fn claim_to_read(&mut self, range: IpaRange) -> Option<Claim> {
        self.fixed.get_mut()?.claims.claim_to_read(range)
    }

    /// Releases a claim.
    pub(crate) fn release(&mut self, claim: Claim) {
        if let Some(fixed) = self.fixed.get_mut() {
            fixed.claims.release(claim);
        }
    }

    /// Whether a part of a range is covered by another claim.
    pub(crate) fn is_others(&self, range: &IpaRange, own: Claim) -> bool {
        self.fixed.get().is_some_and(|fixed| fixed.claims.is_others(range, own))
    }

    /// What the RMM got when it created the Realm; `None` once the storage was taken out.
    pub(crate) fn donated(&mut self) -> Option<&mut Donated> {
        self.fixed.get_mut().map(|fixed| &mut fixed.donated)
    }

    /// Tables below the root, of all trees.
    pub(crate) const fn tables(&self) -> usize {
        self.tables
    }

    /// The tables; their size is a constant where it is known.
    const fn geometry(&self) -> Geometry {
        self.stored.with_known_granule(S::GRANULE_SIZE)
    }

    /// Shadow tables of one table: 1, 4 or 16.
    const fn parts(&self) -> u32 {
        1 << (self.geometry().granule().shift() - GranuleSize::Size4KiB.shift())
    }

    /// The parts of the table that begins with a shadow table.
    fn parts_of(&self, first: u32) -> impl Iterator<Item = u32> + use<S> {
        // The number of the first is a multiple of the number of parts.
        (0..self.parts()).map(move |part| first | part)
    }

    /// The first part of a table that has an entry that is not void.
    fn live_part(&self, first: u32) -> Option<u32> {
        let mut part = 0;
        // The compiler removes a loop of one round, but not an iterator.
        while part < self.parts() {
            if self.slot(first | part).is_some_and(|table| table.live != 0) {
                return Some(first | part);
            }
            part += 1;
        }
        None
    }

    /// Makes vacant shadow tables the shadow of a table.
    fn open(
        &mut self,
        first: u32,
        (level, base): (Level, Ipa),
        granule: InUse,
        sure: bool,
        parent: u32,
    ) {
        let bytes = self.geometry().entry_bytes(level).saturating_mul(ENTRIES_PER_TABLE);
        if let Some(table) = self.slot_mut(first) {
            table.open(level, base, granule, sure, parent);
        }
        let (mut part, mut base) = (1, base);
        while part < self.parts() {
            let Some(next) = base.checked_add(bytes) else { return };
            base = next;
            if let Some(table) = self.slot_mut(first | part) {
                table.open(level, base, InUse::empty(), sure, parent);
            }
            part += 1;
        }
    }

    /// Trees, with the primary one.
    fn trees(&self) -> usize {
        if S::AUX_TREES { 1 + usize::from(self.aux_trees) } else { 1 }
    }

    /// Root tables of all trees.
    pub(crate) fn roots(&self) -> usize {
        usize::from(self.geometry().root_tables()) * self.trees()
    }

    /// Bytes of memory that the Realm has, or may have, in its protected half.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reserves the shadow tables of tables that are about to be made.
    ///
    /// # Errors
    ///
    /// How many shadow tables are missing; none is reserved then.
    pub(crate) fn reserve(&mut self, tables: usize) -> Result<(), usize> {
        let used = self.tables + self.reserved + self.roots();
        let missing = ((used + tables) * self.parts() as usize).saturating_sub(self.slots.len());
        if missing > 0 {
            return Err(missing);
        }
        self.reserved += tables;
        Ok(())
    }

    /// Releases reservations that were not needed.
    pub(crate) fn unreserve(&mut self, tables: usize) {
        self.reserved = self.reserved.saturating_sub(tables);
    }

    fn slot(&self, number: u32) -> Option<&ShadowTable> {
        self.slots.get(number)
    }

    fn slot_mut(&mut self, number: u32) -> Option<&mut ShadowTable> {
        self.slots.get_mut(number)
    }

    /// The entry for `ipa` at `level`, or the one above it where the tables end; `None` outside the
    /// IPA space.
    pub(crate) fn walk(&self, ipa: Ipa, level: Level) -> Option<At> {
        self.walk_tree(PRIMARY, ipa, level)
    }

    fn walk_tree(&self, tree: u8, ipa: Ipa, level: Level) -> Option<At> {
        let start = self.geometry().start_level();
        if ipa >= self.geometry().end() || level < start {
            return None;
        }
        look_at(1);
        let mut table = self.first_root(tree);
        let mut at_level = start;
        loop {
            let index = self.geometry().entry_index(ipa, at_level);
            let table_part = table + u32::try_from(index / ENTRIES_PER_TABLE).ok()?;
            let index = usize::try_from(index % ENTRIES_PER_TABLE).ok()?;
            let shift = self.geometry().entry_shift(at_level);
            let base = ipa.align_down(1 << shift);
            let at =
                At { table: table_part, index, level: at_level, shift: (shift & 63) as u8, base };
            match self.entry(at)?.as_number() {
                Some(child) if planes::is_table(child) && at_level < level => {
                    table = child;
                    at_level = at_level.child()?;
                }
                _ => return Some(at),
            }
        }
    }

    /// The first shadow table after the root tables of a tree.
    fn roots_end(&self, tree: u8) -> u32 {
        self.first_root(tree) + u32::from(self.geometry().root_tables()) * self.parts()
    }

    /// The first shadow table of the root tables of a tree.
    fn first_root(&self, tree: u8) -> u32 {
        let tree = if S::AUX_TREES { tree } else { PRIMARY };
        u32::from(tree) * u32::from(self.geometry().root_tables()) * self.parts()
    }

    fn entry(&self, at: At) -> Option<&PackedBlock> {
        self.slot(at.table)?.entries.get(at.index)
    }

    fn entry_mut(&mut self, at: At) -> Option<&mut PackedBlock> {
        self.slot_mut(at.table)?.entries.get_mut(at.index)
    }

    /// The shadow of an entry.
    pub(crate) fn look(&self, at: At) -> &PackedBlock {
        const NOTHING: &PackedBlock = &PackedBlock::VACANT;
        self.entry(at).unwrap_or(NOTHING)
    }

    /// Whether an entry neither maps memory nor leads to a table.
    pub(crate) fn is_void(&self, at: At) -> bool {
        self.look(at).as_number() == Some(0)
    }

    /// The memory that an entry maps.
    pub(crate) fn memory(&self, at: At) -> Option<PaRange> {
        self.look(at).range()
    }

    /// Changes what is known about the memory of an entry.
    pub(crate) fn mark(&mut self, at: At, tag: u8) {
        if let Some(entry) = self.entry_mut(at) {
            entry.set_tag(tag);
        }
    }

    /// Puts memory into a void entry of exactly its size.
    ///
    /// # Errors
    ///
    /// The memory is returned when there is no such entry.
    pub(crate) fn put(&mut self, ipa: Ipa, memory: InUse, tag: u8) -> Result<(), InUse> {
        let bytes = memory.bytes();
        let level = [Level::L1, Level::L2, Level::L3]
            .into_iter()
            .find(|level| self.geometry().entry_bytes(*level) == bytes);
        let at = level
            .and_then(|level| self.walk(ipa, level).filter(|at| at.level == level))
            .filter(|at| at.base == ipa && self.is_void(*at));
        let Some(at) = at else { return Err(memory) };
        let packed = PackedBlock::memory(memory, tag)?;
        if let Some(table) = self.slot_mut(at.table) {
            table.live += 1;
            if let Some(entry) = table.entries.get_mut(at.index) {
                let was_unmapped = entry.flag();
                *entry = packed;
                entry.set_flag(was_unmapped);
            }
            self.bytes += bytes;
        }
        Ok(())
    }

    /// Takes the memory out of an entry.
    pub(crate) fn take(&mut self, at: At) -> Option<InUse> {
        let table = self.slot_mut(at.table)?;
        let memory = table.entries.get_mut(at.index)?.take()?;
        table.live -= 1;
        self.bytes -= memory.bytes();
        Some(memory)
    }

    /// The first entry from `from` on that maps memory, below `top`; it may begin before `from`.
    pub(crate) fn next_memory(&self, from: Ipa, top: Ipa) -> Option<At> {
        let mut ipa = from;
        while ipa < top {
            let at = self.walk(ipa, Level::L3)?;
            if self.look(at).range().is_some() {
                return Some(at);
            }
            ipa = self.skip_void(at);
        }
        None
    }

    /// As [`Shadow::next_memory`], within a budget. `from` moves along: when it is still below
    /// `top` and there is no entry, the budget is spent.
    pub(crate) fn seek_memory(&self, from: &mut Ipa, top: Ipa, budget: &mut Budget) -> Option<At> {
        while *from < top && budget.spend_one() {
            let Some(at) = self.walk(*from, Level::L3) else {
                *from = top;
                return None;
            };
            if self.look(at).range().is_some() {
                return Some(at);
            }
            *from = self.skip_within(at, budget);
        }
        None
    }

    /// First IPA after an entry and the void ones that follow it in its part of the table; the end
    /// of that part if there is no other.
    pub(crate) fn skip_void(&self, at: At) -> Ipa {
        self.skip_within(at, &mut Budget::new())
    }

    /// As [`Shadow::skip_void`]; the entries that are visited for that are spent.
    fn skip_within(&self, at: At, budget: &mut Budget) -> Ipa {
        let Some(table) = self.slot(at.table) else { return at.top() };
        let rest = table.entries.get(at.index + 1..).unwrap_or_default();
        let void = if table.live == 0 {
            rest.len()
        } else {
            let is_void = |entry: &&PackedBlock| entry.as_number() == Some(0);
            let void = rest.iter().take_while(is_void).count();
            budget.spend(void as u64);
            look_at(void);
            void
        };
        let bytes = at.bytes().saturating_mul(void as u64);
        at.top().checked_add(bytes).unwrap_or(at.top())
    }

    /// The table of `level` that covers `ipa`: its first part.
    fn table_number(&self, tree: Option<AuxTree>, level: Level, ipa: Ipa) -> Option<u32> {
        let tree = tree.filter(|_| S::AUX_TREES).map_or(PRIMARY, AuxTree::index);
        let at = self.walk_tree(tree, ipa, level).filter(|at| at.level == level)?;
        Some(at.table & !(self.parts() - 1))
    }

    /// Whether there is a table of `level` that covers `ipa`, in the primary tree.
    pub(crate) fn has_table(&self, level: Level, ipa: Ipa) -> bool {
        self.has_table_in(None, level, ipa)
    }

    /// Whether there is a table of `level` that covers `ipa`, in an auxiliary tree or the primary
    /// one.
    pub(crate) fn has_table_in(&self, tree: Option<AuxTree>, level: Level, ipa: Ipa) -> bool {
        self.table_number(tree, level, ipa).is_some()
    }

    /// Whether the RMM has certainly made the table of `level` that covers `ipa`.
    pub(crate) fn table_is_sure(&self, tree: Option<AuxTree>, level: Level, ipa: Ipa) -> bool {
        self.table_number(tree, level, ipa)
            .and_then(|number| self.slot(number))
            .is_some_and(|table| table.sure)
    }

    /// Whether the RMM has certainly made the table of `level` that covers `ipa`, below the root,
    /// and the table has neither a table below it nor private memory.
    pub(crate) fn is_sure_leaf(&self, level: Level, ipa: Ipa) -> bool {
        self.table_number(None, level, ipa)
            .and_then(|number| self.slot(number))
            .is_some_and(|table| table.sure && table.live == 0 && table.parent != NO_TABLE)
    }

    /// Records that the RMM has the table of `level` that covers `ipa`.
    pub(crate) fn trust_table(&mut self, tree: Option<AuxTree>, level: Level, ipa: Ipa) {
        if let Some(table) =
            self.table_number(tree, level, ipa).and_then(|number| self.slot_mut(number))
        {
            table.sure = true;
        }
    }

    /// Records that destroying the table was answered otherwise than with success.
    pub(crate) fn doubt_table(&mut self, tree: Option<AuxTree>, level: Level, ipa: Ipa) {
        if let Some(table) =
            self.table_number(tree, level, ipa).and_then(|number| self.slot_mut(number))
        {
            table.sure = false;
        }
    }

    /// The address of the granule of the table of `level` that covers `ipa`.
    pub(crate) fn table_granule(
        &self,
        tree: Option<AuxTree>,
        level: Level,
        ipa: Ipa,
    ) -> Option<PaRange> {
        let table = self.table_number(tree, level, ipa).and_then(|number| self.slot(number))?;
        Some(table.granule.range()).filter(|range| !range.is_empty())
    }

    /// Adds a table, made of `granule`, in the place of an entry; a block there is split. What an
    /// auxiliary tree shows is not split: it is hidden first.
    ///
    /// # Errors
    ///
    /// The granule is returned when there is no free shadow table, or the parent table is missing.
    pub(crate) fn add_table(
        &mut self,
        tree: Option<AuxTree>,
        level: Level,
        ipa: Ipa,
        granule: InUse,
        sure: bool,
    ) -> Result<(), InUse> {
        let parent = level
            .parent()
            .and_then(|parent| {
                let tree = tree.filter(|_| S::AUX_TREES).map_or(PRIMARY, AuxTree::index);
                self.walk_tree(tree, ipa, parent).filter(|at| at.level == parent)
            })
            .filter(|at| !matches!(self.look(*at).as_number(), Some(child) if child != 0));
        let (Some(at), Some(number)) = (parent, self.vacant_slot()) else { return Err(granule) };
        let (tag, was_unmapped) = (self.look(at).tag(), self.look(at).flag());
        let mut block = self.entry_mut(at).and_then(PackedBlock::take);
        let Some(table) = self.slot(number) else { return Err(granule) };
        // A free shadow table has the number of the next free one where a used one has its parent.
        let following = table.parent;
        self.open(number, (level, at.base), granule, sure, at.table);
        let bytes = self.geometry().entry_bytes(level);
        let mut part = 0;
        while part < self.parts() {
            let Some(table) = self.slot_mut(number | part) else { break };
            part += 1;
            if let Some(block) = &mut block {
                look_at(table.entries.len());
                for entry in &mut table.entries {
                    let part = block.take_front(bytes).unwrap_or_default();
                    if let Ok(packed) = PackedBlock::memory(part, tag) {
                        *entry = packed;
                        table.live += 1;
                    }
                }
            }
            if was_unmapped {
                table.entries.iter_mut().for_each(|entry| entry.set_flag(true));
            }
        }
        if self.free == NO_TABLE {
            self.slots.use_next(self.parts());
        } else {
            self.free = following;
        }
        self.tables += 1;
        let was_void = block.is_none();
        if let Some(parent) = self.slot_mut(at.table) {
            parent.live += u16::from(was_void);
            if let Some(entry) = parent.entries.get_mut(at.index) {
                *entry = PackedBlock::number(number);
            }
        }
        Ok(())
    }

    fn vacant_slot(&self) -> Option<u32> {
        if self.free == NO_TABLE { self.slots.unused(self.parts()) } else { Some(self.free) }
    }

    /// Removes an empty table below the root, and returns its granule.
    pub(crate) fn remove_table(
        &mut self,
        tree: Option<AuxTree>,
        level: Level,
        ipa: Ipa,
    ) -> Option<InUse> {
        let number = self.table_number(tree, level, ipa)?;
        if self.live_part(number).is_some() {
            return None;
        }
        let (mut part, mut was_unmapped) = (0, false);
        while part < self.parts() {
            let table = self.slot(number | part);
            was_unmapped |= table.is_some_and(|table| table.entries.iter().any(PackedBlock::flag));
            part += 1;
        }
        let free = self.free;
        let table = self.slot_mut(number).filter(|table| table.parent != NO_TABLE)?;
        let parent = table.parent;
        let granule = table.granule.take();
        table.parent = free;
        self.free = number;
        self.tables -= 1;
        let index = level.parent().map(|above| self.geometry().entry_index(ipa, above))?;
        let index = usize::try_from(index % ENTRIES_PER_TABLE).ok()?;
        let parent = self.slot_mut(parent)?;
        parent.live -= 1;
        let entry = parent.entries.get_mut(index)?;
        *entry = PackedBlock::VACANT;
        entry.set_flag(was_unmapped);
        Some(granule)
    }

    /// What is to be dismantled first: what auxiliary trees show and their tables; then memory, or
    /// an empty table, deepest first.
    pub(crate) fn first(&self) -> Option<Next> {
        if S::AUX_TREES {
            let aux = self.aux_trees().find_map(|tree| self.first_in(tree.index()));
            return aux.or_else(|| self.first_in(PRIMARY));
        }
        self.first_in(PRIMARY)
    }

    fn first_in(&self, tree: u8) -> Option<Next> {
        let aux = AuxTree::new(tree).filter(|_| S::AUX_TREES);
        for root in self.first_root(tree)..self.roots_end(tree) {
            let mut number = root;
            while let Some(table) = self.slot(number).filter(|table| table.live != 0) {
                let used = table.entries.iter().zip(0u64..);
                let (entry, index) =
                    used.into_iter().find(|(entry, _)| entry.as_number() != Some(0))?;
                let shift = self.geometry().entry_shift(table.level);
                let base = table.base.checked_add(index << shift)?;
                let (index, shift) = (usize::try_from(index).ok()?, (shift & 63) as u8);
                let at = At { table: number, index, level: table.level, shift, base };
                match (entry.as_number(), aux) {
                    (None, _) => return Some(Next::Memory(at)),
                    (Some(shows), Some(tree)) if !planes::is_table(shows) => {
                        return Some(Next::Shown(tree, at));
                    }
                    (Some(child), _) => {
                        let Some(part) = self.live_part(child) else {
                            let table = self.slot(child)?;
                            return Some(Next::Table(aux, table.level, table.base));
                        };
                        number = part;
                    }
                }
            }
        }
        None
    }
}

impl<S: Shape> fmt::Debug for Shadow<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow")
            .field("geometry", &self.geometry())
            .field("tables", &self.tables)
            .field("bytes", &self.bytes)
            .field("shared", &self.shared)
            .field("claims", &self.fixed.get().map(|fixed| &fixed.claims))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
