//! One stateful operation, step by step.
//!
#![doc = include_str!("../pictures/operation.svg")]
//!
//! An [`Operation`] makes one call per step and never loops, allocates or waits, so it can be
//! driven from a context that must not do so: between two steps it may be parked, stored, moved to
//! another CPU and resumed. [`drive`](crate::drive::drive) is the loop for all other callers.
//!
//! Creates a REC one call at a time, parking the operation in between:
//!
//! ```
//! # use rmi_abi::{Command, Dialect};
//! # use rmi_abi::realm::RealmParams;
//! # use rmi_abi::rec::{Mpidr, RecParams};
//! # use rmi_abi::rtt::Geometry;
//! # use rmi_host::{Discovered, Host, Rd, RecGranule, SessionOptions, Undelegated};
//! # use rmm_model::{Model, Options};
//! # use sro::{Donated, FixedPool, Pool};
//! use rmi_host::command::Donation;
//! use sro::{Advance, Next, Operation};
//! # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! # let mut memory = model.take_memory();
//! # let rmm = rmm_model::open(model.host(), &mut memory)?;
//! # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
//! # let (rd, root, mut page) =
//! #     (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
//! # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
//! # rmm.commands().realm_create(&rd, &mut page, &params)?;
//! # let rd = Rd::new(rd);
//! # let mut pool = FixedPool::<8>::new();
//! # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
//! # pool.add(memory.take_front(0x20_000).unwrap()).unwrap();
//! # let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
//! # let rec = pool.take(&rmm, Command::RecCreate, 0x1000, 0x1000)?;
//! let started = rmm.commands().rec_create(&rd, &rec, &mut page, &params.encode())?;
//! let Advance::Again(mut operation) = Operation::take_up(&rmm, started) else {
//!     panic!("a REC takes memory")
//! };
//! let mut donated = Donated::default();
//! let Next::Need(need) = operation.next()? else { panic!("before anything else") };
//! assert_eq!(need.bytes, 0x10_000);
//!
//! // Ten granules now, and six later. A parked operation is an ordinary value.
//! for bytes in [0xa000, 0x6000] {
//!     let mut offer = [pool.take(&rmm, Command::RecCreate, bytes, need.block_bytes)?];
//!     let answer =
//!         operation.donate(pool.pages().list, &mut offer, need.block, &mut donated)?;
//!     assert_eq!(answer, Donation::Taken(bytes));
//!     assert!(offer[0].is_empty());
//!     let parked = operation.park().expect("it has not ended");
//!     operation = parked.resume(&rmm);
//! }
//! assert_eq!(operation.next()?, Next::Continue);
//! let Ok(Advance::Done(_)) = operation.proceed() else { panic!("it has all it wanted") };
//! assert_eq!(donated.bytes(), 0x10_000);
//! # pool.drain(&rmm, &mut |_| ());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a donated range cannot do
//!
//! Memory is offered by its token. What the RMM takes leaves the token, and is in [`Donated`] from
//! then on; what it does not take stays in the token, so a real host keeps the tokens that it
//! offers, as above. A token that was moved cannot be donated twice:
//!
//! ```compile_fail,E0382
//! # use rmi_abi::desc::BlockSize;
//! # use rmi_host::{Delegated, Error, Platform, Undelegated};
//! # use sro::{Donated, Operation};
//! fn twice<P: Platform>(
//!     operation: &mut Operation<'_, P>,
//!     list: &mut Undelegated,
//!     memory: Delegated,
//!     donated: &mut Donated,
//! ) -> Result<(), Error> {
//!     let _ = operation.donate(list, &mut [memory], BlockSize::Page, donated)?;
//!     // error: use of moved value
//!     let _ = operation.donate(list, &mut [memory], BlockSize::Page, donated)?;
//!     Ok(())
//! }
//! ```
//!
//! nor can it be cloned, to donate one and keep the other:
//!
//! ```compile_fail,E0308
//! # use rmi_abi::desc::BlockSize;
//! # use rmi_host::{Delegated, Error, Platform, Undelegated};
//! # use sro::{Donated, Operation};
//! fn keep<P: Platform>(
//!     operation: &mut Operation<'_, P>,
//!     list: &mut Undelegated,
//!     memory: &Delegated,
//!     donated: &mut Donated,
//! ) -> Result<(), Error> {
//!     let mut offer: [Delegated; 1] = [memory.clone()]; // error: a token is not `Clone`
//!     let _ = operation.donate(list, &mut offer, BlockSize::Page, donated)?;
//!     Ok(())
//! }
//! ```
//!
//! nor can it be used, as host memory or otherwise:
//!
//! ```compile_fail,E0382
//! # use rmi_abi::desc::BlockSize;
//! # use rmi_host::{Error, Platform, Rmm, Undelegated};
//! # use sro::{Donated, Operation};
//! fn write<P: Platform>(
//!     rmm: &Rmm<P>,
//!     operation: &mut Operation<'_, P>,
//!     list: &mut Undelegated,
//!     mut memory: Undelegated,
//!     donated: &mut Donated,
//! ) -> Result<(), Error> {
//!     let _ = operation.donate(list, &mut [memory], BlockSize::Page, donated)?;
//!     rmm.write_host(&mut memory, 0, b"mine")?; // error: borrow of moved value
//!     Ok(())
//! }
//! ```
//!
//! ```compile_fail,E0382
//! # use rmi_abi::desc::BlockSize;
//! # use rmi_host::{Delegated, Error, Platform, Rmm, Undelegated};
//! # use sro::{Donated, Operation};
//! fn pull<P: Platform>(
//!     rmm: &Rmm<P>,
//!     operation: &mut Operation<'_, P>,
//!     list: &mut Undelegated,
//!     memory: Delegated,
//!     donated: &mut Donated,
//! ) -> Result<(), Error> {
//!     let _ = operation.donate(list, &mut [memory], BlockSize::Page, donated)?;
//!     let _ = rmm.undelegate(memory); // error: use of moved value
//!     Ok(())
//! }
//! ```
//!
//! Memory inside an object cannot be offered at all:
//!
//! ```compile_fail,E0277
//! # use rmi_abi::desc::BlockSize;
//! # use rmi_host::{Error, InUse, Platform, Undelegated};
//! # use sro::{Donated, Operation};
//! fn again<P: Platform>(
//!     operation: &mut Operation<'_, P>,
//!     list: &mut Undelegated,
//!     memory: InUse,
//!     donated: &mut Donated,
//! ) -> Result<(), Error> {
//!     // error: not `Donatable`
//!     let _ = operation.donate(list, &mut [memory], BlockSize::Page, donated)?;
//!     Ok(())
//! }
//! ```

