//! Cost of what a Realm causes while it runs: faults, RIPAS changes, conversions; and of taking
//! back what is shared with it.

use rmi_abi::desc::AddrRangeDesc;
use rmi_abi::rtt::Level;
use rmi_abi::{GranuleSize, Ipa, IpaRange, PaRange};
use rmi_host::Platform;
use sro::{HostMemory, Pool};

use crate::lifecycle::realm::{NotTerminated, Realm};
use crate::memory::realm_core::RealmCore;
use crate::plan::{self, Cost, Limits, Run, Tables, leaf, map_calls};
use crate::shadow::At;

/// Returns which memory the host will give for the front of a range, as [`HostMemory::allocate`]
/// will: it is called for the same ranges in the same order.
pub type Supplied<'s> = &'s mut dyn FnMut(&mut dyn HostMemory, IpaRange) -> Option<PaRange>;

/// # Costs of a Realm that runs, in calls
///
/// They are exact for an RMM with the given [`Limits`] that neither yields nor is busy, and has
/// answered clearly so far, for a Realm without auxiliary trees. Nothing is called, and nothing
/// changes; another thread that works on the same part of the Realm may change the cost.
impl<P: Platform, S: NotTerminated> Realm<'_, P, S> {
    /// Cost of [`Realm::serve_fault`] with this memory: what its pool has delegated already is not
    /// delegated again. `supplied` stands for [`HostMemory::allocate`]. An entry that the host has
    /// unmapped before counts as not DESTROYED, which is where the memory is asked for.
    ///
    /// ```
    /// # use realm_builder::plan::Limits;
    /// # use realm_builder::{Realm, RealmConfig, RealmStorage, Served};
    /// # use rmi_abi::{Dialect, Ipa, IpaRange};
    /// # use rmi_conduits::counting::Counting;
    /// # use rmm_model::{Model, Options};
    /// # use sro::{CallbackMemory, FixedPool};
    /// # let model = Model::new(Options::new(Dialect::V1_0))?;
    /// # let conduit = Counting::new(&model);
    /// # let mut pool = FixedPool::<16>::new();
    /// # let mut host = model.take_memory();
    /// # pool.add(host.take_front(256 << 10).unwrap()).unwrap();
    /// # let rmm = sro::open(
    /// #     rmi_host::Host::new(&conduit, &model),
    /// #     Default::default(),
    /// #     &mut pool,
    /// # )?;
    /// # let mut storage = RealmStorage::<16, 8>::new();
    /// # let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool)?;
    /// # let (page, window) =
    /// #     (Ipa::new(0x4020_3000), IpaRange::with_size(Ipa::new(0x4000_0000), 1 << 30)?);
    /// // 64 KiB, for the front of whatever is asked for first.
    /// let granules = host.take_front(64 << 10).expect("1 GiB");
    /// let mut planned = Some(granules.range());
    /// let cost = realm.fault_cost(
    ///     &mut pool,
    ///     page,
    ///     window,
    ///     &mut |_, _| planned.take(),
    ///     Limits::ENTRY_BY_ENTRY,
    /// );
    ///
    /// let before = conduit.total().issued;
    /// let mut granules = Some(granules);
    /// let mut memory = CallbackMemory::new(&mut pool, |_| granules.take(), Err);
    /// let served = realm.serve_fault(&mut memory, page, window)?;
    /// assert_eq!(served, Served::Mapped(IpaRange::with_size(Ipa::new(0x4020_0000), 64 << 10)?));
    /// assert_eq!(conduit.total().issued - before, cost.calls());
    /// # drop(memory);
    /// # let ended = realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []);
    /// # assert!(ended.error.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock), and not while `supplied` runs.
    #[must_use]
    pub fn fault_cost(
        &self,
        memory: &mut dyn HostMemory,
        ipa: Ipa,
        window: IpaRange,
        supplied: Supplied<'_>,
        limits: Limits,
    ) -> Cost {
        self.core.fault_cost(memory, ipa, window, supplied, limits)
    }

    /// Cost of [`Realm::set_ripas`] for all of a range.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn set_ripas_cost(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        limits: Limits,
    ) -> Cost {
        self.core.set_ripas_cost(memory.pool(), range, limits)
    }

    /// Cost of [`Realm::convert_to_shared`], as for [`Realm::fault_cost`]. Blocks that folding made
    /// where the dialect maps by pages only (1.0) have to lie in the range as a whole.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock), and not while `supplied` runs.
    #[must_use]
    pub fn convert_to_shared_cost(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        supplied: Supplied<'_>,
        limits: Limits,
    ) -> Cost {
        self.core.convert_to_shared_cost(memory, range, supplied, limits)
    }

    /// Cost of [`Realm::convert_to_private`].
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    #[must_use]
    pub fn convert_to_private_cost(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        limits: Limits,
    ) -> Cost {
        self.core.convert_to_private_cost(memory.pool(), range, limits)
    }
}

