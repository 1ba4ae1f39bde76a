//! Conversions between private and shared memory, and evacuation of memory that is removed from the
//! machine.

use core::ops::ControlFlow;

use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange, PaRange};
use rmi_host::command::SharedAccess;
use rmi_host::{Platform, Undelegated};
use sro::{HostMemory, Pool, free_or_quarantine};

use crate::error::{BuildError, RegionProblem};
use crate::memory::map::Supply;
use crate::memory::range_lock::RangeLock;
use crate::memory::realm_core::RealmCore;
use crate::memory::reclaim::Reclaimed;
use crate::memory::share::NotShared;
use crate::memory::stopped::Stopped;
use crate::plan;
use crate::shadow::Shadow;
use crate::shadow::storage::SharedPiece;

/// Result of a conversion. The two fields add up to the range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "what has no memory is not converted"]
#[non_exhaustive]
pub struct Converted {
    /// Bytes of the range that are shared now, or private, depending on the operation; includes
    /// those that were so before.
    pub bytes: u64,
    /// Bytes of the range that have no memory in either half, and were given none: nothing was done
    /// there.
    pub without_memory: u64,
}

/// A conversion that stopped early. Repeating it continues from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the conversion stopped at IPA {reached}: {error}")]
#[non_exhaustive]
pub struct ConvertStopped {
    /// The reason.
    #[source]
    pub error: BuildError,
    /// How far it came, in the protected half. What is above has not changed, or has no memory any
    /// more: that was freed.
    pub reached: Ipa,
    /// The result up to there.
    pub converted: Converted,
}

/// Progress of a conversion.
struct Course {
    range: IpaRange,
    reached: Ipa,
    converted: Converted,
}

impl Course {
    fn new(range: IpaRange) -> Self {
        let converted = Converted { bytes: 0, without_memory: 0 };
        Self { range, reached: range.base(), converted }
    }

    fn left(&self) -> IpaRange {
        self.range.after(self.reached)
    }

    fn go_on(&mut self, bytes: u64, without_memory: u64) {
        self.converted.bytes += bytes;
        self.converted.without_memory += without_memory;
        let top = self.reached.checked_add(bytes.saturating_add(without_memory));
        self.reached = top.unwrap_or(self.range.top());
    }

    fn stop(&self, error: impl Into<BuildError>) -> ConvertStopped {
        ConvertStopped { error: error.into(), reached: self.reached, converted: self.converted }
    }

