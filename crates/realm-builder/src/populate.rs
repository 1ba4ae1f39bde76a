//! Populating a new Realm, in canonical order, and giving memory to a running one.

use rmi_abi::desc::{AddrRangeDesc, BlockSize};
use rmi_abi::flags::DataFlags;
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Ipa, IpaRange};
use rmi_host::{
    Delegated, Error, Failed, Platform, QuarantineReason, Rmm, Subject, Undelegated, Violation,
};
use sro::Pool;

use crate::error::{BuildError, RegionProblem};
use crate::plan::{self, Run};
use crate::realm::{New, Realm};
use crate::storage::{Certainty, Extent};

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
    ipa: Ipa,
    memory: Undelegated,
    content: Content<'c>,
    /// Bytes taken in.
    taken: u64,
    /// Bytes that were to be taken in next and are in quarantine, or elsewhere, instead.
    lost: u64,
}

impl<'c> Region<'c> {
    /// Memory at `ipa` with this content.
    #[must_use]
    pub const fn new(ipa: Ipa, memory: Undelegated, content: Content<'c>) -> Self {
        Self { ipa, memory, content, taken: 0, lost: 0 }
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
            return (self.taken == 0).then_some(RegionProblem::Empty);
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
pub struct Populated {
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
    /// largest blocks that alignment allows, and its RIPAS becomes RAM. Tables come from the pool and are made before they are needed.
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
        progress: &mut dyn FnMut(Populated),
    ) -> Result<(), BuildError> {
        regions.sort_unstable_by_key(|region| region.ipa);
        self.check(regions)?;
        let mut so_far =
            Populated { bytes: 0, total: regions.iter().map(|region| region.memory.bytes()).sum() };
        for region in regions {
            let before = so_far.bytes;
            let whole = region.memory.bytes();
            self.take_in(pool, region, &mut |left| {
                so_far.bytes = before + (whole - left);
                progress(so_far);
            })?;
        }
        Ok(())
    }

    /// Checks sorted regions; those that are taken in already are empty and pass.
    fn check(&self, regions: &[Region<'_>]) -> Result<(), BuildError> {
        let granule = self.rmm.granule_size().bytes();
        let mut last: Option<IpaRange> = None;
        let mut pieces = 0;
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
                pieces += 1;
            }
        }
        self.room_for_extents(pieces)
    }

    fn take_in(
        &mut self,
        pool: &mut Pool<'_>,
        region: &mut Region<'_>,
        left: &mut dyn FnMut(u64),
    ) -> Result<(), BuildError> {
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
        let result = match region.content {
            Content::Measured(_) => {
                self.copy_in(pool, region, &mut memory, DataFlags::MEASURE, left)
            }
            Content::Unmeasured(_) => {
                self.copy_in(pool, region, &mut memory, DataFlags::empty(), left)
            }
            Content::Unspecified => self.map_ram(pool, region, &mut memory, left),
        };
        self.return_to(pool, region, memory, None);
        result
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
        take_back(self.rmm, memory, doubt, home);
        if let Err(rest) = back.append(region.memory.take()) {
            pool.restore(self.rmm, core::mem::replace(&mut back, rest));
        }
        region.memory = back;
        region.lost += expected - region.memory.bytes();
    }

    /// Copies content in, page by page.
    fn copy_in(
        &mut self,
        pool: &mut Pool<'_>,
        region: &mut Region<'_>,
        memory: &mut Delegated,
        flags: DataFlags,
        left: &mut dyn FnMut(u64),
    ) -> Result<(), BuildError> {
        let granule = self.rmm.granule_size().bytes();
        let range =
            IpaRange::with_size(region.ipa, memory.bytes()).unwrap_or(IpaRange::empty(region.ipa));
        self.make_tables(pool, range, Level::L3)?;
        while let Some(page) = memory.take_front(granule) {
            let content = match region.content {
                Content::Measured(content) | Content::Unmeasured(content) => content,
                Content::Unspecified => &[],
            };
            let source = pool.pages().page;
            if let Err(fault) = self.fill(source, content, granule) {
                put_front(memory, page);
                return Err(fault.into());
            }
            match self.rmm.rtt_data_map_init(&self.rd, page, region.ipa, source, 0, flags) {
                Ok(page) => self.record(Extent {
                    ipa: region.ipa,
                    memory: page,
                    certainty: Certainty::Sure,
                }),
                Err(Failed { error, kept }) if error.is_clean() => {
                    put_front(memory, kept);
                    return Err(error.into());
                }
                Err(Failed { error, kept }) => {
                    self.record(Extent {
                        ipa: region.ipa,
                        memory: kept.into_use(),
                        certainty: Certainty::Unsure,
                    });
                    region.advance(granule);
                    return Err(error.into());
                }
            }
            region.advance(granule);
            left(memory.bytes());
        }
        Ok(())
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

    /// Maps memory without content and makes it RAM.
    fn map_ram(
        &mut self,
        pool: &mut Pool<'_>,
        region: &mut Region<'_>,
        memory: &mut Delegated,
        left: &mut dyn FnMut(u64),
    ) -> Result<(), BuildError> {
        for run in plan::runs(region.ipa, memory.range(), self.top_block_level()) {
            self.make_tables(pool, run.range(), run.level)?;
            self.init_ripas(run.range())?;
            self.map_run(run, memory, &mut |bytes, left_bytes| {
                region.advance(bytes);
                left(left_bytes);
            })?;
        }
        Ok(())
    }

    fn init_ripas(&self, mut range: IpaRange) -> Result<(), Error> {
        while !range.is_empty() {
            let top = self.rmm.rtt_init_ripas(&self.rd, range)?;
            range = IpaRange::new(top, range.top()).unwrap_or(IpaRange::empty(top));
        }
        Ok(())
    }
}

impl<P: Platform, S> Realm<'_, '_, P, S> {
    /// The level of the largest blocks: none can be larger than an entry of the root tables.
    fn top_block_level(&self) -> Level {
        self.geometry.start_level().max(Level::L1)
    }

