//! Every exit that a program can cause, and calls that do not exit.

use alloc::format;

use realm_guest::Program;
use realm_guest::layout::RAM;
use realm_sdk::rec::set::ExitKind;

use super::expect;
use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::realm::{self, Plan};
use crate::report::{Outcome, Stop};

/// The exits that the program causes.
const KINDS: [ExitKind; 8] = [
    ExitKind::MmioLoad,
    ExitKind::MmioStore,
    ExitKind::Fault,
    ExitKind::SysRegWrite,
    ExitKind::Wait,
    ExitKind::PsciNotice,
    ExitKind::RipasChange,
    ExitKind::HostCall,
];

pub(super) fn every_exit<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let mut plan = Plan::new(Program::Exits, &[RAM, fixture.ticks_of(10)]);
    plan.traps_events = true;
    plan.on_step = &|_, _| 0x5eed;
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    if let Some(kind) = KINDS.into_iter().find(|kind| ended.exits(*kind) == 0) {
        return Err(Stop::failed(format!("no exit for {kind:?}")));
    }
    // The step, and the verdict. The end is a call of PSCI.
    expect("host calls", 2, ended.exits(ExitKind::HostCall))?;
    expect("changes of the RIPAS", 2, ended.exits(ExitKind::RipasChange))?;
    let printed = &ended.record.printed;
    if printed != "hello\n" {
        return Err(Stop::failed(format!("the UART printed {printed:?}")));
    }
    let kinds = ExitKind::ALL.into_iter().filter(|kind| ended.exits(*kind) > 0).count();
    Ok(format!("{} exits of {kinds} kinds", ended.all_exits()))
}

pub(super) fn calls<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let plan = Plan { vcpus: 2, ..Plan::new(Program::Calls, &[2]) };
    let ended = realm::run(fixture, &plan)?;
    ended.check(1)?;
    Ok("answered by the RMM as expected".into())
}