    /// After memory was taken back from `part` with this result, and that much of its front was
    /// returned: the reason why not all was.
    fn check(
        &self,
        part: IpaRange,
        came: u64,
        taken: Result<(), BuildError>,
    ) -> Result<(), ConvertStopped> {
        taken.map_err(|error| self.stop(error))?;
        match part.bytes().saturating_sub(came) {
            0 => Ok(()),
            bytes => {
                let problem = RegionProblem::Withheld { bytes };
                Err(self.stop(BuildError::Region { range: part, problem }))
            }
        }
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::convert_to_shared`](crate::Realm::convert_to_shared).
    pub(crate) fn convert_to_shared(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
        access: SharedAccess,
    ) -> Result<Converted, ConvertStopped> {
        let mut course = Course::new(range);
        let stop = |error: BuildError| Course::new(range).stop(error);
        let aliases = self.check_conversion(range).map_err(stop)?;
        let mut private = self.lock_range(range).map_err(stop)?;
        let mut shared = self.lock_range(aliases).map_err(stop)?;
        let runs = self.count_runs(range).map_err(stop)?;
        shared.reserve_shared(runs).map_err(stop)?;
        self.settle_range(&private, memory.pool(), range);
        self.split_ends(&mut private, memory.pool(), range).map_err(stop)?;
        self.split_blocks(&mut private, memory.pool(), range).map_err(stop)?;
        let mut left = range;
        while let Some((ipas, pas)) = self.first_run(left) {
            left = after(ipas, range);
            let alias = self.alias(ipas, range).map_err(stop)?;
            let top_level = self.top_block_level();
            self.make_for_run(&mut shared, memory.pool(), (alias.base(), pas), top_level)
                .map_err(stop)?;
        }
        while !course.left().is_empty() {
            let run = self.first_run(course.left());
            let top = run.map_or(range.top(), |(ipas, _)| ipas.base());
            while course.reached < top {
                let void = IpaRange::new(course.reached, top).unwrap_or(course.left());
                self.share_void(&mut shared, memory, (&mut course, void), access)?;
            }
            let Some((ipas, pas)) = run else { break };
            let alias = self.alias(ipas, range).map_err(|error| course.stop(error))?;
            let mut host = Undelegated::empty();
            let taken = self.reclaim_held(
                &mut private,
                memory,
                ipas,
                &mut self.collect_front(&mut host, pas.base()),
            );
            let came = host.bytes();
            self.share_part(&mut shared, memory, (&mut course, alias), (host, access))?;
            course.check(ipas, came, taken)?;
        }
        Ok(course.converted)
    }

    /// Shares some of a part of a range that has no private memory: skips what is shared there
    /// already, or asks for memory.
    fn share_void(
        &self,
        shared: &mut RangeLock<'_, P>,
        memory: &mut dyn HostMemory,
        (course, void): (&mut Course, IpaRange),
        access: SharedAccess,
    ) -> Result<(), ConvertStopped> {
        let alias = self.alias(void, course.range).map_err(|error| course.stop(error))?;
        let next = self.first_shared(alias).map(|(part, _)| part);
        if let Some(part) = next.filter(|part| part.base() == alias.base()) {
            course.go_on(part.bytes(), 0);
            return Ok(());
        }
        let top = next.map_or(alias.top(), |part| part.base());
        let gap = IpaRange::new(alias.base(), top).unwrap_or(alias);
        let wanted = IpaRange::with_size(void.base(), gap.bytes()).unwrap_or(void);
        memory.pool().set_granule_size(self.rmm.granule_size());
        let granules = memory.allocate(wanted).filter(|granules| !granules.is_empty());
        let Some(mut granules) = granules else {
            course.go_on(0, gap.bytes());
            return Ok(());
        };
        if granules.bytes() > gap.bytes() {
            let fits = granules.take_front(gap.bytes()).unwrap_or_default();
            free_or_quarantine(self.rmm, memory, core::mem::replace(&mut granules, fits));
        }
        let checked = self.check_memory(wanted, &granules.range());
        if let Err(error) = checked.and_then(|()| shared.reserve_shared(1)) {
            free_or_quarantine(self.rmm, memory, granules);
            return Err(course.stop(error));
        }
        self.share_part(shared, memory, (course, gap), (granules, access))
    }

    /// Shares memory at the front of a part of the unprotected half, and advances by as much as is
    /// shared.
    fn share_part(
        &self,
        shared: &mut RangeLock<'_, P>,
        memory: &mut dyn HostMemory,
        (course, alias): (&mut Course, IpaRange),
        (granules, access): (Undelegated, SharedAccess),
    ) -> Result<(), ConvertStopped> {
        if granules.is_empty() {
            return Ok(());
        }
        let bytes = granules.bytes();
        let result = self.share_held(shared, memory, alias.base(), granules, access);
        let Err(NotShared { error, reached, host }) = result else {
            course.go_on(bytes, 0);
            return Ok(());
        };
        course.go_on(reached.checked_offset_from(alias.base()).unwrap_or(0), 0);
        free_or_quarantine(self.rmm, memory, host);
        Err(course.stop(error))
    }

    /// See [`Realm::convert_to_private`](crate::Realm::convert_to_private).
    pub(crate) fn convert_to_private(
        &self,
        memory: &mut dyn HostMemory,
        range: IpaRange,
    ) -> Result<Converted, ConvertStopped> {
        let mut course = Course::new(range);
        let stop = |error: BuildError| Course::new(range).stop(error);
        let aliases = self.check_conversion(range).map_err(stop)?;
        let mut private = self.lock_range(range).map_err(stop)?;
        let mut shared = self.lock_range_shared(aliases).map_err(stop)?;
        self.count_runs(range).map_err(stop)?;
        let cuts = self.shadow.lock().shared_cuts(&aliases);
        shared.reserve_shared(cuts).map_err(stop)?;
        self.split_shared_ends(&mut shared, memory.pool(), aliases).map_err(stop)?;
        let at = |alias: Ipa| {
            let offset = alias.checked_offset_from(aliases.base()).unwrap_or(0);
            range.base().checked_add(offset).unwrap_or(range.top())
        };
        let mut left = aliases;
        while let Some((piece, pas)) = self.first_shared(left) {
            left = after(piece, aliases);
            let top_level = self.private_block_level();
            self.make_for_run(&mut private, memory.pool(), (at(piece.base()), pas), top_level)
                .map_err(stop)?;
        }
        let mut left = aliases;
        while let Some((piece, pas)) = self.first_shared(left) {
            left = after(piece, aliases);
            self.go_over(&mut course, at(piece.base()));
            let mut host = Undelegated::empty();
            let taken = self.unshare_held(
                &mut shared,
                memory,
                (piece, false),
                &mut self.collect_front(&mut host, pas.base()),
            );
            let (came, part) = (host.bytes(), IpaRange::with_size(at(piece.base()), piece.bytes()));
            let part = part.unwrap_or(range);
            if came > 0 {
                let mut given = Some(host);
                let mut supply = Supply {
                    next: &mut |_, _| given.take(),
                    back: &mut |memory, host| free_or_quarantine(self.rmm, memory, host),
                };
                let front = IpaRange::with_size(part.base(), came).unwrap_or(part);
                let mapping = self.map_supply(&mut private, memory, front, &mut supply);
                course.go_on(mapping.taken, 0);
                mapping.result.map_err(|error| course.stop(error))?;
            }
            course.check(part, came, taken)?;
        }
        self.go_over(&mut course, range.top());
        Ok(course.converted)
    }

    /// Advances to an address past what is private already, or has no memory.
    fn go_over(&self, course: &mut Course, top: Ipa) {
        let part = IpaRange::new(course.reached, top).unwrap_or(IpaRange::empty(top));
        let mut bytes = 0;
        self.each_memory(part.base(), part.top(), |_, at| {
            bytes += at.range().intersection(&part).map_or(0, |both| both.bytes());
            ControlFlow::<()>::Continue(())
        });
        course.go_on(bytes, part.bytes().saturating_sub(bytes));
    }

    /// Whether a range can be converted; its alias.
    pub(crate) fn check_conversion(&self, range: IpaRange) -> Result<IpaRange, BuildError> {
        self.check_protected(range, range.bytes())?;
        self.alias(range, range)
    }

    pub(crate) fn alias(&self, part: IpaRange, range: IpaRange) -> Result<IpaRange, BuildError> {
        let problem = RegionProblem::NotProtected;
        let alias = self.geometry().unprotected_alias(part.base());
        alias
            .and_then(|alias| IpaRange::with_size(alias, part.bytes()).ok())
            .ok_or(BuildError::Region { range, problem })
    }

    /// How many runs of a range are mapped that are contiguous in both address spaces; an error
    /// where the alias of one is shared, too.
    pub(crate) fn count_runs(&self, range: IpaRange) -> Result<usize, BuildError> {
        let (mut runs, mut left) = (0, range);
        while let Some((ipas, _)) = self.first_run(left) {
            left = after(ipas, range);
            let alias = self.alias(ipas, range)?;
            if let Some((part, _)) = self.first_shared(alias) {
                let problem = RegionProblem::Overlap { at: part.base() };
                return Err(BuildError::Region { range, problem });
            }
            runs += 1;
        }
        Ok(runs)
    }

    /// Makes the tables for memory that is to be mapped at an IPA, by entries of `top_level` or
    /// below.
    fn make_for_run(
        &self,
        held: &mut RangeLock<'_, P>,
        pool: &mut Pool,
        (ipa, memory): (Ipa, PaRange),
        top_level: Level,
    ) -> Result<(), BuildError> {
        let exists = |level, ipa| self.shadow.lock().has_table(level, ipa);
        let runs =
            plan::runs_of(self.geometry(), ipa, Some(memory).into_iter(), top_level, &exists);
        self.make(held, pool, runs)
    }

    /// The first run of a range that is mapped and contiguous in both address spaces.
    pub(crate) fn first_run(&self, range: IpaRange) -> Option<(IpaRange, PaRange)> {
        let mut run: Option<(IpaRange, PaRange)> = None;
        self.each_memory(range.base(), range.top(), |shadow, at| {
            let Some(memory) = shadow.memory(at) else { return ControlFlow::Break(()) };
            let grown = match run {
                None => Some((at.range(), memory)),
                Some((ipas, pas)) if ipas.top() == at.base && pas.top() == memory.base() => {
                    let both = (
                        IpaRange::new(ipas.base(), at.top()),
                        PaRange::new(pas.base(), memory.top()),
                    );
                    both.0.ok().zip(both.1.ok())
                }
                Some(_) => None,
            };
            run = grown.or(run);
            if grown.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let (ipas, pas) = run?;
        let part = ipas.intersection(&range)?;
        let before = part.base().checked_offset_from(ipas.base())?;
        let memory = PaRange::with_size(pas.base().checked_add(before)?, part.bytes());
        Some((part, memory.ok()?))
    }

    fn reclaim_or_wait(&self, memory: &mut dyn HostMemory, range: IpaRange) -> Result<(), Stopped> {
        match self.reclaim(memory, range)? {
            Reclaimed::Whole => Ok(()),
            Reclaimed::Contended(part) => {
                Err(Stopped { error: BuildError::Contended { range: part }, reached: range.base() })
            }
        }
    }

    /// See [`Realm::evacuate`](crate::Realm::evacuate).
    pub(crate) fn evacuate(
        &self,
        memory: &mut dyn HostMemory,
        pas: PaRange,
    ) -> Result<(), Stopped> {
        let granule = self.granule_bytes();
        let end = pas.top().align_up(granule).unwrap_or(pas.top());
        let pas = PaRange::new(pas.base().align_down(granule), end).unwrap_or(pas);
        let part = |piece: &SharedPiece| {
            let part = piece.memory().intersection(&pas).filter(|part| !part.is_empty())?;
            let offset = part.base().checked_offset_from(piece.memory().base())?;
            let base = piece.range().base().checked_add(offset)?;
            IpaRange::with_size(base, part.bytes()).ok()
        };
        let mut from = Ipa::new(0);
        let is_cut = |from: Ipa| {
            move |piece: &SharedPiece| match part(piece) {
                Some(part) if part != piece.range() && part.base() >= from => {
                    ControlFlow::Break(part)
                }
                _ => ControlFlow::Continue(()),
            }
        };
        while let Some(part) = self.each_shared(is_cut(from)) {
            from = part.top();
            self.hold_to_unshare(part)
                .and_then(|mut held| self.split_shared_ends(&mut held, memory.pool(), part))
                .map_err(|error| Stopped { error, reached: Ipa::new(0) })?;
        }
        let top = self.geometry().unprotected_base();
        let mut from = Ipa::new(0);
        let is_meant = |shadow: &mut Shadow<'_, P>, at| match shadow.memory(at) {
            Some(block) if block.overlaps(&pas) => ControlFlow::Break(at),
            _ => ControlFlow::Continue(()),
        };
        // Other threads serve faults meanwhile: the lock is not held from one block to the next.
        while let Some(at) = self.each_memory(from, top, is_meant) {
            from = at.top();
            self.reclaim_or_wait(memory, at.range())?;
        }
        let is_meant = |piece: &SharedPiece| match part(piece) {
            Some(part) => ControlFlow::Break(part),
            None => ControlFlow::Continue(()),
        };
        while let Some(piece) = self.each_shared(is_meant) {
            self.unshare(memory, piece)?;
        }
        Ok(())
    }
}

/// The part of a range that follows another part of it.
fn after(part: IpaRange, range: IpaRange) -> IpaRange {
    range.after(part.top())
}
