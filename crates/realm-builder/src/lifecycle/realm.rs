//! A Realm, and its states from creation to destruction.
//!
//! ```text
//! RealmConfig ── create ──► Realm<New> ── populated ──► Realm<Populated> ── activate ──► Realm<Active>
//!                               │                             │                              │
//!                               └──────── terminate ──────────┴───────────────┬──────────────┘
//!                                                                             ▼
//!                                                                     Realm<Terminated> ── destroy ──► all memory is the host's
//! ```
//!
//! A transition that the RMM refuses returns the Realm in its old state, see [`Failed`].

use core::fmt;
use core::marker::PhantomData;

use lock_api::Mutex;
use rmi_abi::IpaRange;
use rmi_abi::realm::S2apEncoding;
use rmi_abi::rtt::{ENTRIES_PER_TABLE, Geometry, Level};
use rmi_host::{Failed, InUse, Platform, Rd, Rmm};
use sro::Donated;

use crate::memory::range_hint::RangeHint;
use crate::memory::returned::ReturnedRanges;
use crate::shadow::Shadow;

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
pub trait Building: Alive + sealed::Building {}

impl Building for New {}
impl Building for Populated {}

/// States in which memory can be added to a Realm and taken from it: [`New`], [`Populated`],
/// [`Active`]. Sealed.
pub trait Alive: sealed::Alive {}

impl Alive for New {}
impl Alive for Populated {}
impl Alive for Active {}

mod sealed {
    pub trait Building {}
    impl Building for super::New {}
    impl Building for super::Populated {}
    pub trait Alive {}
    impl Alive for super::New {}
    impl Alive for super::Populated {}
    impl Alive for super::Active {}
}

/// Maximum number of auxiliary trees of a Realm.
pub(crate) const AUX_TREES: usize = 3;

/// Maximum number of entries of translation tables that are visited while a Realm's lock is held,
/// see [`Realm`].
pub const ENTRIES_PER_HOLD: u64 = 3 * ENTRIES_PER_TABLE;

/// A Realm in the state `S`, in a session on the platform `P`. It owns all the memory of the Realm.
///
/// # The lock
///
/// The host's records of the Realm's tables are protected by one lock of the type
/// [`Platform::Lock`]. Every method takes it that reads or changes the Realm's memory, by `&self`
/// or `&mut self`, unless its documentation says otherwise: [`Realm::rd`], [`Realm::rmm`],
/// [`Realm::geometry`] and [`Realm::recs`] do not.
///
/// The lock is held for bookkeeping only: never during a call to the RMM, and never while code of
/// the embedder runs (ledger, supply, `home`, progress, `relax`). Each time it is held, at most
/// [`ENTRIES_PER_HOLD`] entries are visited, and the records of shared memory that follow the one
/// concerned are moved by one place; longer work is done in pieces.
///
/// A method that takes the lock must not be called where it may interrupt a holder of the same lock
/// on the same CPU (an interrupt handler, with interrupts not masked elsewhere), unless the
/// platform's lock masks interrupts.
#[must_use = "a Realm that is dropped leaks all its memory; terminate and destroy it"]
pub struct Realm<'r, 'm, P: Platform, S> {
    pub(crate) rmm: &'r Rmm<P>,
    pub(crate) rd: Rd,
    pub(crate) roots: InUse,
    /// The root tables of auxiliary trees; empty where there are none.
    pub(crate) aux_roots: [InUse; AUX_TREES],
    pub(crate) geometry: Geometry,
    /// How the tables encode permissions.
    pub(crate) s2ap: S2apEncoding,
    /// The contents of the tables. Locked for bookkeeping only, never during a call.
    pub(crate) shadow: Mutex<P::Lock, Shadow<'m>>,
    /// Whether the RMM is known to end range commands at table boundaries. If so, nothing beyond
    /// the table is prepared for it.
    pub(crate) range_hint: RangeHint,
    /// Memory that is unmapped and not yet undelegated, while the Realm is torn down.
    pub(crate) homeward: ReturnedRanges,
    /// Consecutive calls without progress, while the Realm is torn down.
    pub(crate) idle: u32,
    /// The parameters of REALM_CREATE.
    pub(crate) donated: Donated,
    /// RECs ever created: the index of the next one.
    pub(crate) next_rec: u32,
    /// RECs that exist.
    pub(crate) recs: u32,
    pub(crate) state: PhantomData<fn() -> S>,
}

