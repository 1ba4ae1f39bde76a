//! The scheduler of one physical CPU: its virtual CPUs in turn.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use alloc::vec::Vec;

use realm_sdk::host::{Platform, Rmm};
use realm_sdk::rec::Handler;
use realm_sdk::rec::gic::{GicHandler, RealmGic, RecInterface};
use realm_sdk::rec::mmio::MmioDispatch;
use realm_sdk::rec::set::{Outcome, Runner, Sleep};

use super::comparison::Comparison;
use super::guest::Guest;
use super::vcpu::{Counters, Vcpu};
use crate::machine::Machine;
use crate::report::Stop;
use realm_sdk::sro::HostMemory;

/// How long a virtual CPU runs while another waits for the same physical CPU.
const SLICE: Duration = Duration::from_millis(2);
/// The longest wait of a virtual CPU whose deadline the host may not be told.
const LONGEST_WAIT: Duration = Duration::from_millis(10);

/// A Realm with its devices, shared by all CPUs that run it.
pub(crate) struct Board<'b, 'r, P: Platform> {
    pub(crate) guest: &'b Guest<'r, P>,
    pub(crate) gic: RealmGic<'b>,
    pub(crate) bus: &'b dyn MmioDispatch,
    pub(crate) counters: &'b Counters,
    pub(crate) comparison: &'b Comparison<'b>,
}

/// What all CPUs share.
pub(crate) struct Shared<'s, 'b, 'r, P: Platform, M> {
    pub(crate) machine: &'s M,
    pub(crate) rmm: &'r Rmm<P>,
    pub(crate) boards: &'s [Board<'b, 'r, P>],
    /// A virtual CPU failed, or the time is up: all end.
    pub(crate) is_over: &'s AtomicBool,
    /// The counter value at which the time is up.
    pub(crate) limit: u64,
}

/// A virtual CPU of this CPU.
struct Task<'t, 'b, 'r, P: Platform> {
    board: &'t Board<'b, 'r, P>,
    runner: Runner<'t>,
    state: State,
}

/// What a virtual CPU waits for.
enum State {
    /// It has not run: only a loop that has ended is woken.
    New,
    /// Nothing, or what [`RecSet::is_ready`](realm_sdk::rec::RecSet::is_ready) tells.
    Ready,
    /// An interrupt, or this time.
    Asleep(Sleep, Option<u64>),
    /// Its Realm is off.
    Over,
}

impl<P: Platform> Task<'_, '_, '_, P> {
    /// Whether there is something to run for it now.
    fn is_ready(&self, now: u64) -> bool {
        let is_ready = self.board.guest.vcpus.is_ready(self.runner.index());
        match self.state {
            State::New => true,
            State::Ready => is_ready,
            State::Asleep(_, until) => is_ready || until.is_some_and(|until| until <= now),
            State::Over => false,
        }
    }
}

