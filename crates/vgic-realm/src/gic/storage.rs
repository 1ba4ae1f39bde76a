//! Where the state of a GIC is stored.

use core::fmt;
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize};

use lock_api::{Mutex, RawMutex};

use super::ended::EndedSet;
use super::interrupt::Interrupt;
use super::spi_table::{LIVE_WORDS, SpiState, SpiTable};
use crate::affinity::Affinity;
use crate::interface::Vtr;
#[cfg(feature = "alloc")]
use crate::intid::MAX_SPIS;
use crate::intid::{PRIVATE, SGIS};
use crate::list_register::ListRegister;
use crate::state::InterfaceState;

/// The lock of a GIC whose embedder brings none: a spin lock, which does not mask interrupts.
pub(crate) type DefaultLock = spin::Mutex<()>;

/// Storage of a [`Gic`](super::Gic) for at most `RECS` RECs (512 at most are used) and `SPIS` SPIs
/// (988 at most are used).
///
/// It may be a `static`, and be used again after the GIC in it was dropped.
pub struct GicStorage<const RECS: usize, const SPIS: usize, L: RawMutex = DefaultLock> {
    recs: [RecSlot<L>; RECS],
    shared: Shared,
    spis: Mutex<L, SpiTable<[SpiState; SPIS]>>,
}

impl<const RECS: usize, const SPIS: usize, L: RawMutex> GicStorage<RECS, SPIS, L> {
    /// Empty storage.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            recs: [const { RecSlot::new() }; RECS],
            shared: Shared::new(),
            spis: Mutex::const_new(L::INIT, SpiTable::new([SpiState::new(None); SPIS])),
        }
    }
}

impl<const RECS: usize, const SPIS: usize, L: RawMutex> Default for GicStorage<RECS, SPIS, L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const RECS: usize, const SPIS: usize, L: RawMutex> fmt::Debug for GicStorage<RECS, SPIS, L> {
    /// Takes no lock.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GicStorage").field("recs", &RECS).field("spis", &SPIS).finish()
    }
}

/// Storage of a [`Gic`](super::Gic) on the heap, for any number of RECs (512 at most are used) and
/// all SPIs.
#[cfg(feature = "alloc")]
pub struct OwnedGicStorage<L: RawMutex = DefaultLock> {
    recs: alloc::boxed::Box<[RecSlot<L>]>,
    shared: Shared,
    spis: alloc::boxed::Box<Mutex<L, SpiTable<[SpiState; MAX_SPIS]>>>,
}

#[cfg(feature = "alloc")]
impl<L: RawMutex> OwnedGicStorage<L> {
    /// Empty storage for so many RECs.
    #[must_use]
    pub fn new(recs: usize) -> Self {
        let spis = SpiTable::new([SpiState::new(None); MAX_SPIS]);
        Self {
            recs: (0..recs).map(|_| RecSlot::new()).collect(),
            shared: Shared::new(),
            spis: alloc::boxed::Box::new(Mutex::const_new(L::INIT, spis)),
        }
    }
}

#[cfg(feature = "alloc")]
impl<L: RawMutex> fmt::Debug for OwnedGicStorage<L> {
    /// Takes no lock.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedGicStorage").field("recs", &self.recs.len()).finish_non_exhaustive()
    }
}

/// [`GicStorage`], or `OwnedGicStorage` on the heap (feature `alloc`).
#[expect(private_bounds, reason = "no other storage exists")]
pub trait Storage: Parts {}

/// The parts of a storage.
pub(super) trait Parts {
    type Lock: RawMutex;

    #[expect(clippy::type_complexity, reason = "each is used once")]
    fn parts(&self) -> (&[RecSlot<Self::Lock>], &Mutex<Self::Lock, SpiTable>, &Shared);
}

impl<const RECS: usize, const SPIS: usize, L: RawMutex> Storage for GicStorage<RECS, SPIS, L> {}

impl<const RECS: usize, const SPIS: usize, L: RawMutex> Parts for GicStorage<RECS, SPIS, L> {
    type Lock = L;

    fn parts(&self) -> (&[RecSlot<L>], &Mutex<L, SpiTable>, &Shared) {
        (&self.recs, &self.spis, &self.shared)
    }
}

#[cfg(feature = "alloc")]
impl<L: RawMutex> Storage for OwnedGicStorage<L> {}

