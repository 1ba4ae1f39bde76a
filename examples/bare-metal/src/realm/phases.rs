//! What the parts of a Realm's course take.

use alloc::vec::Vec;
use core::fmt;

use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::report::Milliseconds;

/// The parts so far, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Phases {
    phases: Vec<Phase>,
    /// Ticks and calls when the part began that has not ended.
    began: (u64, u64),
    frequency: u32,
}

#[derive(Clone, Copy, Debug)]
struct Phase {
    name: &'static str,
    ticks: u64,
    calls: u64,
}

impl Phases {
    /// The first part begins.
    pub(super) fn begin<M: Machine>(fixture: &Fixture<'_, M>) -> Self {
        let began = (fixture.machine.ticks(), fixture.calls());
        Self { phases: Vec::new(), began, frequency: fixture.machine.frequency().get() }
    }

    /// A part ends, and the next one begins.
    pub(super) fn end<M: Machine>(&mut self, fixture: &Fixture<'_, M>, name: &'static str) {
        let (ticks, calls) = (fixture.machine.ticks(), fixture.calls());
        let (ticks_before, calls_before) = self.began;
        self.phases.push(Phase {
            name,
            ticks: ticks.saturating_sub(ticks_before),
            calls: calls.saturating_sub(calls_before),
        });
        self.began = (ticks, calls);
    }
}

impl fmt::Display for Phases {
    /// The parts that made calls: SMCs, time, ticks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frequency = self.frequency;
        let phases = self.phases.iter().filter(|phase| phase.calls > 0);
        for (number, Phase { name, ticks, calls }) in phases.enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            let time = Milliseconds { ticks: *ticks, frequency };
            write!(f, "{separator}{name} {calls} SMCs {time}")?;
        }
        Ok(())
    }
}
