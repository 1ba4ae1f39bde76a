//! Calls in a dialect: from a [`Command`] and its arguments to a decoded reply, with a retry budget
//! for a busy RMM.
//!
//! A [`Channel`] is the part of a session that needs only the dialect. It puts the arguments of a
//! command into registers, looks up the function identifier, and classifies the answers:
//! [`Progress::Done`] with the outputs, [`Progress::Pending`] for a stateful operation, or an
//! [`Error`].
//!
//! A session has its channel in [`Rmm::commands`](crate::Rmm::commands). An embedder that knows the
//! dialect and needs no session uses a channel alone:
//!
//! ```
//! use rmi_abi::{Dialect, GranuleSize, Pa, PaRange};
//! use rmi_host::{Channel, Error, RetryBudget, Progress};
//! use rmm_model::{Model, Options};
//!
//! let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! // SAFETY: the parts belong to the model, which speaks this dialect.
//! let channel = unsafe {
//!     Channel::new(
//!         model.host(),
//!         Dialect::TfRmm2026_07,
//!         GranuleSize::Size4KiB,
//!         RetryBudget::default(),
//!     )
//! };
//! let versions = channel.rmi_version(channel.dialect().version())?;
//! assert_eq!(versions.higher.to_string(), "2.0");
//! assert!(matches!(channel.rmm_activate()?, Progress::Done(_)));
//!
//! // A command that the dialect does not have is not sent to the RMM.
//! let calls = model.calls();
//! let memory = PaRange::with_size(Pa::new(0x8000_0000), 0x4000_0000)?;
//! let error = channel.gpt_info(memory).unwrap_err();
//! assert!(matches!(error, Error::Unsupported { .. }));
//! assert_eq!(model.calls(), calls);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![expect(unsafe_code, reason = "calls go through the conduit")]

mod attempts;

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use rmi_abi::commands::Effect;
use rmi_abi::desc::DonateRequest;
use rmi_abi::flags::ContinueFlags;
use rmi_abi::result::OpMemReq;
use rmi_abi::{Command, Dialect, GranuleSize, ResultWord, Status};

pub use self::attempts::Attempts;
use crate::access::HostAccess;
use crate::conduit::{Conduit, NO_ANSWER, NOT_SENT, Registers};
use crate::error::{Error, Failed, Refusal, Subject, Violation};
use crate::granules::Machine;
use crate::ledger::Ledger;
use crate::platform::Platform;

/// The retry budget: how long to wait for an RMM that is not ready, or for another thread. The
/// limit that is reached first ends the wait.
///
/// ```
/// # use core::num::NonZeroU32;
/// # use rmi_abi::{Dialect, Status};
/// # use rmi_host::{RetryBudget, SessionOptions};
/// # use rmm_model::{Model, Options};
/// # let mut machine = Options::new(Dialect::TfRmm2026_07);
/// # machine.busy_every = NonZeroU32::new(2);
/// // An RMM that is busy at every other call, and a host that must not wait for it.
/// let model = Model::new(machine)?;
/// let mut options = SessionOptions::default();
/// options.retry_budget = RetryBudget::NONE;
/// let mut memory = model.take_memory();
/// let rmm = rmm_model::open_with(model.host(), options, &mut memory)?;
///
/// let failed = rmm.delegate(memory.take_front(0x2000).expect("1 GiB")).unwrap_err();
/// assert_eq!(failed.error.status(), Some(Status::Busy));
/// // No memory is lost, and the rest can be tried again later.
/// assert_eq!(failed.delegated.bytes() + failed.host.bytes(), 0x2000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// Calls that may be repeated because of `RMI_BUSY`, for one command; with those of the
    /// operation that it starts, where also steps without progress count.
    ///
    /// A command that succeeds without progress may be issued again as often, one after the other.
    pub busy: u32,
    /// Calls that may be repeated because of `RMI_BLOCKED`, for one command, as for `busy`.
    pub blocked: u32,
    /// Steps that the stateful operations of one command may take.
    pub steps: u32,
    /// Calls of [`Platform::relax`] while another thread works on the same part of a Realm's
    /// memory.
    pub contended: u32,
    /// How long one command may be repeated because of `RMI_BUSY` or `RMI_BLOCKED`, from its first
    /// repetition on; how long commands may be issued again without progress; and how long another
    /// thread may be waited for. `None` for as long as the counts allow. It needs a platform with
    /// a clock ([`Platform::now`]).
    pub time: Option<Duration>,
}

