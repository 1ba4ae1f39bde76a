//! Tracking regions: made FINE where memory is used granule by granule, and COARSE where it is not,
//! with the memory that the RMM takes to track them.

use core::fmt;

use rmi_abi::granule::{MemCategory, TrackingRegionState};
use rmi_abi::{Command, Pa, PaRange, Status};
use rmi_host::command::RegionTracking;
use rmi_host::{Attempts, Error, Platform, Rmm, Subject, Violation};

use crate::donated::Donated;
use crate::drive::drive_within;
use crate::pool::Pool;

/// A slot of [`FineRegions`]: a tracking region that was made FINE, and the memory that the RMM has
/// to track it.
#[derive(Debug)]
#[must_use = "the RMM may have memory of this region"]
pub struct FineRegion {
    /// The base of the region, and its state before.
    changed: Option<(Pa, TrackingRegionState)>,
    donated: Donated,
}

impl FineRegion {
    /// An unused slot.
    pub const EMPTY: Self = Self { changed: None, donated: Donated::new() };

    /// The base of the region; `None` for an unused slot.
    #[must_use]
    pub fn base(&self) -> Option<Pa> {
        self.changed.map(|(base, _)| base)
    }

    /// The memory that the RMM has to track it.
    pub const fn donated(&self) -> &Donated {
        &self.donated
    }
}

/// The tracking regions that a host made FINE, in slots that it lends: an array, a mutable slice or
/// a vector of [`FineRegion`].
///
/// Memory can be used granule by granule (for descriptors, tables, RECs, pages of a Realm, and what
/// a [`Pool`] has) only in a region that is FINE. In a COARSE one it is delegated, mapped and
/// unmapped as a whole, which takes no memory to track. An RMM that starts with COARSE regions
/// takes memory for each that becomes FINE, and returns it when the region is COARSE again or not
/// tracked.
///
/// ```
/// use rmi_abi::granule::{TrackingRegionSize, TrackingRegionState};
/// use rmi_abi::{Dialect, PaRange};
/// use rmi_host::{CountingLedger, SessionOptions, TrackingRegion};
/// use rmm_model::{FirstTracking, Model, Options, RegionOptions};
/// use sro::{FineRegion, FineRegions, FixedPool, Pool};
///
/// // An RMM with regions of 2 MiB, by a code that the embedder knows.
/// let mut machine = Options::new(Dialect::V2_0Bet3);
/// let mut regions = RegionOptions::new(FirstTracking::Coarse);
/// regions.code_of_2_mib = core::num::NonZeroU8::new(1);
/// machine.regions = Some(regions);
/// machine.tracking_donates = 1;
/// let model = Model::new(machine)?;
/// let ledger = CountingLedger::new();
/// let mut memory = model.take_memory();
/// let mut pool = FixedPool::<4>::new();
/// pool.add(memory.take_front(2 << 20).expect("1 GiB")).expect("four slots");
///
/// let mut options = SessionOptions::default();
/// options.tracking_region =
///     Some(TrackingRegion::with_code(2 << 20, TrackingRegionSize(1)));
/// let session = sro::open(model.host().with_ledger(&ledger), options, &mut pool)?;
///
/// // The region of the pool becomes FINE, by a granule of its own.
/// let mut fine = FineRegions::new([FineRegion::EMPTY; 4]);
/// let of_the_pool = PaRange::with_size(model.options().dram.base(), 2 << 20)?;
/// fine.make_fine(&session, &mut pool, of_the_pool)?;
/// assert_eq!(fine.donated_bytes(), 0x1000);
/// pool.prefill(&session, 0x2000, 0x1000)?;
///
/// // At the end everything is as it was.
/// fine.restore(&session, &mut pool)?;
/// let tracked = session.commands().granule_tracking_get(of_the_pool)?;
/// assert_eq!(tracked.state, TrackingRegionState::Coarse);
/// assert_eq!(pool.bytes(), ((2 << 20) - Pool::PAGES, 0));
/// assert!(session.close(&mut pool)?.deactivated);
/// assert_eq!(ledger.balance().outstanding(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping it leaks the memory that the RMM has, and counts it.
#[derive(Debug, Default)]
#[must_use = "`restore` the regions; the RMM may have memory for them"]
pub struct FineRegions<S> {
    slots: S,
}

/// Why regions were not changed, and how far the change came. Repeating the call goes on from
/// there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionsStopped {
    /// The error.
    pub error: Error,
    /// Up to here all regions are as wanted.
    pub reached: Pa,
}

impl fmt::Display for RegionsStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tracking regions changed up to {} only: {}", self.reached, self.error)
    }
}

impl core::error::Error for RegionsStopped {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<RegionsStopped> for Error {
    fn from(stopped: RegionsStopped) -> Self {
        stopped.error
    }
}

impl<S: AsRef<[FineRegion]> + AsMut<[FineRegion]>> FineRegions<S> {
    /// Records in `slots`. Regions that are recorded there stay recorded.
    pub const fn new(slots: S) -> Self {
        Self { slots }
    }

