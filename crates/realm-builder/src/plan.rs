//! Planning, without a call: which blocks map a run of memory, which tables they need, and the
//! cost.
//!
//! Everything here is a pure function of addresses. A Realm plans with it, and an embedder can do
//! so before there is a Realm:
//!
//! ```
//! use realm_builder::plan::{self, Limits};
//! use rmi_abi::rtt::{Geometry, Level};
//! use rmi_abi::{Ipa, Pa, PaRange};
//!
//! let geometry = Geometry::with_start_level(40, Level::L1)?;
//! let memory = PaRange::with_size(Pa::new(0x8020_0000), 1 << 30)?;
//! let pieces = [memory].into_iter();
//!
//! // Aligned to 2 MiB only: 512 blocks, which need one table of level 2.
//! let ipa = Ipa::new(0x8000_0000);
//! let nothing = &|_, _| false;
//! let runs = plan::runs_of(geometry, ipa, pieces.clone(), Level::L1, nothing);
//! let blocks: Vec<_> = runs.clone().map(|run| (run.level, run.bytes)).collect();
//! assert_eq!(blocks, [(Level::L2, 1 << 30)]);
//! assert_eq!(
//!     plan::tables_of_runs(geometry, runs).collect::<Vec<_>>(),
//!     [(Level::L2, ipa)]
//! );
//!
//! // The cost, on an RMM that takes one granule per call and on one that takes ranges.
//! for (limits, calls) in [(Limits::ONE_BY_ONE, 262_147), (Limits::RANGES, 4)] {
//!     let cost = plan::map_cost(geometry, ipa, pieces.clone(), nothing, limits);
//!     assert_eq!(cost.calls(), calls);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cost;

use rmi_abi::rtt::{ENTRIES_PER_TABLE, Geometry, Level};
use rmi_abi::{GranuleSize, Ipa, IpaRange, Pa, PaRange};

use crate::error::BuildError;

pub use cost::{Cost, Limits, map_cost};
pub(crate) use cost::{joined, map_calls, ripas_calls};
#[doc(inline)]
pub use realm_measurement::blocks::{Run, runs};

/// Returns whether the table of a level that covers an IPA exists.
pub type Exists<'e> = &'e dyn Fn(Level, Ipa) -> bool;

/// The runs of several pieces of memory, the first mapped at `ipa` and each of the others where the
/// one before it ends. Where tables exist, blocks are no larger than an entry of these tables.
pub fn runs_of<'e>(
    geometry: Geometry,
    ipa: Ipa,
    mut pieces: impl Iterator<Item = PaRange> + Clone + 'e,
    top_level: Level,
    exists: Exists<'e>,
) -> impl Iterator<Item = Run> + Clone + 'e {
    let mut fitting =
        Fitting { geometry, piece: (ipa, PaRange::NONE), run: None, top_level, exists };
    let mut following = Some(ipa);
    core::iter::from_fn(move || {
        loop {
            if let Some(run) = fitting.next() {
                return Some(run);
            }
            let piece = pieces.next()?;
            let at = following?;
            following = at.checked_add(piece.bytes());
            fitting.piece = (at, piece);
        }
    })
}

/// Whether memory of COARSE tracking regions, which are `region` bytes large and aligned, can be
/// mapped at `ipa`: every block is a region.
///
/// The RMM refuses to map such memory by smaller blocks, and to unmap a part of a region, with
/// `RMI_ERROR_TRACKING`; who has the memory does not change then. Memory that is used by smaller
/// parts has to be FINE (`sro::FineRegions`).
///
/// ```
/// use realm_builder::plan;
/// use rmi_abi::rtt::{Geometry, Level};
/// use rmi_abi::{Ipa, Pa, PaRange};
///
/// let geometry = Geometry::with_start_level(40, Level::L1)?;
/// let memory = PaRange::with_size(Pa::new(0xc000_0000), 1 << 30)?;
/// let fits = |ipa| {
///     plan::fits_coarse(geometry, Ipa::new(ipa), memory, 1 << 30, Level::L1, &|_, _| false)
/// };
/// assert!(fits(0x4000_0000));
/// // By blocks of 2 MiB.
/// assert!(!fits(0x4020_0000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn fits_coarse(
    geometry: Geometry,
    ipa: Ipa,
    memory: PaRange,
    region: u64,
    top_level: Level,
    exists: Exists<'_>,
) -> bool {
    memory.is_aligned(region)
        && runs_of(geometry, ipa, Some(memory).into_iter(), top_level, exists)
            .all(|run| geometry.entry_bytes(run.level) == region)
}