impl Default for RetryBudget {
    /// 1000 times busy, 100 times blocked, 100,000 steps, 270,000 times contended (about 1 ms of
    /// spinning); no limit of time.
    fn default() -> Self {
        Self { busy: 1000, blocked: 100, steps: 100_000, contended: 270_000, time: None }
    }
}

impl RetryBudget {
    /// No retries, and no waiting for other threads; stateful operations get 64 steps. For atomic
    /// contexts.
    pub const NONE: Self = Self { busy: 0, blocked: 0, steps: 64, contended: 0, time: None };
}

/// One command with its arguments and its subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) command: Command,
    pub(crate) args: [u64; 7],
    pub(crate) subject: Subject,
}

impl Call {
    pub(crate) fn new<const N: usize>(command: Command, subject: Subject, args: [u64; N]) -> Self {
        let mut all = [0; 7];
        for (slot, arg) in all.iter_mut().zip(&args) {
            *slot = *arg;
        }
        Self { command, args: all, subject }
    }
}

/// The outputs of a command that succeeded: X1 to X7. Only those that the command defines are
/// meaningful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    pub(crate) outputs: [u64; 7],
}

impl Reply {
    /// Before the first answer.
    #[doc(hidden)]
    pub const EMPTY: Self = Self { outputs: [0; 7] };

    /// X1.
    #[must_use]
    pub const fn x1(&self) -> u64 {
        let [x1, ..] = self.outputs;
        x1
    }

    /// X2.
    #[must_use]
    pub const fn x2(&self) -> u64 {
        let [_, x2, ..] = self.outputs;
        x2
    }

    /// X3.
    #[must_use]
    pub const fn x3(&self) -> u64 {
        let [_, _, x3, ..] = self.outputs;
        x3
    }

    /// X4.
    #[must_use]
    pub const fn x4(&self) -> u64 {
        let [_, _, _, x4, ..] = self.outputs;
        x4
    }
}

/// What an incomplete operation requests next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// To be continued, by `RMI_OP_CONTINUE`.
    Continue,
    /// To be given memory, by `RMI_OP_MEM_DONATE`.
    Donate(DonateRequest),
    /// To give memory back, by `RMI_OP_MEM_RECLAIM`.
    Reclaim,
}

