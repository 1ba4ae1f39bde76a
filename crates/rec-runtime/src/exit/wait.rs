//! WFI, WFE and their variants with a deadline.

use rmi_abi::esr::Wfx;

use crate::timer::Timers;

/// The Realm waits for an interrupt or an event. The program counter is past the instruction; the
/// host enters the REC again when there is an interrupt or event, or at the deadline.
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, "REC exit due to WFI or WFE".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    pub(crate) kind: Wfx,
    pub(crate) deadline: Option<u64>,
    /// Whether the dialect hides deadlines.
    pub(crate) hidden: bool,
    pub(crate) timers: Timers,
}

impl Wait {
    /// The instruction. TF-RMM (July 2026) reports those with a deadline as those without.
    #[must_use]
    pub const fn kind(&self) -> Wfx {
        self.kind
    }

    /// Whether it waits for an event (WFE, WFET), and not for an interrupt.
    #[must_use]
    pub const fn is_for_event(&self) -> bool {
        self.kind.is_for_event()
    }

    /// The deadline, at which the wait ends even without an interrupt or event (WFIT, WFET): a
    /// value of the virtual counter, in ticks, which in a Realm is the physical one.
    ///
    /// `None` also where the dialect does not report it: see [`Wait::may_hide_deadline`].
    #[must_use]
    pub const fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// The EL1 timers of the Realm at this exit, as in [`Event::timers`](crate::Event::timers).
    #[must_use]
    pub const fn timers(&self) -> Timers {
        self.timers
    }

    /// The first value of the counter at which the wait ends without anything else: the
    /// [deadline](Wait::deadline), or that of a timer whose interrupt is not raised yet. `None` if
    /// only an interrupt or event ends it; and see [`Wait::may_hide_deadline`].
    ///
    /// An interrupt that is raised already ([`Timer::is_raised`](crate::Timer::is_raised)) ends the
    /// wait now, if the Realm has enabled it at its GIC.
    #[must_use]
    pub fn ends_at(&self) -> Option<u64> {
        [self.deadline, self.timers.deadline()].into_iter().flatten().min()
    }

    /// Whether the wait may have a deadline that is not reported to the host, because the dialect
    /// or the RMM hides deadlines. On TF-RMM (v0.8.0 and July 2026) every wait may have one, as
    /// WFIT looks like WFI; Linux uses WFIT for delays where the CPU has it.
    ///
    /// In that case a host that waits until there is an interrupt may wait too long, or for ever.
    /// It should wait for a bounded time, or not [trap](crate::Rec::trap_waiting) the instruction.
    /// The architecture permits entering the REC again at any time.
    #[must_use]
    pub const fn may_hide_deadline(&self) -> bool {
        self.hidden
    }
}
