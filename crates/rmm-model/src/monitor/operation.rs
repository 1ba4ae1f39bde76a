//! Stateful operations: commands that are not complete when their first call returns.
//!
//! An operation waits for exactly one `RMI_OP_*` command at a time; any other leaves it as it is
//! and fails. The command that started it gets its answer from the last `RMI_OP_CONTINUE`.

mod transfer;

use alloc::vec::Vec;
use core::mem;

use rmi_abi::desc::{AddrRangeDesc, BlockSize, DonateRequest, OpMemState};
use rmi_abi::flags::ContinueFlags;
use rmi_abi::result::OpMemReq;
use rmi_abi::{Command, Dialect, GranuleSize, Pa, ResultWord, Status};
use rmi_host::Registers;

use super::coarse::Coarse;
use super::{Monitor, is_due};
use crate::answer::{Answer, Answered, refuse, require};
use crate::granule::GranuleState;
#[cfg(test)]
use crate::granule::Granules;
use crate::regions::{Protection, Tracking};

/// What an operation does when it completes.
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
    TrackingSet {
        region: Pa,
        from: Tracking,
        to: Tracking,
        /// The state of memory donated from within a region that the host can change.
        inside: Option<OpMemState>,
    },
    GptCreate {
        gib: Pa,
    },
    GptDestroy {
        gib: Pa,
    },
    /// A range command that was interrupted before it did anything.
    Deferred {
        command: Command,
        registers: Registers,
    },
    /// A range command about a COARSE region, whose granules are PARTIAL meanwhile.
    Coarse(Coarse),
}

impl Work {
    /// The state of the memory that it asks for, `state` if it can choose, and the state in which
    /// it gives memory back.
    fn memory_states(self, state: OpMemState, dialect: Dialect) -> (OpMemState, OpMemState) {
        match self {
            // Before it is active, an RMM has no delegated memory to ask for; nor have tables that
            // delegation needs.
            Self::RmmActivate
            | Self::RmmDeactivate
            | Self::GptCreate { .. }
            | Self::GptDestroy { .. } => (OpMemState::Undelegated, OpMemState::Undelegated),
            // The memory that the RMM is given to track a region may lie in that region.
            Self::TrackingSet { inside, .. } if dialect.donate_state_width() > 1 => {
                let returned = inside.map_or(OpMemState::Undelegated, |_| OpMemState::Delegated);
                (OpMemState::Conditional, returned)
            }
            _ => (state, OpMemState::Delegated),
        }
    }

