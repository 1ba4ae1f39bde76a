//! Memory of a live Realm: mapped when the Realm faults, reclaimed, shared; from any number of
//! threads.
//!
//! Every operation takes the Realm by `&self` and a pool of the thread's own. Two threads never
//! work on the same part of the IPA space: the second waits, and then continues with the result of
//! the first.

use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::{Failed, Platform, Undelegated};
use sro::Pool;

use crate::error::{BuildError, RegionProblem};
use crate::map::{Mapping, Supply};
use crate::plan;
use crate::planes::leaf;
use crate::range_lock::RangeLock;
use crate::realm::{Alive, Realm};
use crate::shadow::tag;
use crate::stopped::Stopped;

/// How a fault was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// This range was mapped, which contains the address, and possibly more around it; enter the
    /// REC again.
    Mapped(IpaRange),
    /// Nothing was done: memory is mapped there already, because another REC faulted there first.
    /// Enter the REC again.
    Present,
    /// Nothing was done: the RIPAS of this entry is DESTROYED, because the host has unmapped memory
    /// there ([`Realm::reclaim`], [`Realm::evacuate`]) that the Realm had not given up. No memory
    /// was asked for. The Realm cannot continue at this address: a REC that is entered again faults
    /// again, until another REC of the Realm asks for a change of the RIPAS. A host that gives such
    /// a Realm no more time stops it.
    Destroyed(IpaRange),
    /// Nothing was done yet: another thread works on the Realm's memory in this range, for longer
    /// than the retry budget ([`RetryBudget`](rmi_host::RetryBudget)) allows to wait. Enter the REC
    /// again: it faults again if the memory is still missing.
    Contended(IpaRange),
}

/// Result of reclaiming memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "nothing was taken back where another thread was at work"]
pub enum Reclaimed {
    /// Nothing is mapped in the range any more.
    Whole,
    /// Nothing was reclaimed yet: another thread works on the Realm's memory in this range, for
    /// longer than the retry budget ([`RetryBudget`](rmi_host::RetryBudget)) allows to wait. No call was
    /// made. Enter the REC again, if this was done for one, and repeat the call later.
    Contended(IpaRange),
}

