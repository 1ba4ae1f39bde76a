//! RIPAS changes.

use rmi_abi::IpaRange;
use rmi_abi::rtt::Ripas;
use rmi_abi::run::RecEnterFlags;
use rmi_host::RecName;

use crate::answer::{Answer, Ticket};

/// A Realm's request to change the RIPAS of a range: to RAM, or to EMPTY.
///
/// Between the exit and the next entry the host applies as much of it as it likes, from the front
/// (`set_ripas` of an active Realm). What the Realm sees then of its `RSI_IPA_STATE_SET`, in every
/// dialect (`next` is where the changed part ends):
///
/// | Asked for | Applied | The answer | X1 | X2 | What it means to the Realm |
/// |---|---|---|---|---|---|
/// | RAM or EMPTY | all | either | the end | ACCEPT | done |
/// | RAM or EMPTY | a part, or nothing | `accept` | `next` | ACCEPT | it asks again from `next` |
/// | RAM | a part, or nothing | `reject` | `next` | REJECT | the rest is refused |
///
/// A request for EMPTY cannot be rejected: the RMM would report ACCEPT, and the Realm ask again.
/// Nor does `accept` refuse anything: a handler that applies nothing and accepts is asked the same
/// again, for ever if the Realm never gives up. Where a change to RAM cannot be applied any further,
/// reject it: without RSI_CHANGE_DESTROYED it stops at the first entry of which the RIPAS is
/// DESTROYED, because the host has taken its memory away, and stops there again when it is repeated.
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, RSI_IPA_STATE_SET.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "accept or reject the change; the REC cannot be entered before"]
pub struct RipasChange {
    pub(crate) ticket: Ticket,
    pub(crate) range: IpaRange,
    pub(crate) ripas: Ripas,
}

impl RipasChange {
    /// The range. Empty, so that nothing can be applied, if what the RMM reported is no range.
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

    /// Whether [`RipasChange::reject`] gives an answer: only a change to RAM can be rejected.
    #[must_use]
    pub const fn can_be_rejected(&self) -> bool {
        matches!(self.ripas, Ripas::Ram)
    }

    /// What was applied, be it all, a part or nothing, is the answer; the Realm may ask for the rest
    /// again.
    pub const fn accept(self) -> Answer {
        Answer::plain(self.ticket)
    }

    /// What was not applied is refused; what was applied stays so.
    ///
    /// # Errors
    ///
    /// The request comes back if it is for anything but RAM: no RMM tells a Realm that it was
    /// rejected. What is left is to apply it, or not to enter the REC again.
    pub const fn reject(self) -> Result<Answer, Self> {
        if self.can_be_rejected() {
            Ok(Answer::with_flags(self.ticket, RecEnterFlags::RIPAS_REJECT))
        } else {
            Err(self)
        }
    }
}