    /// Whether its last step makes an object or table of the memory that it asked for.
    fn uses_donation(self) -> bool {
        match self {
            Self::RmmActivate
            | Self::RealmCreate { .. }
            | Self::RecCreate { .. }
            | Self::GptCreate { .. } => true,
            Self::TrackingSet { to, .. } => to == Tracking::Fine,
            _ => false,
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
    /// `RMI_OP_MEM_DONATE`, for this many more granules.
    Donate { missing: u16 },
    /// `RMI_OP_MEM_RECLAIM`.
    Reclaim,
    /// `RMI_OP_CONTINUE`.
    Continue,
}

/// The form in which an operation asks for memory.
#[derive(Clone, Copy, Debug)]
struct Terms {
    granule: GranuleSize,
    state: OpMemState,
    /// The state of memory when it is given back.
    returns: OpMemState,
    contiguous: bool,
    blocks: bool,
}

impl Terms {
    fn request(self, granules: u16) -> DonateRequest {
        let granule = self.granule;
        let bytes = u64::from(granules) * granule.bytes();
        let divides = |size: &BlockSize| bytes.is_multiple_of(size.bytes(granule));
        let size = BlockSize::ALL.into_iter().rev().filter(|_| self.blocks).find(divides);
        let size = size.unwrap_or(BlockSize::Page);
        let count = u16::try_from(bytes / size.bytes(granule)).unwrap_or(u16::MAX);
        DonateRequest { size, count, contiguous: self.contiguous, state: self.state }
    }

    /// Whether memory in that state, as a descriptor names it, may be donated.
    fn takes(self, state: OpMemState) -> bool {
        match self.state {
            OpMemState::Conditional => {
                matches!(state, OpMemState::Delegated | OpMemState::Undelegated)
            }
            wanted => state == wanted,
        }
    }

    /// Divides what is asked for into `rounds` requests where that is possible, the last one first.
    fn divide(self, granules: u16, rounds: u16) -> Vec<u16> {
        let mut requests = Vec::new();
        let mut left = granules;
        while left != 0 {
            let rounds = rounds.saturating_sub(u16::try_from(requests.len()).unwrap_or(u16::MAX));
            let part = left.div_ceil(rounds.max(1));
            // A contiguous request is for a power of two.
            let part = if self.contiguous { 1 << part.ilog2() } else { part };
            requests.push(part);
            left -= part;
        }
        requests.reverse();
        requests
    }
}

/// The state of a granule for which a descriptor says `state`.
fn granule_state(state: OpMemState) -> GranuleState {
    match state {
        OpMemState::Undelegated => GranuleState::Undelegated,
        _ => GranuleState::Delegated,
    }
}

/// An operation that was started and is not complete.
#[derive(Debug)]
pub(crate) struct Operation {
    work: Work,
    stage: Stage,
    /// The requests that follow the current one, the last one first.
    requests: Vec<u16>,
    /// The form of its requests for memory.
    terms: Terms,
    /// Granules donated, or to be given back.
    memory: Vec<Pa>,
    /// Memory given back that is not yet reported to the host.
    unreported: Vec<AddrRangeDesc>,
    /// The final answer, where it is known before the last call.
    failure: Option<Answer>,
    can_cancel: bool,
}

impl Operation {
    /// The answer while the operation is incomplete. Only the call that starts an operation returns
    /// the handle.
    fn incomplete(&self) -> Answer {
        let (request, donation) = match self.stage {
            Stage::Donate { missing } => (OpMemReq::Donate, self.terms.request(missing).encode()),
            Stage::Reclaim => (OpMemReq::Reclaim, 0),
            Stage::Continue => (OpMemReq::None, 0),
        };
        Answer::from(ResultWord::incomplete(request, self.can_cancel)).x2(donation)
    }

    /// Continues with the next request for memory, if there is one.
    fn request_more(&mut self) {
        self.stage = match self.requests.pop() {
            Some(missing) => Stage::Donate { missing },
            None => Stage::Continue,
        };
    }

    /// From now on the operation can only fail with `failure`: memory is given back first.
    fn fail(&mut self, failure: Answer, stage: Stage) {
        self.failure = Some(failure);
        self.stage = stage;
        self.can_cancel = false;
    }

    /// The next stage of an operation that gives its memory back.
    fn giving_back(&self) -> Stage {
        if self.memory.is_empty() { Stage::Continue } else { Stage::Reclaim }
    }
}

/// The operations in progress. A handle is the number of a slot, the lowest free one, as in TF-RMM;
/// 0 is a handle like any other.
#[derive(Debug, Default)]
pub(crate) struct Operations(Vec<Option<Operation>>);

impl Operations {
    /// Slots: TF-RMM has ten for each of its 16 CPUs.
    const SLOTS: usize = 160;

    /// Operations in progress.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().flatten().count()
    }

    /// Whether an operation in progress does work for which this is true.
    pub(super) fn any(&self, mut is_such: impl FnMut(Work) -> bool) -> bool {
        self.0.iter().flatten().any(|operation| is_such(operation.work))
    }

    /// The granules that operations hold, and the granules of their objects.
    #[cfg(test)]
    pub(super) fn held(&self, granules: &Granules) -> (Vec<Pa>, Vec<Pa>) {
        let open = || self.0.iter().flatten();
        let memory = open().flat_map(|operation| operation.memory.iter().copied()).collect();
        let objects = open().filter_map(|operation| operation.work.object());
        let coarse = open().flat_map(|operation| match operation.work {
            Work::Coarse(Coarse { region, .. }) => granules.each(&region).collect(),
            _ => Vec::new(),
        });
        (memory, objects.chain(coarse).collect())
    }

    pub(super) fn is_full(&self) -> bool {
        self.count() >= Self::SLOTS
    }

    fn get(&mut self, handle: u64) -> Result<&mut Operation, Answer> {
        let slot = usize::try_from(handle).ok().and_then(|slot| self.0.get_mut(slot));
        slot.and_then(Option::as_mut).ok_or(Answer::from(Status::ErrorInput))
    }

    /// Takes an operation out of its slot while one of its calls is handled.
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
    fn open(&mut self, operation: Operation) -> Answer {
        if self.is_full() {
            return Answer::from(Status::Blocked);
        }
        let answer = operation.incomplete();
        let slot = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        match self.0.get_mut(slot) {
            Some(free) => *free = Some(operation),
            None => self.0.push(Some(operation)),
        }
        answer.x1(slot as u64)
    }
}

impl Monitor {
    /// An operation that is not open yet.
    fn operation(&self, work: Work, memory: Vec<Pa>) -> Operation {
        let options = &self.options;
        let state = if options.conditional_donations {
            OpMemState::Conditional
        } else {
            OpMemState::Delegated
        };
        let (state, returns) = work.memory_states(state, options.dialect);
        let (contiguous, blocks) = (options.contiguous_donations, options.donation_blocks);
        Operation {
            work,
            stage: Stage::Continue,
            requests: Vec::new(),
            terms: Terms { granule: self.granules.size(), state, returns, contiguous, blocks },
            memory,
            unreported: Vec::new(),
            failure: None,
            can_cancel: options.can_cancel,
        }
    }

    /// Starts an operation, if a slot is free.
    fn open(&mut self, operation: Operation) -> Answered {
        require(!self.operations.is_full(), Status::Blocked)?;
        if let Some(object) = operation.work.object() {
            self.granules.set(object, GranuleState::Partial);
        }
        Ok(self.operations.open(operation))
    }

