//! Tracking regions, and the parts of memory whose granule protection table is missing.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use rmi_abi::{GranuleSize, Pa, PaRange, Status};

use crate::options::{FirstTracking, GIB, Options, RegionOptions};

/// How the RMM tracks a tracking region.
///
/// Source: DEN0137 2.0-bet3, `RmiTrackingRegionState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracking {
    /// There is no memory.
    Reserved = 0,
    /// Not at all.
    None = 1,
    /// By granule.
    Fine = 2,
    /// As one unit.
    Coarse = 3,
    /// It is being changed.
    Intermediate = 4,
}

impl Tracking {
    /// The state with this code, if it is one that the host can ask for.
    pub(crate) fn wanted(code: u64) -> Option<Self> {
        [Self::None, Self::Fine, Self::Coarse].into_iter().find(|state| *state as u64 == code)
    }
}

/// Whether the granule protection table of a GiB exists.
///
/// Source: DEN0137 2.0-bet3, `RmiGptParState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// The GiB is not for the host.
    Reserved = 0,
    /// The platform built it.
    Platform = 1,
    /// The host has to create it.
    Missing = 2,
    /// The host created it.
    Created = 3,
}

/// One region, with the memory that the RMM was given to track it.
#[derive(Debug)]
pub(crate) struct Region<S> {
    pub(crate) range: PaRange,
    pub(crate) state: S,
    pub(crate) donated: Vec<Pa>,
}

impl<S> Region<S> {
    fn new(range: PaRange, state: S) -> Self {
        Self { range, state, donated: Vec::new() }
    }
}

/// The parts of memory that differ; elsewhere, DRAM is FINE and its tables were built by the
/// platform. Where the host can change tracking regions, all memory consists of these.
#[derive(Debug)]
pub(crate) struct Regions {
    dram: PaRange,
    /// By base.
    tracking: BTreeMap<Pa, Region<Tracking>>,
    protection: Vec<Region<Protection>>,
    changeable: Option<RegionOptions>,
    /// The size of regions that the host can change, and its code.
    size: u64,
    code: u8,
    /// Delegations of COARSE regions so far.
    delegations: u32,
}

impl Regions {
    pub(crate) fn new(options: &Options) -> Self {
        let of = |ranges: &[PaRange], state| {
            ranges.iter().map(move |range| Region::new(*range, state)).collect::<Vec<_>>()
        };
        let mut tracking = of(&options.untracked, Tracking::None);
        tracking.extend(of(&options.coarse, Tracking::Coarse));
        let mut protection: Vec<Region<Protection>> = Vec::new();
        for range in &options.gpt_missing {
            let mut base = range.base();
            while let Ok(gib) = PaRange::with_size(base, GIB)
                && base < range.top()
            {
                if protection.iter().all(|region| region.range != gib) {
                    protection.push(Region::new(gib, Protection::Missing));
                }
                base = gib.top();
            }
        }
        let tracking = tracking.into_iter().map(|region| (region.range.base(), region)).collect();
        let changeable = options.regions;
        let mut regions = Self {
            dram: options.dram,
            tracking,
            protection,
            changeable,
            size: GIB,
            code: 0,
            delegations: 0,
        };
        regions.activate();
        regions
    }

    /// The options of regions that the host can change.
    pub(crate) fn changeable(&self) -> Option<RegionOptions> {
        self.changeable
    }

    /// The code of the size of regions.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// The size of regions that the host can change.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Sets the size of regions; false for one that the RMM does not have.
    pub(crate) fn configure(&mut self, granule: GranuleSize, code: u8) -> bool {
        let size = match self.changeable {
            Some(regions) => regions.size(granule, code),
            None => (code == 0).then_some(GIB),
        };
        let Some(size) = size else { return false };
        (self.size, self.code) = (size, code);
        self.activate();
        true
    }

    /// Puts regions that the host can change into their first state.
    pub(crate) fn activate(&mut self) {
        let Some(regions) = self.changeable else { return };
        let size = self.size;
        self.tracking.clear();
        let mut base = self.dram.base().align_down(size);
        while let Ok(range) = PaRange::with_size(base, size)
            && base < self.dram.top()
        {
            let state = match regions.first {
                FirstTracking::Fine => Tracking::Fine,
                FirstTracking::Coarse if self.dram.contains_range(&range) => Tracking::Coarse,
                FirstTracking::Coarse => Tracking::None,
            };
            self.tracking.insert(base, Region::new(range, state));
            base = range.top();
        }
    }

