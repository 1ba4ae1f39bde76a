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
    /// Whether the dialect hides deadlines.
    pub(crate) hidden: bool,
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
    /// `None` also where the dialect does not tell it: see [`Wait::may_hide_deadline`].
    #[must_use]
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Whether the wait may have a deadline that the host is not told, because the dialect hides
    /// deadlines. On TF-RMM (July 2026) every wait may, as WFIT looks like WFI; Linux delays by WFIT
    /// where the CPU has it.
    ///
    /// Then a host that waits until there is an interrupt may wait for too long, or for ever. It waits
    /// for a bounded time, or does not [trap](crate::Rec::trap_waiting) the instruction. The
    /// architecture permits to enter the REC again at any time.
    #[must_use]
    pub const fn may_hide_deadline(&self) -> bool {
        self.hidden
    }
}
