//! The host's answer to an exit of a REC, given at the next entry.

use core::fmt;

use rmi_abi::run::{RUN_GPRS, RecEnterFlags};
use sro::ExitNumber;

use crate::exit::Exit;
use crate::timer::InterruptLines;

/// Which exit an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) exit: ExitNumber,
}

/// An answer to one exit, to be given at the next entry of the same REC.
///
/// Made by the exit that it answers. After an exit that needs no answer, use [`Answer::resume`].
#[derive(Clone, PartialEq, Eq)]
#[must_use = "give it to the next entry of the REC"]
pub struct Answer {
    pub(crate) exit: Option<ExitNumber>,
    pub(crate) flags: RecEnterFlags,
    pub(crate) value: AnswerValue,
}

/// The registers of an answer, and what has to be known until the RMM has taken it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum AnswerValue {
    None,
    /// X0.
    Word([u64; 1]),
    /// All, for a host call.
    Reply(Reply),
    /// None. The RMM may exit again before the REC runs, and then does not report the interrupt
    /// lines; these are those of the exit that is answered.
    BeforeRunning(InterruptLines),
}

impl AnswerValue {
    /// The interrupt lines at the answered exit, if `exit` may have come before the REC ran.
    ///
    /// In that case the RMM reports none, and ignores the answer if it no longer waits for it. A
    /// host that lowered a timer's line then would not get its state again: an RMM reports only
    /// changes.
    pub(crate) const fn lines_before(&self, exit: &Exit) -> Option<InterruptLines> {
        match (exit, self) {
            (Exit::Fault(_), Self::Reply(Reply { lines, .. }))
            | (Exit::Fault(_) | Exit::VdevMapping(_), Self::BeforeRunning(lines)) => Some(*lines),
            _ => None,
        }
    }

    /// The same, to be given again, with these lines.
    pub(crate) const fn again(&self, lines: InterruptLines) -> Self {
        match self {
            Self::None => Self::None,
            Self::Word(word) => Self::Word(*word),
            Self::Reply(Reply { gprs, .. }) => Self::Reply(Reply { gprs: *gprs, lines }),
            Self::BeforeRunning(_) => Self::BeforeRunning(lines),
        }
    }
}

/// The reply to a host call, which the RMM may not be able to deliver.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) gprs: [u64; RUN_GPRS],
    /// The interrupt lines at the exit that it answers.
    pub(crate) lines: InterruptLines,
}

impl Answer {
    /// No answer: for the first entry, and after exits that need no answer.
    pub const fn resume() -> Self {
        Self { exit: None, flags: RecEnterFlags::empty(), value: AnswerValue::None }
    }

    /// The exit that it answers; `None` for [`Answer::resume`].
    #[must_use]
    pub const fn exit(&self) -> Option<ExitNumber> {
        self.exit
    }

    /// Answers that the exit has been handled.
    pub(crate) const fn plain(ticket: Ticket) -> Self {
        Self::with_flags(ticket, RecEnterFlags::empty())
    }

    pub(crate) const fn with_flags(ticket: Ticket, flags: RecEnterFlags) -> Self {
        Self { exit: Some(ticket.exit), flags, value: AnswerValue::None }
    }

    pub(crate) const fn with_value(ticket: Ticket, flags: RecEnterFlags, value: u64) -> Self {
        Self { exit: Some(ticket.exit), flags, value: AnswerValue::Word([value]) }
    }

    /// The reply to a host call.
    pub(crate) const fn reply(ticket: Ticket, reply: Reply) -> Self {
        Self::again(ticket, AnswerValue::Reply(reply))
    }

    /// As [`Answer::plain`], where the next exit may come before the REC runs.
    pub(crate) const fn before_running(ticket: Ticket, lines: InterruptLines) -> Self {
        Self::again(ticket, AnswerValue::BeforeRunning(lines))
    }

    /// Without flags.
    pub(crate) const fn again(ticket: Ticket, value: AnswerValue) -> Self {
        Self { exit: Some(ticket.exit), flags: RecEnterFlags::empty(), value }
    }

    /// X0 and up, as many as the RMM is to read.
    pub(crate) const fn gprs(&self) -> &[u64] {
        match &self.value {
            AnswerValue::None | AnswerValue::BeforeRunning(_) => &[],
            AnswerValue::Word(word) => word,
            AnswerValue::Reply(reply) => &reply.gprs,
        }
    }
}

impl fmt::Debug for Answer {
    /// Omits the registers: they contain what is returned to the Realm.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("exit", &self.exit)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}
