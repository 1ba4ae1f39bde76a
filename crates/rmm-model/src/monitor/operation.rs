//! Stateful operations: commands that are not over when their first call returns.
//!
//! An operation waits for exactly one `RMI_OP_*` command at a time; any other leaves it as it is and fails. The command that started
//! it gets its answer from the last `RMI_OP_CONTINUE`.

use alloc::vec::Vec;
use core::mem;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::desc::{AddrRangeDesc, BlockSize, DonateRequest, OpMemState};
use rmi_abi::flags::ContinueFlags;
use rmi_abi::result::OpMemReq;
use rmi_abi::{Command, GranuleSize, Pa, ResultWord, Status};
use rmi_host::Registers;

use super::{Monitor, slots_in_granule};
use crate::answer::{Answer, Answered, refuse, require};
use crate::granule::{GranuleState, granules};

/// What an operation does in the end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    RmmActivate,
    RmmDeactivate,
    RealmCreate {
        rd: Pa,
        params: u64,
    },
    RealmDestroy {
        rd: Pa,
    },
    RecCreate {
        rd: u64,
        rec: Pa,
        params: u64,
    },
    RecDestroy {
        rec: Pa,
    },
    /// A range command that was interrupted before it did anything.
    Deferred {
        command: Command,
        registers: Registers,
    },
}

impl Work {
    /// In which state the memory of the operation changes hands: before it is active, an RMM has no delegated memory to ask for.
    fn memory_state(self) -> (OpMemState, GranuleState) {
        match self {
            Self::RmmActivate | Self::RmmDeactivate => {
                (OpMemState::Undelegated, GranuleState::Undelegated)
            }
            _ => (OpMemState::Delegated, GranuleState::Delegated),
        }
    }

    /// The granule that is PARTIAL while the operation is incomplete.
    fn object(self) -> Option<Pa> {
        match self {
            Self::RealmCreate { rd, .. } | Self::RealmDestroy { rd } => Some(rd),
            Self::RecCreate { rec, .. } | Self::RecDestroy { rec } => Some(rec),
            _ => None,
        }
    }
}

/// What an operation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// `RMI_OP_MEM_DONATE`, for this many granules more.
    Donate { missing: u16 },
    /// `RMI_OP_MEM_RECLAIM`.
    Reclaim,
    /// `RMI_OP_CONTINUE`.
    Continue,
}

/// An operation that was started and is not over.
#[derive(Debug)]
pub(crate) struct Operation {
    work: Work,
    stage: Stage,
    /// Granules donated, or to be given back.
    memory: Vec<Pa>,
    /// Memory given back of which the host has yet to be told.
    untold: Vec<AddrRangeDesc>,
    /// The final answer, where it is known before the last call.
    verdict: Option<Answer>,
    can_cancel: bool,
}

impl Operation {
    /// The answer while the operation is incomplete. Only the call that starts an operation says the handle.
    fn incomplete(&self, contiguous: bool) -> Answer {
        let (request, donation) = match self.stage {
            Stage::Donate { missing } => {
                let (state, _) = self.work.memory_state();
                let request =
                    DonateRequest { size: BlockSize::Page, count: missing, contiguous, state };
                (OpMemReq::Donate, request.encode())
            }
            Stage::Reclaim => (OpMemReq::Reclaim, 0),
            Stage::Continue => (OpMemReq::None, 0),
        };
        Answer::from(ResultWord::incomplete(request, self.can_cancel)).x2(donation)
    }

    /// From now on the operation can only fail with `verdict`: memory goes back first.
    fn fail(&mut self, verdict: Answer, stage: Stage) {
        self.verdict = Some(verdict);
        self.stage = stage;
        self.can_cancel = false;
    }

    /// Where an operation goes on that gives its memory back.
    fn giving_back(&self) -> Stage {
        if self.memory.is_empty() { Stage::Continue } else { Stage::Reclaim }
    }
}