impl<P: Platform, S: Alive> Realm<'_, '_, P, S> {
    /// Maps memory for a Realm at an IPA where it has none. The RIPAS does not change: the Realm
    /// can access the memory where the RIPAS is RAM.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP.
    ///
    /// # Errors
    ///
    /// [`BuildError::Region`] before any call; otherwise the reason why it stopped. The memory that
    /// was not mapped is returned; if the RMM returns it in parts, the last of them is returned,
    /// and the others go to the pool.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn map(
        &self,
        pool: &mut Pool<'_>,
        ipa: Ipa,
        memory: Undelegated,
    ) -> Result<(), Failed<Undelegated, BuildError>> {
        let mut memory = [memory];
        let result = self.map_scattered(pool, ipa, &mut memory);
        let [rest] = memory;
        result.map_err(|error| Failed::new(rest, error))
    }

    /// As [`Realm::map`], of several pieces of memory that follow each other in the IPA space: 512
    /// of them and more in one call. Contiguous pieces are delegated together.
    ///
    /// What is mapped was removed from `memory`; what was not mapped is in it, from the front.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP.
    ///
    /// # Errors
    ///
    /// As [`Realm::map`].
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn map_scattered(
        &self,
        pool: &mut Pool<'_>,
        ipa: Ipa,
        memory: &mut [Undelegated],
    ) -> Result<(), BuildError> {
        let bytes = memory.iter().fold(0u64, |sum, piece| sum.saturating_add(piece.bytes()));
        let granule = self.rmm.granule_size().bytes();
        let range =
            self.place(ipa, memory.iter().all(|piece| piece.range().is_aligned(granule)), bytes)?;
        self.check_protected(range, bytes)?;
        let mut held = self.lock_range(range, |_| Ok(()))?;
        self.check_void(range)?;
        let pieces = memory.iter().map(Undelegated::range).filter(|piece| !piece.is_empty());
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        let runs = plan::runs_of(ipa, plan::joined(pieces), self.top_block_level(), &exists);
        self.make(&mut held, pool, plan::tables_of_runs(self.geometry, runs))?;

        let slots = core::cell::RefCell::new((memory, 0usize, 0usize));
        let mut next = |_| {
            let Ok(mut slots) = slots.try_borrow_mut() else { return None };
            let (memory, at, _) = &mut *slots;
            let mut piece = Undelegated::empty();
            while let Some(slot) = memory.get_mut(*at) {
                match piece.append(slot.take()) {
                    Ok(()) => *at += 1,
                    Err(apart) => {
                        *slot = apart;
                        break;
                    }
                }
            }
            Some(piece)
        };
        let rmm = self.rmm;
        let mut back = |pool: &mut Pool<'_>, host: Undelegated| {
            let Ok(mut slots) = slots.try_borrow_mut() else { return pool.restore(rmm, host) };
            let (memory, at, filled) = &mut *slots;
            let homeless = match memory.get_mut(*filled).filter(|_| *filled < *at) {
                Some(slot) => match slot.append(host) {
                    Ok(()) => return,
                    Err(host) => {
                        *filled += 1;
                        match memory.get_mut(*filled).filter(|_| *filled < *at) {
                            Some(slot) => core::mem::replace(slot, host),
                            None => host,
                        }
                    }
                },
                None => host,
            };
            pool.restore(rmm, homeless);
        };
        let mut supply =
            Supply { next: &mut next, back: &mut back, progress: &mut |_| {}, init_ripas: false };
        self.map_supply(&mut held, pool, range, &mut supply).result
    }

    /// Serves a fault of a REC at `ipa`: maps memory there and, to save the Realm its next faults,
    /// around it, up to the leaf table (2 MiB) that covers it and inside `window`.
    ///
    /// `supply` is asked for memory for a void range and returns a piece for its front; it is
    /// called again for what is left, until it returns `None`. A piece of 2 MiB that is aligned to
    /// that is mapped as a block. If the first piece does not reach the address, it is mapped at
    /// the address: however little there is, the fault is served. What the RMM does not map is
    /// passed to `home`.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP.
    ///
    /// Where another thread works on the same 2 MiB (it may be mapping them), this waits as long as
    /// the retry budget ([`RetryBudget`](rmi_host::RetryBudget)) allows and then returns
    /// [`Served::Contended`]: enter the REC again.
    ///
    /// # Errors
    ///
    /// [`BuildError::Region`] when the window does not contain the address or is not protected,
    /// before any call, and when there is no memory for the address; otherwise the reason why the
    /// address could not be mapped. A failure that concerns only memory around it is not an error.
    ///
    /// An entry that the host has unmapped before, or of which it is unclear whether it is mapped,
    /// is read first (RMI_RTT_READ_ENTRY), and mapped only for a fault at itself: around a fault
    /// such entries are left out.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn serve_fault(
        &self,
        pool: &mut Pool<'_>,
        ipa: Ipa,
        window: IpaRange,
        supply: &mut dyn FnMut(IpaRange) -> Option<Undelegated>,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<Served, BuildError> {
        let granule = self.rmm.granule_size().bytes();
        let page = ipa.align_down(granule);
        let refuse = |problem| Err(BuildError::Region { range: window, problem });
        self.check_protected(window, window.bytes())?;
        self.check_aligned(window)?;
        if !window.contains(ipa) {
            return refuse(RegionProblem::Elsewhere { ipa });
        }
        let around = leaf(page).intersection(&window).unwrap_or(window);
        let mut held = match self.lock_range(around, |_| Ok(())) {
            Err(BuildError::Contended { range }) => return Ok(Served::Contended(range)),
            held => held?,
        };
        // A REC would otherwise fault forever at an entry of uncertain state.
        if let Some(destroyed) = self.settle_entry(page, home)? {
            return Ok(Served::Destroyed(destroyed));
        }
        let Some(void) = self.void_around(page, around) else { return Ok(Served::Present) };
        let no_memory =
            || BuildError::Region { range: window, problem: RegionProblem::NoMemory { ipa: page } };
        let mut first = supply(void).filter(|memory| !memory.is_empty()).ok_or(no_memory())?;
        // The address itself is mapped first: the memory may not suffice for the rest.
        let reaches = void.base().checked_add(first.bytes()).is_some_and(|top| top > page);
        let start = if reaches { void.base() } else { page };
        let [front, rest] = [(void.base(), start), (start, void.top())]
            .map(|(base, top)| IpaRange::new(base, top).unwrap_or(IpaRange::empty(base)));
        if first.bytes() > rest.bytes() {
            let fits = first.take_front(rest.bytes()).unwrap_or_default();
            home(core::mem::replace(&mut first, fits));
        }
        let mut hand = Some(first);
        let mut supply = Supply {
            next: &mut |left| hand.take().or_else(|| supply(left)),
            back: &mut |_, host| home(host),
            progress: &mut |_| {},
            init_ripas: false,
        };
        let (mut staged, mut result) = self.stage_supply(&mut held, pool, rest, &mut supply);
        let mut before = IpaRange::empty(front.base());
        if result.is_ok() && staged == rest {
            (before, result) = self.stage_supply(&mut held, pool, front, &mut supply);
        }
        // Memory on both sides of the address without a gap: one call for both.
        if before == front {
            staged = IpaRange::new(front.base(), staged.top()).unwrap_or(staged);
            before = IpaRange::empty(front.base());
        }
        let mapping = self.map_all(pool, staged, &mut supply);
        let mapped = IpaRange::with_size(staged.base(), mapping.taken).unwrap_or(staged);
        let beside = self.map_all(pool, before, &mut supply);
        if !mapped.contains(page) || !self.is_mapped(page) {
            return Err(mapping.result.and(result).err().unwrap_or(no_memory()));
        }
        // The fault is served. What fails from here on is detected again by another fault.
        let whole = mapping.result.is_ok() && beside.result.is_ok() && result.is_ok();
        let mut more = whole && mapping.taken + beside.taken == void.bytes();
        let mut from = around.base();
        while more
            && let Some(void) = {
                let shadow = self.shadow.lock();
                shadow.next_free(from, around.top())
            }
        {
            from = void.top();
            let Mapping { taken, result } = self.map_supply(&mut held, pool, void, &mut supply);
            more = result.is_ok() && taken == void.bytes();
        }
        Ok(Served::Mapped(mapped))
    }

    /// Whether it is certain that a page is mapped.
    fn is_mapped(&self, page: Ipa) -> bool {
        let shadow = self.shadow.lock();
        let at = shadow.walk(page, Level::L3);
        at.is_some_and(|at| shadow.memory(at).is_some() && shadow.look(at).tag() == tag::SURE)
    }

    /// The run around a page, inside a range, where nothing is mapped and nothing was unmapped;
    /// `None` when the page is mapped.
    fn void_around(&self, page: Ipa, around: IpaRange) -> Option<IpaRange> {
        let shadow = self.shadow.lock();
        let mut from = around.base();
        while let Some(void) = shadow.next_free(from, around.top()) {
            if void.contains(page) {
                return Some(void);
            }
            from = void.top();
        }
        None
    }

    /// Takes memory back from the Realm: unmaps all of a range, in all trees, and passes its memory
    /// to `home`. Blocks that extend beyond the range are split first, with granules from the pool;
    /// what that needs at both ends is obtained before anything else changes. Where the RIPAS was
    /// RAM it is DESTROYED now: the Realm cannot continue there until it asks for a change.
    ///
    /// Where another thread works on a part of the range, this waits as long as the retry budget
    /// ([`RetryBudget`](rmi_host::RetryBudget)) allows and then returns [`Reclaimed::Contended`]: repeat
    /// it later.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_CREATE, RMI_RTT_DATA_UNMAP.
    ///
    /// # Errors
    ///
    /// [`Stopped`]: [`BuildError::Region`] before any call, [`BuildError::Storage`] and a lack of
    /// memory for tables before anything changes; otherwise the reason why it stopped. Below
    /// [`Stopped::reached`] nothing is mapped any more: that memory was passed to `home`, or is in
    /// quarantine if the RMM does not return it. At that address, memory is still mapped, or may
    /// be; of what is above, some may have been returned, too. The call can be repeated.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn reclaim(
        &self,
        pool: &mut Pool<'_>,
        range: IpaRange,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<Reclaimed, Stopped> {
        let stop = |error| Stopped { error, reached: range.base() };
        self.check_protected(range, range.bytes()).map_err(stop)?;
        self.check_aligned(range).map_err(stop)?;
        let mut held = match self.lock_range(range, |_| Ok(())) {
            Err(BuildError::Contended { range }) => return Ok(Reclaimed::Contended(range)),
            held => held.map_err(stop)?,
        };
        self.reclaim_held(&mut held, pool, range, home).map_err(|error| {
            let left = self.next_memory(range.base(), range.top());
            let reached = left.map_or(range.top(), |at| at.base.max(range.base()));
            Stopped { error, reached }
        })?;
        Ok(Reclaimed::Whole)
    }

    /// Reclaims what is mapped in a claimed range.
    pub(crate) fn reclaim_held(
        &self,
        held: &mut RangeLock<'_, '_, P::Lock>,
        pool: &mut Pool<'_>,
        range: IpaRange,
        home: &mut dyn FnMut(Undelegated),
    ) -> Result<(), BuildError> {
        self.settle_range(held, pool, range);
        self.split_ends(held, pool, range)?;
        self.hide_everywhere(range)?;
        Ok(self.unmap_range(pool.pages().list, range, home)?)
    }

    /// The IPA range of `bytes` of memory that are to be mapped at `ipa`; `aligned` says whether
    /// the memory is aligned to granules. A range that extends beyond the address space is empty.
    pub(crate) fn place(
        &self,
        ipa: Ipa,
        aligned: bool,
        bytes: u64,
    ) -> Result<IpaRange, BuildError> {
        let range = IpaRange::with_size(ipa, bytes).unwrap_or(IpaRange::empty(ipa));
        match aligned && ipa.is_aligned(self.rmm.granule_size().bytes()) {
            true => Ok(range),
            false => Err(BuildError::Region { range, problem: RegionProblem::Unaligned }),
        }
    }

    pub(crate) fn check_aligned(&self, range: IpaRange) -> Result<(), BuildError> {
        match range.is_aligned(self.rmm.granule_size().bytes()) {
            true => Ok(()),
            false => Err(BuildError::Region { range, problem: RegionProblem::Unaligned }),
        }
    }

    /// Whether a range, which may be empty, is one that a Realm may ask to change.
    pub(crate) fn check_change(&self, range: IpaRange) -> Result<(), BuildError> {
        if !self.geometry.range_is_protected(&range) {
            return Err(BuildError::Region { range, problem: RegionProblem::NotProtected });
        }
        self.check_aligned(range)
    }

    /// Whether nothing is mapped in a claimed range.
    fn check_void(&self, range: IpaRange) -> Result<(), BuildError> {
        match self.overlap(&range) {
            None => Ok(()),
            Some(at) => {
                let problem = RegionProblem::Overlap { at: at.base() };
                Err(BuildError::Region { range, problem })
            }
        }
    }

    pub(crate) fn check_protected(&self, range: IpaRange, bytes: u64) -> Result<(), BuildError> {
        let problem = if bytes == 0 {
            RegionProblem::Empty
        } else if range.is_empty() || !self.geometry.range_is_protected(&range) {
            RegionProblem::NotProtected
        } else {
            return Ok(());
        };
        Err(BuildError::Region { range, problem })
    }
}
