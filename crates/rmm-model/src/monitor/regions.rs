//! Tracking regions and granule protection tables.

use alloc::vec::Vec;

use rmi_abi::desc::OpMemState;
use rmi_abi::{Dialect, Pa, PaRange, Status};
use rmi_host::Registers;

use super::operation::Work;
use super::{Monitor, pa_range};
use crate::answer::{Answer, Answered, refuse, require};
use crate::granule::GranuleState;
use crate::options::GIB;
use crate::regions::{Protection, Tracking};
use crate::unsupported;

/// First physical address that this machine does not have.
const PA_END: u64 = 1 << 48;

/// `RmiMemCategory`: conventional memory.
pub(super) const CATEGORY_CONVENTIONAL: u64 = 0;

/// `RmiMemCategory`: no memory.
const CATEGORY_NONE: u64 = 3;

impl Monitor {
    pub(super) fn tracking_get(&self, x: &Registers) -> Answered {
        let [_, base, top, ..] = *x;
        let dialect = self.options.dialect;
        if !dialect.tracking_get_takes_range() {
            let at = Pa::new(base);
            require(at.is_aligned(self.granules.bytes()) && base < PA_END, Status::ErrorInput)?;
            return Ok(self.tracked(at));
        }
        let range = pa_range(self.granules.size(), base, top)?;
        let answer = self.tracked(range.base());
        if dialect.tracking_get_tells_extent() {
            require(top <= PA_END, Status::ErrorInput)?;
            return Ok(answer.x3(self.regions.tracked_alike(range.base(), range.top()).raw()));
        }
        // As TF-RMM, without a check whether the state is the same up to the top.
        require(top < PA_END, Status::ErrorInput)?;
        Ok(answer.x3(top))
    }

    /// The category and the state of the region that holds `at`. Before 2.0-bet3 there is no state
    /// for a region that is being changed; it is RESERVED then.
    fn tracked(&self, at: Pa) -> Answer {
        let tracking = self.regions.tracking(at);
        let category = match tracking {
            Tracking::Reserved => CATEGORY_NONE,
            _ => CATEGORY_CONVENTIONAL,
        };
        let state = match tracking {
            Tracking::Intermediate if self.options.dialect != Dialect::V2_0Bet3 => {
                Tracking::Reserved
            }
            state => state,
        };
        Answer::success().x1(category).x2(state as u64)
    }

    /// Changes how a region of the options is tracked. The rest of DRAM is tracked by granule, and
    /// stays so.
    pub(super) fn tracking_set(&mut self, x: &Registers) -> Answered {
        let [_, address, category, state, ..] = *x;
        let at = Pa::new(address);
        if self.regions.changeable().is_some() {
            return self.change_region(at, category, state);
        }
        require(category == CATEGORY_CONVENTIONAL, Status::ErrorInput)?;
        let to = Tracking::wanted(state).ok_or(Status::ErrorInput)?;
        let blocks = self.options.blocked_objects;
        let Some(region) = self.regions.tracking_region(at) else {
            let is_as_is = at.is_aligned(GIB)
                && self.options.dram.contains(at)
                && to == Tracking::Fine
                && self.regions.tracking(at) == to;
            require(is_as_is, Status::ErrorInput)?;
            return Ok(Answer::success());
        };
        let (from, range) = (region.state, region.range);
        if from == Tracking::Intermediate {
            return refuse(if blocks { Status::Blocked } else { Status::ErrorInput });
        }
        if from == to {
            return Ok(Answer::success());
        }
        let donated = region.donated.clone();
        // Tracking by granule can end only for a region that the host owns entirely, except for the
        // memory that the RMM was given to track it.
        let is_idle = self
            .granules
            .each(&range)
            .all(|pa| self.granules.is(pa, GranuleState::Undelegated) || donated.contains(&pa));
        require(is_idle || to == Tracking::Fine, Status::ErrorInput)?;
        self.start_tracking_set(at, (from, to), None, donated)
    }

