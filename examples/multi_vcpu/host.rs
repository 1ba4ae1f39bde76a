//! The host: a thread for each virtual CPU, and an operator who kicks and pauses them.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use realm_sdk::Error;
use realm_sdk::builder::{Active, Realm};
use realm_sdk::host::Platform;
use realm_sdk::rec::gic::{GicHandler, RealmGic, RecInterface};
use realm_sdk::rec::mmio::{MmioBus, Pl011Backend};
use realm_sdk::rec::set::{Outcome, RecSet};
use realm_sdk::vgic::SpiIntid;
use rmm_model::{Cpu, Model};

use crate::cli::Options;
use crate::cpus::CPU;
use crate::device::Device;
use crate::layout::VCPUS;
use crate::memory::{Frames, STOCK, ThreadMemory};
use crate::output::complain;
use crate::random::Random;
use crate::vcpu::Vcpu;

/// After this time, an interrupt for a virtual CPU that waits counts as lost.
const LOST: Duration = Duration::from_secs(20);
/// The frequency of the model's counter, whose ticks are microseconds.
const FREQUENCY: NonZeroU32 = NonZeroU32::new(1_000_000).unwrap();
/// The longest that pausing may take.
const PAUSE: Duration = Duration::from_secs(20);

/// The host's side of the UART: output is counted.
pub(crate) struct Terminal<'h> {
    pub(crate) gic: RealmGic<'h>,
    pub(crate) spi: SpiIntid,
    pub(crate) printed: &'h AtomicU64,
}

impl Pl011Backend for Terminal<'_> {
    fn transmit(&mut self, _: u8) {
        count(self.printed);
    }

    fn set_interrupt(&mut self, level: bool) {
        self.gic.set_spi(self.spi, level);
    }
}

/// What the threads share.
pub(crate) struct Host<'h, P: Platform> {
    pub(crate) realm: &'h Realm<'h, P, Active>,
    pub(crate) model: &'h Model,
    pub(crate) set: &'h RecSet<'h>,
    pub(crate) gic: RealmGic<'h>,
    pub(crate) bus: &'h MmioBus<'h, 4>,
    pub(crate) device: &'h Device<'h, P>,
    /// Types at the UART; returns how many bytes it takes.
    pub(crate) type_in: &'h (dyn Fn(&[u8]) -> usize + Sync),
    pub(crate) has_given_up: AtomicBool,
    pub(crate) tally: Tally,
}

/// What happened.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) kicks: AtomicU64,
    pub(crate) pauses: AtomicU64,
    pub(crate) raised: AtomicU64,
    pub(crate) typed: AtomicU64,
    pub(crate) turned_off: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) failures: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl<P: Platform> Host<'_, P> {
    /// Has all threads leave, because something is wrong.
    pub(crate) fn give_up(&self) {
        self.has_given_up.store(true, Ordering::SeqCst);
        self.set.kick_all();
    }
}

impl<P: Platform<Conduit: Sync, Lock: Send + Sync> + Sync> Host<'_, P> {
    /// Runs the Realm until it has turned itself off.
    pub(crate) fn run(&self, frames: &Frames, options: &Options) -> Result<(), Error> {
        thread::scope(|scope| {
            let start = |index| scope.spawn(move || self.run_vcpu(frames, index, options.seed));
            let threads: Vec<_> = (0..VCPUS).map(start).collect();
            self.operate(options);
            for thread in threads {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            Ok(())
        })
    }

    /// Runs one virtual CPU.
    fn run_vcpu(&self, frames: &Frames, index: usize, seed: u64) -> Result<(), Error> {
        let number = u16::try_from(index).unwrap_or(0);
        CPU.set(number);
        let random = Random::new(!seed, index as u64);
        let (memory, cpu) = (ThreadMemory::new(frames, STOCK), self.model.cpu(number.into()));
        let rest = Vcpu { host: self, index, memory, random };
        let (gic, bus) = (self.gic, self.bus);
        let interface = RecInterface::new(self.realm.rmm(), cpu);
        let mut vcpu = GicHandler { gic, index, interface, bus, rest };
        let result = self.run_on_thread(&mut vcpu);
        if result.is_err() {
            self.give_up();
        }
        vcpu.rest.memory.drain(self.realm.rmm());
        result
    }

    fn run_on_thread(
        &self,
        vcpu: &mut GicHandler<'_, RecInterface<Cpu<'_>>, Vcpu<'_, P>>,
    ) -> Result<(), Error> {
        let Ok(mut runner) = self.set.claim(vcpu.index) else { return Ok(()) };
        runner.trap_waiting(true, false);
        while !self.has_given_up.load(Ordering::SeqCst) {
            match runner.run(self.realm.rmm(), vcpu)? {
                Outcome::Waiting(sleep) => {
                    // Until a timer fires. All else that the Realm waits for comes soon; its
                    // programs have no waits with deadlines (WFIT).
                    let time = sleep.timeout(self.model.now(), FREQUENCY, LOST).unwrap_or(LOST);
                    if !runner.wait(Some(time)) && sleep.deadline.is_none() {
                        count(&self.tally.lost);
                    }
                    self.gic.set_timers(vcpu.index, sleep.timers.at(self.model.now()));
                }
                Outcome::Off { .. } => {
                    count(&self.tally.turned_off);
                    runner.wait(None);
                }
                Outcome::Paused => {
                    runner.wait(None);
                }
                Outcome::Kicked => {}
                Outcome::RealmOff(_) => break,
                other => {
                    complain!("cpu {}: {other:?}\n{}", vcpu.index, self.set);
                    self.give_up();
                }
            }
        }
        Ok(())
    }

    /// Kicks, pauses and interrupts, until the time is over; then asks the Realm to end. In the
    /// last quarter of the time only interrupts wake virtual CPUs, so one that is lost is noticed.
    fn operate(&self, options: &Options) {
        let end = Instant::now() + options.duration;
        let quiet_from = end - options.duration / 4;
        let mut random = Random::new(options.seed, VCPUS as u64);
        while Instant::now() < end && !self.has_given_up.load(Ordering::SeqCst) {
            let vcpu = random.index(VCPUS);
            let kinds = if Instant::now() < quiet_from { 8 } else { 4 };
            match random.below(kinds) {
                0 | 1 if self.device.raise() => count(&self.tally.raised),
                2 if (self.type_in)(b"x") == 1 => count(&self.tally.typed),
                0..=3 => {}
                4 | 5 => {
                    self.set.kick(vcpu);
                    count(&self.tally.kicks);
                }
                6 => self.pause(),
                // Nothing has happened: the REC is entered again.
                _ => {
                    self.set.notify(vcpu);
                }
            }
            thread::sleep(Duration::from_micros(100 + random.below(2000)));
        }
        self.device.stop();
    }

    /// Pauses all virtual CPUs. While they are paused, none runs.
    fn pause(&self) {
        // Who is still inside is kicked by the set; others would be looked at here.
        let _ = self.set.pause();
        let exits =
            || -> u64 { (0..VCPUS).filter_map(|index| Some(self.set.rec(index)?.exits())).sum() };
        if !self.set.wait_paused(Some(PAUSE)) {
            complain!("not paused in time\n{}", self.set);
            return self.give_up();
        }
        let before = exits();
        thread::sleep(Duration::from_millis(1));
        if exits() != before || self.set.inside().next().is_some() {
            complain!("a virtual CPU runs during a pause\n{}", self.set);
            count(&self.tally.failures);
        }
        count(&self.tally.pauses);
        self.set.resume();
    }
}