/// A stateful operation inside the RMM that has not ended. If it is dropped, its objects stay
/// blocked.
///
/// The `sro` crate drives operations to their end. To drive one by hand:
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmi_abi::realm::RealmParams;
/// # use rmi_abi::rec::{Mpidr, RecParams};
/// # use rmi_abi::rtt::Geometry;
/// # use rmi_host::{Failure, Progress, Rd, Undelegated, Want};
/// # use rmm_model::{Model, Options};
/// # let mut machine = Options::new(Dialect::TfRmm2026_07);
/// # machine.can_cancel = true;
/// # let model = Model::new(machine)?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut memory)?;
/// # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
/// # let (rd, root, mut page) =
/// #     (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
/// # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
/// # rmm.commands().realm_create(&rd, &mut page, &params)?;
/// # let rd = Rd::new(rd);
/// # let rec = granule(&mut memory)?;
/// # let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
/// let started = rmm.commands().rec_create(&rd, &rec, &mut page, &params.encode())?;
/// let Progress::Pending(pending) = started else { panic!("a REC takes memory") };
/// let Want::Donate(request) = pending.want() else { panic!("before anything else") };
/// assert_eq!(request.bytes(rmm.granule_size()), Some(0x10_000));
///
/// // There is no memory for it: cancel the operation, and let it end.
/// assert!(pending.can_cancel());
/// let pending = rmm.commands().op_cancel(pending)?;
/// assert_eq!(pending.want(), Want::Continue);
/// assert!(matches!(rmm.commands().op_continue(pending), Err(Failure::Ended(_))));
/// assert_eq!(model.open_operations(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Continuing consumes the operation and returns it in its new state:
///
/// ```compile_fail,E0382
/// # use rmi_host::{Channel, Pending, Platform};
/// fn twice<P: Platform>(channel: &Channel<P>, pending: Pending) {
///     let _ = channel.op_continue(pending);
///     let _ = channel.op_continue(pending); // error: use of moved value
/// }
/// ```
#[derive(Debug)]
#[must_use = "an abandoned operation keeps its objects blocked inside the RMM"]
pub struct Pending {
    /// The machine whose RMM has the operation: a handle is a small number, and another RMM has
    /// another operation of that number.
    pub(crate) machine: Machine,
    pub(crate) command: Command,
    pub(crate) subject: Subject,
    pub(crate) handle: u64,
    pub(crate) want: Want,
    pub(crate) can_cancel: bool,
    /// The answer to the last call for it, if that was `RMI_BUSY` or `RMI_BLOCKED`.
    pub(crate) waits: Option<Status>,
    /// What the command that started it has used of its retry budget.
    pub(crate) attempts: Attempts,
}

impl Pending {
    /// The command that started the operation.
    #[must_use]
    pub const fn command(&self) -> Command {
        self.command
    }

    /// The RMM's handle of the operation. 0 is a valid handle.
    #[must_use]
    pub const fn handle(&self) -> u64 {
        self.handle
    }

    /// What the operation requests next.
    #[must_use]
    pub const fn want(&self) -> Want {
        self.want
    }

    /// Whether the RMM would accept `RMI_OP_CANCEL` now.
    #[must_use]
    pub const fn can_cancel(&self) -> bool {
        self.can_cancel
    }

    /// Whether the RMM was busy at the last attempt to continue the operation: nothing happened,
    /// and the same call can be made again later.
    #[must_use]
    pub const fn was_busy(&self) -> bool {
        self.waits.is_some()
    }

    /// The answer to the last call, if the same call can be made again later.
    #[doc(hidden)]
    #[must_use]
    pub const fn waits(&self) -> Option<Status> {
        self.waits
    }

    /// What the command that started it has used of its retry budget before it was an operation.
    #[doc(hidden)]
    #[must_use]
    pub const fn attempts(&self) -> Attempts {
        self.attempts
    }

    /// The subject of the operation.
    #[must_use]
    pub const fn subject(&self) -> Subject {
        self.subject
    }
}

/// Operations whose [`Pending`] was dropped, in this process or image.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many unfinished operations were dropped without being recorded in a ledger, since the start,
/// over all sessions: each blocks its objects inside an RMM.
#[must_use]
pub fn dropped_operations() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

impl Drop for Pending {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// The progress of a command.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmi_host::{Discovered, Progress, SessionOptions};
/// # use rmm_model::{Model, Options};
/// # let mut options = Options::new(Dialect::V2_0Bet3);
/// # options.rmm_activate_donates = 4;
/// # let model = Model::new(options)?;
/// # let mut page = model.take_memory();
/// # let found = Discovered::probe(model.host(), SessionOptions::default())?;
/// # let configured = found.configure(&mut page)?;
/// match configured.start_activation()? {
///     Progress::Done(_) => println!("active"),
///     Progress::Pending(pending) => {
///         println!("{} wants {:?}", pending.command(), pending.want());
///         // `sro::drive` would provide it. The operation can also be given up, which is
///         // recorded.
///         configured.into_active().commands().drop_pending(pending);
///     }
/// }
/// assert_eq!(model.open_operations(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// It succeeded.
    Done(Reply),
    /// It became a stateful operation.
    Pending(Pending),
}

