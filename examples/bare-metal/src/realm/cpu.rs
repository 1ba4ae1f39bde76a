//! A physical CPU that runs virtual ones, one after the other.

use alloc::format;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use realm_sdk::rec::gic::{GicHandler, RecInterface};
use realm_sdk::rec::set::{Outcome, Runner, Sleep};

use super::vcpu::Vcpu;
use super::{Running, cpu_of};
use crate::frames::{CpuMemory, Pieces, STOCK};
use crate::machine::Machine;

/// Slices of a second for which a virtual CPU runs while another one waits for its turn.
const SLICES: u32 = 200;
/// The parts of a second after which a CPU that waits looks again: a virtual CPU may have a
/// deadline that the host is not told (WFIT on TF-RMM).
const LOOKS: u32 = 50;

/// A virtual CPU of this physical one.
struct Turn<'r, 's, 'b, M: Machine> {
    runner: Runner<'s>,
    handler: GicHandler<'s, RecInterface<M::Interface>, Vcpu<'r, 's, 'b, M>>,
    /// What it waits for.
    sleep: Option<Asleep>,
}

/// A wait.
#[derive(Clone, Copy)]
struct Asleep {
    /// The counter value at its beginning.
    since: u64,
    sleep: Sleep,
}

/// How a turn ended.
enum End {
    /// The virtual CPU has more to do.
    Busy,
    /// It waits, or is off.
    Idle,
    /// The run is over.
    Over,
}

/// The virtual CPUs of one Realm that a physical CPU runs.
pub(crate) struct Share<'r, 's, 'b, M: Machine> {
    running: &'r Running<'s, 'b, M>,
    turns: Vec<Turn<'r, 's, 'b, M>>,
}

/// A [`Share`] of any Realm.
pub(crate) trait TakeTurns {
    /// How many virtual CPUs it has.
    fn len(&self) -> usize;

    /// Gives each of them a turn; whether any has more to do. Without `others` the only one of
    /// them runs for as long as it likes.
    fn take_turns(&mut self, has_others: bool) -> bool;

    /// Whether the run of the Realm is over.
    fn is_over(&self) -> bool;

    /// Waits until one of them has something to do.
    fn wait(&self);

    /// Frees what they needed.
    fn end(&mut self);
}

impl<M: Machine> TakeTurns for Share<'_, '_, '_, M> {
    fn len(&self) -> usize {
        self.turns.len()
    }

    fn take_turns(&mut self, has_others: bool) -> bool {
        let mut is_busy = false;
        for turn in &mut self.turns {
            if self.running.is_over() {
                return false;
            }
            is_busy |= matches!(self.running.take_turn(turn, !has_others), End::Busy);
        }
        is_busy
    }

    fn is_over(&self) -> bool {
        self.running.is_over()
    }

    fn wait(&self) {
        self.running.wait(&self.turns);
    }

    fn end(&mut self) {
        for turn in &mut self.turns {
            turn.handler.rest.memory.drain(self.running.realm.rmm());
        }
    }
}

/// Runs virtual CPUs of one Realm or several on the calling CPU, until all of these are off or give
/// up.
pub(crate) fn run_shares<M: Machine>(machine: &M, shares: &mut [&mut dyn TakeTurns]) {
    let has_others = shares.iter().map(|share| share.len()).sum::<usize>() > 1;
    while !shares.iter().all(|share| share.is_over()) {
        let mut is_busy = false;
        for share in &mut *shares {
            is_busy |= share.take_turns(has_others);
        }
        match shares {
            [share] if !is_busy => share.wait(),
            _ => {}
        }
    }
    machine.set_alarm(None);
    shares.iter_mut().for_each(|share| share.end());
}

impl<'s, 'b, M: Machine> Running<'s, 'b, M> {
    /// Runs the virtual CPUs of the calling CPU, until the Realm is off or all give up.
    pub(crate) fn run_cpu(&self, cpu: u16) {
        let pieces = self.pieces();
        let mut share = self.share(cpu, &pieces);
        run_shares(self.fixture.machine, &mut [&mut share]);
    }

