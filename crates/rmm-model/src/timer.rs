//! The EL1 timers of a REC: their registers, and when their outputs end a run.
//!
//! While a timer's output is high, the RMM masks its interrupt. Each time that it is about to run
//! the REC it sets the masks, and exits instead if an output is not what the host saw last. In
//! between, the hardware interrupts the run when the output of a timer that is not masked goes
//! high. So an output that goes low ends a run only when the RMM has something to do.
//!
//! Source: TF-RMM of July 2026, `check_pending_timers`; Arm DDI 0487, "The Generic Timer in AArch64
//! state".

use rmi_abi::esr::SysReg;

use crate::guest::TimerKind;

/// Fields of a control register.
const ENABLE: u64 = 1 << 0;
const IMASK: u64 = 1 << 1;
const ISTATUS: u64 = 1 << 2;

/// One EL1 timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timer {
    /// The control as it was written. With ISTATUS, the condition is met whatever the counter says.
    pub(crate) control: u64,
    pub(crate) cval: u64,
    /// The output level that the host saw at the last exit.
    pub(crate) seen: bool,
    /// The control register at the same time.
    shown: u64,
    /// Whether its interrupt is masked.
    is_masked: bool,
}

impl Timer {
    /// The control register.
    pub(crate) fn ctl(&self, now: u64) -> u64 {
        let is_met = self.control & ENABLE != 0 && now >= self.cval;
        self.control | if is_met { ISTATUS } else { 0 }
    }

    /// The output level.
    pub(crate) fn is_asserted(&self, now: u64) -> bool {
        self.ctl(now) & (ENABLE | IMASK | ISTATUS) == ENABLE | ISTATUS
    }

    /// Whether the hardware interrupts the run.
    fn interrupts(&self, now: u64) -> bool {
        self.is_asserted(now) && !self.is_masked
    }

    /// Whether it is enabled, and not masked by the program.
    fn is_armed(&self) -> bool {
        self.control & (ENABLE | IMASK) == ENABLE
    }

    /// The RMM is about to run the REC: whether it exits instead.
    fn check(&mut self, now: u64) -> bool {
        self.is_masked = self.is_asserted(now);
        self.is_masked != self.seen
    }
}

fn concat([a, b]: [u64; 2], [c, d]: [u64; 2]) -> [u64; 4] {
    [a, b, c, d]
}

/// The timers of a REC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timers {
    pub(crate) virtual_timer: Timer,
    pub(crate) physical_timer: Timer,
}

impl Timers {
    pub(crate) fn timer_mut(&mut self, kind: TimerKind) -> &mut Timer {
        match kind {
            TimerKind::Virtual => &mut self.virtual_timer,
            TimerKind::Physical => &mut self.physical_timer,
        }
    }

    /// Whether a timer of plane 0 has expired while another plane runs. The RMM has set a timer of
    /// its own for that, which is not masked.
    pub(crate) fn has_expired(&self, now: u64) -> bool {
        let has = |timer: &Timer| timer.is_armed() && now >= timer.cval;
        has(&self.virtual_timer) || has(&self.physical_timer)
    }

    /// What an exit record says: control and compare value of the physical timer, then of the
    /// virtual one.
    pub(crate) fn report(&self, now: u64) -> [u64; 4] {
        let Self { virtual_timer, physical_timer } = self;
        let [physical, virtual_] =
            [physical_timer, virtual_timer].map(|timer| [timer.ctl(now), timer.cval]);
        concat(physical, virtual_)
    }

    /// The same while another plane than plane 0 runs. Of each kind the timer of plane 0 is
    /// reported, as it was when plane 0 was left, unless that of the other plane is armed and is
    /// the only one or the earlier one.
    pub(crate) fn report_beside(&self, plane_0: &Self, now: u64) -> [u64; 4] {
        let choose = |own: &Timer, other: &Timer| {
            let is_own = own.is_armed() && (!other.is_armed() || own.cval < other.cval);
            if is_own { [own.ctl(now), own.cval] } else { [other.shown, other.cval] }
        };
        concat(
            choose(&self.physical_timer, &plane_0.physical_timer),
            choose(&self.virtual_timer, &plane_0.virtual_timer),
        )
    }

    /// Whether the hardware interrupts the run.
    pub(crate) fn interrupts(&self, now: u64) -> bool {
        self.virtual_timer.interrupts(now) || self.physical_timer.interrupts(now)
    }