/// The operations in progress. A handle is the number of a slot, the lowest free one, as in TF-RMM; 0 is a handle like any other.
#[derive(Debug, Default)]
pub(crate) struct Operations(Vec<Option<Operation>>);

impl Operations {
    /// Slots: TF-RMM has ten for each of its 16 CPUs.
    const SLOTS: usize = 160;

    /// Operations in progress.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// The granules that operations hold, and the granules of their objects.
    #[cfg(test)]
    pub(super) fn held(&self) -> (Vec<Pa>, Vec<Pa>) {
        let open = || self.0.iter().flatten();
        let memory = open().flat_map(|operation| operation.memory.iter().copied()).collect();
        (memory, open().filter_map(|operation| operation.work.object()).collect())
    }

    pub(super) fn is_full(&self) -> bool {
        self.count() >= Self::SLOTS
    }

    fn get(&mut self, handle: u64) -> Result<&mut Operation, Answer> {
        let slot = usize::try_from(handle).ok().and_then(|slot| self.0.get_mut(slot));
        slot.and_then(Option::as_mut).ok_or(Answer::from(Status::ErrorInput))
    }

    /// Takes an operation out of its slot while it is worked on.
    fn take(&mut self, handle: u64) -> Option<Operation> {
        self.0.get_mut(usize::try_from(handle).ok()?)?.take()
    }

    fn put_back(&mut self, handle: u64, operation: Operation) {
        let slot = usize::try_from(handle).ok().and_then(|slot| self.0.get_mut(slot));
        if let Some(slot) = slot {
            *slot = Some(operation);
        }
    }

    /// Opens an operation; X1 of the answer is its handle.
    fn open(&mut self, operation: Operation, contiguous: bool) -> Answer {
        if self.is_full() {
            return Answer::from(Status::Blocked);
        }
        let answer = operation.incomplete(contiguous);
        let slot = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        match self.0.get_mut(slot) {
            Some(free) => *free = Some(operation),
            None => self.0.push(Some(operation)),
        }
        answer.x1(slot as u64)
    }

    /// Interrupts a range command before it does anything.
    pub(super) fn open_deferred(
        &mut self,
        command: Command,
        registers: Registers,
        can_cancel: bool,
    ) -> Answer {
        let work = Work::Deferred { command, registers };
        let stage = Stage::Continue;
        let memory = Vec::new();
        self.open(
            Operation { work, stage, memory, untold: Vec::new(), verdict: None, can_cancel },
            false,
        )
    }
}

impl Monitor {
    /// Starts an operation that asks for `count` granules.
    pub(super) fn open_donation(&mut self, work: Work, count: u16) -> Answered {
        require(!self.operations.is_full(), Status::Blocked)?;
        if let Some(object) = work.object() {
            self.granules.set(object, GranuleState::Partial);
        }
        let can_cancel = self.options.can_cancel;
        let stage = if count == 0 { Stage::Continue } else { Stage::Donate { missing: count } };
        let operation = Operation {
            work,
            stage,
            memory: Vec::new(),
            untold: Vec::new(),
            verdict: None,
            can_cancel,
        };
        Ok(self.operations.open(operation, self.options.contiguous_donations))
    }

    /// Starts an operation that gives `memory` back.
    pub(super) fn open_return(&mut self, work: Work, memory: Vec<Pa>) -> Answered {
        require(!self.operations.is_full(), Status::Blocked)?;
        if let Some(object) = work.object() {
            self.granules.set(object, GranuleState::Partial);
        }
        let mut operation = Operation {
            work,
            stage: Stage::Continue,
            memory,
            untold: Vec::new(),
            verdict: None,
            can_cancel: false,
        };
        operation.stage = operation.giving_back();
        Ok(self.operations.open(operation, false))
    }

