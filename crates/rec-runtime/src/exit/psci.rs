//! PSCI calls.

use core::fmt;

use rmi_abi::Command;
use rmi_abi::psci::{PsciFunction, PsciReturnCode};
use rmi_abi::rec::Mpidr;
use rmi_host::{Error, Failed, Platform, RecName, Rmm, Subject};
use sro::Awaiting;

use crate::answer::{Answer, Ticket};
use crate::rec::Rec;

/// What a Realm asks about another REC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsciRequestKind {
    /// To turn it on (`PSCI_CPU_ON`).
    CpuOn,
    /// Whether it is on (`PSCI_AFFINITY_INFO`).
    AffinityInfo,
}

/// A PSCI call about another REC. The host finds that REC by its MPIDR and completes the call; the
/// RMM checks the call and does the rest. That REC may be running: a [`Rec`] is shared by threads.
///
/// Of the MPIDR that the Realm passed, only the affinities count. The RMM asks about RECs that were
/// created; if the host has destroyed that one in the meantime, no dialect before 2.0-bet3 lets it
/// complete the call, and the calling REC cannot be entered again.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "complete the request; the REC cannot be entered before"]
pub struct PsciRequest {
    pub(crate) ticket: Ticket,
    pub(crate) kind: PsciRequestKind,
    pub(crate) target: Mpidr,
}

impl PsciRequest {
    /// The requested function.
    #[must_use]
    pub const fn kind(&self) -> PsciRequestKind {
        self.kind
    }

    /// The MPIDR of the REC that the call concerns.
    #[must_use]
    pub const fn target(&self) -> Mpidr {
        self.target
    }

    /// Lets the RMM perform the call: `RMI_PSCI_COMPLETE` with success. `rec` is the REC that made
    /// it, and `target` the one that [`PsciRequest::target`] names. After a `CPU_ON` it may be
    /// entered.
    ///
    /// TF-RMM (July 2026) turns nothing on if the Realm set bits of the upper half of X0: the PSCI
    /// call returns `NOT_SUPPORTED`, this command returns success, and entering the target is
    /// [`ErrorRec`](rmi_abi::Status::ErrorRec). TF-RMM with assertions (a debug build) stops there
    /// and does not return, nor does it return from a refusal: a Realm can stop it, and a host can
    /// only prevent that by not completing the request.
    ///
    /// Success does not mean that the target was off: if it was on, the Realm gets `ALREADY_ON`,
    /// and the host is not told. A host has to keep track of which RECs are on.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PSCI_COMPLETE.
    ///
    /// # Errors
    ///
    /// The request is returned when the RMM refuses, for instance because `target` is another REC;
    /// and with [`Error::Argument`], before any call, unless `rec` waits for the answer to this
    /// request.
    pub fn accept<P: Platform>(
        self,
        rmm: &Rmm<P>,
        rec: &Rec,
        target: &Rec,
    ) -> Result<Answer, Failed<Self>> {
        self.complete(&completion(rmm), rec, target, PsciReturnCode::Success)
    }

    /// Whether [`PsciRequest::deny`] is possible: only a `CPU_ON` can be denied.
    #[must_use]
    pub const fn can_be_denied(&self) -> bool {
        matches!(self.kind, PsciRequestKind::CpuOn)
    }

    /// Refuses a `CPU_ON`: `RMI_PSCI_COMPLETE` with `PSCI_DENIED`; otherwise as
    /// [`PsciRequest::accept`].
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PSCI_COMPLETE.
    ///
    /// # Errors
    ///
    /// As [`PsciRequest::accept`]; and [`Error::Argument`], before any call, for an
    /// `AFFINITY_INFO`, which can only be accepted. TF-RMM (July 2026) refuses if the target is on,
    /// but completes the request; after such a refusal use [`PsciRequest::completed`].
    pub fn deny<P: Platform>(
        self,
        rmm: &Rmm<P>,
        rec: &Rec,
        target: &Rec,
    ) -> Result<Answer, Failed<Self>> {
        self.complete(&completion(rmm), rec, target, PsciReturnCode::Denied)
    }

