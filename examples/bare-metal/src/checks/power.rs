//! Virtual CPUs that are turned on and off.

use alloc::format;

use realm_guest::Program;
use realm_guest::host_call::values;
use realm_guest::layout::RAM;

use super::expect;
use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::realm::{self, Plan};
use crate::report::Outcome;

const ROUNDS: u64 = 20;
const VCPUS: u16 = 4;
const DENY_EVERY: u64 = 7;

pub(super) fn check<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let mut plan = Plan::new(Program::Power, &[ROUNDS, VCPUS.into(), RAM]);
    (plan.vcpus, plan.cpus) = (VCPUS, fixture.machine.cpus().min(VCPUS));
    plan.deny_every = DENY_EVERY;
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    let [starts, denied, ..] = *ended.record.values_of(values::COUNT)?;
    expect("starts", ROUNDS * u64::from(VCPUS - 1), starts)?;
    // Every seventh request, of those that were accepted and those that were not.
    expect("denied", (starts + denied) / DENY_EVERY, denied)?;
    Ok(format!("{starts} starts, {denied} denied, on {} physical CPUs", plan.cpus))
}