/// The runs of one piece of memory, split where tables exist below the entries that it would be
/// mapped by.
#[derive(Clone)]
struct Fitting<'e> {
    geometry: Geometry,
    /// What is left of the piece, after the run.
    piece: (Ipa, PaRange),
    /// What is left of the current run.
    run: Option<Run>,
    top_level: Level,
    exists: Exists<'e>,
}

impl Fitting<'_> {
    /// The next part of a run; `None` at the end of the piece.
    fn next(&mut self) -> Option<Run> {
        loop {
            if let Some(part) = self.run.take().and_then(|run| self.fit(run)) {
                return Some(part);
            }
            let (ipa, memory) = self.piece;
            let run = Run::first(self.geometry, ipa, memory, self.top_level)?;
            self.piece = (ipa.checked_add(run.bytes)?, memory.split_at(run.bytes)?.1);
            self.run = Some(run);
        }
    }

    /// Takes the first part off a run.
    fn fit(&mut self, run: Run) -> Option<Run> {
        let (exists, geometry) = (self.exists, self.geometry);
        let below = |level: Level, ipa| level.child().is_some_and(|below| exists(below, ipa));
        let (at, top) = (run.ipa, run.range().top());
        if at >= top || run.level == Level::L3 {
            return Some(run).filter(|run| run.bytes > 0);
        }
        let mut level = run.level;
        while below(level, at) {
            level = level.child()?;
        }
        let end = match level == run.level {
            true => top,
            // The other entries of the table above may have none.
            false => {
                let table = geometry.table_bytes(level);
                at.align_down(table).checked_add(table)?.min(top)
            }
        };
        let entry = geometry.entry_bytes(level);
        let mut until = at.checked_add(entry)?;
        if level == Level::L3 {
            until = end;
        }
        while until < end && !below(level, until) {
            until = until.checked_add(entry)?;
        }
        let bytes = until.checked_offset_from(at)?;
        let rest = run.bytes.checked_sub(bytes).filter(|rest| *rest > 0);
        self.run = rest.and_then(|rest| {
            Some(Run { ipa: until, pa: run.pa.checked_add(bytes)?, level: run.level, bytes: rest })
        });
        Some(Run { ipa: at, pa: run.pa, level, bytes })
    }
}

/// Names the tables of runs that come in the order of their addresses, each once, and none before
/// its parent.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    geometry: Geometry,
    /// Of each level, where the tables that were named end.
    named: [Option<Ipa>; 4],
    /// The current run, and the table that is next.
    current: Option<(Run, Level, Ipa)>,
}

impl Tables {
    pub(crate) const fn new(geometry: Geometry) -> Self {
        Self { geometry, named: [None; 4], current: None }
    }

    fn named(&mut self, level: Level) -> Option<&mut Option<Ipa>> {
        self.named.get_mut(usize::try_from(level.number()).ok()?)
    }

    /// Begins with the next run.
    fn begin(&mut self, run: Run) {
        let top = run.range().top();
        // Most runs lie in the last table that was named, and so in those above it.
        let covers = |end: &mut Option<Ipa>| end.is_some_and(|end| end >= top);
        if !self.named(run.level).is_some_and(covers) {
            let first = self.geometry.start_level().child();
            self.current =
                first.map(|level| (run, level, self.geometry.table_base(run.ipa, level)));
        }
    }

    /// Names the next table of the current run.
    fn next(&mut self) -> Option<(Level, Ipa)> {
        loop {
            let (run, level, base) =
                self.current.take().filter(|(run, level, _)| *level <= run.level)?;
            let following = base.checked_add(self.geometry.table_bytes(level));
            self.current = match following.filter(|next| *next < run.range().top()) {
                Some(next) => Some((run, level, next)),
                None => level
                    .child()
                    .map(|below| (run, below, self.geometry.table_base(run.ipa, below))),
            };
            let named = self.named(level)?;
            if named.is_none_or(|named| base >= named) {
                *named = following;
                return Some((level, base));
            }
        }
    }
}

impl Tables {
    /// Visits the tables of the runs that are next, until a visit fails. Compiled once, not for
    /// each kind of runs.
    pub(crate) fn each(
        &mut self,
        runs: &mut dyn Iterator<Item = Run>,
        visit: &mut dyn FnMut(Level, Ipa) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        for run in runs {
            self.begin(run);
            while let Some((level, ipa)) = self.next() {
                visit(level, ipa)?;
            }
        }
        Ok(())
    }
}

