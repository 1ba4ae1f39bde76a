//! Cost of what a Realm causes while it runs: faults, RIPAS changes, conversions.

use rmi_abi::rtt::Level;
use rmi_abi::{GranuleSize, Ipa, IpaRange, PaRange};
use rmi_host::Platform;
use sro::{HostMemory, Pool};

use crate::lifecycle::realm::{NotTerminated, Realm};
use crate::memory::realm_core::RealmCore;
use crate::plan::{self, Cost, Limits, Run, Tables, leaf};

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
pub(super) struct Forecast {
    pub(super) limits: Limits,
    pub(super) granule: GranuleSize,
    /// Bytes that the pool will have delegated.
    stock: u64,
    pub(super) cost: Cost,
}

impl Forecast {
    pub(super) fn new(pool: &Pool, granule: GranuleSize, limits: Limits) -> Self {
        let (_, stock) = pool.bytes();
        Self { limits, granule, stock, cost: Cost::default() }
    }

    /// Tables that are made together: what the pool lacks for them is delegated first.
    pub(super) fn make(&mut self, tables: u64) {
        let bytes = tables.saturating_mul(self.granule.bytes());
        self.cost.create += tables;
        self.delegate(bytes.saturating_sub(self.stock));
        self.stock = self.stock.saturating_sub(bytes);
    }

    pub(super) fn delegate(&mut self, bytes: u64) {
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
    pub(super) fn count_missing(
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
    pub(super) fn level_at(&self, ipa: Ipa) -> Level {
        self.shadow.lock().walk(ipa, Level::L3).map_or(Level::L3, |at| at.level)
    }

    /// Where entries of one table end, from an address on: at `top`, at the end of the table, or
    /// where an entry is a table.
    pub(super) fn end_in_table(
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

    /// Passes on the runs by which memory is mapped, by entries of `top` or below.
    pub(super) fn with_runs<T>(
        &self,
        ipa: Ipa,
        memory: PaRange,
        top: Level,
        act: impl FnOnce(&mut dyn Iterator<Item = Run>) -> T,
    ) -> T {
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        act(&mut plan::runs_of(self.geometry(), ipa, Some(memory).into_iter(), top, &exists))
    }
}

/// At most this many bytes from the front of a piece of memory.
pub(super) fn first_bytes(piece: PaRange, bytes: u64) -> PaRange {
    piece.split_at(bytes).map_or(piece, |(first, _)| first)
}