/// A platform and a dialect, which is what issuing commands needs.
///
/// [The module](self) has an example.
#[derive(Debug)]
pub struct Channel<P> {
    platform: P,
    dialect: Dialect,
    granule_size: GranuleSize,
    retry_budget: RetryBudget,
    machine: Machine,
    /// Whether this is one of the [open sessions](crate::OpenSessions).
    is_counted: bool,
}

impl<P: Platform> Channel<P> {
    /// A channel without a session: for an embedder that knows the dialect and the state in which
    /// earlier calls left the RMM.
    ///
    /// # Safety
    ///
    /// The conduit and the access of the platform are of one machine, and the RMM speaks this
    /// dialect, which is the platform's if it is built for only one ([`Platform::DIALECT`]), and
    /// has granules of this size, for which the same is true ([`Platform::GRANULE_SIZE`]). Opening
    /// a session determines all of this. From now on no session of this program changes the
    /// configuration of the RMM ([`OpenSessions`](crate::OpenSessions)).
    pub unsafe fn new(
        platform: P,
        dialect: Dialect,
        granule_size: GranuleSize,
        retry_budget: RetryBudget,
    ) -> Self {
        platform.conduit().open_sessions().add();
        let channel = Self::of_one_machine(platform, dialect, granule_size, retry_budget);
        Self { is_counted: true, ..channel }
    }

    /// As [`Channel::new`], unless the conduit and the access are of two machines.
    pub(crate) fn join(
        platform: P,
        dialect: Dialect,
        granule_size: GranuleSize,
        retry_budget: RetryBudget,
    ) -> Result<Self, P> {
        if platform.conduit().open_sessions().machine() != platform.access().machine() {
            return Err(platform);
        }
        Ok(Self::of_one_machine(platform, dialect, granule_size, retry_budget))
    }

    pub(crate) fn of_one_machine(
        platform: P,
        dialect: Dialect,
        granule_size: GranuleSize,
        retry_budget: RetryBudget,
    ) -> Self {
        let machine = platform.conduit().open_sessions().machine();
        Self { platform, dialect, granule_size, retry_budget, machine, is_counted: false }
    }

    /// The size of a granule, which is part of every descriptor of memory.
    #[must_use]
    pub const fn granule_size(&self) -> GranuleSize {
        // As the dialect: a constant where there is only one.
        match P::GRANULE_SIZE {
            Some(only) => only,
            None => self.granule_size,
        }
    }

    /// Makes this the channel of a session that was [counted](crate::OpenSessions), with granules
    /// of this size; in place, because a platform may be large.
    pub(crate) fn set_configured(&mut self, granule_size: GranuleSize) {
        (self.granule_size, self.is_counted) = (granule_size, true);
    }

