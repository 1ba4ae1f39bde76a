//! One stateful operation, step by step.
//!
//! ```text
//! start ──► Continue ──► … ──► Done
//!             ▲   │
//!             │   ├──► Need { bytes, block, contiguous, state }   donate, or cancel
//!             │   └──► Take                                       reclaim
//!             └──────────┘
//! ```
//!
//! An [`Operation`] makes one call a step and never loops, allocates or waits, so it can be driven from a place that must not: between two steps it may be
//! parked, stored, moved to another CPU and resumed. [`drive`](crate::drive::drive) is the loop for everybody else.

use rmi_abi::desc::{BlockSize, DonateRequest, OpMemState};
use rmi_abi::{Command, GranuleSize};
use rmi_host::command::{Donation, Reclaim, Returned};
use rmi_host::granules::{Donatable, Granules, Undelegated};
use rmi_host::{
    Channel, Error, Failure, Pending, Platform, Progress, Reply, Subject, Violation, Want,
};

use crate::donated::Donated;

/// What an operation wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Next {
    /// To be continued: [`Operation::proceed`].
    Continue,
    /// Memory: [`Operation::donate`].
    Need(Need),
    /// To give memory back: [`Operation::reclaim`].
    Take,
}

/// Memory that an operation wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Total, in bytes.
    pub bytes: u64,
    /// Size of a block; runs are aligned to it.
    pub block: BlockSize,
    /// Size of a block, in bytes.
    pub block_bytes: u64,
    /// Whether all of it must be one run, aligned to its size.
    pub contiguous: bool,
    /// In which state it is wanted.
    pub state: OpMemState,
}

impl Need {
    /// What a request asks for; `None` for a request for nothing, or for more than 64 bits can count.
    #[must_use]
    pub fn new(request: DonateRequest, granule: GranuleSize) -> Option<Self> {
        let bytes = request.bytes(granule).filter(|bytes| *bytes > 0)?;
        if request.contiguous && !bytes.is_power_of_two() {
            return None;
        }
        Some(Self {
            bytes,
            block: request.size,
            block_bytes: request.size.bytes(granule),
            contiguous: request.contiguous,
            state: request.state,
        })
    }
}

/// How far a step came.
#[derive(Debug)]
#[must_use]
pub enum Advance<'r, P: Platform> {
    /// The operation goes on.
    Again(Operation<'r, P>),
    /// It has ended well; these are the outputs of the command that started it.
    Done(Reply),
    /// It has ended with the status of the command that started it.
    Failed(Error),
}

/// A stateful operation that has not ended.
///
/// Dropping one is a bug that the compiler warns of and the ledger records: the RMM keeps the operation, and whatever object it is about stays blocked.
#[must_use = "an abandoned operation keeps its objects blocked inside the RMM"]
#[derive(Debug)]
pub struct Operation<'r, P: Platform> {
    channel: &'r Channel<P>,
    granule: GranuleSize,
    pending: Option<Pending>,
}

/// An operation put aside. It holds no reference and may cross to another CPU.
#[must_use = "an abandoned operation keeps its objects blocked inside the RMM"]
#[derive(Debug)]
pub struct Parked {
    granule: GranuleSize,
    pending: Pending,
}

impl Parked {
    /// The operation again, in the session that it belongs to.
    pub fn resume<P: Platform>(self, channel: &Channel<P>) -> Operation<'_, P> {
        Operation { channel, granule: self.granule, pending: Some(self.pending) }
    }

    /// The command that started the operation.
    #[must_use]
    pub fn command(&self) -> Command {
        self.pending.command()
    }
}

