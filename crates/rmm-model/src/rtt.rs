//! Stage 2 translation tables of one Realm, in their own structure: tables of as many entries as a
//! granule holds, which can hold tables.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use rmi_abi::rtt::{Geometry, Level, Ripas};
use rmi_abi::{Ipa, Pa};

/// One entry. The two halves of the IPA space have separate entries, so that no mapping of one
/// half can get into the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Protected, nothing mapped. `perm` is what [`Planes`](crate::planes::Planes) says about
    /// permissions.
    Void { ripas: Ripas, perm: u8 },
    /// Protected, memory of the Realm mapped.
    Data { pa: Pa, ripas: Ripas, perm: u8 },
    /// Unprotected, nothing mapped.
    VoidNs,
    /// Unprotected, host memory mapped. `attributes` are those that `RMI_RTT_READ_ENTRY` shows.
    MappedNs { pa: Pa, attributes: u64 },
    /// A table of the next level.
    Table { pa: Pa },
}

impl Entry {
    /// Whether a walk that looks for a live entry stops here.
    pub(crate) fn is_live(self) -> bool {
        !matches!(self, Self::Void { .. } | Self::VoidNs)
    }

    /// Whether the entry keeps its table from being destroyed. Mapped host memory does not.
    pub(crate) fn pins_table(self) -> bool {
        matches!(self, Self::Data { .. } | Self::Table { .. })
    }

    /// The entry `index` of a table that takes this entry's place, at a level whose entries cover
    /// `bytes`.
    fn unfolded(self, index: usize, bytes: u64) -> Self {
        let up = |pa: Pa| Pa::new(pa.raw() + index as u64 * bytes);
        match self {
            Self::Data { pa, ripas, perm } => Self::Data { pa: up(pa), ripas, perm },
            Self::MappedNs { pa, attributes } => Self::MappedNs { pa: up(pa), attributes },
            void => void,
        }
    }
}

/// Where a walk ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    /// Level of the entry.
    pub(crate) level: Level,
    /// The table that holds it.
    pub(crate) table: Pa,
    /// Its index there.
    pub(crate) index: usize,
    /// What it holds.
    pub(crate) entry: Entry,
    /// First IPA that it covers.
    pub(crate) base: Ipa,
    /// Binary logarithm of the bytes that it covers.
    shift: u32,
}

impl Walk {
    /// The same for an auxiliary tree, whose void entries say nothing about RIPAS.
    pub(crate) fn without_ripas(self) -> Self {
        match self.entry {
            Entry::Void { perm, .. } => {
                Self { entry: Entry::Void { ripas: Ripas::Destroyed, perm }, ..self }
            }
            _ => self,
        }
    }

    /// Bytes that the entry covers.
    pub(crate) fn bytes(&self) -> u64 {
        1 << self.shift
    }

    /// First IPA after the entry.
    pub(crate) fn top(&self) -> u64 {
        self.base.raw().saturating_add(self.bytes())
    }
}

/// Why a table cannot be folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoldError {
    /// The entries differ, or their output addresses are not one aligned run.
    NotHomogeneous,
    /// The block would be at a level that has no blocks.
    NoBlocks,
}

type Table = Box<[Entry]>;

/// The translation tree of a Realm.
pub(crate) struct Tree {
    geometry: Geometry,
    root: Pa,
    tables: BTreeMap<Pa, Table>,
}