use core::cell::RefCell;

use rmi_abi::desc::{BlockSize, DonateRequest, OpMemState};
use rmi_abi::{Command, GranuleSize, Status};
use rmi_host::command::{Donation, Offer, Reclaim, Returned};
use rmi_host::granules::{Donatable, Granules, Undelegated};
use rmi_host::{Error, Failed, Pending, Platform, Progress, Reply, Rmm, Subject, Violation, Want};

use crate::donated::Donated;
use crate::offered::{FromTokens, Offered};

/// What an operation asks for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Next {
    /// To be continued: [`Operation::proceed`].
    Continue,
    /// Memory: [`Operation::donate`].
    Need(Need),
    /// To return memory: [`Operation::reclaim`].
    Take,
}

/// Memory that an operation requests.
///
/// ```
/// use rmi_abi::GranuleSize;
/// use rmi_abi::desc::{BlockSize, DonateRequest, OpMemState};
/// use sro::Need;
///
/// let request = DonateRequest {
///     size: BlockSize::Level2,
///     count: 3,
///     contiguous: false,
///     state: OpMemState::Delegated,
/// };
/// let need = Need::new(request, GranuleSize::Size4KiB).expect("three blocks");
/// assert_eq!((need.bytes, need.block_bytes), (6 << 20, 2 << 20));
///
/// // A request for nothing is not a need.
/// assert_eq!(
///     Need::new(DonateRequest { count: 0, ..request }, GranuleSize::Size4KiB),
///     None
/// );
/// ```
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
    /// The state that it must be in.
    pub state: OpMemState,
}

