//! WFI, WFE and their forms with a deadline.

use rmi_abi::esr::Wfx;

/// The Realm waits for an interrupt or an event. The program counter is behind the instruction; the
/// host enters the REC again when there is something, or at the deadline.
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, "REC exit due to WFI or WFE".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    pub(crate) kind: Wfx,
    pub(crate) deadline: Option<u64>,
}

impl Wait {
    /// Which instruction it was. TF-RMM (July 2026) reports those with a deadline as those without.
    #[must_use]
    pub const fn kind(&self) -> Wfx {
        self.kind
    }

    /// Whether it is for an event (WFE, WFET), and not for an interrupt.
    #[must_use]
    pub const fn is_for_event(&self) -> bool {
        self.kind.is_for_event()
    }

    /// When the wait is over though nothing happened (WFIT, WFET): a value of the virtual counter,
    /// in ticks, which of a Realm is the physical one.
    ///
    /// `None` of a [`Wait::kind`] with a deadline means that the dialect does not tell it: enter the
    /// REC again at once, as the architecture permits.
    #[must_use]
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline
    }
}