impl<P: Platform, S> fmt::Debug for Realm<'_, '_, P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is printed is read first, and the lock released: a formatter may call any code.
        let (bytes, tables) = (self.memory_bytes(), self.tables());
        f.debug_struct("Realm")
            .field("rd", &self.rd)
            .field("geometry", &self.geometry)
            .field("memory_bytes", &bytes)
            .field("tables", &tables)
            .field("recs", &self.recs)
            .finish_non_exhaustive()
    }
}

impl<'r, 'm, P: Platform, S> Realm<'r, 'm, P, S> {
    /// The Realm, for the commands that name it.
    pub const fn rd(&self) -> &Rd {
        &self.rd
    }

    /// The session.
    #[must_use]
    pub const fn rmm(&self) -> &'r Rmm<P> {
        self.rmm
    }

    /// The IPA space.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Bytes of memory in the protected half that is mapped for the Realm, or may be.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.shadow.lock().bytes()
    }

    /// Translation tables of the Realm, root tables included, of all its trees.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn tables(&self) -> usize {
        let shadow = self.shadow.lock();
        shadow.tables() + shadow.roots()
    }

    /// Auxiliary trees of the Realm: as many as auxiliary planes, if every plane has a tree.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn aux_trees(&self) -> usize {
        self.shadow.lock().aux_trees().count()
    }

    /// RECs of the Realm.
    #[must_use]
    pub const fn recs(&self) -> u32 {
        self.recs
    }

    pub(crate) fn become_state<T>(self) -> Realm<'r, 'm, P, T> {
        Realm {
            rmm: self.rmm,
            rd: self.rd,
            roots: self.roots,
            aux_roots: self.aux_roots,
            geometry: self.geometry,
            s2ap: self.s2ap,
            shadow: self.shadow,
            range_hint: self.range_hint,
            homeward: self.homeward,
            idle: self.idle,
            donated: self.donated,
            next_rec: self.next_rec,
            recs: self.recs,
            state: PhantomData,
        }
    }

    /// Stops the Realm permanently: `RMI_REALM_TERMINATE`. None of its RECs may be running.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REALM_TERMINATE.
    ///
    /// # Errors
    ///
    /// The Realm is returned in its old state: [`ErrorRealm`](rmi_abi::Status::ErrorRealm) while a
    /// REC is running.
    pub fn terminate(self) -> Result<Realm<'r, 'm, P, Terminated>, Failed<Self>> {
        match self.rmm.commands().realm_terminate(&self.rd) {
            Ok(()) => Ok(self.become_state()),
            Err(error) => Err(Failed::new(self, error)),
        }
    }

    /// The first memory in a range of the protected half: a block that may begin before it and end
    /// after it.
    pub(crate) fn overlap(&self, range: &IpaRange) -> Option<IpaRange> {
        self.next_memory(range.base(), range.top()).map(|at| at.range())
    }

    /// The block that the host mapped at an IPA, if any.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn memory_at(&self, ipa: rmi_abi::Ipa) -> Option<IpaRange> {
        let shadow = self.shadow.lock();
        let at = shadow.walk(ipa, Level::L3)?;
        shadow.memory(at).map(|_| at.range())
    }
}

impl<'r, 'm, P: Platform> Realm<'r, 'm, P, New> {
    /// Declares that the Realm has all its content. Only RECs add to its measurement from here on;
    /// no call is made.
    pub fn populated(self) -> Realm<'r, 'm, P, Populated> {
        self.become_state()
    }
}

impl<'r, 'm, P: Platform, S: Building> Realm<'r, 'm, P, S> {
    /// Makes the Realm runnable and freezes its measurement: `RMI_REALM_ACTIVATE`.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REALM_ACTIVATE.
    ///
    /// # Errors
    ///
    /// The Realm is returned in its old state.
    pub fn activate(self) -> Result<Realm<'r, 'm, P, Active>, Failed<Self>> {
        match self.rmm.commands().realm_activate(&self.rd) {
            Ok(()) => Ok(self.become_state()),
            Err(error) => Err(Failed::new(self, error)),
        }
    }
}
