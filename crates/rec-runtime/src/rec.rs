//! A REC that can be entered.

use core::fmt;

use rmi_abi::rec::Mpidr;
use rmi_abi::rtt::Geometry;
use rmi_abi::run::{ExitReason, RecEnter, RecEnterFlags, RecExit};
use rmi_host::{Channel, Error, Failed, Platform, RecName, Undelegated};
use sro::RecObject;
use zerocopy::FromZeros;

use crate::answer::{Answer, Ticket};
use crate::exit::{Exit, decode};
use crate::timer::Timers;

/// Why a REC was not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnterError {
    /// The last exit wants an answer and this is none; nothing was called.
    Unanswered,
    /// The answer belongs to another REC or to an earlier exit; nothing was called.
    WrongAnswer,
    /// The RMM refused.
    Call(Error),
}

impl From<Error> for EnterError {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered => f.write_str("the REC's last exit has not been answered"),
            Self::WrongAnswer => f.write_str("the answer belongs to another exit"),
            Self::Call(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for EnterError {}

/// One run of a REC, over.
#[derive(Debug)]
#[must_use = "an exit may want an answer"]
#[non_exhaustive]
pub struct Event {
    /// Why it came back.
    pub exit: Exit,
    /// The EL1 timers of the Realm. The host raises and lowers their interrupts by this, after every exit.
    pub timers: Timers,
    /// Whether the PMU's overflow interrupt is raised.
    pub pmu_overflow: bool,
}

/// A REC together with its run page: a virtual CPU.
///
/// Entering takes `&mut self`: a REC runs on one CPU at a time. It may move from one to another between runs.
#[derive(Debug)]
#[must_use = "take it apart with `into_parts` to destroy the REC"]
pub struct Rec {
    object: RecObject,
    run: Undelegated,
    geometry: Geometry,
    traps: RecEnterFlags,
    exits: u64,
    /// Whether the last exit wants an answer, and what rejects it if nobody gives one that can be given.
    wants_answer: bool,
    /// Flags of the next entry that the last exit demands of its own.
    standing: RecEnterFlags,
}

impl Rec {
    /// Gives a REC its run page: one granule of host memory. `geometry` is that of its Realm.
    pub const fn new(object: RecObject, run: Undelegated, geometry: Geometry) -> Self {
        Self {
            object,
            run,
            geometry,
            traps: RecEnterFlags::empty(),
            exits: 0,
            wants_answer: false,
            standing: RecEnterFlags::empty(),
        }
    }

    /// The REC, to be destroyed, and its run page.
    pub fn into_parts(self) -> (RecObject, Undelegated) {
        (self.object, self.run)
    }

    /// The REC's name.
    #[must_use]
    pub fn name(&self) -> RecName {
        self.object.granule().name()
    }

    /// The REC's MPIDR.
    #[must_use]
    pub const fn mpidr(&self) -> Mpidr {
        self.object.mpidr()
    }

    /// Runs so far.
    #[must_use]
    pub const fn exits(&self) -> u64 {
        self.exits
    }

    /// Whether the REC comes back when it waits for an interrupt (WFI) or an event (WFE).
    pub fn trap_waiting(&mut self, wfi: bool, wfe: bool) {
        self.traps.set(RecEnterFlags::TRAP_WFI, wfi);
        self.traps.set(RecEnterFlags::TRAP_WFE, wfe);
    }

    fn ticket(&self) -> Ticket {
        Ticket { rec: self.name(), exit: self.exits }
    }

    fn check(&self, answer: &Answer) -> Result<(), EnterError> {
        match answer.ticket {
            None if self.wants_answer => Err(EnterError::Unanswered),
            None => Ok(()),
            Some(ticket) if self.wants_answer && ticket == self.ticket() => Ok(()),
            Some(_) => Err(EnterError::WrongAnswer),
        }
    }

    /// Enters the REC and stays in it until its next exit: `RMI_REC_ENTER`.
    ///
    /// The host has loaded the list registers of the virtual GIC, and interrupts that are to end the run are unmasked at EL3's level.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REC_ENTER.
    ///
    /// # Errors
    ///
    /// The answer comes back: [`EnterError::Unanswered`] and [`EnterError::WrongAnswer`] before any call; [`ErrorRealm`](rmi_abi::Status::ErrorRealm) when the Realm is off
    /// or not active, [`ErrorRec`](rmi_abi::Status::ErrorRec) when the REC is running, turned off, or refuses the virtual GIC's state.
    pub fn enter<P: Platform>(
        &mut self,
        channel: &Channel<P>,
        answer: Answer,
    ) -> Result<Event, Failed<Answer, EnterError>> {
        if let Err(error) = self.check(&answer) {
            return Err(Failed::new(answer, error));
        }
        let mut enter = RecEnter::new_zeroed();
        enter.flags = (answer.flags | self.traps | self.standing).bits();
        enter.gprs = answer.gprs;
        let record = match channel.rec_enter(self.object.granule(), &mut self.run, &enter) {
            Ok(record) => record,
            Err(error) => return Err(Failed::new(answer, error.into())),
        };
        self.exits += 1;
        Ok(self.take_note(&record, channel))
    }

    fn take_note<P: Platform>(&mut self, record: &RecExit, channel: &Channel<P>) -> Event {
        let exit = decode(record, channel.dialect(), self.geometry, self.ticket());
        let reason = ExitReason::decode(record.exit_reason, channel.dialect());
        self.standing = match exit {
            // A change of what is no range is rejected.
            Exit::Unknown { .. } if reason == ExitReason::S2apChange => RecEnterFlags::S2AP_REJECT,
            Exit::Device { .. } => RecEnterFlags::DEV_MEM_REJECT,
            _ => RecEnterFlags::empty(),
        };
        self.wants_answer = matches!(
            exit,
            Exit::MmioLoad(_)
                | Exit::MmioStore(_)
                | Exit::Fault(_)
                | Exit::SharedFault(_)
                | Exit::SysRegRead(_)
                | Exit::PsciRequest(_)
                | Exit::RipasChange(_)
                | Exit::S2apChange(_)
                | Exit::HostCall(_)
        );
        Event { exit, timers: Timers::new(record), pmu_overflow: record.pmu_ovf_status != 0 }
    }
}
