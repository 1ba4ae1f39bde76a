//! Populating a new Realm, in canonical order.

use rmi_abi::flags::DataFlags;
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Ipa, IpaRange};
use rmi_host::{Delegated, Error, Failed, Platform, QuarantineReason, Undelegated};
use sro::Pool;

use crate::error::{BuildError, RegionProblem};
use crate::hold::Held;
use crate::map::{Mapping, Supply};
use crate::plan::{self, Exists, Run};
use crate::realm::{New, Realm};
use crate::shadow::tag;

/// What a region holds when the Realm starts.
#[derive(Clone, Copy, Debug)]
pub enum Content<'c> {
    /// These bytes, measured. The last granule is filled up with zeros.
    Measured(&'c [u8]),
    /// These bytes, of which only their place is measured. The last granule is filled up with zeros.
    Unmeasured(&'c [u8]),
    /// Nothing that the Realm may rely on; not measured at all.
    Unspecified,
}

/// Memory for a Realm: where, which, and with what content.
///
/// A region is a cursor. As the Realm takes memory in, the region shrinks from the front; when populating stops early, what is left in it has not been touched
/// and belongs to the host, and populating can go on with the same regions. Only when memory in the middle was lost to quarantine it cannot, and says so.
#[derive(Debug)]
pub struct Region<'c> {
    pub(crate) ipa: Ipa,
    pub(crate) memory: Undelegated,
    pub(crate) content: Content<'c>,
    /// Bytes taken in.
    taken: u64,
    /// Whether its memory became part of the region before it.
    merged: bool,
    /// Bytes that were to be taken in next and are in quarantine, or elsewhere, instead.
    lost: u64,
}

impl<'c> Region<'c> {
    /// Memory at `ipa` with this content.
    #[must_use]
    pub const fn new(ipa: Ipa, memory: Undelegated, content: Content<'c>) -> Self {
        Self { ipa, memory, content, taken: 0, merged: false, lost: 0 }
    }

    /// Where the part lies that has not been taken in.
    #[must_use]
    pub fn range(&self) -> IpaRange {
        IpaRange::with_size(self.ipa, self.memory.bytes()).unwrap_or(IpaRange::empty(self.ipa))
    }

    /// The host memory that has not been taken in.
    pub fn into_memory(self) -> Undelegated {
        self.memory
    }

    fn problem(&self, granule: u64) -> Option<RegionProblem> {
        let bytes = self.memory.bytes();
        if self.lost > 0 {
            return Some(RegionProblem::Lost { bytes: self.lost });
        }
        if bytes == 0 {
            return (self.taken == 0 && !self.merged).then_some(RegionProblem::Empty);
        }
        if !self.range().is_aligned(granule) || !self.memory.range().is_aligned(granule) {
            return Some(RegionProblem::Unaligned);
        }
        if IpaRange::with_size(self.ipa, bytes).is_err() {
            return Some(RegionProblem::NotProtected);
        }
        match self.content {
            Content::Measured(content) | Content::Unmeasured(content) => {
                let len = content.len() as u64;
                (len.checked_next_multiple_of(granule) != Some(bytes))
                    .then_some(RegionProblem::Content { bytes: len })
            }
            Content::Unspecified => None,
        }
    }

    /// Takes the memory of the region that follows in, if the two are one: without content, and neighbours in both address spaces.
    fn absorb(&mut self, next: &mut Region<'_>) -> bool {
        let vacant =
            matches!((self.content, next.content), (Content::Unspecified, Content::Unspecified));
        if !vacant || self.memory.is_empty() || next.memory.is_empty() {
            return false;
        }
        if self.range().top() != next.ipa {
            return false;
        }
        match self.memory.append(next.memory.take()) {
            Ok(()) => next.merged = true,
            Err(apart) => next.memory = apart,
        }
        next.merged
    }

    /// `bytes` of the region are the Realm's now.
    fn advance(&mut self, bytes: u64) {
        self.ipa = self.ipa.checked_add(bytes).unwrap_or(self.ipa);
        self.taken = self.taken.saturating_add(bytes);
        let done = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.content = match self.content {
            Content::Measured(content) => {
                Content::Measured(content.get(done..).unwrap_or_default())
            }
            Content::Unmeasured(content) => {
                Content::Unmeasured(content.get(done..).unwrap_or_default())
            }
            Content::Unspecified => Content::Unspecified,
        };
    }
}

/// How far populating has come, for a progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PopulateProgress {
    /// Bytes taken in so far, over all regions.
    pub bytes: u64,
    /// Bytes to take in.
    pub total: u64,
}