    /// Whether `pieces` more pieces of memory can be recorded, plus the odd one that an unclear answer splits off.
    pub(crate) fn room_for_extents(&self, pieces: usize) -> Result<(), BuildError> {
        let missing = (pieces + 1).saturating_sub(self.extents.spare());
        if missing > 0 {
            return Err(BuildError::Storage { records: "pieces of memory", missing });
        }
        Ok(())
    }

    /// Maps one run of blocks, taking its memory from the front of `memory` and telling after each call what was mapped and what is left.
    pub(crate) fn map_run(
        &mut self,
        run: Run,
        memory: &mut Delegated,
        done: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Error> {
        let granule = self.rmm.granule_size();
        let size = match run.level {
            Level::L1 => BlockSize::Level1,
            Level::L2 => BlockSize::Level2,
            _ => BlockSize::Page,
        };
        let at_once = size.bytes(granule) * u64::from(AddrRangeDesc::max_count(granule));
        let (mut ipa, mut bytes, mut idle) = (run.ipa, run.bytes, 0);
        while bytes > 0 {
            let Some(part) = memory.take_front(bytes.min(at_once)) else {
                let subject = Subject::Ipa(ipa);
                return Err(Error::argument(
                    Command::RttDataMap,
                    "the run is longer than its memory",
                    subject,
                ));
            };
            match self.rmm.rtt_data_map(&self.rd, ipa, part, size, granule) {
                Ok(mapped) => {
                    let (part, rest) = (mapped.mapped, mapped.rest);
                    put_front(memory, rest);
                    let taken = part.bytes();
                    if taken == 0 {
                        // The RMM made way for an interrupt.
                        idle += 1;
                        if idle > self.rmm.patience().busy {
                            let subject = Subject::Ipa(ipa);
                            return Err(Error::violation(
                                Command::RttDataMap,
                                Violation::Progress,
                                ipa.raw(),
                                subject,
                            ));
                        }
                        self.rmm.platform().relax();
                        continue;
                    }
                    self.record(Extent { ipa, memory: part, certainty: Certainty::Sure });
                    bytes -= taken;
                    ipa = ipa.checked_add(taken).unwrap_or(ipa);
                    done(taken, memory.bytes());
                }
                Err(Failed { error, kept }) if error.is_clean() => {
                    put_front(memory, kept);
                    return Err(error);
                }
                Err(Failed { error, kept }) => {
                    let lost = kept.bytes();
                    self.record(Extent {
                        ipa,
                        memory: kept.into_use(),
                        certainty: Certainty::Unsure,
                    });
                    done(lost, memory.bytes());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Gives memory to a Realm at an IPA where it has none, as when a REC faults there. The RIPAS stays what it is: the Realm sees the memory where it is RAM.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP.
    ///
    /// # Errors
    ///
    /// As [`Realm::populate`]; the memory that was not mapped comes back.
    pub fn map(
        &mut self,
        pool: &mut Pool<'_>,
        ipa: Ipa,
        memory: Undelegated,
    ) -> Result<(), Failed<Undelegated, BuildError>> {
        let region = Region::new(ipa, memory, Content::Unspecified);
        let range = region.range();
        let problem = region.problem(self.rmm.granule_size().bytes()).or_else(|| {
            let outside = !self.geometry.range_is_protected(&range);
            outside.then_some(RegionProblem::NotProtected).or_else(|| {
                self.overlap(&range).map(|other| RegionProblem::Overlap { at: other.base() })
            })
        });
        let memory = region.memory;
        if let Some(problem) = problem {
            return Err(Failed::new(memory, BuildError::Region { range, problem }));
        }
        if let Err(error) = self.room_for_extents(1) {
            return Err(Failed::new(memory, error));
        }
        let mut doubt = None;
        let (mut memory, mut host, mut result) = match self.rmm.delegate(memory) {
            Ok(memory) => (memory, Undelegated::empty(), Ok(())),
            Err(failed) => {
                doubt = failed.doubt();
                (failed.delegated, failed.host, Err(BuildError::Call(failed.error)))
            }
        };
        if result.is_ok() {
            for run in plan::runs(ipa, memory.range(), self.top_block_level()) {
                let tables = self.make_tables(pool, run.range(), run.level);
                result =
                    tables.and_then(|()| Ok(self.map_run(run, &mut memory, &mut |_, _| {})?));
                if result.is_err() {
                    break;
                }
            }
        }
        let rmm = self.rmm;
        let home = &mut |back| {
            if let Err(apart) = host.merge(back) {
                pool.restore(rmm, apart);
            }
        };
        take_back(rmm, memory, doubt, home);
        result.map_err(|error| Failed::new(host, error))
    }
}

/// Takes memory back from the RMM; `doubt` is why it may be the host's already.
fn take_back<P: Platform>(
    rmm: &Rmm<P>,
    memory: Delegated,
    doubt: Option<QuarantineReason>,
    home: &mut dyn FnMut(Undelegated),
) {
    match doubt {
        Some(reason) => rmm.recover(memory, reason, home),
        None => rmm.return_or_quarantine(memory, home),
    }
}

/// Puts memory back in front of the rest that it was taken from.
fn put_front(memory: &mut Delegated, mut front: Delegated) {
    if front.append(memory.take()).is_ok() {
        *memory = front;
    }
}
