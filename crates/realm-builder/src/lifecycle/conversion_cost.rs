//! Cost of conversions between private and shared memory, and of taking back what is shared.

use core::ops::ControlFlow;

use rmi_abi::desc::AddrRangeDesc;
use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange, PaRange};
use rmi_host::Platform;
use sro::{HostMemory, Pool};

use crate::lifecycle::running_cost::{Forecast, Supplied, first_bytes};
use crate::memory::realm_core::RealmCore;
use crate::plan::{Cost, Limits, Tables, map_calls};
use crate::shadow::At;

impl<P: Platform> RealmCore<'_, P> {
    /// Tables that splitting makes, so that an entry begins at each end that is inside memory.
    fn missing_at_ends(&self, range: IpaRange, is_inside: impl Fn(Ipa) -> bool) -> u64 {
        let ends = [range.base(), range.top()].map(|end| Some(end).filter(|end| is_inside(*end)));
        let start = self.geometry().start_level().child();
        let mut missing = 0;
        for level in core::iter::successors(start, |level| level.child()) {
            let bytes = self.geometry().table_bytes(level);
            let [base, top] = ends.map(|end| {
                let inside = end.filter(|end| !end.is_aligned(bytes));
                inside.map(|end| self.geometry().table_base(end, level))
            });
            let top = top.filter(|top| Some(*top) != base);
            for ipa in [base, top].into_iter().flatten() {
                missing += u64::from(!self.shadow.lock().has_table(level, ipa));
            }
        }
        missing
    }

    /// See [`Realm::convert_to_shared_cost`](crate::Realm::convert_to_shared_cost).
    pub(super) fn convert_to_shared_cost(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        supplied: Supplied<'_>,
        limits: Limits,
    ) -> Cost {
        let mut forecast = Forecast::new(memory.pool(), self.geometry().granule(), limits);
        if self.check_conversion(range).and_then(|_| self.count_runs(range)).is_err() {
            return Cost::default();
        }
        forecast.make(self.missing_at_ends(range, |end| {
            let shadow = self.shadow.lock();
            let at = shadow.walk(end, Level::L3);
            at.is_some_and(|at| shadow.memory(at).is_some() && at.base < end)
        }));
        // Tables for private memory are made before anything is converted.
        let mut tables = Tables::new(self.geometry());
        let mut left = range;
        while let Some((ipas, pas)) = self.first_run(left) {
            left = range.after(ipas.top());
            let Ok(alias) = self.alias(ipas, range) else { return forecast.cost };
            forecast.make(self.with_runs(alias.base(), pas, self.top_block_level(), |runs| {
                self.count_missing(&mut tables, runs, &|_, _| false)
            }));
        }
        let has_private = |level, ipa: Ipa| {
            let offset = ipa.checked_offset_from(self.geometry().unprotected_base());
            let base = Ipa::new(offset.unwrap_or(0));
            let part = IpaRange::with_size_or_empty(base, self.geometry().table_bytes(level));
            part.intersection(&range)
                .is_some_and(|part| self.next_memory(part.base(), part.top()).is_some())
        };
        let mut tables = Tables::new(self.geometry());
        let mut at = range.base();
        loop {
            let run = self.first_run(range.after(at));
            let end = run.map_or(range.top(), |(ipas, _)| ipas.base());
            loop {
                let void = range.after(at).before(end);
                if void.is_empty() {
                    break;
                }
                let Ok(alias) = self.alias(void, range) else { return forecast.cost };
                let shared = self.first_shared(alias).map(|(part, _)| part);
                let gap = alias.before(shared.map_or(alias.top(), |part| part.base()));
                let mut bytes = gap.bytes();
                if gap.is_empty() {
                    bytes = shared.map_or(0, |part| part.bytes());
                } else if let Some(piece) =
                    supplied(memory, IpaRange::with_size_or_empty(at, bytes))
                        .filter(|piece| !piece.is_empty())
                {
                    let piece = first_bytes(piece, bytes);
                    let top = self.top_block_level();
                    forecast.make(self.with_runs(alias.base(), piece, top, |runs| {
                        self.count_missing(&mut tables, runs, &has_private)
                    }));
                    self.forecast_sharing(&mut forecast, alias.base(), piece);
                    bytes = piece.bytes();
                }
                at = at.checked_add(bytes.max(1)).unwrap_or(end);
            }
            let Some((ipas, pas)) = run else { return forecast.cost };
            self.forecast_unmapping(&mut forecast, ipas);
            forecast.cost.undelegate += limits.delegation_of(pas, forecast.granule);
            if let Ok(alias) = self.alias(ipas, range) {
                self.forecast_sharing(&mut forecast, alias.base(), pas);
            }
            at = ipas.top();
        }
    }

    fn forecast_sharing(&self, forecast: &mut Forecast, ipa: Ipa, memory: PaRange) {
        let Limits { entry_by_entry, table_by_table, .. } = forecast.limits;
        let most = u64::from(AddrRangeDesc::max_count(self.geometry().granule()));
        let calls = &mut forecast.cost.share;
        self.with_runs(ipa, memory, self.top_block_level(), |runs| {
            for run in runs {
                let block = self.geometry().entry_bytes(run.level);
                let table = self.geometry().table_bytes(run.level);
                let mut at = run.ipa;
                while at < run.range().top() {
                    *calls += 1;
                    let in_table = table - (at.raw() & (table - 1));
                    let bytes = match (entry_by_entry, table_by_table) {
                        (true, _) => block,
                        (false, true) => in_table.min(most * block),
                        (false, false) => most * block,
                    };
                    at = at.checked_add(bytes).unwrap_or(run.range().top());
                }
            }
        });
    }

    /// What one unmap command unmaps, from an entry on: as [`RealmCore::span`], but no more than
    /// the RMM does.
    pub(crate) fn span_of_call(&self, at: At, top: Ipa, limits: Limits) -> IpaRange {
        let range = self.span(at, top, limits.table_by_table).range;
        let range = range.before(self.end_in_region(range, limits.regions));
        if !limits.table_by_table {
            return range;
        }
        // An empty table may lie between blocks.
        let level_at = |ipa| self.level_at(ipa);
        range.before(self.end_in_table(at.base, range.top(), at.level, &level_at))
    }

    /// Where a call that begins with a range ends, because other memory of the range is in another
    /// tracking region than the first.
    fn end_in_region(&self, range: IpaRange, regions: Option<u64>) -> Ipa {
        let Some(region) = regions.filter(|region| region.is_power_of_two()) else {
            return range.top();
        };
        let mut first = None;
        let other = self.each_memory(range.base(), range.top(), |shadow, at| {
            let Some(memory) = shadow.memory(at) else { return ControlFlow::Continue(()) };
            let base = memory.base().align_down(region);
            match *first.get_or_insert(base) == base {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(at.base),
            }
        });
        other.unwrap_or(range.top())
    }

    /// Private memory is unmapped, all of a run.
    fn forecast_unmapping(&self, forecast: &mut Forecast, range: IpaRange) {
        let unmapped = self.rmm.call_limits().data_level;
        let mut from = range.base();
        while let Some(at) = self.next_memory(from, range.top()) {
            let whole = range.contains_range(&at.range());
            if at.level < unmapped {
                let below = core::iter::successors(at.level.child(), |level| level.child());
                let tables = below
                    .take_while(|level| *level <= unmapped)
                    .map(|level| self.geometry().table_bytes(level).trailing_zeros())
                    .map(|shift| at.range().bytes() >> shift);
                forecast.make(if whole { tables.sum() } else { 0 });
                let part = at.range().intersection(&range).map_or(0, |part| part.bytes());
                forecast.cost.unmap += part >> self.geometry().entry_shift(unmapped);
                from = at.top();
                continue;
            }
            if whole {
                forecast.cost.unmap += 1;
                from = self.span_of_call(at, range.top(), forecast.limits).top();
                continue;
            }
            // What it is split into is in tables of its own.
            let part = at.range().intersection(&range).unwrap_or(range);
            forecast.cost.unmap += match forecast.limits.table_by_table {
                true => self.calls_by_level(part, forecast.limits),
                false => 1,
            };
            from = at.top();
        }
    }

    /// See [`Realm::convert_to_private_cost`](crate::Realm::convert_to_private_cost).
    pub(super) fn convert_to_private_cost(
        &self,
        pool: &Pool,
        range: IpaRange,
        limits: Limits,
    ) -> Cost {
        let mut forecast = Forecast::new(pool, self.geometry().granule(), limits);
        let Ok(aliases) = self.check_conversion(range) else { return Cost::default() };
        forecast.make(self.missing_at_ends(aliases, |end| {
            let page = IpaRange::with_size_or_empty(end, self.granule_bytes());
            let piece = self.shadow.lock().shared_in(&page);
            piece.is_some_and(|(_, piece)| piece.base() < end)
        }));
        let top = self.private_block_level();
        let mut tables = Tables::new(self.geometry());
        let mut left = aliases;
        while let Some((piece, pas)) = self.first_shared(left) {
            left = aliases.after(piece.top());
            let offset = piece.base().checked_offset_from(aliases.base()).unwrap_or(0);
            let ipa = range.base().checked_add(offset).unwrap_or(range.top());
            forecast.make(self.with_runs(ipa, pas, top, |runs| {
                self.count_missing(&mut tables, runs, &|_, _| false)
            }));
            forecast.cost.unshare += self.calls_by_level(piece, limits);
            forecast.delegate(pas.bytes());
            forecast.cost.map +=
                self.with_runs(ipa, pas, top, |runs| map_calls(self.geometry(), runs, limits));
        }
        forecast.cost
    }

    /// Calls that unmap all of a part, when blocks that it cuts are split: each ends with the
    /// entries of its first level.
    fn calls_by_level(&self, part: IpaRange, limits: Limits) -> u64 {
        let most = u64::from(AddrRangeDesc::max_count(self.geometry().granule()));
        let level_at = |ipa: Ipa| {
            let is_cut = |level: Level| {
                let bytes = self.geometry().entry_bytes(level);
                !part.contains_range(&IpaRange::with_size_or_empty(ipa.align_down(bytes), bytes))
            };
            let mut levels =
                core::iter::successors(Some(self.level_at(ipa)), |level| level.child());
            levels.find(|level| !is_cut(*level)).unwrap_or(Level::L3)
        };
        let (mut at, mut calls) = (part.base(), 0);
        while at < part.top() {
            let level = level_at(at);
            let mut end = self.end_in_table(at, part.top(), level, &level_at);
            while !limits.table_by_table && end < part.top() && level_at(end) == level {
                end = self.end_in_table(end, part.top(), level, &level_at);
            }
            let bytes = end.checked_offset_from(at).unwrap_or(0);
            let blocks = bytes >> self.geometry().entry_shift(level);
            calls += match limits.entry_by_entry {
                true => blocks,
                false => blocks.saturating_sub(1).checked_div(most).unwrap_or(0) + 1,
            };
            at = end;
        }
        calls
    }

    /// Calls that unmap all that is shared before tables are destroyed, without those that destroy
    /// a table with what it maps.
    pub(crate) fn unshare_all_calls(&self, limits: Limits) -> u64 {
        let goes_with_tables = self.rmm.dialect().destroying_table_unshares();
        let end = self.geometry().end();
        let (mut left, mut calls) =
            (IpaRange::new_or_empty(self.geometry().unprotected_base(), end), 0);
        while let Some((piece, _)) = self.first_shared(left) {
            left = left.after(piece.top());
            if !goes_with_tables {
                calls += self.calls_by_level(piece, limits);
                continue;
            }
            let mut at = piece.base();
            while at < piece.top() {
                let level = self.level_at(at);
                let base = self.geometry().table_base(at, level);
                let end = self.end_in_table(at, piece.top(), level, &|ipa| self.level_at(ipa));
                let part = IpaRange::new_or_empty(at, end);
                // Memory of another piece before it keeps the table.
                let before = IpaRange::new_or_empty(base, at);
                let is_alone = level == Level::L3
                    && self.first_shared(before).is_none()
                    && self.shadow.lock().is_sure_leaf(level, base);
                if !is_alone {
                    calls += self.calls_by_level(part, limits);
                }
                at = end;
            }
        }
        calls
    }
}
