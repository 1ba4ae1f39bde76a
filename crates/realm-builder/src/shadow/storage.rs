//! Storage for the records of a Realm: lent by the embedder, or on the heap.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;
use core::{fmt, slice};

use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange, PaRange};
use rmi_host::{InUse, PackedBlock, SharedMemory};
use sro::Donated;

use crate::shadow::ENTRIES;
use crate::shadow::claims::Claims;
#[cfg(feature = "alloc")]
use crate::shadow::growth::{TableChunks, try_vec};
use crate::shadow::slots::Slots;
use crate::shadow::sorted_slots::Record;
use crate::shadow::table_slots::TableStorage;

/// Storage for the host's copy of 512 entries of a translation table: 4,096 bytes and less than 100
/// more. Tables of 4 KiB granules have one each, those of 16 KiB four and those of 64 KiB sixteen.
///
/// With 4 KiB granules, a Realm needs one for each of its tables, in both halves of its IPA space:
/// its root tables; below a root at level 0, one for each 512 GiB that is used; one for each GiB
/// that is used and not mapped by 1 GiB blocks; and one for each 2 MiB that is mapped by pages.
/// [`plan::shadow_tables`](crate::plan::shadow_tables) counts them. That makes 2.02 MiB for a GiB
/// mapped by pages, and 4.1 KiB for a GiB mapped by 2 MiB blocks.
///
/// Where every plane has its own tree, each auxiliary tree needs root tables, too, and at most
/// as many others as the primary tree has in the protected half: one for each that covers memory
/// shown there.
pub struct ShadowTable {
    pub(crate) entries: [PackedBlock; ENTRIES],
    pub(crate) granule: InUse,
    pub(crate) base: Ipa,
    /// The number of the parent; of a free one, the next free one.
    pub(crate) parent: u32,
    /// Number of entries that are not void.
    pub(crate) live: u16,
    pub(crate) level: Level,
    /// Whether the RMM has said that the table exists.
    pub(crate) sure: bool,
}

// The size that the documentation says.
const _: () = assert!(size_of::<ShadowTable>() < 4096 + 100);

impl ShadowTable {
    /// An empty shadow table.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: [const { PackedBlock::VACANT }; ENTRIES],
            granule: InUse::empty(),
            base: Ipa::new(0),
            parent: 0,
            live: 0,
            level: Level::L3,
            sure: true,
        }
    }

    /// Makes it vacant. What a Realm left in it is leaked, and counted.
    pub(crate) fn clear(&mut self) {
        if self.live == 0 && self.granule.is_empty() {
            return;
        }
        self.entries = [const { PackedBlock::VACANT }; ENTRIES];
        self.granule = InUse::empty();
        self.live = 0;
    }

    /// Makes a vacant one the shadow of a table.
    pub(crate) fn open(
        &mut self,
        level: Level,
        base: Ipa,
        granule: InUse,
        sure: bool,
        parent: u32,
    ) {
        self.entries = [const { PackedBlock::VACANT }; ENTRIES];
        self.granule = granule;
        self.base = base;
        self.parent = parent;
        self.live = 0;
        self.level = level;
        self.sure = sure;
    }
}

// What the documentation of this module says.
const _: () = assert!(size_of::<ShadowTable>() <= 4096 + 100);

impl Default for ShadowTable {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ShadowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShadowTable")
            .field("level", &self.level)
            .field("base", &self.base)
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

/// Storage for the record of one piece of shared memory.
pub type SharedRecord = Option<SharedPiece>;

/// Storage for the records of a Realm: `TABLES` translation tables, root tables included, and
/// `SHARED` pieces of memory that the host shares with it.
///
/// See [`ShadowTable`] for how many tables there are. Shared memory that is contiguous in both
/// address spaces is one piece, of at most 40 bytes.
#[derive(Debug)]
pub struct RealmStorage<const TABLES: usize, const SHARED: usize> {
    fixed: FixedRecords,
    tables: [ShadowTable; TABLES],
    shared: [SharedRecord; SHARED],
}

// The size that the documentation says.
const _: () = assert!(size_of::<SharedRecord>() == 40);

impl<const TABLES: usize, const SHARED: usize> RealmStorage<TABLES, SHARED> {
    /// Empty storage.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            fixed: FixedRecords::new(),
            tables: [const { ShadowTable::new() }; TABLES],
            shared: [const { None }; SHARED],
        }
    }
}

impl<const TABLES: usize, const SHARED: usize> Default for RealmStorage<TABLES, SHARED> {
    fn default() -> Self {
        Self::new()
    }
}

/// Storage for the records of which every Realm has the same number: the ranges that threads work
/// on, and the granules that the RMM got beside the tables.
#[derive(Debug)]
pub struct FixedRecords {
    pub(crate) claims: Claims,
    pub(crate) donated: Donated,
}

impl FixedRecords {
    /// Empty storage.
    #[must_use]
    pub const fn new() -> Self {
        Self { claims: Claims::new(), donated: Donated::new() }
    }
}