#[cfg(feature = "alloc")]
impl<L: RawMutex> Parts for OwnedGicStorage<L> {
    type Lock = L;

    fn parts(&self) -> (&[RecSlot<L>], &Mutex<L, SpiTable>, &Shared) {
        (&self.recs, &*self.spis, &self.shared)
    }
}

/// What belongs to no REC, and is read without a lock.
pub(super) struct Shared {
    pub(super) is_taken: AtomicBool,
    /// The number of SPIs that are not idle. Changed while the SPIs are locked.
    pub(super) live_spis: AtomicUsize,
    /// A [`Groups`](super::Groups): what the distributor forwards.
    pub(super) groups: AtomicU8,
    /// The SPIs that ended outside of a run.
    pub(super) ended: EndedSet<{ 1 + LIVE_WORDS }>,
}

impl Shared {
    const fn new() -> Self {
        Self {
            is_taken: AtomicBool::new(false),
            live_spis: AtomicUsize::new(0),
            groups: AtomicU8::new(0),
            ended: EndedSet::new(),
        }
    }

    pub(super) fn any_live_spi(&self) -> bool {
        self.live_spis.load(SeqCst) != 0
    }

    pub(super) fn reset(&self) {
        self.live_spis.store(0, SeqCst);
        self.groups.store(0, SeqCst);
        self.ended.clear();
    }
}

/// Where a REC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between runs.
    Idle,
    /// Its list registers are in a CPU.
    Loaded,
    /// It was found to have no interrupt, so its thread may wait for one.
    Waiting,
}

const IDLE: u8 = 0;
const LOADED: u8 = 1;
const WAITING: u8 = 2;

/// One REC.
pub(super) struct RecSlot<L> {
    affinity: AtomicU32,
    phase: AtomicU8,
    /// `ICH_VMCR_EL2` as the REC left it. Its priority mask (bits 31:24) is the running priority,
    /// if that is more urgent.
    vmcr: AtomicU32,
    /// `GICR_WAKER.ProcessorSleep`.
    is_asleep: AtomicBool,
    /// The private interrupts that ended outside of a run.
    pub(super) ended: EndedSet<1>,
    pub(super) private: Mutex<L, Private>,
}

impl<L: RawMutex> RecSlot<L> {
    const fn new() -> Self {
        Self {
            affinity: AtomicU32::new(0),
            phase: AtomicU8::new(IDLE),
            vmcr: AtomicU32::new(0),
            is_asleep: AtomicBool::new(false),
            ended: EndedSet::new(),
            private: Mutex::const_new(L::INIT, Private::new(Vtr::from_raw(0))),
        }
    }

    pub(super) fn reset(&self, affinity: Affinity, vtr: Vtr) {
        self.affinity.store(affinity.packed(), SeqCst);
        self.phase.store(IDLE, SeqCst);
        self.vmcr.store(0, SeqCst);
        self.is_asleep.store(false, SeqCst);
        self.ended.clear();
        *self.private.lock() = Private::new(vtr);
    }

