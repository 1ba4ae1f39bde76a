//! Planes of a Realm.

use alloc::format;

use realm_guest::Program;
use realm_guest::layout::RAM;
use realm_sdk::rec::set::ExitKind;

use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::realm::{self, Plan};
use crate::report::{Outcome, Stop};

/// A Realm whose plane 0 runs another plane.
pub(super) fn check<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    if fixture.session.features().max_aux_planes() == 0 {
        return Err(Stop::skipped("the RMM offers no auxiliary planes"));
    }
    let mut plan = Plan::new(Program::Planes, &[RAM]);
    plan.config.num_aux_planes = 1;
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    let changes = ended.exits(ExitKind::S2apChange);
    if changes < 2 {
        return Err(Stop::failed(format!("{changes} exits for changes of permissions")));
    }
    Ok(format!("plane 1 ran, after {changes} changes of permissions"))
}
