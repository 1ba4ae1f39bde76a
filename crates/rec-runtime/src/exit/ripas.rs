//! RIPAS changes.

use rmi_abi::IpaRange;
use rmi_abi::rtt::Ripas;
use rmi_abi::run::RecEnterFlags;

use crate::answer::{Answer, Ticket};

/// A Realm's request to change the RIPAS of a range: to RAM, or to EMPTY.
///
/// Between the exit and the next entry the host applies as much of it as it chooses, from the start
/// (`set_ripas` of an active Realm). What the Realm then sees as the result of its
/// `RSI_IPA_STATE_SET`, in every dialect (`next` is where the changed part ends):
///
/// | Asked for | Applied | The answer | X1 | X2 | What it means to the Realm |
/// |---|---|---|---|---|---|
/// | RAM or EMPTY | all | either | the end | ACCEPT | done |
/// | RAM or EMPTY | a part, or nothing | `accept` | `next` | ACCEPT | it asks again from `next` |
/// | RAM | a part, or nothing | `reject` | `next` | REJECT | the rest is refused |
///
/// A request for EMPTY cannot be rejected: the RMM would report ACCEPT, and the Realm would ask
/// again. Nor does `accept` refuse anything: a handler that applies nothing and accepts gets the
/// same request again, for ever if the Realm never gives up. Where a change to RAM cannot be
/// applied any further, reject it: without RSI_CHANGE_DESTROYED it stops at the first entry of
/// which the RIPAS is DESTROYED, because the host has taken its memory away, and stops there again
/// when it is repeated.
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
    /// The range. Empty, so that nothing can be applied, if what the RMM reported is not a range.
    #[must_use]
    pub const fn range(&self) -> IpaRange {
        self.range
    }

    /// The RIPAS that is requested.
    #[must_use]
    pub const fn ripas(&self) -> Ripas {
        self.ripas
    }

    /// Whether [`RipasChange::reject`] returns an answer: only a change to RAM can be rejected.
    #[must_use]
    pub const fn can_be_rejected(&self) -> bool {
        matches!(self.ripas, Ripas::Ram)
    }

    /// Answers with what was applied: all, a part or nothing. The Realm may ask for the rest again.
    pub const fn accept(self) -> Answer {
        Answer::plain(self.ticket)
    }

    /// Refuses what was not applied; what was applied stays applied.
    ///
    /// # Errors
    ///
    /// The request is returned if it is for anything but RAM: no RMM reports to a Realm that such a
    /// request was rejected. The host can only apply it, or not enter the REC again.
    pub const fn reject(self) -> Result<Answer, Self> {
        if self.can_be_rejected() {
            Ok(Answer::with_flags(self.ticket, RecEnterFlags::RIPAS_REJECT))
        } else {
            Err(self)
        }
    }
}