impl<P, M> Shared<'_, '_, '_, P, M>
where
    P: Platform<Conduit: Sync, Lock: Send + Sync> + Sync,
    M: Machine,
{
    /// Ends the runs of all virtual CPUs, of all Realms.
    fn end_all(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        for board in self.boards {
            board.guest.vcpus.kick_all();
        }
    }

    /// Runs the virtual CPUs for which `is_own` holds, by the number of their Realm and their
    /// index, until their Realms are off.
    pub(crate) fn run(
        &self,
        memory: &mut dyn HostMemory,
        is_own: impl Fn(usize, usize) -> bool,
    ) -> Result<(), Stop> {
        let mut tasks = Vec::new();
        for (number, board) in self.boards.iter().enumerate() {
            let vcpus = &board.guest.vcpus;
            for index in (0..vcpus.len()).filter(|index| is_own(number, *index)) {
                match vcpus.claim(index) {
                    Ok(mut runner) => {
                        runner.trap_waiting(true, false);
                        tasks.push(Task { board, runner, state: State::New });
                    }
                    Err(error) => {
                        self.end_all();
                        return Err(Stop::failed(error));
                    }
                }
            }
        }
        let ended = self.run_tasks(memory, &mut tasks);
        if ended.is_err() {
            self.end_all();
        }
        self.machine.set_alarm(None);
        ended
    }

    fn run_tasks(
        &self,
        memory: &mut dyn HostMemory,
        tasks: &mut [Task<'_, '_, '_, P>],
    ) -> Result<(), Stop> {
        let alone = tasks.len() == 1;
        let is_left = |tasks: &[Task<'_, '_, '_, P>]| {
            tasks.iter().any(|task| !matches!(task.state, State::Over))
        };
        while is_left(tasks) {
            let mut did_run = false;
            for task in &mut *tasks {
                if task.is_ready(self.machine.ticks()) {
                    did_run = true;
                    self.run_task(memory, task, alone)?;
                }
            }
            if self.machine.ticks() >= self.limit {
                return Err(Stop::failed("the time is up"));
            }
            if !did_run {
                self.wait(tasks);
            }
        }
        Ok(())
    }

    /// Waits for an interrupt, or the first time at which a virtual CPU is to run.
    fn wait(&self, tasks: &[Task<'_, '_, '_, P>]) {
        let deadlines = tasks.iter().filter_map(|task| match task.state {
            State::Asleep(_, until) => until,
            State::New | State::Ready | State::Over => None,
        });
        let deadline = deadlines.min().unwrap_or(self.limit).min(self.limit);
        // Who makes one ready interrupts this CPU afterwards: with interrupts masked that is not
        // lost between the check and the wait.
        self.machine.mask_interrupts();
        let now = self.machine.ticks();
        let is_idle = tasks.iter().all(|task| !task.is_ready(now));
        if is_idle && tasks.iter().any(|task| !matches!(task.state, State::Over)) {
            self.machine.set_alarm(Some(deadline));
            self.machine.wait_for_interrupt();
        }
        self.machine.unmask_interrupts();
    }

    /// Runs a virtual CPU until it waits or its slice is over.
    fn run_task(
        &self,
        memory: &mut dyn HostMemory,
        task: &mut Task<'_, '_, '_, P>,
        alone: bool,
    ) -> Result<(), Stop> {
        let (board, index) = (task.board, task.runner.index());
        if let State::Asleep(sleep, _) = &task.state {
            board.gic.set_timers(index, sleep.timers.at(self.machine.ticks()));
        }
        let begun = self.machine.ticks();
        let slice = if alone { LONGEST_SLICE } else { SLICE };
        let end = begun.saturating_add(ticks_of(self.machine, slice)).min(self.limit);
        self.machine.set_alarm(Some(end));
        let rest = Vcpu {
            machine: self.machine,
            realm: &board.guest.realm,
            ram: board.guest.layout.ram,
            memory,
            counters: board.counters,
            comparison: board.comparison,
            stop: None,
        };
        let interface = RecInterface::new(self.rmm, self.machine.interface());
        let mut handler = GicHandler { gic: board.gic, index, interface, bus: board.bus, rest };
        let outcome = self.run_until(task, &mut handler, end);
        let stop = handler.rest.stop;
        task.state = match outcome? {
            Outcome::Waiting(sleep) => {
                let now = self.machine.ticks();
                let timeout = sleep.timeout(now, self.machine.frequency(), LONGEST_WAIT);
                let until =
                    timeout.map(|timeout| now.saturating_add(ticks_of(self.machine, timeout)));
                State::Asleep(sleep, until)
            }
            Outcome::Bounded | Outcome::Off { is_last: false, .. } | Outcome::Paused => {
                State::Ready
            }
            Outcome::RealmOff(_) => State::Over,
            Outcome::Kicked if self.is_over.load(Ordering::SeqCst) => State::Over,
            Outcome::Kicked => State::Ready,
            Outcome::Off { .. } => return Err(Stop::failed("all virtual CPUs are off")),
            Outcome::Left => {
                return Err(stop.unwrap_or_else(|| Stop::failed("an exit without an answer")));
            }
            other => return Err(Stop::failed(format_args!("virtual CPU {index}: {other:?}"))),
        };
        Ok(())
    }

    fn run_until(
        &self,
        task: &mut Task<'_, '_, '_, P>,
        handler: &mut impl Handler,
        end: u64,
    ) -> Result<Outcome, Stop> {
        let machine = self.machine;
        let ended = task.runner.run_until(self.rmm, handler, &mut |_| machine.ticks() >= end);
        ended.map_err(Stop::failed)
    }
}

/// How long a virtual CPU that is alone on its CPU runs before the time limit is looked at.
const LONGEST_SLICE: Duration = Duration::from_millis(500);

/// A time in ticks of the counter.
pub(crate) fn ticks_of<M: Machine>(machine: &M, time: Duration) -> u64 {
    let ticks = time.as_nanos().saturating_mul(u128::from(machine.frequency().get()));
    u64::try_from(ticks / 1_000_000_000).unwrap_or(u64::MAX)
}
