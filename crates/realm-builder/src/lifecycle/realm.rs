//! A Realm, and its states from creation to destruction.
//!
#![doc = include_str!("../../pictures/realm.svg")]
//!
//! A Realm may also be activated without being declared populated.
//!
//! A transition that the RMM refuses returns the Realm in its old state, see
//! [`Failed`](rmi_host::Failed).

use core::fmt;
use core::marker::PhantomData;

use rmi_abi::rtt::Geometry;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::{Platform, Rd, Rmm};

use crate::memory::realm_core::RealmCore;

/// State of a Realm that is being built.
#[derive(Debug)]
pub enum New {}
/// State of a Realm that has all its content, and gets RECs.
#[derive(Debug)]
pub enum Populated {}
/// State of a Realm that may run.
#[derive(Debug)]
pub enum Active {}
/// State of a Realm that will never run again.
#[derive(Debug)]
pub enum Terminated {}

/// States before activation, in which a Realm gets RECs: [`New`], [`Populated`]. Sealed.
pub trait Building: NotTerminated + sealed::Building {}

impl Building for New {}
impl Building for Populated {}

/// States in which memory can be added to a Realm and taken from it: [`New`], [`Populated`],
/// [`Active`]. Sealed.
pub trait NotTerminated: sealed::NotTerminated {}

impl NotTerminated for New {}
impl NotTerminated for Populated {}
impl NotTerminated for Active {}

mod sealed {
    pub trait Building {}
    impl Building for super::New {}
    impl Building for super::Populated {}
    pub trait NotTerminated {}
    impl NotTerminated for super::New {}
    impl NotTerminated for super::Populated {}
    impl NotTerminated for super::Active {}
}

/// A Realm in the state `S`, in a session on the platform `P`. It owns all the memory of the Realm.
///
/// 1. [`create`](Realm::create) makes it, [`New`].
/// 2. [`populate`](Realm::populate) gives it its content, which is measured, and RAM.
/// 3. [`create_rec`](Realm::create_rec) gives it virtual CPUs, which `rec-runtime` runs.
/// 4. [`activate`](Realm::activate) ends the measurement: the Realm may run, [`Active`].
/// 5. While it runs, the host [serves faults](Realm::serve_fault), [shares](Realm::share) memory,
///    applies [changes of the RIPAS](Realm::set_ripas) and takes memory [back](Realm::reclaim),
///    from any number of threads.
/// 6. [`tear_down`](Realm::tear_down) ends it from any state, and returns all memory.
///
/// The methods below are in this order. A transition that the RMM refuses returns the Realm in its
/// old state, see [`Failed`](rmi_host::Failed).
///
#[doc = include_str!("../../pictures/realm.svg")]
///
/// # Dropping a Realm
///
/// A Realm that is dropped, also on unwinding, makes no call: the RMM keeps the Realm and its
/// memory. All that memory, tables and shared memory included, counts as
/// [`leaked`](rmi_host::leaked) at once, and the ledger records shared memory as
/// [`Exposed`](rmi_host::LedgerEvent::Exposed). The storage of the records is empty, and another
/// Realm can use it. As any code that a destructor runs, a ledger that panics there while the
/// thread is unwinding aborts the program.
///
/// The memory of a Realm that is forgotten ([`core::mem::forget`]) is counted when another Realm
/// is created in its storage, except for its descriptor and root tables. It is not counted if the
/// storage is on the heap, because that is forgotten with the Realm.
///
/// # The lifetime
///
/// A Realm borrows the session, and the storage of its records, for `'a`. A value that borrows the
/// Realm, such as a device or a handler of exits, needs no lifetime beside its own:
///
/// ```
/// use realm_builder::{Active, Realm};
/// use rmi_host::Platform;
///
/// struct Vm<'a, P: Platform> {
///     realm: Realm<'a, P, Active>,
/// }
///
/// struct Device<'a, P: Platform> {
///     vm: &'a Vm<'a, P>,
/// }
///
/// impl<P: Platform> Vm<'_, P> {
///     fn device(&self) -> Device<'_, P> {
///         Device { vm: self }
///     }
/// }
/// ```
///
/// # The lock
///
/// The host's records of the Realm's tables are protected by one lock of the type
/// [`Platform::Lock`]. Every method takes it that reads or changes the Realm's memory, by `&self`
/// or `&mut self`, unless its documentation says otherwise: [`Realm::rd`], [`Realm::rmm`],
/// [`Realm::geometry`] and [`Realm::recs`] do not.
///
/// The lock is held for bookkeeping only: never during a call to the RMM, and never while code of
/// the embedder runs (ledger, host memory, progress, `relax`). Each time it is held, at most
/// [`ENTRIES_PER_HOLD`](crate::ENTRIES_PER_HOLD) entries are visited, and the records of shared
/// memory that follow the one concerned are moved by one place; longer work is done in pieces.
/// Nothing is allocated or freed meanwhile; when [storage that grows](crate::Records) has grown,
/// the records of shared memory, or the list of chunks of tables, are moved once.
///
/// A method that takes the lock must not be called where it may interrupt a holder of the same lock
/// on the same CPU (an interrupt handler, with interrupts not masked elsewhere), unless the
/// platform's lock masks interrupts.
#[must_use = "a Realm that is dropped leaks all its memory, which is counted; tear it down"]
pub struct Realm<'a, P: Platform, S> {
    pub(crate) core: RealmCore<'a, P>,
    state: PhantomData<fn() -> S>,
}

impl<P: Platform, S> fmt::Debug for Realm<'_, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

/// # What it is and what it has
impl<'a, P: Platform, S> Realm<'a, P, S> {
    /// A Realm of which something else says that it is in the state `S`.
    pub(crate) const fn from_core(core: RealmCore<'a, P>) -> Self {
        Self { core, state: PhantomData }
    }

    pub(crate) fn become_state<T>(self) -> Realm<'a, P, T> {
        Realm::from_core(self.core)
    }

    /// The Realm, for the commands that name it.
    pub const fn rd(&self) -> &Rd {
        &self.core.rd
    }

    /// The session.
    #[must_use]
    pub const fn rmm(&self) -> &'a Rmm<P> {
        self.core.rmm
    }

    /// The IPA space.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.core.geometry()
    }

    /// RECs of the Realm.
    #[must_use]
    pub const fn recs(&self) -> u32 {
        self.core.recs
    }

    /// Bytes of memory in the protected half that is mapped for the Realm, or may be.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.core.memory_bytes()
    }

    /// The block that the host mapped at an IPA, if any.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn memory_at(&self, ipa: Ipa) -> Option<IpaRange> {
        self.core.memory_at(ipa)
    }

    /// Translation tables of the Realm, root tables included, of all its trees.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn tables(&self) -> usize {
        self.core.tables()
    }

    /// Auxiliary trees of the Realm: as many as auxiliary planes, if every plane has a tree.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn aux_trees(&self) -> usize {
        self.core.aux_trees()
    }
}