    /// The RMM is about to run the REC: whether it exits instead.
    pub(crate) fn check(&mut self, now: u64) -> bool {
        let changed = self.virtual_timer.check(now);
        self.physical_timer.check(now) || changed
    }

    /// The host sees the timers.
    pub(crate) fn show(&mut self, now: u64) {
        for timer in [&mut self.virtual_timer, &mut self.physical_timer] {
            timer.seen = timer.is_asserted(now);
            timer.shown = timer.ctl(now);
        }
    }

    /// The Realm reads a register, if it is one of the timers.
    pub(crate) fn read(&self, register: SysReg, now: u64, frequency: u32) -> Option<u64> {
        let ticks_left = |timer: &Timer| timer.cval.wrapping_sub(now) & 0xffff_ffff;
        Some(match register {
            SysReg::CNTFRQ_EL0 => frequency.into(),
            SysReg::CNTPCT_EL0 | SysReg::CNTVCT_EL0 => now,
            SysReg::CNTP_CTL_EL0 => self.physical_timer.ctl(now),
            SysReg::CNTP_CVAL_EL0 => self.physical_timer.cval,
            SysReg::CNTP_TVAL_EL0 => ticks_left(&self.physical_timer),
            SysReg::CNTV_CTL_EL0 => self.virtual_timer.ctl(now),
            SysReg::CNTV_CVAL_EL0 => self.virtual_timer.cval,
            SysReg::CNTV_TVAL_EL0 => ticks_left(&self.virtual_timer),
            _ => return None,
        })
    }

