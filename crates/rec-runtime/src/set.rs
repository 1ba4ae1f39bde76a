//! All RECs of a Realm, their power, and the threads that run them.

mod claim;
mod cpus;
mod dump;
mod pause;
mod power;
mod runner;
mod slot;
mod statistics;
#[cfg(feature = "std")]
mod wait;
pub(crate) mod word;

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicUsize};

use rmi_abi::rec::Mpidr;
use rmi_host::Failed;

pub use claim::ClaimError;
pub use cpus::PhysicalCpus;
pub use pause::Inside;
pub use power::{CpuOn, SystemEnd};
pub use runner::{Outcome, Runner, Sleep};
pub use slot::RecSlot;
use slot::Slots;
pub use statistics::{ExitKind, Statistics};
pub use word::Power;
use word::{Effect, Word};

use crate::rec::Rec;

/// All RECs of a Realm.
pub struct RecSet<'s> {
    slots: Slots<'s>,
    /// RECs so far.
    len: usize,
    cpus: &'s dyn PhysicalCpus,
    clock: Option<&'s (dyn Fn() -> u64 + Sync)>,
    /// Most RECs that are on at a time.
    limit: AtomicUsize,
    /// Calls of `CPU_ON` that are decided but not completed.
    turning_on: AtomicUsize,
    /// A code of [`SystemEnd`], or 0.
    end: AtomicU32,
    #[cfg(feature = "std")]
    paused: wait::Park,
}

/// # Making it
impl<'s> RecSet<'s> {
    /// An empty set with room for as many RECs as there are slots.
    ///
    /// RECs that a set left in the slots are dropped.
    pub fn new(slots: &'s mut [RecSlot], cpus: &'s dyn PhysicalCpus) -> Self {
        Self::in_slots(Slots::Lent(slots), cpus)
    }

    /// An empty set with room for `capacity` RECs, on the heap.
    #[cfg(feature = "alloc")]
    #[must_use]
    pub fn with_capacity(capacity: usize, cpus: &'s dyn PhysicalCpus) -> Self {
        let slots = core::iter::repeat_with(RecSlot::new).take(capacity).collect();
        Self::in_slots(Slots::Owned(slots), cpus)
    }

    fn in_slots(mut slots: Slots<'s>, cpus: &'s dyn PhysicalCpus) -> Self {
        for slot in slots.all_mut() {
            *slot = RecSlot::new();
        }
        Self {
            slots,
            len: 0,
            cpus,
            clock: None,
            limit: AtomicUsize::new(usize::MAX),
            turning_on: AtomicUsize::new(0),
            end: AtomicU32::new(0),
            #[cfg(feature = "std")]
            paused: wait::Park::new(),
        }
    }

    /// Sets the clock that [`Statistics`] measure time with: any counter that only increases.
    pub const fn set_clock(&mut self, clock: &'s (dyn Fn() -> u64 + Sync)) {
        self.clock = Some(clock);
    }

    /// Adds the next REC of the Realm and returns its index. `is_on` is whether it was created
    /// runnable.
    ///
    /// # Errors
    ///
    /// The REC is returned with an [`AddError`].
    pub fn add(&mut self, rec: Rec, is_on: bool) -> Result<usize, Failed<Rec, AddError>> {
        let index = self.len;
        let found = rec.mpidr();
        if let Some(first) = self.rec(0)
            && first.realm() != rec.realm()
        {
            return Err(Failed::new(rec, AddError::OtherRealm));
        }
        if usize::try_from(found.index()) != Ok(index) {
            return Err(Failed::new(rec, AddError::OutOfOrder { found, index }));
        }
        let Some(slot) = self.slots.all_mut().get_mut(index) else {
            return Err(Failed::new(rec, AddError::Full));
        };
        *slot = RecSlot::of(rec, is_on);
        self.len = index.saturating_add(1);
        Ok(index)
    }