impl Tree {
    /// A new tree: everything void, all of the protected half EMPTY with the permissions `perm`.
    /// `root` is the first of the root tables.
    pub(crate) fn new(geometry: Geometry, root: Pa, perm: u8) -> Self {
        let mut tree = Self { geometry, root, tables: BTreeMap::new() };
        let bytes = geometry.table_bytes(geometry.start_level());
        let entry_bytes = geometry.entry_bytes(geometry.start_level());
        for (n, pa) in tree.roots().enumerate() {
            let base = Ipa::new((n as u64).saturating_mul(bytes));
            let entry = |index: u64| {
                let offset = index.saturating_mul(entry_bytes);
                let ipa = Ipa::new(base.raw().saturating_add(offset));
                if geometry.is_protected(ipa) {
                    Entry::Void { ripas: Ripas::Empty, perm }
                } else {
                    Entry::VoidNs
                }
            };
            tree.tables.insert(pa, (0..geometry.entries_per_table()).map(entry).collect());
        }
        tree
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The root tables.
    pub(crate) fn roots(&self) -> impl Iterator<Item = Pa> + use<> {
        let (root, granule) = (self.root.raw(), self.geometry.granule().bytes());
        (0..u64::from(self.geometry.root_tables())).map(move |n| Pa::new(root + n * granule))
    }

    /// Whether a root table holds Realm memory or a table.
    pub(crate) fn is_live(&self) -> bool {
        self.roots()
            .filter_map(|root| self.tables.get(&root))
            .any(|table| table.iter().any(|entry| entry.pins_table()))
    }

    /// Whether a root table holds anything. What an auxiliary tree shows of host memory counts
    /// there.
    pub(crate) fn shows_anything(&self) -> bool {
        self.roots()
            .filter_map(|root| self.tables.get(&root))
            .any(|table| table.iter().any(|entry| entry.is_live()))
    }

    /// First IPA from `base` on and below `top`, both protected, where Realm memory is mapped.
    pub(crate) fn first_data(&self, base: Ipa, top: u64) -> Option<Ipa> {
        let mut ipa = base;
        while ipa.raw() < top {
            let found = self.walk(ipa, Level::L3)?;
            if matches!(found.entry, Entry::Data { .. }) {
                return Some(ipa);
            }
            ipa = Ipa::new(found.top());
        }
        None
    }

    /// Walks towards `level` and stops there, or above at the first entry that is no table.
    ///
    /// `None` outside the IPA space, and for a level above the start level.
    pub(crate) fn walk(&self, ipa: Ipa, level: Level) -> Option<Walk> {
        let start = self.geometry.start_level();
        if ipa >= self.geometry.end() || level < start {
            return None;
        }
        let mut at = start;
        let number = self.geometry.entry_index(ipa, start);
        let entries = self.geometry.entries_per_table();
        let mut table = Pa::new(
            self.root.raw().checked_add(number / entries * self.geometry.granule().bytes())?,
        );
        let mut index = usize::try_from(number % entries).ok()?;
        loop {
            let entry = *self.tables.get(&table)?.get(index)?;
            match entry {
                Entry::Table { pa } if at < level => {
                    at = at.child()?;
                    table = pa;
                    index = usize::try_from(self.geometry.entry_index(ipa, at) % entries).ok()?;
                }
                _ => {
                    let shift = self.geometry.entry_shift(at);
                    let base = ipa.align_down(1 << shift);
                    return Some(Walk { level: at, table, index, entry, base, shift });
                }
            }
        }
    }

    /// Replaces the entry that a walk found.
    pub(crate) fn set(&mut self, walk: &Walk, entry: Entry) {
        if let Some(slot) =
            self.tables.get_mut(&walk.table).and_then(|table| table.get_mut(walk.index))
        {
            *slot = entry;
        }
    }

    /// First IPA, from `ipa` in the entry of `walk` on, that a live entry covers; the end of that
    /// table if none does.
    pub(crate) fn next_live(&self, walk: &Walk, ipa: Ipa) -> u64 {
        let entries = self.tables.get(&walk.table);
        let steps = entries
            .and_then(|table| table.iter().skip(walk.index).position(|entry| entry.is_live()))
            .unwrap_or(entries.map_or(0, |table| table.len().saturating_sub(walk.index)));
        let distance = walk.bytes().saturating_mul(steps as u64);
        walk.base.raw().saturating_add(distance).max(ipa.raw())
    }

    /// Replaces the entry that `parent` found by the new table `pa`, whose entries get what the
    /// entry held.
    pub(crate) fn graft(&mut self, parent: &Walk, pa: Pa) {
        let bytes = parent.level.child().map_or(0, |level| self.geometry.entry_bytes(level));
        let entries = usize::try_from(self.geometry.entries_per_table()).unwrap_or(0);
        let table = (0..entries).map(|index| parent.entry.unfolded(index, bytes)).collect();
        self.tables.insert(pa, table);
        self.set(parent, Entry::Table { pa });
    }

    /// Whether the table at `pa` holds Realm memory or tables.
    pub(crate) fn table_is_live(&self, pa: Pa) -> bool {
        self.tables.get(&pa).is_some_and(|table| table.iter().any(|entry| entry.pins_table()))
    }

    /// Replaces the table that `parent` found by `entry`.
    pub(crate) fn prune(&mut self, parent: &Walk, entry: Entry) {
        if let Entry::Table { pa } = parent.entry {
            self.tables.remove(&pa);
        }
        self.set(parent, entry);
    }

    /// The one entry that is equivalent to the table `pa` below `parent`.
    ///
    /// All entries must be of one kind; mapped ones must be one run, aligned to what the parent's
    /// entry covers.
    pub(crate) fn folded(&self, parent: &Walk, pa: Pa) -> Result<Entry, FoldError> {
        let table = self.tables.get(&pa).ok_or(FoldError::NotHomogeneous)?;
        let first = *table.first().ok_or(FoldError::NotHomogeneous)?;
        let bytes = parent.level.child().map_or(0, |level| self.geometry.entry_bytes(level));
        // As TF-RMM, which counts the entries before it compares them.
        if !parent.level.may_map() && table.iter().all(|entry| entry.pins_table()) {
            return Err(FoldError::NoBlocks);
        }
        let alike = !matches!(first, Entry::Table { .. })
            && table
                .iter()
                .enumerate()
                .all(|(index, entry)| *entry == first.unfolded(index, bytes));
        if !alike {
            return Err(FoldError::NotHomogeneous);
        }
        match first {
            Entry::Data { pa, .. } | Entry::MappedNs { pa, .. } => {
                if !parent.level.may_map() {
                    Err(FoldError::NoBlocks)
                } else if !pa.is_aligned(parent.bytes()) {
                    Err(FoldError::NotHomogeneous)
                } else {
                    Ok(first)
                }
            }
            void => Ok(void),
        }
    }

    /// Every table.
    #[cfg(test)]
    pub(crate) fn tables(&self) -> impl Iterator<Item = Pa> {
        self.tables.keys().copied()
    }

    /// Every mapping of Realm memory: its address and how many bytes it covers.
    #[cfg(test)]
    pub(crate) fn data(&self) -> alloc::vec::Vec<(Pa, u64)> {
        let mut found = alloc::vec::Vec::new();
        let mut level = self.geometry.start_level();
        let mut tables: alloc::vec::Vec<Pa> = self.roots().collect();
        loop {
            let entries = tables.iter().filter_map(|pa| self.tables.get(pa)).flat_map(|t| t.iter());
            let mut below = alloc::vec::Vec::new();
            for entry in entries {
                match *entry {
                    Entry::Data { pa, .. } => found.push((pa, self.geometry.entry_bytes(level))),
                    Entry::Table { pa } => below.push(pa),
                    _ => {}
                }
            }
            match level.child() {
                Some(child) => level = child,
                None => return found,
            }
            tables = below;
        }
    }
}