    /// The Realm writes a register; whether it is one of the timers.
    pub(crate) fn write(&mut self, register: SysReg, value: u64, now: u64) -> bool {
        // TVAL is signed.
        let deadline =
            |value: u64| now.wrapping_add(((value << 32).cast_signed() >> 32).cast_unsigned());
        match register {
            SysReg::CNTFRQ_EL0 | SysReg::CNTPCT_EL0 | SysReg::CNTVCT_EL0 => {}
            SysReg::CNTP_CTL_EL0 => self.physical_timer.control = value & (ENABLE | IMASK),
            SysReg::CNTP_CVAL_EL0 => self.physical_timer.cval = value,
            SysReg::CNTP_TVAL_EL0 => self.physical_timer.cval = deadline(value),
            SysReg::CNTV_CTL_EL0 => self.virtual_timer.control = value & (ENABLE | IMASK),
            SysReg::CNTV_CVAL_EL0 => self.virtual_timer.cval = value,
            SysReg::CNTV_TVAL_EL0 => self.virtual_timer.cval = deadline(value),
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armed(cval: u64) -> Timer {
        Timer { control: ENABLE, cval, ..Timer::default() }
    }

    #[test]
    fn the_output_follows_counter_and_control() {
        let mut timer = armed(10);
        assert_eq!((timer.ctl(9), timer.ctl(10), timer.ctl(11)), (1, 5, 5));
        assert_eq!((timer.is_asserted(9), timer.is_asserted(10)), (false, true));
        timer.control = ENABLE | IMASK;
        assert_eq!((timer.ctl(10), timer.is_asserted(10)), (7, false));
        timer.control = 0;
        assert_eq!((timer.ctl(10), timer.is_asserted(10)), (0, false));
        timer.control = ISTATUS;
        assert_eq!((timer.ctl(0), timer.is_asserted(0)), (4, false));
        timer.control = ENABLE | ISTATUS;
        assert_eq!((timer.ctl(0), timer.is_asserted(0)), (5, true));
    }

    #[test]
    fn an_output_ends_a_run_once_when_it_goes_high() {
        for physical in [false, true] {
            let mut timers = Timers::default();
            let kind = if physical { TimerKind::Physical } else { TimerKind::Virtual };
            *timers.timer_mut(kind) = armed(10);
            assert!(!timers.check(9) && !timers.interrupts(9));
            assert!(timers.interrupts(10));
            timers.show(10);
            assert!(!timers.check(10) && !timers.interrupts(10), "masked");
            // Low: only the RMM notices.
            timers.timer_mut(kind).control = 0;
            assert!(!timers.interrupts(10));
            timers.timer_mut(kind).control = ENABLE;
            assert!(!timers.interrupts(10), "still masked");
            timers.timer_mut(kind).control = 0;
            assert!(timers.check(10));
            assert!(timers.check(10), "until the host sees it");
            timers.show(10);
            assert!(!timers.check(10));
            timers.timer_mut(kind).control = ENABLE;
            assert!(timers.interrupts(10));
            // Expired while the host had the CPU.
            assert!(timers.check(10) && !timers.interrupts(10));
        }
    }

    #[test]
    fn registers_are_those_of_the_timer() {
        let mut timers = Timers::default();
        let read = |timers: &Timers, register, now| timers.read(register, now, 62_500_000);
        for (ctl, cval, tval, kind) in [
            (
                SysReg::CNTP_CTL_EL0,
                SysReg::CNTP_CVAL_EL0,
                SysReg::CNTP_TVAL_EL0,
                TimerKind::Physical,
            ),
            (
                SysReg::CNTV_CTL_EL0,
                SysReg::CNTV_CVAL_EL0,
                SysReg::CNTV_TVAL_EL0,
                TimerKind::Virtual,
            ),
        ] {
            assert!(timers.write(ctl, 0xfff, 0));
            assert!(timers.write(cval, 0x1_0000_0007, 0));
            let expected = Timer { control: 3, cval: 0x1_0000_0007, ..Timer::default() };
            assert_eq!(*timers.timer_mut(kind), expected);
            assert_eq!(read(&timers, ctl, 0x1_0000_0006), Some(3));
            assert_eq!(read(&timers, ctl, 0x1_0000_0007), Some(7));
            assert_eq!(read(&timers, cval, 0), Some(0x1_0000_0007));
            assert_eq!(read(&timers, tval, 0x1_0000_0000), Some(7));
            assert_eq!(read(&timers, tval, 0x1_0000_0008), Some(0xffff_ffff));
            assert!(timers.write(tval, 0xf_0000_0010, 100));
            assert_eq!(timers.timer_mut(kind).cval, 116);
            assert!(timers.write(tval, 0xffff_fff0, 100));
            assert_eq!(timers.timer_mut(kind).cval, 84);
        }
        assert_eq!(read(&timers, SysReg::CNTFRQ_EL0, 9), Some(62_500_000));
        assert_eq!(read(&timers, SysReg::CNTPCT_EL0, 9), Some(9));
        assert_eq!(read(&timers, SysReg::CNTVCT_EL0, 9), Some(9));
        let before = timers;
        for counter in [SysReg::CNTFRQ_EL0, SysReg::CNTPCT_EL0, SysReg::CNTVCT_EL0] {
            assert!(timers.write(counter, 1, 0));
        }
        assert_eq!(timers, before);
        assert_eq!(read(&timers, SysReg::ICC_PMR_EL1, 0), None);
        assert!(!timers.write(SysReg::ICC_PMR_EL1, 1, 0));
    }

    #[test]
    fn timers_of_two_planes() {
        let timers = |virtual_timer, physical_timer| Timers { virtual_timer, physical_timer };
        let mut plane_0 = timers(armed(50), armed(50));
        plane_0.show(60);
        let off = Timer { cval: 7, ..Timer::default() };
        // The earlier one is reported; of the two of plane 0, what it was.
        let report = |own: Timers| own.report_beside(&plane_0, 45);
        assert_eq!(report(timers(armed(49), armed(51))), [5, 50, 1, 49]);
        assert_eq!(report(timers(armed(51), armed(40))), [5, 40, 5, 50]);
        assert_eq!(report(timers(armed(50), off)), [5, 50, 5, 50]);
        let own = timers(armed(70), off);
        assert_eq!(own.report_beside(&timers(off, off), 69), [0, 7, 1, 70]);
        let masked = Timer { control: ENABLE | IMASK, ..armed(1) };
        assert_eq!(timers(masked, off).report_beside(&timers(off, off), 69), [0, 7, 0, 7]);
        assert_eq!(plane_0.report(49), [1, 50, 1, 50]);
        assert_eq!(timers(armed(1), armed(9)).report(8), [1, 9, 5, 1]);

        for kind in [TimerKind::Virtual, TimerKind::Physical] {
            let mut one = Timers::default();
            *one.timer_mut(kind) = armed(50);
            assert_eq!((one.has_expired(49), one.has_expired(50)), (false, true));
            // Even if it is masked for the plane.
            assert!(one.check(50) && one.has_expired(50));
            *one.timer_mut(kind) = masked;
            assert!(!one.has_expired(50));
        }
    }
}
