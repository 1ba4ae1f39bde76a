//! Interrupts of a Realm: its timers, SGIs, and the SPI of a device.

use alloc::format;

use realm_guest::Program;
use realm_sdk::rec::set::ExitKind;

use super::expect;
use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::realm::{self, Plan};
use crate::report::{Outcome, Stop};

/// Waits for timers.
pub(super) fn timers<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    const ROUNDS: u64 = 5;
    let plan = Plan::new(Program::Timers, &[fixture.ticks_of(100), ROUNDS]);
    let began = fixture.machine.ticks();
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    let waited = fixture.machine.ticks() - began;
    if waited < 2 * ROUNDS * fixture.ticks_of(100) {
        return Err(Stop::failed(format!("the waits ended after {waited} ticks")));
    }
    let waits = ended.exits(ExitKind::Wait);
    if waits == 0 {
        return Err(Stop::failed("no WFI exited"));
    }
    Ok(format!("{} waits, {waits} of them with an exit", 2 * ROUNDS + 1))
}

/// SGIs to itself and the SPI of a device, with one virtual CPU.
pub(super) fn distributor<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    const ROUNDS: u64 = 10;
    let plan = Plan::new(Program::Interrupts, &[ROUNDS, 1]);
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    expect("writes that send SGIs", ROUNDS, ended.exits(ExitKind::SysRegWrite))?;
    Ok(format!("{ROUNDS} SGIs, {ROUNDS} SPIs"))
}

/// SGIs between two virtual CPUs, on as many physical ones as there are.
pub(super) fn between_cpus<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    const ROUNDS: u64 = 50;
    let mut plan = Plan::new(Program::Interrupts, &[ROUNDS, 2]);
    (plan.vcpus, plan.all_on, plan.cpus) = (2, true, fixture.machine.cpus().min(2));
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    // To itself, to the other, the answer; and the last one.
    expect("writes that send SGIs", 3 * ROUNDS + 1, ended.exits(ExitKind::SysRegWrite))?;
    Ok(format!("{ROUNDS} calls answered, on {} physical CPUs", plan.cpus))
}