    pub(super) fn op_mem_donate(&mut self, x: &Registers) -> Answered {
        let [_, handle, list, count, ..] = *x;
        let operation = self.operations.get(handle)?;
        let Stage::Donate { missing } = operation.stage else { return refuse(Status::ErrorInput) };
        let (wanted, from) = operation.work.memory_state();
        let words = self.read_list(list, count)?;
        let offered = self.offered(&words, wanted, missing)?;

        let contiguous = self.options.contiguous_donations;
        // One after the other: a list may offer the same granule twice.
        let mut usable = 0;
        for pa in &offered {
            if !self.granules.is(*pa, from) {
                break;
            }
            self.hand_over(&[*pa], GranuleState::Internal, 0);
            usable += 1;
        }
        let taken = offered.get(..usable).unwrap_or(&[]);
        let operation = self.operations.get(handle)?;
        operation.memory.extend_from_slice(taken);
        let missing = missing.saturating_sub(u16::try_from(usable).unwrap_or(u16::MAX));
        operation.stage = match missing {
            0 => Stage::Continue,
            missing => Stage::Donate { missing },
        };
        if usable == 0 && !offered.is_empty() {
            // A first granule that cannot be taken ends the operation, as in TF-RMM; even with nothing to give back it
            // goes through RECLAIM.
            operation.fail(Answer::from(Status::ErrorInput), Stage::Reclaim);
        }
        Ok(operation.incomplete(contiguous).x1(usable as u64))
    }

    /// The granules that a donation list offers, in order, if the list as a whole is one that fits the request.
    fn offered(&self, words: &[u64], wanted: OpMemState, missing: u16) -> Result<Vec<Pa>, Answer> {
        let mut offered = Vec::new();
        let mut runs = 0;
        for word in words {
            let desc = AddrRangeDesc::decode(*word, self.options.dialect, GranuleSize::Size4KiB);
            if desc.count == 0 {
                continue;
            }
            let aligned = desc.base.is_aligned(desc.size.bytes(GranuleSize::Size4KiB));
            let range = desc.range(GranuleSize::Size4KiB).ok_or(Status::ErrorInput)?;
            let room = u64::from(missing).saturating_sub(offered.len() as u64);
            let fits = range.bytes() / MIN_GRANULE <= room;
            require(aligned && fits && desc.state == wanted, Status::ErrorInput)?;
            if self.options.contiguous_donations {
                let bytes = u64::from(missing) * MIN_GRANULE;
                let whole = range.bytes() == bytes && range.base().is_aligned(bytes);
                require(whole, Status::ErrorInput)?;
            }
            offered.extend(granules(&range));
            runs += 1;
        }
        require(runs <= 1 || !self.options.contiguous_donations, Status::ErrorInput)?;
        Ok(offered)
    }

    /// Gives memory back. One call handles at most as many granules as the list has room for descriptors, and merges those that adjoin.
    ///
    /// As in TF-RMM, memory is given back before the list is written; after a list that cannot be, the next one tells of the same.
    pub(super) fn op_mem_reclaim(&mut self, x: &Registers) -> Answered {
        let [_, handle, list, count, ..] = *x;
        let operation = self.operations.get(handle)?;
        let at = Pa::new(list);
        require(operation.stage == Stage::Reclaim && at.is_aligned(8), Status::ErrorInput)?;
        let slots = usize::try_from(slots_in_granule(at, count)).unwrap_or(0);
        if slots == 0 {
            return Ok(operation.incomplete(false));
        }
        if operation.untold.is_empty() {
            let (said, to) = operation.work.memory_state();
            let most = slots.min(operation.memory.len());
            let returned: Vec<Pa> = operation.memory.drain(..most).collect();
            operation.untold = runs(&returned, said);
            self.hand_over(&returned, to, 0);
        }
        let operation = self.operations.get(handle)?;
        let told = slots.min(operation.untold.len());
        if told != 0 {
            self.list_slots(list, count)?;
        }
        let operation = self.operations.get(handle)?;
        let told: Vec<AddrRangeDesc> = operation.untold.drain(..told).collect();
        if operation.memory.is_empty() && operation.untold.is_empty() {
            operation.stage = Stage::Continue;
        }
        let answer = operation.incomplete(false);
        self.write_list(list, &told);
        Ok(answer.x1(told.len() as u64))
    }

