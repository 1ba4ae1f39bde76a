//! Mapping memory: it is delegated by runs, put into the shadow, and mapped with as few commands as
//! descriptors allow.

use core::ops::ControlFlow;

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Ipa, IpaRange};
use rmi_host::{Attempts, Delegated, Failed, Platform, QuarantineReason, Undelegated};
use sro::{HostMemory, free_or_quarantine};

use crate::error::{BuildError, RegionProblem};
use crate::memory::range_lock::RangeLock;
use crate::memory::realm_core::RealmCore;
use crate::plan;
use crate::shadow::tag;

/// How mapping ended.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// How many bytes, from the front, the Realm has now: mapped, or possibly mapped.
    pub(crate) taken: u64,
    pub(crate) result: Result<(), BuildError>,
}

/// Takes host memory back: the memory object is that of the operation.
pub(crate) type Free<'f> = &'f mut dyn FnMut(&mut dyn HostMemory, Undelegated);

/// Where the memory that is mapped comes from.
pub(crate) struct Supply<'f> {
    /// Returns the next piece of memory for what is left of a range; after a shorter piece it is
    /// called again, and `None` ends it.
    pub(crate) next: &'f mut dyn FnMut(&mut dyn HostMemory, IpaRange) -> Option<Undelegated>,
    /// Takes memory that was not mapped.
    pub(crate) back: Free<'f>,
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::map`](crate::Realm::map).
    pub(crate) fn map(
        &self,
        memory: &mut dyn HostMemory,
        ipa: Ipa,
        granules: Undelegated,
    ) -> Result<(), Failed<Undelegated, BuildError>> {
        let mut pieces = [granules];
        let result = self.map_scattered(memory, ipa, &mut pieces);
        let [rest] = pieces;
        result.map_err(|error| Failed::new(rest, error))
    }

    /// See [`Realm::map_scattered`](crate::Realm::map_scattered).
    pub(crate) fn map_scattered(
        &self,
        memory: &mut dyn HostMemory,
        ipa: Ipa,
        pieces: &mut [Undelegated],
    ) -> Result<(), BuildError> {
        let bytes = pieces.iter().fold(0u64, |sum, piece| sum.saturating_add(piece.bytes()));
        let range = self.place(ipa, bytes)?;
        self.check_protected(range, bytes)?;
        for piece in pieces.iter() {
            self.check_memory(range, &piece.range())?;
        }
        let mut held = self.lock_range(range)?;
        self.check_void(range)?;
        let ranges = pieces.iter().map(Undelegated::range).filter(|piece| !piece.is_empty());
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        let runs = plan::runs_of(
            self.geometry(),
            ipa,
            plan::joined(ranges),
            self.private_block_level(),
            &exists,
        );
        self.make(&mut held, memory.pool(), runs)?;

        let slots = core::cell::RefCell::new((pieces, 0usize, 0usize));
        let mut next = |_: &mut dyn HostMemory, _| {
            let Ok(mut slots) = slots.try_borrow_mut() else { return None };
            let (pieces, at, _) = &mut *slots;
            let mut piece = Undelegated::empty();
            while let Some(slot) = pieces.get_mut(*at) {
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
        let mut back = |memory: &mut dyn HostMemory, host: Undelegated| {
            let Ok(mut slots) = slots.try_borrow_mut() else {
                return free_or_quarantine(rmm, memory, host);
            };
            let (pieces, at, filled) = &mut *slots;
            let apart = match pieces.get_mut(*filled).filter(|_| *filled < *at) {
                Some(slot) => match slot.append(host) {
                    Ok(()) => return,
                    Err(host) => {
                        *filled += 1;
                        match pieces.get_mut(*filled).filter(|_| *filled < *at) {
                            Some(slot) => core::mem::replace(slot, host),
                            None => host,
                        }
                    }
                },
                None => host,
            };
            drop(slots);
            free_or_quarantine(rmm, memory, apart);
        };
        let mut supply = Supply { next: &mut next, back: &mut back };
        self.map_supply(&mut held, memory, range, &mut supply).result
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// The level of the largest entries: none can be larger than an entry of the root tables.
    pub(crate) fn top_block_level(&self) -> Level {
        self.geometry().start_level().max(Level::L1)
    }

    /// The level of the largest blocks that private memory can be mapped by.
    pub(crate) fn private_block_level(&self) -> Level {
        self.top_block_level().max(self.rmm.call_limits().data_level)
    }

    /// Maps memory at a claimed void range, from its front for as long as there is a supply.
    pub(crate) fn map_supply(
        &self,
        held: &mut RangeLock<'_, P>,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        supply: &mut Supply<'_>,
    ) -> Mapping {
        let (staged, result) = self.stage_supply(held, memory, range, supply);
        // What is staged is mapped even if the supply ended early: a fault that is served in part
        // is served.
        let mapping = self.map_all(held, memory, staged, supply);
        Mapping { taken: mapping.taken, result: mapping.result.and(result) }
    }

    /// Delegates memory for a claimed void range and puts it into the shadow, from the front for as
    /// long as there is a supply. Returns the part that is staged.
    pub(crate) fn stage_supply(
        &self,
        held: &mut RangeLock<'_, P>,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        supply: &mut Supply<'_>,
    ) -> (IpaRange, Result<(), BuildError>) {
        let mut staged = range.base();
        let mut result = Ok(());
        // Contiguous pieces are delegated together.
        let mut run = Undelegated::empty();
        while result.is_ok() {
            let from = staged.checked_add(run.bytes()).unwrap_or(range.top());
            let left = range.after(from);
            let next = if left.is_empty() { None } else { (supply.next)(memory, left) };
            let next = next.filter(|granules| !granules.is_empty());
            let is_last = next.is_none();
            let apart = match next {
                Some(granules) if granules.bytes() <= left.bytes() => run.append(granules).err(),
                other => other,
            };
            if apart.is_none() && !is_last {
                continue;
            }
            let granules = core::mem::replace(&mut run, apart.unwrap_or_default());
            if !granules.is_empty() {
                let left = range.after(staged);
                let (bytes, staging) = self.stage(held, memory, left, granules, supply);
                staged = staged.checked_add(bytes).unwrap_or(range.top());
                result = staging;
            }
            if is_last {
                break;
            }
        }
        if !run.is_empty() {
            (supply.back)(memory, run);
        }
        let staged = range.before(staged);
        (staged, result)
    }

    /// Maps a claimed range that is in the shadow as a whole; what is not mapped is returned.
    pub(crate) fn map_all(
        &self,
        held: &RangeLock<'_, P>,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        supply: &mut Supply<'_>,
    ) -> Mapping {
        let (taken, result) = self.map_staged(held, memory, range);
        let reached = range.base().checked_add(taken).unwrap_or(range.top());
        let rest = range.after(reached);
        self.unstage(rest, &mut |host| (supply.back)(memory, host));
        Mapping { taken, result }
    }

    /// Delegates memory and puts it into the shadow, all of it or none: tables first, because they
    /// are most likely missing. Returns how many bytes are staged.
    fn stage(
        &self,
        held: &mut RangeLock<'_, P>,
        memory: &mut dyn HostMemory,
        left: IpaRange,
        granules: Undelegated,
        supply: &mut Supply<'_>,
    ) -> (u64, Result<(), BuildError>) {
        let (ipa, range) = (left.base(), granules.range());
        let top = self.private_block_level();
        if range.bytes() > left.bytes() {
            (supply.back)(memory, granules);
            let problem = RegionProblem::TooLong { bytes: left.bytes() };
            let range = IpaRange::with_size(ipa, range.bytes()).unwrap_or(left);
            return (0, Err(BuildError::Region { range, problem }));
        }
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        let runs = plan::runs_of(self.geometry(), ipa, Some(range).into_iter(), top, &exists);
        if let Err(error) = self.make(held, memory.pool(), runs.clone()) {
            (supply.back)(memory, granules);
            return (0, Err(error));
        }
        let mut delegated = match self.rmm.delegate(granules) {
            Ok(delegated) => delegated,
            Err(failed) => {
                let doubt = failed.doubt();
                let back = &mut |host| (supply.back)(memory, host);
                self.take_back(failed.delegated, doubt, back);
                if !failed.host.is_empty() {
                    back(failed.host);
                }
                return (0, Err(failed.error.into()));
            }
        };
        for run in runs {
            let block = self.geometry().entry_bytes(run.level);
            let mut at = run.ipa;
            while at < run.range().top() {
                let Some(part) = delegated.take_front(block) else { break };
                // The entry is void and this thread holds the claim.
                let refused = self.shadow.lock().put(at, part.into_use(), tag::UNSURE);
                drop(refused);
                at = at.checked_add(block).unwrap_or(run.range().top());
            }
        }
        (range.bytes(), Ok(()))
    }

    /// Maps what is in the shadow and not yet mapped, and returns how many bytes of it the Realm
    /// has, or may have, now.
    fn map_staged(
        &self,
        held: &RangeLock<'_, P>,
        memory: &mut dyn HostMemory,
        range: IpaRange,
    ) -> (u64, Result<(), BuildError>) {
        let (mut at, mut idle) = (range.base(), Attempts::default());
        let taken = |at: Ipa| at.checked_offset_from(range.base()).unwrap_or(0);
        while at < range.top() {
            let (named, mapped) =
                self.map_some(held, memory.pool().pages_for(self.rmm).list, at, range.top());
            match mapped {
                Ok(0) => {
                    // The RMM yielded to an interrupt.
                    if let Err(error) = self.try_again(Command::RttDataMap, &mut idle, at) {
                        return (taken(at), Err(error.into()));
                    }
                }
                Ok(bytes) => {
                    idle = Attempts::default();
                    let reached = at.checked_add(bytes).unwrap_or(range.top());
                    let level = self.confirm(at, reached);
                    let done = IpaRange::new_or_empty(at, reached);
                    self.note_range(done, level, bytes < named);
                    at = reached;
                }
                Err(error) if error.is_clean() => return (taken(at), Err(error.into())),
                // All that the call named may be mapped.
                Err(error) => return (taken(at).saturating_add(named), Err(error.into())),
            }
        }
        (taken(at), Ok(()))
    }

    /// Records that the RMM mapped from `at` to `reached`; returns the level.
    fn confirm(&self, at: Ipa, reached: Ipa) -> Level {
        let mut level = Level::L3;
        self.each_memory(at, reached, |shadow, entry| {
            shadow.mark(entry, tag::SURE);
            level = entry.level;
            ControlFlow::<()>::Continue(())
        });
        level
    }

    /// Takes what was not mapped out of the shadow and back from the RMM.
    fn unstage(&self, range: IpaRange, back: &mut dyn FnMut(Undelegated)) {
        let mut next = range.base();
        let mut run = Delegated::empty();
        while next < range.top() {
            let Some(entry) = self.next_memory(next, range.top()) else { break };
            next = entry.top();
            let memory = self.shadow.lock().take(entry);
            if let Err(apart) = run.append(memory.unwrap_or_default().into_released()) {
                self.take_back(core::mem::replace(&mut run, apart), None, back);
            }
        }
        self.take_back(run, None, back);
    }

    /// Takes memory back from the RMM; `doubt` is the reason why it may be the host's already.
    pub(crate) fn take_back(
        &self,
        memory: Delegated,
        doubt: Option<QuarantineReason>,
        free: &mut dyn FnMut(Undelegated),
    ) {
        match doubt {
            Some(reason) => self.rmm.recover(memory, reason, free),
            None => self.rmm.return_or_quarantine(memory, free),
        }
    }

    /// Joins memory that was returned to what was returned before it. If there is a gap between
    /// them, the former is freed.
    pub(crate) fn gather(
        &self,
        memory: &mut dyn HostMemory,
        back: &mut Undelegated,
        host: Undelegated,
    ) {
        if let Err(host) = back.append(host) {
            free_or_quarantine(self.rmm, memory, core::mem::replace(back, host));
        }
    }
}
