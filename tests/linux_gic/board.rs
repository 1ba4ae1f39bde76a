//! The host: runs the RECs of a Realm, with the GIC and a level-triggered device.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use realm_sdk::abi::Ipa;
use realm_sdk::host::{Platform, Rmm};
use realm_sdk::rec::exit::{PsciNotice, PsciRequest, PsciRequestKind};
use realm_sdk::rec::{Answer, Event, Exit, Rec, Timers};
use realm_sdk::vgic::{DISTRIBUTOR_BYTES, Gic, Kicks, PpiIntid, SpiIntid, VirtualInterface};

use crate::kernel::Frames;

/// The device's first SPI; it has one for each of its lines.
pub(crate) const FIRST_SPI: u32 = 40;
/// The lines of the device.
pub(crate) const LINES: u32 = 6;
/// Offset of the register that raises lines.
pub(crate) const RAISE: u64 = 0;
/// Offset of the register that has the lines that are up.
pub(crate) const STATUS: u64 = 4;
/// Offset of the register that lowers lines.
pub(crate) const LOWER: u64 = 8;

/// Offset of the register that starts the threads of the device, and has the number of those that
/// ended.
pub(crate) const THREADS: u64 = 0x10;
/// How often each of these threads raises its line.
pub(crate) const RAISED_BY_THREAD: u32 = 40;

/// What becomes of a REC after an exit.
pub(crate) enum Next {
    /// It is entered again.
    Enter(Answer),
    /// It waits for an interrupt.
    Wait,
    /// It turned itself off.
    Off,
}

pub(crate) struct Board<'b, P: Platform> {
    pub(crate) rmm: &'b Rmm<P>,
    pub(crate) recs: &'b [Rec],
    pub(crate) gic: &'b Gic<'b>,
    pub(crate) frames: Frames,
    /// The lines of the device that are up.
    pub(crate) raised: AtomicU32,
    /// The threads of the device were started.
    pub(crate) is_started: AtomicBool,
    /// How many of them ended.
    pub(crate) ended: AtomicU32,
    /// By REC.
    pub(crate) is_on: [AtomicBool; 2],
    /// The Realm turned itself off.
    pub(crate) is_over: AtomicBool,
}

