//! Tracking regions, and the parts of memory whose granule protection table is missing.

use alloc::vec::Vec;

use rmi_abi::{Pa, PaRange};

use crate::options::{GIB, Options};

/// How the RMM tracks a tracking region.
///
/// Source: DEN0137 2.0-bet3, `RmiTrackingRegionState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracking {
    /// Not at all.
    None = 1,
    /// By granule.
    Fine = 2,
    /// As one unit.
    Coarse = 3,
    /// It is being changed.
    Intermediate = 4,
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
/// platform.
#[derive(Debug)]
pub(crate) struct Regions {
    dram: PaRange,
    tracking: Vec<Region<Tracking>>,
    protection: Vec<Region<Protection>>,
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
        Self { dram: options.dram, tracking, protection }
    }

    /// How the region that holds `pa` is tracked.
    pub(crate) fn tracking(&self, pa: Pa) -> Tracking {
        match self.tracking.iter().find(|region| region.range.contains(pa)) {
            Some(region) => region.state,
            None if self.dram.contains(pa) => Tracking::Fine,
            None => Tracking::None,
        }
    }

    /// The end of the longest stretch from `pa` on that is tracked in one way; at most `top`.
    pub(crate) fn tracked_alike(&self, pa: Pa, top: Pa) -> Pa {
        let state = self.tracking(pa);
        let mut edges: Vec<Pa> = self
            .tracking
            .iter()
            .map(|region| &region.range)
            .chain([&self.dram])
            .flat_map(|range| [range.base(), range.top()])
            .filter(|edge| (pa..top).contains(edge) && *edge > pa)
            .collect();
        edges.sort_unstable();
        edges.into_iter().find(|edge| self.tracking(*edge) != state).unwrap_or(top)
    }

    /// The region of the options that starts at `pa`.
    pub(crate) fn tracking_region(&mut self, pa: Pa) -> Option<&mut Region<Tracking>> {
        self.tracking.iter_mut().find(|region| region.range.base() == pa)
    }

    /// The COARSE region that holds `pa`.
    pub(crate) fn coarse(&self, pa: Pa) -> Option<PaRange> {
        self.tracking
            .iter()
            .find(|region| region.range.contains(pa) && region.state == Tracking::Coarse)
            .map(|region| region.range)
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
        let is_fine = |region: &Region<Tracking>| region.state == Tracking::Fine;
        let is_there = |region: &Region<Protection>| region.state == Protection::Created;
        self.tracking.iter().all(|region| is_fine(region) || !region.range.overlaps(range))
            && self
                .protection
                .iter()
                .all(|region| is_there(region) || !region.range.overlaps(range))
    }

    /// Takes all memory that the RMM was given for regions; they are in their first state again,
    /// and what was FINE is untracked.
    pub(crate) fn forget(&mut self) -> Vec<Pa> {
        let mut donated = Vec::new();
        for region in &mut self.tracking {
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
        let tracking = self.tracking.iter().flat_map(|region| &region.donated);
        let protection = self.protection.iter().flat_map(|region| &region.donated);
        tracking.chain(protection).copied()
    }
}