    fn complete(
        self,
        completion: &Completion<'_>,
        rec: &Rec,
        target: &Rec,
        status: PsciReturnCode,
    ) -> Result<Answer, Failed<Self>> {
        let (calling, target) = (rec.name(), target.name());
        if status == PsciReturnCode::Denied && !self.can_be_denied() {
            let (what, subject) = ("only a CPU_ON can be denied", Subject::Pa(calling.pa()));
            return Err(Failed::new(self, Error::argument(Command::PsciComplete, what, subject)));
        }
        // The number of an exit is never used twice. So this is the REC that made the request, and
        // it waits for nothing else until the answer is given, which only this value can make.
        if rec.awaiting() != Awaiting::Answer(self.ticket.exit) {
            let what = "the REC does not wait for the answer to this request";
            let subject = Subject::Pa(calling.pa());
            return Err(Failed::new(self, Error::argument(Command::PsciComplete, what, subject)));
        }
        match completion(calling, target, status) {
            Ok(()) => Ok(self.completed()),
            Err(error) => Err(Failed::new(self, error)),
        }
    }

    /// Marks the request as completed by other means, so that the REC may be entered.
    pub const fn completed(self) -> Answer {
        Answer::plain(self.ticket)
    }
}

/// Calls `RMI_PSCI_COMPLETE` in a session: for the calling REC and the target, with a status.
type Completion<'s> = dyn Fn(RecName<'_>, RecName<'_>, PsciReturnCode) -> Result<(), Error> + 's;

/// The call in the session of `rmm`.
const fn completion<P: Platform>(
    rmm: &Rmm<P>,
) -> impl Fn(RecName<'_>, RecName<'_>, PsciReturnCode) -> Result<(), Error> {
    move |calling, target, status| rmm.commands().psci_complete(calling, Some(target), status)
}

/// A [`PsciRequest`] in a run loop, see [`Handler::psci_request`](crate::Handler::psci_request): it
/// is completed in the session of the loop, for the REC that the loop runs.
#[must_use = "complete the request; the REC cannot be entered before"]
pub struct PsciCall<'r> {
    request: PsciRequest,
    rec: &'r Rec,
    completion: &'r Completion<'r>,
}

impl PsciCall<'_> {
    /// Passes a request that `rec` made to `handle`, which may complete it in the session of `rmm`.
    pub(crate) fn pass<P: Platform, R>(
        request: PsciRequest,
        rmm: &Rmm<P>,
        rec: &Rec,
        handle: impl FnOnce(PsciCall<'_>) -> R,
    ) -> R {
        handle(PsciCall { request, rec, completion: &completion(rmm) })
    }

    /// The requested function.
    #[must_use]
    pub const fn kind(&self) -> PsciRequestKind {
        self.request.kind
    }

    /// The MPIDR of the REC that the call concerns.
    #[must_use]
    pub const fn target(&self) -> Mpidr {
        self.request.target
    }

    /// Lets the RMM perform the call: [`PsciRequest::accept`].
    ///
    /// # Errors
    ///
    /// As [`PsciRequest::accept`].
    pub fn accept(self, target: &Rec) -> Result<Answer, Failed<PsciRequest>> {
        let Self { request, rec, completion } = self;
        request.complete(completion, rec, target, PsciReturnCode::Success)
    }

    /// Whether [`PsciCall::deny`] is possible: only a `CPU_ON` can be denied.
    #[must_use]
    pub const fn can_be_denied(&self) -> bool {
        self.request.can_be_denied()
    }

    /// Refuses a `CPU_ON`: [`PsciRequest::deny`].
    ///
    /// # Errors
    ///
    /// As [`PsciRequest::deny`].
    pub fn deny(self, target: &Rec) -> Result<Answer, Failed<PsciRequest>> {
        let Self { request, rec, completion } = self;
        request.complete(completion, rec, target, PsciReturnCode::Denied)
    }

    /// The request, to be completed after the loop has ended.
    pub fn into_request(self) -> PsciRequest {
        self.request
    }
}

impl fmt::Debug for PsciCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PsciCall")
            .field("request", &self.request)
            .field("rec", self.rec)
            .finish_non_exhaustive()
    }
}

/// A PSCI call that requires no action before the next entry, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PsciNotice {
    /// The REC turned itself off. It cannot be entered until another turns it on.
    CpuOff,
    /// The REC suspended itself; it may be entered on a wake-up event.
    CpuSuspend,
    /// The Realm turned itself off. None of its RECs can be entered any more.
    SystemOff,
    /// The Realm requests a reset. None of its RECs can be entered any more; a new Realm has to be
    /// built.
    SystemReset,
    /// Another call.
    Other(PsciFunction),
}