impl Need {
    /// Decodes a request; `None` for a request for nothing, or for more bytes than 64 bits can
    /// count.
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

/// The outcome of a step.
#[derive(Debug)]
#[must_use]
pub enum Advance<'r, P: Platform> {
    /// The operation continues.
    Again(Operation<'r, P>),
    /// It has succeeded; these are the outputs of the command that started it.
    Done(Reply),
    /// It has ended with the status of the command that started it.
    Failed(Error),
}

/// A stateful operation that has not ended.
///
/// Dropping one is a bug that the compiler warns about and the ledger records: the RMM keeps the
/// operation, and the object that it concerns stays blocked.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmi_abi::realm::RealmParams;
/// # use rmi_abi::rec::{Mpidr, RecParams};
/// # use rmi_abi::rtt::Geometry;
/// # use rmi_host::{CountingLedger, Rd, Undelegated};
/// # use rmm_model::{Model, Options};
/// # use sro::{Advance, Next, Operation};
/// # let mut options = Options::new(Dialect::TfRmm2026_07);
/// # options.can_cancel = true;
/// # let ledger = CountingLedger::new();
/// # let model = Model::new(options)?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host().with_ledger(&ledger), &mut memory)?;
/// # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
/// # let (rd, root, mut page) =
/// #     (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
/// # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
/// # rmm.commands().realm_create(&rd, &mut page, &params)?;
/// # let rd = Rd::new(rd);
/// # let rec = granule(&mut memory)?;
/// # let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
/// let started = rmm.commands().rec_create(&rd, &rec, &mut page, &params.encode())?;
/// let Advance::Again(mut operation) = Operation::take_up(&rmm, started) else {
///     panic!("a REC takes memory")
/// };
///
/// // There is no memory for it: have it undone.
/// assert!(operation.can_cancel());
/// operation.cancel()?;
/// assert_eq!(operation.next()?, Next::Continue);
/// let Ok(Advance::Failed(error)) = operation.proceed() else {
///     panic!("it was cancelled")
/// };
/// println!("{error}");
/// assert_eq!(ledger.balance().dropped_operations, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A step consumes the operation and returns it as a new value, unless it has ended:
///
/// ```compile_fail,E0382
/// # use rmi_host::Platform;
/// # use sro::Operation;
/// fn twice<P: Platform>(operation: Operation<'_, P>) {
///     let first = operation.proceed();
///     let second = operation.proceed(); // error: use of moved value
/// }
/// ```
#[must_use = "an abandoned operation keeps its objects blocked inside the RMM"]
#[derive(Debug)]
pub struct Operation<'r, P: Platform> {
    rmm: &'r Rmm<P>,
    pending: Option<Pending>,
}

/// A parked operation. It holds no reference and may move to another CPU.
///
/// It can be sent to another thread, and is resumed once:
///
/// ```
/// # use sro::Parked;
/// fn is_send<T: Send + 'static>() {}
/// is_send::<Parked>();
/// ```
///
/// ```compile_fail,E0382
/// # use rmi_host::{Platform, Rmm};
/// # use sro::Parked;
/// fn twice<P: Platform>(rmm: &Rmm<P>, parked: Parked) {
///     let first = parked.resume(rmm);
///     let second = parked.resume(rmm); // error: use of moved value
/// }
/// ```
#[must_use = "an abandoned operation keeps its objects blocked inside the RMM"]
#[derive(Debug)]
pub struct Parked {
    pending: Pending,
}

impl Parked {
    /// Resumes the operation, in the session that it belongs to.
    pub fn resume<P: Platform>(self, rmm: &Rmm<P>) -> Operation<'_, P> {
        Operation { rmm, pending: Some(self.pending) }
    }

    /// The command that started the operation.
    #[must_use]
    pub fn command(&self) -> Command {
        self.pending.command()
    }
}