    /// Counts the delegation of a COARSE region: if it is rolled back, the status with which.
    pub(crate) fn rolls_back(&mut self) -> Option<Status> {
        let every = self.changeable?.roll_back_every?;
        self.delegations = self.delegations.wrapping_add(1);
        let is_due = self.delegations.is_multiple_of(every.get());
        is_due.then(|| match (self.delegations / every).is_multiple_of(2) {
            true => Status::Blocked,
            false => Status::ErrorTracking,
        })
    }

    /// The region that holds `pa`.
    pub(crate) fn region(&self, pa: Pa) -> Option<&Region<Tracking>> {
        let (_, region) = self.tracking.range(..=pa).next_back()?;
        Some(region).filter(|region| region.range.contains(pa))
    }

    /// The memory of a region.
    pub(crate) fn memory(&self, region: &PaRange) -> PaRange {
        region.intersection(&self.dram).unwrap_or(PaRange::empty(region.base()))
    }

    /// How the region that holds `pa` is tracked.
    pub(crate) fn tracking(&self, pa: Pa) -> Tracking {
        let is_memory = self.dram.contains(pa);
        match self.region(pa) {
            Some(region) if is_memory => region.state,
            None if is_memory => Tracking::Fine,
            _ if self.changeable.is_some() => Tracking::Reserved,
            _ => Tracking::None,
        }
    }

    /// The end of the longest stretch from `pa` on that is tracked in one way; at most `top`.
    pub(crate) fn tracked_alike(&self, pa: Pa, top: Pa) -> Pa {
        let state = self.tracking(pa);
        let mut reached = pa;
        while let Some(edge) = self.edge_after(reached).filter(|edge| *edge < top) {
            if self.tracking(edge) != state {
                return edge;
            }
            reached = edge;
        }
        top
    }

    /// The first address after `pa` from which on memory may be tracked in another way.
    fn edge_after(&self, pa: Pa) -> Option<Pa> {
        let top = self.region(pa).map(|region| region.range.top());
        let after = pa.checked_add(1)?;
        let next = self.tracking.range(after..).next().map(|(base, _)| *base);
        [self.dram.base(), self.dram.top()]
            .into_iter()
            .chain(top)
            .chain(next)
            .filter(|edge| *edge > pa)
            .min()
    }

    /// The region that starts at `pa`.
    pub(crate) fn tracking_region(&mut self, pa: Pa) -> Option<&mut Region<Tracking>> {
        self.tracking.get_mut(&pa)
    }

    /// The COARSE region that starts at `pa`.
    pub(crate) fn coarse(&self, pa: Pa) -> Option<PaRange> {
        let region = self.tracking.get(&pa).filter(|region| region.state == Tracking::Coarse)?;
        Some(region.range)
    }

    /// The state of the protection table of the GiB that holds `pa`.
    pub(crate) fn protection(&self, pa: Pa) -> Protection {
        if let Some(region) = self.protection.iter().find(|region| region.range.contains(pa)) {
            return region.state;
        }
        match PaRange::with_size(pa.align_down(GIB), GIB) {
            Ok(gib) if self.dram.overlaps(&gib) => Protection::Platform,
            _ => Protection::Reserved,
        }
    }

    /// The GiB at `pa`, if its table is created by the host.
    pub(crate) fn protection_region(&mut self, pa: Pa) -> Option<&mut Region<Protection>> {
        self.protection.iter_mut().find(|region| region.range.base() == pa)
    }

    /// Whether all of `range` is tracked by granule and protected.
    pub(crate) fn are_fine(&self, range: &PaRange) -> bool {
        let is_there = |region: &Region<Protection>| region.state == Protection::Created;
        let regions = self.tracking.range(..range.top()).rev().map(|(_, region)| region);
        regions
            .take_while(|region| region.range.overlaps(range))
            .all(|region| region.state == Tracking::Fine)
            && self
                .protection
                .iter()
                .all(|region| is_there(region) || !region.range.overlaps(range))
    }

    /// Takes all memory that the RMM was given for regions; they are in their first state again,
    /// and what was FINE is untracked.
    pub(crate) fn forget(&mut self) -> Vec<Pa> {
        let mut donated = Vec::new();
        for region in self.tracking.values_mut() {
            if region.state == Tracking::Fine {
                region.state = Tracking::None;
            }
            donated.append(&mut region.donated);
        }
        for region in &mut self.protection {
            region.state = Protection::Missing;
            donated.append(&mut region.donated);
        }
        donated
    }

    /// The memory that the RMM was given for regions.
    pub(crate) fn donated(&self) -> impl Iterator<Item = Pa> {
        let protection = self.protection.iter().flat_map(|region| &region.donated);
        self.donated_for_tracking().chain(protection.copied())
    }

    /// The memory that the RMM was given to track regions.
    pub(crate) fn donated_for_tracking(&self) -> impl Iterator<Item = Pa> {
        self.tracking.values().flat_map(|region| &region.donated).copied()
    }
}
