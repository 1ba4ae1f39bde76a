//! A Realm, and the states of its life.
//!
//! ```text
//! RealmConfig ── create ──► Realm<New> ── activate ──► Realm<Active>
//!                               │                          │
//!                               └──── terminate ─────┬─────┘
//!                                                    ▼
//!                                            Realm<Terminated> ── destroy ──► all memory is the host's
//! ```
//!
//! A transition that the RMM refuses gives the Realm back in its old state, see [`Failed`].

use core::marker::PhantomData;

use rmi_abi::IpaRange;
use rmi_abi::rtt::Geometry;
use rmi_host::{Failed, InUse, Platform, Rd, Rmm};
use sro::Donated;

use crate::shelf::Shelf;
use crate::storage::{Extent, Table};

/// A Realm that is being built.
#[derive(Debug)]
pub enum New {}
/// A Realm that may run.
#[derive(Debug)]
pub enum Active {}
/// A Realm that will never run again.
#[derive(Debug)]
pub enum Terminated {}

/// A Realm in the state `S`, in a session on the platform `P`. It owns all the memory that the Realm is made of.
#[derive(Debug)]
#[must_use = "a Realm that is dropped leaks all its memory; terminate and destroy it"]
pub struct Realm<'r, 'm, P, S> {
    pub(crate) rmm: &'r Rmm<P>,
    pub(crate) rd: Rd,
    pub(crate) roots: InUse,
    pub(crate) geometry: Geometry,
    pub(crate) tables: Shelf<'m, Table>,
    pub(crate) extents: Shelf<'m, Extent>,
    /// What REALM_CREATE was given.
    pub(crate) donated: Donated,
    /// RECs ever created: the index of the next one.
    pub(crate) next_rec: u32,
    /// RECs that exist.
    pub(crate) recs: u32,
    pub(crate) state: PhantomData<fn() -> S>,
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

    /// Bytes of memory mapped for the Realm.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.extents.iter().map(|extent| extent.memory.bytes()).sum()
    }

    /// Translation tables of the Realm, root tables included.
    #[must_use]
    pub fn tables(&self) -> usize {
        self.tables.len() + usize::from(self.geometry.root_tables())
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
            geometry: self.geometry,
            tables: self.tables,
            extents: self.extents,
            donated: self.donated,
            next_rec: self.next_rec,
            recs: self.recs,
            state: PhantomData,
        }
    }

    /// Stops the Realm for good: `RMI_REALM_TERMINATE`. None of its RECs may be running.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REALM_TERMINATE.
    ///
    /// # Errors
    ///
    /// The Realm comes back, as it was: [`ErrorRealm`](rmi_abi::Status::ErrorRealm) while a REC is running.
    pub fn terminate(self) -> Result<Realm<'r, 'm, P, Terminated>, Failed<Self>> {
        match self.rmm.realm_terminate(&self.rd) {
            Ok(()) => Ok(self.become_state()),
            Err(error) => Err(Failed::new(self, error)),
        }
    }

    /// Records memory that is (or may be) mapped. There must be room, see [`Realm::room_for_extents`].
    pub(crate) fn record(&mut self, mut extent: Extent) {
        if let Ok(at) | Err(at) = self.extents.find(extent.ipa)
            && let Some(before) = at.checked_sub(1).and_then(|before| self.extents.get_mut(before))
            && before.certainty == extent.certainty
            && before.range().top() == extent.ipa
        {
            match before.memory.append(extent.memory) {
                Ok(()) => return,
                Err(memory) => extent.memory = memory,
            }
        }
        // The callers make sure of the room before they map anything.
        if let Err(homeless) = self.extents.insert(extent) {
            drop(homeless);
        }
    }

    /// The piece of memory that overlaps `range`, if any.
    pub(crate) fn overlap(&self, range: &IpaRange) -> Option<IpaRange> {
        let (Ok(at) | Err(at)) = self.extents.find(range.base());
        [at.checked_sub(1), Some(at)]
            .into_iter()
            .flatten()
            .filter_map(|at| self.extents.get(at))
            .map(Extent::range)
            .find(|other| other.overlaps(range))
    }
}

impl<'r, 'm, P: Platform> Realm<'r, 'm, P, New> {
    /// Makes the Realm runnable and freezes its measurement: `RMI_REALM_ACTIVATE`.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REALM_ACTIVATE.
    ///
    /// # Errors
    ///
    /// The Realm comes back, still new.
    pub fn activate(self) -> Result<Realm<'r, 'm, P, Active>, Failed<Self>> {
        match self.rmm.realm_activate(&self.rd) {
            Ok(()) => Ok(self.become_state()),
            Err(error) => Err(Failed::new(self, error)),
        }
    }
}
