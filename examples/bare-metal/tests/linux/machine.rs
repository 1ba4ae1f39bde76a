//! A machine of threads on the model RMM.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bare_metal::{Frames, Machine};
use realm_sdk::host::{Conduit, HostAccess};
use realm_sdk::sro::HostAllocator;
use rmm_model::{Cpu, Model};

thread_local! {
    pub(crate) static CPU: Cell<u16> = const { Cell::new(0) };
}

/// Nanoseconds: what [`Threads::new`] has the model count.
const FREQUENCY: NonZeroU32 = NonZeroU32::new(1_000_000_000).unwrap();
const NO_ALARM: u64 = u64::MAX;

pub(crate) struct Threads<'m, C> {
    model: &'m Model,
    conduit: C,
    frames: Frames,
    signals: Vec<Signal>,
    pub(crate) printed: Mutex<Vec<String>>,
}

/// What interrupts a CPU.
struct Signal {
    is_pending: Mutex<bool>,
    changed: Condvar,
    alarm: AtomicU64,
}

impl<'m, C: Conduit + HostAccess + Sync> Threads<'m, C> {
    pub(crate) fn new(model: &'m Model, conduit: C, cpus: u16) -> Self {
        let frames = Frames::new();
        assert!(frames.free(model.take_memory()).is_ok());
        let begun = Instant::now();
        let nanoseconds = move || u64::try_from(begun.elapsed().as_nanos()).unwrap();
        model.set_clock(Box::new(nanoseconds));
        let signal = || Signal {
            is_pending: Mutex::new(false),
            changed: Condvar::new(),
            alarm: AtomicU64::new(NO_ALARM),
        };
        let signals = std::iter::repeat_with(signal).take(cpus.into()).collect();
        Self { model, conduit, frames, signals, printed: Mutex::default() }
    }

    fn signal(&self, cpu: u16) -> &Signal {
        &self.signals[usize::from(cpu)]
    }
}

impl<'m, C: Conduit + HostAccess + Sync> Machine for Threads<'m, C> {
    type Conduit = C;
    type Access = C;
    type Interface = Cpu<'m>;

    fn conduit(&self) -> &C {
        &self.conduit
    }

    fn access(&self) -> &C {
        &self.conduit
    }

    fn memory(&self) -> &Frames {
        &self.frames
    }

    fn payload(&self) -> Option<&[u8]> {
        None
    }

    fn cpus(&self) -> u16 {
        u16::try_from(self.signals.len()).unwrap()
    }

    fn current_cpu(&self) -> u16 {
        CPU.get()
    }

    fn on_cpus(&self, count: u16, work: &(dyn Fn(u16) + Sync)) {
        assert!((1..=self.cpus()).contains(&count));
        thread::scope(|scope| {
            for cpu in 1..count {
                scope.spawn(move || {
                    CPU.set(cpu);
                    work(cpu);
                });
            }
            work(0);
        });
    }

    fn interrupt(&self, cpu: u16) {
        let signal = self.signal(cpu);
        *signal.is_pending.lock().unwrap() = true;
        self.model.cpu(cpu.into()).interrupt();
        signal.changed.notify_all();
    }

    fn mask_interrupts(&self) {}

    fn unmask_interrupts(&self) {
        *self.signal(CPU.get()).is_pending.lock().unwrap() = false;
        let _ = self.model.cpu(CPU.get().into()).take_interrupt();
    }

    fn wait_for_interrupt(&self) {
        let signal = self.signal(CPU.get());
        let mut is_pending = signal.is_pending.lock().unwrap();
        while !*is_pending {
            let left = signal.alarm.load(Ordering::Relaxed).saturating_sub(self.ticks());
            if left == 0 {
                break;
            }
            let left = Duration::from_nanos(left.min(1_000_000_000));
            is_pending = signal.changed.wait_timeout(is_pending, left).unwrap().0;
        }
    }

    fn set_alarm(&self, at: Option<u64>) {
        self.signal(CPU.get()).alarm.store(at.unwrap_or(NO_ALARM), Ordering::Relaxed);
    }

    fn interface(&self) -> Cpu<'m> {
        self.model.cpu(CPU.get().into())
    }

    fn ticks(&self) -> u64 {
        self.model.now()
    }

    fn frequency(&self) -> NonZeroU32 {
        FREQUENCY
    }

    fn relax() {
        thread::yield_now();
    }

    fn print(&self, line: fmt::Arguments<'_>) {
        self.printed.lock().unwrap().push(line.to_string());
    }
}
