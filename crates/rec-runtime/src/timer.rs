//! The interrupts that belong to a REC's own CPU: those of its EL1 timers and of its PMU.
//!
//! While a REC runs, its timers are those of the CPU. The RMM exits when the output of one goes
//! high, and when it notices that one has gone low; the host raises and lowers the virtual
//! interrupts accordingly, after every exit and before the next entry: [`Event::lines`].
//!
//! While it does not run, nothing tells the host that a timer expires, so a host that lets a thread
//! sleep wakes it at [`Timers::deadline`], and raises what has expired by then ([`Timers::at`])
//! before it enters the REC. The virtual interrupt is in a list register then when the REC runs.
//! TF-RMM (July 2026) compares the outputs with those that it reported last, and ends that entry at
//! once ([`Exit::Irq`](crate::Exit::Irq)), which cannot be avoided; that exit reports what the host
//! has raised already. So an interrupt is neither lost nor raised twice, whenever the timer fires.
//!
//! # Masks
//!
//! - While a timer's output is high, the RMM masks its physical interrupt, so that the Realm is not
//!   left again and again. It notices that the output has gone low, and removes the mask, only when
//!   it has something to do: if the Realm sets its timer anew and that fires before the next exit,
//!   nothing ends the run. Therefore the end of the virtual interrupt has to cause an exit, a
//!   *maintenance interrupt* (EOI in the list register), which `vgic_realm::Gic` requests for every
//!   level-sensitive interrupt. A host with a vGIC of its own has to do the same
//!   (`vgic_realm::ListRegister::with_eoi_maintenance`).
//! - A masked timer (IMASK) has no deadline.
//!
//! # Planes
//!
//! Where another plane than plane 0 runs, TF-RMM (July 2026) reports for each timer one plane's: of
//! those that are enabled, the one with the earlier compare value.
//!
//! Source: DEN0137 2.0-bet3, `RmiRecExit`; DEN0137 1.0-rel0, "Timers"; Arm DDI 0487, "The Generic
//! Timer in AArch64 state"; TF-RMM of July 2026, `runtime/core/timers.c`.

use rmi_abi::run::ExitRecord;

use crate::rec::Event;

/// The PPI of the virtual EL1 timer, as the Arm Base System Architecture assigns it.
pub const VIRTUAL_TIMER_PPI: u32 = 27;
/// The PPI of the physical EL1 timer, likewise.
pub const PHYSICAL_TIMER_PPI: u32 = 30;
/// The PPI of the PMU's overflow, likewise.
pub const PMU_PPI: u32 = 23;

/// Fields of `CNT*_CTL`.
const ENABLE: u64 = 1;
const IMASK: u64 = 1 << 1;
const ISTATUS: u64 = 1 << 2;
const FIELDS: u64 = ENABLE | IMASK | ISTATUS;

/// One timer: `CNT*_CTL` and `CNT*_CVAL` as the Realm sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timer {
    /// Control: ENABLE (bit 0), IMASK (bit 1), ISTATUS (bit 2).
    pub ctl: u64,
    /// The counter value at which it fires, in ticks.
    pub cval: u64,
}

impl Timer {
    /// Whether its interrupt is raised: enabled, fired, not masked.
    #[must_use]
    pub const fn is_raised(self) -> bool {
        self.ctl & FIELDS == ENABLE | ISTATUS
    }

    /// The counter value at which it will raise its interrupt, if it will.
    #[must_use]
    pub const fn deadline(self) -> Option<u64> {
        if self.ctl & FIELDS == ENABLE { Some(self.cval) } else { None }
    }

    /// The timer as it is when the counter has this value: one that is enabled has fired when the
    /// counter has reached its compare value.
    ///
    /// The REC must not have run since its exit. The counter is `CNTPCT_EL0` of the host.
    #[must_use]
    pub const fn at(self, counter: u64) -> Self {
        let has_fired = self.ctl & ENABLE != 0 && counter >= self.cval;
        if has_fired { Self { ctl: self.ctl | ISTATUS, cval: self.cval } } else { self }
    }
}

/// The line of a private interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PpiLine {
    /// The INTID.
    pub intid: u32,
    /// Whether the line is up. It is level-sensitive.
    pub is_up: bool,
}

/// Both EL1 timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timers {
    /// The virtual timer, usually PPI 27.
    pub virtual_timer: Timer,
    /// The physical timer, usually PPI 30.
    pub physical_timer: Timer,
}

impl Timers {
    /// The earliest counter value at which one of them will raise its interrupt, in ticks; `None`
    /// if none will. A thread that sleeps for the REC wakes at that time.
    #[must_use]
    pub fn deadline(self) -> Option<u64> {
        let deadlines = [self.virtual_timer.deadline(), self.physical_timer.deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// The timers as they are when the counter has this value: [`Timer::at`].
    #[must_use]
    pub const fn at(self, counter: u64) -> Self {
        Self {
            virtual_timer: self.virtual_timer.at(counter),
            physical_timer: self.physical_timer.at(counter),
        }
    }

    /// The lines of their interrupts, with the PPIs that the Arm Base System Architecture assigns.
    #[must_use]
    pub const fn lines(self) -> [PpiLine; 2] {
        [
            PpiLine { intid: VIRTUAL_TIMER_PPI, is_up: self.virtual_timer.is_raised() },
            PpiLine { intid: PHYSICAL_TIMER_PPI, is_up: self.physical_timer.is_raised() },
        ]
    }
}

impl Event {
    /// The lines of the REC's own interrupts after this exit: of both timers and of the PMU, with
    /// the PPIs that the Arm Base System Architecture assigns.
    ///
    /// All have to be set before the next entry, those that are down as well.
    #[must_use]
    pub const fn lines(&self) -> [PpiLine; 3] {
        let [one, other] = self.timers.lines();
        [one, other, PpiLine { intid: PMU_PPI, is_up: self.pmu_overflow }]
    }
}

impl Timers {
    pub(crate) const fn new(record: &ExitRecord) -> Self {
        Self {
            virtual_timer: Timer { ctl: record.cntv_ctl, cval: record.cntv_cval },
            physical_timer: Timer { ctl: record.cntp_ctl, cval: record.cntp_cval },
        }
    }
}

/// The lines of a REC's own interrupts, as an exit reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InterruptLines {
    pub(crate) timers: Timers,
    pub(crate) pmu_overflow: bool,
}

impl InterruptLines {
    pub(crate) const fn new(record: &ExitRecord) -> Self {
        Self { timers: Timers::new(record), pmu_overflow: record.pmu_ovf_status != 0 }
    }

    /// Whether the record does not report them: TF-RMM leaves zeros where the REC did not run.
    pub(crate) fn is_untold(self) -> bool {
        const OFF: Timer = Timer { ctl: 0, cval: 0 };
        const TIMERS: Timers = Timers { virtual_timer: OFF, physical_timer: OFF };
        self == Self { timers: TIMERS, pmu_overflow: false }
    }
}
