//! What a Realm costs, in calls and in time.

use alloc::format;

use realm_guest::Program;
use realm_guest::layout::{RAM, RAM_BYTES};
use realm_sdk::rec::set::ExitKind;

use super::expect;
use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::realm::{self, Plan};
use crate::report::Outcome;

/// How far what the Realm touches is apart.
const STRIDE: u64 = 0x1_0000;

/// A Realm that has all of its RAM from the start, and touches all parts of it.
pub(super) fn large_realm<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let mut plan = Plan::new(Program::Touch, &[RAM, RAM_BYTES, STRIDE, 1]);
    plan.mapped_ahead = RAM_BYTES;
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    let (_, faults) = ended.record.mapped;
    expect("faults in RAM", 0, faults)?;
    Ok(format!("{}", ended.phases))
}

/// Accesses to a device, which the host serves.
pub(super) fn round_trips<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    const COUNT: u64 = 500;
    let mut plan = Plan::new(Program::RoundTrips, &[COUNT]);
    plan.is_timed = true;
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    expect("loads", COUNT, ended.exits(ExitKind::MmioLoad))?;
    expect("stores", COUNT, ended.exits(ExitKind::MmioStore))?;
    let times = ended.times;
    let inside = times.inside.checked_div(ended.all_exits()).unwrap_or(0);
    Ok(format!(
        "of {} ticks a second, a load takes {} in the host, a store {}; RMM and Realm {inside}",
        fixture.machine.frequency(),
        times.after_loads / COUNT,
        times.after_stores / COUNT,
    ))
}