    /// Takes all RECs out, in the order of their indices, for the Realm to be torn down. The set is
    /// empty then.
    pub fn drain(&mut self) -> impl Iterator<Item = Rec> {
        self.len = 0;
        *self.end.get_mut() = 0;
        self.slots.all_mut().iter_mut().filter_map(|slot| core::mem::take(slot).into_rec())
    }
}

/// # The RECs
impl RecSet<'_> {
    /// RECs in the set.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no REC.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The REC with this index, in the order of creation.
    #[must_use]
    pub fn rec(&self, index: usize) -> Option<&Rec> {
        self.slot(index)?.rec()
    }

    /// The index of the REC with this MPIDR.
    #[must_use]
    pub fn index_of(&self, mpidr: Mpidr) -> Option<usize> {
        let index = usize::try_from(mpidr.index()).ok()?;
        (index < self.len).then_some(index)
    }

    /// The index of the REC with an MPIDR as PSCI and `MPIDR_EL1` have it: aff3 in bits 39:32. Bits
    /// that are no affinities are ignored, and of aff0 the upper four ([`Mpidr::from_psci`]).
    #[must_use]
    pub fn index_of_psci(&self, mpidr: u64) -> Option<usize> {
        self.index_of(Mpidr::from_psci(mpidr))
    }

    /// Whether the REC with this index is on, as far as the host knows.
    #[must_use]
    pub fn power(&self, index: usize) -> Option<Power> {
        Some(self.slot(index)?.word.load().power())
    }

    /// What the REC with this index did so far.
    #[must_use]
    pub fn statistics(&self, index: usize) -> Option<Statistics> {
        Some(self.slot(index)?.counters.read())
    }

    fn slot(&self, index: usize) -> Option<&RecSlot> {
        self.slots().get(index)
    }

    /// The slots that have a REC.
    fn slots(&self) -> &[RecSlot] {
        self.slots.all().get(..self.len).unwrap_or_default()
    }
}

/// # Kicks and interrupts
impl RecSet<'_> {
    /// Ends the run loop of a REC with [`Outcome::Kicked`]: the current one, also while the REC
    /// runs, or otherwise the next one. A thread that waits for the REC wakes.
    ///
    /// Returns whether there is a REC with this index.
    pub fn kick(&self, index: usize) -> bool {
        self.change(index, Word::kick)
    }

    /// Kicks all RECs.
    pub fn kick_all(&self) {
        for index in 0..self.len {
            self.kick(index);
        }
    }

    /// Tells that there is an interrupt or event for a REC, after it was recorded where
    /// [`Handler::before_entry`](crate::Handler::before_entry) finds it. If the REC runs, it exits
    /// and is entered again by the same loop; if it waits, a thread that waits for it wakes; if it
    /// is about to wait, it does not.
    ///
    /// Returns whether there is a REC with this index.
    pub fn notify(&self, index: usize) -> bool {
        self.change(index, Word::notify)
    }

    fn change(&self, index: usize, change: impl Fn(Word) -> (Word, Effect)) -> bool {
        let Some(slot) = self.slot(index) else { return false };
        let effect = slot.word.update(change);
        self.carry_out(index, slot, effect);
        true
    }

    fn carry_out(&self, index: usize, slot: &RecSlot, effect: Effect) {
        if let Some(cpu) = effect.interrupt {
            self.cpus.interrupt(cpu);
        }
        if effect.wake {
            #[cfg(feature = "std")]
            slot.park.wake();
            self.cpus.wake(index);
        }
        let _ = slot;
    }
}

impl fmt::Debug for RecSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Drop for RecSet<'_> {
    /// Drops the RECs; their memory is leaked and counted.
    fn drop(&mut self) {
        self.drain().for_each(drop);
    }
}

/// Why a REC is not added to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// There is no slot left.
    #[error("the set has no slot left")]
    Full,
    /// It belongs to another Realm than those in the set.
    #[error("the REC belongs to another Realm")]
    OtherRealm,
    /// It is not the next one by its MPIDR.
    #[error("the REC with MPIDR {:#x} is not number {index}", found.raw())]
    OutOfOrder {
        /// Its MPIDR.
        found: Mpidr,
        /// The index that it would get.
        index: usize,
    },
}