impl<P: Platform> Realm<'_, '_, P, New> {
    /// Populates the Realm.
    ///
    /// The regions are sorted by IPA and checked before the first call: alignment, place, overlap, content. They are then taken in in that order, so the same regions give
    /// the same measurement however they were listed. Content is copied page by page through the pool's parameter page; unspecified memory is mapped with the
    /// largest blocks that alignment allows, and its RIPAS becomes RAM; neighbours in both address spaces are merged for that, and what is left of them after an error is in the first. Tables come from
    /// the pool and are made before they are needed.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP_INIT, RMI_RTT_INIT_RIPAS, RMI_RTT_DATA_MAP.
    ///
    /// # Errors
    ///
    /// [`BuildError::Region`] and [`BuildError::Storage`] before any call. Any other error stops at the page concerned: what was taken in stays the Realm's, what was not is
    /// back in its region, or in quarantine if the RMM does not return it.
    pub fn populate(
        &mut self,
        pool: &mut Pool<'_>,
        regions: &mut [Region<'_>],
        progress: &mut dyn FnMut(PopulateProgress),
    ) -> Result<(), BuildError> {
        regions.sort_unstable_by_key(|region| region.ipa);
        self.check(regions)?;
        merge(regions);
        let missing = self.missing_for(regions);
        self.check_rooms(missing)?;
        let granule = self.rmm.granule_size().bytes();
        pool.stock(self.rmm, Command::RttCreate, missing as u64 * granule)?;
        let mut so_far = PopulateProgress {
            bytes: 0,
            total: regions.iter().map(|region| region.memory.bytes()).sum(),
        };
        for region in regions.iter_mut().filter(|region| !region.memory.is_empty()) {
            let before = so_far.bytes;
            let whole = region.memory.bytes();
            let mut done = |taken: u64| {
                so_far.bytes = before + taken;
                progress(so_far);
            };
            match region.content {
                Content::Measured(_) => self.copy_in(pool, region, DataFlags::MEASURE, &mut done),
                Content::Unmeasured(_) => self.copy_in(pool, region, DataFlags::empty(), &mut done),
                Content::Unspecified => self.map_ram(pool, region, &mut done),
            }?;
            so_far.bytes = before + whole;
        }
        Ok(())
    }

    /// Checks sorted regions; those that are taken in already are empty and pass.
    fn check(&self, regions: &[Region<'_>]) -> Result<(), BuildError> {
        let granule = self.rmm.granule_size().bytes();
        let mut last: Option<IpaRange> = None;
        for region in regions {
            let range = region.range();
            let refuse = |problem| Err(BuildError::Region { range, problem });
            if let Some(problem) = region.problem(granule) {
                return refuse(problem);
            }
            if !self.geometry.range_is_protected(&range) {
                return refuse(RegionProblem::NotProtected);
            }
            if let Some(other) = last.filter(|last| last.overlaps(&range)).or(self.overlap(&range))
            {
                return refuse(RegionProblem::Overlap { at: other.base() });
            }
            if !range.is_empty() {
                last = Some(range);
            }
        }
        Ok(())
    }

    /// Checks that there is room for the records of some tables.
    fn check_rooms(&self, tables: usize) -> Result<(), BuildError> {
        let mut shadow = self.shadow.lock();
        shadow
            .reserve(tables)
            .map(|()| shadow.unreserve(tables))
            .map_err(|missing| BuildError::Storage { records: "translation tables", missing })
    }

    /// How many tables are missing for sorted regions.
    pub(crate) fn missing_for(&self, regions: &[Region<'_>]) -> usize {
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        let runs = regions.iter().flat_map(|region| self.runs_for(region, &exists));
        plan::tables_of_runs(self.geometry, runs)
            .filter(|(level, ipa)| !exists(*level, *ipa))
            .count()
    }

    /// The runs that a region is mapped by: content goes in by pages, in the order of its addresses.
    pub(crate) fn runs_for<'e>(
        &self,
        region: &Region<'_>,
        exists: Exists<'e>,
    ) -> impl Iterator<Item = Run> + Clone + use<'e, P> {
        let paged = !matches!(region.content, Content::Unspecified);
        let largest = if paged { Level::L3 } else { self.top_block_level() };
        plan::runs_of(region.ipa, Some(region.memory.range()).into_iter(), largest, exists)
    }

    /// Maps memory without content and makes it RAM.
    fn map_ram(
        &self,
        pool: &mut Pool<'_>,
        region: &mut Region<'_>,
        done: &mut dyn FnMut(u64),
    ) -> Result<(), BuildError> {
        let range = region.range();
        let mut held = self.hold(range, |_| Ok(()))?;
        let expected = region.memory.bytes();
        let mut whole = Some(region.memory.take());
        let mut back = Undelegated::empty();
        let mut supply = Supply {
            next: &mut |_| whole.take(),
            back: &mut |pool, host| {
                if let Err(host) = back.append(host) {
                    pool.restore(self.rmm, core::mem::replace(&mut back, host));
                }
            },
            progress: done,
            init_ripas: true,
        };
        let Mapping { taken, result } = self.map_supply(&mut held, pool, range, &mut supply);
        region.advance(taken);
        region.memory = back;
        region.lost += expected - taken - region.memory.bytes();
        result
    }

    /// Copies content in, page by page.
    fn copy_in(
        &self,
        pool: &mut Pool<'_>,
        region: &mut Region<'_>,
        flags: DataFlags,
        done: &mut dyn FnMut(u64),
    ) -> Result<(), BuildError> {
        let range = region.range();
        let mut held = self.hold(range, |_| Ok(()))?;
        self.make(&mut held, pool, plan::tables(self.geometry, range, Level::L3))?;
        let mut memory = match self.rmm.delegate(region.memory.take()) {
            Ok(memory) => memory,
            Err(failed) => {
                // Only the part that is the RMM's has to come back; it lies in front of the rest.
                let doubt = failed.doubt();
                region.memory = failed.host;
                self.return_to(pool, region, failed.delegated, doubt);
                return Err(failed.error.into());
            }
        };
        let result = self.copy_pages(&held, pool, region, &mut memory, (flags, done));
        self.return_to(pool, region, memory, None);
        result
    }

    fn copy_pages(
        &self,
        _held: &Held<'_, '_>,
        pool: &mut Pool<'_>,
        region: &mut Region<'_>,
        memory: &mut Delegated,
        (flags, done): (DataFlags, &mut dyn FnMut(u64)),
    ) -> Result<(), BuildError> {
        let granule = self.rmm.granule_size().bytes();
        let whole = memory.bytes();
        // A page that is not taken in goes back in front of the rest, which it touches.
        while let Some(page) = memory.take_front(granule) {
            let content = match region.content {
                Content::Measured(content) | Content::Unmeasured(content) => content,
                Content::Unspecified => &[],
            };
            let source = pool.pages().page;
            if let Err(fault) = self.fill(source, content, granule) {
                let _ = memory.merge(page);
                return Err(fault.into());
            }
            let (page, tag, result) =
                match self.rmm.rtt_data_map_init(&self.rd, page, region.ipa, source, 0, flags) {
                    Ok(page) => (page, tag::SURE, Ok(())),
                    Err(Failed { error, kept }) if error.is_clean() => {
                        let _ = memory.merge(kept);
                        return Err(error.into());
                    }
                    Err(Failed { error, kept }) => (kept.into_use(), tag::UNSURE, Err(error)),
                };
            // The entry is void, and the table is there.
            let homeless = self.shadow.lock().put(region.ipa, page, tag);
            drop(homeless);
            region.advance(granule);
            result?;
            done(whole - memory.bytes());
        }
        Ok(())
    }

    /// Gives memory that was delegated for a region back to it. `memory` ends where the region's own begins. Where a gap (something in quarantine) separates a part from that, the part goes to the pool, and the
    /// region remembers that it cannot go on.
    /// `doubt` is why the memory may be the host's already.
    fn return_to(
        &self,
        pool: &mut Pool<'_>,
        region: &mut Region<'_>,
        memory: Delegated,
        doubt: Option<QuarantineReason>,
    ) {
        let expected = memory.bytes() + region.memory.bytes();
        let mut back = Undelegated::empty();
        let home = &mut |host| {
            if let Err(host) = back.append(host) {
                pool.restore(self.rmm, core::mem::replace(&mut back, host));
            }
        };
        self.take_back(memory, doubt, home);
        if let Err(rest) = back.append(region.memory.take()) {
            pool.restore(self.rmm, core::mem::replace(&mut back, rest));
        }
        region.memory = back;
        region.lost += expected - region.memory.bytes();
    }

    /// Puts the next granule of some content, filled up with zeros, into a page.
    fn fill(&self, page: &mut Undelegated, content: &[u8], granule: u64) -> Result<(), Error> {
        const ZEROS: [u8; 256] = [0; 256];
        let whole = usize::try_from(granule).unwrap_or(usize::MAX);
        let content = content.get(..whole).unwrap_or(content);
        self.rmm.write_host(page, 0, content)?;
        let mut at = content.len();
        while at < whole {
            let zeros = ZEROS.get(..whole - at).unwrap_or(&ZEROS);
            self.rmm.write_host(page, at as u64, zeros)?;
            at += zeros.len();
        }
        Ok(())
    }
}

/// Merges sorted regions that are one.
pub(crate) fn merge(regions: &mut [Region<'_>]) {
    let mut regions = regions.iter_mut();
    let Some(mut last) = regions.next() else { return };
    for region in regions {
        // What was merged or taken in before is empty, and does not stand between two others.
        if !region.memory.is_empty() && !last.absorb(region) {
            last = region;
        }
    }
}
