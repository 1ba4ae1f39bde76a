//! Populating a new Realm, in canonical order.

use realm_measurement::region::{self, LayoutCheck};
use rmi_abi::flags::DataFlags;
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Command, Ipa, IpaRange, Pa, PaRange};
use rmi_host::{Delegated, Error, Failed, Platform, QuarantineReason, Subject, Undelegated};
use sro::{HostMemory, Pool, free_or_quarantine};

use crate::error::{BuildError, RegionProblem};
use crate::lifecycle::realm::{New, Realm};
use crate::lifecycle::region::{Content, Region, merge};
use crate::memory::map::{Mapping, Supply};
use crate::memory::range_lock::RangeLock;
use crate::memory::realm_core::RealmCore;
use crate::plan::{self, Exists, Limits, Run, ripas_calls};
use crate::shadow::tag;

/// How much may be populated in one part, spent region by region in their order.
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: u64,
    granule: u64,
    /// The largest block that fits into the whole of it.
    block: u64,
}

impl Budget {
    fn new(bytes: u64, geometry: Geometry) -> Self {
        let granule = geometry.granule().bytes();
        let bytes = bytes.max(granule);
        let blocks = [Level::L1, Level::L2].map(|level| geometry.entry_bytes(level));
        let block = blocks.into_iter().find(|block| *block <= bytes).unwrap_or(granule);
        Self { left: bytes, granule, block }
    }

    /// How much of a region is populated. After a region of which a rest is left, no further one
    /// is, so that the order is kept.
    fn spend(&mut self, region: &Region<'_>) -> u64 {
        let whole = region.bytes();
        if whole <= self.left {
            self.left -= whole;
            return whole;
        }
        let align = match region.content {
            // An address where a block could end; if none ends here, the next part begins with one.
            Content::Unspecified if region.unbacked == 0 => self.block,
            _ => self.granule,
        };
        let end = region.ipa.checked_add(core::mem::take(&mut self.left)).unwrap_or(region.ipa);
        end.align_down(align).checked_offset_from(region.ipa).unwrap_or(0)
    }
}

/// # Content
impl<P: Platform> Realm<'_, P, New> {
    /// Populates the Realm.
    ///
    /// The regions are sorted by IPA and checked before the first call: alignment, place, overlap,
    /// content. They are then populated in that order, so the same regions give the same
    /// measurement in whatever order they were listed. Content is copied page by page through the
    /// pool's parameter page; the RIPAS of regions without content becomes RAM, and their memory
    /// is mapped with the largest blocks that alignment and the dialect allow. The RIPAS of such
    /// regions that are neighbours in the IPA space changes before any of their memory is mapped,
    /// by the largest possible entries, so that it depends on no physical address where the
    /// dialect measures it (1.0). Regions of unspecified memory that are neighbours in both address
    /// spaces are merged for mapping, and what is left of them after an error is in the first.
    /// Tables come from the pool and are made before they are needed.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP_INIT, RMI_RTT_INIT_RIPAS, RMI_RTT_DATA_MAP.
    ///
    /// # Errors
    ///
    /// [`BuildError::Region`] and [`BuildError::Storage`] before any call. Any other error stops at
    /// the page concerned: what was populated stays the Realm's, what was not is back in its
    /// region, or in quarantine if the RMM does not return it.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn populate(
        &mut self,
        memory: &mut dyn HostMemory,
        regions: &mut [Region<'_>],
    ) -> Result<(), BuildError> {
        self.core.populate(memory, regions)
    }

    /// Populates a part of the Realm, as [`Realm::populate`], from where it stopped: at most
    /// `bytes`, or a granule. Returns how many bytes are left; none at the end. For hosts with
    /// limited time in one call, as in a preemptible hypercall, that may be told to stop, or that
    /// show progress.
    ///
    /// The RIPAS of regions without content changes in one go, before the first of their memory is
    /// mapped: that is one call for each table concerned, of which there are few.
    ///
    /// The measurement is the same. So are the mappings, if `bytes` is no less than the largest
    /// possible block: a part of memory without content ends where a block of that size does, which
    /// makes the part smaller. Parts cost more calls than [`Realm::populate_cost`] says, because
    /// each delegates its own memory.
    ///
    /// Source: as for [`Realm::populate`].
    ///
    /// # Errors
    ///
    /// As [`Realm::populate`]; the storage for tables is checked before the part that needs them.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn populate_some(
        &mut self,
        memory: &mut dyn HostMemory,
        regions: &mut [Region<'_>],
        bytes: u64,
    ) -> Result<u64, BuildError> {
        self.core.populate_some(memory, regions, bytes)
    }
}

