//! A machine whose CPUs are threads, with the model RMM.
#![expect(unsafe_code, reason = "reading memory that may be the RMM's")]

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bare_metal::{Frames, Machine};
use realm_sdk::abi::{Pa, PaRange};
use realm_sdk::host::{Conduit, HostAccess};
use realm_sdk::sro::HostAllocator;
use rmm_model::{CallingCpu, Cpu, Model, Options};

thread_local! {
    /// The physical CPU that this thread is on.
    static CPU: Cell<u16> = const { Cell::new(0) };
}

/// Ticks in a second: nanoseconds.
const FREQUENCY: u32 = 1_000_000_000;
/// Memory of the machine.
const DRAM: u64 = 512 << 20;

/// The interrupts of a CPU.
#[derive(Default)]
struct Interrupts {
    is_pending: bool,
    alarm: Option<u64>,
}

pub(crate) struct Threads<'m, C> {
    model: &'m Model,
    conduit: C,
    access: Calling<'m>,
    frames: Frames,
    start: Instant,
    interrupts: Vec<(Mutex<Interrupts>, Condvar)>,
    ended: AtomicBool,
    printed: Mutex<Vec<String>>,
}

/// The model from the CPU of a thread.
pub(crate) type Calling<'m> = CallingCpu<'m, fn() -> u32>;

pub(crate) fn calling(model: &Model) -> Calling<'_> {
    model.calling_cpu(|| CPU.get().into())
}

/// A model for the tests, whose counter moves with time.
pub(crate) fn model(options: Options) -> Model {
    let mut options = options;
    options.dram = PaRange::with_size(options.dram.base(), DRAM).unwrap();
    options.counter_frequency = FREQUENCY;
    let model = Model::new(options).unwrap();
    let start = Instant::now();
    model.set_clock(Box::new(move || u64::try_from(start.elapsed().as_nanos()).unwrap()));
    model
}

/// Stops the alarms when it is dropped.
struct End<'e>(&'e AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl<'m, C> Threads<'m, C> {
    /// A machine whose calls go through `conduit`.
    pub(crate) fn new(model: &'m Model, conduit: C, cpus: u16) -> Self {
        let frames = Frames::new();
        frames.free(model.take_memory()).unwrap();
        Self {
            model,
            conduit,
            access: calling(model),
            frames,
            start: Instant::now(),
            interrupts: (0..cpus).map(|_| Default::default()).collect(),
            ended: AtomicBool::new(false),
            printed: Mutex::default(),
        }
    }

    /// Runs something while alarms go off.
    pub(crate) fn with_alarms<T>(&self, run: impl FnOnce() -> T) -> T
    where
        C: Conduit + Sync,
    {
        thread::scope(|scope| {
            scope.spawn(|| {
                while !self.ended.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(1));
                    self.look_at_alarms();
                }
            });
            // Also when it panics: otherwise the alarms would go off for ever.
            let _end = End(&self.ended);
            run()
        })
    }

    /// The lines that were printed.
    pub(crate) fn printed(&self) -> Vec<String> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look_at_alarms(&self)
    where
        C: Conduit + Sync,
    {
        for cpu in 0..self.interrupts.len() {
            let now = self.ticks();
            let is_due = {
                let (state, _) = &self.interrupts[cpu];
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state.alarm.take_if(|alarm| *alarm <= now).is_some()
            };
            if is_due {
                self.interrupt(u16::try_from(cpu).unwrap());
            }
        }
    }

    fn here(&self) -> &(Mutex<Interrupts>, Condvar) {
        &self.interrupts[usize::from(CPU.get())]
    }
}

impl<'m, C: Conduit + Sync> Machine for Threads<'m, C> {
    type Conduit = C;
    type Access = Calling<'m>;
    type Interface = Cpu<'m>;

    fn conduit(&self) -> &Self::Conduit {
        &self.conduit
    }

    fn access(&self) -> &Self::Access {
        &self.access
    }

    fn memory(&self) -> &Frames {
        &self.frames
    }

    fn payload(&self) -> Option<&[u8]> {
        None
    }

    fn cpus(&self) -> u16 {
        u16::try_from(self.interrupts.len()).unwrap()
    }

    fn current_cpu(&self) -> u16 {
        CPU.get()
    }

    fn on_cpus(&self, count: u16, work: &(dyn Fn(u16) + Sync)) {
        assert!((1..=self.cpus()).contains(&count) && CPU.get() == 0);
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
        let (state, changed) = &self.interrupts[usize::from(cpu)];
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_pending = true;
        self.model.cpu(cpu.into()).interrupt();
        changed.notify_all();
    }

    fn mask_interrupts(&self) {}

    fn unmask_interrupts(&self) {
        let (state, _) = self.here();
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_pending = false;
        self.model.cpu(CPU.get().into()).take_interrupt();
    }

    fn wait_for_interrupt(&self) {
        let (state, changed) = self.here();
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(state, |state| !state.is_pending));
    }

    fn set_alarm(&self, at: Option<u64>) {
        let (state, _) = self.here();
        state.lock().unwrap_or_else(PoisonError::into_inner).alarm = at;
    }

    fn interface(&self) -> Cpu<'m> {
        self.model.cpu(CPU.get().into())
    }

    fn can_read(&self, at: Pa) -> Option<bool> {
        // SAFETY: no reference reaches the model's memory, and it says what is not the host's.
        Some(unsafe { self.access.read(at, &mut [0; 4]) }.is_ok())
    }

    fn ticks(&self) -> u64 {
        self.model.now()
    }

    fn frequency(&self) -> NonZeroU32 {
        NonZeroU32::new(FREQUENCY).unwrap()
    }

    fn relax() {
        thread::yield_now();
    }

    fn print(&self, line: fmt::Arguments<'_>) {
        println!("{:>6} {line}", self.start.elapsed().as_millis());
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_string());
    }
}