    /// The machine whose RMM this reaches.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        self.machine
    }

    /// The platform.
    #[must_use]
    pub const fn platform(&self) -> &P {
        &self.platform
    }

    /// Ends the session.
    pub(crate) fn into_platform(self) -> P {
        if self.is_counted {
            self.platform.conduit().open_sessions().end();
        }
        self.platform
    }

    /// The dialect of the calls.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        // A constant where there is only one, so that the compiler removes what belongs to others.
        match P::DIALECT {
            Some(only) => only,
            None => self.dialect,
        }
    }

    pub(crate) fn set_dialect(&mut self, dialect: Dialect) {
        self.dialect = dialect;
    }

    /// How long commands wait for the RMM.
    #[must_use]
    pub const fn retry_budget(&self) -> RetryBudget {
        self.retry_budget
    }

    /// Issues a call once and returns X0; the outputs are in `reply` then.
    ///
    /// # Safety
    ///
    /// As [`Conduit::call`].
    pub(crate) unsafe fn issue(&self, call: &Call, reply: &mut Reply) -> Result<ResultWord, Error> {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { self.issue_in(self.dialect(), call, reply) }
    }

    /// As [`Channel::issue`], with the function identifier of a dialect that may be another: for
    /// probing.
    ///
    /// # Safety
    ///
    /// As [`Conduit::call`].
    pub(crate) unsafe fn issue_in(
        &self,
        dialect: Dialect,
        call: &Call,
        reply: &mut Reply,
    ) -> Result<ResultWord, Error> {
        let Some(fid) = call.command.fid(dialect) else {
            return Err(Error::unsupported(call.command, dialect));
        };
        let mut registers: Registers = [0; 8];
        let [x0, args @ ..] = &mut registers;
        (*x0, *args) = (u64::from(fid.0), call.args);
        // SAFETY: the caller's promise is passed on unchanged.
        let answer = unsafe { self.platform.conduit().call(registers) };
        // By reference: a copy of the answer would be another array on the stack.
        let [x0, outputs @ ..] = &answer;
        let ([no_answer, ..], [not_sent, ..]) = (NO_ANSWER, NOT_SENT);
        if *x0 == no_answer || *x0 == not_sent {
            return Err(Error::no_answer(call.command, call.subject, *x0 == no_answer));
        }
        reply.outputs = *outputs;
        Ok(ResultWord(*x0))
    }

    fn refusal(&self, call: &Call, result: ResultWord) -> Refusal {
        Refusal::new(call.command, self.dialect(), result, call.subject)
    }

    /// Classifies a final status that is not success.
    #[inline(never)]
    pub(crate) fn failure(&self, call: &Call, result: ResultWord) -> Error {
        match result.status() {
            // A function that does not exist answers with all ones; the status byte of that would
            // be 255.
            _ if result.is_not_supported() => Error::Refused(self.refusal(call, result)),
            status @ (Status::Success | Status::Incomplete) => Error::violation(
                call.command,
                Violation::Status,
                u64::from(u8::from(status)),
                call.subject,
            ),
            // An unknown status may be a newer error, which changes nothing, or an invalid answer.
            Status::Unknown(_) => Error::Unclear(self.refusal(call, result)),
            _ => Error::Refused(self.refusal(call, result)),
        }
    }

    /// Starts a command: repeats it while the RMM is busy, and classifies the answer.
    ///
    /// # Safety
    ///
    /// As [`Conduit::call`].
    pub(crate) unsafe fn start(&self, call: &Call) -> Result<Progress, Error> {
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { self.start_within(call, &mut Attempts::default()) }
    }

    /// As [`Channel::start`], of a command that has used a part of its budget.
    ///
    /// # Safety
    ///
    /// As [`Conduit::call`].
    pub(crate) unsafe fn start_within(
        &self,
        call: &Call,
        attempts: &mut Attempts,
    ) -> Result<Progress, Error> {
        let mut reply = Reply::EMPTY;
        // SAFETY: the caller's promise is passed on unchanged.
        match unsafe { self.start_into(call, &mut reply, attempts)? } {
            None => Ok(Progress::Done(reply)),
            Some(pending) => Ok(Progress::Pending(pending)),
        }
    }

    /// As [`Channel::start_within`]; `None` for a command that has succeeded. The outputs of the
    /// last answer are in `last`.
    #[inline(never)]
    unsafe fn start_into(
        &self,
        call: &Call,
        last: &mut Reply,
        attempts: &mut Attempts,
    ) -> Result<Option<Pending>, Error> {
        loop {
            // SAFETY: the caller's promise is passed on unchanged.
            let result = unsafe { self.issue(call, last)? };
            match result.status() {
                Status::Success => return Ok(None),
                Status::Busy | Status::Blocked => {}
                Status::Incomplete if self.may_be_incomplete(call.command) => {
                    let mut pending = Pending {
                        machine: self.machine(),
                        command: call.command,
                        subject: call.subject,
                        handle: last.x1(),
                        want: Want::Continue,
                        can_cancel: result.can_cancel(),
                        waits: None,
                        attempts: *attempts,
                    };
                    match self.want(call, result, last) {
                        Ok(want) => pending.want = want,
                        Err(error) => return Err(self.give_up(pending, attempts, error)),
                    }
                    return Ok(Some(pending));
                }
                _ => return Err(self.failure(call, result)),
            }
            if !self.pause(attempts, result.status()) {
                return Err(Error::exhausted(call.command, result.status(), call.subject));
            }
        }
    }

    fn may_be_incomplete(&self, command: Command) -> bool {
        command.form(self.dialect()).is_some_and(|form| form.effect() != Effect::Immediate)
    }

    fn want(&self, call: &Call, result: ResultWord, reply: &Reply) -> Result<Want, Error> {
        match result.op_mem_req() {
            OpMemReq::None => Ok(Want::Continue),
            OpMemReq::Donate => Ok(Want::Donate(DonateRequest::decode(reply.x2(), self.dialect()))),
            OpMemReq::Reclaim => Ok(Want::Reclaim),
            OpMemReq::Reserved => {
                Err(Error::violation(call.command, Violation::Status, result.0, call.subject))
            }
        }
    }

    /// Issues one of the four commands that drive an operation; the outputs are in `reply` then.
    /// `None` stands for `RMI_BUSY` and `RMI_BLOCKED`: the same call is to be made again later.
    /// Where `RMI_BLOCKED` can be the end of the operation, it is.
    ///
    /// # Safety
    ///
    /// As [`Conduit::call`].
    pub(crate) unsafe fn advance(
        &self,
        pending: &mut Pending,
        call: &Call,
        reply: &mut Reply,
    ) -> Result<Option<Step>, Error> {
        if pending.machine != self.machine() {
            return Err(Error::other_machine(call.command, call.subject));
        }
        // SAFETY: the caller's promise is passed on unchanged.
        let result = unsafe { self.issue(call, reply)? };
        let status = result.status();
        let waits = match status {
            Status::Busy => true,
            Status::Blocked => call.command != Command::OpContinue || !may_end_blocked(pending),
            _ => false,
        };
        pending.waits = waits.then_some(status);
        match status {
            _ if waits => Ok(None),
            Status::Incomplete => {
                pending.want = self.want(call, result, reply)?;
                pending.can_cancel = result.can_cancel();
                Ok(Some(Step::Again))
            }
            _ => Ok(Some(Step::Final(result))),
        }
    }

    /// `RMI_OP_CONTINUE`: continues an operation that requests it. When the RMM is busy, nothing
    /// happens and the operation requests the same again.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_OP_CONTINUE.
    ///
    /// # Errors
    ///
    /// The outer error leaves the operation as it was. The inner result is the end of the
    /// operation, with the final status of the command that started it.
    pub fn op_continue(&self, mut pending: Pending) -> Result<Progress, Failure> {
        let mut reply = Reply::EMPTY;
        match self.continue_once(&mut pending, &mut reply) {
            Ok(None) => Ok(Progress::Pending(pending)),
            Ok(Some(result)) => match self.ended(pending, result) {
                Ok(()) => Ok(Progress::Done(reply)),
                Err(error) => Err(Failure::Ended(error)),
            },
            Err(error) => Err(Failure::Stuck(pending, error)),
        }
    }

    /// As [`Channel::op_continue`], for an operation that stays in its place until it ends: then it
    /// is taken out, because the RMM may give its handle to another one. Returns the result if it
    /// has ended; its outputs are in `last` then.
    #[doc(hidden)]
    pub fn continue_in_place(
        &self,
        place: &mut Option<Pending>,
        last: &mut Reply,
    ) -> Result<Option<Result<(), Error>>, Error> {
        let Some(pending) = place else { return Ok(None) };
        let result = self.continue_once(pending, last)?;
        let ended = result.and_then(|result| Some((place.take()?, result)));
        Ok(ended.map(|(pending, result)| self.ended(pending, result)))
    }

    /// Continues an operation once. Returns the final result word if it has ended; its outputs are
    /// in `last` then.
    fn continue_once(
        &self,
        pending: &mut Pending,
        last: &mut Reply,
    ) -> Result<Option<ResultWord>, Error> {
        let args = [pending.handle, ContinueFlags::empty().bits()];
        let call = Call::new(Command::OpContinue, pending.subject, args);
        let mut reply = Reply::EMPTY;
        // SAFETY: the command names no memory; memory was given to the operation by tokens.
        match unsafe { self.advance(pending, &call, &mut reply)? } {
            None | Some(Step::Again) => Ok(None),
            Some(Step::Final(result)) => {
                *last = reply;
                Ok(Some(result))
            }
        }
    }

    /// How an operation has ended.
    fn ended(&self, pending: Pending, result: ResultWord) -> Result<(), Error> {
        let started = Call { command: pending.command, args: [0; 7], subject: pending.subject };
        core::mem::forget(pending);
        match result.status() {
            Status::Success => Ok(()),
            _ => Err(self.failure(&started, result)),
        }
    }

    /// `RMI_OP_CANCEL`: asks the RMM to undo an operation. It then requests to give memory back or
    /// to be continued. A busy RMM leaves it unchanged, with [`Pending::was_busy`] true.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_OP_CANCEL.
    ///
    /// # Errors
    ///
    /// The operation is returned unchanged when the RMM refuses.
    pub fn op_cancel(&self, mut pending: Pending) -> Result<Pending, Failed<Pending>> {
        match self.cancel(&mut pending) {
            Ok(()) => Ok(pending),
            Err(error) => Err(Failed::new(pending, error)),
        }
    }

    /// As [`Channel::op_cancel`], for an operation that stays in its place.
    #[doc(hidden)]
    pub fn cancel(&self, pending: &mut Pending) -> Result<(), Error> {
        let call = Call::new(Command::OpCancel, pending.subject, [pending.handle]);
        // SAFETY: the command names no memory.
        match unsafe { self.advance(pending, &call, &mut { Reply::EMPTY })? } {
            None | Some(Step::Again) => Ok(()),
            Some(Step::Final(result)) => Err(self.failure(&call, result)),
        }
    }

    /// Runs a command that moves no memory to its end.
    ///
    /// # Safety
    ///
    /// As [`Conduit::call`].
    #[inline(never)]
    pub(crate) unsafe fn complete(&self, call: &Call) -> Result<Reply, Error> {
        let mut reply = Reply::EMPTY;
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { self.complete_into(call, &mut reply)? };
        Ok(reply)
    }

    /// As [`Channel::complete`]; the outputs of the last final answer are in `last`, also when it
    /// is an error.
    ///
    /// # Safety
    ///
    /// As [`Conduit::call`].
    #[inline(never)]
    pub(crate) unsafe fn complete_into(&self, call: &Call, last: &mut Reply) -> Result<(), Error> {
        let (mut attempts, mut waits) = (Attempts::default(), None);
        // By the specification, an operation that is blocked is not undone but waits for another
        // one. It may end at any time, so no refusal of a later attempt is clean.
        let certain = |error: Error, waits: Option<Refusal>| match waits {
            Some(refusal) if error.is_clean() => Error::Unclear(refusal),
            _ => error,
        };
        loop {
            // SAFETY: the caller's promise is passed on unchanged.
            let started = unsafe { self.start_into(call, last, &mut attempts) };
            let Some(pending) = started.map_err(|error| certain(error, waits))? else {
                return Ok(());
            };
            match self.continue_to_end(pending, last, &mut attempts) {
                // Only what changes the owner of a whole region is undone.
                Err(Error::Unclear(refusal))
                    if P::COARSE_TRACKING && refusal.status() == Status::Blocked =>
                {
                    if !self.pause(&mut attempts, Status::Blocked) {
                        return Err(Error::Unclear(refusal));
                    }
                    waits = Some(refusal);
                }
                result => return result.map_err(|error| certain(error, waits)),
            }
        }
    }

    /// Continues an operation that moves no memory until it ends. Not inlined: most commands are
    /// no operations and need no stack for this.
    #[inline(never)]
    fn continue_to_end(
        &self,
        mut pending: Pending,
        last: &mut Reply,
        attempts: &mut Attempts,
    ) -> Result<(), Error> {
        while self.may_step(attempts) {
            if pending.waits.is_some_and(|why| !self.pause(attempts, why)) {
                break;
            }
            if pending.want != Want::Continue {
                // This function has no memory to give and no place for memory that is given back.
                // Cancel the operation if possible; report it in either case.
                let violation = Violation::UnexpectedTransfer;
                let error = self.violation(&pending, violation, pending.handle);
                return Err(self.give_up(pending, attempts, error));
            }
            match self.continue_once(&mut pending, last) {
                Ok(None) => {}
                // The operation had begun; whether the status is its result or a refusal to
                // continue is not known, unless only an operation can have it.
                Ok(Some(result)) => {
                    let is_undone = is_undone(&pending, result.status());
                    return self.ended(pending, result).map_err(|error| match error {
                        Error::Refused(refusal) if !is_undone => Error::Unclear(refusal),
                        error => error,
                    });
                }
                Err(error) => {
                    let (command, handle) = (pending.command, pending.handle);
                    let left = Error::abandoned(command, handle, 0, pending.subject);
                    self.drop_pending(pending);
                    // The operation had begun: the error must not look clean.
                    return Err(if error.is_clean() { left } else { error });
                }
            }
        }
        let error = Error::unfinished(pending.command, pending.handle, pending.subject);
        Err(self.give_up(pending, attempts, error))
    }

    /// Cancels an operation, if the RMM accepts that, and gives it up because of `error`. That is
    /// tried once in any case, and again with what is left of the budget.
    #[cold]
    #[inline(never)]
    fn give_up(&self, mut pending: Pending, attempts: &mut Attempts, error: Error) -> Error {
        while self.cancel(&mut pending).is_ok()
            && pending.waits.is_some_and(|why| self.pause(attempts, why))
        {}
        self.drop_pending(pending);
        error
    }

    /// Gives an operation up and records that in the ledger.
    pub fn drop_pending(&self, pending: Pending) {
        self.platform.ledger().operation_dropped(pending.command, pending.handle);
        core::mem::forget(pending);
    }

    /// A violation by `pending`'s command.
    #[doc(hidden)]
    #[must_use]
    pub const fn violation(&self, pending: &Pending, violation: Violation, value: u64) -> Error {
        Error::violation(pending.command, violation, value, pending.subject)
    }
}

