//! The cost of a plan.

use core::ops::Add;

use rmi_abi::desc::AddrRangeDesc;
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{GranuleSize, Ipa, Pa, PaRange};

use super::{Exists, Run, Tables, runs_of};

/// How much an RMM does in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Granules that one delegate or undelegate call handles; `None` for a whole range.
    pub granules_per_call: Option<u64>,
    /// Whether a map, unmap or RIPAS call ends at the end of the table that it begins in.
    pub table_by_table: bool,
    /// Whether a map or unmap call handles one entry, and maps private memory by pages only.
    pub entry_by_entry: bool,
    /// The size in bytes of the tracking regions at whose end a call ends that delegates,
    /// undelegates or unmaps private memory: where the host can change how memory is tracked
    /// (`Rmm::tracking_region_size`); `None` where calls do not end there.
    ///
    /// A region that is COARSE takes one call as a whole, whatever `granules_per_call` is; that is
    /// predicted where `granules_per_call` is `None`. The RMM does not map memory that
    /// [`fits_coarse`](super::fits_coarse) refuses.
    pub regions: Option<u64>,
}

impl Limits {
    /// TF-RMM (July 2026): one granule, and one leaf table.
    pub const ONE_BY_ONE: Self =
        Self { granules_per_call: Some(1), table_by_table: true, ..Self::RANGES };
    /// An RMM that takes whole ranges.
    pub const RANGES: Self = Self {
        granules_per_call: None,
        table_by_table: false,
        entry_by_entry: false,
        regions: None,
    };
    /// Any RMM of 1.0: one granule, and one entry.
    pub const ENTRY_BY_ENTRY: Self = Self { entry_by_entry: true, ..Self::ONE_BY_ONE };

    /// Calls that delegate (or undelegate) memory with granules of this size: as
    /// [`Limits::delegation`], in each of the regions that it is in.
    #[must_use]
    pub fn delegation_of(&self, memory: PaRange, granule: GranuleSize) -> u64 {
        let Some(region) = self.regions.filter(|region| region.is_power_of_two()) else {
            return self.delegation(memory.bytes(), granule);
        };
        let (base, top) = (memory.base().raw(), memory.top().raw());
        let part = |from: u64, to: u64| self.delegation(to.saturating_sub(from), granule);
        // The first whole region begins here, and the last one ends there.
        let last = memory.top().align_down(region).raw();
        let first = memory.base().align_up(region).map_or(u64::MAX, Pa::raw);
        if first > last {
            return part(base, top);
        }
        let whole = (last - first) >> region.trailing_zeros();
        part(base, first) + whole * self.delegation(region, granule) + part(last, top)
    }

    /// Calls that delegate (or undelegate) one contiguous run of granules of this size, in one
    /// region.
    #[must_use]
    pub const fn delegation(&self, bytes: u64, granule: GranuleSize) -> u64 {
        let granules = bytes.div_ceil(granule.bytes());
        match self.granules_per_call {
            Some(0 | 1) => granules,
            Some(limit) => granules.div_ceil(limit),
            None if bytes == 0 => 0,
            None => 1,
        }
    }
}

/// Numbers of SMCs, by command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// `RMI_GRANULE_RANGE_DELEGATE`, or `RMI_GRANULE_DELEGATE`.
    pub delegate: u64,
    /// `RMI_GRANULE_RANGE_UNDELEGATE`, or `RMI_GRANULE_UNDELEGATE`.
    pub undelegate: u64,
    /// `RMI_RTT_CREATE`.
    pub create: u64,
    /// `RMI_RTT_DESTROY` and `RMI_RTT_AUX_DESTROY`.
    pub destroy: u64,
    /// `RMI_RTT_DATA_MAP` and `RMI_RTT_DATA_MAP_INIT`, or `RMI_DATA_CREATE_UNKNOWN` and
    /// `RMI_DATA_CREATE`.
    pub map: u64,
    /// `RMI_RTT_DATA_UNMAP` and the commands that unmap in auxiliary trees, or `RMI_DATA_DESTROY`.
    pub unmap: u64,
    /// `RMI_RTT_INIT_RIPAS` and `RMI_RTT_SET_RIPAS`.
    pub ripas: u64,
    /// `RMI_RTT_UNPROT_MAP`, or `RMI_RTT_MAP_UNPROTECTED`.
    pub share: u64,
    /// `RMI_RTT_UNPROT_UNMAP`, or `RMI_RTT_UNMAP_UNPROTECTED`.
    pub unshare: u64,
    /// `RMI_RTT_READ_ENTRY`.
    pub read: u64,
}

impl Cost {
    /// All of them.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.delegate
            + self.undelegate
            + self.create
            + self.destroy
            + self.map
            + self.unmap
            + self.ripas
            + self.share
            + self.unshare
            + self.read
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            delegate: self.delegate + other.delegate,
            undelegate: self.undelegate + other.undelegate,
            create: self.create + other.create,
            destroy: self.destroy + other.destroy,
            map: self.map + other.map,
            unmap: self.unmap + other.unmap,
            ripas: self.ripas + other.ripas,
            share: self.share + other.share,
            unshare: self.unshare + other.unshare,
            read: self.read + other.read,
        }
    }
}

