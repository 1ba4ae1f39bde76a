//! Changes of stage 2 permissions.

use rmi_abi::IpaRange;
use rmi_abi::run::RecEnterFlags;
use rmi_host::RecName;

use crate::answer::{Answer, Ticket};

/// A Realm's request to change what its planes may do with a range of its memory.
///
/// Between the exit and the next entry the host applies as much of it as it likes, from the front (`set_s2ap` of an active Realm). The RMM tells the Realm how far it came; with a tree for each plane the Realm
/// asks for one tree after the other.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "accept or reject the change; the REC cannot be entered before"]
#[doc(alias = "S2AP_CHANGE")]
pub struct S2apChange {
    pub(crate) ticket: Ticket,
    pub(crate) range: IpaRange,
}

impl S2apChange {
    /// The range.
    #[must_use]
    pub const fn range(&self) -> IpaRange {
        self.range
    }

    /// The REC that asks.
    #[must_use]
    pub const fn rec(&self) -> RecName {
        self.ticket.rec
    }

    /// What was applied, be it all or a part, is the answer; the rest may be asked for again.
    pub const fn accept(self) -> Answer {
        Answer::plain(self.ticket)
    }

    /// What was not applied is refused for good.
    pub const fn reject(self) -> Answer {
        Answer::with_flags(self.ticket, RecEnterFlags::S2AP_REJECT)
    }
}
