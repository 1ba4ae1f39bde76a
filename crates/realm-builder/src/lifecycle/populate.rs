//! Populating a new Realm, in canonical order.

use core::convert::Infallible;

use realm_measurement::region::{self, LayoutCheck};
use rmi_abi::flags::DataFlags;
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Command, IpaRange};
use rmi_host::{Delegated, Error, Failed, Platform, QuarantineReason, Subject, Undelegated};
use sro::{HostMemory, Pool, free_or_quarantine};

use crate::error::{BuildError, RegionProblem};
use crate::lifecycle::realm::{New, Realm};
use crate::lifecycle::region::{Content, Region, merge};
use crate::memory::map::{Mapping, Supply};
use crate::memory::range_lock::RangeLock;
use crate::memory::realm_core::RealmCore;
use crate::plan::{self, Exists, Run};
use crate::shadow::tag;

/// How much may be populated in one part, spent region by region in their order.
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: u64,
    granule: u64,
    /// The largest block that fits into the whole of it.
    block: u64,
    /// Whether nothing is spent.
    is_whole: bool,
    geometry: Geometry,
    /// Level of the largest entries.
    top_level: Level,
}

impl Budget {
    fn new(bytes: u64, geometry: Geometry, top_level: Level) -> Self {
        let granule = geometry.granule().bytes();
        let bytes = bytes.max(granule);
        let blocks = [Level::L1, Level::L2].map(|level| geometry.entry_bytes(level));
        let block = blocks.into_iter().find(|block| *block <= bytes).unwrap_or(granule);
        Self { left: bytes, granule, block, is_whole: true, geometry, top_level }
    }

    /// How much of a region is populated. After a region of which a rest is left, no further one
    /// is, so that the order is kept.
    fn spend(&mut self, region: &Region<'_>) -> u64 {
        let spent = self.spend_some(region);
        self.is_whole &= spent == 0;
        spent
    }

    fn spend_some(&mut self, region: &Region<'_>) -> u64 {
        let whole = region.bytes();
        if whole <= self.left {
            self.left -= whole;
            return whole;
        }
        if region.unbacked > 0 {
            return self.spend_unbacked(region);
        }
        let align = match region.content {
            // An address where a block could end; if none ends here, the next part begins with one.
            Content::Unspecified => self.block,
            Content::Measured(_) | Content::Unmeasured(_) => self.granule,
        };
        let end = region.ipa.checked_add(core::mem::take(&mut self.left)).unwrap_or(region.ipa);
        end.align_down(align).checked_offset_from(region.ipa).unwrap_or(0)
    }

    /// The same for RAM without memory: as many entries as fit, or one if nothing is populated
    /// otherwise. Smaller entries would need tables that the whole does not.
    fn spend_unbacked(&mut self, region: &Region<'_>) -> u64 {
        let (mut bytes, is_first) = (0, self.is_whole);
        let mut left = core::mem::take(&mut self.left);
        for run in plan::runs(self.geometry, region.ipa, region.planned(), self.top_level) {
            let entry = self.geometry.entry_bytes(run.level);
            let part = run.bytes.min(left - left % entry);
            bytes += part;
            left -= part;
            if part < run.bytes {
                if bytes == 0 && is_first {
                    bytes = entry;
                }
                break;
            }
        }
        bytes
    }
}

/// # Content
impl<P: Platform> Realm<'_, P, New> {
    /// Populates the Realm.
    ///
    /// The regions are sorted by IPA and checked before the first call: alignment, place, overlap,
    /// content. They are then populated in that order, so the same regions give the same
    /// measurement in whatever order they were listed. Content is copied page by page through the
    /// pool's parameter page; unspecified memory is mapped with the largest blocks that alignment
    /// allows, and its RIPAS becomes RAM; where a region has no memory, only its RIPAS changes.
    /// Regions of unspecified memory that are neighbours in both address spaces are merged for
    /// that, and what is left of them after an error is in the first. Tables come from the pool and
    /// are made before they are needed.
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
    /// Of a region without memory at least one entry is populated, which may be more than `bytes`:
    /// smaller entries would need tables that the whole does not.
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
        let mut budget = Budget::new(bytes, self.geometry, self.top_block_level());
        let missing = self.missing_for(regions, bytes);
        self.check_shadow_tables(missing)?;
        memory.pool().stock(self.rmm, Command::RttCreate, missing as u64 * granule)?;
        for region in regions.iter_mut() {
            let part = budget.spend(region);
            if part == 0 {
                continue;
            }
            let mut front = region.split_front(part);
            // If code of the embedder panics meanwhile, the rest does not take its place.
            region.lost += part;
            let result = match front.content {
                Content::Measured(_) => self.copy_in(memory, &mut front, DataFlags::MEASURE),
                Content::Unmeasured(_) => self.copy_in(memory, &mut front, DataFlags::empty()),
                Content::Unspecified if front.unbacked > 0 => {
                    self.make_ram(memory.pool(), &mut front)
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
        let mut check = LayoutCheck::new(self.geometry, self.geometry.granule());
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
        let budget = Budget::new(bytes, self.geometry, self.top_block_level());
        let parts =
            regions.iter().scan(budget, |budget, region| Some((region, budget.spend(region))));
        let mut runs = parts.flat_map(|(region, part)| self.runs_for(region, part, &exists));
        let mut missing = 0;
        let counted = plan::each_table(self.geometry, &mut runs, &mut |level, ipa| {
            missing += usize::from(!exists(level, ipa));
            Ok::<(), Infallible>(())
        });
        let Ok(()) = counted;
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
        let largest = if paged { Level::L3 } else { self.top_block_level() };
        let whole = region.planned();
        let front = whole.split_at(bytes).map_or(whole, |(front, _)| front);
        plan::runs_of(self.geometry, region.ipa, Some(front).into_iter(), largest, exists)
    }

    /// Changes the RIPAS of a range without memory to RAM.
    fn make_ram(&self, pool: &mut Pool, region: &mut Region<'_>) -> Result<(), BuildError> {
        let whole = region.range();
        let mut held = self.lock_range(whole)?;
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        let runs = self.runs_for(region, region.bytes(), &exists);
        self.make(&mut held, pool, runs)?;
        let mut left = whole;
        while !left.is_empty() {
            let top = self.rmm.commands().rtt_init_ripas(&self.rd, left)?;
            region.advance_unbacked(top.checked_offset_from(left.base()).unwrap_or(0));
            left = left.after(top);
        }
        Ok(())
    }

    /// Maps memory without content and changes its RIPAS to RAM.
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
            init_ripas: true,
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
        _held: &RangeLock<'_, P::Lock>,
        pool: &mut Pool,
        region: &mut Region<'_>,
        memory: &mut Delegated,
        flags: DataFlags,
    ) -> Result<(), BuildError> {
        let granule = self.granule_bytes();
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
