//! What the host says to a REC at its next entry.

use rmi_abi::run::{RUN_GPRS, RecEnterFlags};
use rmi_host::RecName;

/// Which exit an answer belongs to: the REC and the number of the exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) rec: RecName,
    pub(crate) exit: u64,
}

/// An answer to one exit, to be given at the next entry of the same REC.
///
/// Made by the exit that it answers. An exit that wants no answer is answered by [`Answer::resume`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "give it to the next entry of the REC"]
pub struct Answer {
    pub(crate) ticket: Option<Ticket>,
    pub(crate) flags: RecEnterFlags,
    pub(crate) gprs: [u64; RUN_GPRS],
}

impl Answer {
    /// Nothing to say: for the first entry, and after exits that want no answer.
    pub const fn resume() -> Self {
        Self { ticket: None, flags: RecEnterFlags::empty(), gprs: [0; RUN_GPRS] }
    }

    /// Says that the exit is dealt with.
    pub(crate) const fn plain(ticket: Ticket) -> Self {
        Self::with_flags(ticket, RecEnterFlags::empty())
    }

    pub(crate) const fn with_flags(ticket: Ticket, flags: RecEnterFlags) -> Self {
        Self { ticket: Some(ticket), flags, gprs: [0; RUN_GPRS] }
    }

    pub(crate) const fn with_value(ticket: Ticket, flags: RecEnterFlags, value: u64) -> Self {
        let mut gprs = [0; RUN_GPRS];
        let [x0, ..] = &mut gprs;
        *x0 = value;
        Self { ticket: Some(ticket), flags, gprs }
    }
}