    /// The regions that were made FINE.
    pub fn iter(&self) -> impl Iterator<Item = &FineRegion> {
        self.slots.as_ref().iter().filter(|slot| slot.changed.is_some())
    }

    /// How many bytes the RMM has to track regions.
    #[must_use]
    pub fn donated_bytes(&self) -> u64 {
        self.slots.as_ref().iter().map(|slot| slot.donated.bytes()).sum()
    }

    /// `RMI_GRANULE_TRACKING_SET`: makes every region that a range of memory touches FINE. A region
    /// that is FINE already is left as it is; each other one takes a slot, and as much memory of
    /// the pool as the RMM asks for.
    ///
    /// Memory of the pool that lies in the region itself is donated first, as it is. What is taken
    /// from elsewhere has to be FINE.
    ///
    /// The range may be one that a Realm has memory in: its mappings stay.
    ///
    /// Where the dialect has no tracking regions (1.0) nothing is called.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_GRANULE_TRACKING_GET, RMI_GRANULE_TRACKING_SET.
    ///
    /// # Errors
    ///
    /// [`RegionsStopped`] with [`Error::NeedMemory`] when the pool is short: known to be, before
    /// the RMM asks, or after the change was undone. [`Error::Argument`] where there is no memory,
    /// when no slot is free, when the size of regions is not known ([`Rmm::tracking_region_size`]),
    /// or on a platform without COARSE ones ([`Platform::COARSE_TRACKING`]), before any call.
    /// After an error that is not [clean](Error::is_clean) the region stays recorded, with what the
    /// RMM took for it: it may be FINE. [`Status::Blocked`] while another operation has memory of
    /// the region, for longer than the session's retry budget.
    pub fn make_fine<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        pool: &mut Pool,
        range: PaRange,
    ) -> Result<(), RegionsStopped> {
        each_region(rmm, range, |_, tracked, region| match tracked.state {
            TrackingRegionState::Fine => Ok(tracked.top.unwrap_or(range.top())),
            _ => self.fine(rmm, pool, region, tracked).map(|()| region.top()),
        })
    }

    /// `RMI_GRANULE_TRACKING_SET`: makes every region that lies in a range of memory as a whole
    /// COARSE. What was donated for it goes to the pool.
    ///
    /// All of a region must be the host's, or delegated and not in use, except for what was donated
    /// from within it.
    ///
    /// Source: as [`FineRegions::make_fine`].
    ///
    /// # Errors
    ///
    /// [`RegionsStopped`] with [`Status::ErrorInput`] where a region is in use or is not memory as
    /// a whole; otherwise as [`FineRegions::make_fine`].
    pub fn make_coarse<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        pool: &mut Pool,
        range: PaRange,
    ) -> Result<(), RegionsStopped> {
        let coarse = TrackingRegionState::Coarse;
        each_region(rmm, range, |at, tracked, region| {
            let is_whole = region.base() == at && region.top() <= range.top();
            if is_whole {
                self.leave_fine(rmm, pool, at, tracked, coarse)?;
            }
            Ok(region.top())
        })
    }

    /// Returns every region that was made FINE to the state that it had. What was donated goes to
    /// the pool.
    ///
    /// What the pool has delegated is undelegated. Memory of one region may track another, so
    /// regions that are refused are tried again after the others.
    ///
    /// Source: as [`FineRegions::make_fine`].
    ///
    /// # Errors
    ///
    /// The first error, after all other regions were returned; [`Status::ErrorInput`] for one that
    /// is in use.
    pub fn restore<P: Platform>(&mut self, rmm: &Rmm<P>, pool: &mut Pool) -> Result<(), Error> {
        loop {
            // Also what the last round returned as delegated memory.
            pool.undelegate(rmm);
            let (mut first, mut restored) = (None, 0);
            for index in 0..self.slots.as_ref().len() {
                let slot = self.slots.as_ref().get(index);
                let Some((base, before)) = slot.and_then(|slot| slot.changed) else { continue };
                let result = tracked_at(rmm, base)
                    .and_then(|tracked| self.leave_fine(rmm, pool, base, tracked, before));
                match result {
                    Ok(()) => restored += 1,
                    Err(error) => first = first.or(Some(error)),
                }
            }
            match first {
                None => {
                    pool.undelegate(rmm);
                    return Ok(());
                }
                Some(error) if restored == 0 => return Err(error),
                Some(_) => {}
            }
        }
    }

    /// Makes one region FINE.
    fn fine<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        pool: &mut Pool,
        region: PaRange,
        tracked: RegionTracking,
    ) -> Result<(), Error> {
        let command = Command::GranuleTrackingSet;
        let refuse = |what| Error::argument(command, what, Subject::Pa(region.base()));
        // Where a change is in progress, the RMM says that it is blocked.
        if tracked.state == TrackingRegionState::Reserved {
            return Err(refuse("there is no memory to be tracked"));
        }
        let slots = self.slots.as_mut();
        let own = slots.iter().position(|slot| slot.base() == Some(region.base()));
        let free = || slots.iter().position(|slot| slot.changed.is_none());
        let index = own.or_else(free);
        let Some(slot) = index.and_then(|index| slots.get_mut(index)) else {
            return Err(refuse("there is no slot for another tracking region"));
        };
        pool.check_reserve(command, 0)?;
        let category = tracked_at(rmm, region.base())?.category;
        let fine = TrackingRegionState::Fine;
        // What an earlier change took whose end was unclear: it was undone.
        slot.donated.recover(rmm, pool, command);
        // If code of the embedder panics meanwhile, the region is recorded.
        slot.changed =
            Some((region.base(), slot.changed.map_or(tracked.state, |(_, state)| state)));
        let result = change(rmm, pool, &mut slot.donated, region.base(), category, fine);
        // After any other error the region may be FINE, and the RMM may have what it took.
        if result.is_err_and(|error| error.is_clean()) {
            slot.donated.recover(rmm, pool, command);
            slot.changed = None;
        }
        result
    }

    /// Returns one region to a state in which it takes no memory, if it has another state.
    fn leave_fine<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        pool: &mut Pool,
        base: Pa,
        tracked: RegionTracking,
        to: TrackingRegionState,
    ) -> Result<(), Error> {
        let is_there = tracked.state == to;
        let category = tracked.category;
        let slot = self.slots.as_mut().iter_mut().find(|slot| slot.base() == Some(base));
        let Some(slot) = slot else {
            return match is_there {
                true => Ok(()),
                false => change(rmm, pool, &mut Donated::new(), base, category, to),
            };
        };
        if !is_there {
            change(rmm, pool, &mut slot.donated, base, category, to)?;
        }
        // Nothing, unless the RMM returned it in another state than it was donated in, or the end
        // of a change was unclear.
        slot.donated.recover(rmm, pool, Command::GranuleTrackingSet);
        slot.changed = None;
        Ok(())
    }
}

