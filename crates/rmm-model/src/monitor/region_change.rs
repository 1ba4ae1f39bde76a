//! Tracking regions that the host can change: from NONE to FINE or COARSE and back, with the memory
//! that this takes.

use rmi_abi::desc::OpMemState;
use rmi_abi::{Pa, PaRange, Status};

use super::Monitor;
use super::operation::Work;
use super::regions::CATEGORY_CONVENTIONAL;
use crate::answer::{Answer, Answered, refuse, require};
use crate::granule::GranuleState;
use crate::regions::Tracking;
use crate::unsupported;

impl Monitor {
    /// `RMI_GRANULE_TRACKING_SET`, in the order in which TF-RMM (October 2026) checks.
    pub(super) fn change_region(&mut self, at: Pa, category: u64, state: u64) -> Answered {
        let to = Tracking::wanted(state).ok_or(Status::ErrorInput)?;
        // Where the base of a region is a hole, there is no category that it must have.
        let is_memory = self.options.dram.contains(at);
        let region = self.regions.tracking_region(at).ok_or(Status::ErrorInput)?;
        let (from, range, donated) = (region.state, region.range, region.donated.clone());
        require(category == CATEGORY_CONVENTIONAL || !is_memory, Status::ErrorInput)?;
        require(from != Tracking::Intermediate, Status::Blocked)?;
        if from == to {
            return Ok(Answer::success());
        }
        let memory = self.regions.memory(&range);
        require(to != Tracking::Coarse || memory == range, Status::ErrorInput)?;
        let content = self.state_of_all(&memory, &donated)?;
        let allowed: &[GranuleState] = match (from, to) {
            (Tracking::Fine, Tracking::Coarse) => {
                &[GranuleState::Undelegated, GranuleState::Delegated]
            }
            (Tracking::Coarse, Tracking::Fine) => {
                &[GranuleState::Undelegated, GranuleState::Delegated, GranuleState::Data]
            }
            _ => &[GranuleState::Undelegated],
        };
        require(allowed.contains(&content), Status::ErrorInput)?;
        let inside = match content {
            GranuleState::Undelegated => OpMemState::Undelegated,
            GranuleState::Delegated => OpMemState::Delegated,
            // Memory of a Realm cannot be donated.
            _ => OpMemState::Reserved,
        };
        self.start_tracking_set(at, (from, to), Some(inside), donated)
    }

    /// The state that all of a region's memory has, without the part that the RMM was given to
    /// track it. There must be some other memory.
    fn state_of_all(&self, memory: &PaRange, donated: &[Pa]) -> Result<GranuleState, Answer> {
        let mut ordinary = self.granules.each(memory).filter(|pa| !donated.contains(pa));
        let mut states = ordinary.by_ref().filter_map(|pa| self.granules.state(pa));
        let first = states.next().ok_or(Status::ErrorInput)?;
        let (mut is_alike, mut is_partial) = (true, first == GranuleState::Partial);
        for state in states {
            is_alike &= state == first;
            is_partial |= state == GranuleState::Partial;
        }
        require(!is_partial, Status::Blocked)?;
        require(is_alike, Status::ErrorInput)?;
        Ok(first)
    }

    /// For an operation that changes a region as the host can change it: the state in which it
    /// takes the granule at `pa` and returns it; `Some(None)` if it does not take it.
    pub(super) fn wanted_for_tracking(&self, work: Work, pa: Pa) -> Option<Option<OpMemState>> {
        let Work::TrackingSet { region, inside: Some(inside), .. } = work else { return None };
        let range = PaRange::with_size(region, self.regions.size()).ok();
        if range.is_some_and(|range| range.contains(pa)) {
            return Some(Some(inside).filter(|state| *state != OpMemState::Reserved));
        }
        let is_fine = self.regions.tracking(pa) == Tracking::Fine;
        Some(is_fine.then_some(OpMemState::Delegated))
    }

    /// Refuses memory that is to become an object, a table or a page, and is not FINE.
    pub(super) fn require_fine_region(&self, range: &PaRange) -> Result<(), Answer> {
        for at in self.granules.each(range) {
            if self.is_coarse(at)? {
                return Err(unsupported::untracked(self.options.dialect, at));
            }
        }
        Ok(())
    }

    /// Whether memory is COARSE, otherwise it is FINE; refuses memory that is neither.
    pub(super) fn is_coarse(&self, at: Pa) -> Result<bool, Answer> {
        match self.regions.tracking(at) {
            Tracking::Fine => Ok(false),
            Tracking::Coarse => Ok(true),
            Tracking::Reserved => refuse(Status::ErrorInput),
            Tracking::Intermediate => refuse(Status::Blocked),
            Tracking::None => Err(unsupported::untracked(self.options.dialect, at)),
        }
    }
}
