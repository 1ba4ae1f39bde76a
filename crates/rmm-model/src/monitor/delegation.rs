//! Memory changes hands: delegate and undelegate, and every other change of a granule's owner.

use rmi_abi::{Pa, PaRange};
use rmi_host::Registers;

use super::{Monitor, pa_range};
use crate::answer::{Answer, Answered, require};
use crate::granule::{GranuleState, granules};
use crate::memory::POISON;
use crate::unmodelled;

impl Monitor {
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
    /// On failure X1 is the base, as TF-RMM has it.
    fn change_hands(
        &mut self,
        x: &Registers,
        limit: Option<u64>,
        from: GranuleState,
        to: GranuleState,
        content: u8,
    ) -> Answered {
        let [_, base, top, ..] = *x;
        let range = pa_range(base, top).map_err(|refused| refused.x1(base))?;
        let is_tracked = self.options.dram.contains(range.base());
        require(is_tracked, unmodelled::untracked(self.options.dialect))
            .map_err(|refused| refused.x1(base))?;
        let most = self.options.granules_per_call.limit();
        let moved = self.moved(&range, most.min(limit.unwrap_or(u64::MAX)), from, to, content);
        if moved == base {
            let refused = self.granules.missing(range.base(), self.options.blocked_objects);
            return refused.map_err(|refused: Answer| refused.x1(base));
        }
        Ok(Answer::success().x1(moved))
    }

    /// Moves at most `most` granules; returns the address of the first that was not.
    fn moved(
        &mut self,
        range: &PaRange,
        most: u64,
        from: GranuleState,
        to: GranuleState,
        content: u8,
    ) -> u64 {
        for (moved, granule) in (0..).zip(granules(range)) {
            if moved == most || !self.granules.is(granule, from) {
                return granule.raw();
            }
            self.granules.set(granule, to);
            self.memory.refill(granule, content);
        }
        range.top().raw()
    }

    /// Puts every granule of the list into `state`, with content `byte`.
    pub(super) fn hand_over(&mut self, list: &[Pa], state: GranuleState, byte: u8) {
        for pa in list {
            self.granules.set(*pa, state);
            self.memory.refill(*pa, byte);
        }
    }

    /// Puts every granule of `bytes` bytes at `pa` into `state` and zeroes it.
    pub(super) fn convert(&mut self, pa: Pa, bytes: u64, state: GranuleState) {
        if let Ok(range) = PaRange::with_size(pa, bytes) {
            for granule in granules(&range) {
                self.granules.set(granule, state);
                self.memory.refill(granule, 0);
            }
        }
    }
}
