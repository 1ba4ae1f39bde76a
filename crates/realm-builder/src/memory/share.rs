//! Memory that the host shares with a Realm: the unprotected half.

use core::ops::ControlFlow;

use rmi_abi::desc::{AddrRangeDesc, BlockSize};
use rmi_abi::{Command, Ipa, IpaRange, Pa};
use rmi_host::command::{ShareAt, SharedAccess};
use rmi_host::{Attempts, Ledger, LedgerEvent, Platform, SharedMemory, Undelegated};
use sro::{HostMemory, free_or_quarantine};

use crate::error::{BuildError, RegionProblem};
use crate::memory::leaving::Left;
use crate::memory::map::Free;
use crate::memory::range_lock::RangeLock;
use crate::memory::realm_core::RealmCore;
use crate::memory::stopped::Stopped;
use crate::plan::{self, Run};
use crate::shadow::storage::SharedPiece;

/// Memory that could not be shared, all of it or in part.
#[derive(Debug, thiserror::Error)]
#[error("sharing stopped at IPA {reached}: {error}")]
#[must_use = "it owns memory"]
pub struct NotShared {
    /// The reason.
    #[source]
    pub error: BuildError,
    /// How far it came. Everything below is shared, or may be: an unclear answer of the RMM leaves
    /// that open if unmapping the memory that it concerned fails, too.
    pub reached: Ipa,
    /// The memory that is not shared. Repeating the call at `reached` with it continues the work.
    pub host: Undelegated,
}

impl<'a, P: Platform> RealmCore<'a, P> {
    /// See [`Realm::share`](crate::Realm::share).
    pub(crate) fn share(
        &self,
        memory: &mut dyn HostMemory,
        ipa: Ipa,
        granules: Undelegated,
        access: SharedAccess,
    ) -> Result<(), NotShared> {
        let checked = self
            .place(ipa, granules.bytes())
            .and_then(|range| self.check_unprotected(range, granules.bytes()).map(|()| range))
            .and_then(|range| self.check_memory(range, &granules.range()).map(|()| range));
        match checked.and_then(|range| self.hold_to_share(range)) {
            Ok(mut held) => self.share_held(&mut held, memory, ipa, granules, access),
            Err(error) => Err(NotShared { error, reached: ipa, host: granules }),
        }
    }

