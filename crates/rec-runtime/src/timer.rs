//! The EL1 timers of a Realm, as an exit reports them.

use rmi_abi::run::ExitRecord;

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
        self.ctl & 0b111 == 0b101
    }

    /// The counter value at which it will raise its interrupt, if it will.
    #[must_use]
    pub const fn deadline(self) -> Option<u64> {
        if self.ctl & 0b111 == 0b001 { Some(self.cval) } else { None }
    }
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
