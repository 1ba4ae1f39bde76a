//! The records that a Realm keeps, in storage that the embedder lends.

use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::InUse;

use crate::shelf::Record;

/// Room for the records of a Realm: `TABLES` translation tables below the root, and `EXTENTS` pieces of memory.
///
/// A Realm needs one table for each 2 MiB that is mapped by pages, one for each GiB that is mapped by 2 MiB blocks or less, and so on upwards. Memory that is contiguous in
/// both address spaces is one piece. A place for a table takes 40 bytes, one for a piece of memory 32.
#[derive(Debug)]
pub struct RealmStorage<const TABLES: usize, const EXTENTS: usize> {
    pub(crate) tables: [Option<Table>; TABLES],
    pub(crate) extents: [Option<Extent>; EXTENTS],
}

impl<const TABLES: usize, const EXTENTS: usize> RealmStorage<TABLES, EXTENTS> {
    /// Empty room.
    #[must_use]
    pub const fn new() -> Self {
        Self { tables: [const { None }; TABLES], extents: [const { None }; EXTENTS] }
    }
}

impl<const TABLES: usize, const EXTENTS: usize> Default for RealmStorage<TABLES, EXTENTS> {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the RMM has said that something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certainty {
    /// It has.
    Sure,
    /// Its answer was unclear; it may be so.
    Unsure,
}

/// A translation table of the Realm, below the root.
#[derive(Debug)]
pub struct Table {
    pub(crate) level: Level,
    pub(crate) ipa: Ipa,
    pub(crate) granule: InUse,
    pub(crate) certainty: Certainty,
}

impl Record for Table {
    type Key = (Level, Ipa);
    fn key(&self) -> (Level, Ipa) {
        (self.level, self.ipa)
    }
}

/// Memory of the Realm: contiguous in both address spaces.
#[derive(Debug)]
pub struct Extent {
    pub(crate) ipa: Ipa,
    pub(crate) memory: InUse,
    pub(crate) certainty: Certainty,
}

impl Extent {
    pub(crate) fn range(&self) -> IpaRange {
        IpaRange::with_size(self.ipa, self.memory.bytes()).unwrap_or(IpaRange::empty(self.ipa))
    }
}

impl Record for Extent {
    type Key = Ipa;
    fn key(&self) -> Ipa {
        self.ipa
    }
}