/// The cost of mapping pieces of host memory one after the other from `ipa` on, where nothing is
/// mapped and `exists` says which tables (level, base) there are.
///
/// Granules for new tables count as delegated in one run; those that a pool has delegated before
/// cost less. An RMM that yields or is busy needs more calls.
pub fn map_cost<'e>(
    geometry: Geometry,
    ipa: Ipa,
    pieces: impl Iterator<Item = PaRange> + Clone + 'e,
    exists: Exists<'e>,
    limits: Limits,
) -> Cost {
    let (top, granule) = (geometry.start_level().max(Level::L1), geometry.granule());
    let top = if limits.entry_by_entry { Level::L3 } else { top };
    let data = pieces.clone().map(|piece| limits.delegation_of(piece, granule)).sum::<u64>();
    // One pass: the tables are those of the runs that the calls map.
    let mut tables = Tables::new(geometry);
    let (mut create, mut filling) = (0, Filling::new(geometry));
    for run in runs_of(geometry, ipa, pieces, top, exists) {
        tables.begin(run);
        while let Some((level, ipa)) = tables.next() {
            create += u64::from(!exists(level, ipa));
        }
        fill(&mut filling, run, limits);
    }
    let delegate = limits.delegation(create * granule.bytes(), granule) + data;
    Cost { create, delegate, map: filling.calls, ..Cost::default() }
}

/// The list that is being filled for one call.
struct Filling {
    geometry: Geometry,
    calls: u64,
    level: Option<Level>,
    /// Descriptors in the list.
    descriptors: u64,
    /// Where the last descriptor ends, and how many more blocks it can hold.
    open: Option<(u64, u64)>,
}

impl Filling {
    const fn new(geometry: Geometry) -> Self {
        Self { geometry, calls: 0, level: None, descriptors: 0, open: None }
    }

    /// Begins the list of another call.
    fn begin(&mut self, level: Level) {
        let level = Some(level);
        *self = Self { calls: self.calls + 1, level, ..Self::new(self.geometry) };
    }

    /// As many of `blocks` blocks at `pa` as fit the current descriptor, or a new one.
    fn add(&mut self, level: Level, pa: u64, blocks: u64) -> u64 {
        let max = u64::from(AddrRangeDesc::max_count(self.geometry.granule()));
        if self.level != Some(level) {
            self.begin(level);
        }
        let free = match self.open {
            Some((end, free)) if end == pa && free > 0 => free,
            _ => {
                // A list is one granule, as a table is.
                if self.descriptors == self.geometry.entries_per_table() {
                    self.begin(level);
                }
                self.descriptors += 1;
                max
            }
        };
        let taken = blocks.min(free);
        self.open = Some((pa + taken * self.geometry.entry_bytes(level), free - taken));
        taken
    }
}

/// Calls that map runs of delegated memory.
pub(crate) fn map_calls(
    geometry: Geometry,
    runs: impl Iterator<Item = Run>,
    limits: Limits,
) -> u64 {
    let mut filling = Filling::new(geometry);
    for run in runs {
        fill(&mut filling, run, limits);
    }
    filling.calls
}

/// Calls that change the RIPAS of one range, in which the runs will be mapped.
pub(crate) fn ripas_calls(
    geometry: Geometry,
    runs: impl Iterator<Item = Run>,
    limits: Limits,
) -> u64 {
    let mut calls = 0;
    let mut table_end = None;
    for run in runs {
        let table = geometry.table_bytes(run.level);
        let (mut ipa, top) = (run.ipa.raw(), run.range().top().raw());
        if !limits.table_by_table {
            return 1;
        }
        while ipa < top {
            let end = (ipa / table + 1).saturating_mul(table);
            if table_end != Some((run.level, end)) {
                calls += 1;
                table_end = Some((run.level, end));
            }
            ipa = end.min(top);
        }
    }
    calls
}

/// Pieces of memory, with contiguous ones joined, as they are delegated.
pub(crate) fn joined(
    pieces: impl Iterator<Item = PaRange> + Clone,
) -> impl Iterator<Item = PaRange> + Clone {
    let mut pieces = pieces;
    let mut pending: Option<PaRange> = None;
    core::iter::from_fn(move || {
        loop {
            let next = pieces.next();
            let Some(piece) = next else { return pending.take() };
            let Some(before) = pending.replace(piece) else { continue };
            match PaRange::new(before.base(), piece.top()).ok() {
                Some(both) if before.top() == piece.base() => pending = Some(both),
                _ => return Some(before),
            }
        }
    })
}

fn fill(filling: &mut Filling, run: Run, limits: Limits) {
    // All of these are powers of two; divisions would take half of the planning time.
    let geometry = filling.geometry;
    let shift = geometry.entry_shift(run.level);
    let in_table = geometry.table_bytes(run.level) - 1;
    let (mut ipa, mut pa, mut left) = (run.ipa.raw(), run.pa.raw(), run.bytes >> shift);
    if limits.entry_by_entry {
        filling.calls += left;
        return;
    }
    while left > 0 {
        let to_end = if limits.table_by_table {
            if ipa & in_table == 0 {
                // The previous call ended here.
                filling.level = None;
            }
            (in_table + 1 - (ipa & in_table)) >> shift
        } else {
            left
        };
        let taken = filling.add(run.level, pa, left.min(to_end));
        left -= taken;
        (ipa, pa) = (ipa + (taken << shift), pa + (taken << shift));
    }
}
