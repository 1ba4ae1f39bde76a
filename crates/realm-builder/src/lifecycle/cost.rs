//! Cost of operations on a Realm, in SMCs, before the first of them is made.
//!
//! The figures are exact for an RMM with the given [`Limits`] that neither yields nor is busy, when
//! the pool's host memory is one run.

use core::ops::ControlFlow;

use realm_measurement::region;
use rmi_abi::{GranuleSize, Ipa, IpaRange, PaRange};
use rmi_host::Platform;
use sro::{HostMemory, Pool};

use crate::lifecycle::realm::{New, NotTerminated, Realm};
use crate::lifecycle::region::{Content, Region, merge};
use crate::memory::realm_core::RealmCore;
use crate::plan::{self, Cost, Limits, joined, map_calls};
use crate::shadow::Next;

/// Calls that delegate granules for tables; the pool may have some of the granules already.
fn table_delegation(pool: &Pool, tables: u64, granule: GranuleSize, limits: Limits) -> u64 {
    let (_, stock) = pool.bytes();
    limits.delegation((tables * granule.bytes()).saturating_sub(stock), granule)
}

/// # Costs, in calls
impl<P: Platform, S: NotTerminated> Realm<'_, P, S> {
    /// Cost of [`Realm::map_scattered`] with this memory: what its pool has delegated already is
    /// not delegated again.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn map_cost(
        &self,
        memory: &mut dyn HostMemory,
        ipa: Ipa,
        pieces: &[PaRange],
        limits: Limits,
    ) -> Cost {
        self.core.map_cost(memory.pool(), ipa, pieces, limits)
    }
}

impl<P: Platform> Realm<'_, P, New> {
    /// Cost of [`Realm::populate`] with this memory, as for [`Realm::map_cost`]. The regions are
    /// sorted and merged, as there.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn populate_cost(
        &self,
        memory: &mut dyn HostMemory,
        regions: &mut [Region<'_>],
        limits: Limits,
    ) -> Cost {
        self.core.populate_cost(memory.pool(), regions, limits)
    }
}

impl<P: Platform, S> Realm<'_, P, S> {
    /// Cost of [`Realm::dismantle`]: unmapping all memory and destroying all tables, in all trees,
    /// and undelegating the private memory. The tables' granules stay delegated, in the pool, from
    /// which blocks that have to be split (1.0) take theirs. Where a table is destroyed with what
    /// it shares (1.0), that is the call that destroys it.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn dismantle_cost(&self, limits: Limits) -> Cost {
        self.core.dismantle_cost(limits)
    }

    /// Whether there is nothing left to dismantle.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn is_dismantled(&self) -> bool {
        self.core.is_dismantled()
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::map_cost`](crate::Realm::map_cost).
    pub(crate) fn map_cost(
        &self,
        pool: &Pool,
        ipa: Ipa,
        pieces: &[PaRange],
        limits: Limits,
    ) -> Cost {
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        let pieces = pieces.iter().copied().filter(|piece| !piece.is_empty());
        let cost = plan::map_cost(self.geometry(), ipa, joined(pieces), &exists, limits);
        let granule = self.geometry().granule();
        let in_one_run = limits.delegation(cost.create * granule.bytes(), granule);
        let from_pool = table_delegation(pool, cost.create, granule, limits);
        Cost { delegate: cost.delegate - in_one_run + from_pool, ..cost }
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::populate_cost`](crate::Realm::populate_cost).
    pub(crate) fn populate_cost(
        &self,
        pool: &Pool,
        regions: &mut [Region<'_>],
        limits: Limits,
    ) -> Cost {
        region::sort(regions);
        merge(regions);
        let create = self.missing_for(regions, u64::MAX) as u64;
        let (geometry, granule) = (self.geometry(), self.geometry().granule());
        let delegate = table_delegation(pool, create, granule, limits);
        let ripas = self.ram_calls(regions, limits);
        let mut sum = Cost { create, delegate, ripas, ..Cost::default() };
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        for region in regions {
            sum.delegate += limits.delegation_of(region.memory.range(), granule);
            sum.map += match region.content {
                Content::Measured(_) | Content::Unmeasured(_) => {
                    region.memory.bytes() >> granule.shift()
                }
                Content::Unspecified if region.unbacked > 0 => 0,
                Content::Unspecified => {
                    map_calls(geometry, self.runs_for(region, u64::MAX, &exists), limits)
                }
            };
        }
        sum
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::dismantle_cost`](crate::Realm::dismantle_cost).
    pub(crate) fn dismantle_cost(&self, limits: Limits) -> Cost {
        let (tables, trees) = {
            let shadow = self.shadow.lock();
            (shadow.tables(), shadow.aux_trees())
        };
        let granule = self.geometry().granule();
        let unshare = self.unshare_all_calls(limits);
        let mut sum = Cost { destroy: tables as u64, unshare, ..Cost::default() };
        let top = self.geometry().unprotected_base();
        let unmapped = self.rmm.call_limits().data_level;
        let mut from = Ipa::new(0);
        let mut run = PaRange::empty(rmi_abi::Pa::new(0));
        while let Some(at) = self.next_memory(from, top) {
            let span = self.span_of_call(at, top, limits);
            // A block that is too large to be unmapped is split.
            let below = core::iter::successors(at.level.child(), |level| level.child());
            for level in below.take_while(|level| *level <= unmapped) {
                let table = self.geometry().table_bytes(level).trailing_zeros();
                let tables = at.range().bytes() >> table;
                sum.create += tables;
                sum.destroy += tables;
            }
            sum.unmap += match at.level < unmapped {
                true => at.range().bytes() >> self.geometry().entry_shift(unmapped),
                false => 1,
            };
            self.collect(span, &mut run, &mut |memory| {
                sum.undelegate += limits.delegation_of(memory, granule);
            });
            from = span.top();
        }
        sum.undelegate += limits.delegation_of(run, granule);
        let by_range = self.shows_by_range();
        for tree in trees {
            let mut from = Ipa::new(0);
            while let Some(row) = self.shown_row(tree, from, top, u64::MAX) {
                from = row.range.top();
                sum.unmap += match (by_range, limits.table_by_table) {
                    (true, false) => 1,
                    (true, true) => row.count(self.geometry().table_bytes(row.level)),
                    (false, _) => row.count(self.geometry().entry_bytes(row.level)),
                };
            }
            let mut from = top;
            while let Some(row) = self.shown_row(tree, from, self.geometry().end(), 1) {
                from = row.range.top();
                sum.unmap += 1;
            }
        }
        sum
    }

    /// See [`Realm::is_dismantled`](crate::Realm::is_dismantled).
    pub(crate) fn is_dismantled(&self) -> bool {
        let shadow = self.shadow.lock();
        let nothing: Option<Next> = shadow.first();
        nothing.is_none() && shadow.shared.iter().next().is_none() && self.returned.is_empty()
    }

    /// Collects memory that is returned to the host: contiguous memory is undelegated together.
    fn collect(&self, span: IpaRange, run: &mut PaRange, send: &mut dyn FnMut(PaRange)) {
        self.each_memory(span.base(), span.top(), |shadow, at| {
            let memory = shadow.memory(at).unwrap_or(*run);
            let grown = if run.is_empty() {
                Some(memory)
            } else if run.top() == memory.base() {
                PaRange::new(run.base(), memory.top()).ok()
            } else if memory.top() == run.base() {
                PaRange::new(memory.base(), run.top()).ok()
            } else {
                None
            };
            if grown.is_none() {
                send(*run);
            }
            *run = grown.unwrap_or(memory);
            ControlFlow::<()>::Continue(())
        });
    }
}