/// The tables that must exist so that runs can be mapped, each once, and none before its parent:
/// level, and base of what it covers.
///
/// The runs are in the order of their addresses.
pub fn tables_of_runs(
    geometry: Geometry,
    mut runs: impl Iterator<Item = Run> + Clone,
) -> impl Iterator<Item = (Level, Ipa)> + Clone {
    let mut tables = Tables::new(geometry);
    core::iter::from_fn(move || {
        loop {
            match tables.next() {
                Some(table) => return Some(table),
                None => tables.begin(runs.next()?),
            }
        }
    })
}

/// The tables that must exist so that entries of `level` can be written in `range`.
pub fn tables(
    geometry: Geometry,
    range: IpaRange,
    level: Level,
) -> impl Iterator<Item = (Level, Ipa)> + Clone {
    tables_of_runs(geometry, run(range, level).into_iter())
}

/// A run of entries of a level, if the range is not empty.
pub(crate) fn run(range: IpaRange, level: Level) -> Option<Run> {
    let run = Run { ipa: range.base(), pa: Pa::new(0), level, bytes: range.bytes() };
    Some(run).filter(|run| run.bytes > 0)
}

/// How many [`ShadowTable`](crate::ShadowTable)s a Realm with these ranges needs if they are mapped
/// by pages: private and shared ones, in the order of their addresses. Root tables are included; a
/// Realm with separate trees for auxiliary planes needs as many for each of those.
///
/// ```
/// use realm_builder::plan;
/// use rmi_abi::rtt::Geometry;
/// use rmi_abi::{Ipa, IpaRange};
///
/// // 1 GiB of RAM, and 16 MiB of it shared at its alias, in an IPA space of 40 bits that
/// // begins at level 1.
/// let geometry = Geometry::with_start_level(40, rmi_abi::rtt::Level::L1)?;
/// let ram = IpaRange::with_size(Ipa::new(0x8000_0000), 1 << 30)?;
/// let alias = geometry.unprotected_alias(ram.base()).expect("it is private");
/// let shared = IpaRange::with_size(alias, 16 << 20)?;
/// assert_eq!(plan::shadow_tables(geometry, [ram, shared].into_iter()), 2 + 513 + 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn shadow_tables(geometry: Geometry, ranges: impl Iterator<Item = IpaRange> + Clone) -> usize {
    let runs = ranges.filter(|range| !range.is_empty()).map(|range| Run {
        ipa: range.base(),
        pa: Pa::new(0),
        level: Level::L3,
        bytes: range.bytes(),
    });
    let tables = usize::from(geometry.root_tables()) + tables_of_runs(geometry, runs).count();
    // One for each 512 entries: 1, 4 or 16 for each table.
    tables << (geometry.granule().shift() - GranuleSize::Size4KiB.shift())
}

/// The tables that must exist so that no entry reaches across an end of `range`: where an operation
/// changes exactly a range, as with RIPAS and unmapping.
pub fn edges(geometry: Geometry, range: IpaRange) -> impl Iterator<Item = (Level, Ipa)> + Clone {
    let ends = [range.base(), range.top()];
    let levels = core::iter::successors(geometry.start_level().child(), |level| level.child());
    levels.flat_map(move |level| {
        // An end inside an entry of the level above needs a table of this level.
        let [base, top] = ends.map(|end| {
            let inside = !range.is_empty() && !end.is_aligned(geometry.table_bytes(level));
            inside.then(|| geometry.table_base(end, level))
        });
        let top = top.filter(|top| Some(*top) != base);
        base.into_iter().chain(top).map(move |ipa| (level, ipa))
    })
}

/// What the 512 entries of a leaf table cover that include an address: the whole table, with
/// granules of 4 KiB.
pub(crate) fn leaf(geometry: Geometry, ipa: Ipa) -> IpaRange {
    let bytes = ENTRIES_PER_TABLE * geometry.granule().bytes();
    IpaRange::with_size_or_empty(ipa.align_down(bytes), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec::Vec;

    const MIB: u64 = 1 << 20;

    #[test]
    fn tables_come_from_the_top_down() {
        let geometry = Geometry::new(40).unwrap();
        let range = IpaRange::with_size(Ipa::new(0), 3 * MIB).unwrap();
        let got: Vec<_> =
            tables(geometry, range, Level::L3).map(|(l, base)| (l.number(), base.raw())).collect();
        assert_eq!(got, [(1, 0), (2, 0), (3, 0), (3, 2 * MIB)]);
        let got: Vec<_> =
            tables(geometry, range, Level::L2).map(|(l, base)| (l.number(), base.raw())).collect();
        assert_eq!(got, [(1, 0), (2, 0)]);
    }
}