impl<P: Platform> Board<'_, P> {
    /// Enters a REC once, and handles its exit. The RECs to kick are given to `kick`.
    pub(crate) fn run(
        &self,
        rec: usize,
        interface: &mut impl VirtualInterface,
        answer: Answer,
        kick: impl Fn(Kicks),
    ) -> Next {
        self.gic.load(rec, interface);
        let entered = self.recs[rec].enter(self.rmm, answer);
        let report = self.gic.save(rec, interface);
        kick(report.kicks);
        let Event { exit, timers, .. } = match entered {
            Ok(event) => event,
            // The Realm is off, which the other REC told.
            Err(_) if self.is_over.load(Ordering::SeqCst) => return Next::Off,
            Err(failed) => unreachable!("REC {rec} is not entered: {}", failed.error),
        };
        kick(self.set_timer_line(rec, timers));
        self.handle(rec, exit, kick)
    }

    fn set_timer_line(&self, rec: usize, timers: Timers) -> Kicks {
        self.gic.set_ppi(rec, PpiIntid::VIRTUAL_TIMER, timers.virtual_timer.is_raised())
    }

    fn handle(&self, rec: usize, exit: Exit, kick: impl Fn(Kicks)) -> Next {
        Next::Enter(match exit {
            Exit::MmioLoad(load) => {
                let value = self.read(load.ipa(), load.bytes());
                load.complete(value)
            }
            Exit::MmioStore(store) => {
                kick(self.write(store.ipa(), store.bytes(), store.value()));
                store.complete()
            }
            Exit::SysRegWrite(write) => {
                let register = write.register();
                kick(self.gic.write_sysreg(rec, register, write.value()).unwrap());
                Answer::resume()
            }
            Exit::SysRegRead(read) => {
                let value = self.gic.read_sysreg(read.register()).unwrap();
                read.complete(value)
            }
            Exit::Wait(wait) if !wait.is_for_event() => return Next::Wait,
            Exit::Wait(_) | Exit::Irq | Exit::Fiq => Answer::resume(),
            Exit::PsciRequest(request) => self.psci_request(rec, request, kick),
            Exit::PsciNotice(PsciNotice::CpuOff) => {
                self.is_on[rec].store(false, Ordering::SeqCst);
                kick(self.gic.turn_off(rec));
                return Next::Off;
            }
            Exit::PsciNotice(PsciNotice::SystemOff) => {
                self.is_over.store(true, Ordering::SeqCst);
                return Next::Off;
            }
            other => unreachable!("REC {rec}: {other:?}"),
        })
    }

    fn psci_request(&self, rec: usize, request: PsciRequest, kick: impl Fn(Kicks)) -> Answer {
        let (kind, target) = (request.kind(), request.target());
        let other = self.recs.iter().position(|other| other.mpidr() == target).unwrap();
        let answer = request.accept(self.rmm, &self.recs[rec], &self.recs[other]).unwrap();
        if kind == PsciRequestKind::CpuOn {
            self.is_on[other].store(true, Ordering::SeqCst);
            let mut kicks = Kicks::NONE;
            kicks.add(other);
            kick(kicks);
        }
        answer
    }

    fn read(&self, ipa: Ipa, bytes: u8) -> u64 {
        if let Some(offset) = self.offset(ipa, self.frames.distributor, DISTRIBUTOR_BYTES) {
            return self.gic.gicd_read(offset, bytes);
        }
        if let Some((rec, offset)) = self.redistributor(ipa) {
            return self.gic.gicr_read(rec, offset, bytes);
        }
        let register = match (self.offset(ipa, self.frames.device, 0x1000), bytes) {
            (Some(STATUS), 4) => &self.raised,
            (Some(THREADS), 4) => &self.ended,
            other => unreachable!("{other:?}"),
        };
        register.load(Ordering::SeqCst).into()
    }

    fn write(&self, ipa: Ipa, bytes: u8, value: u64) -> Kicks {
        if let Some(offset) = self.offset(ipa, self.frames.distributor, DISTRIBUTOR_BYTES) {
            return self.gic.gicd_write(offset, bytes, value);
        }
        if let Some((rec, offset)) = self.redistributor(ipa) {
            return self.gic.gicr_write(rec, offset, bytes, value);
        }
        let lines = u32::try_from(value).unwrap();
        let is_up = match (self.offset(ipa, self.frames.device, 0x1000), bytes) {
            (Some(RAISE), 4) => {
                self.raised.fetch_or(lines, Ordering::SeqCst);
                true
            }
            (Some(THREADS), 4) => {
                self.is_started.store(true, Ordering::SeqCst);
                return Kicks::NONE;
            }
            (Some(LOWER), 4) => {
                self.raised.fetch_and(!lines, Ordering::SeqCst);
                false
            }
            other => unreachable!("{other:?}"),
        };
        let mut kicks = Kicks::NONE;
        for line in (0..LINES).filter(|line| lines >> line & 1 == 1) {
            kicks.add_all(self.set_line(line, is_up));
        }
        kicks
    }

    fn set_line(&self, line: u32, is_up: bool) -> Kicks {
        self.gic.set_spi(SpiIntid::new(FIRST_SPI + line).unwrap(), is_up)
    }

    /// A thread of the device: raises a line again and again, each time when the Realm has lowered
    /// it.
    pub(crate) fn run_device(&self, line: u32, kick: impl Fn(Kicks)) {
        let wait = |until: &dyn Fn() -> bool| {
            while !until() && !self.is_over.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_micros(50));
            }
        };
        wait(&|| self.is_started.load(Ordering::SeqCst));
        for _ in 0..RAISED_BY_THREAD {
            self.raised.fetch_or(1 << line, Ordering::SeqCst);
            kick(self.set_line(line, true));
            wait(&|| self.raised.load(Ordering::SeqCst) >> line & 1 == 0);
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    fn redistributor(&self, ipa: Ipa) -> Option<(usize, u64)> {
        self.gic.redistributor_at(ipa.checked_offset_from(self.frames.redistributors)?)
    }

    fn offset(&self, ipa: Ipa, base: Ipa, bytes: u64) -> Option<u64> {
        ipa.checked_offset_from(base).filter(|offset| *offset < bytes)
    }
}
