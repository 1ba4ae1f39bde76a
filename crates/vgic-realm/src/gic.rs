//! The virtual GIC of a Realm: which interrupts exist, in which state, and for which REC.

mod any_route;
mod ended;
pub(crate) mod interrupt;
mod registers;
mod select;
mod sources;
mod spi_table;
mod storage;
mod transfer;

use core::fmt;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use lock_api::RawMutex;

use crate::affinity::Affinity;
use crate::interface::Vtr;
use crate::intid::MAX_SPIS;
use crate::kicks::{Kicks, MAX_RECS};

pub use ended::EndedInterrupts;
pub use interrupt::Field;
use interrupt::Interrupt;
pub use registers::{Bank, Route};
use spi_table::SpiTable;
pub(crate) use storage::DefaultLock;
#[cfg(feature = "alloc")]
pub use storage::OwnedGicStorage;
pub use storage::{GicStorage, Storage};
use storage::{Phase, RecSlot, Shared};
pub use transfer::SaveReport;

/// What a Realm's GIC consists of.
#[derive(Clone, Copy, Debug)]
pub struct GicConfig<'c> {
    /// The affinities of the RECs, by their indices: the order of all functions that take a `rec`.
    pub affinities: &'c [Affinity],
    /// The number of SPIs: INTIDs from 32 on.
    pub spis: usize,
    /// What the machine's CPUs implement; of it the numbers of priority bits and of preemption bits
    /// are used.
    pub vtr: Vtr,
}

/// A GIC cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GicConfigError {
    /// Another [`Gic`] uses the storage.
    InUse,
    /// There is no REC.
    NoRecs,
    /// There are more RECs than the storage is for.
    TooManyRecs {
        /// The number of RECs.
        recs: usize,
        /// The most.
        limit: usize,
    },
    /// There are more SPIs than the storage is for.
    TooManySpis {
        /// The number of SPIs.
        spis: usize,
        /// The most.
        limit: usize,
    },
    /// Two RECs have the same affinity.
    SameAffinity {
        /// The index of one of them.
        first: usize,
        /// The index of the other.
        second: usize,
    },
}

impl fmt::Display for GicConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str("another GIC uses the storage"),
            Self::NoRecs => f.write_str("a GIC needs a REC"),
            Self::TooManyRecs { recs, limit } => {
                write!(f, "{recs} RECs: the storage is for at most {limit}")
            }
            Self::TooManySpis { spis, limit } => {
                write!(f, "{spis} SPIs: the storage is for at most {limit}")
            }
            Self::SameAffinity { first, second } => {
                write!(f, "RECs {first} and {second} have the same affinity")
            }
        }
    }
}

impl core::error::Error for GicConfigError {}

/// The virtual GIC of a Realm: the state of all its interrupts, and the virtual CPU interfaces of
/// its RECs.
///
/// A GICv3 with one security state and affinity routing: SGIs (INTIDs 0 to 15) and PPIs (16 to 31)
/// of each REC, and SPIs (from 32 on), which go to the REC of their route or to any. There are no
/// LPIs.
///
/// - Devices and other sources change the state with [`set_spi`](Gic::set_spi),
///   [`pulse_spi`](Gic::pulse_spi), [`set_ppi`](Gic::set_ppi) and [`send_sgi`](Gic::send_sgi).
/// - Around each entry of a REC, on the CPU that enters it, [`load`](Gic::load) moves its most
///   urgent interrupts into list registers and [`save`](Gic::save) takes them back. A REC that
///   waits is entered again when it [has a pending interrupt](Gic::has_pending).
/// - The register file works on [bits of many interrupts](Gic::bits), priorities and routes.
///
/// Functions that change something return the RECs that have to be [kicked](Kicks). An interrupt
/// that is in the list registers of a running REC when it changes (it is disabled, its line goes
/// down, it gets another route) is not recalled by itself: the change takes effect when that REC,
/// which is among them, exits. So an interrupt is never lost, and never in the list registers of
/// two RECs.
///
/// # Threads, interrupts, locks
///
/// All functions take `&self`, from any thread. There is one lock for the private interrupts of
/// each REC and one for all SPIs; they are held for a bounded time, never during a callback or a
/// call to the RMM. That time is a walk of the interrupts of a REC, of the pending SPIs and of the
/// RECs, plus: in `save`, a walk of the first two for each interrupt that the CPU has counted as
/// ended without a list register (31 at most) and of the RECs for each SPI that was in a list
/// register or ended; in a write to a register of the distributor, one of the RECs for each SPI
/// that it changes (32 at most). A REC's lock is taken before that of the SPIs, and never two of
/// RECs.
///
/// Every function may be called with interrupts masked. Those that change the state of interrupts
/// may be called from an interrupt handler if the lock `L` masks interrupts, or if the code that
/// the handler interrupts never calls functions of the same GIC; with the default, a spin lock, a
/// handler would wait for ever for a lock that is held by what it interrupted.
///
/// `load`, `save` and `has_pending` of one REC are called by the thread that runs it.
///
/// Source: Arm IHI 0069 (GICv3).
pub struct Gic<'s, L: RawMutex = DefaultLock> {
    recs: &'s [RecSlot<L>],
    spis: &'s lock_api::Mutex<L, SpiTable>,
    shared: &'s Shared,
    vtr: Vtr,
}