    /// Claims a range in which nothing is shared, and reserves a place for a record: one is needed,
    /// unless the memory is contiguous with what is shared already.
    fn hold_to_share(&self, range: IpaRange) -> Result<RangeLock<'_, P>, BuildError> {
        let mut held = self.lock_range(range)?;
        let shared = self.shadow.lock().shared_in(&range);
        if let Some((_, piece)) = shared {
            let problem = RegionProblem::Overlap { at: piece.base() };
            return Err(BuildError::Region { range, problem });
        }
        held.reserve_shared(1)?;
        Ok(held)
    }

    /// Shares memory where nothing is shared, in a claimed range.
    pub(crate) fn share_held(
        &self,
        held: &mut RangeLock<'_, P>,
        memory: &mut dyn HostMemory,
        ipa: Ipa,
        mut granules: Undelegated,
        access: SharedAccess,
    ) -> Result<(), NotShared> {
        let range = IpaRange::with_size_or_empty(ipa, granules.bytes());
        let top = self.top_block_level();
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        let runs =
            plan::runs_of(self.geometry(), ipa, Some(granules.range()).into_iter(), top, &exists);
        let mut result = self.make(held, memory.pool(), runs.clone());
        if result.is_ok() {
            for run in runs {
                result = self.share_run(held, memory, run, &mut granules, access);
                if result.is_err() {
                    break;
                }
            }
        }
        result.map_err(|error| NotShared {
            error,
            reached: self.shared_until(range),
            host: granules,
        })
    }

    /// The address up to which a claimed range is shared without a gap.
    fn shared_until(&self, range: IpaRange) -> Ipa {
        let mut left = range;
        while let Some((part, _)) = self.first_shared(left) {
            if part.base() > left.base() {
                break;
            }
            left = range.after(part.top());
        }
        left.base()
    }

    fn share_run(
        &self,
        held: &mut RangeLock<'_, P>,
        memory: &mut dyn HostMemory,
        run: Run,
        granules: &mut Undelegated,
        access: SharedAccess,
    ) -> Result<(), BuildError> {
        let granule = self.geometry().granule();
        let size = run.level.block_size().unwrap_or(BlockSize::Page);
        let at_once = size.bytes(granule) * u64::from(AddrRangeDesc::max_count(granule));
        let (mut ipa, mut left, mut idle) = (run.ipa, run.bytes, Attempts::default());
        while left > 0 {
            let access = SharedAccess { encoding: self.s2ap, ..access };
            let at = ShareAt { rd: &self.rd, ipa, access };
            let part = granules.take_front(left.min(at_once)).unwrap_or_default();
            let (shared, rest, result) = match self.rmm.commands().rtt_unprot_map(at, part, size) {
                Ok(done) => (done.shared, done.rest, Ok(())),
                Err(failed) => (failed.shared, failed.host, Err(failed.error)),
            };
            // It was in front of the rest, and is contiguous with it.
            let _ = granules.merge(rest);
            if let Err(error) = result {
                self.settle_shared(held, memory, shared, granules);
                return Err(error.into());
            }
            let bytes = shared.bytes();
            self.record_shared(held.add_shared(shared));
            if bytes == 0 {
                // The RMM yielded to an interrupt.
                self.try_again(Command::RttUnprotMap, &mut idle, ipa)?;
                continue;
            }
            idle = Attempts::default();
            left = left.saturating_sub(bytes);
            ipa = ipa.checked_add(bytes).unwrap_or(ipa);
        }
        Ok(())
    }

    /// Unmaps memory of which it is unclear whether it was mapped, before other memory is mapped
    /// beside it; what is unmapped is joined to `rest`, in front of which it was. If that fails
    /// too, or there is no place to record it apart, the memory counts as shared.
    fn settle_shared(
        &self,
        held: &mut RangeLock<'_, P>,
        memory: &mut dyn HostMemory,
        unclear: SharedMemory,
        rest: &mut Undelegated,
    ) {
        let range = unclear.ipa_range();
        let recorded = held.add_unclear(unclear);
        let is_apart = matches!(recorded, Ok(true));
        self.record_shared(recorded.map(|_| ()));
        let (mut back, mut idle) = (Undelegated::empty(), Attempts::default());
        let mut goes_on = is_apart;
        while goes_on {
            // It is unmapped from the front.
            let free: Free<'_> = &mut |memory, host| self.gather(memory, &mut back, host);
            let left = self.unshare_some(&range, false, &mut idle, memory, free);
            goes_on = matches!(left, Ok(Left::Some | Left::Place));
        }
        self.gather(memory, &mut back, rest.take());
        *rest = back;
    }

    /// Memory that could not be recorded as shared stays exposed; there always is a place for it.
    fn record_shared(&self, recorded: Result<(), SharedMemory>) {
        if let Err(memory) = recorded {
            self.rmm.platform().ledger().record(LedgerEvent::Exposed, memory.range());
        }
    }

    /// See [`Realm::unshare`](crate::Realm::unshare).
    pub(crate) fn unshare(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
    ) -> Result<(), Stopped> {
        let mut held = self
            .hold_to_unshare(range)
            .map_err(|error| Stopped { error, reached: range.base() })?;
        let free: Free<'_> = &mut |memory, host| free_or_quarantine(self.rmm, memory, host);
        self.unshare_held(&mut held, memory, (range, false), free).map_err(|error| {
            let left = self.first_shared(range);
            let reached = left.map_or(range.top(), |(part, _)| part.base());
            Stopped { error, reached }
        })
    }

    /// Claims a range in which shared memory is to be unmapped, and reserves places for the pieces
    /// that it cuts.
    pub(crate) fn hold_to_unshare(&self, range: IpaRange) -> Result<RangeLock<'_, P>, BuildError> {
        self.check_unprotected(range, range.bytes())?;
        let mut held = self.lock_range_shared(range)?;
        let cuts = self.shadow.lock().shared_cuts(&range);
        held.reserve_shared(cuts)?;
        Ok(held)
    }

    /// Takes back what is shared in a claimed range, and keeps the places of its records if they
    /// are needed again. For pieces that the range cuts, places are reserved.
    pub(crate) fn unshare_held(
        &self,
        held: &mut RangeLock<'_, P>,
        memory: &mut dyn HostMemory,
        (range, keep_places): (IpaRange, bool),
        free: Free<'_>,
    ) -> Result<(), BuildError> {
        self.split_shared_ends(held, memory.pool(), range)?;
        self.hide_emptied(range)?;
        for end in [range.base(), range.top()] {
            held.cut_shared(end);
        }
        let mut idle = Attempts::default();
        let result = loop {
            match self.unshare_some(&range, keep_places, &mut idle, memory, free) {
                Ok(Left::Nothing) => break Ok(()),
                Ok(Left::Place) => held.keep_shared(),
                Ok(Left::Some) => {}
                Err(error) => break Err(error.into()),
            }
        };
        for end in [range.base(), range.top()] {
            held.join_shared(end);
        }
        result
    }

    /// See [`Realm::reshare`](crate::Realm::reshare).
    pub(crate) fn reshare(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        access: SharedAccess,
    ) -> Result<(), Stopped> {
        let stop = |error, reached| Stopped { error, reached };
        self.check_unprotected(range, range.bytes()).map_err(|error| stop(error, range.base()))?;
        // A fault must not be served by mapping private memory while a piece is unmapped. The
        // order is that of conversions.
        let offset = range.base().checked_offset_from(self.geometry().unprotected_base());
        let private = IpaRange::with_size_or_empty(Ipa::new(offset.unwrap_or(0)), range.bytes());
        let _private = self.hold_to_read(private).map_err(|error| stop(error, range.base()))?;
        // The claim is held to the end: if another thread unshared a part in between, the rest
        // would be mapped in its place.
        let mut held = self.hold_to_unshare(range).map_err(|error| stop(error, range.base()))?;
        self.split_shared_ends(&mut held, memory.pool(), range)
            .map_err(|error| stop(error, range.base()))?;
        let mut left = range;
        while let Some((piece, pas)) = self.first_shared(left) {
            let mut host = Undelegated::empty();
            let unshared = self.unshare_held(
                &mut held,
                memory,
                (piece, true),
                &mut self.collect_front(&mut host, pas.base()),
            );
            // It is unmapped from the front, so this is where it was.
            let mut reached = piece.base();
            if !host.is_empty() {
                reached = reached.checked_add(host.bytes()).unwrap_or(piece.top());
                let shared = self.share_held(&mut held, memory, piece.base(), host, access);
                if let Err(NotShared { error, reached, host }) = shared {
                    free_or_quarantine(self.rmm, memory, host);
                    return Err(stop(error, reached));
                }
            }
            unshared.map_err(|error| stop(error, reached))?;
            left = range.after(piece.top());
        }
        Ok(())
    }

    /// See [`Realm::shared_at`](crate::Realm::shared_at).
    pub(crate) fn shared_at(&self, ipa: Ipa) -> Option<IpaRange> {
        let page = self.page_at(ipa)?;
        self.shadow.lock().shared_in(&page).map(|(_, piece)| piece)
    }

    pub(crate) fn check_unprotected(&self, range: IpaRange, bytes: u64) -> Result<(), BuildError> {
        let problem = if bytes == 0 {
            RegionProblem::Empty
        } else if !range.is_aligned(self.granule_bytes()) {
            RegionProblem::Unaligned
        } else if range.is_empty() || !self.geometry().range_is_unprotected(&range) {
            RegionProblem::NotUnprotected
        } else {
            return Ok(());
        };
        Err(BuildError::Region { range, problem })
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::shared_bytes`](crate::Realm::shared_bytes).
    pub(crate) fn shared_bytes(&self) -> u64 {
        let mut sum = 0;
        self.each_shared(|piece| {
            sum += piece.memory().bytes();
            ControlFlow::<()>::Continue(())
        });
        sum
    }

    /// Gives up the records of shared memory: the Realm may still access it.
    pub(crate) fn abandon_shared(&mut self) {
        while let Some(piece) = self.shadow.get_mut().shared.pop() {
            self.abandon_piece(&piece);
        }
    }

    /// Such memory was never owned by the RMM, so no quarantine can retry it: the ledger records
    /// where it is and why.
    pub(crate) fn abandon_piece(&self, piece: &SharedPiece) {
        self.rmm.platform().ledger().record(LedgerEvent::Exposed, piece.memory());
    }

    /// Collects the front of the memory that is returned, which was at `base`; what is not
    /// contiguous with it is freed.
    pub(crate) fn collect_front(
        &self,
        front: &mut Undelegated,
        base: Pa,
    ) -> impl FnMut(&mut dyn HostMemory, Undelegated) {
        move |memory, back| {
            let next = if front.is_empty() { base } else { front.range().top() };
            if back.base() != next {
                return free_or_quarantine(self.rmm, memory, back);
            }
            if let Err(apart) = front.append(back) {
                free_or_quarantine(self.rmm, memory, apart);
            }
        }
    }
}

#[cfg(test)]
mod tests;