/// What is to become RAM from a region on, without a gap: of regions without content, what is not
/// RAM yet. Empty if the region has content or is RAM.
fn ram_from(region: &Region<'_>, following: &[Region<'_>]) -> IpaRange {
    let mut ram = region.not_ram();
    for next in following.iter().filter(|next| next.bytes() > 0) {
        let more = next.not_ram();
        if ram.is_empty() || more.is_empty() || more.base() != ram.top() {
            break;
        }
        ram = IpaRange::new_or_empty(ram.base(), more.top());
    }
    ram
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::populate`](crate::Realm::populate).
    pub(crate) fn populate(
        &mut self,
        memory: &mut dyn HostMemory,
        regions: &mut [Region<'_>],
    ) -> Result<(), BuildError> {
        self.populate_some(memory, regions, u64::MAX).map(|_| ())
    }

    /// See [`Realm::populate_some`](crate::Realm::populate_some).
    pub(crate) fn populate_some(
        &mut self,
        memory: &mut dyn HostMemory,
        regions: &mut [Region<'_>],
        bytes: u64,
    ) -> Result<u64, BuildError> {
        region::sort(regions);
        self.check(regions)?;
        merge(regions);
        let granule = self.granule_bytes();
        let mut budget = Budget::new(bytes, self.geometry());
        let missing = self.missing_for(regions, bytes);
        self.check_shadow_tables(missing)?;
        memory.pool().stock(self.rmm, Command::RttCreate, missing as u64 * granule)?;
        let mut rest = &mut *regions;
        while let Some((region, following)) = rest.split_first_mut() {
            let part = budget.spend(region);
            if part == 0 {
                rest = following;
                continue;
            }
            self.make_ram(memory.pool(), region, following)?;
            rest = following;
            let mut front = region.split_front(part);
            // If code of the embedder panics meanwhile, the rest does not take its place.
            region.lost += part;
            let result = match front.content {
                Content::Measured(_) => self.copy_in(memory, &mut front, DataFlags::MEASURE),
                Content::Unmeasured(_) => self.copy_in(memory, &mut front, DataFlags::empty()),
                Content::Unspecified if front.unbacked > 0 => {
                    front.advance_unbacked(part);
                    Ok(())
                }
                Content::Unspecified => self.map_ram(memory, &mut front),
            };
            region.lost -= part;
            if let Some(apart) = region.rejoin(front) {
                free_or_quarantine(self.rmm, memory, apart);
            }
            result?;
        }
        Ok(regions.iter().fold(0, |sum, region| sum.saturating_add(region.bytes())))
    }

    /// Checks sorted regions; those that are populated already are empty and pass.
    fn check(&self, regions: &[Region<'_>]) -> Result<(), BuildError> {
        let mut check = LayoutCheck::new(self.geometry(), self.geometry().granule());
        for region in regions {
            let range = region.range();
            let taken = |other: IpaRange| RegionProblem::Overlap { at: other.base() };
            let problem = region.problem(&mut check);
            if let Some(problem) = problem.or_else(|| self.overlap(&range).map(taken)) {
                return Err(BuildError::Region { range, problem });
            }
            let memory = &region.memory;
            if !memory.is_empty() && memory.machine() != self.rmm.machine() {
                let subject = Subject::Pa(memory.base());
                return Err(Error::other_machine(Command::GranuleRangeDelegate, subject).into());
            }
        }
        Ok(())
    }

    /// Checks that there is storage for the records of some tables.
    fn check_shadow_tables(&self, tables: usize) -> Result<(), BuildError> {
        self.shadow.reserve(tables)?;
        self.shadow.lock().unreserve(tables);
        Ok(())
    }

    /// How many tables are missing for the first `bytes` of sorted regions.
    pub(crate) fn missing_for(&self, regions: &[Region<'_>], bytes: u64) -> usize {
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        let mut budget = Budget::new(bytes, self.geometry());
        let mut ram = IpaRange::empty(Ipa::new(0));
        let (mut rest, mut missing) = (regions, 0);
        let mut tables = plan::Tables::new(self.geometry());
        let mut count = |level, ipa| {
            missing += usize::from(!exists(level, ipa));
            Ok(())
        };
        while let Some((region, following)) = rest.split_first() {
            rest = following;
            let part = budget.spend(region);
            if part > 0 && !ram.contains_range(&region.range()) {
                ram = ram_from(region, following);
            }
            // Where memory is mapped, the tables of its blocks are also those of the RIPAS.
            let mapped = if region.unbacked > 0 { 0 } else { part };
            let base = region.ipa.checked_add(mapped).unwrap_or(region.ipa);
            let unmapped = IpaRange::new_or_empty(base, region.range().top());
            let _ = tables.each(&mut self.runs_for(region, mapped, &exists), &mut count);
            let mut changes = self.ram_entries(ram, ram.intersection(&unmapped), &exists);
            let _ = tables.each(&mut changes, &mut count);
        }
        missing
    }

    /// The runs that the first `bytes` of a region are mapped by: content is mapped by pages, in
    /// the order of its addresses.
    pub(crate) fn runs_for<'e>(
        &self,
        region: &Region<'_>,
        bytes: u64,
        exists: Exists<'e>,
    ) -> impl Iterator<Item = Run> + Clone + use<'e, P> {
        let paged = !matches!(region.content, Content::Unspecified);
        let largest = if paged { Level::L3 } else { self.private_block_level() };
        let whole = region.planned();
        let front = whole.split_at(bytes).map_or(whole, |(front, _)| front);
        plan::runs_of(self.geometry(), region.ipa, Some(front).into_iter(), largest, exists)
    }

    /// The runs of entries by which `ram` becomes RAM, from an address in it on: the largest
    /// possible.
    fn ram_runs<'e>(
        &self,
        ram: IpaRange,
        from: Ipa,
        exists: Exists<'e>,
    ) -> impl Iterator<Item = Run> + Clone + use<'e, P> {
        // Planned as if there were memory that is aligned as the addresses are.
        let memory = PaRange::with_size_or_empty(Pa::new(from.raw()), ram.after(from).bytes());
        let top_level = self.top_block_level();
        plan::runs_of(self.geometry(), from, Some(memory).into_iter(), top_level, exists)
    }

    /// The entries in a part of `ram`, all of which becomes RAM by the largest possible entries.
    fn ram_entries<'e>(
        &self,
        ram: IpaRange,
        part: Option<IpaRange>,
        exists: Exists<'e>,
    ) -> impl Iterator<Item = Run> + use<'e, P> {
        let (geometry, top_level) = (self.geometry(), self.top_block_level());
        let part = part.filter(|part| !part.is_empty()).unwrap_or(IpaRange::empty(ram.base()));
        // The largest entry around the base of the part that lies in the whole.
        let first = [Level::L1, Level::L2]
            .into_iter()
            .filter(|level| *level >= top_level)
            .map(|level| {
                let bytes = geometry.entry_bytes(level);
                IpaRange::with_size_or_empty(part.base().align_down(bytes), bytes)
            })
            .find(|entry| !entry.is_empty() && ram.contains_range(entry));
        let base = first.map_or(part.base(), |entry| entry.base());
        let ram = if part.is_empty() { IpaRange::empty(base) } else { ram };
        self.ram_runs(ram, base, exists).take_while(move |run| run.ipa < part.top()).map(
            move |run| {
                let end = part.top().align_up(geometry.entry_bytes(run.level));
                let within = run.range().before(end.unwrap_or(run.range().top()));
                Run { bytes: within.bytes(), ..run }
            },
        )
    }

    /// Calls that change the RIPAS for sorted regions.
    pub(crate) fn ram_calls(&self, regions: &[Region<'_>], limits: Limits) -> u64 {
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        let mut ram = IpaRange::empty(Ipa::new(0));
        let (mut rest, mut calls) = (regions, 0);
        while let Some((region, following)) = rest.split_first() {
            rest = following;
            if !ram.contains_range(&region.range()) {
                ram = ram_from(region, following);
                let runs = self.ram_runs(ram, ram.base(), &exists);
                calls += ripas_calls(self.geometry(), runs, limits);
            }
        }
        calls
    }

    /// Changes the RIPAS of a region without content, and of those that follow it without a gap,
    /// to RAM, as far as that was not done before.
    fn make_ram<'c>(
        &self,
        pool: &mut Pool,
        region: &mut Region<'c>,
        following: &mut [Region<'c>],
    ) -> Result<(), BuildError> {
        let ram = ram_from(region, following);
        if ram.is_empty() {
            return Ok(());
        }
        let mut held = self.lock_range(ram)?;
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        self.make(&mut held, pool, self.ram_runs(ram, ram.base(), &exists))?;
        let mut left = ram;
        while !left.is_empty() {
            let top = self.rmm.commands().rtt_init_ripas(&self.rd, left)?;
            let mut bytes = top.checked_offset_from(left.base()).unwrap_or(0);
            for region in core::iter::once(&mut *region).chain(following.iter_mut()) {
                bytes -= region.note_ram(bytes);
            }
            left = left.after(top);
        }
        Ok(())
    }

    /// Maps memory without content.
    fn map_ram(
        &self,
        memory: &mut dyn HostMemory,
        region: &mut Region<'_>,
    ) -> Result<(), BuildError> {
        let range = region.range();
        let mut held = self.lock_range(range)?;
        let expected = region.memory.bytes();
        let mut whole = Some(region.memory.take());
        let mut back = Undelegated::empty();
        let mut supply = Supply {
            next: &mut |_, _| whole.take(),
            back: &mut |memory, host| self.gather(memory, &mut back, host),
        };
        let Mapping { taken, result } = self.map_supply(&mut held, memory, range, &mut supply);
        region.advance(taken);
        region.memory = back;
        region.lost += expected - taken - region.memory.bytes();
        result
    }

    /// Copies content into the Realm, page by page.
    fn copy_in(
        &self,
        memory: &mut dyn HostMemory,
        region: &mut Region<'_>,
        flags: DataFlags,
    ) -> Result<(), BuildError> {
        let range = region.range();
        let mut held = self.lock_range(range)?;
        let run = plan::run(range, Level::L3);
        self.make(&mut held, memory.pool(), [run, None].into_iter().flatten())?;
        let mut delegated = match self.rmm.delegate(region.memory.take()) {
            Ok(delegated) => delegated,
            Err(failed) => {
                // Only the part that the RMM owns has to be taken back; it lies in front of the
                // rest.
                let doubt = failed.doubt();
                region.memory = failed.host;
                self.return_to(memory, region, failed.delegated, doubt);
                return Err(failed.error.into());
            }
        };
        let result = self.copy_pages(&held, memory.pool(), region, &mut delegated, flags);
        self.return_to(memory, region, delegated, None);
        result
    }

    fn copy_pages(
        &self,
        _held: &RangeLock<'_, P>,
        pool: &mut Pool,
        region: &mut Region<'_>,
        memory: &mut Delegated,
        flags: DataFlags,
    ) -> Result<(), BuildError> {
        let granule = self.granule_bytes();
        pool.set_granule_size(self.rmm.granule_size());
        pool.check_pages(Command::RttDataMapInit)?;
        // A page that is not populated is put back in front of the rest, with which it is
        // contiguous.
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
            let (page, tag, result) = match self
                .rmm
                .commands()
                .rtt_data_map_init(&self.rd, page, region.ipa, source, 0, flags)
            {
                Ok(page) => (page, tag::SURE, Ok(())),
                Err(Failed { error, kept }) if error.is_clean() => {
                    let _ = memory.merge(kept);
                    return Err(error.into());
                }
                Err(Failed { error, kept }) => (kept.into_use(), tag::UNSURE, Err(error)),
            };
            // The entry is void, and the table exists.
            let refused = self.shadow.lock().put(region.ipa, page, tag);
            drop(refused);
            region.advance(granule);
            result?;
        }
        Ok(())
    }

    /// Returns memory that was delegated for a region to that region. `delegated` ends where the
    /// memory of the region begins. Where a gap (something in quarantine) separates a part from
    /// that, the part is freed, and the region records that it cannot continue. `doubt` is
    /// the reason why the memory may be the host's already.
    fn return_to(
        &self,
        memory: &mut dyn HostMemory,
        region: &mut Region<'_>,
        delegated: Delegated,
        doubt: Option<QuarantineReason>,
    ) {
        let expected = delegated.bytes() + region.memory.bytes();
        let mut back = Undelegated::empty();
        let free = &mut |host| self.gather(memory, &mut back, host);
        self.take_back(delegated, doubt, free);
        self.gather(memory, &mut back, region.memory.take());
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
