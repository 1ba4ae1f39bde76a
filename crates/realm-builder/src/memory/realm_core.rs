//! What the host knows of a Realm, whatever its state.
//!
//! A [`Realm`](crate::Realm) is this and its state as a type. The functions are here, so that they
//! are compiled once and not once for each state.

use core::fmt;

use rmi_abi::realm::S2apEncoding;
use rmi_abi::rtt::{ENTRIES_PER_TABLE, Geometry, Level};
use rmi_abi::{Ipa, IpaRange};
use rmi_host::{Attempts, InUse, Platform, Rd, Rmm};

use crate::memory::lent_shadow::LentShadow;
use crate::memory::range_hint::RangeHint;
use crate::memory::returned::ReturnedRanges;
use crate::shadow::storage::Records;

/// Maximum number of auxiliary trees of a Realm.
pub(crate) const AUX_TREES: usize = 3;

/// Maximum number of entries of translation tables that are visited while a Realm's lock is held,
/// see [`Realm`](crate::Realm#the-lock). With granules of 16 KiB or 64 KiB a table has 4 or 16
/// times as many entries, and so has this number when a table is folded or a block is split.
pub const ENTRIES_PER_HOLD: u64 = 3 * ENTRIES_PER_TABLE;

/// See the module.
///
/// What the Realm has when this is dropped is leaked, and counted: the tokens count themselves, and
/// so do those in the records, which are emptied. Shared memory is exposed.
pub(crate) struct RealmCore<'a, P: Platform> {
    pub(crate) rmm: &'a Rmm<P>,
    pub(crate) rd: Rd,
    pub(crate) roots: InUse,
    /// The root tables of auxiliary trees; empty where there are none.
    pub(crate) aux_roots: [InUse; AUX_TREES],
    /// See [`RealmCore::geometry`].
    pub(crate) stored: Geometry,
    /// How the tables encode permissions.
    pub(crate) s2ap: S2apEncoding,
    /// The contents of the tables. Locked for bookkeeping only, never during a call.
    pub(crate) shadow: LentShadow<'a, P>,
    /// Whether the RMM is known to end range commands at table boundaries. If so, nothing beyond
    /// the table is prepared for it.
    pub(crate) range_hint: RangeHint,
    /// Memory that is unmapped and not yet undelegated, while the Realm is torn down.
    pub(crate) returned: ReturnedRanges,
    /// Consecutive calls without progress, while the Realm is torn down.
    pub(crate) idle: Attempts,
    /// RECs ever created: the index of the next one.
    pub(crate) next_rec: u32,
    /// RECs that exist.
    pub(crate) recs: u32,
}

impl<P: Platform> Drop for RealmCore<'_, P> {
    fn drop(&mut self) {
        self.abandon_shared();
    }
}

impl<P: Platform> fmt::Debug for RealmCore<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is printed is read first, and the lock released: a formatter may call any code.
        let (bytes, tables) = (self.memory_bytes(), self.tables());
        f.debug_struct("Realm")
            .field("rd", &self.rd)
            .field("geometry", &self.geometry())
            .field("memory_bytes", &bytes)
            .field("tables", &tables)
            .field("recs", &self.recs)
            .finish_non_exhaustive()
    }
}

impl<'a, P: Platform> RealmCore<'a, P> {
    /// The storage of the records of a Realm of which nothing is left.
    pub(crate) fn into_records(mut self) -> Records<'a> {
        self.shadow.take_records()
    }

    /// The tables; their size is a constant where it is known.
    pub(crate) const fn geometry(&self) -> Geometry {
        self.stored.with_known_granule(P::GRANULE_SIZE)
    }

    /// Bytes of a granule.
    pub(crate) const fn granule_bytes(&self) -> u64 {
        self.geometry().granule().bytes()
    }

    /// The page that has an address.
    pub(crate) fn page_at(&self, ipa: Ipa) -> Option<IpaRange> {
        let bytes = self.granule_bytes();
        IpaRange::with_size(ipa.align_down(bytes), bytes).ok()
    }

    /// Records what a range command did, see [`RangeHint::note`].
    pub(crate) fn note_range(&self, done: IpaRange, level: Level, more: bool) {
        self.range_hint.note(done, self.geometry().table_bytes(level), more);
    }

    /// See [`Realm::memory_bytes`](crate::Realm::memory_bytes).
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.shadow.lock().bytes()
    }

    /// See [`Realm::tables`](crate::Realm::tables).
    pub(crate) fn tables(&self) -> usize {
        let shadow = self.shadow.lock();
        shadow.tables() + shadow.roots()
    }

    /// See [`Realm::aux_trees`](crate::Realm::aux_trees).
    pub(crate) fn aux_trees(&self) -> usize {
        self.shadow.lock().aux_trees().count()
    }

    /// The first memory in a range of the protected half: a block that may begin before it and end
    /// after it.
    pub(crate) fn overlap(&self, range: &IpaRange) -> Option<IpaRange> {
        self.next_memory(range.base(), range.top()).map(|at| at.range())
    }

    /// See [`Realm::memory_at`](crate::Realm::memory_at).
    pub(crate) fn memory_at(&self, ipa: Ipa) -> Option<IpaRange> {
        let shadow = self.shadow.lock();
        let at = shadow.walk(ipa, Level::L3)?;
        shadow.memory(at).map(|_| at.range())
    }
}
