//! Memory changes owner: delegate and undelegate, and every other change of a granule's owner.

use rmi_abi::{Pa, PaRange, Status};
use rmi_host::Registers;

use super::{Monitor, pa_range};
use crate::answer::{Answer, Answered, require};
use crate::granule::GranuleState;
use crate::memory::POISON;
use crate::options::GIB;
use crate::regions::{Protection, Tracking};
use crate::unsupported;

impl Monitor {
    /// `RMI_GRANULE_DELEGATE` of 1.0.
    pub(super) fn delegate_one(&mut self, x: &Registers) -> Answered {
        let (from, to) = (GranuleState::Undelegated, GranuleState::Delegated);
        self.change_hands_of_one(x, from, to, POISON)
    }

    /// `RMI_GRANULE_UNDELEGATE` of 1.0.
    pub(super) fn undelegate_one(&mut self, x: &Registers) -> Answered {
        let (from, to) = (GranuleState::Delegated, GranuleState::Undelegated);
        self.change_hands_of_one(x, from, to, 0)
    }

    /// Moves one granule from one state to another; all failures are the same.
    fn change_hands_of_one(
        &mut self,
        x: &Registers,
        from: GranuleState,
        to: GranuleState,
        content: u8,
    ) -> Answered {
        let [_, address, ..] = *x;
        let granule = Pa::new(address);
        require(self.granules.is(granule, from), Status::ErrorInput)?;
        self.set_granules(&[granule], to, content);
        Ok(Answer::success())
    }

    pub(super) fn delegate(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let (from, to) = (GranuleState::Undelegated, GranuleState::Delegated);
        self.change_hands(x, limit, from, to, POISON)
    }

    pub(super) fn undelegate(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let (from, to) = (GranuleState::Delegated, GranuleState::Undelegated);
        self.change_hands(x, limit, from, to, 0)
    }

    /// Moves the granules of a range from one state to another, as far as they are in the first.
    ///
    /// On failure X1 is the base, as in TF-RMM.
    fn change_hands(
        &mut self,
        x: &Registers,
        limit: Option<u64>,
        from: GranuleState,
        to: GranuleState,
        content: u8,
    ) -> Answered {
        let [_, base, top, ..] = *x;
        let range =
            pa_range(self.granules.size(), base, top).map_err(|refused| refused.x1(base))?;
        if self.regions.changeable().is_some() {
            let moved = self.move_in_region(x, &range, limit, (from, to), content);
            return moved.map_err(|refused| refused.x1(base));
        }
        let most = self.options.granules_per_call.limit();
        let moved = self.moved(&range, most.min(limit.unwrap_or(u64::MAX)), from, to, content);
        if moved == range.base() {
            return Err(self.why_not(&range).x1(base));
        }
        Ok(Answer::success().x1(moved.raw()))
    }

    /// Moves at most `most` granules, or COARSE regions; returns the address of the first that was
    /// not moved.
    fn moved(
        &mut self,
        range: &PaRange,
        most: u64,
        from: GranuleState,
        to: GranuleState,
        content: u8,
    ) -> Pa {
        let mut at = range.base();
        let mut left = most;
        while at < range.top() && left > 0 {
            let reached = if let Some(fine) = self.fine_granules(at, range, left) {
                let run = self.granules.run(&fine, from);
                let moved = PaRange::new(at, run).unwrap_or(PaRange::empty(at));
                self.convert(&moved, to, content);
                left -= moved.bytes() / self.granules.bytes();
                if run != fine.top() {
                    return run;
                }
                run
            } else {
                let Some(unit) = self.unit(at, range) else { break };
                if !self.granules.are(&unit, from) {
                    break;
                }
                self.convert(&unit, to, content);
                left -= 1;
                unit.top()
            };
            at = reached;
        }
        at
    }

    /// The memory from `at` on that changes owner by granule: at most so many granules, and not
    /// beyond the GiB.
    fn fine_granules(&self, at: Pa, range: &PaRange, most: u64) -> Option<PaRange> {
        let is_fine = self.regions.tracking(at) == Tracking::Fine
            && self.regions.protection(at) != Protection::Missing;
        if !is_fine {
            return None;
        }
        let bytes = self.granules.bytes();
        let gib = PaRange::with_size(at.align_down(GIB), GIB).ok()?;
        let top = self.regions.tracked_alike(at, gib.top().min(range.top())).align_up(bytes)?;
        let most = at.checked_add(most.saturating_mul(bytes)).unwrap_or(top);
        PaRange::new(at, most.min(top)).ok()
    }

    /// What changes owner as a unit at `at`: a granule, or all of a COARSE region if that starts
    /// there and ends in `range`.
    fn unit(&self, at: Pa, range: &PaRange) -> Option<PaRange> {
        if self.regions.protection(at) == Protection::Missing {
            return None;
        }
        match self.regions.tracking(at) {
            Tracking::Fine => PaRange::with_size(at, self.granules.bytes()).ok(),
            Tracking::Coarse => {
                self.regions.coarse(at).filter(|region| region.top() <= range.top())
            }
            Tracking::None | Tracking::Intermediate | Tracking::Reserved => None,
        }
    }

    /// Why nothing at the base of `range` changed owner.
    fn why_not(&self, range: &PaRange) -> Answer {
        let at = range.base();
        if self.unit(at, range).is_some() {
            let refused = self.granules.missing(at, self.options.blocked_objects);
            refused.map_or_else(|refused| refused, |()| Answer::success())
        } else if self.regions.protection(at) == Protection::Missing {
            Answer::from(Status::ErrorGpt)
        } else {
            unsupported::untracked(self.options.dialect, at)
        }
    }

    /// Puts every granule of the list into `state`, with content `byte`.
    pub(super) fn set_granules(&mut self, list: &[Pa], state: GranuleState, byte: u8) {
        for pa in list {
            self.granules.set(*pa, state);
            self.memory.fill(*pa, self.granules.bytes(), byte);
        }
    }

    /// Puts every granule of the range into `state`, with content `byte`.
    pub(super) fn convert(&mut self, range: &PaRange, state: GranuleState, byte: u8) {
        self.granules.set_all(range, state);
        self.memory.fill(range.base(), range.bytes(), byte);
    }
}