impl<'r, P: Platform> Operation<'r, P> {
    /// Makes the operation that a command started.
    pub fn take_up(rmm: &'r Rmm<P>, progress: Progress) -> Advance<'r, P> {
        match progress {
            Progress::Done(reply) => Advance::Done(reply),
            Progress::Pending(pending) => Advance::Again(Self { rmm, pending: Some(pending) }),
        }
    }

    /// Takes the pending operation out; there always is one, except in `drop` after this.
    fn take(&mut self) -> Option<Pending> {
        self.pending.take()
    }

    /// Parks the operation.
    #[must_use]
    pub fn park(mut self) -> Option<Parked> {
        self.take().map(|pending| Parked { pending })
    }

    /// The command that started the operation.
    #[must_use]
    pub fn command(&self) -> Command {
        self.pending.as_ref().map_or(Command::OpContinue, Pending::command)
    }

    /// The object that the operation concerns.
    #[must_use]
    pub fn subject(&self) -> Subject {
        self.pending.as_ref().map_or(Subject::Rmm, Pending::subject)
    }

    /// The RMM's name for the operation.
    #[must_use]
    pub fn handle(&self) -> u64 {
        self.pending.as_ref().map_or(0, Pending::handle)
    }

    /// Whether the RMM was busy at the last step, which did nothing.
    #[must_use]
    pub fn was_busy(&self) -> bool {
        self.pending.as_ref().is_some_and(Pending::was_busy)
    }

    /// The answer to the last step, if the same call is to be made again.
    pub(crate) fn waits(&self) -> Option<Status> {
        self.pending.as_ref().and_then(Pending::waits)
    }

    /// Whether the RMM permits the operation to be cancelled now.
    #[must_use]
    pub fn can_cancel(&self) -> bool {
        self.pending.as_ref().is_some_and(Pending::can_cancel)
    }

    /// What the operation asks for.
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
                Need::new(request, self.rmm.granule_size()).map(Next::Need).ok_or_else(|| {
                    self.rmm.commands().violation(pending, Violation::Request, request.encode())
                })
            }
        }
    }

    /// Continues the operation: one `RMI_OP_CONTINUE`.
    ///
    /// # Errors
    ///
    /// The operation is returned in its previous state when the answer of the call cannot be
    /// interpreted.
    pub fn proceed(mut self) -> Result<Advance<'r, P>, Failed<Self>> {
        let mut reply = Reply::EMPTY;
        match self.step(&mut reply) {
            Ok(None) => Ok(Advance::Again(self)),
            Ok(Some(Ok(()))) => Ok(Advance::Done(reply)),
            Ok(Some(Err(error))) => Ok(Advance::Failed(error)),
            Err(error) => Err(Failed::new(self, error)),
        }
    }

    /// As [`Operation::proceed`], in its place: the result of the operation if it has ended. The
    /// outputs are in `reply` then.
    pub(crate) fn step(&mut self, reply: &mut Reply) -> Result<Option<Result<(), Error>>, Error> {
        self.rmm.commands().continue_in_place(&mut self.pending, reply)
    }

    /// Offers memory: one `RMI_OP_MEM_DONATE`. What the RMM takes is removed from the front of
    /// `memory` and enters `donated`.
    ///
    /// # Errors
    ///
    /// As [`Channel::op_mem_donate`](rmi_host::Channel::op_mem_donate); also [`Error::NeedMemory`]
    /// when `donated` cannot record that many separate ranges, before any call.
    pub fn donate<H: Donatable>(
        &mut self,
        list: &mut Undelegated,
        memory: &mut [Granules<H>],
        block: BlockSize,
        donated: &mut Donated,
    ) -> Result<Donation, Error> {
        if memory.len() > donated.spare() {
            let bytes = memory.iter().map(Granules::bytes).sum();
            return Err(Error::need_memory(self.command(), bytes, bytes));
        }
        self.donate_offers(list, FromTokens::new(memory).offers(), block, donated)
    }

    /// As [`Operation::donate`], of no more offers than `donated` has free slots for.
    pub(crate) fn donate_offers(
        &mut self,
        list: &mut Undelegated,
        offers: &mut [Offer],
        block: BlockSize,
        donated: &mut Donated,
    ) -> Result<Donation, Error> {
        self.check_record(Command::OpMemDonate, donated)?;
        let Some(pending) = &mut self.pending else { return Ok(Donation::Busy) };
        let offered = Offered::new(offers, donated);
        self.rmm.commands().op_mem_donate(pending, list, offered.offers, block)
    }

    /// Offers the RMM something that it must refuse, which ends an operation that requests memory
    /// and cannot be cancelled.
    ///
    /// # Errors
    ///
    /// As [`Channel::op_mem_donate_nothing`](rmi_host::Channel::op_mem_donate_nothing). A page that
    /// the RMM may have taken has left `list`
    /// and entered `donated`; it is one separate range.
    pub fn donate_nothing(
        &mut self,
        list: &mut Undelegated,
        donated: &mut Donated,
    ) -> Result<Donation, Error> {
        let Some(pending) = &mut self.pending else { return Ok(Donation::Busy) };
        let donation = self.rmm.commands().op_mem_donate_nothing(pending, list);
        donation.map_err(|failed| {
            // If there is no slot for it, it is leaked, and counted.
            drop(donated.record(failed.kept));
            failed.error
        })
    }

    /// Takes memory back: one `RMI_OP_MEM_RECLAIM`. What is returned leaves `donated` and is passed
    /// to `give_back`.
    ///
    /// ```
    /// # use rmi_abi::Dialect;
    /// # use rmi_host::{Discovered, SessionOptions};
    /// # use rmm_model::{Model, Options};
    /// # use sro::{Advance, Donated, FixedPool, Next, Operation, Pool, drive};
    /// use rmi_host::command::{Reclaim, Returned};
    /// # let mut options = Options::new(Dialect::V2_0Bet3);
    /// # options.rmm_activate_donates = 4;
    /// # let model = Model::new(options)?;
    /// # let mut memory = model.take_memory();
    /// # let mut pool = FixedPool::<8>::new();
    /// # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    /// # pool.add(memory.take_front(0x20_000).unwrap()).unwrap();
    /// # let found = Discovered::probe(model.host(), SessionOptions::default())?;
    /// # let configured = found.configure(pool.pages().page)?;
    /// # let started = configured.start_activation()?;
    /// # let rmm = configured.into_active();
    /// # let mut donated = Donated::default();
    /// // The RMM has four granules; its deactivation returns them.
    /// drive(&rmm, &mut pool, &mut donated, started)?;
    /// let started = rmm.start_deactivation()?;
    /// let Advance::Again(mut operation) = Operation::take_up(&rmm, started) else {
    ///     panic!("gives memory back")
    /// };
    /// assert_eq!(operation.next()?, Next::Take);
    /// let (mut list, mut returned) = (memory.take_front(0x1000).expect("1 GiB"), Vec::new());
    /// let answer = operation.reclaim(&mut list, &mut donated, &mut |memory| match memory {
    ///     Returned::Undelegated(memory) => returned.push(memory),
    ///     Returned::Delegated(_) | Returned::Claimed(_) => panic!("it was the host's"),
    /// })?;
    /// assert_eq!(answer, Reclaim::Given(0x4000));
    /// assert_eq!(returned.iter().map(|memory| memory.bytes()).sum::<u64>(), 0x4000);
    /// assert!(donated.is_empty());
    /// assert!(matches!(operation.proceed(), Ok(Advance::Done(_))));
    /// # pool.drain_host(&mut |_| ());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Channel::op_mem_reclaim`](rmi_host::Channel::op_mem_reclaim).
    pub fn reclaim(
        &mut self,
        list: &mut Undelegated,
        donated: &mut Donated,
        give_back: &mut dyn FnMut(Returned),
    ) -> Result<Reclaim, Error> {
        self.reclaim_some(list, donated, false, give_back)
    }

    /// As [`Operation::reclaim`]. With `keeps`, what the RMM says it undelegated although it was
    /// donated delegated stays in `donated`.
    pub(crate) fn reclaim_some(
        &mut self,
        list: &mut Undelegated,
        donated: &mut Donated,
        keeps: bool,
        give_back: &mut dyn FnMut(Returned),
    ) -> Result<Reclaim, Error> {
        self.check_record(Command::OpMemReclaim, donated)?;
        let Some(pending) = &mut self.pending else { return Ok(Reclaim::Busy) };
        if !keeps || !P::COARSE_TRACKING {
            let claim = &mut |range| donated.claim(range);
            return self.rmm.commands().op_mem_reclaim(pending, list, claim, give_back);
        }
        // Neither function is called while the other runs.
        let record = RefCell::new(donated);
        self.rmm.commands().op_mem_reclaim(
            pending,
            list,
            &mut |range| record.try_borrow_mut().ok()?.claim(range),
            &mut |returned| match returned {
                Returned::Claimed(memory) => {
                    if let Ok(mut donated) = record.try_borrow_mut() {
                        // It had a slot there.
                        drop(donated.record(memory.into_use()));
                    }
                }
                returned => give_back(returned),
            },
        )
    }

    /// Refuses the record of what another machine's RMM has, before a call.
    fn check_record(&self, command: Command, donated: &Donated) -> Result<(), Error> {
        match donated.is_of(self.rmm.machine()) {
            true => Ok(()),
            false => Err(Error::other_machine(command, self.subject())),
        }
    }

    /// Asks the RMM to undo the operation: one `RMI_OP_CANCEL`. It then asks to return what it has,
    /// and to be continued.
    ///
    /// # Errors
    ///
    /// As [`Channel::op_cancel`](rmi_host::Channel::op_cancel); the operation continues as before.
    pub fn cancel(&mut self) -> Result<(), Error> {
        match &mut self.pending {
            Some(pending) => self.rmm.commands().cancel(pending),
            None => Ok(()),
        }
    }

    /// Abandons the operation deliberately. The ledger records it.
    pub fn abandon(self) {}
}

impl<P: Platform> Drop for Operation<'_, P> {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.rmm.commands().drop_pending(pending);
        }
    }
}