/// The [`FixedRecords`] of a Realm; none once they were taken out. What the RMM got, and is left
/// when this is dropped, is leaked and counted.
pub(crate) struct FixedSlot<'m>(Slots<'m, FixedRecords>);

impl<'m> FixedSlot<'m> {
    /// Empties the records: what a Realm left in them is leaked, and counted.
    pub(crate) fn new(records: Slots<'m, FixedRecords>) -> Self {
        let mut slot = Self(records);
        slot.clear();
        slot
    }

    fn clear(&mut self) {
        if let Some(fixed) = self.get_mut() {
            fixed.claims = Claims::new();
            if !fixed.donated.is_empty() {
                fixed.donated = Donated::new();
            }
        }
    }

    /// Empties the records, and takes them out.
    pub(crate) fn take(&mut self) -> Slots<'m, FixedRecords> {
        self.clear();
        core::mem::take(&mut self.0)
    }

    /// Allocates the records, if they are on the heap. What could not be allocated is missing.
    #[cfg(feature = "alloc")]
    pub(crate) fn allocate(&mut self) {
        if let Slots::Heap(records) = &mut self.0
            && records.is_empty()
        {
            *records = try_vec(1, FixedRecords::new).unwrap_or_default();
        }
    }

    pub(crate) fn get(&self) -> Option<&FixedRecords> {
        self.0.first()
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut FixedRecords> {
        self.0.first_mut()
    }
}

impl Drop for FixedSlot<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Default for FixedRecords {
    fn default() -> Self {
        Self::new()
    }
}

/// Storage for the records of a Realm: lent by the embedder (a [`RealmStorage`], or slices of any
/// origin), or on the heap.
///
/// A Realm gives it back at its end, see [`Realm::tear_down`](crate::Realm::tear_down) and
/// [`Realm::destroy`](crate::Realm::destroy), and when it cannot be created. It is empty then, and
/// also when the Realm is [dropped](crate::Realm#dropping-a-realm).
///
/// | Storage | Size | Lifetime of the Realm |
/// |---|---|---|
/// | a [`RealmStorage`] in a `static` | fixed | that of the session |
/// | a [`RealmStorage`] or slices, lent | fixed | that of the session and of the storage |
/// | on the heap, `Records::growing` with the feature `alloc` | grows | that of the session |
///
/// When lent storage is full, an operation that needs more is refused with
/// [`BuildError::Storage`](crate::BuildError::Storage) before it changes anything.
///
/// # In a static
///
/// The lock of the `static` is taken once and never released. Another Realm takes over what the
/// first one gives back.
///
/// ```
/// # use rmm_model::{Model, Options};
/// # use sro::FixedPool;
/// use realm_builder::{Realm, RealmConfig, RealmStorage, Records};
/// use spin::{Mutex, MutexGuard};
///
/// /// For two Realms of 16 tables, 66 KiB each.
/// static STORAGE: [Mutex<RealmStorage<16, 16>>; 2] =
///     [const { Mutex::new(RealmStorage::new()) }; 2];
///
/// # let model = Model::new(Options::new(rmi_abi::Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let mut pool = FixedPool::<8>::new();
/// # pool.add(memory.take_front(66 << 12).unwrap()).unwrap();
/// # let rmm = sro::open(model.host(), Default::default(), &mut pool)?;
/// let [first, second] =
///     STORAGE.each_ref().map(|storage| Records::from(MutexGuard::leak(storage.lock())));
/// let realm = Realm::create(&rmm, &RealmConfig::new(40), first, &mut pool)?;
/// let other = Realm::create(&rmm, &RealmConfig::new(40), second, &mut pool)?;
/// let ended = realm.tear_down(&mut pool, []);
/// let next = Realm::create(&rmm, &RealmConfig::new(36), ended.storage, &mut pool)?;
/// assert!(next.tear_down(&mut pool, []).error.is_none());
/// assert!(other.tear_down(&mut pool, []).error.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Lent
///
/// ```
/// use realm_builder::{FixedRecords, Records, ShadowTable};
///
/// // As many tables as the Realm will ever have.
/// let mut tables: Vec<ShadowTable> =
///     std::iter::repeat_with(ShadowTable::new).take(600).collect();
/// let mut shared = [const { None }; 16];
/// let mut fixed = FixedRecords::new();
/// let records = Records::new(&mut fixed, &mut tables, &mut shared);
/// # drop(records);
/// ```
///
#[cfg_attr(
    feature = "alloc",
    doc = r#"# On the heap

Storage that grows allocates nothing before a Realm is created in it. Then it is allocated in pieces
of at most 16.5 KiB for shadow tables, when an operation reserves what it needs: before it changes
anything, and not while the Realm's lock is held. Tables do not move; the records of shared memory,
and a list of 24 bytes for each four tables, do when their space grows by half, or an eighth.
An allocation that fails is not a panic: the operation is refused as with lent storage that is full.
In a context that may not allocate (an interrupt handler), lend storage.

At most 4,096 pieces of memory are shared at a time, as adding the record of one moves those that
follow while the lock is held (40 bytes each), and a Realm that may choose what is shared can make
each page a piece, by leaving out every other one. Neighbours in both address spaces are one piece.
Lent storage has the limit that the embedder chooses.

