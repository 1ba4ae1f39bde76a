//! Changes of stage 2 permissions.

use rmi_abi::IpaRange;
use rmi_abi::run::RecEnterFlags;

use crate::answer::{Answer, Ticket};

/// A Realm's request to change what its planes may do with a range of its memory.
///
/// Between the exit and the next entry the host applies as much of it as it chooses, from the start
/// (`set_s2ap` of an active Realm). The RMM reports to the Realm how much was applied; with a tree
/// for each plane the Realm asks for one tree after the other. What the Realm sees as the result of
/// its `RSI_MEM_SET_PERM_INDEX`:
///
/// | Applied | The answer | X1 | X2 | What it means to the Realm |
/// |---|---|---|---|---|
/// | all | `accept` | the end | ACCEPT | done, or the next tree is to be asked for |
/// | a part, or nothing | `accept` | `next` | ACCEPT | it asks again from `next` |
/// | a part, or nothing | `reject` | `next` | REJECT | the rest is refused |
/// | all | `reject` | the end | TF-RMM (July 2026): REJECT; 2.0-bet3: ACCEPT | it is done nevertheless |
///
/// On TF-RMM a rejected request leaves the overlay index as it was; everything else locks its
/// value.
///
/// Source: DEN0137 2.0-bet3, RSI_MEM_SET_PERM_INDEX.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "accept or reject the change; the REC cannot be entered before"]
#[doc(alias = "S2AP_CHANGE")]
pub struct S2apChange {
    pub(crate) ticket: Ticket,
    pub(crate) range: IpaRange,
}

impl S2apChange {
    /// The range. Empty, so that nothing can be applied, if what the RMM reported is not a range.
    #[must_use]
    pub const fn range(&self) -> IpaRange {
        self.range
    }

    /// Answers with what was applied: all, a part or nothing. The Realm may ask for the rest again.
    pub const fn accept(self) -> Answer {
        Answer::plain(self.ticket)
    }

    /// Refuses what was not applied; what was applied stays applied.
    pub const fn reject(self) -> Answer {
        Answer::with_flags(self.ticket, RecEnterFlags::S2AP_REJECT)
    }
}