/// Goes through the tracking regions that a range of memory touches: `step` gets an address, how
/// memory is tracked from there on and the region that it is in, and returns the next address.
fn each_region<P: Platform>(
    rmm: &Rmm<P>,
    range: PaRange,
    mut step: impl FnMut(Pa, RegionTracking, PaRange) -> Result<Pa, Error>,
) -> Result<(), RegionsStopped> {
    let mut at = range.base();
    while at < range.top() {
        let stopped = |error| RegionsStopped { error, reached: at };
        let Some((tracked, region)) = look(rmm, at, range.top()).map_err(stopped)? else {
            return Ok(());
        };
        let next = step(at, tracked, region).map_err(stopped)?;
        if next <= at {
            let (command, subject) = (Command::GranuleTrackingGet, Subject::Pa(at));
            return Err(stopped(Error::violation(
                command,
                Violation::Progress,
                next.raw(),
                subject,
            )));
        }
        at = next;
    }
    Ok(())
}

/// How memory is tracked from `at` on, and the region that `at` is in; `None` where the dialect has
/// no regions.
fn look<P: Platform>(
    rmm: &Rmm<P>,
    at: Pa,
    top: Pa,
) -> Result<Option<(RegionTracking, PaRange)>, Error> {
    let command = Command::GranuleTrackingGet;
    if command.form(rmm.dialect()).is_none() {
        return Ok(None);
    }
    if !P::COARSE_TRACKING {
        let what = "the platform is built without COARSE tracking regions";
        return Err(Error::argument(command, what, Subject::Pa(at)));
    }
    let size = rmm.tracking_region_size().unwrap_or(0);
    let region = at.align_down(size.max(1));
    let region = PaRange::with_size(region, size).ok().filter(|region| !region.is_empty());
    let Some(region) = region else {
        let what = "the size of tracking regions is not known";
        return Err(Error::argument(command, what, Subject::Pa(at)));
    };
    let end = match rmm.dialect().tracking_get_tells_extent() {
        true => top,
        false => region.top().min(top),
    };
    let asked = PaRange::new(at, end).unwrap_or(PaRange::empty(at));
    let mut tracked = rmm.commands().granule_tracking_get(asked)?;
    tracked.top = tracked.top.or(Some(end));
    Ok(Some((tracked, region)))
}

/// How the first granule of a region is tracked.
fn tracked_at<P: Platform>(rmm: &Rmm<P>, base: Pa) -> Result<RegionTracking, Error> {
    let granule = rmm.granule_size().bytes();
    let first = PaRange::with_size(base, granule).unwrap_or(PaRange::empty(base));
    rmm.commands().granule_tracking_get(first)
}

/// Changes one region. What the firmware could not do at the same time as something else was undone
/// and is tried again, within the session's retry budget.
fn change<P: Platform>(
    rmm: &Rmm<P>,
    pool: &mut Pool,
    donated: &mut Donated,
    region: Pa,
    category: MemCategory,
    state: TrackingRegionState,
) -> Result<(), Error> {
    let mut attempts = Attempts::default();
    loop {
        let attempts = &mut attempts;
        let started =
            rmm.commands().granule_tracking_set_within(region, category, state, attempts)?;
        match drive_within(rmm, pool, donated, started, attempts) {
            Err(Error::Refused(refusal))
                if refusal.status() == Status::Blocked && rmm.pause(attempts, Status::Blocked) => {}
            result => return result.map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests;
