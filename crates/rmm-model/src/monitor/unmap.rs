//! Unmapping: Realm memory becomes delegated, host memory stays host memory.

use alloc::vec::Vec;

use rmi_abi::desc::{AddrRangeDesc, BlockSize, OpMemState};
use rmi_abi::flags::AddrSet;
use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::{GranuleSize, Ipa, IpaRange, Pa, PaRange, Status};
use rmi_host::Registers;

use super::table::walk;
use super::{Monitor, ipa_range};
use crate::answer::{Answer, Answered, refuse, require};
use crate::granule::GranuleState;
use crate::options::TablesPerCall;
use crate::rtt::Entry;

/// How an unmap command reports which memory it unmapped.
enum Report {
    /// Not at all.
    None,
    /// By one descriptor: the call ends where the memory is not one ascending run.
    Single(Option<AddrRangeDesc>),
    /// By a list: the call ends where the list is full.
    List { runs: Vec<AddrRangeDesc>, slots: usize, at: u64 },
}

impl Report {
    /// Adds a block; false if there is no place for it.
    fn add(&mut self, granule: GranuleSize, block: AddrRangeDesc) -> bool {
        match self {
            Self::None => true,
            Self::Single(run @ None) => {
                *run = Some(block);
                true
            }
            Self::Single(Some(run)) => adjoins(granule, run, &block, false),
            Self::List { runs, slots, .. } => {
                // As TF-RMM, any run of the list is extended, in either direction.
                if runs.iter_mut().any(|run| adjoins(granule, run, &block, true)) {
                    return true;
                }
                let fits = runs.len() < *slots;
                if fits {
                    runs.push(block);
                }
                fits
            }
        }
    }
}

/// Extends `run` by `block` if that follows it, or precedes it and `downwards` is allowed.
pub(super) fn adjoins(
    granule: GranuleSize,
    run: &mut AddrRangeDesc,
    block: &AddrRangeDesc,
    downwards: bool,
) -> bool {
    let is_alike = run.size == block.size && run.state == block.state;
    if !is_alike || run.count >= AddrRangeDesc::max_count(granule) {
        return false;
    }
    let top = |desc: &AddrRangeDesc| desc.range(granule).map(|range| range.top());
    if top(run) == Some(block.base) {
        run.count += 1;
        true
    } else if downwards && top(block) == Some(run.base) {
        run.base = block.base;
        run.count += 1;
        true
    } else {
        false
    }
}

impl Monitor {
    pub(super) fn rtt_data_unmap(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let [_, rd, base, top, flags, oaddr, ..] = *x;
        let granule = self.granules.size();
        let realm = self.realm(rd)?;
        let range = ipa_range(granule, base, top)?;
        require(realm.tree.geometry().range_is_protected(&range), Status::ErrorInput)?;
        let report = self.report(flags, oaddr)?;
        if let Some(answer) = self.unmap_in_steps(x, rd, &range)? {
            return Ok(answer);
        }
        self.unmap(rd, &range, report, limit)
    }

    pub(super) fn rtt_unprot_unmap(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let [_, rd, base, top, flags, oaddr, ..] = *x;
        let granule = self.granules.size();
        let realm = self.realm(rd)?;
        let range = ipa_range(granule, base, top)?;
        require(realm.tree.geometry().range_is_unprotected(&range), Status::ErrorInput)?;
        let report = self.report(flags, oaddr)?;
        self.unmap(rd, &range, report, limit)
    }

    fn report(&self, flags: u64, oaddr: u64) -> Result<Report, Answer> {
        // Bits 15:2 count the list's entries; without a list both they and the address must be
        // zero.
        let unlisted = oaddr == 0 && flags & 0xfffc == 0;
        match AddrSet::decode(flags) {
            Some(AddrSet::None) if unlisted => Ok(Report::None),
            Some(AddrSet::Single) if unlisted => Ok(Report::Single(None)),
            Some(AddrSet::List { count }) if count != 0 => {
                let slots = usize::try_from(self.list_slots(oaddr, u64::from(count))?).unwrap_or(0);
                Ok(Report::List { runs: Vec::new(), slots, at: oaddr })
            }
            _ => refuse(Status::ErrorInput),
        }
    }

    /// Unmaps a range that lies in one half. Void entries are skipped; the first entry must lie in
    /// the range as a whole.
    fn unmap(
        &mut self,
        rd: u64,
        range: &IpaRange,
        mut report: Report,
        limit: Option<u64>,
    ) -> Answered {
        let granule = self.granules.size();
        let first = walk(self.realm(rd)?, range.base(), Level::L3)?;
        let mut ipa = range.base();
        let mut entries = 0;
        // Of the first memory that is unmapped, where regions can be changed.
        let mut region = None;
        while ipa < range.top() && limit.is_none_or(|limit| entries < limit) {
            let found = walk(self.realm(rd)?, ipa, Level::L3)?;
            if self.options.tables_per_call == TablesPerCall::One && found.table != first.table {
                break;
            }
            if found.base != ipa || found.top() > range.top().raw() {
                if entries == 0 {
                    return Err(Answer::rtt(found.level));
                }
                break;
            }
            let (pa, state, remains) = match found.entry {
                Entry::Data { pa, ripas, perm } => {
                    if let Err(refused) = self.require_unmappable(&found, pa) {
                        if entries == 0 {
                            return Err(refused);
                        }
                        break;
                    }
                    if !self.is_in_same_region(&mut region, pa) {
                        break;
                    }
                    let planes = &self.realm(rd)?.planes;
                    if planes.first_mapped(ipa, found.top()).is_some() {
                        if entries == 0 {
                            return refuse(Status::ErrorRttAux);
                        }
                        break;
                    }
                    // An entry whose content is lost loses its permissions, too.
                    let (ripas, perm) = match ripas {
                        Ripas::Ram => (Ripas::Destroyed, planes.perm(0, 0)),
                        _ => (ripas, perm),
                    };
                    (Some(pa), OpMemState::Delegated, Entry::Void { ripas, perm })
                }
                Entry::MappedNs { pa, .. } => (Some(pa), OpMemState::Undelegated, Entry::VoidNs),
                void => (None, OpMemState::Delegated, void),
            };
            if let Some(pa) = pa {
                let size = found.level.block_size().unwrap_or(BlockSize::Level0);
                let block = AddrRangeDesc { base: pa, size, count: 1, state };
                if !report.add(granule, block) {
                    break;
                }
                self.realm(rd)?.tree.set(&found, remains);
                if state == OpMemState::Delegated
                    && let Ok(memory) = PaRange::with_size(pa, found.bytes())
                {
                    self.convert(&memory, GranuleState::Delegated, 0);
                }
            }
            entries += 1;
            ipa = Ipa::new(found.top());
        }
        Ok(self.reported(Answer::success().x1(ipa.raw()), report))
    }

    fn reported(&mut self, answer: Answer, report: Report) -> Answer {
        match report {
            Report::None | Report::Single(None) => answer,
            // TF-RMM says DELEGATED (0) here even of host memory.
            Report::Single(Some(run)) => {
                let run = AddrRangeDesc { state: OpMemState::Delegated, ..run };
                let word = run.encode(self.options.dialect, self.granules.size()).unwrap_or(0);
                answer.x2(word)
            }
            // Whether the list is still host memory is checked again, because the work may have
            // taken long: the memory is unmapped in either case.
            Report::List { runs, at, .. } => {
                if self.is_host_memory(Pa::new(at), 8 * runs.len()).is_err() {
                    return answer;
                }
                self.write_list(at, &runs);
                answer.x3(runs.len() as u64)
            }
        }
    }
}