```
# use rmi_abi::{Dialect, Ipa};
# use rmm_model::{Model, Options};
# use sro::FixedPool;
use realm_builder::{Realm, RealmConfig, Records};
# let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
# let mut memory = model.take_memory();
# let mut pool = FixedPool::<8>::new();
# pool.add(memory.take_front(1 << 20).unwrap()).unwrap();
# let rmm = sro::open(model.host(), Default::default(), &mut pool)?;
let realm = Realm::create(&rmm, &RealmConfig::new(40), Records::growing(), &mut pool)?;
// 40 pages, for each of which there is a table.
for page in 0..40 {
    let granule = pool.take_host(0x1000, 0x1000).expect("1 MiB");
    realm.map(&mut pool, Ipa::new(0x8000_0000 + page * 0x20_0000), granule)?;
}
assert!(realm.tables() > 40);
// What was allocated is given back: drop it, or use it for another Realm.
let records = realm.tear_down(&mut pool, []).storage;
let next = Realm::create(&rmm, &RealmConfig::new(40), records, &mut pool)?;
assert!(next.tear_down(&mut pool, []).error.is_none());
# Ok::<(), Box<dyn std::error::Error>>(())
```
"#
)]
#[derive(Debug)]
pub struct Records<'m> {
    pub(crate) fixed: Slots<'m, FixedRecords>,
    pub(crate) tables: TableStorage<'m>,
    pub(crate) shared: Slots<'m, SharedRecord>,
}

impl<'m> Records<'m> {
    /// Storage for tables and for the records of shared memory, as many as there are slots.
    pub const fn new(
        fixed: &'m mut FixedRecords,
        tables: &'m mut [ShadowTable],
        shared: &'m mut [SharedRecord],
    ) -> Self {
        Self {
            fixed: Slots::Lent(slice::from_mut(fixed)),
            tables: TableStorage::Lent(tables),
            shared: Slots::Lent(shared),
        }
    }
}

#[cfg(feature = "alloc")]
impl Records<'static> {
    /// Storage on the heap, which grows: see [there](Records#on-the-heap). It allocates when a
    /// Realm is created in it.
    #[must_use]
    pub const fn growing() -> Self {
        Self {
            fixed: Slots::Heap(Vec::new()),
            tables: TableStorage::Heap(TableChunks::new()),
            shared: Slots::Heap(Vec::new()),
        }
    }
}

impl<'m, const TABLES: usize, const SHARED: usize> From<&'m mut RealmStorage<TABLES, SHARED>>
    for Records<'m>
{
    fn from(storage: &'m mut RealmStorage<TABLES, SHARED>) -> Self {
        Self::new(&mut storage.fixed, &mut storage.tables, &mut storage.shared)
    }
}

/// The record of memory that is shared with the Realm: contiguous in both address spaces.
#[derive(Debug)]
pub struct SharedPiece {
    memory: Shared,
}

#[derive(Debug)]
enum Shared {
    /// The token.
    Here(SharedMemory),
    /// A command is unmapping it, and the thread that issues the command has the token.
    Leaving(IpaRange, PaRange),
}

// The size that `RealmStorage` documents.
const _: () = assert!(size_of::<SharedRecord>() <= 48);

impl SharedPiece {
    pub(crate) const fn new(memory: SharedMemory) -> Self {
        Self { memory: Shared::Here(memory) }
    }

    pub(crate) fn range(&self) -> IpaRange {
        match &self.memory {
            Shared::Here(memory) => memory.ipa_range(),
            Shared::Leaving(range, _) => *range,
        }
    }

    /// The memory, in the host's address space.
    pub(crate) fn memory(&self) -> PaRange {
        match &self.memory {
            Shared::Here(memory) => memory.range(),
            Shared::Leaving(_, memory) => *memory,
        }
    }

    /// Whether the token is in the record, and no command is unmapping the memory.
    pub(crate) const fn is_here(&self) -> bool {
        matches!(self.memory, Shared::Here(_))
    }

    /// The token, unless it was taken out.
    pub(crate) const fn token(&mut self) -> Option<&mut SharedMemory> {
        match &mut self.memory {
            Shared::Here(memory) => Some(memory),
            Shared::Leaving(..) => None,
        }
    }

    /// Takes the token out and keeps its place.
    pub(crate) fn leave(&mut self) -> Option<SharedMemory> {
        let leaving = Shared::Leaving(self.range(), self.memory());
        match core::mem::replace(&mut self.memory, leaving) {
            Shared::Here(memory) => Some(memory),
            Shared::Leaving(..) => None,
        }
    }

    /// Whether another piece follows in both address spaces, and no command is unmapping either.
    pub(crate) fn is_followed_by(&self, next: &Self) -> bool {
        self.is_here()
            && next.is_here()
            && self.range().top() == next.range().base()
            && self.memory().top() == next.memory().base()
    }
}

impl Record for SharedPiece {
    type Key = Ipa;
    fn key(&self) -> Ipa {
        self.range().base()
    }
}