    /// The virtual CPUs of a physical one, which is the calling one.
    pub(crate) fn share<'r>(&'r self, cpu: u16, pieces: &'r Pieces<'b>) -> Share<'r, 's, 'b, M> {
        let plan = self.plan;
        let cpu = cpu.wrapping_sub(plan.first_cpu);
        let mut turns = Vec::new();
        for index in (0..self.set.len()).filter(|index| cpu_of(*index, plan.cpus) == cpu) {
            let mut runner = match self.set.claim(index) {
                Ok(runner) => runner,
                Err(error) => {
                    self.give_up(format!("virtual CPU {index}: {error}"));
                    continue;
                }
            };
            runner.trap_waiting(true, plan.traps_events);
            let memory = CpuMemory::new(pieces, STOCK);
            let rest = Vcpu { running: self, index, memory, slice_end: None };
            let (gic, bus) = (self.gic, self.bus);
            let interface =
                RecInterface::new(self.fixture.session, self.fixture.machine.interface());
            let handler = GicHandler { gic, index, interface, bus, rest };
            turns.push(Turn { runner, handler, sleep: None });
        }
        Share { running: self, turns }
    }

    fn take_turn(&self, turn: &mut Turn<'_, 's, 'b, M>, is_alone: bool) -> End {
        let (machine, index) = (self.fixture.machine, turn.runner.index());
        let now = machine.ticks();
        if now >= self.deadline {
            self.give_up(format!("virtual CPU {index} ran for too long"));
            return End::Over;
        }
        if let Some(sleep) = turn.sleep {
            if !self.set.is_ready(index) && self.wakes_at(&sleep) > now {
                return End::Idle;
            }
            self.gic.set_timers(index, sleep.sleep.timers.at(now));
            turn.sleep = None;
        }
        let slice = u64::from(machine.frequency().get() / SLICES);
        let slice_end = (!is_alone).then(|| now.saturating_add(slice));
        turn.handler.rest.slice_end = slice_end;
        let end = slice_end.unwrap_or(self.deadline);
        machine.set_alarm(Some(end));
        let mut is_late = |_| machine.ticks() >= end;
        let ran = turn.runner.run_until(self.realm.rmm(), &mut turn.handler, &mut is_late);
        match ran {
            Ok(Outcome::Waiting(sleep)) => {
                turn.sleep = Some(Asleep { since: machine.ticks(), sleep });
                End::Idle
            }
            Ok(Outcome::Off { .. } | Outcome::Paused) => End::Idle,
            Ok(Outcome::Kicked) => {
                self.kicks.fetch_add(1, Ordering::SeqCst);
                End::Busy
            }
            Ok(Outcome::Bounded | Outcome::Stopped) => End::Busy,
            Ok(Outcome::RealmOff(_)) => {
                self.leave();
                End::Over
            }
            Ok(other) => {
                self.give_up(format!("virtual CPU {index}: {other:?}"));
                End::Over
            }
            Err(error) => {
                self.give_up(format!("virtual CPU {index}: {error}"));
                End::Over
            }
        }
    }

    /// The counter value at which a virtual CPU that waits is entered again, whatever happens.
    fn wakes_at(&self, asleep: &Asleep) -> u64 {
        let looks = u64::from(self.fixture.machine.frequency().get() / LOOKS);
        let look = asleep.sleep.may_hide_deadline.then(|| asleep.since.saturating_add(looks));
        look.into_iter().chain(asleep.sleep.deadline).min().unwrap_or(u64::MAX)
    }

    /// Waits until one of the virtual CPUs has something to do.
    fn wait(&self, turns: &[Turn<'_, 's, 'b, M>]) {
        let machine = self.fixture.machine;
        if machine.ticks() >= self.deadline {
            let virtual_cpus: Vec<_> = turns.iter().map(|turn| turn.runner.index()).collect();
            return self.give_up(format!("virtual CPUs {virtual_cpus:?} waited for too long"));
        }
        let sleeps = turns.iter().filter_map(|turn| turn.sleep.as_ref());
        let until = sleeps.map(|asleep| self.wakes_at(asleep)).min().unwrap_or(u64::MAX);
        machine.mask_interrupts();
        let is_ready = turns.iter().any(|turn| self.set.is_ready(turn.runner.index()));
        if !is_ready && !self.is_over() {
            machine.set_alarm(Some(until.min(self.deadline)));
            machine.wait_for_interrupt();
        }
        machine.unmask_interrupts();
    }
}