/// # Creation
impl<'s, L: RawMutex> Gic<'s, L> {
    /// Makes a GIC in its reset state: no interrupt is pending, active or enabled, all belong to
    /// group 1 and have priority 0, both groups are disabled at the distributor, PPIs and SPIs are
    /// level-sensitive, SPIs have the route 0.0.0.0, and redistributors are awake, as firmware of a
    /// machine leaves them (EDK2 relies on that).
    ///
    /// # Errors
    ///
    /// [`GicConfigError`]; nothing has changed.
    #[expect(private_bounds, reason = "no other storage exists")]
    pub fn new(
        storage: &'s impl Storage<Lock = L>,
        config: &GicConfig<'_>,
    ) -> Result<Self, GicConfigError> {
        let (recs, spis, shared) = storage.parts();
        let affinities = config.affinities;
        let limit = recs.len().min(MAX_RECS);
        let Some(recs) = recs.get(..affinities.len()).filter(|recs| recs.len() <= limit) else {
            return Err(GicConfigError::TooManyRecs { recs: affinities.len(), limit });
        };
        if recs.is_empty() {
            return Err(GicConfigError::NoRecs);
        }
        for (second, affinity) in affinities.iter().enumerate() {
            if let Some(first) = affinities.iter().take(second).position(|one| one == affinity) {
                return Err(GicConfigError::SameAffinity { first, second });
            }
        }
        let limit = spis.lock().capacity().min(MAX_SPIS);
        if config.spis > limit {
            return Err(GicConfigError::TooManySpis { spis: config.spis, limit });
        }
        if shared.is_taken.swap(true, SeqCst) {
            return Err(GicConfigError::InUse);
        }
        shared.reset();
        for (slot, affinity) in recs.iter().zip(affinities) {
            slot.reset(*affinity, config.vtr);
        }
        let gic = Self { recs, spis, shared, vtr: config.vtr };
        gic.spis.lock().reset(config.spis, gic.index_of(Affinity::default()));
        Ok(gic)
    }
}

impl<L: RawMutex> Drop for Gic<'_, L> {
    fn drop(&mut self) {
        self.shared.is_taken.store(false, SeqCst);
    }
}

/// # What it consists of
impl<L: RawMutex> Gic<'_, L> {
    /// The number of RECs.
    #[must_use]
    pub const fn recs(&self) -> usize {
        self.recs.len()
    }

    /// The number of SPIs.
    #[must_use]
    pub fn spis(&self) -> usize {
        self.spis.lock().count()
    }

    /// The number of bits of a priority that are implemented, from the highest down; the others are
    /// zero.
    #[must_use]
    pub const fn priority_bits(&self) -> u32 {
        self.vtr.priority_bits()
    }

    /// The affinity of a REC.
    #[must_use]
    pub fn affinity(&self, rec: usize) -> Option<Affinity> {
        self.recs.get(rec).map(RecSlot::affinity)
    }

    /// The index of the REC with that affinity.
    #[must_use]
    pub fn index_of(&self, affinity: Affinity) -> Option<usize> {
        self.recs.iter().position(|slot| slot.affinity() == affinity)
    }

    /// The priority with the bits that are implemented.
    const fn implemented(&self, priority: u8) -> u8 {
        match self.vtr.priority_bits() {
            bits @ 0..8 => priority & !(0xff >> bits),
            _ => priority,
        }
    }
}

/// Which groups are enabled: bit 0 for group 0, bit 1 for group 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Groups(u8);

impl Groups {
    const fn has(self, is_group1: bool) -> bool {
        self.0 >> is_group1 as u8 & 1 != 0
    }
}

impl<L: RawMutex> Gic<'_, L> {
    fn groups(&self) -> Groups {
        Groups(self.shared.groups.load(SeqCst))
    }

    /// Returns the old ones.
    fn swap_groups(&self, groups: Groups) -> Groups {
        Groups(self.shared.groups.swap(groups.0, SeqCst))
    }

    /// Adds a REC whose list registers are to be loaded again.
    fn kick_loaded(&self, rec: usize, kicks: &mut Kicks) {
        if self.recs.get(rec).is_some_and(|slot| slot.phase() == Phase::Loaded) {
            kicks.add(rec);
        }
    }

    /// Adds a REC that has a new pending interrupt, if it runs, or if it waits and does not mask
    /// it.
    fn kick_for(&self, rec: usize, interrupt: Interrupt, kicks: &mut Kicks) {
        let (priority, is_group1) = (interrupt.priority(), interrupt.is_group1());
        let Some(slot) = self.recs.get(rec) else { return };
        match slot.phase() {
            Phase::Loaded => kicks.add(rec),
            Phase::Waiting if slot.is_awake() && slot.signals(priority, is_group1) => {
                kicks.add(rec);
            }
            _ => {}
        }
    }
}

impl<L: RawMutex> fmt::Debug for Gic<'_, L> {
    /// Takes no lock.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gic")
            .field("recs", &self.recs.len())
            .field("live_spis", &self.shared.live_spis.load(Relaxed))
            .finish_non_exhaustive()
    }
}
