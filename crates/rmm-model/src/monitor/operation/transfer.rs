//! Memory changes owner within an operation: it is donated, and given back.

use alloc::vec::Vec;

use rmi_abi::desc::{AddrRangeDesc, BlockSize, OpMemState};
use rmi_abi::{GranuleSize, Pa, Status};
use rmi_host::Registers;

use super::{Stage, Terms, granule_state};
use crate::answer::{Answer, Answered, refuse, require};
use crate::granule::GranuleState;
use crate::monitor::Monitor;
use crate::monitor::unmap::adjoins;
use crate::regions::{Protection, Tracking};

impl Monitor {
    pub(in crate::monitor) fn op_mem_donate(&mut self, x: &Registers) -> Answered {
        let [_, handle, list, count, ..] = *x;
        let operation = self.operations.get(handle)?;
        let Stage::Donate { missing } = operation.stage else { return refuse(Status::ErrorInput) };
        let (terms, work) = (operation.terms, operation.work);
        let words = self.read_list(list, count)?;
        let offered = self.offered(&words, terms, missing)?;

        let is_there = |monitor: &Self, (pa, state): &(Pa, OpMemState)| {
            let is_usable = match state {
                _ if let Some(wanted) = monitor.wanted_for_tracking(work, *pa) => {
                    wanted == Some(*state)
                }
                OpMemState::Undelegated => monitor.regions.protection(*pa) != Protection::Missing,
                _ => monitor.regions.tracking(*pa) == Tracking::Fine,
            };
            is_usable && monitor.granules.is(*pa, granule_state(*state))
        };
        // A contiguous block is taken as a whole.
        let is_whole = !terms.contiguous || offered.iter().all(|granule| is_there(self, granule));
        let mut taken = Vec::new();
        // One after the other: a list may offer the same granule twice.
        for granule in offered.iter().filter(|_| is_whole) {
            if !is_there(self, granule) {
                break;
            }
            self.set_granules(&[granule.0], GranuleState::Internal, 0);
            taken.push(granule.0);
        }
        let operation = self.operations.get(handle)?;
        operation.memory.extend_from_slice(&taken);
        match missing.saturating_sub(u16::try_from(taken.len()).unwrap_or(u16::MAX)) {
            0 => operation.request_more(),
            missing => operation.stage = Stage::Donate { missing },
        }
        if taken.is_empty() && !offered.is_empty() {
            // A first granule that cannot be taken ends the operation, as in TF-RMM; even with
            // nothing to give back it has the stage RECLAIM.
            operation.fail(Answer::from(Status::ErrorInput), Stage::Reclaim);
        }
        Ok(operation.incomplete().x1(taken.len() as u64))
    }

    /// The granules that a donation list offers, in order, with the state that the list says they
    /// are in, if the list as a whole fits the request.
    fn offered(
        &self,
        words: &[u64],
        terms: Terms,
        missing: u16,
    ) -> Result<Vec<(Pa, OpMemState)>, Answer> {
        let mut offered = Vec::new();
        let mut runs = 0;
        let granule = self.granules.size();
        for word in words {
            let desc = AddrRangeDesc::decode(*word, self.options.dialect, granule);
            if desc.count == 0 {
                continue;
            }
            let aligned = desc.base.is_aligned(desc.size.bytes(granule));
            let range = desc.range(granule).ok_or(Status::ErrorInput)?;
            let room = u64::from(missing).saturating_sub(offered.len() as u64);
            let fits = range.bytes() / granule.bytes() <= room;
            require(aligned && fits && terms.takes(desc.state), Status::ErrorInput)?;
            if terms.contiguous {
                let bytes = u64::from(missing) * granule.bytes();
                let whole = range.bytes() == bytes && range.base().is_aligned(bytes);
                require(whole, Status::ErrorInput)?;
            }
            offered.extend(self.granules.each(&range).map(|pa| (pa, desc.state)));
            runs += 1;
        }
        require(runs <= 1 || !terms.contiguous, Status::ErrorInput)?;
        Ok(offered)
    }

    /// Gives memory back. One call handles at most as many granules as the list has places for
    /// descriptors, and merges adjacent ones.
    ///
    /// As in TF-RMM, memory is given back before the list is written; after a list that cannot be
    /// written, the next one names the same memory.
    pub(in crate::monitor) fn op_mem_reclaim(&mut self, x: &Registers) -> Answered {
        let [_, handle, list, count, ..] = *x;
        let at = Pa::new(list);
        let in_granule = self.slots_in_granule(at, count);
        let operation = self.operations.get(handle)?;
        require(operation.stage == Stage::Reclaim && at.is_aligned(8), Status::ErrorInput)?;
        let limit = self.options.reclaim_list_limit.map_or(u64::MAX, |limit| limit.get().into());
        let slots = usize::try_from(in_granule.min(limit)).unwrap_or(0);
        if slots == 0 {
            return Ok(operation.incomplete());
        }
        if operation.unreported.is_empty() {
            let (said, work) = (operation.terms.returns, operation.work);
            let most = slots.min(operation.memory.len());
            let returned: Vec<Pa> = operation.memory.drain(..most).collect();
            let mut unreported = Vec::new();
            for pa in returned {
                let said = self.wanted_for_tracking(work, pa).flatten().unwrap_or(said);
                self.set_granules(&[pa], granule_state(said), 0);
                report(self.granules.size(), &mut unreported, pa, said);
            }
            self.operations.get(handle)?.unreported = unreported;
        }
        let operation = self.operations.get(handle)?;
        let reported = slots.min(operation.unreported.len());
        if reported != 0 {
            self.list_slots(list, count)?;
        }
        let operation = self.operations.get(handle)?;
        let reported: Vec<AddrRangeDesc> = operation.unreported.drain(..reported).collect();
        if operation.memory.is_empty() && operation.unreported.is_empty() {
            operation.stage = Stage::Continue;
        }
        let answer = operation.incomplete();
        self.write_list(list, &reported);
        Ok(answer.x1(reported.len() as u64))
    }

    /// Writes descriptors to an address list that was checked to have places for them.
    pub(in crate::monitor) fn write_list(&mut self, list: u64, descs: &[AddrRangeDesc]) {
        let mut bytes = Vec::with_capacity(8 * descs.len());
        for desc in descs {
            let word = desc.encode(self.options.dialect, self.granules.size()).unwrap_or(0);
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        self.memory.write(Pa::new(list), &bytes);
    }
}

/// Adds a granule to descriptors; as in TF-RMM, to the first run that it is adjacent to at either
/// end.
fn report(size: GranuleSize, runs: &mut Vec<AddrRangeDesc>, pa: Pa, state: OpMemState) {
    let granule = AddrRangeDesc { base: pa, size: BlockSize::Page, count: 1, state };
    if !runs.iter_mut().any(|run| adjoins(size, run, &granule, true)) {
        runs.push(granule);
    }
}