impl<'r, P: Platform> Operation<'r, P> {
    /// Takes up what a command started.
    pub fn take_up(
        channel: &'r Channel<P>,
        granule: GranuleSize,
        progress: Progress,
    ) -> Advance<'r, P> {
        match progress {
            Progress::Done(reply) => Advance::Done(reply),
            Progress::Pending(pending) => {
                Advance::Again(Self { channel, granule, pending: Some(pending) })
            }
        }
    }

    /// Takes the pending operation out; there always is one, except in `drop` after this.
    fn take(&mut self) -> Option<Pending> {
        self.pending.take()
    }

    /// Puts the operation aside.
    #[must_use]
    pub fn park(mut self) -> Option<Parked> {
        let granule = self.granule;
        self.take().map(|pending| Parked { granule, pending })
    }

    /// The command that started the operation.
    #[must_use]
    pub fn command(&self) -> Command {
        self.pending.as_ref().map_or(Command::OpContinue, Pending::command)
    }

    /// What the operation is about.
    #[must_use]
    pub fn subject(&self) -> Subject {
        self.pending.as_ref().map_or(Subject::Rmm, Pending::subject)
    }

    /// Whether the RMM would let the operation be cancelled now.
    #[must_use]
    pub fn can_cancel(&self) -> bool {
        self.pending.as_ref().is_some_and(Pending::can_cancel)
    }

    /// What the operation wants.
    ///
    /// # Errors
    ///
    /// [`Error::Violation`] for a request that cannot be met by any memory.
    pub fn next(&self) -> Result<Next, Error> {
        let Some(pending) = &self.pending else { return Ok(Next::Continue) };
        match pending.want() {
            Want::Continue => Ok(Next::Continue),
            Want::Reclaim => Ok(Next::Take),
            Want::Donate(request) => {
                Need::new(request, self.granule).map(Next::Need).ok_or_else(|| {
                    self.channel.violation(pending, Violation::Request, request.encode())
                })
            }
        }
    }

    /// Continues the operation: one `RMI_OP_CONTINUE`.
    ///
    /// # Errors
    ///
    /// The operation comes back where it was when the call could not be made sense of.
    pub fn proceed(mut self) -> Result<Advance<'r, P>, (Self, Error)> {
        let Some(pending) = self.take() else { return Ok(Advance::Again(self)) };
        match self.channel.op_continue(pending) {
            Ok(Progress::Done(reply)) => Ok(Advance::Done(reply)),
            Ok(Progress::Pending(pending)) => {
                self.pending = Some(pending);
                Ok(Advance::Again(self))
            }
            Err(Failure::Ended(error)) => Ok(Advance::Failed(error)),
            Err(Failure::Stuck(pending, error)) => {
                self.pending = Some(pending);
                Err((self, error))
            }
        }
    }

    /// Offers memory: one `RMI_OP_MEM_DONATE`. What the RMM takes leaves `memory` from the front and enters `donated`.
    ///
    /// # Errors
    ///
    /// As [`Channel::op_mem_donate`]; also [`Error::NeedMemory`] when `donated` has no room for so many separate ranges, before any call.
    pub fn donate<H: Donatable>(
        &mut self,
        list: &mut Undelegated,
        memory: &mut [Granules<H>],
        block: BlockSize,
        donated: &mut Donated,
    ) -> Result<Donation, Error> {
        let Some(pending) = &mut self.pending else { return Ok(Donation::Busy) };
        if memory.len() > donated.spare::<H>() {
            let bytes = memory.iter().map(Granules::bytes).sum();
            return Err(Error::need_memory(pending.command(), bytes, bytes));
        }
        let blocks = (block, self.granule);
        self.channel.op_mem_donate(pending, list, memory, blocks, &mut |taken| {
            // There is a place for each token offered.
            if let Err(homeless) = donated.insert::<H>(taken) {
                drop(homeless);
            }
        })
    }

    /// Offers the RMM something that it must refuse, which ends an operation that wants memory and cannot be cancelled.
    ///
    /// # Errors
    ///
    /// As [`Channel::op_mem_donate_nothing`].
    pub fn donate_nothing(&mut self, list: &mut Undelegated) -> Result<Donation, Error> {
        let Some(pending) = &mut self.pending else { return Ok(Donation::Busy) };
        self.channel.op_mem_donate_nothing(pending, list, self.granule)
    }

    /// Takes memory back: one `RMI_OP_MEM_RECLAIM`. What comes back leaves `donated` and goes to `home`.
    ///
    /// # Errors
    ///
    /// As [`Channel::op_mem_reclaim`].
    pub fn reclaim(
        &mut self,
        list: &mut Undelegated,
        donated: &mut Donated,
        home: &mut dyn FnMut(Returned),
    ) -> Result<Reclaim, Error> {
        let Some(pending) = &mut self.pending else { return Ok(Reclaim::Busy) };
        self.channel.op_mem_reclaim(
            pending,
            list,
            self.granule,
            &mut |range| donated.claim(range),
            home,
        )
    }

    /// Asks the RMM to undo the operation: one `RMI_OP_CANCEL`. It then wants to give back what it has, and to be continued.
    ///
    /// # Errors
    ///
    /// As [`Channel::op_cancel`]; the operation goes on as before.
    pub fn cancel(&mut self) -> Result<(), Error> {
        let Some(pending) = self.take() else { return Ok(()) };
        let (pending, result) = match self.channel.op_cancel(pending) {
            Ok(pending) => (pending, Ok(())),
            Err((pending, error)) => (pending, Err(error)),
        };
        self.pending = Some(pending);
        result
    }

    /// Gives the operation up, knowingly. The ledger records it.
    pub fn abandon(self) {
        drop(self);
    }
}

impl<P: Platform> Drop for Operation<'_, P> {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.channel.drop_pending(pending);
        }
    }
}
