//! Splitting blocks that reach across the ends of a range, before anything else changes there.

use core::ops::ControlFlow;

use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange, Pa};
use rmi_host::Platform;
use sro::Pool;

use crate::error::BuildError;
use crate::memory::range_lock::RangeLock;
use crate::memory::realm_core::RealmCore;
use crate::plan::{self, Run};

impl<P: Platform> RealmCore<'_, P> {
    /// Splits the blocks of private memory that reach across the ends of a range, down to a level
    /// where they end there. What both ends need is obtained before either is split.
    pub(crate) fn split_ends(
        &self,
        held: &mut RangeLock<'_, P>,
        pool: &mut Pool,
        range: IpaRange,
    ) -> Result<(), BuildError> {
        let is_inside = |end: Ipa| {
            let shadow = self.shadow.lock();
            let at = shadow.walk(end, Level::L3);
            at.is_some_and(|at| shadow.memory(at).is_some() && at.base < end)
        };
        self.make_ends(held, pool, range, is_inside)
    }

    /// Splits the blocks in a claimed range that are too large to be unmapped, because folding made
    /// them. What that needs is obtained before any is split.
    pub(crate) fn split_blocks(
        &self,
        held: &mut RangeLock<'_, P>,
        pool: &mut Pool,
        range: IpaRange,
    ) -> Result<(), BuildError> {
        let level = self.rmm.call_limits().data_level;
        if level <= self.top_block_level() {
            return Ok(());
        }
        let next = |from: Ipa| {
            self.each_memory(from, range.top(), |_, at| match at.level < level {
                true => ControlFlow::Break(at.range()),
                false => ControlFlow::Continue(()),
            })
        };
        let blocks = core::iter::successors(next(range.base()), |block| next(block.top()));
        let blocks = blocks.filter_map(|block| plan::run(block, level));
        self.make(held, pool, blocks)
    }

    /// As [`RealmCore::split_ends`], of shared memory.
    pub(crate) fn split_shared_ends(
        &self,
        held: &mut RangeLock<'_, P>,
        pool: &mut Pool,
        range: IpaRange,
    ) -> Result<(), BuildError> {
        let is_inside = |end: Ipa| {
            let page = IpaRange::with_size_or_empty(end, self.granule_bytes());
            let piece = self.shadow.lock().shared_in(&page);
            piece.is_some_and(|(_, piece)| piece.base() < end)
        };
        self.make_ends(held, pool, range, is_inside)
    }

    /// Makes the tables in which an entry begins at each end of a range that is inside memory.
    fn make_ends(
        &self,
        held: &mut RangeLock<'_, P>,
        pool: &mut Pool,
        range: IpaRange,
        is_inside: impl Fn(Ipa) -> bool,
    ) -> Result<(), BuildError> {
        let entry = |end: Ipa| {
            let level = [Level::L1, Level::L2, Level::L3]
                .into_iter()
                .find(|level| end.is_aligned(self.geometry().entry_bytes(*level)))?;
            let run = Run { ipa: end, pa: Pa::new(0), level, bytes: self.granule_bytes() };
            is_inside(end).then_some(run)
        };
        let ends = [range.base(), range.top()].map(entry).into_iter().flatten();
        self.make(held, pool, ends)
    }
}
