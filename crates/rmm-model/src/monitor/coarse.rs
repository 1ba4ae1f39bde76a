//! Memory that changes owner where the host can change tracking regions: region by region, and a
//! COARSE region as a whole.

use rmi_abi::rtt::Level;
use rmi_abi::{Command, IpaRange, Pa, PaRange, Status};
use rmi_host::Registers;

use super::Monitor;
use super::map::Blocks;
use super::table::walk;
use crate::answer::{Answer, Answered, require};
use crate::granule::GranuleState;
use crate::regions::Protection;
use crate::rtt::{Entry, Walk};
use crate::unsupported;

/// A range command about a COARSE region that takes more than one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coarse {
    pub(super) command: Command,
    pub(super) registers: Registers,
    pub(super) region: PaRange,
    /// The state of its memory before.
    pub(super) from: GranuleState,
    /// How many more calls it takes.
    pub(super) steps: u32,
    /// If it is undone, the status that it ends with.
    pub(super) fails: Option<Status>,
}

impl Monitor {
    /// Moves memory from one state to another, from the base of `range` and in one tracking region:
    /// what is in the wanted state already is skipped and counts as progress.
    pub(super) fn move_in_region(
        &mut self,
        x: &Registers,
        range: &PaRange,
        limit: Option<u64>,
        (from, to): (GranuleState, GranuleState),
        content: u8,
    ) -> Answered {
        let base = range.base();
        let is_coarse = self.is_coarse(base)?;
        require(self.regions.protection(base) != Protection::Missing, Status::ErrorGpt)?;
        if is_coarse {
            return self.move_coarse(x, range, (from, to), content);
        }
        let region = self.regions.region(base).ok_or(Status::ErrorInput)?.range;
        let memory = self.regions.memory(&region);
        let part = range.intersection(&memory).ok_or(Status::ErrorInput)?;
        let most = self.options.granules_per_call.limit().min(limit.unwrap_or(u64::MAX));
        let (mut at, mut moved) = (base, 0);
        for granule in self.granules.each(&part) {
            if self.granules.is(granule, to) && moved == 0 {
                // Skipped; what follows a granule that was moved is not.
            } else if self.granules.is(granule, from) && moved < most {
                self.granules.set(granule, to);
                self.memory.fill(granule, self.granules.bytes(), content);
                moved += 1;
            } else {
                break;
            }
            at = granule.checked_add(self.granules.bytes()).unwrap_or(part.top());
        }
        if at == base {
            return self.granules.missing(base, true);
        }
        Ok(Answer::success().x1(at.raw()))
    }

    /// Moves a COARSE region, or skips it.
    fn move_coarse(
        &mut self,
        x: &Registers,
        range: &PaRange,
        (from, to): (GranuleState, GranuleState),
        content: u8,
    ) -> Answered {
        let [x0, ..] = *x;
        let base = range.base();
        let region = self.regions.coarse(base).filter(|region| region.top() <= range.top());
        let Some(region) = region else {
            return Err(unsupported::untracked(self.options.dialect, base));
        };
        let done = Answer::success().x1(region.top().raw());
        if self.granules.is(base, to) {
            return Ok(done);
        }
        if !self.granules.is(base, from) {
            return self.granules.missing(base, true);
        }
        if !self.is_resumed {
            let delegates = to == GranuleState::Delegated;
            let fails = if delegates { self.regions.rolls_back() } else { None };
            let steps = self.steps().max(u32::from(fails.is_some()));
            if steps > 0 {
                let command = self.command(x0).ok_or(Status::ErrorInput)?;
                let registers = *x;
                let coarse = Coarse { command, registers, region, from, steps, fails };
                return self.open_coarse(coarse);
            }
        }
        self.convert(&region, to, content);
        Ok(done)
    }

    /// How many calls more than one a command about a COARSE region takes.
    fn steps(&self) -> u32 {
        self.regions.changeable().map_or(0, |regions| regions.coarse_steps)
    }

    /// Whether a command that was not interrupted yet takes more than one call.
    fn takes_steps(&self) -> bool {
        self.steps() != 0 && !self.is_resumed
    }

    /// The last step of a command about a COARSE region.
    pub(super) fn finish_coarse(&mut self, coarse: &Coarse) -> Answered {
        let Coarse { command, registers, region, from, fails, .. } = *coarse;
        self.granules.set_all(&region, from);
        let Some(status) = fails else { return self.resume(command, &registers, None) };
        // What was delegated for a while has lost its content.
        self.memory.fill(region.base(), region.bytes(), 0);
        let answer = match status {
            Status::ErrorTracking => unsupported::untracked(self.options.dialect, region.base()),
            status => Answer::from(status),
        };
        Ok(answer.x1(region.base().raw()))
    }

