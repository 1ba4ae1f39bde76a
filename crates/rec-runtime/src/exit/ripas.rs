//! RIPAS changes.

use rmi_abi::IpaRange;
use rmi_abi::rtt::Ripas;
use rmi_abi::run::RecEnterFlags;
use rmi_host::RecName;

use crate::answer::{Answer, Ticket};

/// A Realm's request to change the RIPAS of a range: to RAM, or to empty.
///
/// Between the exit and the next entry the host applies as much of it as it likes, from the front (`set_ripas` of an active Realm). The RMM tells the Realm how far it
/// came; the Realm asks again for the rest.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "accept or reject the change; the REC cannot be entered before"]
pub struct RipasChange {
    pub(crate) ticket: Ticket,
    pub(crate) range: IpaRange,
    pub(crate) ripas: Ripas,
}

impl RipasChange {
    /// The range.
    #[must_use]
    pub const fn range(&self) -> IpaRange {
        self.range
    }

    /// What it is to be.
    #[must_use]
    pub const fn ripas(&self) -> Ripas {
        self.ripas
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
        Answer::with_flags(self.ticket, RecEnterFlags::RIPAS_REJECT)
    }
}