/// Whether `RMI_BLOCKED` can be the end of an operation: firmware that changes the owner of memory
/// met another operation, and what was begun is undone. Of others, `RMI_OP_CONTINUE` is blocked
/// itself, and they go on later.
///
/// Source: the design of dynamic granules in TF-RMM (October 2026), "Delegation progress and retry
/// policy".
fn may_end_blocked(pending: &Pending) -> bool {
    matches!(pending.command, Command::GranuleRangeDelegate | Command::GranuleTrackingSet)
}

/// Whether an operation that ends with this status was undone: one that changes the owner of
/// memory, of a whole tracking region or of nothing. `RMI_OP_CONTINUE` itself does not fail with
/// it.
fn is_undone(pending: &Pending, status: Status) -> bool {
    may_end_blocked(pending) && status == Status::ErrorTracking
}

/// The answer to a command that drives an operation.
pub(crate) enum Step {
    /// The operation continues.
    Again,
    /// Any other status.
    Final(ResultWord),
}

/// Why an operation was not continued.
#[derive(Debug)]
#[must_use]
pub enum Failure {
    /// It has ended with this error.
    Ended(Error),
    /// It is unchanged.
    Stuck(Pending, Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Ended(error) | Self::Stuck(_, error)) = self;
        error.fmt(f)
    }
}

impl core::error::Error for Failure {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        let (Self::Ended(error) | Self::Stuck(_, error)) = self;
        Some(error)
    }
}

/// Drops an operation that has not ended: its objects stay blocked.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let (Failure::Ended(error) | Failure::Stuck(_, error)) = failure;
        error
    }
}