    /// Starts to map a COARSE region that is the first block of a range, if that takes more than
    /// one call.
    pub(super) fn map_in_steps(
        &mut self,
        x: &Registers,
        rd: u64,
        range: &IpaRange,
        blocks: &Blocks,
    ) -> Result<Option<Answer>, Answer> {
        if !self.takes_steps() {
            return Ok(None);
        }
        let Some((block, Some(level))) = blocks.peek() else { return Ok(None) };
        let region = self.regions.coarse(block.pa).filter(|region| region.bytes() == block.bytes);
        let Some(region) = region else { return Ok(None) };
        if block.bytes > range.bytes() || level != blocks.level {
            return Ok(None);
        }
        let found = walk(self.realm(rd)?, range.base(), level)?;
        let is_void = found.level == level && matches!(found.entry, Entry::Void { .. });
        if !is_void {
            return Ok(None);
        }
        self.in_steps(x, Command::RttDataMap, region, GranuleState::Delegated)
    }

    /// Starts to unmap a COARSE region at the start of a range, if that takes more than one call.
    pub(super) fn unmap_in_steps(
        &mut self,
        x: &Registers,
        rd: u64,
        range: &IpaRange,
    ) -> Result<Option<Answer>, Answer> {
        if !self.takes_steps() {
            return Ok(None);
        }
        let realm = self.realm(rd)?;
        let found = walk(realm, range.base(), Level::L3)?;
        let is_shown = realm.planes.first_mapped(found.base, found.top()).is_some();
        let fits = found.base == range.base() && found.top() <= range.top().raw();
        let Entry::Data { pa, .. } = found.entry else { return Ok(None) };
        let region = self.regions.coarse(pa).filter(|region| region.bytes() == found.bytes());
        let Some(region) = region else { return Ok(None) };
        if is_shown || !fits {
            return Ok(None);
        }
        self.in_steps(x, Command::RttDataUnmap, region, GranuleState::Data)
    }

    fn in_steps(
        &mut self,
        x: &Registers,
        command: Command,
        region: PaRange,
        from: GranuleState,
    ) -> Result<Option<Answer>, Answer> {
        if !self.granules.are(&region, from) {
            return Ok(None);
        }
        let (registers, steps) = (*x, self.steps());
        let coarse = Coarse { command, registers, region, from, steps, fails: None };
        self.open_coarse(coarse).map(Some)
    }

    /// Refuses memory that cannot be mapped by a block of its size because of how it is tracked.
    pub(super) fn require_mappable(&self, memory: &PaRange) -> Result<(), Answer> {
        if self.regions.changeable().is_none() {
            return self.require_fine(memory);
        }
        self.require_block(memory, GranuleState::Delegated)
    }

    /// The same for memory that a block maps and that is to be unmapped.
    pub(super) fn require_unmappable(&self, found: &Walk, pa: Pa) -> Result<(), Answer> {
        if self.regions.changeable().is_none() {
            return Ok(());
        }
        let memory = PaRange::with_size(pa, found.bytes());
        self.require_block(&memory.map_err(|_| Status::ErrorInput)?, GranuleState::Data)
    }

    /// Refuses a block that is larger than a region, or smaller than a COARSE one.
    fn require_block(&self, memory: &PaRange, state: GranuleState) -> Result<(), Answer> {
        let dialect = self.options.dialect;
        let mismatch = || Err(unsupported::untracked(dialect, memory.base()));
        if memory.bytes() > self.regions.size() {
            return mismatch();
        }
        if self.is_coarse(memory.base())? && memory.bytes() != self.regions.size() {
            return mismatch();
        }
        let is_partial =
            self.granules.each(memory).any(|pa| self.granules.is(pa, GranuleState::Partial));
        require(self.granules.are(memory, state) || !is_partial, Status::Blocked)
    }

    /// Whether memory is unmapped by the same call as what was unmapped before it: that of the same
    /// region, where the host can change regions.
    pub(super) fn is_in_same_region(&self, first: &mut Option<PaRange>, pa: Pa) -> bool {
        if self.regions.changeable().is_none() {
            return true;
        }
        let region = self.regions.region(pa).map(|region| region.range);
        match first {
            None => {
                *first = region;
                true
            }
            first => *first == region,
        }
    }
}
