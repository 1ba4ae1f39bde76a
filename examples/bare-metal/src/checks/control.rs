//! Ending the run of a virtual CPU from outside.

use alloc::format;

use realm_guest::Program;
use realm_guest::layout::RAM;

use super::expect;
use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::realm::{self, Plan, Running};
use crate::report::{Outcome, Stop};

/// A kick that comes before the entry, and so ends the next run at once.
pub(super) fn kick<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let step = |running: &Running<'_, '_, M>, _| {
        running.set.kick(0);
        running.end_spinning(0);
        0
    };
    let mut plan = Plan::new(Program::Spin, &[RAM]);
    (plan.shares, plan.on_step) = (true, &step);
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    expect("runs that ended by a kick", 1, ended.kicks)?;
    Ok("one kick, one run ended".into())
}

/// Kicks from another CPU while the virtual CPU runs without exits.
pub(super) fn kick_from_another_cpu<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    const KICKS: u64 = 20;
    if fixture.machine.cpus() < 2 {
        return Err(Stop::skipped("it needs two CPUs"));
    }
    let operate = |running: &Running<'_, '_, M>| {
        if !running.wait_for_steps(1) {
            return;
        }
        for kick in 0..KICKS {
            running.set.kick(0);
            if !running.wait_until(|| running.kicks() > kick) {
                return;
            }
        }
        running.end_spinning(0);
    };
    let mut plan = Plan::new(Program::Spin, &[RAM]);
    plan.shares = true;
    plan.operator = Some(&operate);
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    expect("runs that ended by a kick", KICKS, ended.kicks)?;
    Ok(format!("{KICKS} kicks, each ended a run"))
}

/// A pause of two virtual CPUs, and what follows.
pub(super) fn pause<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    const PAUSES: u64 = 10;
    if fixture.machine.cpus() < 2 {
        return Err(Stop::skipped("it needs two CPUs"));
    }
    let operate = |running: &Running<'_, '_, M>| {
        if !running.wait_for_steps(2) {
            return;
        }
        for _ in 0..PAUSES {
            running.set.pause();
            if !running.wait_until(|| running.set.is_paused()) {
                return;
            }
            let exits = running.exits();
            running.sleep(running.fixture.ticks_of(2000));
            if running.exits() != exits {
                running.give_up("a virtual CPU ran while the set was paused".into());
            }
            running.set.resume();
            running.sleep(running.fixture.ticks_of(2000));
        }
        running.end_spinning(0);
    };
    let mut plan = Plan::new(Program::Spin, &[RAM]);
    plan.cpus = (fixture.machine.cpus() - 1).min(2);
    (plan.vcpus, plan.all_on) = (2, true);
    plan.shares = true;
    plan.operator = Some(&operate);
    let ended = realm::run(fixture, &plan)?;
    ended.check(1)?;
    Ok(format!("{PAUSES} pauses of 2 virtual CPUs"))
}

/// A Realm that is torn down while its program spins.
pub(super) fn terminate<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let step = |running: &Running<'_, '_, M>, _| {
        running.leave();
        0
    };
    let mut plan = Plan::new(Program::Spin, &[RAM]);
    (plan.shares, plan.on_step) = (true, &step);
    let ended = realm::run(fixture, &plan)?;
    if ended.end.is_some() || ended.record.check(1).is_ok() {
        return Err(Stop::failed("the Realm had ended before"));
    }
    Ok(format!("after {} exits, with memory shared", ended.all_exits()))
}