    /// Begins to change how the region at `at` is tracked: gives back the memory that the RMM was
    /// given for it, or asks for some; at once if it takes neither.
    pub(super) fn start_tracking_set(
        &mut self,
        at: Pa,
        (from, to): (Tracking, Tracking),
        inside: Option<OpMemState>,
        donated: Vec<Pa>,
    ) -> Answered {
        let work = Work::TrackingSet { region: at, from, to, inside };
        let answer = match self.options.tracking_donates {
            _ if !donated.is_empty() => self.open_return(work, donated)?,
            count if to == Tracking::Fine && count != 0 => self.open_donation(work, count)?,
            _ => return self.finish_tracking_set(at, to, Vec::new()),
        };
        if let Some(region) = self.regions.tracking_region(at) {
            region.state = Tracking::Intermediate;
            region.donated.clear();
        }
        Ok(answer)
    }

    /// From now on the region is tracked in this way, with this memory.
    pub(super) fn finish_tracking_set(
        &mut self,
        at: Pa,
        to: Tracking,
        donated: Vec<Pa>,
    ) -> Answered {
        if let Some(region) = self.regions.tracking_region(at) {
            region.state = to;
            region.donated = donated;
        }
        Ok(Answer::success())
    }

    /// Creates the table of a GiB that has none.
    pub(super) fn gpt_l1_create(&mut self, x: &Registers) -> Answered {
        let gib = self.host_gpt(x, Protection::Missing)?;
        match self.options.gpt_donates {
            0 => self.finish_gpt(gib, Protection::Created, Vec::new()),
            count => self.open_donation(Work::GptCreate { gib }, count),
        }
    }

    /// Destroys a table that the host created, if the host owns all of the GiB.
    pub(super) fn gpt_l1_destroy(&mut self, x: &Registers) -> Answered {
        let gib = self.host_gpt(x, Protection::Created)?;
        let range = PaRange::with_size(gib, GIB).map_err(|_| Status::ErrorInput)?;
        let in_use = self
            .granules
            .each(&range)
            .any(|pa| self.granules.state(pa).is_some_and(|s| s != GranuleState::Undelegated));
        require(!in_use, Status::ErrorGpt)?;
        let donated =
            self.regions.protection_region(gib).map_or(Vec::new(), |region| region.donated.clone());
        if donated.is_empty() {
            return self.finish_gpt(gib, Protection::Missing, donated);
        }
        let answer = self.open_return(Work::GptDestroy { gib }, donated)?;
        if let Some(region) = self.regions.protection_region(gib) {
            region.donated.clear();
        }
        Ok(answer)
    }

    /// The GiB that a command names, if its table is created by the host, in `state`, and not part
    /// of an operation.
    fn host_gpt(&mut self, x: &Registers, state: Protection) -> Result<Pa, Answer> {
        let [_, address, ..] = *x;
        let gib = Pa::new(address);
        require(gib.is_aligned(GIB), Status::ErrorInput)?;
        let Some(region) = self.regions.protection_region(gib) else {
            return refuse(unsupported::static_gpt(self.options.dialect));
        };
        require(region.state == state, Status::ErrorGpt)?;
        let is_busy = self.operations.any(|work| {
            matches!(work, Work::GptCreate { gib: at } | Work::GptDestroy { gib: at } if at == gib)
        });
        require(!is_busy, Status::Blocked)?;
        Ok(gib)
    }

    /// Records whether the table of the GiB exists, and its memory.
    pub(super) fn finish_gpt(&mut self, gib: Pa, state: Protection, donated: Vec<Pa>) -> Answered {
        if let Some(region) = self.regions.protection_region(gib) {
            region.state = state;
            region.donated = donated;
        }
        Ok(Answer::success())
    }

    pub(super) fn gpt_info(&self, x: &Registers) -> Answered {
        let [_, base, top, ..] = *x;
        let range = pa_range(self.granules.size(), base, top)?;
        require(range.is_aligned(GIB) && top <= PA_END, Status::ErrorInput)?;
        let state = self.regions.protection(range.base()) as u64;
        Ok(Answer::success().x1(top.min(base + GIB)).x2(state))
    }

    /// Refuses memory that an object, a table or a page of a Realm cannot be made of, because it is
    /// not tracked by granule.
    pub(super) fn require_fine(&self, range: &PaRange) -> Result<(), Answer> {
        if self.regions.changeable().is_some() {
            return self.require_fine_region(range);
        }
        if self.regions.are_fine(range) {
            return Ok(());
        }
        Err(unsupported::untracked(self.options.dialect, range.base()))
    }
}
