//! The run of all checks.

use alloc::boxed::Box;
use alloc::format;

use realm_sdk::conduits::counting::Counting;
use realm_sdk::host::{CountingLedger, Host, SessionOptions};
use realm_sdk::sro::{HostMemory, Session, open};

use crate::checks;
use crate::diagnosis::explain;
use crate::frames::{CpuMemory, Frames, STOCK};
use crate::machine::Machine;
use crate::report::{Milliseconds, Outcome, Stop, Summary};

/// What a run does.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Realms that are made one after the other.
    pub realms: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { realms: 10 }
    }
}

/// What the session of the checks is made of.
pub type FixtureHost<'b, M> =
    Host<&'b Counting<&'b <M as Machine>::Conduit>, &'b <M as Machine>::Access, &'b CountingLedger>;

/// What a check uses.
#[expect(missing_debug_implementations, reason = "machines have none")]
pub struct Fixture<'b, M: Machine> {
    /// The machine.
    pub machine: &'b M,
    /// What the run does.
    pub options: Options,
    /// The conduit, which counts.
    pub conduit: &'b Counting<&'b M::Conduit>,
    /// The ledger.
    pub ledger: &'b CountingLedger,
    /// The session.
    pub session: &'b Session<FixtureHost<'b, M>>,
}

impl<'b, M: Machine> Fixture<'b, M> {
    /// The memory of the calling CPU; to be drained.
    pub fn cpu_memory(&self) -> CpuMemory<'b> {
        CpuMemory::new(self.machine.memory(), STOCK)
    }
}

impl<M: Machine> Fixture<'_, M> {
    /// Ticks in a part of a second.
    pub(crate) fn ticks_of(&self, parts: u32) -> u64 {
        u64::from(self.machine.frequency().get().checked_div(parts).unwrap_or(1).max(1))
    }

    /// A time for printing.
    pub(crate) fn milliseconds(&self, ticks: u64) -> Milliseconds {
        Milliseconds { ticks, frequency: self.machine.frequency().get() }
    }

    /// Calls to the RMM so far, without those that it was too busy for.
    pub(crate) fn calls(&self) -> u64 {
        let total = self.conduit.total();
        total.issued.saturating_sub(total.retried())
    }
}

/// Runs all checks and prints what they find; after the last line that it prints nothing is left of
/// what it did, if no check failed.
pub fn run<M: Machine>(machine: &M, options: &Options) -> Summary {
    let conduit = Box::new(Counting::new(machine.conduit()));
    let ledger = CountingLedger::new();
    let mut summary = Summary::default();
    let frames = machine.memory();
    let start = Balance::now(&ledger, frames);
    let host = Host::new(&*conduit, machine.access()).with_ledger(&ledger).with_relax(M::relax);
    let mut memory = CpuMemory::new(frames, STOCK);
    let began = (machine.ticks(), conduit.total().issued);
    let opened = open(host, SessionOptions::default(), memory.pool());
    let session = match opened {
        Ok(session) => session,
        Err(failed) => {
            memory.drain_host();
            count(
                &mut summary,
                machine,
                &conduit,
                "session",
                began,
                Err(Stop::failed(explain(&failed.error))),
            );
            machine.print(format_args!("{summary}"));
            return summary;
        }
    };
    memory.drain_host();
    let found = format!("{}, {}", session.dialect(), session.dialect_source());
    count(&mut summary, machine, &conduit, "session", began, Ok(found));
    let fixture = Fixture {
        machine,
        options: *options,
        conduit: &conduit,
        ledger: &ledger,
        session: &session,
    };
    // The RMM may keep what its activation took.
    let mut before = Balance::now(&ledger, frames);
    for (name, check) in checks::all::<M>() {
        let began = (machine.ticks(), conduit.total().issued);
        let outcome = check(&fixture);
        let now = Balance::now(&ledger, frames);
        let outcome = outcome.and_then(|detail| now.expect(before).map(|()| detail));
        before = now;
        count(&mut summary, machine, &conduit, name, began, outcome);
    }
    let dialect = session.dialect();
    let began = (machine.ticks(), conduit.total().issued);
    let outcome = match session.close(memory.pool()) {
        Ok(closed) if closed.deactivated => Ok("the RMM is inactive".into()),
        Ok(_) => Ok("the RMM stays active".into()),
        Err(failed) => Err(Stop::failed(failed.error)),
    };
    memory.drain_host();
    let now = Balance::now(&ledger, frames);
    let outcome = outcome.and_then(|detail| now.expect(start).map(|()| detail));
    count(&mut summary, machine, &conduit, "close", began, outcome);
    machine.print(format_args!("{}", conduit.report(dialect)));
    machine.print(format_args!("balance: {}", ledger.balance()));
    machine.print(format_args!("{summary}"));
    summary
}

/// Where the memory of the machine is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Balance {
    /// Bytes that are free.
    free: u64,
    /// Granules that the RMM has.
    outstanding: u64,
    /// Granules that are lost.
    leaked: u64,
}

impl Balance {
    fn now(ledger: &CountingLedger, frames: &Frames) -> Self {
        let balance = ledger.balance();
        let (outstanding, leaked) = (balance.outstanding(), balance.leaked);
        Self { free: frames.bytes(), outstanding, leaked }
    }

    /// Checks that all memory is where it was.
    fn expect(self, before: Self) -> Result<(), Stop> {
        if self == before {
            return Ok(());
        }
        let Self { free, outstanding, leaked } = self;
        Err(Stop::failed(format!(
            "{free} bytes are free, not {}; {outstanding} granules are outstanding, not {}; \
             {leaked} are leaked, not {}",
            before.free, before.outstanding, before.leaked
        )))
    }
}

/// Prints the line of a check.
fn count<M: Machine>(
    summary: &mut Summary,
    machine: &M,
    conduit: &Counting<&M::Conduit>,
    name: &str,
    (began, calls): (u64, u64),
    outcome: Outcome,
) {
    let ticks = machine.ticks().saturating_sub(began);
    let time = Milliseconds { ticks, frequency: machine.frequency().get() };
    let calls = conduit.total().issued.saturating_sub(calls);
    let with_costs = |text| format!("{text} ({calls} SMCs, {time})");
    let outcome = outcome.map(with_costs).map_err(|stop| match stop {
        Stop::Failed(what) => Stop::Failed(with_costs(what)),
        Stop::Skipped(reason) => Stop::Skipped(reason),
    });
    summary.print(machine, name, outcome);
}