    /// Starts an operation that asks for `count` granules.
    pub(super) fn open_donation(&mut self, work: Work, count: u16) -> Answered {
        let mut operation = self.operation(work, Vec::new());
        let rounds = self.options.donation_rounds.get().into();
        operation.requests = operation.terms.divide(count, rounds);
        operation.request_more();
        self.open(operation)
    }

    /// Starts an operation that gives `memory` back.
    pub(super) fn open_return(&mut self, work: Work, memory: Vec<Pa>) -> Answered {
        let mut operation = self.operation(work, memory);
        operation.can_cancel = false;
        operation.stage = operation.giving_back();
        self.open(operation)
    }

    /// Interrupts a range command before it does anything.
    pub(super) fn open_deferred(&mut self, command: Command, registers: Registers) -> Answer {
        let operation = self.operation(Work::Deferred { command, registers }, Vec::new());
        self.operations.open(operation)
    }

    pub(super) fn op_continue(&mut self, x: &Registers) -> Answered {
        let [_, handle, flags, ..] = *x;
        let operation = self.operations.get(handle)?;
        require(operation.stage == Stage::Continue, Status::ErrorInput)?;
        let Some(mut operation) = self.operations.take(handle) else {
            return refuse(Status::ErrorInput);
        };
        if let Some(failure) = operation.failure {
            self.release(operation.work);
            return Ok(failure);
        }
        if let Work::Coarse(coarse) = operation.work {
            return self.continue_coarse(handle, operation, coarse);
        }
        let memory = mem::take(&mut operation.memory);
        let [.., failing] = &mut self.periods;
        let fails =
            operation.work.uses_donation() && is_due(self.options.fail_operations_every, failing);
        let done = match operation.work {
            _ if fails => refuse(Status::ErrorInput),
            Work::Deferred { command, registers } => {
                let stop = ContinueFlags::from_bits_retain(flags).contains(ContinueFlags::STOP);
                self.resume(command, &registers, stop.then_some(1))
            }
            Work::Coarse(_) => refuse(Status::ErrorInput),
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
            Work::TrackingSet { region, to, .. } => {
                self.finish_tracking_set(region, to, memory.clone())
            }
            Work::GptCreate { gib } => self.finish_gpt(gib, Protection::Created, memory.clone()),
            Work::GptDestroy { gib } => self.finish_gpt(gib, Protection::Missing, Vec::new()),
        };
        match done {
            Err(failure) if !memory.is_empty() => {
                operation.memory = memory;
                operation.fail(failure, Stage::Reclaim);
                let answer = operation.incomplete();
                self.operations.put_back(handle, operation);
                Ok(answer)
            }
            Err(failure) => {
                self.release(operation.work);
                Err(failure)
            }
            done => done,
        }
    }

    /// Executes a command that was interrupted.
    pub(super) fn resume(
        &mut self,
        command: Command,
        registers: &Registers,
        limit: Option<u64>,
    ) -> Answered {
        self.is_resumed = true;
        let answer = self.execute(command, registers, limit);
        self.is_resumed = false;
        answer
    }

    /// Starts an operation about a COARSE region.
    pub(super) fn open_coarse(&mut self, coarse: Coarse) -> Answered {
        let mut operation = self.operation(Work::Coarse(coarse), Vec::new());
        operation.can_cancel = false;
        let answer = self.open(operation)?;
        self.granules.set_all(&coarse.region, GranuleState::Partial);
        Ok(answer)
    }

    /// One step of an operation about a COARSE region.
    fn continue_coarse(
        &mut self,
        handle: u64,
        mut operation: Operation,
        mut coarse: Coarse,
    ) -> Answered {
        if coarse.steps > 1 {
            coarse.steps -= 1;
            operation.work = Work::Coarse(coarse);
            let answer = operation.incomplete();
            self.operations.put_back(handle, operation);
            return Ok(answer);
        }
        self.finish_coarse(&coarse)
    }

    /// Undoes what the start of an operation did, after it failed.
    fn release(&mut self, work: Work) {
        if let Some(object) = work.object()
            && self.granules.is(object, GranuleState::Partial)
        {
            self.granules.set(object, GranuleState::Delegated);
        }
        match work {
            Work::RmmActivate => self.back_to_init(),
            Work::TrackingSet { region, from, .. } => {
                if let Some(region) = self.regions.tracking_region(region) {
                    region.state = from;
                }
            }
            _ => {}
        }
    }

    /// Cancels an operation that has not done its work yet. Its final status is then
    /// `RMI_ERROR_INPUT`, as for any operation that the host makes fail.
    pub(super) fn op_cancel(&mut self, x: &Registers) -> Answered {
        let [_, handle, ..] = *x;
        let operation = self.operations.get(handle)?;
        require(operation.can_cancel && operation.stage != Stage::Reclaim, Status::ErrorInput)?;
        let stage = operation.giving_back();
        operation.fail(Answer::from(Status::ErrorInput), stage);
        Ok(operation.incomplete())
    }
}