    pub(super) fn affinity(&self) -> Affinity {
        Affinity::from_packed(self.affinity.load(SeqCst))
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            IDLE => Phase::Idle,
            LOADED => Phase::Loaded,
            _ => Phase::Waiting,
        }
    }

    pub(super) fn set_loaded(&self) {
        self.phase.store(LOADED, SeqCst);
    }

    pub(super) fn set_idle(&self) {
        self.phase.store(IDLE, SeqCst);
    }

    /// From between runs to waiting; a REC that is loaded stays so.
    pub(super) fn start_waiting(&self) {
        let _ = self.phase.compare_exchange(IDLE, WAITING, SeqCst, SeqCst);
    }

    /// Back again.
    pub(super) fn stop_waiting(&self) {
        let _ = self.phase.compare_exchange(WAITING, IDLE, SeqCst, SeqCst);
    }

    pub(super) fn is_awake(&self) -> bool {
        !self.is_asleep.load(SeqCst)
    }

    /// Whether it was asleep.
    pub(super) fn set_asleep(&self, is_asleep: bool) -> bool {
        self.is_asleep.swap(is_asleep, SeqCst)
    }

    /// Stores `ICH_VMCR_EL2`, and which priorities are not signalled because of an active
    /// interrupt: this one and less urgent ones, `None` for none. Returns whether the REC is not
    /// signalled any more what it was before: it has disabled a group, or masks more.
    pub(super) fn set_vmcr(&self, vmcr: u32, running: Option<u8>) -> bool {
        let [b0, b1, b2, mask] = vmcr.to_le_bytes();
        let mask = mask.min(running.unwrap_or(u8::MAX));
        let stored = u32::from_le_bytes([b0, b1, b2, mask]);
        let before = self.vmcr.swap(stored, SeqCst);
        let [.., mask_before] = before.to_le_bytes();
        before & !vmcr & 0b11 != 0 || mask < mask_before
    }

    /// Whether the REC enables a group (`ICC_IGRPEN0_EL1`, `ICC_IGRPEN1_EL1`).
    pub(super) fn enables(&self, is_group1: bool) -> bool {
        self.vmcr.load(SeqCst) >> u32::from(is_group1) & 1 != 0
    }

    /// The REC is not signalled priorities from here on: it masks them, or an active interrupt is
    /// not less urgent.
    pub(super) fn mask(&self) -> u8 {
        let [.., mask] = self.vmcr.load(SeqCst).to_le_bytes();
        mask
    }

    /// Whether the REC neither disables the group nor masks the priority, and no active interrupt
    /// is as urgent.
    pub(super) fn signals(&self, priority: u8, is_group1: bool) -> bool {
        self.enables(is_group1) && priority < self.mask()
    }

    /// Whether it runs or waits, and an SPI for any REC may go to it.
    pub(super) fn takes(&self, is_group1: bool) -> bool {
        self.phase() != Phase::Idle && self.accepts(is_group1)
    }

    /// Whether an SPI for any REC may go to this one. One that is off enables no group.
    pub(super) fn accepts(&self, is_group1: bool) -> bool {
        self.is_awake() && self.enables(is_group1)
    }
}

/// The interrupts that belong to one REC, and its virtual CPU interface.
pub(super) struct Private {
    /// SGIs and PPIs.
    pub(super) interrupts: [Interrupt; PRIVATE as usize],
    /// Those that are not idle.
    pub(super) live: u32,
    pub(super) interface: InterfaceState,
    /// How many of the list registers are in use: the first ones, while the REC is loaded.
    pub(super) loaded: usize,
}

impl Private {
    const fn new(vtr: Vtr) -> Self {
        let mut interrupts = [Interrupt::new(true); PRIVATE as usize];
        let (sgis, _) = interrupts.split_at_mut(SGIS as usize);
        let mut rest = sgis;
        while let [sgi, tail @ ..] = rest {
            *sgi = Interrupt::new(false);
            rest = tail;
        }
        Self { interrupts, live: 0, interface: InterfaceState::new(vtr), loaded: 0 }
    }

    pub(super) fn get(&self, intid: u32) -> Option<&Interrupt> {
        self.interrupts.get(intid as usize)
    }

    /// An interrupt that is not idle, and stays so. Others are changed with [`Private::change`].
    pub(super) fn live_mut(&mut self, intid: u32) -> Option<&mut Interrupt> {
        self.interrupts.get_mut(intid as usize)
    }

    /// Loads the next list register.
    pub(super) fn load(&mut self, register: ListRegister) {
        self.interface.list_registers_mut().put(self.loaded, register);
        self.loaded += 1;
    }

    /// Changes an interrupt; `None` if it does not exist.
    pub(super) fn change<R>(
        &mut self,
        intid: u32,
        change: impl FnOnce(&mut Interrupt) -> R,
    ) -> Option<R> {
        let interrupt = self.interrupts.get_mut(intid as usize)?;
        let result = change(interrupt);
        let bit = 1 << intid;
        self.live = if interrupt.is_live() { self.live | bit } else { self.live & !bit };
        Some(result)
    }

    /// The interrupts that are not idle, with their INTIDs.
    pub(super) fn live(&self) -> impl Iterator<Item = (u32, &Interrupt)> {
        bits(self.live).filter_map(|intid| Some((intid, self.get(intid)?)))
    }
}

/// The numbers of the bits that are set.
pub(super) fn bits(mut word: u32) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        (word != 0).then(|| {
            word &= word - 1;
            bit
        })
    })
}