    /// Writes descriptors to an address list that was checked to have room for them.
    pub(super) fn write_list(&mut self, list: u64, descs: &[AddrRangeDesc]) {
        let mut bytes = Vec::with_capacity(8 * descs.len());
        for desc in descs {
            let word = desc.encode(self.options.dialect, GranuleSize::Size4KiB).unwrap_or(0);
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        self.memory.write(Pa::new(list), &bytes);
    }

    pub(super) fn op_continue(&mut self, x: &Registers) -> Answered {
        let [_, handle, flags, ..] = *x;
        let operation = self.operations.get(handle)?;
        require(operation.stage == Stage::Continue, Status::ErrorInput)?;
        let Some(mut operation) = self.operations.take(handle) else {
            return refuse(Status::ErrorInput);
        };
        if let Some(verdict) = operation.verdict {
            self.release(operation.work);
            return Ok(verdict);
        }
        let memory = mem::take(&mut operation.memory);
        let done = match operation.work {
            Work::Deferred { command, registers } => {
                let stop = ContinueFlags::from_bits_retain(flags).contains(ContinueFlags::STOP);
                self.execute(command, &registers, stop.then_some(1))
            }
            Work::RmmActivate => self.finish_rmm_activate(memory.clone()),
            Work::RmmDeactivate => {
                self.back_to_init();
                Ok(Answer::success())
            }
            Work::RealmCreate { rd, params } => {
                self.finish_realm_create(rd, params, memory.clone())
            }
            Work::RealmDestroy { rd } => self.finish_realm_destroy(rd),
            Work::RecCreate { rd, rec, params } => {
                self.finish_rec_create(rd, rec, params, memory.clone())
            }
            Work::RecDestroy { rec } => self.finish_rec_destroy(rec),
        };
        match done {
            Err(verdict) if !memory.is_empty() => {
                operation.memory = memory;
                operation.fail(verdict, Stage::Reclaim);
                let answer = operation.incomplete(false);
                self.operations.put_back(handle, operation);
                Ok(answer)
            }
            Err(verdict) => {
                self.release(operation.work);
                Err(verdict)
            }
            done => done,
        }
    }

    /// Undoes what starting an operation did, now that it failed.
    fn release(&mut self, work: Work) {
        if let Some(object) = work.object()
            && self.granules.is(object, GranuleState::Partial)
        {
            self.granules.set(object, GranuleState::Delegated);
        }
        if matches!(work, Work::RmmActivate) {
            self.back_to_init();
        }
    }

    /// Cancels an operation that has not done its work yet. Its final status is then `RMI_ERROR_INPUT`, as that of any
    /// operation that the host makes fail.
    pub(super) fn op_cancel(&mut self, x: &Registers) -> Answered {
        let [_, handle, ..] = *x;
        let operation = self.operations.get(handle)?;
        require(operation.can_cancel && operation.stage != Stage::Reclaim, Status::ErrorInput)?;
        let stage = operation.giving_back();
        operation.fail(Answer::from(Status::ErrorInput), stage);
        Ok(operation.incomplete(false))
    }
}

/// Granules as descriptors; those that adjoin upwards share one.
fn runs(granules: &[Pa], state: OpMemState) -> Vec<AddrRangeDesc> {
    let mut runs: Vec<AddrRangeDesc> = Vec::new();
    for pa in granules {
        match runs.last_mut() {
            Some(run) if continues(run, *pa) => run.count += 1,
            _ => runs.push(AddrRangeDesc { base: *pa, size: BlockSize::Page, count: 1, state }),
        }
    }
    runs
}

/// Whether the granule `pa` continues the run upwards, and the descriptor can count it.
fn continues(run: &AddrRangeDesc, pa: Pa) -> bool {
    run.count < AddrRangeDesc::max_count(GranuleSize::Size4KiB)
        && run.range(GranuleSize::Size4KiB).is_some_and(|range| range.top() == pa)
}