/// A cost that is being added up.
struct Forecast {
    limits: Limits,
    granule: GranuleSize,
    /// Bytes that the pool will have delegated.
    stock: u64,
    cost: Cost,
}

impl Forecast {
    fn new(pool: &Pool, granule: GranuleSize, limits: Limits) -> Self {
        let (_, stock) = pool.bytes();
        Self { limits, granule, stock, cost: Cost::default() }
    }

    /// Tables that are made together: what the pool lacks for them is delegated first.
    fn make(&mut self, tables: u64) {
        let bytes = tables.saturating_mul(self.granule.bytes());
        self.cost.create += tables;
        self.delegate(bytes.saturating_sub(self.stock));
        self.stock = self.stock.saturating_sub(bytes);
    }

    fn delegate(&mut self, bytes: u64) {
        self.cost.delegate += self.limits.delegation(bytes, self.granule);
    }

    /// Memory of one leaf table is mapped, which a list describes as a whole.
    fn map_in_leaf(&mut self, bytes: u64) {
        self.cost.map += match self.limits.entry_by_entry {
            true => bytes >> self.granule.shift(),
            false => u64::from(bytes > 0),
        };
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::fault_cost`](crate::Realm::fault_cost).
    fn fault_cost(
        &self,
        memory: &mut dyn HostMemory,
        ipa: Ipa,
        window: IpaRange,
        supplied: Supplied<'_>,
        limits: Limits,
    ) -> Cost {
        let mut forecast = Forecast::new(memory.pool(), self.geometry().granule(), limits);
        let page = ipa.align_down(self.granule_bytes());
        let Some(around) = leaf(self.geometry(), page).intersection(&window) else {
            return Cost::default();
        };
        let (is_read, read) = self.entry_to_read(page, around);
        forecast.cost.read = u64::from(is_read);
        let mut from = around.base();
        let mut voids = core::iter::from_fn(|| {
            let void = self.next_void(read, from, around.top())?;
            from = void.top();
            Some(void)
        });
        let Some(void) = voids.find(|void| void.contains(page)) else { return forecast.cost };
        let first = supplied(memory, void).filter(|piece| !piece.is_empty());
        let Some(first) = first else { return forecast.cost };
        let reaches = void.base().checked_add(first.bytes()).is_some_and(|top| top > page);
        let start = if reaches { void.base() } else { page };
        let rest = void.after(start);
        let mut first = Some(first_bytes(first, rest.bytes()));
        let mut next = |memory: &mut dyn HostMemory, left| match first.take() {
            Some(first) => Some(first),
            None => supplied(memory, left),
        };
        let mut is_first = true;
        let staged = self.forecast_staging(&mut forecast, memory, rest, &mut next, &mut is_first);
        let front = void.before(start);
        let mut before = 0;
        if staged == rest.bytes() {
            before = self.forecast_staging(&mut forecast, memory, front, &mut next, &mut is_first);
        }
        if before == front.bytes() {
            forecast.map_in_leaf(before + staged);
        } else {
            forecast.map_in_leaf(staged);
            forecast.map_in_leaf(before);
        }
        let mut goes_on = staged + before == void.bytes();
        let mut from = around.base();
        while goes_on && let Some(other) = self.next_void(read, from, around.top()) {
            from = other.top();
            if other == void {
                continue;
            }
            let staged =
                self.forecast_staging(&mut forecast, memory, other, &mut next, &mut is_first);
            forecast.map_in_leaf(staged);
            goes_on = staged == other.bytes();
        }
        forecast.cost
    }

    /// Whether the entry of a page is read, because the host has unmapped it before; and what it
    /// covers of a range, if it counts as void then.
    fn entry_to_read(&self, page: Ipa, around: IpaRange) -> (bool, Option<IpaRange>) {
        let shadow = self.shadow.lock();
        let at = shadow.walk(page, Level::L3).filter(|at| shadow.may_be_destroyed(*at));
        let void = at.filter(|at| shadow.memory(*at).is_none());
        (at.is_some(), void.and_then(|at| at.range().intersection(&around)))
    }

    /// The next run in a leaf table where nothing is mapped, nothing was unmapped but `read`, and
    /// nothing is shared at the alias.
    fn next_void(&self, read: Option<IpaRange>, mut from: Ipa, top: Ipa) -> Option<IpaRange> {
        let shadow = self.shadow.lock();
        loop {
            let next = shadow.next_free(from, top);
            let read = read.map(|read| read.after(from)).filter(|read| !read.is_empty());
            let free = match (next, read) {
                (Some(next), Some(read)) if next.top() < read.base() => next,
                (next, Some(read)) => {
                    let base = next.map_or(read.base(), |next| next.base().min(read.base()));
                    let beside = shadow.next_free(read.top(), top);
                    let beside = beside.filter(|beside| beside.base() == read.top());
                    IpaRange::new_or_empty(base, beside.unwrap_or(read).top())
                }
                (next, None) => next?,
            };
            match shadow.shared_alias(&free) {
                None => return Some(free),
                Some(shared) if shared.base() > free.base() => {
                    return Some(free.before(shared.base()));
                }
                Some(shared) => from = shared.top(),
            }
        }
    }

    /// Memory is delegated for the front of a void range in one leaf table, contiguous pieces
    /// together, and the tables are made before the first of them. Returns the bytes.
    fn forecast_staging(
        &self,
        forecast: &mut Forecast,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        supplied: Supplied<'_>,
        is_first: &mut bool,
    ) -> u64 {
        let (mut staged, mut run) = (range.base(), None::<PaRange>);
        loop {
            let pending = run.map_or(0, |run| run.bytes());
            let left = range.after(staged.checked_add(pending).unwrap_or(range.top()));
            let piece = if left.is_empty() { None } else { supplied(memory, left) };
            let piece = piece.filter(|piece| !piece.is_empty() && piece.bytes() <= left.bytes());
            match (run, piece) {
                (Some(before), Some(piece)) if before.top() == piece.base() => {
                    run = PaRange::new(before.base(), piece.top()).ok();
                    continue;
                }
                (Some(whole), _) => {
                    if core::mem::take(is_first) {
                        let mut tables = Tables::new(self.geometry());
                        let top = self.private_block_level();
                        forecast.make(self.with_runs(staged, whole, top, |runs| {
                            self.count_missing(&mut tables, runs, &|_, _| false)
                        }));
                    }
                    forecast.delegate(whole.bytes());
                    staged = staged.checked_add(whole.bytes()).unwrap_or(range.top());
                }
                (None, _) => {}
            }
            run = piece;
            if piece.is_none() {
                return staged.checked_offset_from(range.base()).unwrap_or(0);
            }
        }
    }

    /// Tables of runs that do not exist, and that `is_made` does not name; what `tables` has named
    /// before is not counted again.
    fn count_missing(
        &self,
        tables: &mut Tables,
        runs: &mut dyn Iterator<Item = Run>,
        is_made: &dyn Fn(Level, Ipa) -> bool,
    ) -> u64 {
        let mut missing = 0;
        // The visit does not fail.
        let _ = tables.each(runs, &mut |level, ipa| {
            let exists = self.shadow.lock().has_table(level, ipa);
            missing += u64::from(!exists && !is_made(level, ipa));
            Ok(())
        });
        missing
    }

    /// See [`Realm::set_ripas_cost`](crate::Realm::set_ripas_cost).
    fn set_ripas_cost(&self, pool: &Pool, range: IpaRange, limits: Limits) -> Cost {
        let mut forecast = Forecast::new(pool, self.geometry().granule(), limits);
        let Ok(range) = self.check_change(range) else { return Cost::default() };
        let edges = plan::edges(self.geometry(), range);
        let has_table = |level, ipa| self.shadow.lock().has_table(level, ipa);
        let missing = edges.clone().filter(|(level, ipa)| !has_table(*level, *ipa)).count();
        forecast.make(missing as u64);
        // The level of the entry at an address, when the tables are made.
        let level_at = |ipa: Ipa| {
            let made = edges
                .clone()
                .filter(|(level, base)| self.geometry().table_base(ipa, *level) == *base);
            made.map(|(level, _)| level).fold(self.level_at(ipa), Level::max)
        };
        let mut from = range.base();
        while from < range.top() {
            let level = level_at(from);
            from = self.end_in_table(from, range.top(), level, &level_at);
            forecast.cost.ripas += u64::from(limits.table_by_table);
        }
        if !limits.table_by_table && !range.is_empty() {
            forecast.cost.ripas = 1;
        }
        forecast.cost
    }

    /// The level of the entry at an address: that of the last table there.
    fn level_at(&self, ipa: Ipa) -> Level {
        self.shadow.lock().walk(ipa, Level::L3).map_or(Level::L3, |at| at.level)
    }

    /// Where entries of one table end, from an address on: at `top`, at the end of the table, or
    /// where an entry is a table.
    fn end_in_table(
        &self,
        from: Ipa,
        top: Ipa,
        level: Level,
        level_at: &dyn Fn(Ipa) -> Level,
    ) -> Ipa {
        let (entry, table) =
            (self.geometry().entry_bytes(level), self.geometry().table_bytes(level));
        let end = from.align_down(table).checked_add(table).unwrap_or(top).min(top);
        let mut at = from;
        loop {
            at = at.align_down(entry).checked_add(entry).unwrap_or(end);
            if at >= end || level == Level::L3 {
                return end;
            }
            if level_at(at) != level {
                return at;
            }
        }
    }

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
    fn convert_to_shared_cost(
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
            while at < end {
                let void = range.after(at).before(end);
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
            forecast.cost.undelegate += limits.delegation(pas.bytes(), forecast.granule);
            if let Ok(alias) = self.alias(ipas, range) {
                self.forecast_sharing(&mut forecast, alias.base(), pas);
            }
            at = ipas.top();
        }
    }

    /// Passes on the runs by which memory is mapped, by entries of `top` or below.
    fn with_runs<T>(
        &self,
        ipa: Ipa,
        memory: PaRange,
        top: Level,
        act: impl FnOnce(&mut dyn Iterator<Item = Run>) -> T,
    ) -> T {
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        act(&mut plan::runs_of(self.geometry(), ipa, Some(memory).into_iter(), top, &exists))
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
        if !limits.table_by_table {
            return range;
        }
        // An empty table may lie between blocks.
        let level_at = |ipa| self.level_at(ipa);
        range.before(self.end_in_table(at.base, range.top(), at.level, &level_at))
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
    fn convert_to_private_cost(&self, pool: &Pool, range: IpaRange, limits: Limits) -> Cost {
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

/// At most this many bytes from the front of a piece of memory.
fn first_bytes(piece: PaRange, bytes: u64) -> PaRange {
    piece.split_at(bytes).map_or(piece, |(first, _)| first)
}
